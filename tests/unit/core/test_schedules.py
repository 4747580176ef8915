"""Schedules: cron on clocks that change, firing exactly once through crashes, and the nouns over a real provider."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlport import JobSpec, ScheduleSpec
from mlport.agent import Agent
from mlport.chores import Fire
from mlport.errors import AmbiguousError, ConflictError, SpecError
from mlport.schedules import upcoming
from mlport.scheduling.cron import Cron
from mlport.scheduling.deciding import Due, due, firings, starts
from mlport.scheduling.firing import Clerk
from mlport.scheduling.stored import FIRINGS_KEPT, Book, Stored
from mlport.spi import ABSENT, Facts, Firing, Versioned

MONDAY = datetime(2026, 3, 2, 6, tzinfo=UTC)
JOB = JobSpec(name="nightly", entrypoint=("true",))


def schedule(cron: str = "0 * * * *", zone: str = "UTC", **fields: Any) -> ScheduleSpec:
    return ScheduleSpec.model_validate({"name": "nightly", "job": JOB, "cron": cron, "time_zone": zone, **fields})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# ---------------------------------------------------------------- cron


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        ("30 6 * * 1-5", "UTC", "2026-03-06T07:00", ["2026-03-09T06:30", "2026-03-10T06:30"]),
        ("0 0 31 * *", "UTC", "2026-01-31T00:00", ["2026-03-31T00:00", "2026-05-31T00:00"]),
        ("0 9 * * *", "Asia/Kolkata", "2026-03-02T00:00", ["2026-03-02T03:30"]),
        # spring: 02:00 to 03:00 does not come in Berlin on 29 March
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:30"]),
        ("0,20,40 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:00"]),
        ("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00", ["2026-03-29T00:30", "2026-03-29T01:00", "2026-03-29T01:30"]),
        ("*/30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["2026-03-30T00:00"]),
        # autumn: 02:00 to 03:00 comes twice on 25 October
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", ["2026-10-25T00:30", "2026-10-26T01:30"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30", ["2026-10-26T01:30"]),
        ("30 * * * *", "Europe/Berlin", "2026-10-24T23:45", ["2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T02:30"]),
        # a clock that changes by half an hour, and one that changes at midnight
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00", ["2026-10-03T15:30"]),
        ("0 0 * * *", "Africa/Cairo", "2026-04-23T00:00", ["2026-04-23T22:00", "2026-04-24T21:00"]),
    ],
)
def test_firings_on_clocks_that_change(cron: str, zone: str, after: str, expected: list[str]) -> None:
    assert list(Cron.parse(cron, zone).after(at(after), count=len(expected))) == [at(text) for text in expected]


crons = st.tuples(
    st.sampled_from(["*", "*/15", "0", "30", "5,35", "59"]),
    st.sampled_from(["*", "*/6", "2", "0-4", "23", "1,2,3"]),
    st.sampled_from(["*", "*", "1", "28-31", "*/10", "15"]),
    st.sampled_from(["*", "*", "3,10", "2"]),
    st.sampled_from(["*", "*", "1-5", "0", "MON"]),
).map(" ".join)
zones = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Cairo"]
)
moments = st.one_of(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),
    st.sampled_from(
        [datetime(2026, 3, 28, 20), datetime(2026, 10, 24, 20), datetime(2026, 11, 1), datetime(2026, 10, 3, 12), datetime(2026, 4, 23, 12)]
    ),
).map(lambda moment: moment.replace(tzinfo=UTC))


@settings(deadline=None)
@given(crons, zones, moments, st.integers(0, 30))
def test_where_one_starts_to_count_does_not_matter(cron: str, zone: str, moment: datetime, skipped: int) -> None:
    parsed = Cron.parse(cron, zone)
    found = list(parsed.after(moment, count=40))
    assert found == sorted(set(found))
    assert list(parsed.after(found[skipped], count=9)) == found[skipped + 1 : skipped + 10]
    between = found[skipped] + (found[skipped + 1] - found[skipped]) / 2
    assert list(parsed.after(between, count=9)) == found[skipped + 1 : skipped + 10]


@settings(deadline=None)
@given(crons, zones.filter(lambda zone: zone != "Australia/Lord_Howe"), moments)
def test_the_firings_are_those_of_debians_cron(cron: str, zone: str, moment: datetime) -> None:
    """As CronSim plays it, where it starts at a time that comes once. (It loses minutes where a clock jumps by half an hour.)"""
    start = moment.astimezone(ZoneInfo(zone))
    assume(start.utcoffset() == start.replace(fold=1 - start.fold).utcoffset())
    theirs = [found.astimezone(UTC) for found in itertools.islice(CronSim(cron, start), 30)]
    assert list(Cron.parse(cron, zone).after(moment, count=30)) == theirs


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cron": "* * * *"}, "has 4 fields; cron has five"),
        ({"cron": "@daily"}, "has 1 fields"),
        ({"cron": "61 * * * *"}, "bad minute"),
        ({"cron": "0 0 31 2 *"}, "bad day-of-month"),
        ({"time_zone": "Europe/Berlni"}, "no time zone 'Europe/Berlni'"),
        ({"time_zone": "../etc"}, "no time zone"),
        ({"job": None}, "exactly one of job and batch"),
        ({"jitter": "1h"}, "jitter 1:00:00 must be less than the 1:00:00"),
        ({"start": "2026-03-02T00:00:00", "end": "2026-03-01T23:00:00"}, "start .* is not before end"),
        ({"crn": "* * * * *"}, "did you mean 'cron'"),
        ({"job": None, "batch": {"name": "b", "model": {"name": "m", "version": "1"}, "input": "i", "output": "o"}}, r"must hold \{time\}"),
    ],
)
def test_what_cannot_work_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        schedule(**fields)


def test_start_and_end_are_on_the_schedules_clock() -> None:
    spec = schedule(zone="Europe/Berlin", start="2026-03-02T09:00:00", end="2026-03-02T10:00:00Z")
    assert list(firings(spec, at("2026-03-01T00:00"))) == [at("2026-03-02T08:00"), at("2026-03-02T09:00")]


def test_jitter_is_a_firings_own_and_lasting() -> None:
    spec = schedule(jitter="10m")
    first = upcoming(spec, 50, MONDAY, token="a")
    assert first == upcoming(spec, 50, MONDAY, token="a")
    assert first != upcoming(spec, 50, MONDAY, token="b")
    late = [(start - start.replace(minute=0, second=0, microsecond=0)).total_seconds() for start in first]
    assert all(0 <= seconds < 600 for seconds in late)
    assert len(set(late)) == 50


# ---------------------------------------------------------------- deciding


def decide(spec: ScheduleSpec, now: str, *, busy: int = 0) -> Due | None:
    return due(spec, "token", after=MONDAY, now=at(now), busy=busy)


def test_nothing_is_due_before_its_time() -> None:
    assert decide(schedule(), "2026-03-02T06:59:59") is None
    assert decide(schedule(), "2026-03-02T07:00") == Due(at("2026-03-02T07:00"))


def test_missed_firings_are_caught_up_by_one_run() -> None:
    assert decide(schedule(), "2026-03-02T10:30") == Due(at("2026-03-02T10:00"), merged=3)
    assert decide(schedule(end="2026-03-02T09:00Z"), "2026-03-05T00:00") == Due(at("2026-03-02T08:00"), merged=1)


def test_or_left_out() -> None:
    spec = schedule(catch_up="none")
    assert decide(spec, "2026-03-02T07:00:30") == Due(at("2026-03-02T07:00"))
    assert decide(spec, "2026-03-02T09:00:30") == Due(at("2026-03-02T08:00"), merged=1, reason="missed: nobody was there to start it")
    assert due(spec, "token", after=at("2026-03-02T08:00"), now=at("2026-03-02T09:00:30"), busy=0) == Due(at("2026-03-02T09:00"))


def test_a_firing_that_finds_no_place_waits_or_is_left_out() -> None:
    assert decide(schedule(max_concurrent=2), "2026-03-02T07:00", busy=2) is None
    assert decide(schedule(max_concurrent=2), "2026-03-02T09:00", busy=1) == Due(at("2026-03-02T09:00"), merged=2)
    left_out = Due(at("2026-03-02T07:00"), reason="left out: 2 of its runs go on")
    assert decide(schedule(max_concurrent=2, catch_up="none"), "2026-03-02T07:00", busy=2) == left_out


# ---------------------------------------------------------------- exactly once, whatever dies


class KilledError(BaseException):
    """Stands for kill -9: nothing of ours may catch it."""


@dataclass
class World:
    """A clock, a StateStore and a provider that all die with the agent, when told to, and then are there again."""

    now: datetime
    state: dict[str, Versioned] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    acts: int = 0
    deaths: frozenset[int] = frozenset()
    fails: int = 0

    def clock(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def mortal(self) -> None:
        self.acts += 1
        if self.acts in self.deaths:
            raise KilledError

    # the StateStore
    def get(self, key: str) -> Versioned | None:
        return self.state.get(key)

    def list(self, prefix: str) -> Iterator[tuple[str, Versioned]]:
        return iter([(key, found) for key, found in sorted(self.state.items()) if key.startswith(prefix)])

    def put(self, key: str, value: bytes, *, expect: str | None = None) -> str:
        found = self.state.get(key)
        if expect is not None and (found.version if found else ABSENT) != expect:
            raise ConflictError(f"{key} changed")
        self.mortal()
        self.state[key] = Versioned(value, str(self.acts))
        self.mortal()
        return self.state[key].version

    def delete(self, key: str, *, expect: str | None = None) -> None:
        self.state.pop(key, None)

    def close(self) -> None:
        pass

    # the provider: the same token, the same job
    def start(self, stored: Stored, firing: Firing) -> str:
        self.mortal()
        if self.fails and self.acts % self.fails == 0:
            raise AmbiguousError("no answer")
        job = self.jobs.setdefault(f"{stored.token}/{firing.scheduled}", f"job-{len(self.jobs)}")
        self.mortal()
        return job

    def clerk(self) -> Clerk:
        return Clerk(Book(self), self.start, lambda job: job not in self.ended, self.clock)

    def agent(self, **settings: Any) -> Agent:
        clerk = self.clerk()
        return Agent(
            self, lambda: [Fire(each, each.next(), clerk) for each in Book(self).all()], clock=self.clock, sleep=self.sleep, **settings
        )

    def add(self, spec: ScheduleSpec, token: str = "token") -> None:
        Book(self).add(Stored(spec, token, "digest", Facts(), {}, self.now, self.now, spec.paused))

    def fired(self) -> list[Firing]:
        book = Book(self)
        return list(reversed([*book.firings(book.get("nightly"))]))


def live(world: World, until: datetime, outages: Iterator[timedelta], tick: float) -> int:
    """Agents one after the other, each started when the last has died and some time has passed; how many died."""
    died = 0
    while True:
        try:
            world.agent(tick=tick).run(lambda: world.now > until)
            return died
        except KilledError:
            died += 1
            world.now += next(outages)


@settings(deadline=None, max_examples=40)
@given(
    crons,
    zones,
    moments,
    st.frozensets(st.integers(1, 200), max_size=25),
    st.lists(st.integers(0, 2000).map(lambda minutes: timedelta(minutes=minutes)), min_size=1, max_size=9),
    st.sampled_from([None, "2m", "14m"]),
    st.sampled_from([0, 3, 7]),
)
def test_every_instant_is_fired_once_or_merged_whoever_dies_wherever(
    cron: str, zone: str, moment: datetime, deaths: frozenset[int], outages: list[timedelta], jitter: str | None, fails: int
) -> None:
    spec = schedule(cron, zone, jitter=None if cron.startswith("*") else jitter)
    wanted = list(itertools.islice(firings(spec, moment), 20))
    world = World(moment)
    world.add(spec)
    world.acts, world.deaths, world.fails = 0, deaths, fails
    live(world, wanted[-1] + timedelta(minutes=15), itertools.cycle(outages), tick=1e9)
    world.deaths, world.fails = frozenset(), 0
    world.agent().look()

    covered = list(itertools.takewhile(lambda instant: starts(spec, "token", instant) <= world.now, firings(spec, moment)))
    done = world.fired()
    ends = list(itertools.accumulate(1 + firing.merged for firing in done))
    assert [covered[end - 1] for end in ends] == [firing.scheduled for firing in done]
    assert ends[-1] == len(covered)
    assert Counter(firing.job_id for firing in done) == Counter(world.jobs.values()), "one job a firing, none beside them"
    assert all(not firing.error and firing.fired is not None and firing.fired >= starts(spec, "token", firing.scheduled) for firing in done)
    assert Book(world).get("nightly").open is None


def test_without_crashes_nothing_is_merged() -> None:
    """A year of a schedule in a clock that changes, played through."""
    spec = schedule("30 2 * * *", "Europe/Berlin", jitter="20m")
    world = World(MONDAY)
    world.add(spec)
    live(world, MONDAY + timedelta(days=365), iter(()), tick=86_400.0)
    done = world.fired()
    assert len(done) == 365
    assert {firing.merged for firing in done} == {0}
    assert [firing.fired for firing in done] == [starts(spec, "token", firing.scheduled) for firing in done]


def test_two_agents_at_once_fire_once() -> None:
    world = World(MONDAY)
    world.add(schedule())
    world.now += timedelta(hours=1)
    first, second = world.clerk(), world.clerk()
    raced: list[Firing | None] = []

    def start(stored: Stored, firing: Firing) -> str:
        if not raced:
            raced.append(None)
            raced[0] = second.fire("nightly")  # another looks while the first is at it
        return world.start(stored, firing)

    one = Clerk(Book(world), start, lambda job: False, world.clock).fire("nightly")
    assert one is not None
    assert (one.job_id, raced[0] and raced[0].job_id) == ("job-0", "job-0")
    assert [firing.scheduled for firing in world.fired()] == [at("2026-03-02T07:00")]
    assert first.fire("nightly") is None


def test_what_can_never_start_is_recorded_and_the_next_is_tried() -> None:
    world = World(MONDAY)
    world.add(schedule())

    def start(stored: Stored, firing: Firing) -> str:
        if firing.scheduled.hour == 7:
            raise SpecError("inputs.rows: rows.csv does not exist")
        return world.start(stored, firing)

    clerk = Clerk(Book(world), start, lambda job: False, world.clock)
    for _ in range(2):
        world.now += timedelta(hours=1)
        clerk.fire("nightly")
    assert [(firing.job_id, firing.error) for firing in world.fired()] == [(None, "inputs.rows: rows.csv does not exist"), ("job-0", "")]


def test_runs_that_go_on_hold_the_next_back_until_they_end() -> None:
    world = World(MONDAY)
    world.add(schedule(max_concurrent=1))
    clerk = world.clerk()
    for hour in range(3):
        world.now = MONDAY + timedelta(hours=1 + hour)
        assert (clerk.fire("nightly") is None) == (hour > 0)
    world.ended.add("job-0")
    again = clerk.fire("nightly")
    assert again is not None
    assert (again.scheduled, again.merged) == (at("2026-03-02T09:00"), 1)


def test_a_clock_that_is_set_back_fires_nothing_twice() -> None:
    world = World(MONDAY)
    world.add(schedule())
    for hours in (1, 2, 1, 0, 2, 3):
        world.now = MONDAY + timedelta(hours=hours)
        world.agent().look()
        world.state.pop("lease/agent", None)
    assert [firing.scheduled.hour for firing in world.fired()] == [7, 8, 9]


def test_old_firings_are_forgotten_and_the_newest_come_first() -> None:
    world = World(MONDAY)
    world.add(schedule())
    book = Book(world)
    kept = book.get("nightly")
    for minute in range(FIRINGS_KEPT + 5):
        book.note(kept, Firing(MONDAY + timedelta(minutes=minute)))
    book.forget(kept)
    left = [firing.scheduled for firing in book.firings(kept)]
    assert (len(left), left[0]) == (FIRINGS_KEPT, MONDAY + timedelta(minutes=FIRINGS_KEPT + 4))


def test_what_is_stored_comes_back_as_it_was() -> None:
    world = World(MONDAY)
    spec = schedule(jitter="5m", start="2026-03-02T09:00:00", max_concurrent=2, labels={"a": "b"})
    kept = Stored(
        spec,
        "t",
        "d",
        Facts("bundle", 3, "commit", True),
        {"x": "y"},
        MONDAY,
        MONDAY,
        True,
        Firing(MONDAY, MONDAY, "j", "", 2),
        MONDAY,
        ("j",),
        MONDAY,
    )
    Book(world).add(kept)
    assert Book(world).get("nightly") == kept
