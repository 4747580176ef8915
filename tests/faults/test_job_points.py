"""Kill -9 before and after each durable write of a job's life: the state is true, and nothing acknowledged is lost or doubled.

The points are read from the code, so that a new one without a test fails here.
"""

import ast
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aids.local.engine import processes_of

import mlport.mlport_runner
import mlport_local.engine
import mlport_local.jobs
from mlport import bundle
from mlport.errors import NotFoundError
from mlport.spi import Facts, Query, State
from mlport_local.engine import process

Engine = Any
FILES = [
    *Path(mlport_local.engine.__path__[0]).rglob("*.py"),
    Path(mlport_local.jobs.__file__),
    Path(mlport.mlport_runner.__file__),
]
SUBMITTING = ["bundle", "secrets", "submit"]
SUPERVISING = ["claim", "running", "next-attempt", "finish"]
BUILDING = ["note", "environment"]
VERBS = ["cancel", "preempt", "delete", "collect", "reconcile", "secrets-removal"]
BETWEEN = {
    "after-started": "running",
    "during-build": "building",
    "during-collect": "verb",
    "before-result": "running",
    "after-result": "running",
}


def around(steps: list[str]) -> list[str]:
    return [f"{when}-{step}" for step in steps for when in ("before", "after")]


def points_of_code() -> set[str]:
    """Every point that the code has: two of each named write, and those that stand alone."""
    found: set[str] = set()
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id in ("writing", "write_durably") and file.name != "mlport_runner.py":
                step = node.args[{"writing": 1, "write_durably": 2}[node.func.id]]  # IndexError: a write without a name
                assert isinstance(step, ast.Constant), f"{file}:{node.lineno}"
                found |= set(around([str(step.value)]))
            if node.func.id == "fault" and isinstance(node.args[0], ast.Constant):
                found.add(str(node.args[0].value))
    return found


def test_every_point_has_a_test() -> None:
    assert points_of_code() == {*around(SUBMITTING + SUPERVISING + BUILDING + VERBS), *BETWEEN}


FAILS_ONCE = """
import os
path = os.path.join(os.environ["MLPORT_CHECKPOINT_DIR"], "runs")
runs = len(open(path).read()) if os.path.exists(path) else 0
with open(path, "a") as file: file.write("x")
with open(os.environ["MLPORT_METRICS"], "a") as file: file.write('{"runs": %d}\\n' % (runs + 1))
raise SystemExit(runs == 0 or os.environ["KEY"] != "hush")
"""
CLIENT = """
import json, os
from datetime import timedelta
from pathlib import Path
from mlport.spi import Facts, Plan, Request
from mlport_local.config import LocalConfig
from mlport_local.jobs import LocalJobs
task = json.loads({task!r})
jobs = LocalJobs(LocalConfig(root=task["root"], max_jobs=2))
if task["verb"] == "submit":
    d = task["plan"]; d.update(facts=Facts(bundle=d["facts"]["bundle"]), requests=tuple(Request(**r) for r in d["requests"]), support={{}}, notes=())
    print(jobs.submit(Plan(**d), token="t", bundle=Path(task["bundle"]), secrets={{"KEY": "hush"}}))
elif task["verb"] == "collect":
    jobs.collect(timedelta(0))
else:
    getattr(jobs, task["verb"])(task["job"])
"""


class Mortal:
    """A client in a process of its own, and everyone whom it starts: the first of them to reach the point dies there."""

    def __init__(self, engine: Engine, command: list[str], folder: Path, point: str) -> None:
        self.engine, self.command, self.file = engine, command, folder / "fault"
        self.file.write_text(point)

    @property
    def died(self) -> bool:
        return not self.file.exists()

    def ask(self, **task: Any) -> int:
        code = CLIENT.format(task=json.dumps({"root": str(self.engine.layout.root), **task}))
        env = {**os.environ, "MLPORT_FAULT": f"@{self.file}"}
        done = subprocess.run(self.command, input=code, text=True, env=env, check=False, capture_output=True)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.returncode


@pytest.fixture
def mortal(engine: Engine, client: list[str], tmp_path: Path) -> Callable[[str], Mortal]:
    return lambda point: Mortal(engine, client, tmp_path, point)


def live(engine: Engine, mortal: Mortal, folder: Path, **fields: Any) -> str:
    """A job that fails once and then succeeds, submitted by who may die of it and again by who does not."""
    (folder / "source").mkdir()
    (folder / "source" / "train.py").write_text(FAILS_ONCE)
    packed = bundle.pack(folder / "source", folder)
    plan = engine.plan(["python", "train.py"], facts=Facts(bundle=packed.digest), retries=2, **fields)
    died = mortal.ask(verb="submit", plan=plan.to_json(), bundle=str(packed.path)) != 0
    known = engine.jobs.find("t")
    job_id: str = engine.jobs.submit(plan, token="t", bundle=packed.path, secrets={"KEY": "hush"})
    assert known in ((None, job_id) if died else (job_id,))  # what was acknowledged is there
    return job_id


def assert_it_lived_once(engine: Engine, job_id: str) -> None:
    status = engine.ended(job_id, 60)
    assert status.state is State.SUCCEEDED, status
    assert engine.jobs.result(job_id).metrics == {"runs": 2}
    assert (engine.layout.job(job_id) / "checkpoint" / "runs").read_text() == "xx"
    assert [found.id for found in engine.jobs.list(Query()).items] == [job_id]
    engine.wait_for(lambda: not processes_of(engine.layout.root))
    assert not list((engine.layout.root / "secrets").iterdir())
    assert engine.jobs.status(job_id) == status


