"""Inference tables and system.serving: what is refused, what a row has, when it is shown, and that a killed emulator shows each once."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlport.emulation.faults import Faults
from mlport_databricks.emulator.accounts import ADMIN, HOST, OTHER_HOST, PLAIN
from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.errors import ApiError
from mlport_databricks.emulator.storing.inference_tables import MOST_BYTES, PAYLOAD, SERVED, USAGE, InferenceTables, table_of, written
from mlport_databricks.emulator.storing.tables import address

Json = dict[str, Any]
CONFIG = {"enabled": True, "catalog_name": "main", "schema_name": "ml", "table_name_prefix": "e"}
GATEWAY: Json = {"inference_table_config": CONFIG, "usage_tracking_config": {"enabled": True}}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """One that does nothing in the background."""
    found = Place(tmp_path / "place", Faults())
    yield found
    found.close()


def _row(number: int, **changed: Any) -> Json:
    moment = written(1_795_428_000.25 + number)
    row: Json = {
        "databricks_request_id": f"request-{number}",
        "request_date": moment[:10],
        "client_request_id": None,
        "request_time": moment,
        "status_code": 200,
        "sampling_fraction": 1.0,
        "execution_duration_ms": 5,
        "request": '{"inputs": [["ü\\n"]]}',
        "response": '{"predictions": [1]}',
        "served_entity_id": "entity",
        "requester": ADMIN.name,
    }
    return {**row, **changed}


def _endpoint(place: Place, inference: InferenceTables, workspace: str = HOST) -> Json:
    gateway = inference.checked(workspace, ADMIN.name, "e", GATEWAY, None)
    return {"name": "e", "id": "number", "workspace": workspace, "ai_gateway": gateway}


def _read(place: Place, full_name: str, columns: str, workspace: str = HOST) -> list[tuple[Any, ...]]:
    with place.tables.cursor() as cursor:
        return list(cursor.execute(f"SELECT {columns} FROM {address(workspace, full_name)} ORDER BY 1").fetchall())


def test_the_table_is_made_with_databricks_columns(place: Place) -> None:
    inference = InferenceTables(place, place.tables)
    _endpoint(place, inference)
    table = place.unity.need(HOST, "table", "main.ml.e_payload")
    assert [each["name"] for each in table["columns"]] == [name for name, _ in PAYLOAD]
    kinds = {each["name"]: each["type_name"] for each in table["columns"]}
    assert (kinds["request_time"], kinds["execution_duration_ms"], kinds["logging_error_codes"]) == ("TIMESTAMP", "LONG", "ARRAY")
    assert table["owner"] == ADMIN.name
    assert inference.checked(HOST, ADMIN.name, "my-endpoint", {"inference_table_config": {**CONFIG, "table_name_prefix": None}}, None) == {
        "inference_table_config": {**CONFIG, "table_name_prefix": "my_endpoint"}
    }
    assert place.unity.get(OTHER_HOST, "table", "main.ml.e_payload") is None


@pytest.mark.parametrize(
    ("config", "code", "said"),
    [
        ({"schema_name": None}, "INVALID_PARAMETER_VALUE", "catalog_name and schema_name are required"),
        ({"schema_name": "none"}, "SCHEMA_DOES_NOT_EXIST", "main.none"),
        ({"catalog_name": "none"}, "CATALOG_DOES_NOT_EXIST", "none"),
        ({"table_name_prefix": "a.b"}, "INVALID_PARAMETER_VALUE", "periods"),
        ({"table_name_prefix": "other"}, "INVALID_PARAMETER_VALUE", "disable the inference table first"),
        ({"table_name_prefix": "taken"}, "RESOURCE_ALREADY_EXISTS", "is no inference table"),
    ],
)
def test_a_configuration_that_is_refused(place: Place, config: Json, code: str, said: str) -> None:
    inference = InferenceTables(place, place.tables)
    before = GATEWAY if config.get("table_name_prefix") == "other" else None
    place.tables.create(HOST, ADMIN.name, "main.ml.taken_payload", [("id", "BIGINT")])
    with pytest.raises(ApiError) as refused:
        inference.checked(HOST, ADMIN.name, "e", {"inference_table_config": {**CONFIG, **config}}, before)
    assert (refused.value.error_code, said in refused.value.message) == (code, True)


def test_a_plain_user_may_not_make_the_table(place: Place) -> None:
    inference = InferenceTables(place, place.tables)
    place.grants.change(HOST, "catalog", "main", PLAIN.name, add=["USE_CATALOG", "USE_SCHEMA"])
    with pytest.raises(ApiError, match=r"does not have CREATE TABLE on Schema 'main\.ml'"):
        inference.checked(HOST, PLAIN.name, "e", GATEWAY, None)
    place.grants.change(HOST, "schema", "main.ml", PLAIN.name, add=["CREATE_TABLE"])
    inference.checked(HOST, PLAIN.name, "e", GATEWAY, None)
    assert place.unity.need(HOST, "table", table_of(CONFIG))["owner"] == PLAIN.name


def test_rows_are_shown_when_they_are_due(place: Place) -> None:
    inference = InferenceTables(place, place.tables)
    endpoint = _endpoint(place, inference)
    inference.write(HOST, endpoint, _row(1, client_request_id="mine"), {"team": "a"}, 0.0)
    inference.move()
    inference.write(HOST, endpoint, _row(2), None, 3600.0)
    inference.move()
    assert _read(place, table_of(CONFIG), "databricks_request_id, client_request_id, status_code, request, logging_error_codes") == [
        ("request-1", "mine", 200, '{"inputs": [["ü\\n"]]}', [])
    ]
    assert _read(place, USAGE, "databricks_request_id, usage_context, request_streaming") == [("request-1", '{"team": "a"}', False)]


def test_a_killed_emulator_loses_no_row_and_shows_none_twice(place: Place, tmp_path: Path) -> None:
    """It is killed after a row was answered, and once more between the rows' being in the table and the spool's being gone."""
    inference = InferenceTables(place, place.tables)
    endpoint = _endpoint(place, inference)
    for number in range(3):
        inference.write(HOST, endpoint, _row(number), None, 0.0)
    spool = place.folder / "traffic" / "spool"
    shutil.copy(spool, tmp_path / "kept")
    with spool.open("ab") as torn:
        torn.write(b'{"workspace": "')  # killed in the middle of a line, whose answer was never sent
    after = InferenceTables(place, place.tables)
    inference.write(HOST, endpoint, _row(3), None, 0.0)
    after.move()
    shutil.copy(tmp_path / "kept", place.folder / "traffic" / f"{time.time_ns()}.jsonl")
    after.move()
    for table in (table_of(CONFIG), USAGE):
        assert [row[0] for row in _read(place, table, "databricks_request_id")] == [f"request-{number}" for number in range(4)]
    assert list((place.folder / "traffic").iterdir()) == []


def test_what_is_too_large_is_not_logged_and_said(place: Place) -> None:
    inference = InferenceTables(place, place.tables)
    endpoint = _endpoint(place, inference)
    inference.write(HOST, endpoint, _row(1, request="x" * (MOST_BYTES + 1)), None, 0.0)
    inference.write(HOST, endpoint, _row(2, response="x" * MOST_BYTES), None, 0.0)
    inference.move()
    assert _read(place, table_of(CONFIG), "databricks_request_id, request IS NULL, length(response), logging_error_codes") == [
        ("request-1", True, 20, ["MAX_REQUEST_SIZE_EXCEEDED"]),
        ("request-2", False, MOST_BYTES, []),
    ]


def test_nothing_is_logged_where_it_is_off_or_the_table_is_gone(place: Place) -> None:
    inference = InferenceTables(place, place.tables)
    endpoint = _endpoint(place, inference)
    off = {**endpoint, "ai_gateway": {"inference_table_config": {**CONFIG, "enabled": False}}}
    inference.write(HOST, off, _row(1), None, 0.0)
    assert not (place.folder / "traffic" / "spool").exists()
    place.tables.drop(HOST, table_of(CONFIG))
    inference.write(HOST, endpoint, _row(2), None, 0.0)
    inference.move()
    assert place.unity.get(HOST, "table", table_of(CONFIG)) is None
    assert _read(place, USAGE, "databricks_request_id") == [("request-2",)]


def test_served_entities_are_told_once_and_when_they_go(place: Place) -> None:
    inference = InferenceTables(place, place.tables)
    endpoint = _endpoint(place, inference)
    entities = [
        {"id": f"id-{name}", "name": name, "entity_name": "main.ml.m", "entity_version": "1", "creator": ADMIN.name} for name in ("a", "b")
    ]
    inference.served(endpoint, {"config_version": 1, "served_entities": entities[:1]})
    inference.served(endpoint, {"config_version": 2, "served_entities": entities})
    columns = "served_entity_name, endpoint_config_version, endpoint_delete_time IS NULL"
    assert _read(place, SERVED, columns) == [("a", 1, True), ("b", 2, True)]
    inference.deleted(endpoint)
    assert _read(place, SERVED, columns) == [("a", 1, False), ("b", 2, False)]
