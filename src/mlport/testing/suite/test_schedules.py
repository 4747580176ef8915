"""Schedules: told as asked, fired once for each time, paused, caught up, gone.

Where the clock is mlport's own, its clerk is told the time of the firing. A vendor's own clock is waited for: a minute a firing,
beside all other tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import mlport
from mlport import Job, Schedule, ScheduleSpec, State
from mlport.capabilities import Capability as C
from mlport.errors import ConflictError, NotFoundError
from mlport.scheduling.firing import clerk
from mlport.scheduling.stored import StoredSchedules
from mlport.spi import Firing, ScheduleState
from mlport.testing import needs, programs
from mlport.testing.beside import Scene, jobs_of
from mlport.testing.targets import Targets
from mlport.testing.waiting import eventually

pytestmark = needs(C.SCHEDULE, C.JOB_RUN)
Create = Callable[..., Schedule]
EACH_MINUTE, EACH_HOUR = "* * * * *", "0 * * * *"
MINUTE = 60.0
LATE = 5.0  # seconds that a vendor's clock may be late by


@pytest.fixture
def scene(targets: Targets, tmp_path: Path, seconds: float) -> Iterator[Scene]:
    """Schedules that are gone when the test ends."""
    made = Scene(targets, tmp_path, seconds)
    yield made
    made.close()


@pytest.fixture
def create(scene: Scene) -> Create:
    """Makes a schedule, of each hour unless it is told otherwise."""
    return lambda cron=EACH_HOUR, **fields: scene.create(cron, **fields)


def own_clock(schedule: Schedule) -> StoredSchedules | None:
    """The schedules that mlport itself fires, None where the vendor's clock does."""
    role = schedule.client.session.schedules
    return role if isinstance(role, StoredSchedules) else None


def at(schedule: Schedule, moment: datetime) -> Firing | None:
    """What mlport's own clerk does for this schedule at a time, and for no other of the profile."""
    stored = own_clock(schedule)
    assert stored is not None
    return clerk(schedule.client, stored, lambda: moment).fire(schedule.name)


def coming(schedule: Schedule) -> datetime:
    """When it fires next."""
    return schedule.record.next or schedule.next()[0]


def let_pass(schedule: Schedule) -> None:
    """Let the time of its next firing come and go."""
    moment = coming(schedule)
    if own_clock(schedule):
        at(schedule, moment)
    else:
        eventually(lambda: datetime.now(UTC), lambda now: now > moment + timedelta(seconds=LATE), 2 * MINUTE)


def fired(schedule: Schedule, seconds: float) -> Job:
    """The job of its next firing."""
    known = {job.id for job in jobs_of(schedule)}
    let_pass(schedule)
    new = eventually(
        lambda: [firing for firing in schedule.firings() if firing.job_id and firing.job_id not in known], bool, seconds + MINUTE
    )
    return schedule.client.jobs.get(str(new[0].job_id))


def test_a_schedule_is_told_as_it_was_asked_for(create: Create, again: mlport.Client) -> None:
    made = create("30 6 * * 1-5", time_zone="Europe/Berlin", labels={"team": "suite"})
    record = again.schedules.get(made.name).record
    assert record == made.record
    assert (record.name, record.state, record.cron, record.time_zone) == (made.name, ScheduleState.ACTIVE, "30 6 * * 1-5", "Europe/Berlin")
    assert record.created is not None
    assert record.created.utcoffset() == timedelta(0)
    assert ScheduleSpec.model_validate(record.spec).job is not None
    assert record in list(again.schedules.list())
    assert list(made.firings()) == []


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Sao_Paulo"])
def test_the_next_times_are_by_the_clock_of_its_zone(create: Create, zone: str) -> None:
    made = create("30 6 * * *", time_zone=zone)
    times = made.next(3)
    assert all(time.utcoffset() == timedelta(0) and time > datetime.now(UTC) for time in times)
    assert [f"{time.astimezone(ZoneInfo(zone)):%H:%M}" for time in times] == ["06:30"] * 3
    assert sorted(set(times)) == times
    assert made.record.next in (None, times[0])


@pytest.mark.beside
def test_each_firing_is_one_job_with_the_code_as_it_was(scene: Scene) -> None:
    made, client, seconds = scene.create(EACH_MINUTE), scene.client, scene.seconds
    (scene.folder / "source" / "main.py").write_text("raise SystemExit('code of later')")
    jobs = [fired(made, seconds).wait(seconds) for _ in range(2)]
    assert jobs[0].id != jobs[1].id
    newest_first = [firing.job_id for firing in made.firings() if firing.job_id]
    assert newest_first[-2:] == [jobs[1].id, jobs[0].id], "each firing is listed once, the newest first"
    times = [firing.scheduled for firing in made.firings()]
    assert times == sorted(set(times), reverse=True)
    if client.can(C.JOB_LOGS) and own_clock(made):
        told = [line for job in reversed(jobs) for line in job.logs() if line.startswith("scheduled for")]
        assert told == [f"scheduled for {firing.scheduled.isoformat()}" for firing in made.firings()]
    assert {status.id for status in jobs_of(made)} >= {job.id for job in jobs}


def test_a_time_is_fired_once_however_many_ask_at_once(create: Create, client: mlport.Client, targets: Targets, seconds: float) -> None:
    made = create()
    if not own_clock(made):
        pytest.skip("the vendor's own clock is not asked")
    moment = coming(made)

    def ask(_: int) -> Firing | None:
        opened = targets.connect()
        assert opened is not None
        with opened:
            return at(opened.schedules.get(made.name), moment)

    with ThreadPoolExecutor(4) as pool:
        assert any(pool.map(ask, range(4))), "somebody fires it, and whoever finds it under way may finish it"
    assert at(made, moment) is None, "and then it is done"
    (firing,) = made.firings()
    assert (firing.scheduled, firing.merged, firing.error) == (moment, 0, "")
    job = client.jobs.get(firing.job_id or "").wait(seconds)
    assert [status.id for status in jobs_of(made)] == [job.id]
    assert job.status().token not in (None, made.record.token), "a key of its own"
    assert made.record.last is not None


