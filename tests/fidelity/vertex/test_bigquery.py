"""BigQuery of the Vertex AI emulator, as Google's own library and plain REST use it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from aids.vertex.place import Sdk, call, errors

from mlport.emulation.documents import Documents
from mlport.emulation.server import Ready
from mlport_vertex.emulator.storing.sql import SqlProblem, translated
from mlport_vertex.emulator.storing.tables import TableError, Tables

P = "/bigquery/v2/projects/emulated"
SCHEMA = [
    {"name": "endpoint", "type": "STRING"},
    {"name": "logging_time", "type": "TIMESTAMP"},
    {"name": "request_id", "type": "NUMERIC"},
    {"name": "request_payload", "type": "STRING", "mode": "REPEATED"},
]

LIBRARY = """
    import datetime, decimal
    from google.api_core import exceptions
    from google.cloud import bigquery as bq

    client = bq.Client()
    dataset = client.create_dataset("logs", exists_ok=True)
    client.create_dataset("logs", exists_ok=True)
    columns = [
        bq.SchemaField("s", "STRING", "REQUIRED"), bq.SchemaField("i", "INT64"), bq.SchemaField("f", "FLOAT64"), bq.SchemaField("b", "BOOL"),
        bq.SchemaField("t", "TIMESTAMP"), bq.SchemaField("d", "DATE"), bq.SchemaField("h", "TIME"), bq.SchemaField("dt", "DATETIME"),
        bq.SchemaField("n", "NUMERIC"), bq.SchemaField("x", "BYTES"), bq.SchemaField("j", "JSON"), bq.SchemaField("l", "STRING", "REPEATED"),
        bq.SchemaField("r", "RECORD", "REPEATED", fields=[bq.SchemaField("k", "STRING"), bq.SchemaField("v", "INT64")]),
    ]
    table = client.create_table(bq.Table("emulated.logs.all_types", columns))
    moment = datetime.datetime(2026, 11, 23, 10, 39, 12, 123457, tzinfo=datetime.UTC)
    row = {
        "s": "é", "i": 2**62 + 1, "f": 0.1, "b": True, "t": moment, "d": datetime.date(2026, 2, 3), "h": datetime.time(1, 2, 3, 4),
        "dt": datetime.datetime(2026, 1, 2, 3, 4, 5), "n": decimal.Decimal("12345678901234567890.123456789"), "x": bytes([0, 255]),
        "j": {"a": [1]}, "l": ["p", "q"], "r": [{"k": "a", "v": 1}, {"k": "b", "v": None}],
    }
    empty = {"s": "", "l": [], "r": []}
    assert client.insert_rows(table, [row, empty]) == []
    found = [dict(each) for each in client.list_rows(table)]
    assert found[0] == row, found[0]
    assert found[1] == {**dict.fromkeys(row), **empty}
    print([e["errors"][0]["message"] for e in client.insert_rows_json(table, [{"s": "a", "i": "x"}, {"i": 1}, {"s": "a", "no": 1}])])
    assert client.get_table(table).num_rows == 2
    assert client.insert_rows_json(table, [{"s": "once"}, {"s": "once"}], row_ids=["same", "same"]) == []
    assert client.get_table(table).num_rows == 3

    job = client.query(
        "SELECT s, t, r, n FROM `emulated.logs.all_types` WHERE t >= @start AND i IN UNNEST(@is) ORDER BY t",
        job_config=bq.QueryJobConfig(query_parameters=[
            bq.ScalarQueryParameter("start", "TIMESTAMP", moment), bq.ArrayQueryParameter("is", "INT64", [1, 2**62 + 1]),
        ]),
    )
    got = [dict(each) for each in job.result()]
    assert got == [{key: row[key] for key in ("s", "t", "r", "n")}], got
    assert job.state == "DONE" and [f.field_type for f in job.result().schema] == ["STRING", "TIMESTAMP", "RECORD", "NUMERIC"]
    rows = client.query_and_wait("SELECT COUNT(*), COUNTIF(i IS NULL) AS nulls, MAX(t) FROM logs.all_types, UNNEST([1, 2])")
    got = [tuple(each) for each in rows]
    assert got == [(6, 4, moment)] and [f.name for f in rows.schema] == ["f0_", "nulls", "f1_"], got
    long = client.query("SELECT n FROM UNNEST(GENERATE_ARRAY(1, 25)) AS n ORDER BY n")
    assert [each.n for page in long.result(page_size=10).pages for each in page] == list(range(1, 26))
    assert [each.n for each in client.query_and_wait("SELECT n FROM UNNEST(GENERATE_ARRAY(1, 25)) AS n ORDER BY n", page_size=4)] == list(range(1, 26))
    got = client.query_and_wait("SELECT TIMESTAMP_TRUNC(t, HOUR) h, JSON_VALUE(j, '$.a[0]') v, DATE(t) d, SAFE_CAST(s AS INT64) c FROM logs.all_types WHERE b")
    got = [tuple(each) for each in got]
    assert got == [(moment.replace(minute=0, second=0, microsecond=0), "1", moment.date(), None)], got
    into = bq.QueryJobConfig(destination="emulated.logs.copied")
    client.query("SELECT s, i FROM logs.all_types WHERE i IS NOT NULL", job_config=into).result()
    assert [dict(each) for each in client.list_rows("emulated.logs.copied")] == [{"s": "é", "i": 2**62 + 1}]
    assert client.query("DELETE FROM logs.copied WHERE TRUE").result().num_dml_affected_rows == 1
    for query in ("SELECT * FROM logs.none", "SELECT nothing FROM logs.all_types", "SELEC 1", "SELECT * FROM read_csv('/etc/passwd')"):
        try:
            client.query(query).result()
        except exceptions.GoogleAPICallError as error:
            print(type(error).__name__, error.errors[0]["reason"])
    print([t.table_id for t in client.list_tables("logs")], [d.dataset_id for d in client.list_datasets()])
    try:
        client.delete_dataset("logs")
    except exceptions.BadRequest as error:
        print(error.errors[0]["reason"])
    client.delete_table(table)
    client.delete_dataset("logs", delete_contents=True)
    client.delete_dataset("logs", not_found_ok=True)
    try:
        client.get_table("emulated.logs.copied")
    except exceptions.NotFound as error:
        print(error.errors[0]["message"])
