"""A monitor's runs: each due window once and in order, what is told of it, labels whenever they come, and deaths anywhere."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aids.monitoring import DAY, MOVED, ROWS, Place, dies, lives, oldest_first, rows

from mlport import Monitor, Window, labels
from mlport.agent import Agent, status
from mlport.chores import Rota
from mlport.errors import ConflictError, SpecError, UnavailableError
from mlport.monitoring.reading.decaying import labels_of
from mlport.spi import Measured, Measurement, Page, State
from mlport.state.lease import acquire

SECOND = timedelta(seconds=1)


def events(monitor: Monitor) -> list[tuple[int, str]]:
    """Who was told of what, by the number of the window."""
    return [(n, told.event) for n, each in enumerate(oldest_first(monitor)) for told in each.told]


@pytest.fixture
def looked(place: Place, monkeypatch: pytest.MonkeyPatch) -> list[Window]:
    """The windows for which the capture was read."""
    seen: list[Window] = []
    endpoints = place.client.session.endpoints
    real = endpoints.captured

    def captured(name: str, window: Window) -> Iterator[pa.RecordBatch]:
        seen.append(window)
        return real(name, window)

    monkeypatch.setattr(endpoints, "captured", captured)
    return seen


# ---------------------------------------------------------------- windows


def test_every_due_window_is_read_once_and_in_order_and_only_changes_are_told(place: Place, looked: list[Window]) -> None:
    place.days(0.0, MOVED, MOVED, 0.0)
    monitor = place.watch(4, watch=["drift"])
    assert monitor.run(place.today - 2 * DAY) == oldest_first(monitor)
    assert monitor.view.next == place.today - 2 * DAY + SECOND
    found = monitor.run()
    assert [each.window for each in oldest_first(monitor)] == [place.day(ago) for ago in (4, 3, 2, 1)] == looked
    assert [each.drift for each in oldest_first(monitor)] == ["no drift", "drift", "drift", "no drift"]
    assert [each.rows for each in found] == [ROWS] * 3
    assert [[column.name for column in each.drifted] for each in found] == [["a"], ["a"], []]
    assert events(monitor) == [(1, "drift"), (3, "recovered")]
    assert found[-1].versions == {"1": ROWS}
    assert monitor.run() == []
    assert len(looked) == 4


def test_drift_must_last_before_it_is_told(place: Place) -> None:
    place.days(MOVED, 0.0, MOVED, MOVED, 0.0, 0.0)
    monitor = place.watch(6, watch=["drift"], persistence=[2, 3])
    assert [each.lasting for each in monitor.run()] == ["no drift", "no drift", "drift", "drift", "drift", "no drift"]
    assert events(monitor) == [(2, "drift"), (5, "recovered")]


def test_a_look_back_is_a_reading_and_no_news(place: Place) -> None:
    place.days(MOVED, 0.0)
    monitor = place.watch(1, watch=["drift"])
    monitor.run()
    assert monitor.read(place.day(2)).drift == "drift"
    assert [each.drift for each in oldest_first(monitor)] == ["drift", "no drift"]
    assert events(monitor) == []


def test_the_scheduled_window_stands_over_a_part_of_it_that_somebody_read(place: Place) -> None:
    place.keep(1, rows(), hour=3)
    place.keep(1, rows(), hour=15)
    monitor, whole = place.watch(1), place.day(1)
    morning = monitor.read(Window(whole.start, whole.start + DAY / 2))
    assert morning.rows == ROWS
    assert [(each.window, each.rows) for each in monitor.run()] == [(whole, 2 * ROWS)]
    assert monitor.view.next == place.today + DAY + SECOND
    assert monitor.read(morning.window) == next(monitor.readings()), "of windows that begin together the longest stands"


def test_a_longer_look_stands_and_no_window_is_left_out_for_it(place: Place) -> None:
    place.days(0.0, MOVED)
    monitor = place.watch(2, watch=["drift"])
    both = monitor.read(Window(place.day(2).start, place.day(1).end))
    assert both.rows == 2 * ROWS
    assert [each.window for each in monitor.run()] == [both.window, place.day(1)]


def test_a_monitor_of_decay_alone_says_nothing_of_drift(place: Place) -> None:
    place.days(MOVED)
    monitor = place.watch(1, watch=["decay"])
    found = monitor.run()[0]
    assert (found.drift, found.lasting, found.decay, found.told) == ("not watched", "not watched", "not known yet", ())


def test_a_providers_measurement_that_ends_after_a_later_one_is_read_all_the_same(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(ago: int, state: State = State.SUCCEEDED, value: float = 0.0) -> Measurement:
        found = tuple(Measured(name, "jsd", value, 0.3, value > 0.3) for name in ("a", "b"))
        return Measurement(f"m{ago}", place.day(ago), state, str(state), found, ROWS)

    pages: list[list[Measurement]] = []

    class Own:
        """A provider's monitors of which the pages are known."""

        def measurements(self, name: str, page: str | None = None) -> Page[Measurement]:
            at = int(page or 0)
            return Page(pages[at], str(at + 1) if at + 1 < len(pages) else None)

    monitor = place.watch(4, watch=["drift"])
    store, key = place.client.session.state, f"monitors/{monitor.name}"
    composed = store.get(key)
    assert composed is not None
    store.put(key, composed.value.replace(b'"measured_by": "mlport"', b'"measured_by": "provider"'))
    monkeypatch.setattr("mlport.monitoring.running.role_of", lambda client: Own())
    try:
        pages[:] = [[measured(1), measured(2)], [measured(3, State.RUNNING), measured(4)], [measured(5, value=0.9)]]
        assert [each.window for each in monitor.run()] == [place.day(4), place.day(2), place.day(1)]
        assert monitor.run() == []
        pages[1][0] = measured(3, value=0.9)
        (late,) = monitor.run()
        assert (late.window, late.drift, late.by, [column.name for column in late.drifted]) == (place.day(3), "drift", "local", ["a", "b"])
        assert [each.drift for each in oldest_first(monitor)] == ["no drift", "drift", "no drift", "no drift"]
        assert events(monitor) == [], "what is known is of a later window"
        pages.insert(0, [measured(0, State.FAILED)])
        assert [(each.drift, each.error) for each in monitor.run()] == [("unknown", "its measurement ended FAILED")]
    finally:
        store.put(key, composed.value)


