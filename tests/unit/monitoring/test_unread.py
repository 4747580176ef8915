"""What cannot be read, or is no traffic like any other: named, left out or refused, and never "no drift" of what nobody saw."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aids.monitoring import DAY, MOVED, ROWS, Place, rows

from mlport import Reading, Window, capture
from mlport.capture.frames import Column
from mlport.errors import ConflictError, NotFoundError, SpecError, UnsupportedError
from mlport.monitoring.reading.measuring import compare
from mlport.monitoring.reading.taking import taken

ANY = ()
"""Of a model without a signature: columns are what the requests say."""


def read(place: Place, **fields: Any) -> Reading:
    """Yesterday's window."""
    (found,) = place.watch(1, watch=["drift"], **fields).run()
    return found


def kinds(reading: Reading) -> list[str]:
    return [note.kind for note in reading.notes]


def drifted(reading: Reading) -> list[str]:
    return [column.name for column in reading.drifted]


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("where", ["as it is written", "compacted", "while it was compacted"])
def test_a_damaged_part_makes_what_is_left_unknown(place: Place, where: str) -> None:
    ids = [*place.keep(1, rows()), *place.keep(1, rows(), hour=14)]
    first, second = place.segments()
    if where == "compacted":
        capture.compact(place.capture)
        path = min((place.capture / "data").glob("*.parquet"))
        path.write_bytes(path.read_bytes()[:-20])
    else:
        os.truncate(second, second.stat().st_size // 2)
    if where == "while it was compacted":
        capture.compact(place.capture)
        assert not place.segments()
    monitor = place.watch(1)
    place.label(ids, rows() * 2)
    (found,) = monitor.run()
    assert (found.drift, found.lasting, kinds(found)) == ("unknown", "unknown", ["damaged capture"]), found
    assert ROWS <= (found.rows or 0) < 2 * ROWS
    assert "a part could not be read" in found.words
    assert found.performance is not None
    assert found.performance.value == 1.0
    assert (found.decay, "could not be read" in found.performance.why) == ("undecided", True)
    assert [told.event for told in found.told] == ["unknown"]
    assert first.name != second.name


def test_drift_in_what_is_left_is_drift(place: Place) -> None:
    place.keep(1, rows(MOVED))
    place.keep(1, rows(MOVED))
    os.truncate(place.segments()[1], 2000)
    assert (found := read(place)).drift == "drift"
    assert kinds(found) == ["damaged capture"]


@pytest.mark.parametrize(("lost", "drift"), [(1, "no drift"), (2, "unknown")])
def test_requests_that_cannot_be_taken_apart_count_from_one_in_a_hundred_on(place: Place, lost: int, drift: str) -> None:
    place.keep(1, rows(count=1980), size=20)
    for _ in range(lost):
        place.keep(1, [], body=b'{"dataframe_records": [{"a": 1.0')
    found = read(place)
    assert (found.drift, found.rows, kinds(found)) == (drift, 1980, ["unreadable requests"])
    assert found.notes[0].unread == (drift == "unknown")


def test_requests_that_were_refused_are_told_and_not_compared(place: Place) -> None:
    place.keep(1, rows())
    place.keep(1, rows(MOVED), status=400)
    place.keep(1, rows(MOVED), status=503)
    found = read(place)
    assert (found.drift, found.rows, kinds(found)) == ("no drift", ROWS, ["rejected requests"])
    assert found.notes[0].message.startswith("210 requests")  # a refused one is not taken apart


def test_what_was_captured_twice_counts_once(place: Place) -> None:
    ids = place.keep(1, rows())
    place.keep(1, rows(), ids=ids)
    place.keep(1, rows()[:20] * 10, ids=ids[:1] * 10)
    place.label(ids, rows(), right=0.9)
    (found,) = place.watch(1).run()
    assert (found.drift, found.rows, kinds(found)) == ("no drift", ROWS, ["duplicates"])
    assert found.performance is not None
    assert (found.performance.captured, found.performance.labelled, found.performance.value) == (ROWS, ROWS, 0.9)


# ---------------------------------------------------------------- columns


def test_a_column_that_is_missing_empty_or_of_another_type_has_drifted(place: Place) -> None:
    for columns in (ANY, (Column("a", "double"), Column("b", "double"))):
        place.keep(1, [{"a": row["a"]} for row in rows()], columns=columns)
        lacking = read(place)
        assert (lacking.drift, lacking.severity, drifted(lacking)) == ("drift", "severe", ["b"]), lacking
        assert "missing column" in kinds(lacking) or lacking.drifted[0].reasons
        place.clear()
    place.keep(1, [{**row, "b": math.nan} for row in rows()])
    assert drifted(read(place)) == ["b"]
    place.clear()
    place.keep(1, [{**row, "b": f"about {row['b']:.1f}"} for row in rows()], columns=ANY)
    text = read(place)
    assert (drifted(text), kinds(text)) == (["b"], ["type changed"])
    place.clear()
    place.keep(1, [{**row, "b": f"about {row['b']:.1f}"} for row in rows()])
    unfit = read(place)
    assert (unfit.drift, unfit.rows, kinds(unfit)) == ("unknown", 0, ["unreadable requests"]), "the signature says that it is a number"


def test_too_few_rows_and_none_are_not_known(place: Place) -> None:
    assert (none := read(place)).drift == "unknown"
    assert (none.rows, none.words) == (0, "nothing was captured")
    place.clear()
    place.keep(1, rows(MOVED, count=99))
    few = read(place)
    assert (few.drift, few.rows, few.words) == ("unknown", 99, "99 rows, and 100 are needed")
    place.clear()
    place.keep(1, rows(MOVED, count=99))
    assert read(place, min_rows=50).drift == "drift"


def test_rows_that_are_dated_ahead_of_the_clock_are_counted_and_named(place: Place) -> None:
    place.keep(1, rows())
    place.keep(-1, rows(count=20))
    monitor = place.watch(1, watch=["drift"])
    assert kinds(monitor.run()[0]) == [], "they are of another window"
    found = monitor.read(Window(place.day(1).start, place.day(-1).end + DAY))
    assert (found.rows, kinds(found)) == (ROWS + 20, ["clock skew"])
    assert "20 rows are dated later" in found.notes[0].message


# ---------------------------------------------------------------- memory


@pytest.mark.parametrize("moved", [0.0, MOVED])
def test_a_window_larger_than_memory_gets_the_same_verdict(place: Place, moved: float) -> None:
    for n in range(4):
        place.keep(1, [{**row, "b": row["b"] + moved} for row in rows(count=5000)], size=500, hour=10 + n)
    stored = place.book.get(place.watch(1, watch=["drift"]).name)
    whole, parts = (taken(place.client, "delays", place.day(1), ["a", "b"], {}, memory=memory) for memory in (1 << 30, 20_000))
    assert isinstance(whole.sample, pa.Table)
    assert not isinstance(parts.sample, pa.Table)
    assert whole.rows == parts.rows == 20_000
    (_, exact), (_, rough) = (compare(place.book, stored, found) for found in (whole, parts))
    assert exact.status == rough.status == ("drift" if moved else "no drift")
    assert [(each.column, each.status, each.severity) for each in exact.columns] == [
        (each.column, each.status, each.severity) for each in rough.columns
    ]


# ---------------------------------------------------------------- what is asked for


def test_what_would_fail_at_the_first_window_fails_at_once(place: Place, tmp_path: Path) -> None:
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 and nothing else")
    text = tmp_path / "text.parquet"
    pq.write_table(pa.table({"b": [1.0]}), text)
    for fields, error, said in (
        ({"endpoint": "nobody"}, NotFoundError, "nobody"),
        ({"reference": str(tmp_path / "absent.csv")}, SpecError, "reference: .*absent.csv does not exist"),
        ({"reference": str(broken)}, SpecError, "reference"),
        ({"reference": str(text)}, SpecError, "no column 'a', which the model's signature names"),
        ({"columns": ["a", "z"]}, SpecError, "no column 'z', which columns names"),
        ({"thresholds": {".ks": 1}}, SpecError, "MonitorSpec.thresholds: '.ks' must be a metric"),
        ({"thresholds": {"kss": 1}}, SpecError, "kss"),
        ({"thresholds": {"a.chi2": 1}}, SpecError, "a.chi2: columns of kind number have no such metric"),
        ({"metrics": ["kss"]}, SpecError, "kss"),
        ({"importance": {"z": 1}}, SpecError, "no column 'z'"),
        ({"kinds": {"a": "embedding"}}, SpecError, "a"),
        ({"retrain": {"job": {"name": "t", "source": str(tmp_path), "entrypoint": ["python", "absent.py"]}}}, SpecError, "absent.py"),
        ({"retrain": {"job": {"name": "t", "entrypoint": ["true"]}, "budget": "plenty"}}, Exception, "retrain.budget"),
        ({"measured_by": "provider"}, UnsupportedError, "no monitors of its own"),
    ):
        with pytest.raises(error, match=said):
            place.watch(1, **fields)
    assert list(place.client.monitors.list()) == []
    one = place.watch(1)
    assert place.watch(1).name == one.name
    with pytest.raises(ConflictError, match="exists already, and is another"):
        place.watch(1, min_rows=7)
    with pytest.raises(NotFoundError, match="nobody"):
        place.client.monitors.get("nobody")