def test_times_that_were_missed_are_caught_up_by_one_job(create: Create, client: mlport.Client) -> None:
    made = create(EACH_HOUR)
    if not own_clock(made):
        pytest.skip("the vendor's own clock cannot be made to miss a time")
    times = made.next(5, after=made.record.created)
    assert at(made, times[-1]) is not None
    assert at(made, times[-1]) is None
    (firing,) = made.firings()
    assert (firing.scheduled, firing.merged) == (times[-1], 4)
    assert len(jobs_of(made)) == 1


def test_times_that_were_missed_are_left_out_where_that_was_asked(create: Create, client: mlport.Client) -> None:
    made = create(EACH_HOUR, catch_up="none")
    if not own_clock(made):
        pytest.skip("the vendor's own clock cannot be made to miss a time")
    times = made.next(3, after=made.record.created)
    at(made, times[1] + timedelta(minutes=30))
    (firing,) = made.firings()
    assert (firing.job_id, firing.merged) == (None, 1)
    assert firing.reason
    assert jobs_of(made) == []


@pytest.mark.beside
def test_nothing_is_fired_while_it_is_paused_and_a_pause_is_not_caught_up(scene: Scene) -> None:
    made, client, again, seconds = scene.create(EACH_MINUTE, paused=True), scene.client, scene.open(), scene.seconds
    assert (made.state, made.record.next) == (ScheduleState.PAUSED, None)
    let_pass(made)
    assert jobs_of(made) == []
    if own_clock(made):
        later = made.next(3)[-1]
        StoredSchedules(client.session.state, scene.folder, lambda: later).resume(made.name)
        assert coming(made) > later, "what the pause left out is not caught up"
    made.resume()
    made.resume()
    assert again.schedules.get(made.name).state is ScheduleState.ACTIVE
    job = fired(made, seconds)
    made.pause()
    made.pause()
    assert [firing.merged for firing in made.firings() if firing.job_id == job.id] == [0]
    assert job.wait(seconds).state is State.SUCCEEDED, "what runs goes on"
    assert again.schedules.get(made.name).state is ScheduleState.PAUSED


def test_asked_again_it_is_the_same_and_another_of_that_name_is_a_conflict(create: Create, unique: str) -> None:
    first = create(name=unique, key=unique)
    assert create(name=unique, key=unique).record == first.record
    for other in ({"key": unique, "cron": "5 * * * *"}, {"cron": "5 * * * *"}):
        with pytest.raises(ConflictError):
            create(name=unique, **other)
    assert first.record.cron == EACH_HOUR


@pytest.mark.beside
def test_a_deleted_schedule_is_gone_and_its_jobs_stay(scene: Scene) -> None:
    made, client = scene.create(EACH_MINUTE), scene.client
    job = fired(made, scene.seconds)
    made.delete()
    made.delete()
    with pytest.raises(NotFoundError):
        client.schedules.get(made.name)
    assert made.name not in [record.name for record in client.schedules.list()]
    assert job.wait(scene.seconds).state is State.SUCCEEDED


@needs(C.SCHEDULE_JITTER)
@pytest.mark.beside
def test_jitter_delays_a_start_by_no_more_than_it_says(scene: Scene) -> None:
    made = scene.create(EACH_MINUTE, jitter="50s")
    stored = own_clock(made)
    if stored:
        moment = coming(made)
        instant = moment.replace(second=0, microsecond=0)
        assert timedelta(0) <= moment - instant < timedelta(seconds=50)
        assert at(made, moment - timedelta.resolution) is None, "not before its time"
    job = fired(made, scene.seconds)
    (firing,) = (firing for firing in made.firings() if firing.job_id == job.id)
    assert firing.scheduled.second == 0 or not stored, "it is for the time that cron gave"


@needs(C.SCHEDULE_LIMIT, C.JOB_CANCEL)
@pytest.mark.beside
def test_no_more_runs_go_on_at_once_than_may(scene: Scene) -> None:
    made, seconds = scene.create(EACH_MINUTE, programs.FOREVER, max_concurrent=1), scene.seconds
    first = fired(made, seconds)
    let_pass(made)
    assert [status.id for status in jobs_of(made) if not status.state.terminal] == [first.id]
    first.cancel()
    eventually(lambda: first.state, lambda state: state.terminal, seconds)
    assert fired(made, seconds).id != first.id, "there is a place again"


@needs(C.SCHEDULE_WINDOW)
def test_it_fires_only_between_its_start_and_its_end(create: Create, client: mlport.Client) -> None:
    start = datetime.now(UTC) + timedelta(days=2)
    end = start + timedelta(hours=3)
    made = create(EACH_HOUR, start=start, end=end)
    times = made.next(10)
    assert len(times) == 3
    assert all(start <= time < end for time in times)
    assert made.record.next in (None, times[0])
    if own_clock(made):
        assert at(made, start - timedelta(days=1)) is None
        assert at(made, end + timedelta(days=1)) is not None
        assert at(made, end + timedelta(days=2)) is None
        assert [firing.scheduled for firing in made.firings()] == times[-1:]
        assert (made.state, made.record.next) == (ScheduleState.ENDED, None)
