"""An endpoint of an emulator that is killed with -9: in the middle of an update, and with rows on their way to the inference table.

And one that is deleted just before the emulator is stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from aids.databricks.place import run
from aids.databricks.serving import PATH, WAREHOUSE, ask, entity, predict, register, rows, settled, until
from aids.process import Emulated, emulating

from mlport.emulation.at_work import processes
from mlport.emulation.server import serve
from mlport_databricks.emulator import EMULATOR

CAPTURE = {"enabled": True, "catalog_name": "main", "schema_name": "ml", "table_name_prefix": "kept"}

QUERY = """
    import json, sys
    from databricks.sdk import WorkspaceClient

    w = WorkspaceClient()
    for number in range(5):
        assert w.serving_endpoints.query("kept", client_request_id=f"mine-{number}", dataframe_records=[{"0": number}]).predictions == [1]
"""
READ = """
    import json, sys, time
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.sql import StatementParameterListItem

    w = WorkspaceClient()
    statement = '''
        SELECT client_request_id, status_code, request, response, served_entity_name, requester
        FROM IDENTIFIER(:table) AS p JOIN system.serving.served_entities AS s ON p.served_entity_id = s.served_entity_id
        WHERE request_date >= current_date() - INTERVAL 1 DAY ORDER BY client_request_id'''
    table = [StatementParameterListItem(name="table", value="main.ml.kept_payload")]
    while True:
        found = w.statement_execution.execute_statement(statement, sys.argv[1], parameters=table).result.data_array or []
        if len(found) >= 5:
            break
        time.sleep(0.2)
    print(json.dumps(found))
"""


@pytest.fixture
def emulated(tmp_path: Path) -> Iterator[Emulated]:
    with emulating("databricks", tmp_path / "emulator") as emulated:
        yield emulated


def test_a_killed_emulator_goes_on(emulated: Emulated, tmp_path: Path) -> None:
    ready = emulated.ready
    register(ready, tmp_path / "models")
    config = {"served_entities": [entity("blue")]}
    begun = ask(ready, "POST", PATH, {"name": "kept", "config": config, "ai_gateway": {"inference_table_config": CAPTURE}})
    assert begun["state"] == {"ready": "NOT_READY", "config_update": "IN_PROGRESS"}
    emulated.kill()
    emulated.start()
    ready = emulated.ready
    found = settled(ready, "kept")
    assert (found["state"]["ready"], found["id"], found["config"]["config_version"]) == ("READY", begun["id"], 1)
    run(ready, QUERY)
    emulated.kill()  # with the answers given, and their rows in no table yet or in it already
    emulated.start()
    ready = emulated.ready
    assert ask(ready, "GET", f"{PATH}/kept")["state"] == {"ready": "READY", "config_update": "NOT_UPDATING"}
    captured = json.loads(run(ready, READ, WAREHOUSE))
    assert [each[:2] for each in captured] == [[f"mine-{number}", "200"] for number in range(5)]
    client_id, _, request, response, deployment, requester = captured[2]
    assert json.loads(request) == {"client_request_id": client_id, "dataframe_records": [{"0": 2}]}
    assert (json.loads(response), deployment, requester) == ({"predictions": [1]}, "blue", "admin@emulated.example")
    assert predict(ready, "kept")[0] == 200
    until(lambda: len(rows(ready, "SELECT 1 FROM main.ml.kept_payload")) == 6)


def test_what_is_deleted_ends_though_the_emulator_is_stopped_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "emulator"
    with serve({"databricks": EMULATOR}, folder) as ready:
        register(ready, tmp_path / "models")
        ask(ready, "POST", PATH, {"name": "short", "config": {"served_entities": [entity("blue")]}})
        settled(ready, "short")
        assert processes(folder)
        ask(ready, "DELETE", f"{PATH}/short")
    until(lambda: not processes(folder))