# ---------------------------------------------------------------- whoever dies wherever


def test_whoever_is_killed_wherever_the_next_run_finds_and_tells_the_same(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    for moved, right, ids in zip((0.0, MOVED, 0.0), (1.0, 1.0, 0.5), place.days(0.0, MOVED, 0.0), strict=True):
        place.label(ids, rows(moved), right=right)
    whole = place.watch(3)
    whole.run()
    wanted, known = [(1, "drift"), (2, "recovered"), (2, "decay")], place.book.get(whole.name).known
    found = [plainly(each) for each in whole.readings()]
    assert events(whole) == wanted
    for death in itertools.count(1):
        name = f"mortal-{death}"
        mortal = place.watch(3, name=name)
        if not dies(place, death, lambda client, name=name: client.monitors.get(name).run()):  # type: ignore[misc]
            break
        caplog.clear()
        with caplog.at_level(logging.INFO, "mlport.monitor"):
            mortal.run()
        stored = place.book.get(name)
        assert [replace(plainly(each), monitor=whole.name) for each in mortal.readings()] == found, death
        assert set(events(mortal)) == set(wanted), death
        assert (stored.pending, stored.known) == ((), known), death
        assert mortal.run() == [], death
    assert death > 15


def plainly(reading: Any) -> Any:
    """A reading without the times at which it was made."""
    judged = reading.performance and replace(reading.performance, at=reading.window.end)
    return replace(reading, at=reading.window.end, performance=judged, told=())


def test_a_removal_that_was_killed_is_done_again_and_leaves_nothing(place: Place) -> None:
    place.days(0.0, 0.0)
    monitor = place.watch(2)
    monitor.run()
    token = place.book.get(monitor.name).token
    assert lives(place, lambda client: client.monitors.delete(monitor.name)) >= 2
    assert [key for key, _ in place.client.session.state.list("monitor") if token in key or monitor.name in key] == []


# ---------------------------------------------------------------- two at once


def test_who_comes_second_is_told_that_another_runs_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlport.monitoring.running.LEASE_SECONDS", 60.0)
    place.days(0.0)
    monitor = place.watch(1)
    lease = acquire(place.client.session.state, f"monitor/{monitor.name}", "another", 60.0)
    assert lease is not None
    with pytest.raises(ConflictError, match="is being run by another process"):
        monitor.run()
    lease.release()
    assert len(monitor.run()) == 1


def test_who_lost_the_lease_meanwhile_leaves_the_telling_to_the_other(place: Place) -> None:
    place.days(MOVED)
    monitor, store = place.watch(1), place.client.session.state

    def another_takes_over(_: object) -> None:
        assert acquire(store, f"monitor/{monitor.name}", "another", 60.0) is not None

    with pytest.raises(ConflictError):
        monitor.run(on_reading=another_takes_over)
    assert (events(monitor), [each.event for each in place.book.get(monitor.name).pending]) == ([], ["drift"])
    store.delete(f"lease/monitor/{monitor.name}")
    assert monitor.run() == []
    assert events(monitor) == [(0, "drift")]


# ---------------------------------------------------------------- what fails


def test_what_may_be_readable_later_is_told_once_tried_again_and_told_when_it_is_over(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.days(0.0, 0.0)
    monitor, endpoints = place.watch(2, watch=["drift"]), place.client.session.endpoints
    real, away = endpoints.captured, [True]

    def captured(name: str, window: Window) -> Iterator[pa.RecordBatch]:
        if away[0] and window == place.day(1):
            raise UnavailableError("the store of what was captured is away")
        return real(name, window)

    monkeypatch.setattr(endpoints, "captured", captured)
    for _ in range(2):
        with pytest.raises(UnavailableError):
            monitor.run()
    assert [each.window for each in oldest_first(monitor)] == [place.day(2)], "the window is left for the next run"
    assert "is away" in monitor.view.reason
    away[0] = False
    assert [each.drift for each in monitor.run()] == ["no drift"]
    assert events(monitor) == [(1, "recovered")]
    assert monitor.view.reason == ""


def test_a_defect_of_ours_is_told_as_well_and_ends_no_watch(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place.days(0.0, 0.0, 0.0)
    monitor = place.watch(3, watch=["drift"])

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a defect")

    with monkeypatch.context() as patched:
        patched.setattr("mlport.monitoring.reading.measuring.taken", broken)
        found = monitor.run(place.today - DAY + SECOND)
    assert [(each.drift, each.error) for each in found] == [("unknown", "ZeroDivisionError: a defect")] * 2
    assert monitor.run(place.today - DAY + SECOND) == []
    assert events(monitor) == [(0, "failed")], "nothing was read since: it has not recovered"
    assert monitor.run()[0].drift == "no drift"
    with monkeypatch.context() as patched:
        patched.setattr("mlport.monitoring.reading.decaying.judge", broken)
        patched.setattr("mlport.monitoring.running.Runner._finish", lambda self, lease: broken())
        with pytest.raises(ZeroDivisionError):
            monitor.run()
    assert "a defect" in monitor.view.reason
    assert "its run failed" in caplog.text


# ---------------------------------------------------------------- labels


def test_labels_come_late_in_any_order_and_nothing_is_read_again_where_none_came(place: Place, looked: list[Window]) -> None:
    first, second, third = place.days(0.0, 0.0, 0.0)
    monitor = place.watch(3)
    assert [each.decay for each in monitor.run()] == ["not known yet"] * 3
    reads = len(looked)
    assert monitor.run() == []
    assert len(looked) == reads, "no label came"
    place.label(third, rows(), right=0.5)
    place.label(["nobody-asked"], rows(count=20))
    monitor.run()
    assert [each.decay for each in oldest_first(monitor)] == ["not known yet", "not known yet", "decayed"]
    assert oldest_first(monitor)[0].performance.why == (
        f"no labels came yet: 20 are of no request that was captured since {place.day(3).start:%Y-%m-%d}"
    )
    place.label(first[:4], rows()[:80])
    monitor.run()
    judged = oldest_first(monitor)[0].performance
    assert (judged.status, judged.labelled, judged.captured) == ("not known yet", 80, ROWS), judged
    place.label(first[4:], rows()[80:])
    place.label(second, rows())
    reads = len(looked)
    monitor.run()
    assert [(each.decay, each.performance.value) for each in oldest_first(monitor)] == [("steady", 1.0), ("steady", 1.0), ("decayed", 0.5)]
    assert len(looked) == reads + 1, "all windows at once"
    place.label(third, rows())
    monitor.run()
    newest = oldest_first(monitor)[2]
    assert (newest.decay, newest.performance.value) == ("steady", 1.0), "a later label replaces an earlier one"
    assert events(monitor) == [(2, "decay"), (2, "recovered")]


def test_labels_of_a_table_count_whenever_they_say_that_they_came(place: Place, tmp_path: Path, looked: list[Window]) -> None:
    first, second = place.days(0.0, 0.0)
    path = tmp_path / "truth.parquet"
    monitor = place.watch(2, labels_from=str(path))

    def write(ids: list[str], *, dated: datetime | None, right: float = 1.0) -> None:
        told = [
            {"request_id": request, "row": n % 20, "label": int((row["a"] > 0) == (n % 20 < right * 20))}
            for n, (request, row) in enumerate(zip(itertools.chain.from_iterable([each] * 20 for each in ids), rows() * 2, strict=False))
        ]
        table = pa.Table.from_pylist(told)
        pq.write_table(table.append_column("time", pa.array([dated] * len(told))) if dated else table, path)

    with pytest.raises(SpecError, match=r"labels_from: .* does not exist"):
        monitor.run()
    assert [each.drift for each in oldest_first(monitor)] == ["no drift"] * 2, "what was read is kept"
    pq.write_table(pa.table({"request_id": ["r"], "truth": [1]}), path)
    with pytest.raises(SpecError, match=r"labels_from.*label"):
        monitor.run()
    write(first, dated=None, right=0.5)
    monitor.run()
    assert [each.decay for each in oldest_first(monitor)] == ["decayed", "not known yet"]
    write([*first, *second], dated=place.today - 30 * DAY, right=1.0)
    monitor.run()
    assert [each.decay for each in oldest_first(monitor)] == ["steady", "steady"], "dated long before the last look, and new all the same"
    reads = len(looked)
    monitor.run()
    assert len(looked) == reads


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("request_id,label,time\nr,1,last week\n", "column 'time' is .*, and must be instants"),
        ("request_id,label,row\nr,1,first\n", "column 'row' is .*, and must be whole numbers"),
        ("request_id,label,row,time\nr,1,,\nr,,1,2026-03-01\nr,0,2,2026-03-01\n", None),
    ],
)
def test_a_table_of_labels_is_read_as_it_is_meant_or_refused(place: Place, tmp_path: Path, table: str, said: str | None) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(table)
    stored = place.book.get(place.watch(1, labels_from=str(path)).name)
    if said:
        with pytest.raises(SpecError, match=said):
            labels_of(place.client, stored)
        return
    found = labels_of(place.client, stored)
    assert [each[:3] for each in found] == [("r", 0, 1), ("r", 2, 0)]
    assert found[1][3] == datetime(2026, 3, 1, tzinfo=UTC)


def test_labels_that_cannot_be_used_are_said_and_drift_is_read_all_the_same(place: Place) -> None:
    (ids,) = place.days(0.0)
    monitor = place.watch(1)
    store = place.client.session.state
    labels.put(store, "delays", [(ids[0], ["late"] * 20)])
    labels.put(store, "delays", [(ids[1], [1] * 20)])
    for _ in range(2):
        with pytest.raises(SpecError, match="several kinds: number, text"):
            monitor.run()
    (found,) = oldest_first(monitor)
    assert (found.drift, found.decay) == ("no drift", "not watched")
    assert [told.event for told in found.told] == []
    assert "several kinds" in monitor.view.reason
    labels.put(store, "delays", [(ids[0], [1] * 20)])
    monitor.run()
    assert monitor.view.reason == ""


def test_one_class_alone_is_not_known_yet_and_spoils_no_other_window(place: Place) -> None:
    first, second = place.keep(2, rows(MOVED)), place.keep(1, rows())
    monitor = place.watch(2, watch=["decay"], performance={"metric": "balanced_accuracy", "reference": 1.0})
    place.label(first, rows(MOVED))
    place.label(second, rows())
    found = monitor.run()
    assert [each.decay for each in found] == ["not known yet", "steady"]
    assert found[0].performance is not None
    assert "class" in found[0].performance.why


def test_names_of_one_class_alone_are_said_in_the_window_and_others_are_judged(place: Place) -> None:
    words = {"metric": "accuracy", "reference": 1.0, "positive": "late"}
    store = place.client.session.state
    first, second = place.keep(2, rows(MOVED)), place.keep(1, rows())
    labels.put(store, "delays", [(one, ["late"] * 20) for one in first])
    monitor = place.watch(2, watch=["decay"], performance=words)
    found = monitor.run()
    assert [each.decay for each in found] == ["not known yet", "not known yet"]
    assert found[0].performance is not None
    assert (found[0].performance.labelled, found[0].performance.why != "no labels came yet") == (ROWS, True)
    labels.put(store, "delays", [(second[0], ["late", "in time"] * 10), *((one, ["late"] * 20) for one in second[1:])])
    with pytest.raises(SpecError, match="labels are of different types"):
        monitor.run()


# ---------------------------------------------------------------- looking closer


def test_a_window_can_be_looked_at_again_in_full(place: Place) -> None:
    for ids, moved in zip(place.days(0.0, MOVED), (0.0, MOVED), strict=True):
        place.label(ids[:8], rows(moved), right=0.8)
    monitor = place.watch(2)
    table = monitor.captured(place.day(1))
    assert {"a", "b", "prediction", "label", "time"} <= set(table.schema.names)
    assert (table.num_rows, table["label"].null_count) == (ROWS, 40)
    seen = monitor.compared(place.day(1))
    assert seen is not None
    report, decision = seen
    assert (decision.status, [each.column for each in decision.drifted], set(report.columns)) == ("drift", ["a"], {"a", "b"})
    assert monitor.compared(place.day(5)) is None
    found = monitor.performance()
    assert found is not None
    assert [(each.captured, each.labelled, each.value.value) for each in found.windows] == [(ROWS, 160, 0.8)] * 2
    assert monitor.performance(place.day(5)) is None
    audited = monitor.evaluation(place.day(1))
    assert audited is not None
    assert audited.metrics["accuracy"].value == pytest.approx(0.8)
    assert monitor.evaluation(place.day(5)) is None


# ---------------------------------------------------------------- by the clock


def test_the_agent_runs_it_when_it_is_due_and_tells_of_what_fails_once(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place.days(0.0, 0.0)
    monitor = place.watch(2, watch=["drift"], delay="1h")
    now, store = [place.today - DAY], place.client.session.state
    rota = Rota(place.client, lambda: now[0], place.root, [], None)
    agent = Agent(store, rota, clock=lambda: now[0])

    def look(after: timedelta) -> None:
        now[0] += after
        agent.look()

    def chore() -> dict[str, Any]:
        found = status(store, lambda: now[0])
        assert found is not None
        return next(each for each in found["chores"] if each["name"] == f"monitor {monitor.name}")

    look(timedelta(minutes=59))
    assert oldest_first(monitor) == []
    assert chore()["next"] == (place.today - DAY + timedelta(hours=1)).isoformat()
    look(timedelta(minutes=1))
    assert [each.window for each in oldest_first(monitor)] == [place.day(2)]
    endpoints, away = place.client.session.endpoints, [True]
    real = endpoints.captured

    def captured(name: str, window: Window) -> Iterator[pa.RecordBatch]:
        if away[0]:
            raise UnavailableError("away")
        return real(name, window)

    monkeypatch.setattr(endpoints, "captured", captured)
    look(DAY)
    for tries in range(1, 4):
        assert chore()["failures"] == tries
        look(timedelta(minutes=5))
    away[0] = False
    look(timedelta(minutes=5))
    assert (chore()["failures"], len(oldest_first(monitor))) == (0, 2)
    assert events(monitor) == [(1, "recovered")]
    said = [record.getMessage().splitlines()[0] for record in caplog.records if record.name == "mlport.monitor"]
    assert len([line for line in said if line.startswith(f"{monitor.name}: failed")]) == 1
    agent.leave()


def test_a_schedule_of_training_in_its_cooldown_does_not_keep_the_agent_busy(place: Place) -> None:
    from mlport.monitoring.watching import next_run

    job = {"name": "train", "entrypoint": ["true"]}
    monitor = place.watch(1, retrain={"job": job, "schedule": "* * * * *", "cooldown": "30d"})
    stored = place.book.get(monitor.name)
    ran = stored.created + timedelta(hours=5)
    assert next_run(replace(stored, handled=ran), ran) >= ran + timedelta(minutes=1)
