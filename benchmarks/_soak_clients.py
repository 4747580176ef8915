"""The clients of the soak: `python _soak_clients.py jobs|requests ORDER.json`, each until the order's time is over.

What they find goes into files, so that their own memory tells of mlport's and not of what they remember.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable
from itertools import count, cycle
from pathlib import Path
from typing import Any

import mlport
from mlport import JobSpec, State
from mlport.errors import JobFailedError, MlportError

JOBS_KEPT = 40  # of each client; older ones are deleted
LINES = 50
FLUSH = 1000  # latencies between two writes
STEP = 10**9
"""What version n of the soak's model adds to its first feature, n times: an answer tells its row and its version."""
SHELL = {
    "short": 'echo "$0" >> "$1"; i=0; while [ $i -lt 50 ]; do echo "$0 $i"; i=$((i+1)); done',
    "failing": 'echo "$0" >> "$1"; echo "$0 0"; exit 3',
    "talkative": 'echo "$0" >> "$1"; yes "$0" | head -n 100000',
    "cancelled": 'echo "$0" >> "$1"; echo ready; sleep 3600 & sleep 3600',
}
PYTHON = """
import json, os, pathlib, sys
open(sys.argv[2], "a").write(sys.argv[1] + "\\n")
pathlib.Path(os.environ["MLPORT_OUTPUT_MODEL"], "weights").write_bytes(os.urandom(20_000))
with open(os.environ["MLPORT_METRICS"], "a") as out:
    for step in range(20):
        out.write(json.dumps({"name": "loss", "value": 1 / (step + 1), "step": step}) + "\\n")
"""
ENDS = {"short": "SUCCEEDED", "talkative": "SUCCEEDED", "metrics": "SUCCEEDED", "failing": "FAILED", "cancelled": "CANCELLED"}
SMALL = mlport.Compute(cpus=0.2, memory_gib=0.1)


def entrypoint(kind: str, mark: str, ledger: str) -> tuple[str, ...]:
    """A program that writes its mark to the ledger, once."""
    return ("python", "-c", PYTHON, mark, ledger) if kind == "metrics" else ("sh", "-c", SHELL[kind], mark, ledger)


class JobClient:
    """Submits one job after the other and checks how each ended; one line a job into its report."""

    def __init__(self, ml: mlport.Client, order: dict[str, Any]) -> None:
        self._ml, self._order = ml, order
        self._kept: deque[mlport.Job] = deque()

    def run(self) -> None:
        with Path(self._order["report"]).open("a", buffering=1, encoding="utf-8") as report:
            for number, kind in zip(count(), cycle(ENDS)):
                if time.time() >= self._order["until"]:
                    return
                mark = f"{self._order['name']}-{number}"
                report.write(json.dumps({"mark": mark, "kind": kind, "wrong": self.one(kind, mark)}) + "\n")

    def one(self, kind: str, mark: str) -> str:
        """Run one job; what was wrong with it, empty if nothing."""
        try:
            job = self._ml.jobs.submit(
                JobSpec(name="soak", entrypoint=entrypoint(kind, mark, self._order["ledger"]), compute=SMALL), key=mark
            )
            if kind == "cancelled":
                next(line for line in job.logs(follow=True) if line == "ready")
                job.cancel()
            wrong = self.checked(job, kind, mark)
            self._kept.append(job)
            if len(self._kept) > JOBS_KEPT:
                self._kept.popleft().delete()
        except (MlportError, StopIteration) as error:
            return f"{type(error).__name__}: {error}"
        return wrong

    def checked(self, job: mlport.Job, kind: str, mark: str) -> str:
        try:
            job.wait(timeout=300)
        except JobFailedError as error:
            ended = error.state
        else:
            ended = State.SUCCEEDED.value
        if ended != ENDS[kind]:
            return f"ended {ended}, not {ENDS[kind]}: {job.status().reason}"
        return CHECKS[kind](job, mark)


def _short(job: mlport.Job, mark: str) -> str:
    lines = list(job.logs())
    return "" if lines == [f"{mark} {number}" for number in range(LINES)] else f"its log is not what it printed: {lines[:3]} ..."


def _talkative(job: mlport.Job, mark: str) -> str:
    right = sum(line == mark for line in job.logs())
    return "" if right == 100_000 else f"{right} of 100,000 lines are in its log"


def _failing(job: mlport.Job, mark: str) -> str:
    return "" if job.result.exit_code == 3 else f"exit code {job.result.exit_code}, not 3"


def _metrics(job: mlport.Job, mark: str) -> str:
    size = Path(job.outputs["model"].removeprefix("file://"), "weights").stat().st_size
    return "" if job.metrics == {"loss": 0.05} and size == 20_000 else f"metrics {dict(job.metrics)}, output of {size} bytes"


def _cancelled(job: mlport.Job, mark: str) -> str:
    first, *others = job.logs()
    return "" if first == "ready" and all(line.startswith("mlport: ") for line in others) else "its log is not what it printed"


CHECKS: dict[str, Callable[[mlport.Job, str], str]] = {
    "short": _short,
    "talkative": _talkative,
    "failing": _failing,
    "metrics": _metrics,
    "cancelled": _cancelled,
}


class Caller(threading.Thread):
    """Sends one row after the other, each a row that nobody else sends, at a steady pace, and checks each answer."""

    def __init__(self, endpoint: mlport.Endpoint, first: int, pause: float, until: float, report: Path) -> None:
        super().__init__(name=f"caller-{first}")
        self._endpoint, self._first, self._pause, self._until, self._report = endpoint, first, pause, until, report

    def run(self) -> None:
        seen = array("d")  # pairs of time and seconds
        due = time.time()
        for number in count(self._first):
            if due >= self._until:
                break
            time.sleep(max(due - time.time(), 0))
            due = max(due + self._pause, time.time() - 1)  # after a halt at most a second is made up for
            began = time.perf_counter()
            wrong = self.one(number)
            seen.extend((time.time(), time.perf_counter() - began))
            if wrong:
                with self._report.with_suffix(".wrong").open("a", encoding="utf-8") as out:
                    out.write(json.dumps({"row": number, "time": time.time(), "wrong": wrong}) + "\n")
            if len(seen) >= 2 * FLUSH:
                self._write(seen)
        self._write(seen)

    def one(self, number: int) -> str:
        try:
            answer = self._endpoint.predict([{"a": float(number), "b": 1.0}], timeout=30)
        except MlportError as error:
            return f"{type(error).__name__}: {error}"
        expected = int(answer.version or 0) * STEP + number
        return "" if list(answer) == [expected] else f"answer {list(answer)} of version {answer.version}, not {expected}"

    def _write(self, seen: array[float]) -> None:
        with self._report.open("ab") as out:
            seen.tofile(out)
        del seen[:]


def call(ml: mlport.Client, order: dict[str, Any]) -> None:
    """Threads that share one client, in turn on each endpoint."""
    endpoints = [ml.endpoints.get(name) for name in order["endpoints"]]
    pause = order["threads"] / order["rate"]
    callers = [
        Caller(endpoints[n % len(endpoints)], order["first"] + n * 10**6, pause, order["until"], Path(f"{order['report']}-{n}"))
        for n in range(order["threads"])
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()


def main(kind: str, path: str) -> None:
    order = json.loads(Path(path).read_text())
    with mlport.connect(f"local://{order['root']}") as ml:
        if kind == "jobs":
            JobClient(ml, order).run()
        else:
            call(ml, order)


if __name__ == "__main__":
    main(*sys.argv[1:])
