"""Any order of what clients, programs and deaths can do to jobs, against a model of what must then be true.

The engine is the real one: each step acts on real processes. `make faults` runs it longer.
"""

import contextlib
import json
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest
from aids.local.engine import Engine, processes_of
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from mlport.errors import ConflictError
from mlport.spi import JobStatus, Query, State
from mlport_local.engine import process
from mlport_local.engine.process import Identity
from mlport_local.jobs import LocalJobs

PROGRAM = "until [ -e $0 ]; do sleep 0.02; done; read code < $0; exit $code"
SMALL = {"cpus": 0.1, "memory_gib": 0.1}


class Expected:
    """What the model knows of a job: what it may end as, and how many attempts it may have had."""

    def __init__(self, retries: int) -> None:
        self.retries = retries
        self.code: int | None = None  # what its program was told to end with
        self.cancelled = False
        self.disturbed = 0  # attempts that we may have ended
        self.preempted = 0
        self.final: JobStatus | None = None

    @property
    def states(self) -> set[State]:
        """The terminal states that are true of it."""
        possible = {State.CANCELLED} if self.cancelled else set()
        if self.code == 0:
            possible.add(State.SUCCEEDED)
        if self.code not in (0, None) or self.disturbed > self.retries:
            possible.add(State.FAILED)
        return possible


class Machine(RuleBasedStateMachine):
    """Two clients of one root, which may run two jobs at once."""

    jobs: Bundle[str] = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="mlport-machine-"))
        self.engine = Engine(self.folder / "root")
        self.clients = [self.engine.jobs, LocalJobs(self.engine.config)]
        self.model: dict[str, Expected] = {}
        self.tokens: dict[str, tuple[str, int]] = {}

    def client(self, number: int) -> LocalJobs:
        return self.clients[number]

    def flag(self, token: str) -> Path:
        return self.folder / f"flag-{token}"

    def token_of(self, job_id: str) -> str:
        return next(token for token, (found, _) in self.tokens.items() if found == job_id)

    @rule(target=jobs, client=st.integers(0, 1), token=st.sampled_from("abcdef"), retries=st.integers(0, 2))
    def submit(self, client: int, token: str, retries: int) -> str:
        known = self.tokens.get(token)
        plan = self.engine.plan(["sh", "-c", PROGRAM, str(self.flag(token))], compute=SMALL, retries=retries)
        if known and known[1] != retries:
            with pytest.raises(ConflictError):
                self.client(client).submit(plan, token=token)
            return known[0]
        job_id = self.client(client).submit(plan, token=token)
        assert known is None or known[0] == job_id
        self.tokens[token] = (job_id, retries)
        self.model.setdefault(job_id, Expected(retries))
        return job_id

    @rule(job=jobs, client=st.integers(0, 1))
    def cancel(self, job: str, client: int) -> None:
        self.client(client).cancel(job)
        self.model[job].cancelled = True  # even if it has ended: what may be drawn next must not depend on timing

    @rule(job=jobs, code=st.sampled_from([0, 0, 3]))
    def let_the_program_end(self, job: str, code: int) -> None:
        if self.model[job].code is None:
            self.model[job].code = code
            part = self.folder / "part"
            part.write_text(f"{code}\n")
            part.rename(self.flag(self.token_of(job)))

    @rule(job=jobs)
    def preempt(self, job: str) -> None:
        self.engine.jobs.preempt(job)
        self.model[job].preempted += 1

    @rule()
    def kill_the_supervisors(self) -> None:
        for identity in self.engine.supervisors():
            process.send(identity, signal.SIGKILL)

    @rule(job=jobs)
    def kill_the_runner(self, job: str) -> None:
        for text in json.loads(self.engine.row(job)["runners"]):
            if process.send(Identity.parse(text), signal.SIGKILL):
                self.model[job].disturbed += 1

    @precondition(lambda self: any(self.has_to_end(job) for job in self.model))
    @rule(data=st.data())
    def wait_for_an_end(self, data: Any) -> None:
        job = data.draw(st.sampled_from([job for job in self.model if self.has_to_end(job)]))
        self.engine.ended(job)

    def has_to_end(self, job: str) -> bool:
        """Whether it must end whatever we do: told to, and no job that was told nothing takes its place."""
        told = self.model[job].cancelled or self.model[job].code is not None
        others = [found for found in self.model if not self.model[found].cancelled and self.model[found].code is None]
        return told and len(others) < 2

    @invariant()
    def what_is_seen_is_true(self) -> None:
        seen = {status.id: status for status in self.clients[1].list(Query()).items}
        assert seen.keys() == self.model.keys()
        for job, status in seen.items():
            self.check(self.model[job], status)

    def check(self, expected: Expected, status: JobStatus) -> None:
        if expected.final is not None:
            assert status == expected.final  # the end never changes
        elif status.state.terminal:
            assert status.state in expected.states, (status.reason, status.state, status.attempt, vars(expected))
            expected.final = status
        assert 1 <= status.attempt <= 1 + expected.retries + expected.preempted

    def teardown(self) -> None:
        with contextlib.ExitStack() as after:
            after.callback(shutil.rmtree, self.folder, ignore_errors=True)
            after.callback(self.clients[1].close)
            after.callback(self.engine.close)
            for job in self.model:
                self.engine.jobs.cancel(job)
                self.model[job].cancelled = True
            for job in self.model:
                self.check(self.model[job], self.engine.ended(job))
                assert not processes_of(self.engine.layout.job(job))


def run(examples: int, steps: int) -> None:
    bounded = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Machine, settings=bounded)  # type: ignore[no-untyped-call]


@pytest.fixture(autouse=True)
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPORT_EXPORT", "0")


def test_any_order_of_events() -> None:
    run(examples=25, steps=25)


@pytest.mark.faults_full
def test_many_orders_of_events() -> None:
    run(examples=100, steps=30)
