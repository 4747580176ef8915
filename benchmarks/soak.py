"""Half an hour of jobs and requests while deployments change, and proof that nothing grows, leaks, is lost or mixed up.

Two clients submit jobs that succeed, fail, talk much or are cancelled, a schedule fires every minute under `mlport agent`, and
callers send distinct rows to an endpoint that stays as it is and to one that gets a new version every few minutes.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from _measure import PYTHON, Goal, finish, program, quiet_mlflow, show
from _soak_clients import STEP, entrypoint
from _trends import FEWEST_SAMPLES, Trend, trend
from _watch import disk, processes, roles

import mlport
from mlport import JobSpec, ScheduleSpec

MEMORY_AN_HOUR = 8.0  # MiB that one process may grow by
DESCRIPTORS_AN_HOUR = 2.0
PROCESSES_AN_HOUR = 2.0
WARM_UP = 0.2  # of the time, or five minutes: what of the start no trend is made of
END_SECONDS = 60.0
STEADY, CHANGING, MODEL = "steady", "changing", "soak"
PASSING = ("program", "runner", "supervisor", "export", "compactor")  # roles whose processes come and go


@dataclass(frozen=True)
class Soak:
    """Where the soak runs, and how long."""

    folder: Path
    until: float
    every: float
    change: float
    callers: int
    rate: float

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def ledger(self) -> Path:
        """Where each job that runs writes its mark."""
        return self.folder / "ledger"

    def left(self) -> float:
        return self.until - time.time()


def save_model(folder: Path, version: int) -> Path:
    """An MLflow model that answers its first feature plus `version` times `STEP`, exactly."""
    quiet_mlflow()
    import mlflow
    import numpy as np
    import pandas as pd
    import sklearn
    from mlflow.models import infer_signature
    from sklearn.linear_model import LinearRegression

    rows = pd.DataFrame({"a": [0.0, 1.0, 2.0], "b": [0.0, 1.0, 0.0]})
    model = LinearRegression().fit(rows, rows["a"])
    model.coef_, model.intercept_ = np.array([1.0, 0.0]), float(version * STEP)
    signature = infer_signature(rows, model.predict(rows))
    mlflow.sklearn.save_model(model, str(folder), signature=signature, pip_requirements=[f"scikit-learn=={sklearn.__version__}"])
    return folder


# ---------------------------------------------------------------- what goes on meanwhile


@contextmanager
def clients(soak: Soak) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two clients with jobs, two with requests, and the agent. At the end the clients are waited for, and the agent told to end."""
    orders = [("jobs", {"name": f"client-{n}", "ledger": str(soak.ledger)}) for n in range(2)]
    calls = {"endpoints": [STEADY, CHANGING], "threads": soak.callers // 2, "rate": soak.rate / 2}
    orders += [("requests", {**calls, "first": n * 10**8}) for n in range(2)]
    started = [_client(soak, number, kind, order) for number, (kind, order) in enumerate(orders)]
    log = (soak.folder / "agent.log").open("wb")
    agent = subprocess.Popen([program("mlport"), "-p", f"local://{soak.root}", "agent", "run"], stdout=log, stderr=log)
    try:
        yield started
        for client in started:
            client.wait(timeout=max(soak.left(), 0) + 300)
    finally:
        for process in (*started, agent):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)
        log.close()


def _client(soak: Soak, number: int, kind: str, order: dict[str, Any]) -> subprocess.Popen[bytes]:
    place = soak.folder / f"{kind}-{number}"
    whole = {**order, "root": str(soak.root), "until": soak.until, "report": str(place)}
    place.with_suffix(".order").write_text(json.dumps(whole))
    with place.with_suffix(".log").open("wb") as log:
        script = str(Path(__file__).with_name("_soak_clients.py"))
        return subprocess.Popen([PYTHON, script, kind, str(place.with_suffix(".order"))], stdout=log, stderr=log)


@contextmanager
def sampled(soak: Soak) -> Iterator[Path]:
    """Samples of the root every few seconds, one JSON line each, in the file that is given."""
    place, over = soak.folder / "samples.jsonl", threading.Event()

    def watch() -> None:
        with place.open("a", buffering=1, encoding="utf-8") as out:
            while not over.is_set():
                began = time.time()
                out.write(json.dumps({"time": began, "roles": roles(soak.folder), **disk(soak.root)}) + "\n")
                over.wait(max(soak.every - (time.time() - began), 0))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield place
    finally:
        over.set()
        thread.join()


