"""Clients that keep one request each under way: wrk where it is installed, else `_client.py`; pinned to the last core.

Every request is another row: the rows in turn, the first value shifted by the request's number times `STEP`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

STEP = 1e-9
WRK_SCRIPT = """
wrk.method = "POST"
%(headers)s
local number = %(start)d
local rows = {%(rows)s}
function request()
  number = number + 1
  local row = rows[number %% #rows + 1]
  return wrk.format(nil, nil, nil, string.format(%(template)s, row[1] + number * %(step)g, row[2]))
end
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('\\n{"requests": %%d, "seconds": %%f, "errors": %%d, "p50_ms": %%f, "p99_ms": %%f}\\n', summary.requests,
    summary.duration / 1e6, errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


Form = Literal["mlflow", "v2", "rows"]


@dataclass(frozen=True, slots=True)
class Target:
    """What is called: an address, what to send with each request, and the form of a row."""

    url: str
    headers: Mapping[str, str]
    form: Form = "mlflow"


@dataclass(frozen=True, slots=True)
class Work:
    """One run: what is asked of whom, by how many clients, for how long; the first request's number is `start` + 1."""

    target: Target
    columns: Sequence[str]
    rows: Sequence[Sequence[float]]
    clients: int
    seconds: int
    start: int


@dataclass(frozen=True, slots=True)
class Load:
    """What the clients saw."""

    requests: int
    seconds: float
    errors: int
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def cores() -> tuple[set[int], set[int]]:
    """The cores for servers and the one for clients; the same where there is only one."""
    found = sorted(os.sched_getaffinity(0))
    return set(found[:-1] or found), {found[-1]}


def run(work: Work, core: set[int]) -> Load:
    """Send one-row requests from clients on these cores.

    Raises:
        RuntimeError: a request was not answered with 2xx.
    """
    with tempfile.TemporaryDirectory(prefix="mlport-bench-") as folder:
        command = (_wrk if shutil.which("wrk") else _own_client)(Path(folder), work)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, preexec_fn=lambda: os.sched_setaffinity(0, core))
    load = Load(**json.loads(done.stdout.splitlines()[-1]))
    if load.errors:
        raise RuntimeError(f"{load.errors} of {load.requests} requests to {work.target.url} failed")
    return load


def body(columns: Sequence[str], row: Sequence[object], form: Form = "mlflow") -> str:
    """One row as MLflow's scoring protocol has it, as the Open Inference Protocol V2 does, or as `{"rows": [[...]]}`."""
    if form == "v2":
        return json.dumps({"inputs": [{"name": "rows", "shape": [1, len(columns)], "datatype": "FP64", "data": list(row)}]})
    if form == "rows":
        return json.dumps({"rows": [list(row)]})
    return json.dumps({"dataframe_split": {"columns": list(columns), "data": [list(row)]}})


def _wrk(folder: Path, work: Work) -> list[str]:
    rows = ",".join(f'{{{row[0]!r},"{", ".join(map(repr, row[1:]))}"}}' for row in work.rows)
    headers = "\n".join(f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in work.target.headers.items())
    template = body(work.columns, ["FIRST", "REST"], work.target.form).replace('"FIRST"', "%.9f").replace('"REST"', "%s")
    script = folder / "rows.lua"
    script.write_text(WRK_SCRIPT % {"headers": headers, "rows": rows, "template": json.dumps(template), "start": work.start, "step": STEP})
    return ["wrk", "-t1", f"-c{work.clients}", f"-d{work.seconds}s", "--timeout", "30s", "-s", str(script), work.target.url]


def _own_client(folder: Path, work: Work) -> list[str]:
    order = folder / "work.json"
    order.write_text(json.dumps(asdict(work)))
    return [sys.executable, str(Path(__file__).with_name("_client.py")), str(order)]
