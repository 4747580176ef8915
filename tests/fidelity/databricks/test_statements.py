"""SQL statements and warehouses: what they answer, refuse and forbid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from aids.databricks.place import PLAIN_TOKEN, Sdk, call, emulator, error, sdk
from aids.databricks.serving import WAREHOUSE, ask, rows, sql, until

from mlport.emulation.server import Ready

__all__ = ["emulator", "sdk"]
STATEMENTS = "/api/2.0/sql/statements"
ENDS = ("CANCELED", "FAILED", "SUCCEEDED")


@pytest.fixture(scope="module")
def table(emulator: Ready) -> Iterator[str]:
    """A table with two rows."""
    rows(emulator, "CREATE TABLE main.ml.facts (id BIGINT, word STRING, tags ARRAY<STRING>, seen TIMESTAMP) USING delta")
    rows(emulator, "INSERT INTO main.ml.facts VALUES (1, 'x', array('a', 'b'), TIMESTAMP'2026-01-02 03:04:05.678'), (2, null, null, null)")
    yield "main.ml.facts"
    rows(emulator, "DROP TABLE main.ml.facts")


def test_the_sdk_runs_statements(sdk: Sdk, table: str) -> None:
    """An unmodified program: a warehouse made and waited for, typed parameters, several chunks, an error, a deletion."""
    program = """
        import json, sys
        from databricks.sdk import WorkspaceClient
        from databricks.sdk.service.sql import StatementParameterListItem as P, StatementState

        w = WorkspaceClient()
        made = w.warehouses.create_and_wait(name="mine", cluster_size="2X-Small", max_num_clusters=1, auto_stop_mins=10)
        known = [each.id for each in w.warehouses.list()]
        run = w.statement_execution.execute_statement
        one = run("SELECT word, id + :n AS n FROM main.ml.facts WHERE id = :id", made.id, parameters=[P("n", "INT", "41"), P("id", "BIGINT", "1")])
        many = run("SELECT id, repeat('x', 1000) FROM range(2500)", made.id, wait_timeout="0s")
        pending = many.status.state.value
        while many.status.state in (StatementState.PENDING, StatementState.RUNNING):
            many = w.statement_execution.get_statement(many.statement_id)
        read, chunk = len(many.result.data_array), many.result
        while chunk.next_chunk_index is not None:
            chunk = w.statement_execution.get_statement_result_chunk_n(many.statement_id, chunk.next_chunk_index)
            read += len(chunk.data_array)
        wrong = run("SELECT * FROM main.ml.nothing", made.id)
        w.warehouses.stop_and_wait(made.id)
        stopped = w.warehouses.get(made.id).state.value
        w.warehouses.delete(made.id)
        print(json.dumps({
            "made": made.state.value, "known": made.id in known, "one": one.result.data_array, "types": [c.type_name.value for c in one.manifest.schema.columns],
            "pending": pending, "read": read, "chunks": many.manifest.total_chunk_count, "last": chunk.data_array[-1][0],
            "wrong": [wrong.status.state.value, wrong.status.error.error_code.value, wrong.status.sql_state], "stopped": stopped,
        }))
    """
    assert json.loads(sdk(program)) == {
        "made": "RUNNING",
        "known": True,
        "one": [["x", "42"]],
        "types": ["STRING", "LONG"],
        "pending": "PENDING",
        "read": 2500,
        "chunks": 3,
        "last": "2499",
        "wrong": ["FAILED", "BAD_REQUEST", "42P01"],
        "stopped": "STOPPED",
    }


@pytest.mark.parametrize(
    ("query", "kinds", "expected"),
    [
        ("SELECT * FROM main.ml.facts WHERE id = 1", ["BIGINT", "STRING", "ARRAY<STRING>", "TIMESTAMP"], ["1", "x", '["a","b"]', "2026-01-02T03:04:05.678Z"]),
        ("SELECT word, tags FROM ml.facts WHERE id = 2", ["STRING", "ARRAY<STRING>"], [None, None]),
        ("SELECT main.ml.facts.id FROM main.ml.facts WHERE ml.facts.id = 2", ["BIGINT"], ["2"]),
        ("SELECT id FROM IDENTIFIER('main.ml.facts') ORDER BY id LIMIT 1", ["BIGINT"], ["1"]),
        ("WITH f AS (SELECT id FROM main.ml.facts) SELECT sum(id), avg(id) FROM f", ["BIGINT", "DOUBLE"], ["3", "1.5"]),
        ("SELECT true, 1.50, 1e20, CAST('2.5' AS DECIMAL(10,2)), DATE'2026-01-02'", ["BOOLEAN", "DECIMAL(3,2)", "DOUBLE", "DECIMAL(10,2)", "DATE"], ["true", "1.50", "1.0E20", "2.50", "2026-01-02"]),
        ("SELECT named_struct('a', 1), map('k', 2), unix_micros(TIMESTAMP'1970-01-01 00:00:01')", ["STRUCT<a: INT>", "MAP<STRING, INT>", "BIGINT"], ['{"a":"1"}', '{"k":"2"}', "1000000"]),
        ("SELECT get_json_object('{\"a\": [5]}', '$.a[0]'), '{\"b\": 2}':b", ["STRING", "STRING"], ["5", "2"]),
        ("SELECT col FROM (SELECT explode(array(7)) AS col)", ["INT"], ["7"]),
        ("SELECT timestamp_millis(1000), date_format(TIMESTAMP'2026-01-02 03:04:05', 'yyyy-MM')", ["TIMESTAMP", "STRING"], ["1970-01-01T00:00:01.000Z", "2026-01"]),
    ],
)  # fmt: skip
def test_values_and_types(emulator: Ready, table: str, query: str, kinds: list[str], expected: list[Any]) -> None:
    said = sql(emulator, query)
    assert said["status"] == {"state": "SUCCEEDED"}
    assert [each["type_text"] for each in said["manifest"]["schema"]["columns"]] == kinds
    assert said["result"]["data_array"] == [expected]


@pytest.mark.parametrize(
    ("query", "condition", "state"),
    [
        ("SELECT * FROM nowhere", "TABLE_OR_VIEW_NOT_FOUND", "42P01"),
        ("SELECT wort FROM main.ml.facts", "UNRESOLVED_COLUMN.WITH_SUGGESTION", "42703"),
        ("SELEC 1", "PARSE_SYNTAX_ERROR", "42601"),
        ("SELECT (", "PARSE_SYNTAX_ERROR", "42601"),
        (" ; ", "PARSE_EMPTY_STATEMENT", "42617"),
        ("SELECT :absent", "UNBOUND_SQL_PARAMETER", "42P02"),
        ("SELECT CAST('x' AS INT)", "CAST_INVALID_INPUT", "22018"),
        ("SELECT no_such_function(1)", "UNRESOLVED_ROUTINE", "42883"),
        ("CREATE TABLE sdk-1 AS SELECT 1 AS one", "INVALID_IDENTIFIER", "42602"),
        ("CREATE TABLE main.ml.facts AS SELECT 1 AS one", "TABLE_OR_VIEW_ALREADY_EXISTS", "42P07"),
        ("DROP TABLE main.ml.nothing", "TABLE_OR_VIEW_NOT_FOUND", "42P01"),
        ("MERGE INTO main.ml.facts USING main.ml.facts AS s ON false WHEN MATCHED THEN DELETE", "UNSUPPORTED_FEATURE", "0A000"),
        ("SHOW TABLES", "UNSUPPORTED_FEATURE", "0A000"),
        ("SELECT * FROM read_csv('/etc/passwd')", "UNSUPPORTED_FEATURE", "0A000"),
    ],
)
def test_a_statement_that_fails_says_why(emulator: Ready, table: str, query: str, condition: str, state: str) -> None:
    status = sql(emulator, query)["status"]
    assert (status["state"], status["error"]["error_code"], status["sql_state"]) == ("FAILED", "BAD_REQUEST", state)
    assert status["error"]["message"].startswith(f"[{condition}] ")
    assert status["error"]["message"].endswith(f"SQLSTATE: {state}")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "INVALID_PARAMETER_VALUE"),
        ({"statement": "SELECT 1", "warehouse_id": "none"}, "RESOURCE_DOES_NOT_EXIST"),
        ({"statement": "SELECT 1", "warehouse_id": WAREHOUSE, "wait_timeout": "3s"}, "INVALID_PARAMETER_VALUE"),
        ({"statement": "SELECT 1", "warehouse_id": WAREHOUSE, "format": "CSV"}, "INVALID_PARAMETER_VALUE"),
        ({"statement": "SELECT 1", "warehouse_id": WAREHOUSE, "disposition": "EXTERNAL_LINKS"}, "NOT_IMPLEMENTED"),
        ({"statement": "SELECT 1", "warehouse_id": WAREHOUSE, "row_limits": 1}, "INVALID_PARAMETER_VALUE"),
    ],
)
def test_a_request_that_is_refused(emulator: Ready, body: dict[str, Any], code: str) -> None:
    assert error(call(emulator, "POST", STATEMENTS, body)[1])[0] == code


def test_limits_cut_the_result(emulator: Ready) -> None:
    said = sql(emulator, "SELECT id FROM range(10)", row_limit=3)
    assert (said["result"]["data_array"], said["manifest"]["truncated"]) == ([["0"], ["1"], ["2"]], True)
    assert sql(emulator, "SELECT id FROM range(10)", row_limit=10)["manifest"]["truncated"] is False
    assert sql(emulator, "SELECT id FROM range(10)", byte_limit=4)["manifest"]["truncated"] is True


def test_changes_say_how_many_rows(emulator: Ready) -> None:
    made = sql(emulator, "CREATE TABLE main.ml.counted AS SELECT id FROM range(5)")
    assert [each["name"] for each in made["manifest"]["schema"]["columns"]] == ["num_affected_rows", "num_inserted_rows"]
    assert made["result"]["data_array"] == [["5", "5"]]
    assert rows(emulator, "UPDATE main.ml.counted SET id = 9 WHERE id > 2") == [["2"]]
    assert rows(emulator, "DELETE FROM main.ml.counted WHERE id = 9") == [["2"]]
    assert rows(emulator, "DESCRIBE TABLE main.ml.counted") == [["id", "bigint", None]]
    listed = ask(emulator, "GET", "/api/2.1/unity-catalog/tables?catalog_name=main&schema_name=ml")["tables"]
    (info,) = [each for each in listed if each["name"] == "counted"]
    assert [(each["name"], each["type_name"]) for each in info["columns"]] == [("id", "LONG")]
    ask(emulator, "DELETE", "/api/2.1/unity-catalog/tables/main.ml.counted")
    assert ask(emulator, "GET", "/api/2.1/unity-catalog/tables/main.ml.counted/exists") == {"table_exists": False}
    assert sql(emulator, "SELECT * FROM main.ml.counted")["status"]["sql_state"] == "42P01"


def test_a_cancelled_statement_ends(emulator: Ready) -> None:
    long = "SELECT count(*) FROM range(100000000) AS a, range(100000000) AS b WHERE a.id * b.id % 7 = 3"
    begun = sql(emulator, long, wait_timeout="0s")
    path = f"{STATEMENTS}/{begun['statement_id']}"
    until(lambda: ask(emulator, "GET", path)["status"]["state"] == "RUNNING")
    assert ask(emulator, "POST", f"{path}/cancel", {}) == {}
    assert until(lambda: said if (said := ask(emulator, "GET", path))["status"]["state"] != "RUNNING" else None)["status"] == {
        "state": "CANCELED"
    }


def test_a_statement_ends_however_early_it_is_cancelled(emulator: Ready) -> None:
    """The engine forgets an interrupt that comes before it has begun, so one is not enough."""
    long = "SELECT count(*) FROM range(100000000) AS a, range(100000000) AS b WHERE a.id * b.id % 7 = 3"
    for _ in range(20):
        path = f"{STATEMENTS}/{sql(emulator, long, wait_timeout='0s')['statement_id']}"
        assert ask(emulator, "POST", f"{path}/cancel", {}) == {}
        assert until(lambda path=path: state if (state := ask(emulator, "GET", path)["status"]["state"]) in ENDS else None) == "CANCELED"


def test_a_plain_user_needs_privileges(emulator: Ready, table: str) -> None:
    status = sql(emulator, "SELECT * FROM main.ml.facts", token=PLAIN_TOKEN)["status"]
    assert (status["state"], status["sql_state"]) == ("FAILED", "42501")
    assert "does not have USE CATALOG on Catalog 'main'" in status["error"]["message"]
    assert sql(emulator, "SELECT 1", token=PLAIN_TOKEN)["status"]["state"] == "SUCCEEDED"
    theirs = sql(emulator, "SELECT 1")["statement_id"]
    assert call(emulator, "GET", f"{STATEMENTS}/{theirs}", token=PLAIN_TOKEN)[0] == 404
