"""Capture: frames, spool, Parquet, and that nothing answered is lost or doubled on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlport import capture
from mlport.capture import compaction, frames, layout, merging, ordering, spool, unifying
from mlport.capture.frames import Column, Frame, Origin, TornError

START = datetime(2026, 1, 1, tzinfo=UTC)
AT = int(START.timestamp() * 1e6)
ORIGIN = Origin("delays", "blue", "model", "3", 0.5, (Column("hour", "long"), Column("far", "double"), Column("carrier", "string")))


def exchange(number: int, **changes: Any) -> Frame:
    body = {"dataframe_split": {"columns": ["carrier", "far", "hour"], "data": [["UA", number / 2, number]]}}
    plain = Frame(f"r{number}", f"c{number}", AT + number, 0.25, 200, 0, json.dumps(body).encode(), b'{"predictions":[%d]}' % number)
    return plain._replace(**changes)


def keep(folder: Path, *kept: Frame, origin: Origin = ORIGIN) -> Path:
    writer = spool.Spool(folder, origin)
    assert writer.append(kept)
    writer.close()
    return layout.segments(folder)[-1]


def rows(folder: Path, start: datetime = START, end: datetime = START + timedelta(days=1)) -> list[dict[str, Any]]:
    return [row for batch in capture.read(folder, start, end) for row in batch.to_pylist()]


# ---------------------------------------------------------------- frames


@given(
    st.lists(
        st.tuples(st.text(max_size=40), st.none() | st.text(max_size=40), st.binary(max_size=200), st.binary(max_size=200)), max_size=5
    )
)
def test_frames_come_back_as_they_went_in(parts: list[tuple[str, str | None, bytes, bytes]]) -> None:
    sent = [Frame(one, caller, AT + i, 0.5, 200 + i, 1, body, answer) for i, (one, caller, body, answer) in enumerate(parts)]
    data = frames.MAGIC + b"".join(map(frames.pack, sent))
    assert [frames.unpack(payload) for payload in frames.payloads(data)] == sent


@pytest.mark.parametrize("cut", [1, 7, 30])
def test_a_torn_end_is_seen_and_the_rest_kept(cut: int) -> None:
    whole = frames.MAGIC + frames.pack(exchange(1))
    data = (whole + frames.pack(exchange(2)))[:-cut]
    found: list[Frame] = []
    with pytest.raises(TornError) as torn:
        found.extend(frames.unpack(payload) for payload in frames.payloads(data))
    assert torn.value.offset == len(whole)


def test_a_changed_byte_is_seen() -> None:
    data = bytearray(frames.MAGIC + frames.pack(exchange(1)))
    data[-3] ^= 1
    with pytest.raises(TornError):
        list(frames.payloads(bytes(data)))


# ---------------------------------------------------------------- spool


def test_segments_rotate_by_size_and_age(tmp_path: Path) -> None:
    now = [0.0]
    writer = spool.Spool(tmp_path, ORIGIN, most_bytes=2000, most_seconds=60, clock=lambda: now[0])
    for number in range(20):
        writer.append([exchange(number)])
    by_size = len(layout.segments(tmp_path))
    assert by_size > 1
    now[0] = 61
    writer.tick()
    writer.append([exchange(20)])
    writer.close()
    assert len(layout.segments(tmp_path)) == by_size + 1
    assert [row["provider_id"] for row in rows(tmp_path)] == [f"r{number}" for number in range(21)]


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_sampling_depends_on_the_id_alone(rate: float) -> None:
    ids = [f"{number:032x}" for number in range(4000)]
    kept = [spool.is_sampled(one, rate) for one in ids]
    assert kept == [spool.is_sampled(one, rate) for one in ids]
    assert sum(kept) / len(kept) == pytest.approx(rate, abs=0.03)


def test_a_full_disk_drops_whole_batches_and_says_so(tmp_path: Path) -> None:
    """In a process whose files may not grow: what was kept before stays readable, and later batches are counted."""
    program = textwrap.dedent(
        """
        import resource, signal, sys
        from pathlib import Path
        from mlport.capture.frames import Frame, Origin
        from mlport.capture.spool import Spool
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
        writer = Spool(Path(sys.argv[1]), Origin("e", "d", "m"))
        kept = [writer.append([Frame(f"r{i}", None, 1, 0.1, 500, 0, b"x" * 500, b"")]) for i in range(10)]
        print(sum(kept), writer.dropped)
        """
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    kept, dropped = map(int, done.stdout.split())
    assert kept >= 3
    assert kept + dropped == 10
    assert "requests not kept so far" in done.stderr
    (segment,) = layout.segments(tmp_path)
    found = layout.contents(segment)
    assert (len(found.frames), found.lost) == (kept, 0)


# ---------------------------------------------------------------- tables


def test_the_schema() -> None:
    made = capture.schema(pa.struct([("hour", pa.int64())]), pa.float64())
    assert made.names == [
        "provider_id",
        "caller_id",
        "row",
        "time",
        "endpoint",
        "deployment",
        "model_version",
        "features",
        "prediction",
        "status",
        "latency",
        "sampling_rate",
        "raw",
    ]
    assert made.field("time").type == pa.timestamp("us", tz="UTC")


def test_a_row_says_everything(tmp_path: Path) -> None:
    keep(tmp_path, exchange(4))
    assert rows(tmp_path) == [
        {
            "provider_id": "r4",
            "caller_id": "c4",
            "row": 0,
            "time": START + timedelta(microseconds=4),
            "endpoint": "delays",
            "deployment": "blue",
            "model_version": "3",
            "features": {"carrier": "UA", "far": 2.0, "hour": 4},
            "prediction": 4,
            "status": 200,
            "latency": 0.25,
            "sampling_rate": 0.5,
            "raw": None,
        }
    ]


OIP = {"inputs": [{"name": "hour", "shape": [2], "datatype": "INT64", "data": [4, 5]}]}
OIP_MATRIX = {"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP64", "data": [1, 2, 3, 4]}]}


@pytest.mark.parametrize(
    ("dialect", "body", "answer", "features", "predictions"),
    [
        (0, {"dataframe_records": [{"hour": 4}, {"hour": 5}]}, {"predictions": [1, 2.5]}, [{"hour": 4}, {"hour": 5}], [1.0, 2.5]),
        (0, {"instances": [{"hour": 4}]}, {"predictions": [{"p": 7}]}, [{"hour": 4}], [7]),
        (0, {"inputs": {"hour": [4, 5]}}, {"predictions": [[0.5, 0.5], [1, 0]]}, [{"hour": 4}, {"hour": 5}], [[0.5, 0.5], [1.0, 0.0]]),
        (0, {"inputs": [[1, 2]]}, {"predictions": ["late"]}, [{"f0": 1, "f1": 2}], ["late"]),
        (0, {"inputs": [[1, 2]]}, {"predictions": [{"a": 1, "b": 2}]}, [{"f0": 1, "f1": 2}], ['{"a": 1, "b": 2}']),
        (1, OIP, {"outputs": [{"name": "p", "shape": [2], "data": [0, 1]}]}, [{"hour": 4}, {"hour": 5}], [0, 1]),
        (
            1,
            OIP_MATRIX,
            {"outputs": [{"name": "p", "shape": [2, 2], "data": [0, 1, 1, 0]}]},
            [{"f0": 1, "f1": 2}, {"f0": 3, "f1": 4}],
            [[0, 1], [1, 0]],
        ),
        (2, "hour\n4\n5\n", {"predictions": [0, 1]}, [{"hour": "4"}, {"hour": "5"}], [0, 1]),
    ],
)
def test_every_form(tmp_path: Path, dialect: int, body: Any, answer: Any, features: Any, predictions: Any) -> None:
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    keep(tmp_path, exchange(1, form=dialect, body=data, answer=json.dumps(answer).encode()), origin=Origin("e", "d", "m"))
    found = rows(tmp_path)
    assert [row["features"] for row in found] == features
    assert [row["prediction"] for row in found] == predictions
    assert [row["row"] for row in found] == list(range(len(features)))


def test_what_cannot_be_parsed_is_kept_raw(tmp_path: Path) -> None:
    text = {"dataframe_split": {"columns": ["hour", "far", "carrier"], "data": [["x", 1, "UA"], ["7", 1, "UA"]]}}
    keep(
        tmp_path,
        exchange(1, status=400, body=b"{"),
        exchange(2, body=b"\xff"),
        exchange(3, status=500),
        exchange(4, body=json.dumps(text).encode(), answer=b'{"predictions":[1,2]}'),
        exchange(5, answer=b'{"predictions":[1,2]}'),
    )
    found = rows(tmp_path)
    assert [(row["provider_id"], row["raw"] is not None) for row in found] == [
        ("r1", True),
        ("r2", True),
        ("r3", False),
        ("r4", True),
        ("r4", False),
        ("r5", True),
    ]
    assert found[2]["features"] == {"carrier": "UA", "far": 1.5, "hour": 3}
    assert found[2]["prediction"] is None
    assert found[4]["features"]["hour"] == 7


# ---------------------------------------------------------------- compaction


def test_compaction_changes_where_rows_lie_and_nothing_else(tmp_path: Path) -> None:
    keep(tmp_path, *map(exchange, range(50)))
    keep(tmp_path, *map(exchange, range(50, 60)))
    before = rows(tmp_path)
    assert capture.compact(tmp_path) == capture.Compacted(files=2, rows=60)
    assert layout.segments(tmp_path) == []
    assert rows(tmp_path) == before
    assert capture.compact(tmp_path) == capture.Compacted()


def test_a_segment_that_is_being_written_is_read_and_not_compacted(tmp_path: Path) -> None:
    writer = spool.Spool(tmp_path, ORIGIN)
    writer.append([exchange(1)])
    assert capture.compact(tmp_path) == capture.Compacted()
    assert [row["provider_id"] for row in rows(tmp_path)] == ["r1"]
    writer.append([exchange(2)])
    writer.close()
    assert capture.compact(tmp_path).rows == 2


@pytest.mark.parametrize("point", ["write_table", "sync", "replace", "unlink"])
def test_a_compaction_that_dies_anywhere_loses_and_doubles_nothing(tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(tmp_path, *map(exchange, range(10)))
    before = rows(tmp_path)

    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    homes = {"write_table": (pq, point), "sync": (compaction, point), "replace": (os, point), "unlink": (Path, point)}
    with monkeypatch.context() as patched:
        patched.setattr(*homes[point], die)
        with pytest.raises(Killed):
            capture.compact(tmp_path)
    assert rows(tmp_path) == before
    capture.compact(tmp_path)
    assert rows(tmp_path) == before
    assert layout.segments(tmp_path) == []


def test_a_damaged_segment_is_salvaged_counted_and_set_aside(tmp_path: Path) -> None:
    segment = keep(tmp_path, exchange(1), exchange(2))
    segment.write_bytes(segment.read_bytes()[:-5])
    with pytest.warns(capture.CaptureWarning, match=segment.name):
        assert [row["provider_id"] for row in rows(tmp_path)] == ["r1"]
    done = capture.compact(tmp_path)
    assert (done.files, done.rows, done.damaged) == (1, 1, 1)
    assert done.lost_bytes > 0
    assert (tmp_path / "damaged" / segment.name).exists()
    with pytest.warns(capture.CaptureWarning, match=f"damaged/{segment.name}"):  # what it lacks is still said
        assert [row["provider_id"] for row in rows(tmp_path)] == ["r1"]
    assert rows(tmp_path, START - timedelta(days=1), START) == []


def test_a_damaged_file_is_left_out_by_name(tmp_path: Path) -> None:
    keep(tmp_path, exchange(1))
    capture.compact(tmp_path)
    keep(tmp_path, exchange(2))
    (file,) = (tmp_path / "data").iterdir()
    file.write_bytes(b"not parquet")
    with pytest.warns(capture.CaptureWarning, match=file.name):
        assert [row["provider_id"] for row in rows(tmp_path)] == ["r2"]


def test_the_command(tmp_path: Path) -> None:
    keep(tmp_path, exchange(1))
    command = [sys.executable, "-m", "mlport.capture", str(tmp_path), "--keep-days", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"files": 1, "rows": 1, "damaged": 0, "lost_bytes": 0, "merged": 0, "removed": 1}
    assert rows(tmp_path) == []


# ---------------------------------------------------------------- reading


def test_a_window_is_closed_at_its_start_and_open_at_its_end(tmp_path: Path) -> None:
    keep(tmp_path, *map(exchange, range(10)))
    capture.compact(tmp_path)
    keep(tmp_path, *map(exchange, range(10, 20)))
    found = rows(tmp_path, START + timedelta(microseconds=5), START + timedelta(microseconds=15))
    assert [row["provider_id"] for row in found] == [f"r{number}" for number in range(5, 15)]
    with pytest.raises(ValueError, match="aware"):
        rows(tmp_path, datetime(2026, 1, 1), START)


def test_batches_of_one_call_share_a_schema(tmp_path: Path) -> None:
    keep(tmp_path, exchange(1))
    capture.compact(tmp_path)
    other = {"dataframe_records": [{"hour": 1, "snow": True}]}
    wider = Origin("delays", "green", "model", None, 1.0, (Column("hour", "double"), Column("snow", "boolean")))
    keep(tmp_path, exchange(2, body=json.dumps(other).encode(), answer=b'{"predictions":[0.5]}'), origin=wider)
    batches = list(capture.read(tmp_path, START, START + timedelta(days=1)))
    assert len({batch.schema for batch in batches}) == 1
    found = [row for batch in batches for row in batch.to_pylist()]
    assert found[0]["features"] == {"carrier": "UA", "far": 0.5, "hour": 1.0, "snow": None}
    assert found[1]["features"] == {"carrier": None, "far": None, "hour": 1.0, "snow": True}
    assert [row["prediction"] for row in found] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (pa.int64(), pa.int32(), pa.int64()),
        (pa.int64(), pa.float32(), pa.float64()),
        (pa.null(), pa.string(), pa.string()),
        (pa.bool_(), pa.int64(), pa.string()),
        (pa.list_(pa.float64()), pa.float64(), pa.string()),
        (pa.list_(pa.int64()), pa.list_(pa.float64()), pa.list_(pa.float64())),
    ],
)
def test_types_are_brought_together(left: Any, right: Any, expected: Any) -> None:
    one = pa.table({"a": pa.array([None], left)})
    other = pa.table({"a": pa.array([None], right)})
    for order in ([one, other], [other, one]):
        together = unifying.unify([part.schema for part in order])
        assert together.field("a").type == expected
        assert all(unifying.conform(part, together).schema == together for part in order)


def test_lists_become_text_where_others_are_text() -> None:
    lists = pa.table({"a": pa.array([[1.0, 2.0], None])})
    schema = pa.schema([("a", pa.string())])
    assert unifying.conform(lists, schema).to_pylist() == [{"a": "[1.0, 2.0]"}, {"a": None}]


def test_reading_while_compacting_sees_each_row_once(tmp_path: Path) -> None:
    """Segments are compacted between the reader's listing and its reading."""
    keep(tmp_path, *map(exchange, range(10)))
    seen: list[int] = []
    reader: Iterator[pa.RecordBatch] = capture.read(tmp_path, START, START + timedelta(days=1))
    first = next(reader)
    seen.append(len(first))
    capture.compact(tmp_path)
    seen.extend(len(batch) for batch in reader)
    assert sum(seen) == 10


