"""Seconds to submit a trivial job, and from submit to its end, in process; MLflow Projects on the same command in the same run.

Ours: `jobs.submit` returns once the job is durable and a supervisor that outlives the client will run it; `wait` returns once
its result is durable. The peer is `mlflow.projects.run`, tracked on SQLite, without building an environment: in the background,
where it starts an `mlflow run` that outlives the client, as our jobs do; and blocking, where the client itself is the supervisor.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from _measure import FEWEST_RUNS, Goal, finish, interleaved, medians, quiet_mlflow, show

import mlport
from mlport import Client, JobSpec

COMMAND = "true"
MOST = {"submit": 0.020, "submit to end": 0.3}


def timed(name: str, submit: Callable[[], Any]) -> dict[str, float]:
    """Seconds until `submit` returned, and until what it returned has ended."""
    began = time.perf_counter()
    submitted = submit()
    returned = time.perf_counter()
    submitted.wait()
    return {f"{name} submit": returned - began, f"{name} submit to end": time.perf_counter() - began}


def job(ml: Client) -> object:
    return ml.jobs.submit(JobSpec(name="trivial", entrypoint=(COMMAND,)))


def project(folder: Path) -> Callable[[bool], object]:
    """MLflow's way to run the same command: a function of whether to block."""
    quiet_mlflow()
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    (folder / "MLproject").write_text(f"name: trivial\nentry_points:\n  main:\n    command: {COMMAND!r}\n")
    return lambda block: mlflow.projects.run(str(folder), parameters={}, env_manager="local", synchronous=block, storage_dir=str(folder))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=FEWEST_RUNS)
    parser.add_argument("--quick", action="store_true", help="3 runs")
    options = parser.parse_args()
    runs = 3 if options.quick else options.runs
    with tempfile.TemporaryDirectory(prefix="mlport-bench-") as temporary, mlport.connect(f"local://{temporary}/root") as ml:
        run = project(Path(temporary))
        cases = [
            partial(timed, "mlport", partial(job, ml)),
            partial(timed, "mlflow", partial(run, False)),
            partial(timed, "mlflow blocking", partial(run, True)),
        ]
        found = medians(interleaved(cases, runs))
    print(f"Wall seconds for a job that runs `{COMMAND}`, median of {runs}")
    rows = [
        (what, ours, peer, peer / ours, "-" if what == "submit" else found[f"mlflow blocking {what}"])
        for what in MOST
        for ours, peer in [(found[f"mlport {what}"], found[f"mlflow {what}"])]
    ]
    show(("", "mlport", "mlflow", "times ours", "mlflow blocking"), rows)
    goals = [Goal(f"seconds: {what}", found[f"mlport {what}"], "at most", most, "s") for what, most in MOST.items()]
    return finish("submit", goals, runs=runs, seconds=found)


if __name__ == "__main__":
    sys.exit(main())
