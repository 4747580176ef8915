"""The agent: one leads, chores keep their time through failures and crashes, and a real one is killed and taken over from."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import mlport
from mlport import JobSpec, State, SweepSpec, systemd
from mlport.agent import Agent, status
from mlport.chores import Every, rota
from mlport.errors import UnavailableError
from mlport.state.lease import acquire
from mlport.state.sqlite import SqliteStateStore

MONDAY = datetime(2026, 3, 2, 6, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@dataclass
class Time:
    now: datetime = MONDAY

    def clock(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Counts:
    """A chore that is due each minute, and fails while told to."""

    name: str
    pause: timedelta = MINUTE
    fails: int = 0
    ran: list[datetime] = field(default_factory=list)

    def due(self, now: datetime) -> datetime | None:
        return self.ran[-1] + self.pause if self.ran else MONDAY

    def run(self, now: datetime) -> None:
        if self.fails:
            self.fails -= 1
            raise RuntimeError("a defect")
        self.ran.append(now)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    made = SqliteStateStore(tmp_path / "state.db")
    yield made
    made.close()


def until(moment: datetime, at: Time) -> Callable[[], bool]:
    return lambda: at.now > moment


def test_each_chore_runs_when_it_is_due(store: SqliteStateStore) -> None:
    at, often, seldom = Time(), Counts("often"), Counts("seldom", timedelta(minutes=7))
    Agent(store, lambda: [often, seldom], clock=at.clock, sleep=at.sleep, tick=20.0).run(until(MONDAY + 10 * MINUTE, at))
    assert often.ran == [MONDAY + minute * MINUTE for minute in range(11)]
    assert seldom.ran == [MONDAY, MONDAY + 7 * MINUTE]


def test_one_chores_defect_is_shown_tried_again_later_and_keeps_no_other_waiting(
    store: SqliteStateStore, caplog: pytest.LogCaptureFixture
) -> None:
    at, broken, well = Time(), Counts("broken", fails=3), Counts("well")
    agent = Agent(store, lambda: [broken, well], clock=at.clock, sleep=at.sleep)
    agent.look()
    word = status(store, at.clock)
    assert word is not None
    assert word["chores"][0] == {
        "name": "broken",
        "next": (MONDAY + timedelta(seconds=2)).isoformat(),
        "last": MONDAY.isoformat(),
        "failures": 1,
        "error": "RuntimeError: a defect",
    }
    agent.run(until(MONDAY + MINUTE, at))
    assert broken.ran[0] == MONDAY + timedelta(seconds=2 + 4 + 8)
    assert len(well.ran) == 2
    assert caplog.text.count("broken failed") == 3


def test_one_agent_leads_and_another_takes_over_when_it_is_gone(store: SqliteStateStore) -> None:
    at, chore = Time(), Counts("chore", timedelta(0))
    first, second = (Agent(store, lambda: [chore], clock=at.clock, sleep=at.sleep) for _ in range(2))
    assert first.look()
    assert not second.look()
    at.sleep(14)
    assert not second.look()
    at.sleep(2)
    assert second.look(), "the first has not been heard of for longer than it said"
    assert not first.look(), "it finds that it was replaced"
    second.leave()
    assert first.look(), "given up, the lead is free at once"


def test_a_lead_from_the_future_is_not_waited_for(store: SqliteStateStore) -> None:
    """A clock that was a year ahead when the agent died, and then was put right."""
    assert acquire(store, "agent", "dead", 15.0, clock=lambda: (MONDAY + timedelta(days=365)).timestamp())
    at = Time()
    assert Agent(store, list, clock=at.clock, sleep=at.sleep).look()


def test_a_store_that_fails_for_a_while_is_looked_at_again(store: SqliteStateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    at, chore = Time(), Counts("chore")
    fails = iter([True, True])

    def get(key: str) -> Any:
        if next(fails, False):
            raise UnavailableError("disk full")
        return SqliteStateStore.get(store, key)

    monkeypatch.setattr(store, "get", get)
    Agent(store, lambda: [chore], clock=at.clock, sleep=at.sleep).run(until(MONDAY + MINUTE, at))
    assert len(chore.ran) == 1


def test_what_is_done_again_and_again_is_not_held_up_by_a_clock_set_back() -> None:
    done: list[int] = []
    chore = Every("x", MINUTE, lambda: done.append(1))
    chore.run(MONDAY + timedelta(days=365))
    due = chore.due(MONDAY)
    assert due is not None
    assert due <= MONDAY + MINUTE


def test_status_says_whether_it_leads_still(store: SqliteStateStore) -> None:
    at = Time()
    assert status(store) is None
    Agent(store, lambda: [Counts("chore")], clock=at.clock, sleep=at.sleep).look()
    leading, later = status(store, at.clock), status(store, lambda: MONDAY + MINUTE)
    assert leading is not None
    assert later is not None
    assert (leading["leads"], later["leads"]) == (True, False)


def test_a_sweep_that_nobody_waits_for_is_driven(sample: mlport.Client, writes_model: Callable[..., JobSpec]) -> None:
    spec = SweepSpec(
        name="texts", job=writes_model(), space={"text": ("a", "bbb", "cc")}, metric="length", direction="maximize", algorithm="grid"
    )
    sweep = sample.sweeps.start(spec)
    with rota(sample) as chores:
        agent = Agent(sample.session.state, chores)
        deadline = time.monotonic() + 60
        while not sweep.state.terminal:
            assert time.monotonic() < deadline
            agent.look()
            time.sleep(0.01)
    assert sweep.state is State.SUCCEEDED
    assert sweep.best is not None
    assert sweep.best.params == {"text": "bbb"}


AGENT = """
import signal, sys, threading
from datetime import UTC, datetime, timedelta
import mlport
from mlport.agent import Agent
from mlport.chores import rota