"""


def test_googles_library(sdk: Sdk) -> None:
    assert sdk(LIBRARY).splitlines() == [
        "['Cannot convert value to integer (bad value): x', 'Missing required field: s.', 'no such field: no.']",
        "NotFound notFound",
        "BadRequest invalidQuery",
        "BadRequest invalidQuery",
        "BadRequest invalidQuery",
        "['all_types', 'copied'] ['logs']",
        "resourceInUse",
        "Not found: Dataset emulated:logs",
    ]


def made(ready: Ready, dataset: str, rows: int) -> str:
    """A dataset with a table of so many rows, one a second; the table's path."""
    call(ready, "POST", f"{P}/datasets", {"datasetReference": {"datasetId": dataset}})
    body = {"tableReference": {"projectId": "emulated", "datasetId": dataset, "tableId": "t"}, "schema": {"fields": SCHEMA}}
    status, said = call(ready, "POST", f"{P}/datasets/{dataset}/tables", body)
    assert status == 200, said
    sent = [{"json": {"logging_time": 1_700_000_000 + n, "request_id": str(n), "request_payload": ["{}"]}} for n in range(rows)]
    assert call(ready, "POST", f"{P}/datasets/{dataset}/tables/t/insertAll", {"rows": sent}) == (
        200,
        {"kind": "bigquery#tableDataInsertAllResponse"},
    )
    return f"{P}/datasets/{dataset}/tables/t"


def query(ready: Ready, text: str, **more: Any) -> tuple[int, Any]:
    return call(ready, "POST", f"{P}/queries", {"query": text, "useLegacySql": False, **more})


def test_a_query_over_rest_as_the_adapter_sends_it(emulator: Ready) -> None:
    made(emulator, "rest", 5)
    parameter = {"name": "start", "parameterType": {"type": "TIMESTAMP"}, "parameterValue": {"value": "2023-11-14T22:13:21Z"}}
    status, said = query(
        emulator,
        "SELECT logging_time, request_id, request_payload FROM `emulated.rest.t` WHERE logging_time >= @start ORDER BY logging_time",
        parameterMode="NAMED",
        queryParameters=[parameter],
        maxResults=3,
        location="europe-west4",
        formatOptions={"useInt64Timestamp": True},
        requestId="one",
    )
    assert status == 200, said
    assert said["rows"][0] == {"f": [{"v": "1700000001000000"}, {"v": "1"}, {"v": [{"v": "{}"}]}]}
    assert (said["totalRows"], said["jobComplete"], len(said["rows"])) == ("4", True, 3)
    job = said["jobReference"]
    assert job["location"] == "europe-west4"
    status, rest = call(emulator, "GET", f"{P}/queries/{job['jobId']}?pageToken={said['pageToken']}&location=europe-west4")
    assert (status, [row["f"][1]["v"] for row in rest["rows"]], "pageToken" in rest) == (200, ["4"], False)
    assert rest["rows"][0]["f"][0]["v"] == "1700000004.0"
    again = query(emulator, "SELECT 1", requestId="one")[1]
    assert again["jobReference"] == job  # the same request: the same job


