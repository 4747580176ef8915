"""The pure rules of monitors: which windows are due, what is news, when to train again; and that records keep."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlport import MonitorSpec, Window
from mlport.errors import SpecError
from mlport.monitoring import windows
from mlport.monitoring.reading.measuring import lasting
from mlport.monitoring.records import Column, Decay, Drift, Effect, Judged, Note, Phase, Reading, Retraining, Told, Verdict
from mlport.monitoring.specs import EVENTS, RetrainPolicy
from mlport.monitoring.stored import Known, Pending, Stored, _dump, _load
from mlport.monitoring.telling import news
from mlport.monitoring.training.policy import held_out, new_rows, wish
from mlport.monitoring.watching import LOOKING, next_run
from mlport.spi import Facts

START = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
JOB = {"name": "train", "entrypoint": ["true"]}


def spec(**fields: Any) -> MonitorSpec:
    return MonitorSpec.model_validate({"endpoint": "delays", "reference": "r.parquet", "delay": "10m", **fields})


def policy(**fields: Any) -> RetrainPolicy:
    return RetrainPolicy.model_validate({"job": JOB, "cooldown": "1h", **fields})


def stored(of: MonitorSpec, **fields: Any) -> Stored:
    return Stored(of, "token", "digest", START, START, START, {"uri": "r", "identity": "i", "rows": 1}, {"a": "number"}, **fields)


def reading(day: int, drift: Drift = "no drift", *, decay: Decay | None = None, rows: int = 100, late: timedelta = DAY) -> Reading:
    window = Window(START + day * DAY, START + (day + 1) * DAY)
    at = START + day * DAY + late
    judged = decay and Judged("accuracy", decay, rows, rows, at, 0.9)
    return Reading("m", window, at, drift, drift, performance=judged or None)


def trained(decided: datetime, held: Window, phase: Phase = "handed over") -> Retraining:
    return Retraining("1", "m", decided, "drift", "", (), phase, Window(held.start - DAY, held.start), held)


# ---------------------------------------------------------------- windows

lengths = st.integers(60, 10 * 86_400).map(lambda seconds: timedelta(seconds=seconds))
moments = st.integers(0, 400 * 86_400).map(lambda seconds: START + timedelta(seconds=seconds))


@given(lengths, st.none() | lengths, lengths, moments, st.lists(st.integers(0, 3 * 86_400), max_size=12))
def test_each_window_is_due_once_in_order_and_none_before_its_end_and_delay(
    window: timedelta, back: timedelta | None, delay: timedelta, created: datetime, looks: list[int]
) -> None:
    asked = spec(window=window, start=back, delay=delay)
    handled, now, read = windows.first(asked, created), created, []
    begun = handled
    assert (begun - windows.EPOCH) % window == timedelta(0)
    assert begun <= created - (back or timedelta()) < begun + window
    for wait in looks:
        now += timedelta(seconds=wait)
        for due in windows.due(asked, handled, now):
            assert due.end + delay <= now
            read.append(due)
            handled = due.end
        assert now < windows.next_due(asked, handled) == handled + window + delay
    assert [each.start for each in read] == [begun + n * window for n in range(len(read))]
    assert all(each.end - each.start == window for each in read)


@given(moments, st.sampled_from(["0 6 * * *", "*/7 * * * *", "30 2 * * 1"]), st.sampled_from(["UTC", "Europe/Berlin"]))
def test_with_a_schedule_the_next_run_is_at_its_first_time_at_which_the_window_can_be_read(handled: datetime, cron: str, zone: str) -> None:
    asked = spec(schedule=cron, time_zone=zone)
    at, ready = windows.next_due(asked, handled), handled + asked.window + asked.delay
    assert at >= ready
    assert windows.clocked(cron, zone, at - timedelta(microseconds=1)) == at
    between = windows.clocked(cron, zone, ready - timedelta(microseconds=1))
    assert between == at


def test_the_agent_comes_back_for_what_is_open_or_untold_and_for_a_schedule_of_training() -> None:
    idle = stored(spec(window="7d"))
    ran = START + timedelta(hours=2)
    assert next_run(idle, ran) == START + 7 * DAY + timedelta(minutes=10)
    assert next_run(replace(idle, open="1"), ran) == ran + timedelta(seconds=10)
    assert next_run(replace(idle, pending=(Pending("drift", "x", (0,), START),)), ran) == ran + timedelta(minutes=1)
    clocked = stored(spec(window="7d", retrain={"job": JOB, "schedule": "0 6 * * *"}))
    assert next_run(clocked, ran) == START + timedelta(hours=6)
    assert next_run(clocked, ran + DAY) == ran + DAY + timedelta(minutes=1), "overdue, in a cooldown: it is not asked for at each look"
    for length, pause in (("10m", LOOKING[0]), ("5h", timedelta(minutes=30)), ("30d", LOOKING[1])):
        assert next_run(stored(spec(window=length, measured_by="provider")), ran) == ran + pause


# ---------------------------------------------------------------- news

drifts = st.sampled_from(["drift", "no drift", "unknown"])


@given(st.lists(st.tuples(drifts, st.sampled_from(["", "", "away", "gone"])), max_size=12))
def test_a_state_is_told_when_it_begins_and_never_twice_on_end(history: list[tuple[Drift, str]]) -> None:
    known, told = Known(), []
    for day, (drift, error) in enumerate(history):
        found = replace(reading(day, "unknown" if error else drift), error=error)
        before = known
        known, events = news.of_reading(known, found)
        told += events
        assert len(events) <= 1
        assert bool(events) == (bool(error) != bool(before.failed) if error or before.failed else drift != before.drift)
        assert known.failed == error
        assert error or known.drift == drift
        assert news.of_reading(known, found) == (known, [])
    assert all(one != other for one, other in itertools.pairwise(told) if one in ("failed", "recovered"))


@given(st.lists(st.sampled_from(get_args(Decay)), max_size=8), st.sampled_from(["steady", "decayed"]))
def test_decay_is_told_of_the_newest_window_that_tells(found: list[Decay], before: str) -> None:
    readings = [reading(20 - n, decay=each) for n, each in enumerate(found)]
    known, event, about = news.of_decay(Known(decay=before), readings)
    telling = [each for each in readings if each.decay in ("decayed", "steady")]
    assert known.decay == (telling[0].decay if telling else before)
    assert (event, about) == ((None, None) if known.decay == before else ("decay" if known.decay == "decayed" else "recovered", telling[0]))


def test_only_those_who_asked_are_told() -> None:
    asked = spec(alerts=[{"on": ["drift"]}, {"on": ["decay", "drift"]}, {"on": ["failed"]}])
    assert news.pending(asked, "drift", reading(0)) == Pending("drift", START.isoformat(), (0, 1), START + DAY)
    assert news.pending(asked, "recovered", reading(0)) is None
    one = trained(START, Window(START, START + DAY))
    assert news.pending(spec(), "retraining", one) == Pending("retraining", "1", (0,), START)


@given(st.lists(drifts, max_size=6), drifts, st.integers(1, 4), st.integers(0, 3))
def test_drift_lasts_by_k_of_the_last_n_whatever_was_before(earlier: list[Drift], now: Drift, k: int, more: int) -> None:
    n = k + more
    found = lasting(now, earlier, k, n)
    assert found == lasting(now, earlier[: n - 1], k, n)
    assert (found == "drift") == ([now, *earlier][:n].count("drift") >= k)
    assert lasting("not watched", earlier, k, n) == "not watched"


# ---------------------------------------------------------------- when to train

steps = st.lists(
    st.tuples(
        st.sampled_from(["drift", "no drift", "unknown"]), st.sampled_from(["decayed", "steady", "not known yet", None]), st.booleans()
    ),
    min_size=1,
    max_size=14,
)


@given(steps, st.integers(1, 5), st.integers(1, 400), st.booleans(), st.integers(1, 3))
def test_no_reason_is_reason_for_two_trainings_and_none_comes_in_the_cooldown(
    days: Sequence[tuple[Drift, Decay | None, bool]], cooldown: int, wanted_rows: int, by_rows: bool, k: int
) -> None:
    rule = policy(cooldown=f"{cooldown * 12}h", new_rows=wanted_rows if by_rows else None)
    readings: list[Reading] = []
    begun: list[Retraining] = []
    seen: dict[str, set[str]] = {"drift": set(), "decay": set()}
    for day, (drift, decay, succeeds) in enumerate(days):
        one = reading(day, drift, decay=decay)
        readings.insert(0, replace(one, lasting=lasting(drift, [each.drift for each in readings], k, 3)))
        for hour in (0, 9, 18):
            now, last = START + (day + 1) * DAY + timedelta(hours=hour), begun[-1] if begun else None
            found = wish(rule, readings, last, START, now)
            if found is None:
                continue
            assert last is None or now - last.decided >= rule.cooldown
            if found.trigger in seen:
                assert found.causes
                assert not seen[found.trigger] & set(found.causes)
                seen[found.trigger] |= set(found.causes)
            else:
                assert new_rows(readings, last) >= wanted_rows
            held = held_out(rule, readings)
            made = trained(now, held or Window(now, now), "handed over" if held and succeeds else "refused")
            assert wish(rule, readings, made, START, now + 100 * DAY) is None, "nothing came since"
            assert wish(rule, readings, replace(made, phase="training"), START, now + 100 * DAY) is None, "one at a time"
            begun.append(made)


def test_a_schedule_trains_once_for_all_times_that_passed() -> None:
    rule = policy(schedule="0 6 * * *", on_drift=False, on_decay=False)
    assert wish(rule, [], None, START, START + timedelta(hours=5)) is None
    found = wish(rule, [], None, START, START + 3 * DAY)
    assert found is not None
    assert found.trigger == "schedule"
    last = trained(START + 3 * DAY, Window(START, START + DAY))
    assert wish(rule, [], last, last.decided, START + 3 * DAY + timedelta(hours=5)) is None
    assert wish(rule, [], last, last.decided, START + 3 * DAY + timedelta(hours=6)) is not None


def test_what_is_held_out_is_the_newest_window_with_labels_enough() -> None:
    readings = [reading(3, decay="not known yet"), reading(2, decay="undecided"), reading(1, decay="steady")]
    assert held_out(policy(), readings) == readings[1].window
    assert held_out(policy(holdout="36h"), readings) == Window(START + 3 * DAY - timedelta(hours=36), START + 3 * DAY)
    assert held_out(policy(), readings[:1]) is None


# ---------------------------------------------------------------- records

floats = st.floats(allow_nan=False, width=64)
words = st.text(max_size=8)
times = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
spans = st.tuples(times, times).map(lambda pair: Window(min(pair), max(pair)))
effects = st.builds(Effect, words, st.none() | floats, st.none() | floats, st.none() | floats, st.booleans())
severities = st.sampled_from(["none", "moderate", "severe"])
columns = st.builds(
    Column, words, drifts, severities, floats, st.lists(effects, max_size=2).map(tuple), st.lists(words, max_size=2).map(tuple), floats
)
judgements = st.builds(
    Judged, words, st.sampled_from(get_args(Decay)), st.integers(0), st.integers(0), times, *[st.none() | floats] * 8, words
)
notes = st.builds(Note, words, words, words, st.booleans())
tells = st.builds(Told, st.sampled_from(EVENTS), st.integers(0, 5), words, times, words)
readings_of_any_kind = st.builds(
    Reading, words, spans, times, drifts, drifts, severities, words, st.none() | st.integers(0), st.lists(columns, max_size=2).map(tuple),
    st.lists(notes, max_size=2).map(tuple), st.dictionaries(words, st.integers(0), max_size=2), words, st.none() | judgements, words,
    st.lists(tells, max_size=2).map(tuple), st.none() | words,
)  # fmt: skip
verdicts = st.builds(
    Verdict, st.booleans(), words, st.integers(0), spans, *[st.none() | floats] * 5, st.lists(words, max_size=2).map(tuple)
)
retrainings = st.builds(
    Retraining, words, words, times, st.sampled_from(["drift", "decay", "schedule", "new rows", "asked for"]), words,
    st.lists(words, max_size=2).map(tuple), st.sampled_from(get_args(Phase)), spans, spans, st.none() | st.integers(0),
    *[st.none() | words] * 5, st.none() | verdicts, st.none() | words, words, st.none() | times,
)  # fmt: skip


@given(readings_of_any_kind)
def test_a_reading_keeps(one: Reading) -> None:
    assert Reading.of_json(json.loads(json.dumps(one.to_json()))) == one


@given(retrainings)
def test_a_retraining_keeps(one: Retraining) -> None:
    assert Retraining.of_json(json.loads(json.dumps(one.to_json()))) == one


@given(
    st.lists(st.builds(Pending, st.sampled_from(EVENTS), words, st.lists(st.integers(0, 3), max_size=2).map(tuple), times), max_size=2),
    st.builds(Known, words, words, words),
    words,
    times,
)
def test_a_monitor_keeps(pending: list[Pending], known: Known, judged: str, clocked: datetime) -> None:
    one = stored(spec(retrain={"job": JOB}), pending=tuple(pending), known=known, judged=judged, code=Facts(bundle="b", bundle_bytes=3))
    one = replace(one, clocked=clocked)
    assert _load(_dump(one)) == one


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"persistence": [3, 2]}, "3 of 2 windows"),
        ({"thresholds": {"ks": -1}}, "no value may be negative"),
        ({"schedule": "61 * * * *"}, "schedule and time_zone"),
        ({"retrain": {"job": JOB, "on_drift": False, "on_decay": False}}, "nothing is ever trained"),
        ({"retrain": {"job": {**JOB, "inputs": {"rows": "r.csv"}}, "data": "rows"}}, "input 'rows' is 'r.csv' already"),
        ({"alerts": [{"to": "webhook"}]}, "url: needed for an alert to webhook"),
        ({"alerts": [{"to": "log", "url": "http://x"}]}, "an alert to log has no such field"),
    ],
)
def test_what_cannot_work_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        spec(**fields)
