"""What the emulator's batch prediction reads and counts, and how the adapter reads two lists as one: without a server."""

from __future__ import annotations

import base64
import gzip
import io
import json
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mlport.emulation.documents import Documents
from mlport.errors import SpecError
from mlport.spi import State
from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.storing.objects import Objects
from mlport_vertex.emulator.storing.tables import Tables
from mlport_vertex.emulator.working.batch_io import Instance, Unread, inputs, instance, instances, rows
from mlport_vertex.emulator.working.batch_scoring import ERRORS, Scoring
from mlport_vertex.emulator.working.tf_records import BrokenError, masked, record, records
from mlport_vertex.running.batch_jobs import Pages, merged
from mlport_vertex.running.batch_records import batch_result, batch_status, told_lines

Json = dict[str, Any]


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[Objects]:
    store = Objects(tmp_path / "objects")
    store.create_bucket("b")
    yield store
    store.close()


def read(objects: Objects, content: bytes, form: str, **config: Any) -> list[Any]:
    """What each instance is sent as, or the words of the error."""
    file = objects.put("b", "in", content)
    return [each.sent if isinstance(each, Instance) else each.error.message for each in instances(file, form, config, objects)]


# ---------------------------------------------------------------- formats


def test_tf_records_are_checked_as_tensorflow_does() -> None:
    """0xE3069283 is the check value of CRC-32C, of 123456789; a mask rotates it by 15 bits and adds a constant."""
    assert masked(b"123456789") == (int(f"{0xE3069283:032b}"[-15:] + f"{0xE3069283:032b}"[:-15], 2) + 0xA282EAD8) % 2**32
    whole = record(b"abc") + record(b"defg")
    assert whole[:8] == struct.pack("<Q", 3)
    assert list(records(io.BytesIO(whole))) == [b"abc", b"defg"]
    for broken, said in (
        (whole[:-1], "truncated"),
        (whole[:5], "truncated"),
        (b"\0" + whole[1:], "length"),
        (whole[:-5] + b"x" + whole[-4:], "content"),
    ):
        with pytest.raises(BrokenError, match=said):
            list(records(io.BytesIO(broken)))


@pytest.mark.parametrize("form", ["tf-record", "tf-record-gzip"])
def test_records_become_base64_and_what_is_left_of_a_broken_file_is_told(objects: Objects, form: str) -> None:
    pack: Callable[[bytes], bytes] = gzip.compress if form.endswith("gzip") else bytes
    sent = {"b64": base64.b64encode(b"abc").decode()}
    assert read(objects, pack(record(b"abc") * 2), form) == [sent, sent]
    first, error = read(objects, pack(record(b"abc") + record(b"defg")[:-2]), form)
    assert first == sent
    assert error.startswith("gs://b/in cannot be read: truncated")
    if form.endswith("gzip"):
        assert "cannot be read" in read(objects, record(b"abc"), form)[-1]


def test_csv_is_read_as_google_says(objects: Objects) -> None:
    """Unquoted values are numbers, quoted ones texts; a string without quotes is refused, not guessed at."""
    content = b'"id","x","kind"\r\n"7",1.5,"a ""b"""\r\n8,-2,c\r\n1,2\r\n\r\n9,1e3,"c"\r\n'
    found = read(objects, content, "csv")
    assert found[0] == ["7", 1.5, 'a "b"']
    assert "double quotation marks" in found[1]
    assert "2 values for 3 columns" in found[2]
    assert found[3:] == [[9.0, 1000.0, "c"]]
    file = objects.put("b", "in", content)
    keyed = [each for each in instances(file, "csv", {"keyField": "id"}, objects) if isinstance(each, Instance)]
    assert [(each.sent, each.shown) for each in keyed] == [([1.5, 'a "b"'], {"key": "7"}), ([1000.0, "c"], {"key": 9.0})]
    assert "no field nobody" in read(objects, content, "csv", keyField="nobody")[0]


def test_a_line_that_is_no_json_is_one_failure_and_a_file_that_is_no_text_the_last(objects: Objects) -> None:
    found = read(objects, b'[1]\n{"a": \n\n"text"\n', "jsonl")
    assert (found[0], found[2]) == ([1], "text")
    assert "not JSON" in found[1]
    assert "cannot be read" in read(objects, b"\xff\xfe", "jsonl")[0]


def test_a_list_of_files_names_their_contents(objects: Objects) -> None:
    objects.put("b", "images/1", b"one")
    found = read(objects, b"gs://b/images/1\n\ngs://b/images/none\nnowhere\n", "file-list")
    assert found[0] == {"b64": base64.b64encode(b"one").decode()}
    assert [type(each) for each in found[1:]] == [str, str]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [("gs://b/d/*.csv", ["d/1.csv", "d/2.csv"]), ("gs://b/d/**.csv", ["d/1.csv", "d/2.csv", "d/e/3.csv"]), ("gs://b/d/[1]?csv", ["d/1.csv"]),
     ("gs://b/d/1.csv", ["d/1.csv"])],
)  # fmt: skip
def test_wildcards_are_those_of_cloud_storage(objects: Objects, uri: str, expected: list[str]) -> None:
    for name in ("d/1.csv", "d/2.csv", "d/e/3.csv", "d/1xcsv.txt"):
        objects.put("b", name, b"")
    assert [each.name for each in inputs(objects, [uri])] == expected