def spread(folder: Path, files: int, *, step: int = 1) -> list[str]:
    """So many files whose times interleave; the ids in order of time."""
    for number in range(files):
        keep(folder, *(exchange(number * step + 100 * i) for i in range(5)))
        capture.compact(folder)
    return [f"r{number}" for number in sorted(number * step + 100 * i for number in range(files) for i in range(5))]


def test_what_overlaps_comes_in_order_of_time(tmp_path: Path) -> None:
    ids = spread(tmp_path, 3)
    keep(tmp_path, *map(exchange, (250, 50, 150)))
    times = [row["time"] for row in rows(tmp_path)]
    assert times == sorted(times)
    assert [row["provider_id"] for row in rows(tmp_path) if row["provider_id"] in ids] == ids


@given(parts=st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=12), max_size=6), size=st.integers(1, 4))
def test_any_sources_are_brought_in_order(parts: list[list[int]], size: int) -> None:
    def source(number: int, times: list[int]) -> ordering.Source:
        table = pa.table(
            {
                "time": pa.array(sorted(times), pa.timestamp("us", tz="UTC")),
                "provider_id": [f"{number}"] * len(times),
                "row": list(range(len(times))),
            }
        )
        return ordering.Source(table.schema, min(times), max(times), lambda: (table.slice(i, size) for i in range(0, len(table), size)))

    found = [
        (row["time"], row["provider_id"], row["row"])
        for part in ordering.in_order([source(number, times) for number, times in enumerate(parts)], lambda table: table)
        for row in part.to_pylist()
    ]
    assert [time for time, _, _ in found] == sorted(time for time, _, _ in found)
    assert len(set(found)) == len(found) == sum(map(len, parts))