def test_rows_are_listed_in_pages(emulator: Ready) -> None:
    table = made(emulator, "paged", 7)
    status, said = call(emulator, "GET", f"{table}/data?maxResults=3&startIndex=2&selectedFields=request_id")
    assert (status, [row["f"][0]["v"] for row in said["rows"]], said["totalRows"]) == (200, ["2", "3", "4"], "7")
    said = call(emulator, "GET", f"{table}/data?maxResults=3&pageToken={said['pageToken']}&selectedFields=request_id")[1]
    assert ([row["f"][0]["v"] for row in said["rows"]], "pageToken" in said) == (["5", "6"], False)


def test_what_one_row_spoils_is_not_inserted_unless_it_may_be_skipped(emulator: Ready) -> None:
    table = made(emulator, "spoilt", 1)
    rows = [{"json": {"request_id": 1}}, {"json": {"request_id": "no number"}}]
    said = call(emulator, "POST", f"{table}/insertAll", {"rows": rows})[1]
    assert [(each["index"], each["errors"][0]["reason"]) for each in said["insertErrors"]] == [(1, "invalid"), (0, "stopped")]
    assert call(emulator, "GET", table)[1]["numRows"] == "1"
    call(emulator, "POST", f"{table}/insertAll", {"rows": rows, "skipInvalidRows": True})
    assert call(emulator, "GET", table)[1]["numRows"] == "2"


@pytest.mark.parametrize(
    ("text", "reason", "said"),
    [
        ("SELECT @none", "invalidQuery", "Query parameter 'none' not found"),
        ("SELECT 1 AS a, 2 AS a", "invalidQuery", "Duplicate column names"),
        ("SELECT 1; SELECT 2", "invalidQuery", "one statement"),
        ("CREATE TABLE x AS SELECT 1", "invalidQuery", "not CREATE"),
        ("SELECT * FROM t", "invalid", "must be qualified with a dataset"),
        ("SELECT * FROM nodataset.t", "notFound", "Not found: Dataset emulated:nodataset"),
        ("COPY (SELECT 1) TO '/tmp/x'", "invalidQuery", ""),
        ("ATTACH '/tmp/x.db'", "invalidQuery", ""),
    ],
)
def test_queries_that_are_refused(emulator: Ready, text: str, reason: str, said: str) -> None:
    status, answer = query(emulator, text)
    assert status in (400, 404)
    assert answer["error"]["errors"][0]["reason"] == reason
    assert said in errors(answer)


def test_other_refusals(emulator: Ready) -> None:
    assert "useLegacySql" in errors(call(emulator, "POST", f"{P}/queries", {"query": "SELECT 1"})[1])
    assert call(emulator, "POST", f"{P}/datasets", {"datasetReference": {"datasetId": "no-dashes"}})[0] == 400
    assert call(emulator, "POST", f"{P}/datasets", {})[0] == 400
    status, said = call(emulator, "POST", f"{P}/jobs", {"configuration": {"load": {"sourceUris": ["gs://b/x"]}}})
    assert (status, "load" in errors(said)) == (501, True)
    assert call(emulator, "GET", f"{P}/jobs/none")[0] == 404


def test_rows_survive_a_restart(tmp_path: Path) -> None:
    for expected in (0, 1):
        documents = Documents(tmp_path / "documents.db")
        tables = Tables(tmp_path / "tables", documents)
        if not expected:
            tables.create("p", "d", "t", SCHEMA)
        assert tables.count("p", "d", "t") == expected
        tables.append("p", "d", "t", [{"endpoint": "e"}])
        with pytest.raises(TableError, match="no such field: nothing"):
            tables.append("p", "d", "t", [{"endpoint": "f"}, {"nothing": 1}])
        tables.close()
        documents.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("WITH t AS (SELECT 1 AS x) SELECT x FROM t", r"FROM t"),
        ("SELECT a.x FROM d.t AS a", r'FROM "p:d"."t" AS a'),
        ("SELECT t.x FROM `q.d.t`", r'SELECT t.x FROM "q:d"."t" AS "t"'),
        ("SELECT ? + 1", r"SELECT CAST\(\$p_p0 AS BIGINT\) \+ 1"),
    ],
)
def test_translation(text: str, expected: str) -> None:
    parameters = [{"parameterType": {"type": "INT64"}, "parameterValue": {"value": "1"}}]
    assert re.search(expected, translated(text, parameters, lambda project, dataset, table: f"{project or 'p'}:{dataset}").sql)


def test_a_parameter_with_a_bad_value_is_told() -> None:
    parameter = {"name": "x", "parameterType": {"type": "TIMESTAMP"}, "parameterValue": {"value": "yesterday"}}
    with pytest.raises(SqlProblem, match="Invalid value for parameter x"):
        translated("SELECT @x", [parameter], lambda *_: "")
