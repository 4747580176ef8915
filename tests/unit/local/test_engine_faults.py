"""The engine when things die: after each, the state is true, nothing acknowledged is lost, and nothing runs twice."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from mlport.errors import UnavailableError
from mlport.spi import Query, State
from mlport_local.config import LocalConfig
from mlport_local.engine import process
from mlport_local.engine.database import connect, writing
from mlport_local.engine.private import secrets_path
from mlport_local.engine.process import Identity
from mlport_local.jobs import LocalJobs

Engine = Any
UNTIL_TOLD = (
    "import os, time\nprint('up', os.getpid(), flush=True)\nwhile not os.path.exists({flag!r}): time.sleep(0.01)\nraise SystemExit({code})"
)


def until_told(engine: Engine, code: int = 0) -> str:
    engine.layout.root.mkdir(exist_ok=True)
    return UNTIL_TOLD.format(flag=str(engine.layout.root / "flag"), code=code)


def tell(engine: Engine) -> None:
    (engine.layout.root / "flag").touch()


def up(engine: Engine, job_id: str) -> int:
    """The pid of the program, once it runs."""
    line: str = engine.wait_for(lambda: next((line for line in engine.log(job_id) if line.startswith("up")), None))
    return int(line.split()[1])


def runners(engine: Engine, job_id: str) -> list[Identity]:
    return [Identity.parse(text) for text in json.loads(engine.row(job_id)["runners"])]


def kill_supervisors(engine: Engine) -> None:
    for identity in engine.supervisors():
        assert process.send(identity, signal.SIGKILL)
        engine.wait_for(lambda identity=identity: not process.alive(identity))


def kill_runner(engine: Engine, job_id: str) -> None:
    for identity in runners(engine, job_id):
        process.send(identity, signal.SIGKILL)
        engine.wait_for(lambda identity=identity: not process.alive(identity))


@pytest.mark.parametrize(("code", "state"), [(0, State.SUCCEEDED), (7, State.FAILED)])
def test_a_dead_supervisors_job_is_adopted(engine: Engine, code: int, state: State) -> None:
    job_id = engine.submit(until_told(engine, code))
    pid = up(engine, job_id)
    kill_supervisors(engine)
    assert engine.jobs.status(job_id).state is State.RUNNING
    tell(engine)
    status = engine.ended(job_id)
    assert (status.state, status.attempt, engine.jobs.result(job_id).exit_code) == (state, 1, code)
    assert engine.log(job_id)[0] == f"up {pid}"


def test_a_result_that_is_there_is_the_truth(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPORT_FAULT", "before-finish")
    job_id = engine.submit("import os; open(os.environ['MLPORT_METRICS'], 'w').write('{\"auc\": 1}')")
    engine.wait_for(lambda: engine.row(job_id)["supervisor"] and not engine.supervisors())
    monkeypatch.delenv("MLPORT_FAULT")
    assert engine.ended(job_id).state is State.SUCCEEDED
    assert engine.jobs.result(job_id).metrics == {"auc": 1}


def test_what_died_with_its_supervisor_is_lost(engine: Engine) -> None:
    job_id = engine.submit(until_told(engine))
    pid = up(engine, job_id)
    program = process.identify(pid)
    assert program
    kill_supervisors(engine)
    kill_runner(engine, job_id)
    status = engine.ended(job_id)
    assert (status.state, status.cause, status.reason) == (State.FAILED, "lost", "lost: its runner was killed")
    assert not process.alive(program)


def test_what_died_is_tried_again_if_there_are_retries(engine: Engine) -> None:
    job_id = engine.submit(until_told(engine), retries=1)
    up(engine, job_id)
    kill_supervisors(engine)
    kill_runner(engine, job_id)
    tell(engine)
    status = engine.ended(job_id)
    assert (status.state, status.attempt) == (State.SUCCEEDED, 2)


def test_a_killed_runner_is_told_by_its_signal(engine: Engine) -> None:
    job_id = engine.submit(until_told(engine))
    up(engine, job_id)
    kill_runner(engine, job_id)
    status = engine.ended(job_id)
    assert (status.cause, status.reason) == ("out of memory", "its runner was killed by SIGKILL (out of memory?)")


def test_sigterm_from_elsewhere_is_a_preemption(engine: Engine) -> None:
    job_id = engine.submit(until_told(engine), retries=1)
    up(engine, job_id)
    process.send(runners(engine, job_id)[0], signal.SIGTERM)
    engine.wait_for(lambda: engine.jobs.status(job_id).attempt == 2)
    tell(engine)
    assert engine.ended(job_id).state is State.SUCCEEDED
    assert any("interrupted: stopped by SIGTERM, and nobody had cancelled it" in line for line in engine.log(job_id))


@pytest.mark.parametrize("point", ["after-claim", "before-running", "after-running"])
def test_before_the_gate_opens_nothing_has_run(engine: Engine, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPORT_FAULT", point)
    job_id = engine.submit(["echo", "once"])
    engine.wait_for(lambda: engine.row(job_id)["state"] != "QUEUED" and not engine.supervisors())
    monkeypatch.delenv("MLPORT_FAULT")
    status = engine.ended(job_id)
    assert (status.state, status.attempt, engine.jobs.result(job_id).exit_code) == (State.SUCCEEDED, 1, 0)
    assert [line for line in engine.log(job_id) if "went away" not in line] == ["once"]


def test_between_attempts_none_is_lost_or_doubled(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPORT_FAULT", "after-next-attempt")
    job_id = engine.submit("print('ran'); raise SystemExit(1)", retries=1)
    engine.wait_for(lambda: engine.row(job_id)["attempt"] == 2 and not engine.supervisors())
    monkeypatch.delenv("MLPORT_FAULT")
    status = engine.ended(job_id)
    assert (status.state, status.attempt) == (State.FAILED, 2)
    assert engine.log(job_id).count("ran") == 2


def test_a_reboot_loses_what_ran(engine: Engine) -> None:
    job_id = engine.submit(until_told(engine))
    up(engine, job_id)
    before = runners(engine, job_id)[0]
    kill_supervisors(engine)
    kill_runner(engine, job_id)
    with contextlib.closing(connect(engine.layout)) as connection, writing(connection):
        connection.execute("UPDATE jobs SET runners = ?", (json.dumps([f"{before.pid}:{before.ticks}:another-boot"]),))
    assert engine.ended(job_id).reason == "lost: the machine restarted"


def test_a_reused_pid_is_not_taken_for_the_old_process(engine: Engine) -> None:
    with subprocess.Popen(["sleep", "600"]) as innocent:
        identity = process.identify(innocent.pid)
        assert identity
        stranger = Identity(identity.pid, identity.ticks - 1, identity.boot)
        job_id = engine.submit(until_told(engine))
        up(engine, job_id)
        kill_supervisors(engine)
        kill_runner(engine, job_id)
        with contextlib.closing(connect(engine.layout)) as connection, writing(connection):
            connection.execute("UPDATE jobs SET runners = ?, supervisor = ?", (json.dumps([str(stranger)]), str(stranger)))
            connection.execute("INSERT INTO supervisors VALUES (?)", (str(stranger),))
        engine.jobs.cancel(job_id)
        assert engine.ended(job_id).state is State.CANCELLED
        assert innocent.poll() is None
        innocent.kill()


def test_a_cancel_outlives_a_dead_supervisor(engine: Engine) -> None:
    job_id = engine.submit(until_told(engine))
    program = process.identify(up(engine, job_id))
    kill_supervisors(engine)
    engine.jobs.cancel(job_id)
    assert engine.ended(job_id).state is State.CANCELLED
    assert program
    assert not process.alive(program)


def test_a_cancel_outlives_the_client(engine: Engine, client: list[str]) -> None:
    job_id = engine.submit(until_told(engine))
    up(engine, job_id)
    code = f"from mlport_local.config import LocalConfig; from mlport_local.jobs import LocalJobs; LocalJobs(LocalConfig(root={str(engine.layout.root)!r})).cancel({job_id!r})"
    done = subprocess.run(client, input=code, text=True, env={**os.environ, "MLPORT_FAULT": "after-cancel"}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert engine.ended(job_id).state is State.CANCELLED


SUBMIT = """
import json
from mlport.spi import Facts, Plan, Request
from mlport_local.config import LocalConfig
from mlport_local.jobs import LocalJobs
d = json.loads({plan!r}); d.update(facts=Facts(), requests=tuple(Request(**r) for r in d["requests"]), support={{}}, notes=())
print(LocalJobs(LocalConfig(root={root!r}, max_jobs=2)).submit(Plan(**d), token="t", secrets={{"KEY": "x"}}))
"""


@pytest.mark.parametrize(("point", "known"), [("after-secrets", False), ("before-submit", False), ("after-submit", True)])
def test_a_client_killed_while_submitting_finds_its_job_or_submits_again(
    engine: Engine, client: list[str], point: str, known: bool
) -> None:
    plan = engine.plan(["sh", "-c", "echo $KEY"])
    code = SUBMIT.format(plan=json.dumps(plan.to_json()), root=str(engine.layout.root))
    done = subprocess.run(client, input=code, text=True, env={**os.environ, "MLPORT_FAULT": point}, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (engine.jobs.find("t") is not None) == known
    job_id = engine.jobs.submit(plan, token="t", secrets={"KEY": "x"})
    assert engine.ended(job_id).state is State.SUCCEEDED
    assert engine.log(job_id) == ["x"]
    assert len(engine.jobs.list(Query()).items) == 1


def test_secrets_that_no_job_owns_are_removed(engine: Engine) -> None:
    path = secrets_path(engine.layout, "never-1")
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    os.utime(path, (0, 0))
    engine.run(["true"])
    engine.wait_for(lambda: not path.exists())


def test_a_locked_database_is_waited_for(engine: Engine) -> None:
    engine.run(["true"])
    other = sqlite3.connect(engine.layout.engine, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    timer.start()
    assert engine.run(["true"]).state is State.SUCCEEDED
    timer.join()
    other.close()


def test_a_root_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    jobs = LocalJobs(LocalConfig(root=tmp_path / "file" / "root"))
    with pytest.raises(UnavailableError, match=r"engine\.db"):
        jobs.find("t")


def test_a_damaged_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "engine.db").write_bytes(b"no database at all" * 1000)
    with pytest.raises(UnavailableError, match="not a database"):
        LocalJobs(LocalConfig(root=tmp_path)).find("t")


def test_an_engine_that_cannot_write_says_so(engine: Engine) -> None:
    engine.layout.root.mkdir(exist_ok=True)
    (engine.layout.root / "jobs").write_text("in the way")
    status = engine.run(["true"])
    assert status.state is State.FAILED
    assert status.reason.startswith("the engine could not run it: [Errno")


def test_a_job_that_trips_its_supervisor_fails_alone(engine: Engine) -> None:
    engine.run(["true"])
    with contextlib.closing(connect(engine.layout)) as connection, writing(connection):
        connection.execute(
            "INSERT INTO jobs (id, token, kind, name, state, native_state, cpus, memory_gib, created, plan_digest, request, plan)"
            " VALUES ('odd-1', 'odd', 'job', 'odd', 'QUEUED', 'QUEUED', 1, 1, 1, '', '{}', '{}')"
        )
    status = engine.ended("odd-1")
    assert status.reason.startswith("the engine failed: KeyError")
    assert engine.run(["true"]).state is State.SUCCEEDED