def test_a_table_is_read_in_order_as_arrays_or_objects(tmp_path: Path) -> None:
    documents = Documents(tmp_path / "documents.db")
    tables = Tables(tmp_path / "tables", documents)
    schema = [{"name": "n", "type": "INTEGER"}, {"name": "x", "type": "NUMERIC"}, {"name": "t", "type": "TIMESTAMP"}, {"name": "b", "type": "BYTES"},
              {"name": "l", "type": "FLOAT", "mode": "REPEATED"}, {"name": "d", "type": "DATE"}]  # fmt: skip
    tables.create("p", "d", "t", schema)
    moment = "2026-11-23T10:39:12.5Z"
    tables.append("p", "d", "t", [{"n": n, "x": "1.5", "t": moment, "b": "AA==", "l": [0.5], "d": "2026-02-03"} for n in range(25_000)])
    found = [each.sent for each in rows(tables, ("p", "d", "t"), {}) if isinstance(each, Instance)]
    assert [each[0] for each in found] == list(range(25_000))
    assert found[0] == [0, 1.5, "2026-11-23 10:39:12.500000+00:00", "AA==", [0.5], "2026-02-03"]
    config = {"instanceType": "object", "includedFields": ["x", "n"], "keyField": "d"}
    first = next(rows(tables, ("p", "d", "t"), config))
    assert (first.sent, first.shown) == ({"x": 1.5, "n": 0}, {"key": "2026-02-03"}) if isinstance(first, Instance) else False
    tables.close()
    documents.close()