def change(ml: mlport.Client, soak: Soak, version: int) -> int:
    """Deploy a new version beside the old, shift the traffic, read what was captured and observed, remove the old."""
    endpoint = ml.endpoints.get(CHANGING)
    old = endpoint.deployments[0].name
    new = endpoint.deploy(_register(ml, soak, version)).name
    endpoint.set_traffic({old: 80, new: 20})
    time.sleep(min(5, max(soak.left(), 0)))
    endpoint.set_traffic({old: 0, new: 100})
    endpoint.undeploy(old)
    for name in (STEADY, CHANGING):
        ml.endpoints.get(name).observe()
    return version + 1


def _register(ml: mlport.Client, soak: Soak, version: int) -> mlport.ModelVersion:
    folder = soak.folder / f"model-{version}"
    found = ml.models.register(MODEL, folder if folder.exists() else save_model(folder, version), trust=True)
    if found.version != str(version):
        raise RuntimeError(f"registered version {version} and got {found.version}")
    return found


# ---------------------------------------------------------------- the account


def jobs_account(soak: Soak, fired: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """How many jobs of each kind, and what was wrong: with one of them, or with what the jobs themselves wrote."""
    reports = [json.loads(line) for path in sorted(soak.folder.glob("jobs-?")) for line in path.read_text().splitlines()]
    wrong = [f"{report['mark']} ({report['kind']}): {report['wrong']}" for report in reports if report["wrong"]]
    wrote = Counter(soak.ledger.read_text().split())
    wanted = {report["mark"]: 1 for report in reports} | ({"scheduled": len(fired)} if fired else {})
    wrong += [
        f"{mark} ran {wrote[mark]} times, not {wanted.get(mark, 0)}"
        for mark in sorted(wanted | wrote)
        if wrote[mark] != wanted.get(mark, 0)
    ]
    return {**Counter(report["kind"] for report in reports), "scheduled": len(fired)}, wrong


def requests_account(soak: Soak) -> tuple[list[tuple[float, float]], list[str]]:
    """Time and seconds of each request, and each answer that was wrong or missing."""
    import numpy as np

    pairs = [np.fromfile(path, dtype=float).reshape(-1, 2) for path in sorted(soak.folder.glob("requests-?-?"))]
    wrong = [line for path in sorted(soak.folder.glob("requests-*.wrong")) for line in path.read_text().splitlines()]
    return sorted(map(tuple, np.concatenate(pairs).tolist())), wrong


def latency(pairs: Sequence[tuple[float, float]], start: float, end: float) -> dict[str, float]:
    """Requests a second and milliseconds of the requests in a span."""
    import numpy as np

    seconds = [took for moment, took in pairs if start <= moment < end]
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
    return {"per_second": len(seconds) / (end - start), "p50_ms": float(p50), "p99_ms": float(p99)}


def captured(endpoint: mlport.Endpoint) -> int:
    from mlport.endpoints import ALL_TIME

    return sum(batch.num_rows for batch in endpoint.client.session.endpoints.captured(endpoint.name, ALL_TIME))


def left_over(folder: Path) -> list[str]:
    """Who of the soak is alive although all was closed and ended, after a minute."""
    deadline = time.monotonic() + END_SECONDS
    while (found := list(processes(folder))) and time.monotonic() < deadline:
        time.sleep(0.5)
    words = []
    for process in found:
        with suppress(psutil.NoSuchProcess):
            words.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
    return words


# ---------------------------------------------------------------- the verdict


def growth(samples: Sequence[dict[str, Any]], what: str) -> dict[str, Trend]:
    """The trend of a figure for every role that has enough samples."""
    series: dict[str, list[tuple[float, float]]] = {}
    for sample in samples:
        for name, role in sample["roles"].items():
            series.setdefault(name, []).append((sample["time"], role[what]))
    return {name: trend(*zip(*found, strict=True)) for name, found in sorted(series.items()) if len(found) >= FEWEST_SAMPLES}


def lasting(name: str) -> bool:
    """Whether one process has the role from the first to the last sample."""
    return not name.startswith(PASSING) and name != f"worker {CHANGING}"


def flat(what: str, trends: dict[str, Trend], bound: float, unit: str) -> list[Goal]:
    """One goal for each role: growth an hour, of which the interval's upper end must be within the bound, or the lower."""
    return [
        Goal(f"{name}: {what} an hour, {'upper' if lasting(name) else 'lower'} end of 95 %", value, "at most", bound, unit)
        for name, found in trends.items()
        if (name != "program")
        for value in [found.high if lasting(name) else found.low]
    ]


def run(soak: Soak, minutes_between: float) -> dict[str, Any]:
    """The soak itself; what was counted."""
    with mlport.connect(f"local://{soak.root}") as ml:
        first = _register(ml, soak, 1)
        for name in (STEADY, CHANGING):
            ml.endpoints.create(name, first)
        spec = JobSpec(name="scheduled", entrypoint=entrypoint("failing", "scheduled", str(soak.ledger)))
        schedule = ml.schedules.create(ScheduleSpec(name="every-minute", cron="* * * * *", job=spec))
        version, began = 2, time.time()
        with sampled(soak) as samples:
            with clients(soak):
                while soak.left() > minutes_between * 60:
                    time.sleep(minutes_between * 60)
                    version = change(ml, soak, version)
                time.sleep(max(soak.left() - 5, 0))
                schedule.pause()
            fired = [firing.job_id for firing in schedule.firings() if firing.job_id]
            for job_id in fired:
                with suppress(mlport.errors.JobFailedError):  # it ends with 3
                    ml.jobs.get(job_id).wait(timeout=60)
        endpoints = [ml.endpoints.get(name) for name in (STEADY, CHANGING)]
        counted = sum(seen.requests for each in endpoints for seen in each.observe(mlport.endpoints.ALL_TIME).deployments)
        kept = sum(map(captured, endpoints))
        schedule.delete()
        for endpoint in endpoints:
            endpoint.delete()
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    return {"began": began, "fired": fired, "changes": version - 2, "samples": lines, "counted": counted, "captured": kept}


def report(soak: Soak, found: dict[str, Any], minutes: float) -> tuple[list[Goal], dict[str, Any]]:
    """The goals and the figures."""
    warm = found["began"] + min(WARM_UP * minutes, 5) * 60
    samples = [sample for sample in found["samples"] if warm <= sample["time"] <= soak.until]
    memory, descriptors = growth(samples, "rss_mib"), growth(samples, "fds")
    everyone = trend([s["time"] for s in samples], [sum(role["processes"] for role in s["roles"].values()) for s in samples])
    jobs, jobs_wrong = jobs_account(soak, found["fired"])
    pairs, rows_wrong = requests_account(soak)
    remaining = left_over(soak.folder)
    for line in (*jobs_wrong[:10], *rows_wrong[:10], *remaining):
        print(f"WRONG: {line}", file=sys.stderr)
    goals = [
        *flat("MiB", memory, MEMORY_AN_HOUR, "MiB"),
        *flat("descriptors", descriptors, DESCRIPTORS_AN_HOUR, ""),
        Goal("processes in all an hour, lower end of 95 %", everyone.low, "at most", PROCESSES_AN_HOUR, ""),
        Goal("jobs that ended wrong, were lost or ran twice", len(jobs_wrong), "at most", 0, ""),
        Goal("requests without the right answer", len(rows_wrong), "at most", 0, ""),
        Goal("requests sent and not counted by the endpoint", abs(len(pairs) - found["counted"]), "at most", 0, ""),
        Goal("requests sent and not captured", abs(len(pairs) - found["captured"]), "at most", 0, ""),
        Goal("processes left after the end", len(remaining), "at most", 0, ""),
    ]
    half = (warm + soak.until) / 2
    figures = {
        "minutes": minutes,
        "jobs": jobs,
        "requests": len(pairs),
        "changes": found["changes"],
        "latency": {"first half": latency(pairs, warm, half), "second half": latency(pairs, half, soak.until)},
        "rss_mib": {name: _shown(trend) for name, trend in memory.items()},
        "fds": {name: _shown(trend) for name, trend in descriptors.items()},
        "processes": _shown(everyone),
        "disk": {"warm": _disk(samples[0]), "end": _disk(samples[-1])},
    }
    return goals, figures


def _shown(found: Trend) -> dict[str, float]:
    return {name: float(getattr(found, name)) for name in ("first", "last", "peak", "per_hour", "low", "high")}


def _disk(sample: dict[str, Any]) -> dict[str, Any]:
    return {name: {"files": sample["files"][name], "mib": mib} for name, mib in sorted(sample["mib"].items()) if mib >= 0.01}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--every", type=float, default=10, help="seconds between samples")
    parser.add_argument("--change", type=float, default=3, help="minutes between changes of a deployment")
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--rate", type=float, default=200, help="requests a second, of all callers")
    parser.add_argument("--json", type=Path, help="where to write the result")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mlport-soak-", ignore_cleanup_errors=True) as temporary:
        until = time.time() + options.minutes * 60
        soak = Soak(Path(temporary), until, options.every, options.change, options.callers, options.rate)
        found = run(soak, options.change)
        goals, figures = report(soak, found, options.minutes)
    print(f"Jobs {figures['jobs']}, {figures['requests']:,} requests, {figures['changes']} deployments changed")
    show(("resident MiB", "first", "last", "peak", "an hour", "low", "high"), [(n, *t.values()) for n, t in figures["rss_mib"].items()])
    show(("descriptors", "first", "last", "peak", "an hour", "low", "high"), [(n, *t.values()) for n, t in figures["fds"].items()])
    return finish("soak", goals, options.json, **figures)


if __name__ == "__main__":
    sys.exit(main())