def quick_or_full(points: list[str], quick: set[str]) -> list[Any]:
    return [pytest.param(point, marks=() if point in quick else pytest.mark.faults_full) for point in points]


QUICK = {"before-submit", "after-submit", "after-claim", "before-finish", "after-finish", "before-result", "after-result"}


@pytest.mark.parametrize(
    "point", quick_or_full([*around(SUBMITTING + SUPERVISING), *(point for point, when in BETWEEN.items() if when == "running")], QUICK)
)
def test_a_death_in_the_life_of_a_job(engine: Engine, mortal: Callable[[str], Mortal], tmp_path: Path, point: str) -> None:
    doomed = mortal(point)
    job_id = live(engine, doomed, tmp_path)
    assert_it_lived_once(engine, job_id)
    assert doomed.died


@pytest.mark.parametrize("point", quick_or_full([*around(BUILDING), "during-build"], {"during-build"}))
def test_a_death_while_the_environment_is_built(engine: Engine, mortal: Callable[[str], Mortal], tmp_path: Path, point: str) -> None:
    doomed = mortal(point)
    job_id = live(engine, doomed, tmp_path, python=f"3.{sys.version_info.minor}")
    assert_it_lived_once(engine, job_id)
    assert doomed.died


def runs_and_waits(engine: Engine) -> str:
    job_id: str = engine.submit("import time; print('up', flush=True); time.sleep(600)")
    engine.wait_for(lambda: "up" in engine.log(job_id))
    return job_id


@pytest.mark.parametrize("point", quick_or_full(around(["cancel"]), {"after-cancel"}))
def test_a_death_while_cancelling(engine: Engine, mortal: Callable[[str], Mortal], point: str) -> None:
    job_id, doomed = runs_and_waits(engine), mortal(point)
    assert doomed.ask(verb="cancel", job=job_id) == -signal.SIGKILL
    if point.startswith("before"):
        assert engine.jobs.status(job_id).state is State.RUNNING
        engine.jobs.cancel(job_id)
    assert engine.ended(job_id).state is State.CANCELLED
    assert not processes_of(engine.layout.job(job_id))


@pytest.mark.parametrize("point", quick_or_full(around(["preempt"]), set()))
def test_a_death_while_preempting(engine: Engine, mortal: Callable[[str], Mortal], point: str) -> None:
    job_id, doomed = runs_and_waits(engine), mortal(point)
    assert doomed.ask(verb="preempt", job=job_id) == -signal.SIGKILL
    if point.startswith("before"):
        assert engine.jobs.status(job_id).attempt == 1
        engine.jobs.preempt(job_id)
    engine.wait_for(lambda: engine.jobs.status(job_id).attempt == 2)


@pytest.mark.parametrize("point", quick_or_full([*around(["delete", "collect"]), "during-collect"], {"after-delete"}))
def test_a_death_while_removing(engine: Engine, mortal: Callable[[str], Mortal], point: str) -> None:
    status, doomed = engine.run(["true"]), mortal(point)
    folder = engine.layout.job(status.id)
    if point == "before-delete":
        assert doomed.ask(verb="delete", job=status.id) == -signal.SIGKILL
        assert (engine.jobs.status(status.id), folder.exists()) == (status, True)
        engine.jobs.delete(status.id)
    elif point == "after-delete":
        assert doomed.ask(verb="delete", job=status.id) == -signal.SIGKILL
    else:
        engine.jobs.delete(status.id)
        folder.mkdir()  # as if that had been interrupted
        assert doomed.ask(verb="collect", job=None) == -signal.SIGKILL
    with pytest.raises(NotFoundError):
        engine.jobs.status(status.id)
    engine.jobs.collect(timedelta(0))
    assert not list((engine.layout.root / "jobs").iterdir())


@pytest.mark.parametrize("point", quick_or_full(around(["reconcile"]), set()))
def test_a_death_while_looking(engine: Engine, mortal: Callable[[str], Mortal], point: str) -> None:
    job_id, doomed = runs_and_waits(engine), mortal(point)
    for identity in engine.supervisors():
        process.send(identity, signal.SIGKILL)
        engine.wait_for(lambda identity=identity: not process.alive(identity))
    assert doomed.ask(verb="status", job=job_id) == -signal.SIGKILL
    assert engine.jobs.status(job_id).state is State.RUNNING
    engine.jobs.cancel(job_id)
    assert engine.ended(job_id).state is State.CANCELLED


@pytest.mark.parametrize("point", quick_or_full(around(["secrets-removal"]), set()))
def test_a_death_while_secrets_of_nobody_are_removed(engine: Engine, mortal: Callable[[str], Mortal], point: str) -> None:
    engine.run(["true"])
    engine.wait_for(lambda: not engine.supervisors())  # the last of them would remove it
    left = engine.layout.root / "secrets" / "never-1.json"
    left.parent.mkdir(exist_ok=True)
    left.write_text("{}")
    assert mortal(point).ask(verb="collect") == -signal.SIGKILL
    engine.run(["true"])
    engine.wait_for(lambda: not left.exists())