@pytest.mark.parametrize(
    ("value", "config", "expected"),
    [
        ({"a": 1, "b": 2}, {}, {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, {"includedFields": ["b", "a"], "instanceType": "array"}, [2, 1]),
        ({"a": 1, "b": 2}, {"excludedFields": ["b"]}, {"a": 1}),
        ([1, 2], {"instanceType": "array"}, [1, 2]),
        ([1, 2], {"instanceType": "object"}, None),
        ([1, 2], {"includedFields": ["a"]}, None),
        ({"a": 1}, {"includedFields": ["b"]}, None),
        ({"a": 1}, {"keyField": "b"}, None),
        ("text", {}, "text"),
    ],
)
def test_what_a_line_becomes(value: Any, config: Json, expected: Any) -> None:
    found = instance(value, config)
    assert (found.sent if isinstance(found, Instance) else None) == expected
    assert found.shown == {"instance": value}


# ---------------------------------------------------------------- scoring


def test_scoring_keeps_order_counts_failures_and_holds_little(tmp_path: Path) -> None:
    """100 000 instances, of which at most a few batches are read ahead."""
    given, lock, ahead = count(), threading.Lock(), []
    done = [0]

    def source() -> Iterator[Instance | Unread]:
        for number in range(100_000):
            next(given)
            ahead.append(number - done[0])
            yield (
                Instance(number, {"instance": number})
                if number % 1000
                else Unread({"instance": number}, ApiError("INVALID_ARGUMENT", "no"))
            )

    def ask(sent: Sequence[int]) -> list[int]:
        if any(number % 1000 == 1 for number in sent):
            raise ApiError("INTERNAL", "the model failed")
        with lock:
            done[0] += len(sent)
        return [-number for number in sent]

    scoring = Scoring(ask, tmp_path, lambda: False)
    assert scoring.run([source()], 64)
    lines = [json.loads(line) for line in (tmp_path / "prediction.results-00000-of-00001").read_text().splitlines()]
    assert [line["instance"] for line in lines] == [number for number in range(100_000) if number % 1000 > 1]
    assert all(line["prediction"] == -line["instance"] for line in lines)
    assert (scoring.good, scoring.bad, len(scoring.failures)) == (99_800, 200, 20)
    errors = [json.loads(line) for line in (tmp_path / ERRORS).read_text().splitlines()]
    assert [error["instance"] for error in errors[:3]] == [0, 1, 1000]
    assert errors[1]["error"] == {"code": 13, "message": "the model failed"}
    assert max(ahead) < 64 * 12


def test_a_server_that_is_gone_fails_the_job_and_no_instance(tmp_path: Path) -> None:
    def ask(sent: Sequence[int]) -> list[int]:
        raise ApiError("UNAVAILABLE", "gone")

    with pytest.raises(ApiError, match="gone"):
        Scoring(ask, tmp_path, lambda: False).run([iter([Instance(1, {"instance": 1})])], 64)


# ---------------------------------------------------------------- one list of two


def lists_of(*sizes: int, most: int) -> dict[str, Pages]:
    """Lists of jobs whose times interleave; a page's token is the number of the first job on it."""
    jobs = [
        [{"name": f"{which}/{number}", "createTime": f"{10_000 - number * (which + 1):05}"} for number in range(size)]
        for which, size in enumerate(sizes)
    ]

    def page(which: int) -> Pages:
        return lambda token: (
            jobs[which][int(token or 0) :][:most],
            str(int(token or 0) + most) if int(token or 0) + most < sizes[which] else None,
        )

    return {str(which): page(which) for which in range(len(sizes))}


@pytest.mark.parametrize("sizes", [(0, 0), (5, 0), (0, 5), (7, 7), (30, 3), (3, 30), (20, 20)])
@pytest.mark.parametrize("size", [1, 3, 10, 100])
def test_two_lists_are_read_as_one_whatever_the_pages(sizes: tuple[int, int], size: int) -> None:
    lists, found, cursor, looks = lists_of(*sizes, most=size), [], None, 0
    while True:
        page, cursor = merged(lists, size, cursor)
        assert len(page) <= size
        found += page
        looks += 1
        if cursor is None:
            break
        assert looks < 200
    assert sorted(job["name"] for job in found) == sorted(f"{which}/{number}" for which in range(2) for number in range(sizes[which]))
    times = [job["createTime"] for job in found]
    assert times == sorted(times, reverse=True)


def test_a_list_that_has_ended_is_not_asked_again_and_one_that_shrinks_repeats_nothing() -> None:
    jobs = [{"name": str(number), "createTime": f"{9 - number}"} for number in range(9)]
    asked: list[str] = []

    def long(token: str | None) -> tuple[Sequence[Json], str | None]:
        asked.append("long")
        return jobs[:], None

    def short(token: str | None) -> tuple[Sequence[Json], str | None]:
        asked.append("short")
        return [{"name": "only", "createTime": "9.5"}], None

    first, cursor = merged({"long": long, "short": short}, 4, None)
    assert [job["name"] for job in first] == ["only", "0", "1", "2"]
    del jobs[1:4]
    second, cursor = merged({"long": long, "short": short}, 4, cursor)
    assert [job["name"] for job in second] == ["4", "5", "6", "7"]
    third, cursor = merged({"long": long, "short": short}, 4, cursor)
    assert ([job["name"] for job in third], cursor, sorted(asked)) == (["8"], None, ["long", "long", "long", "short"])


@pytest.mark.parametrize("cursor", ["x", "[]", "7", '{"long": 1}'])
def test_a_token_that_is_none_is_refused(cursor: str) -> None:
    with pytest.raises(SpecError, match="token"):
        merged(lists_of(1, 1, most=1) | {"long": lambda _: ((), None)}, 1, cursor)


# ---------------------------------------------------------------- records

JOB: Json = {
    "name": "projects/1/locations/l/batchPredictionJobs/7",
    "displayName": "score",
    "state": "JOB_STATE_SUCCEEDED",
    "createTime": "2026-11-23T10:00:00Z",
    "startTime": "2026-11-23T10:01:00Z",
    "endTime": "2026-11-23T10:03:00Z",
    "labels": {"mlport_kind": "batch", "mlport_token": "t", "team": "a"},
    "outputInfo": {"gcsOutputDirectory": "gs://b/out/prediction-delays-2026"},
    "completionStats": {"successfulCount": "98", "failedCount": "2", "incompleteCount": "-1"},
    "partialFailures": [{"code": 3, "message": "bad row"}],
}


def test_a_batch_of_which_some_rows_failed_has_succeeded_and_says_so() -> None:
    for native in ("JOB_STATE_SUCCEEDED", "JOB_STATE_PARTIALLY_SUCCEEDED"):
        status = batch_status({**JOB, "state": native})
        assert (status.id, status.state, status.native_state, status.kind, status.token) == (
            "batchPredictionJobs/7", State.SUCCEEDED, native, "batch", "t",
        )  # fmt: skip
        assert "2 rows failed" in status.reason
    result = batch_result(JOB)
    assert result.outputs["predictions"].uri == "gs://b/out/prediction-delays-2026"
    assert (dict(result.metrics), result.usage.wall_seconds) == ({"rows_scored": 98.0, "rows_failed": 2.0}, 120.0)
    assert told_lines(JOB) == ["bad row", "rows_scored: 98", "rows_failed: 2"]
    sparse = batch_result({**JOB, "completionStats": {"successfulCount": "98"}})  # a message without what is 0
    assert dict(sparse.metrics) == {"rows_scored": 98.0, "rows_failed": 0.0, "rows_left": 0.0}


def test_a_table_is_named_whole_and_a_job_without_output_leaves_none() -> None:
    info = {"bigqueryOutputDataset": "bq://p.d", "bigqueryOutputTable": "predictions_1"}
    assert batch_result({**JOB, "outputInfo": info}).outputs["predictions"].uri == "bq://p.d.predictions_1"
    failed = {key: value for key, value in JOB.items() if key not in ("outputInfo", "completionStats", "partialFailures")}
    failed |= {"state": "JOB_STATE_FAILED", "error": {"code": 8, "message": "no quota"}}
    status = batch_status(failed)
    assert (status.state, status.cause, status.reason) == (State.FAILED, "quota", "no quota")
    assert (batch_result(failed).outputs, batch_result(failed).metrics) == ({}, {})