def test_small_files_become_one_and_nothing_else_changes(tmp_path: Path) -> None:
    ids = spread(tmp_path, merging.FEWEST - 1)
    assert len(layout.current(tmp_path)) == merging.FEWEST - 1
    keep(tmp_path, exchange(7000))
    assert capture.compact(tmp_path).merged == merging.FEWEST
    (one,) = (tmp_path / "data").iterdir()
    assert one.name.startswith("merged-")
    assert [row["provider_id"] for row in rows(tmp_path)] == [*ids, "r7000"]
    ids += ["r7000", *(f"r{8000 + number}" for number in range(merging.FEWEST - 1))]
    for number in range(merging.FEWEST - 1):  # a merged file that is small is merged again
        keep(tmp_path, exchange(8000 + number))
        capture.compact(tmp_path)
    assert len(list((tmp_path / "data").iterdir())) == 1
    assert [row["provider_id"] for row in rows(tmp_path)] == ids


def test_files_of_other_days_or_columns_stay_apart(tmp_path: Path) -> None:
    spread(tmp_path, merging.FEWEST - 1)
    keep(tmp_path, exchange(1, time=AT + 24 * 3600 * 10**6))
    keep(tmp_path, exchange(2), origin=Origin("delays", "green", "model", "3", 1.0, (Column("hour", "double"),)))
    assert capture.compact(tmp_path) == capture.Compacted(files=2, rows=2)


