"""500 trivial jobs from 8 processes at once on one root: none lost, none twice, by what the jobs themselves wrote; and jobs a second.

Beside it, from as many processes: `mlflow.projects.run`, which blocks, on fewer jobs; and `subprocess.run` one after the other,
which keeps nothing and is the floor of what starting a program costs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path

from _measure import Goal, finish, quiet_mlflow, show

import mlport
from mlport import JobSpec, State

WRITE = 'echo "$0" >> "$1"'
Submit = Callable[[list[str]], None]


@contextmanager
def ours(folder: Path) -> Iterator[Submit]:
    """Submit all, then wait for all."""
    with mlport.connect(f"local://{folder / 'root'}") as ml:
        _ = ml.session.jobs

        def submit(marks: list[str]) -> None:
            jobs = [ml.jobs.submit(JobSpec(name="trivial", entrypoint=("sh", "-c", WRITE, mark, str(folder / "mlport")))) for mark in marks]
            for job in jobs:
                job.wait()

        yield submit


@contextmanager
def projects(folder: Path) -> Iterator[Submit]:
    """MLflow Projects, each of which blocks; in the background it would be an `mlflow run` more for each."""
    quiet_mlflow()
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")

    def submit(marks: list[str]) -> None:
        for mark in marks:
            mlflow.projects.run(
                str(folder / "project"), parameters={"mark": mark}, env_manager="local", synchronous=True, storage_dir=str(folder)
            )

    yield submit


@contextmanager
def floor(folder: Path) -> Iterator[Submit]:
    def submit(marks: list[str]) -> None:
        for mark in marks:
            subprocess.run(["sh", "-c", WRITE, mark, str(folder / "subprocess")], check=True)

    yield submit


CASES = {"mlport": ours, "mlflow": projects, "subprocess": floor}


def client(case: str, folder: Path, marks: list[str], ready: Barrier) -> None:
    """One process: it opens what it needs, waits until all have, and submits its share."""
    with CASES[case](folder) as submit:
        ready.wait()
        submit(marks)


def swarm(case: str, folder: Path, jobs: int, processes: int) -> tuple[float, Counter[str]]:
    """Wall seconds from the first submit to the last end, and how often each job wrote its mark.

    Raises:
        RuntimeError: a client failed.
    """
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(processes + 1)
    marks = [f"{case}-{number}" for number in range(jobs)]
    started = [context.Process(target=client, args=(case, folder, marks[n::processes], ready)) for n in range(processes)]
    for process in started:
        process.start()
    ready.wait(timeout=120)
    began = time.perf_counter()
    for process in started:
        process.join()
    took = time.perf_counter() - began
    if failed := [process.exitcode for process in started if process.exitcode]:
        raise RuntimeError(f"{len(failed)} of {processes} clients of {case} failed, exit codes {failed}")
    return took, Counter((folder / case).read_text().split())


def prepare(folder: Path) -> None:
    """The project to run, and MLflow's tables: they are not to be made by eight at once."""
    project = folder / "project"
    project.mkdir()
    command = f"echo {{mark}} >> {folder / 'mlflow'}"
    (project / "MLproject").write_text(
        f"name: trivial\nentry_points:\n  main:\n    parameters:\n      mark: string\n    command: {command!r}\n"
    )
    with projects(folder) as submit:
        submit(["first"])
    (folder / "mlflow").unlink()


def states(folder: Path) -> Counter[State]:
    with mlport.connect(f"local://{folder / 'root'}") as ml:
        return Counter(status.state for status in ml.jobs.list())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--peer-jobs", type=int, default=16, help="of MLflow Projects, which takes seconds for each")
    parser.add_argument("--quick", action="store_true", help="a few jobs only")
    options = parser.parse_args()
    jobs, peers = (40, 8) if options.quick else (options.jobs, options.peer_jobs)
    amounts = {"mlport": jobs, "mlflow": peers, "subprocess": jobs}
    with tempfile.TemporaryDirectory(prefix="mlport-bench-") as temporary:
        folder = Path(temporary)
        prepare(folder)
        found = {case: swarm(case, folder, amount, options.processes) for case, amount in amounts.items()}
        ended = states(folder)
    wrote = found["mlport"][1]
    per_second = {case: amounts[case] / seconds for case, (seconds, _) in found.items()}
    print(f"Jobs that write one line, from {options.processes} processes at once")
    show(("", "jobs", "seconds", "jobs/s"), [(case, amounts[case], seconds, per_second[case]) for case, (seconds, _) in found.items()])
    goals = [
        Goal("jobs that did not run", sum(wrote[f"mlport-{n}"] == 0 for n in range(jobs)), "at most", 0),
        Goal("jobs that ran twice", sum(times > 1 for times in wrote.values()), "at most", 0),
        Goal("jobs that did not succeed, or are listed twice", abs(jobs - ended[State.SUCCEEDED]) + ended.total() - jobs, "at most", 0),
    ]
    times = per_second["mlport"] / per_second["mlflow"]
    print(f"{times:.1f} times the jobs a second of MLflow Projects")
    return finish("swarm", goals, jobs=amounts, seconds={case: seconds for case, (seconds, _) in found.items()}, per_second=per_second)


if __name__ == "__main__":
    sys.exit(main())
