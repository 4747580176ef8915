"""The conformance suite on a real Databricks workspace. docs/live.md says how to run it, and what it costs."""

from __future__ import annotations

import secrets
from pathlib import Path
from urllib.parse import quote

import obstore
import pytest
from live.account import Given, Live, check

import mlport
from mlport.errors import NotFoundError
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.workspace.buckets import state_store
from mlport_databricks.workspace.connection import Connection

GIVEN = Given("MLPORT_LIVE_DATABRICKS_")
SIGN_IN = ("SDK_PROFILE", "CLIENT_ID", "CLIENT_SECRET")
STATE = ("STATE", "STATE_ACCESS_KEY", "STATE_SECRET_KEY", "STATE_ACCOUNT_KEY", "STATE_CREDENTIALS")
FIELDS = (
    "REGION",
    "CLOUD",
    "TIER",
    "WAREHOUSE_ID",
    "CAPTURE_LAG",
    "SECRET_SCOPE",
    "POLICY_ID",
    "NODE_TYPE",
    "SPARK_VERSION",
    "PROXY",
    "CA",
    *SIGN_IN,
    *STATE,
)
MINUTES = 240.0
REQUIREMENTS = "mlflow-skinny,scikit-learn==1.6.1"  # what jobs install to train a model, over the runtime's own packages
UNITY = "/api/2.1/unity-catalog"

missing = GIVEN.missing("HOST", "CATALOG", "REGION", "STATE")
pytestmark = pytest.mark.skipif(bool(missing), reason=f"costs money on a real workspace; set {missing} (docs/live.md)")


def test_the_suite_passes_and_nothing_is_left(tmp_path: Path) -> None:
    run = secrets.token_hex(4)
    runner = f"/Workspace/Shared/mlport-live-{run}"
    place = f"databricks://{GIVEN('HOST')}/{GIVEN('CATALOG')}/mlport_live_{run}"
    live = Live.of(place, run, **GIVEN.fields(*FIELDS), runner_folder=runner)
    with mlport.connect(live.target) as client:
        make_schema(client.config, client.session.connection)
    check(live, GIVEN, tmp_path, minutes=MINUTES, requirements=REQUIREMENTS, remove=remove_schema_files_and_state)


def make_schema(config: DatabricksConfig, connection: Connection) -> None:
    """The schema of the run, which all that it leaves in Unity Catalog is in, and the volume in it."""
    schema = {"name": config.schema_, "catalog_name": config.catalog, "comment": "A live run of mlport's tests; may be removed"}
    connection.call("POST", f"{UNITY}/schemas", operation="schemas.create", body=schema)
    volume = {"name": config.volume, "catalog_name": config.catalog, "schema_name": config.schema_, "volume_type": "MANAGED"}
    connection.call("POST", f"{UNITY}/volumes", operation="volumes.create", body=volume)


def remove_schema_files_and_state(live: Live) -> list[str]:
    """Models, the schema with all that is in it, the runner, the state: what `mlport cleanup` never touches. What is left of them."""
    with mlport.connect(live.target) as client:
        config, connection = client.config, client.session.connection
        for model in list(client.models.list()):
            for version in list(client.models.versions(model.name)):
                version.delete()
        runner = config.runner_folder.removeprefix("/Workspace")
        removals = [
            ("DELETE", f"{UNITY}/schemas/{quote(config.namespace)}", "schemas.delete", None, {"force": True}),
            ("POST", "/api/2.0/workspace/delete", "workspace.delete", {"path": runner, "recursive": True}, None),
        ]
        for verb, path, operation, body, query in removals:
            try:
                connection.call(verb, path, operation=operation, body=body, query=query, repeatable=True)
            except NotFoundError:  # the runner is put there with the first job
                continue
        return [*schemas(config, connection), *remove_state(config)]


def schemas(config: DatabricksConfig, connection: Connection) -> list[str]:
    """The run's schema, if it is still there."""
    try:
        found = connection.call("GET", f"{UNITY}/schemas/{quote(config.namespace)}", operation="schemas.get")
    except NotFoundError:
        return []
    return [f"schema {found['full_name']}"]


def remove_state(config: DatabricksConfig) -> list[str]:
    """The objects of the run's state; what is left of them."""
    store, folder = state_store(config)
    obstore.delete(store, [str(item["path"]) for page in obstore.list(store, folder) for item in page])
    return [str(item["path"]) for page in obstore.list(store, folder) for item in page]
