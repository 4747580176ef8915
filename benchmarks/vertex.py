"""Submit and get, and from process start to the first job listed: mlport beside Google's high-level SDK, on the same emulator.

Both submit the same script: ours as a source folder, through journal, bundle and runner; the SDK's with
`CustomJob.from_local_script`, which uploads it, too. Each run is a process of its own, which tells its own seconds; requests
are those that reach the emulator meanwhile; the jobs of one run have ended before the next begins, for they ask, too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from _measure import FEWEST_RUNS, PYTHON, Goal, finish, interleaved, medians, show

from mlport.emulation.calls import Call, Reply
from mlport.emulation.server import Ready, serve
from mlport_vertex.emulator import EMULATOR

ENDED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED")
SCRIPT = "print('trained')\n"
OURS = """
import sys, time, json
import mlport
from mlport import JobSpec
from pathlib import Path
target, what, folder = sys.argv[1:]
with mlport.connect(target) as ml:
    if what == "list":
        next(iter(ml.jobs.list()))
    else:
        ml.session.api.connection.http  # credentials are read by both before the clock runs
        began = time.perf_counter()
        job = ml.jobs.submit(JobSpec(name="bench", source=folder, entrypoint=("python", "main.py")))
        ml.jobs.get(job.id)
        print(time.perf_counter() - began)
"""
THEIRS = """
import sys, time, json
from pathlib import Path
from google.cloud import aiplatform
target, what, folder = sys.argv[1:]
aiplatform.init(project="emulated", location="us-central1", staging_bucket="gs://emulated-mlport", api_transport=%r)
if what == "list":
    aiplatform.CustomJob.list()[0]
else:
    aiplatform.initializer.global_config.credentials
    began = time.perf_counter()
    job = aiplatform.CustomJob.from_local_script(
        display_name="bench", script_path=folder + "/main.py", container_uri="us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-6:latest")
    job.submit()
    aiplatform.CustomJob.get(job.resource_name)
    print(time.perf_counter() - began)
"""
PROGRAMS = {"mlport": OURS, "sdk rest": THEIRS % "rest", "sdk grpc": THEIRS % "grpc"}


class Counting:
    """The emulator, counting what it is asked."""

    name, effects = EMULATOR.name, EMULATOR.effects

    def __init__(self) -> None:
        self._lock = Lock()
        self.asked: Counter[str] = Counter()
        self.counts = False

    def open(self, folder: Path, faults: Any) -> Any:
        running = EMULATOR.open(folder, faults)
        answer = running.answer

        def counted(call: Call) -> Reply:
            with self._lock:
                if self.counts:
                    self.asked[call.host.partition(".")[0]] += 1
            return answer(call)

        running.answer = counted  # type: ignore[method-assign]
        return running

    @contextmanager
    def counting(self) -> Iterator[Counter[str]]:
        """What is asked until the block ends."""
        self.asked.clear()
        self.counts = True
        yield self.asked
        self.counts = False


def jobs(ready: Ready) -> list[dict[str, str]]:
    """The custom jobs that there are."""
    address = f"{ready.urls['vertex']}/v1/projects/emulated/locations/us-central1/customJobs?pageSize=1000"
    with urllib.request.urlopen(address, timeout=30) as answer:
        found: list[dict[str, str]] = json.load(answer).get("customJobs", [])
    return found


def measured(who: str, what: str, ready: Ready, emulator: Counting, folder: Path) -> dict[str, float]:
    """Seconds and requests of one run in a process of its own, once no job runs any more."""
    while any(job["state"] not in ENDED for job in jobs(ready)):
        time.sleep(0.1)
    target = ready.targets["vertex"]
    began = time.perf_counter()
    with emulator.counting() as asked:
        words = [PYTHON, "-c", PROGRAMS[who], target, what, str(folder)]
        done = subprocess.run(words, env={**os.environ, **ready.environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    seconds = time.perf_counter() - began if what == "list" else float(done.stdout.split()[-1])
    return {f"{who}: {what}, seconds": seconds, f"{who}: {what}, requests": float(sum(asked.values()))}


def goals(found: Mapping[str, float]) -> list[Goal]:
    peer = "sdk rest"
    return [
        Goal(
            f"submit and get, {unit}, times the SDK's", found[f"mlport: submit, {unit}"] / found[f"{peer}: submit, {unit}"], "at most", 1.0
        )
        for unit in ("seconds", "requests")
    ] + [
        Goal(
            "process start to first job listed, times the SDK's",
            found["mlport: list, seconds"] / found[f"{peer}: list, seconds"],
            "at most",
            0.5,
        )
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=FEWEST_RUNS)
    parser.add_argument("--quick", action="store_true", help="one run")
    options = parser.parse_args()
    runs = 1 if options.quick else options.runs
    emulator = Counting()
    with tempfile.TemporaryDirectory(prefix="mlport-bench-") as temporary, serve({"vertex": emulator}, Path(temporary) / "state") as ready:
        source = Path(temporary) / "source"
        source.mkdir()
        (source / "main.py").write_text(SCRIPT)
        found: dict[str, float] = {}
        for what in ("submit", "list"):
            cases = [partial(measured, who, what, ready, emulator, source) for who in PROGRAMS]
            found.update(medians(interleaved(cases, runs)))
    print(f"Median of {runs}")
    rows = [
        (f"{what}, {unit}", *(found[f"{who}: {what}, {unit}"] for who in PROGRAMS))
        for what in ("submit", "list")
        for unit in ("seconds", "requests")
    ]
    show(("", *PROGRAMS), rows)
    return finish("vertex", goals(found), runs=runs, figures=found)


if __name__ == "__main__":
    sys.exit(main())
