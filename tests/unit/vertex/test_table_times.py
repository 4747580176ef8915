"""Times with a zone in the emulator's tables: DuckDB hands them to Python only with pytz, which nobody installs for it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mlport.emulation.documents import Documents
from mlport_vertex.emulator.storing.sql import SqlProblem, translated
from mlport_vertex.emulator.storing.tables import Tables

MOMENT = datetime(2026, 11, 23, 10, 39, 12, 500_000, tzinfo=UTC)
SCHEMA = [{"name": "logging_time", "type": "TIMESTAMP"}, {"name": "request_id", "type": "NUMERIC"}]
START = {"name": "start", "parameterType": {"type": "TIMESTAMP"}, "parameterValue": {"value": "2026-11-23 10:00:00+00:00"}}
TIMES = {
    "name": "times",
    "parameterType": {"type": "ARRAY", "arrayType": {"type": "TIMESTAMP"}},
    "parameterValue": {"arrayValues": [{"value": MOMENT.isoformat()}]},
}


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Tables]:
    documents = Documents(tmp_path / "documents.db")
    found = Tables(tmp_path / "tables", documents)
    found.create("p", "logs", "t", SCHEMA)
    found.append("p", "logs", "t", [{"logging_time": MOMENT.isoformat(), "request_id": "1"}, {"request_id": "2"}])
    yield found
    found.close()
    documents.close()


def statement(text: str, *parameters: dict[str, Any]) -> Any:
    return translated(text, list(parameters), lambda *_: "p:logs")


@pytest.mark.parametrize(
    ("text", "parameters", "expected"),
    [
        ("SELECT logging_time FROM logs.t WHERE logging_time >= @start", [START], [MOMENT]),
        ("SELECT MAX(logging_time) AS last FROM logs.t", [], [MOMENT]),
        ("SELECT ARRAY_AGG(logging_time IGNORE NULLS) AS all_times FROM logs.t", [], [[MOMENT]]),
        ("SELECT STRUCT(logging_time AS at) AS s FROM logs.t WHERE logging_time IN UNNEST(@times)", [TIMES], [{"at": MOMENT}]),
        ("SELECT TIMESTAMP_ADD(@start, INTERVAL 1 HOUR) AS later", [START], [datetime(2026, 11, 23, 11, tzinfo=UTC)]),
    ],
)
def test_every_way_to_read_a_time(tables: Tables, text: str, parameters: list[dict[str, Any]], expected: list[Any]) -> None:
    asked = statement(text, *parameters)
    tables.run(asked.sql, asked.parameters, ("p", "results", "r"))
    assert [value for row in tables.rows("p", "results", "r", 0, 10) for value in row.values()] == expected
    assert [value for rows in tables.stream("p", "results", "r", 10) for row in rows for value in row.values()] == expected


def test_changes_by_a_time_say_how_many_rows(tables: Tables) -> None:
    asked = statement("UPDATE logs.t SET request_id = 3 WHERE logging_time >= @start", START)
    assert tables.change_rows(asked.sql, asked.parameters) == 1
    asked = statement("INSERT INTO logs.t (logging_time, request_id) VALUES (@start, 4)", START)
    assert tables.change_rows(asked.sql, asked.parameters) == 1
    asked = statement("DELETE FROM logs.t WHERE logging_time >= @start OR logging_time IN UNNEST(@times)", START, TIMES)
    assert tables.change_rows(asked.sql, asked.parameters) == 2
    assert [row["request_id"] for row in tables.rows("p", "logs", "t", 0, 10)] == [2]


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO logs.t (logging_time) VALUES (@start) RETURNING logging_time",
        "DELETE FROM logs.t WHERE logging_time >= @start RETURNING *",
        "UPDATE logs.t SET request_id = 1 WHERE logging_time >= @start RETURNING logging_time",
    ],
)
def test_a_change_gives_no_rows_back(text: str) -> None:
    """BigQuery has no such clause; it alone would hand a time to Python by the cursor."""
    with pytest.raises(SqlProblem, match="RETURNING"):
        statement(text, START)
