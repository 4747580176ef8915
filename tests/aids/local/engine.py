"""A root with its engine for a test, and the certainty that nothing of it is left afterwards. Its fixtures are for conftests."""

import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlport.specs import JobSpec
from mlport.spi import Facts, JobStatus, Plan, Query, Request, State
from mlport_local.config import LocalConfig
from mlport_local.engine import process, staffing
from mlport_local.engine.database import connect
from mlport_local.engine.manifest import job_request
from mlport_local.engine.process import Identity
from mlport_local.jobs import LocalJobs


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """What the condition gives as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)
    return found


def words_of(pid: int) -> list[bytes]:
    """The command line of a process; empty if it has ended, or is another user's."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def processes_of(folder: Path) -> list[Identity]:
    """Everyone alive who has anything to do with a folder: by command line, environment or number. Not us."""
    found = set(process.members(folder, []))
    for seen in process.everyone():
        words = b"\0".join([*words_of(seen.pid), *process.environment_of(seen.pid)])
        if str(folder).encode() in words and seen.pid != os.getpid():
            found.add(Identity(seen.pid, seen.ticks, process.boot_id()))
    return [identity for identity in found if process.alive(identity)]


class Engine:
    """The local jobs of one root, with what tests need around them."""

    wait_for = staticmethod(wait_for)

    def __init__(self, root: Path, **settings: Any) -> None:
        self.config = LocalConfig(root=root, max_jobs=settings.pop("max_jobs", 2), **settings)
        self.layout = self.config.layout
        self.jobs = LocalJobs(self.config)
        self.count = 0

    def plan(self, program: str | list[str], *, facts: Facts | None = None, **fields: Any) -> Plan:
        entrypoint = ["python", "-c", program] if isinstance(program, str) else program
        spec = JobSpec(**{"name": "delays", "entrypoint": entrypoint, **fields})
        body = job_request(spec, facts or Facts(labels=spec.labels), self.config)
        return Plan("local", self.config.target, "job", spec.name, spec.to_json(), facts or Facts(), (Request("engine.submit", body),))

    def submit(self, program: str | list[str], *, token: str | None = None, secrets: dict[str, str] | None = None, **fields: Any) -> str:
        self.count += 1
        return self.jobs.submit(self.plan(program, **fields), token=token or f"token-{self.count}", secrets=secrets)

    def ended(self, job_id: str, seconds: float = 60) -> JobStatus:
        def look() -> JobStatus | None:
            status = self.jobs.status(job_id)
            return status if status.state.terminal else None

        found: JobStatus = wait_for(look, seconds)
        return found

    def run(self, program: str | list[str], **fields: Any) -> JobStatus:
        return self.ended(self.submit(program, **fields))

    def log(self, job_id: str) -> list[str]:
        return list(self.jobs.logs(job_id).lines)

    def work(self, job_id: str, attempt: int = 1) -> Path:
        return self.layout.job(job_id) / f"attempt-{attempt}" / "work"

    def row(self, job_id: str) -> sqlite3.Row:
        connection = connect(self.layout)
        try:
            found: sqlite3.Row = connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
            return found
        finally:
            connection.close()

    def supervisors(self) -> list[Identity]:
        connection = connect(self.layout)
        try:
            return [Identity.parse(text) for text in staffing.living(connection)]
        finally:
            connection.close()

    def members(self, job_id: str) -> list[Identity]:
        return process.members(self.layout.job(job_id), [])

    def close(self) -> None:
        """Cancel what runs and wait until nobody of this root is left."""
        active = frozenset({State.QUEUED, State.STARTING, State.RUNNING, State.CANCELLING})
        for status in self.jobs.list(Query(states=active, page_size=1000)).items:
            self.jobs.cancel(status.id)
        wait_for(lambda: not self.jobs.list(Query(states=active)).items)
        wait_for(lambda: not self.supervisors())
        self.jobs.close()


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A root of its own, for at most two jobs at once."""
    monkeypatch.setenv("MLPORT_EXPORT", "0")
    found = Engine(tmp_path / "root")
    yield found
    monkeypatch.delenv("MLPORT_FAULT", raising=False)
    found.close()


@pytest.fixture
def make_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Engine]]:
    """Roots with other settings."""
    monkeypatch.setenv("MLPORT_EXPORT", "0")
    made: list[Engine] = []

    def make(**settings: Any) -> Engine:
        made.append(Engine(tmp_path / f"root-{len(made)}", **settings))
        return made[-1]

    yield make
    for found in made:
        found.close()


@pytest.fixture
def client() -> list[str]:
    """The command of a second client process: Python with our packages."""
    paths = [str(Path(module.__file__ or "").parent.parent) for module in (sys.modules["mlport"], sys.modules["mlport_local"])]
    os.environ.setdefault("MLPORT_EXPORT", "0")
    return [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}; exec(sys.stdin.read())"]
