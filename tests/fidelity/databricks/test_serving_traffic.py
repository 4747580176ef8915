"""An endpoint of an emulator that is killed with -9: in the middle of an update, and with rows on their way to the inference table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from aids.databricks.killable import Killable
from aids.databricks.place import run
from aids.databricks.serving import PATH, WAREHOUSE, ask, entity, predict, register, rows, settled, until

from mlport.emulation.at_work import processes

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
def emulated(tmp_path: Path) -> Iterator[Killable]:
    found = Killable(tmp_path / "emulator")
    yield found
    ready = found.start()
    for each in ask(ready, "GET", PATH)["endpoints"]:
        ask(ready, "DELETE", f"{PATH}/{each['name']}")
    until(lambda: not list((tmp_path / "emulator" / "databricks" / "served").glob("w*")))
    found.kill()
    until(lambda: not processes(tmp_path / "emulator"))


def test_a_killed_emulator_goes_on(emulated: Killable) -> None:
    ready = emulated.start()
    register(ready)
    config = {"served_entities": [entity("blue")]}
    begun = ask(ready, "POST", PATH, {"name": "kept", "config": config, "ai_gateway": {"inference_table_config": CAPTURE}})
    assert begun["state"] == {"ready": "NOT_READY", "config_update": "IN_PROGRESS"}
    emulated.kill()
    ready = emulated.start()
    found = settled(ready, "kept")
    assert (found["state"]["ready"], found["id"], found["config"]["config_version"]) == ("READY", begun["id"], 1)
    run(ready, QUERY)
    emulated.kill()  # with the answers given, and their rows in no table yet or in it already
    ready = emulated.start()
    assert ask(ready, "GET", f"{PATH}/kept")["state"] == {"ready": "READY", "config_update": "NOT_UPDATING"}
    captured = json.loads(run(ready, READ, WAREHOUSE))
    assert [each[:2] for each in captured] == [[f"mine-{number}", "200"] for number in range(5)]
    client_id, _, request, response, deployment, requester = captured[2]
    assert json.loads(request) == {"client_request_id": client_id, "dataframe_records": [{"0": 2}]}
    assert (json.loads(response), deployment, requester) == ({"predictions": [1]}, "blue", "admin@emulated.example")
    assert predict(ready, "kept")[0] == 200
    until(lambda: len(rows(ready, "SELECT 1 FROM main.ml.kept_payload")) == 6)
