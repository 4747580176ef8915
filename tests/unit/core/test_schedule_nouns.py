"""`ml.schedules` and the agent that fires them, on the sample provider."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import mlport
from mlport import JobSpec, ScheduleSpec, State
from mlport.agent import Agent
from mlport.chores import rota
from mlport.errors import ConflictError, NotFoundError, SpecError, UnavailableError, UnsupportedError
from mlport.spi import ScheduleState


def schedule(cron: str = "0 * * * *", zone: str = "UTC", **fields: Any) -> ScheduleSpec:
    return ScheduleSpec.model_validate({"name": "nightly", "cron": cron, "time_zone": zone, **fields})


@pytest.fixture
def job(tmp_path: Path) -> JobSpec:
    """A job that leaves the time it was scheduled for, and what its input held, in its metrics' names."""
    source = tmp_path / "code"
    source.mkdir()
    (source / "run.py").write_text(
        "import json, os\n"
        "rows = open(os.environ['MLPORT_INPUT_ROWS']).read()\n"
        "open(os.environ['MLPORT_METRICS'], 'a').write(json.dumps({os.environ['MLPORT_SCHEDULED']: 1, 'rows': len(rows)}) + '\\n')\n"
    )
    (tmp_path / "rows.csv").write_text("1")
    return JobSpec(name="nightly", source=str(source), entrypoint=("python", "run.py"), inputs={"rows": str(tmp_path / "rows.csv")})


Tick = Callable[[datetime], None]


@pytest.fixture
def agent(sample: mlport.Client) -> Iterator[Tick]:
    """The agent's look at a given time."""
    times: list[datetime] = []
    with rota(sample, lambda: times[-1]) as chores:

        def look(now: datetime) -> None:
            times.append(now)
            Agent(sample.session.state, chores, clock=lambda: times[-1], time_to_live=0.0).look()

        yield look


def soon(spec: mlport.Schedule, hours: int = 1) -> datetime:
    return spec.next(hours)[-1]


def test_a_schedule_from_creation_to_its_jobs(sample: mlport.Client, job: JobSpec, agent: Tick, tmp_path: Path) -> None:
    spec = schedule(job=job, labels={"team": "rides"})
    made = sample.schedules.create(spec)
    assert sample.schedules.create(spec).record.token == made.record.token
    assert (made.state, made.record.next) == (ScheduleState.ACTIVE, soon(made))
    first, third = soon(made), soon(made, 3)
    (tmp_path / "code" / "run.py").write_text("raise SystemExit('code of later')")

    agent(first)
    sample.jobs.get(next(made.firings()).job_id or "").wait(60)
    (tmp_path / "rows.csv").write_text("12345")
    agent(third)

    newest, oldest = made.firings()
    assert (oldest.scheduled, oldest.merged, newest.scheduled, newest.merged) == (first, 0, third, 1)
    ran = [sample.jobs.get(firing.job_id or "").wait(60) for firing in (oldest, newest)]
    assert [dict(each.metrics) for each in ran] == [{first.isoformat(): 1, "rows": 1}, {third.isoformat(): 1, "rows": 5}]
    labels = ran[0].status().labels
    assert (labels["mlport_schedule"], labels["team"]) == ("nightly", "rides")
    assert labels["mlport_scheduled"] == first.strftime("%Y%m%dt%H%M%Sz")
    assert ran[0].lineage["bundle"] == ran[1].lineage["bundle"]
    assert [record.name for record in sample.schedules.list()] == ["nightly"]
    made.delete()
    made.delete()
    with pytest.raises(NotFoundError, match="no schedule 'nightly'"):
        sample.schedules.get("nightly")
    assert len(list(sample.jobs.list())) == 2
    assert [*sample.session.state.list("schedule")] == []
    assert [*(tmp_path / "account" / "schedules").iterdir()] == []


def test_pause_and_resume(sample: mlport.Client, job: JobSpec, agent: Tick) -> None:
    made = sample.schedules.create(schedule(job=job, paused=True))
    assert (made.state, made.record.next) == (ScheduleState.PAUSED, None)
    agent(soon(made))
    assert list(made.firings()) == []
    made.resume()
    made.resume()
    agent(soon(made))
    made.pause()
    agent(soon(made, 9))
    (only,) = made.firings()
    assert only.merged == 0
    assert sample.jobs.get(only.job_id or "").wait(60).state is State.SUCCEEDED


def test_another_schedule_of_that_name_is_refused_and_a_deleted_one_can_be_made_anew(sample: mlport.Client, job: JobSpec) -> None:
    sample.schedules.create(schedule(job=job), key="k")
    with pytest.raises(ConflictError, match="'nightly' exists already, and is another"):
        sample.schedules.create(schedule("5 * * * *", job=job))
    with pytest.raises(ConflictError, match="'k'"):
        sample.schedules.create(schedule("5 * * * *", job=job), key="k")
    sample.schedules.delete("nightly")
    assert sample.schedules.create(schedule(job=job), key="k").state is ScheduleState.ACTIVE


def test_a_firing_whose_input_is_gone_says_so(sample: mlport.Client, job: JobSpec, agent: Tick, tmp_path: Path) -> None:
    made = sample.schedules.create(schedule(job=job))
    (tmp_path / "rows.csv").unlink()
    agent(soon(made))
    (only,) = made.firings()
    assert only.job_id is None
    assert "JobSpec.inputs.rows" in only.error


def test_a_provider_that_is_down_holds_the_firing_open(
    sample: mlport.Client, job: JobSpec, agent: Tick, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = sample.schedules.create(schedule(job=job))
    first = soon(made)

    def down(*_: Any, **__: Any) -> str:
        raise UnavailableError("down")

    with monkeypatch.context() as patched:
        patched.setattr(type(sample.session.jobs), "submit", down)
        agent(first)
    assert "schedule nightly failed" in caplog.text
    (waiting,) = made.firings()
    assert (waiting.scheduled, waiting.job_id, waiting.fired) == (first, None, None)
    agent(first + timedelta(minutes=1))
    (only,) = made.firings()
    assert sample.jobs.get(only.job_id or "").wait(60).state is State.SUCCEEDED


def test_what_would_fail_at_the_first_firing_fails_when_it_is_made(sample: mlport.Client, job: JobSpec) -> None:
    with pytest.raises(SpecError, match=r"did you mean 'run\.py'"):
        sample.schedules.create(schedule(job=job.model_copy(update={"entrypoint": ("python", "rnu.py")})))
    with pytest.raises(UnsupportedError, match=r"job\.retry"):
        sample.schedules.create(schedule(job=job.model_copy(update={"retries": 2})))
    assert list(sample.schedules.list()) == []


def test_a_dry_run_shows_what_would_be_started(sample: mlport.Client, job: JobSpec) -> None:
    plan = sample.schedules.plan(schedule("30 6 * * 1-5", "Europe/Berlin", job=job, jitter="5m", max_concurrent=1))
    assert (plan.kind, plan.name) == ("schedule", "nightly")
    assert plan.requests[0].body["job"]["entrypoint"] == ["python", "run.py"]
    assert {"schedule", "schedule.jitter", "schedule.limit"} <= plan.support.keys()
    assert json.loads(json.dumps(plan.to_json()))["spec"]["time_zone"] == "Europe/Berlin"
    assert replace(plan, facts=replace(plan.facts, git_dirty=None)).digest == plan.digest
