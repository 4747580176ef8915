"""Values of options, rows and labels from files, and JSON of anything."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import click
import numpy as np
import pytest

from mlport.cli import rows
from mlport.cli.latency import quantile
from mlport.cli.plain import cell, plain
from mlport.cli.values import MEMORY, PAIR, SHARE, SPAN
from mlport.errors import SpecError
from mlport.spi import Latency, State


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (MEMORY, "4", 4.0),
        (MEMORY, "4GiB", 4.0),
        (MEMORY, "512MiB", 0.5),
        (MEMORY, "1.5g", 1.5),
        (MEMORY, "2tib", 2048.0),
        (MEMORY, "16 GB", 16e9 / 2**30),
        (MEMORY, "512MB", 512e6 / 2**30),
        (SPAN, "90s", timedelta(seconds=90)),
        (SPAN, "7d", timedelta(days=7)),
        (SPAN, "30", timedelta(seconds=30)),
        (PAIR, "a=b=c", ("a", "b=c")),
        (SHARE, "blue=90", ("blue", 90)),
    ],
)
def test_values(kind, text, value):
    assert kind.convert(text, None, None) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (MEMORY, "four"),
        (MEMORY, "4 apples"),
        (MEMORY, "16B"),
        (SPAN, "soon"),
        (SPAN, "-1"),
        (SPAN, "1e300"),
        (PAIR, "a"),
        (PAIR, "=b"),
        (SHARE, "blue=9.5"),
        (SHARE, "90"),
    ],
)
def test_what_they_refuse(kind, text):
    with pytest.raises(click.BadParameter, match=r"(must be|is (not|longer))"):
        kind.convert(text, None, None)


def test_plain_is_json_for_everything():
    value = {
        "at": datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=2))),
        "nan": float("nan"),
        "array": np.arange(2),
        "scalar": np.float32(0.5),
        "state": State.RUNNING,
        "span": timedelta(minutes=1),
        1: {"set": {3}},
    }
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == {
        "at": "2026-01-02T01:00:00Z",
        "nan": None,
        "array": [0, 1],
        "scalar": 0.5,
        "state": "RUNNING",
        "span": 60.0,
        "1": {"set": [3]},
    }


def test_times_are_in_the_readers_zone_only_on_a_terminal():
    at = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    assert cell(at) == "2026-01-02T03:04:05Z"
    assert cell(at, local=True) == at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.json", '[{"hour": 17, "carrier": "UA", "delay": null}]'),
        ("rows.json", '{"hour": 17, "carrier": "UA", "delay": null}'),
        ("rows.jsonl", '{"hour": 17, "carrier": "UA", "delay": null}\n\n'),
        ("rows.csv", "hour,carrier,delay\n17,UA,\n"),
    ],
)
def test_rows(home, name, text):
    (home / name).write_text(text)
    assert rows.read_rows(name, None) == [{"hour": 17, "carrier": "UA", "delay": None}]


def test_rows_of_parquet(home):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"hour": [17, 18]}), home / "rows.parquet")
    assert rows.read_rows("rows.parquet", None) == [{"hour": 17}, {"hour": 18}]


@pytest.mark.parametrize(("text", "form"), [("{", "json"), ("a,b\n1,2,3\n", "csv")])
def test_rows_that_cannot_be_read(text, form):
    with pytest.raises(SpecError):
        rows.parse_rows(text, form, "rows")


def test_labels_are_grouped_by_request():
    table = [{"request_id": "a", "label": "1"}, {"request_id": "b", "label": "late"}, {"request_id": "a", "label": ""}]
    assert rows.group_labels(table, "f") == [("a", [1, None]), ("b", ["late"])]


def test_labels_with_rows_may_come_in_any_order_and_leave_some_out():
    table = [{"request_id": "a", "row": "2", "label": "1"}, {"request_id": "a", "row": "0", "label": "0"}]
    assert rows.group_labels(table, "f") == [("a", [0, None, 1])]


@pytest.mark.parametrize("row", [{"request_id": "", "label": "1"}, {"request_id": "a"}, {"request_id": "a", "row": "x", "label": "1"}])
def test_labels_that_are_wrong_name_their_line(row):
    with pytest.raises(SpecError, match="line 2"):
        rows.group_labels([row], "truth.csv")


@pytest.mark.parametrize(
    ("latency", "q", "value"),
    [
        (Latency("samples", [0.3, 0.1, 0.2, 0.4]), 0.5, 0.2),
        (Latency("samples", [0.3]), 0.99, 0.3),
        (Latency("histogram", [0.01, 0.1], [98, 2]), 0.99, 0.1),
        (Latency("quantiles", [0.01, 0.1], [0.5, 0.99]), 0.99, 0.1),
        (Latency("quantiles", [0.01], [0.5]), 0.99, None),
        (Latency("none"), 0.5, None),
        (Latency("histogram", [0.01], [0]), 0.5, None),
    ],
)
def test_quantile(latency, q, value):
    assert quantile(latency, q) == value