ahead = timedelta(seconds=float(sys.argv[2]))
clock = lambda: datetime.now(UTC) + ahead
with mlport.connect(sys.argv[1]) as client, rota(client, clock) as chores:
    print("ready", flush=True)
    Agent(client.session.state, chores, clock=clock, tick=0.05, time_to_live=0.5).run()
"""


def test_an_agent_killed_again_and_again_loses_no_firing_and_makes_none_twice(
    sample: mlport.Client, writes_model: Callable[..., JobSpec]
) -> None:
    """Real processes, each a day further in time than the one before, killed as soon as the day's firing is decided on or later."""
    made = sample.schedules.create(mlport.ScheduleSpec(name="daily", job=writes_model(), cron="0 12 * * *", catch_up="once"))
    lives = 4
    for day in range(1, lives + 1):
        command = [sys.executable, "-c", AGENT, sample.config.target, str(day * 86_400)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as agent:
            assert agent.stdout is not None
            agent.stdout.readline()
            deadline = time.monotonic() + 30
            while len(list(made.firings())) < day:
                assert time.monotonic() < deadline
                time.sleep(0.001)
            os.kill(agent.pid, signal.SIGKILL)
    with rota(sample, lambda: datetime.now(UTC) + timedelta(days=lives)) as chores:
        agent_now = Agent(sample.session.state, chores, clock=lambda: datetime.now(UTC) + timedelta(days=lives), time_to_live=0.5)
        deadline = time.monotonic() + 30
        while not agent_now.look():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    found = list(made.firings())
    assert len({firing.scheduled for firing in found}) == lives
    assert all(firing.job_id for firing in found)
    assert sorted(job.id for job in sample.jobs.list()) == sorted(firing.job_id or "" for firing in found)
    for firing in found:
        sample.jobs.get(firing.job_id or "").wait(60)


# ---------------------------------------------------------------- systemd


def test_the_unit_starts_the_command_as_it_is() -> None:
    command = ["/opt/my env/bin/python", "-m", "mlport.cli.main", "--profile", 'odd "name" 100% $HOME \\', "agent", "run"]
    text = systemd.unit(command, profile="p", folder=Path("/srv/a b"), environment={"PATH": "/bin:/x y"}, user="ada")
    settings = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    assert shlex.split(settings["ExecStart"].replace("%%", "%").replace("$$", "$")) == command
    assert settings["KillMode"] == "process", "jobs are not the agent's to end"
    assert (settings["User"], settings["WantedBy"], settings["Restart"]) == ("ada", "multi-user.target", "always")
    assert settings["WorkingDirectory"] == "/srv/a b"
    assert shlex.split(settings["Environment"]) == ["PATH=/bin:/x y"]
    own = systemd.unit(command, profile="p", folder=Path("/"), environment={}, user=None)
    assert "User=" not in own
    assert "WantedBy=default.target" in own


def test_systemd_itself_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    analyze = next((path for path in ("/usr/bin/systemd-analyze", "/bin/systemd-analyze") if Path(path).exists()), None)
    if analyze is None:
        pytest.skip("there is no systemd-analyze here")
    path = tmp_path / systemd.unit_name("laptop")
    path.write_text(systemd.unit([sys.executable, "agent"], profile="laptop", folder=tmp_path, environment={"A": "b"}, user="root"))
    done = subprocess.run([analyze, "verify", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert json.dumps(done.stderr.splitlines()) == "[]"
