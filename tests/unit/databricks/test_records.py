"""What Databricks tells of models and endpoints, as the records that everyone sees."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mlport.spi import EndpointState as E
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.pages import page_of
from mlport_databricks.registry.model_records import model_record, record_of, token_of, version_record
from mlport_databricks.registry.model_request import described
from mlport_databricks.serving.endpoint_records import address, endpoint_record, etag, state_of, table_of

CONFIG = DatabricksConfig.model_validate(
    {
        "host": "acme.cloud.databricks.com",
        "catalog": "main",
        "schema": "ml",
        "state": "s3://acme/mlport",
        "region": "eu-central-1",
        "token": "t",
    }
)
ENTITY = {"name": "blue", "entity_name": "main.ml.delays", "entity_version": "3", "state": {"deployment": "DEPLOYMENT_READY"}}


def endpoint(ready: str = "READY", update: str = "NOT_UPDATING", **fields: Any) -> dict[str, Any]:
    config = {
        "config_version": 2,
        "served_entities": [ENTITY],
        "traffic_config": {"routes": [{"served_entity_name": "blue", "traffic_percentage": 100}]},
    }
    return {
        "name": "delays",
        "id": "e1",
        "creation_timestamp": 1000,
        "config": config,
        "state": {"ready": ready, "config_update": update},
        **fields,
    }


@pytest.mark.parametrize(
    ("ready", "update", "has_config", "expected"),
    [
        ("NOT_READY", "IN_PROGRESS", False, E.CREATING),
        ("READY", "IN_PROGRESS", True, E.UPDATING),
        ("NOT_READY", "IN_PROGRESS", True, E.DEGRADED),
        ("READY", "NOT_UPDATING", True, E.READY),
        ("READY", "UPDATE_FAILED", True, E.READY),
        ("READY", "UPDATE_CANCELED", True, E.READY),
        ("NOT_READY", "NOT_UPDATING", True, E.DEGRADED),
        ("NOT_READY", "UPDATE_FAILED", False, E.FAILED),
        ("READY", "SOMETHING_NEW", True, E.UNKNOWN),
    ],
)
def test_the_state_is_of_two_words(ready: str, update: str, has_config: bool, expected: E) -> None:
    told = endpoint(ready, update) if has_config else {**endpoint(ready, update), "config": None}
    assert state_of(told) == (expected, f"{ready} {update}")


def test_a_deployment_has_our_names_and_its_share() -> None:
    record = endpoint_record(CONFIG, endpoint(tags=[{"key": "mlport_owner", "value": "ada"}]))
    (blue,) = record.deployments
    assert (blue.name, blue.model, blue.version, blue.percent, blue.state, blue.runtime) == (
        "blue",
        "delays",
        "3",
        100,
        E.READY,
        "prebuilt",
    )
    assert (record.url, record.auth, record.capture_rate) == (f"{CONFIG.url}/serving-endpoints/delays/invocations", "identity", 0.0)
    assert record.created == datetime.fromtimestamp(1, UTC)
    assert record.labels == {"mlport_owner": "ada"}


def test_one_that_is_being_made_shows_what_is_coming() -> None:
    pending = endpoint()["config"]
    record = endpoint_record(CONFIG, {**endpoint("NOT_READY", "IN_PROGRESS"), "config": None, "pending_config": pending})
    assert (record.state, record.split) == (E.CREATING, {"blue": 100})


def test_why_an_update_failed_is_told() -> None:
    failed = {**ENTITY, "state": {"deployment": "DEPLOYMENT_FAILED", "deployment_state_message": "cannot load"}}
    record = endpoint_record(CONFIG, endpoint(update="UPDATE_FAILED", pending_config={"served_entities": [failed]}))
    assert (record.state, record.reason) == (E.READY, "cannot load")


def test_the_etag_changes_with_whatever_is_written() -> None:
    before = endpoint()
    other = {**ENTITY, "entity_version": "4"}
    changed = [
        {**before, "id": "e2"},
        {**before, "config": {**before["config"], "config_version": 3}},
        {**before, "config": {**before["config"], "served_entities": [other]}},
        {**before, "pending_config": before["config"]},
    ]
    assert len({etag(each) for each in (before, *changed)}) == 5
    seen = {**ENTITY, "state": {"deployment": "DEPLOYMENT_RECOVERING"}}
    assert etag({**before, "config": {**before["config"], "served_entities": [seen]}}) == etag(before), "a state is no change"


def test_a_route_optimized_endpoint_has_an_address_of_its_own() -> None:
    assert address(CONFIG, endpoint(endpoint_url="https://1.serving.cloud.databricks.com/1/delays")).startswith("https://1.serving")


def test_the_table_of_captured_requests() -> None:
    table = {"enabled": True, "catalog_name": "main", "schema_name": "ml", "table_name_prefix": "delays"}
    told = endpoint(ai_gateway={"inference_table_config": table})
    assert table_of(told) == ("main", "ml", "delays_payload")
    assert endpoint_record(CONFIG, told).capture_rate == 1.0
    assert table_of(endpoint(ai_gateway={"inference_table_config": {**table, "enabled": False}})) is None


# ---------------------------------------------------------------- models


def version(description: str, **fields: Any) -> dict[str, Any]:
    return {"name": "main.ml.delays", "version": "3", "description": description, "creation_timestamp": "1000", "status": "READY", **fields}


def test_a_version_of_ours_is_told_by_its_description() -> None:
    record = {"digest": "c0", "flavors": ["sklearn"], "signature": None, "lineage": {"job": "7"}, "description": "what it is"}
    told = version(
        described("0a1b", record),
        tags=[{"key": "stage", "value": "ready"}, {"key": "mlport_digest", "value": "c0"}],
        aliases=[{"alias": "champion", "version": "3"}],
    )
    found = version_record(told, record_of(told))
    assert (token_of(told), found.name, found.digest, found.lineage, found.description) == (
        "0a1b",
        "delays",
        "c0",
        {"job": "7"},
        "what it is",
    )
    assert (found.tags, found.aliases, found.flavors) == ({"stage": "ready"}, ("champion",), ("sklearn",))
    assert found.created == datetime.fromtimestamp(1, UTC)


@pytest.mark.parametrize("description", ["", "mlport", "made by hand", "mlport is good\n{}", "mlport 0a1b\n[1]", "mlport 0a1b\n{"])
def test_a_version_of_others_has_no_record(description: str) -> None:
    told = version(description)
    assert record_of(told) == {}
    assert version_record(told, {}).digest is None


def test_a_model_names_its_newest_version() -> None:
    told = {
        "name": "main.ml.delays",
        "creation_timestamp": 1000,
        "aliases": [{"alias": "champion", "version": "2"}],
        "tags": [{"key": "a", "value": "b"}],
    }
    found = model_record(told, ["3", "2"])
    assert (found.name, found.latest_version, found.aliases, found.tags) == ("delays", "3", {"champion": "2"}, {"a": "b"})


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("newest_first", [True, False])
def test_pages_of_any_size_hold_all(size: int, newest_first: bool) -> None:
    items, found, page = list(range(7)), [], None
    while True:
        some, page = page_of(items, lambda number: [number], newest_first=newest_first, size=size, page=page)
        found += some
        if page is None:
            break
        items = [number for number in items if number != found[-1]]  # who is given out may go
    assert found == sorted(range(7), reverse=newest_first)
