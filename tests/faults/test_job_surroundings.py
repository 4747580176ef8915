"""Jobs when the machine misbehaves, or they do: disk full or read-only, locks, clocks, damage, and programs that will not die."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from aids.local.engine import processes_of

from mlport.errors import UnavailableError
from mlport.spi import Query, State
from mlport_local.engine import database, process
from mlport_local.engine.database import connect, writing
from mlport_local.engine.log_limit import INTERVAL
from mlport_local.engine.process import Identity

Engine = Any
HERE = Path(__file__).parent
NAMESPACE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
HAS_NAMESPACES = process.LINUX and subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not HAS_NAMESPACES, reason="this machine lets nobody mount a small disk")
@pytest.mark.parametrize("scene", ["full_disk", "read_only"])
def test_a_disk_that_takes_nothing(tmp_path: Path, scene: str) -> None:
    """Whatever was acknowledged is there, what was refused is not, and all goes on once there is space."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f"mount -t tmpfs -o size=4m tmpfs {disk} && exec {sys.executable} {HERE / scene}.py {disk}"
    paths = [str(HERE.parent), *(str(Path(sys.modules[name].__file__ or "").parent.parent) for name in ("mlport", "mlport_local"))]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "MLPORT_EXPORT": "0"}
    done = subprocess.run([*NAMESPACE, "sh", "-c", script], env=env, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_database_that_another_program_holds(engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Clients and supervisors give up after a while, say so, and whoever comes later finishes the work."""
    monkeypatch.setenv("MLPORT_BUSY_SECONDS", "0.2")
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    gate = tmp_path / "gate"
    job_id = engine.submit(
        f"import pathlib, time; print('up', flush=True)\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.01)"
    )
    engine.wait_for(lambda: "up" in engine.log(job_id))
    with contextlib.closing(sqlite3.connect(engine.layout.engine, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="locked"):
            engine.submit(["true"], token="refused")
        gate.touch()
        engine.wait_for(lambda: not engine.supervisors())  # it could not write the end
        assert engine.jobs.status(job_id).state is State.RUNNING
    assert engine.ended(job_id).state is State.SUCCEEDED
    assert engine.jobs.find("refused") is None


@pytest.mark.parametrize("shift", [-86400, 86400])
def test_a_clock_that_jumps(engine: Engine, monkeypatch: pytest.MonkeyPatch, shift: int) -> None:
    """Order, identity and the times' own order do not depend on it."""
    first = engine.run(["true"])
    engine.wait_for(lambda: not engine.supervisors())
    running = engine.submit("import time; print('up', flush=True); time.sleep(600)", secrets={"KEY": "x"})
    engine.wait_for(lambda: "up" in engine.log(running))
    monkeypatch.setenv("MLPORT_CLOCK", str(shift))
    second = engine.run(["sh", "-c", "echo $KEY"], secrets={"KEY": "y"})
    assert engine.log(second.id) == ["y"]
    assert [status.id for status in engine.jobs.list(Query()).items] == [second.id, running, first.id]
    assert second.created <= second.started <= second.ended
    assert abs((second.created - first.created).total_seconds()) > 86000
    engine.jobs.cancel(running)
    status = engine.ended(running)
    assert status.state is State.CANCELLED
    assert status.created <= status.started <= status.ended


@pytest.mark.parametrize("damage", ["", '{"version": 1, "state": "SUCC', "[]", "{}"])
def test_a_damaged_result_is_no_result(engine: Engine, damage: str) -> None:
    job_id = engine.submit("import time; print('up', flush=True); time.sleep(600)")
    engine.wait_for(lambda: "up" in engine.log(job_id))
    (engine.layout.job(job_id) / "attempt-1" / "result.json").write_text(damage)
    for text in json.loads(engine.row(job_id)["runners"]):
        process.send(Identity.parse(text), signal.SIGKILL)
    status = engine.ended(job_id)
    assert (status.state, "its result.json is damaged" in status.reason) == (State.FAILED, True)


ESCAPES = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        os.closerange(0, 256)
        os.execve(sys.executable, [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"], {})
    os._exit(0)
os.wait()
print("up", flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(not process.LINUX, reason="only Linux has marks that a program cannot clear")
@pytest.mark.parametrize("dead", [(), ("supervisor",), ("supervisor", "runner")])
def test_nobody_escapes_a_cancel(engine: Engine, dead: tuple[str, ...]) -> None:
    """A daemon with a cleared environment, a session of its own and no open file is found, whoever has died before."""
    job_id = engine.submit(ESCAPES)
    folder = engine.layout.job(job_id)
    engine.wait_for(lambda: "up" in engine.log(job_id))
    daemons = engine.wait_for(lambda: [found for found in process.members(folder, []) if not any(process.environment_of(found.pid))])
    runners = [Identity.parse(text) for text in json.loads(engine.row(job_id)["runners"])]
    for identity in [*(engine.supervisors() if "supervisor" in dead else []), *(runners if "runner" in dead else [])]:
        process.send(identity, signal.SIGKILL)
        engine.wait_for(lambda identity=identity: not process.alive(identity))
    engine.jobs.cancel(job_id)
    assert engine.ended(job_id).state is State.CANCELLED
    assert not [found for found in daemons if process.alive(found)]
    assert not processes_of(folder)


FORKS = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(3): os.fork()
os.closerange(0, 3)
open(os.path.join(os.environ["MLPORT_CHECKPOINT_DIR"], str(os.getpid())), "w").close()
time.sleep(600)
"""


def test_a_family_that_ignores_sigterm_and_closes_its_streams(engine: Engine) -> None:
    job_id = engine.submit(FORKS)
    with contextlib.closing(connect(engine.layout)) as connection, writing(connection):
        connection.execute("UPDATE jobs SET request = json_set(request, '$.grace', 0.2)")  # not to wait for ten seconds
    folder = engine.layout.job(job_id)
    engine.wait_for(lambda: len(list((folder / "checkpoint").glob("*"))) == 8)
    pids = [int(path.name) for path in (folder / "checkpoint").glob("*")]
    engine.jobs.cancel(job_id)
    assert engine.ended(job_id).state is State.CANCELLED
    assert not [pid for pid in pids if process.look(pid)]


@pytest.mark.parametrize("mib", [96, pytest.param(1024, marks=pytest.mark.faults_full)])
def test_a_log_without_end(make_engine: Any, mib: int) -> None:
    """The disk holds no more of it than the limit and what is printed between two looks; beginning and end can be read."""
    engine = make_engine(log_limit_mib=4)
    line = "x" * 1023 + "\\n"
    program = f"import sys\nprint('begin')\nfor _ in range({mib}): sys.stdout.write('{line}' * 1024)\nprint('end')"
    job_id, log = engine.submit(program), engine.layout.root / "jobs"
    log = log / job_id / "log"
    most, began = 0, time.monotonic()
    while not engine.jobs.status(job_id).state.terminal:
        most = max(most, log.stat().st_blocks * 512 if log.exists() else 0)
        assert time.monotonic() - began < 60
    if _can_punch(log.parent):
        assert log.stat().st_blocks * 512 <= 5 << 20
        assert most < (4 << 20) + max(200 * INTERVAL / 0.05, 64) * (1 << 20)
    lines, after, complete = [], None, False
    while not complete:
        page = engine.jobs.logs(job_id, after=after)
        lines, after, complete = [*lines, *page.lines], page.after, page.complete
    (said,) = [text for text in lines if "bytes were left out here" in text]
    assert (lines[0], lines[-1]) == ("begin", "end")
    assert sum(map(len, lines)) < 5 << 20
    assert not [text for text in lines if "\0" in text]
    assert int(said.split()[1].replace(",", "")) > (mib - 5) << 20


def _can_punch(folder: Path) -> bool:
    return (folder / "log.cut").exists()