def test_nothing_is_removed_under_a_reader(tmp_path: Path) -> None:
    ids = spread(tmp_path, merging.FEWEST - 1)
    keep(tmp_path, exchange(7000))
    reader = capture.read(tmp_path, START, START + timedelta(days=1))
    found = next(reader).to_pylist()
    assert capture.compact(tmp_path).merged == merging.FEWEST
    assert len(list((tmp_path / "data").iterdir())) == merging.FEWEST + 1
    assert layout.segments(tmp_path)
    assert [row["provider_id"] for row in rows(tmp_path)] == [*ids, "r7000"]
    found += [row for batch in reader for row in batch.to_pylist()]
    assert [row["provider_id"] for row in found] == [*ids, "r7000"]
    capture.compact(tmp_path)
    assert len(list((tmp_path / "data").iterdir())) == 1
    assert not layout.segments(tmp_path)


def test_a_damaged_file_among_small_ones_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = spread(tmp_path, merging.FEWEST)
    (one,) = (tmp_path / "data").iterdir()
    assert [row["provider_id"] for row in rows(tmp_path)] == ids
    data = bytearray(one.read_bytes())
    data[4:400] = b"x" * 396
    one.write_bytes(data)
    spread(tmp_path, merging.FEWEST - 1, step=3)
    assert "not merged" in capsys.readouterr().err
    assert one.exists()


def test_an_unknown_folder_holds_nothing(tmp_path: Path) -> None:
    assert rows(tmp_path / "absent") == []
    assert capture.compact(tmp_path / "absent") == capture.Compacted()


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    keep(tmp_path, exchange(1))
    capture.compact(tmp_path)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "data" / "theirs.parquet")
    assert len(rows(tmp_path)) == 1


def test_importing_capture_loads_no_arrow() -> None:
    program = "import sys, mlport.capture, mlport.capture.spool; sys.exit('pyarrow' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_origin_comes_back() -> None:
    assert msgspec.json.decode(msgspec.json.encode(ORIGIN), type=Origin) == ORIGIN
