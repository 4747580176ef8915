"""Registered models of Unity Catalog by MLflow's own client and by the SDK, with nothing but the environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aids.databricks.place import PLAIN_TOKEN, Sdk, call, error

from mlport.emulation.server import Ready

MLFLOW, MODELS = "/api/2.0/mlflow/unity-catalog", "/api/2.1/unity-catalog/models"
SAVED = """
import sys, mlflow, pandas
from sklearn.linear_model import LogisticRegression
table = pandas.DataFrame({"a": [0.0, 1.0, 2.0, 3.0]})
model = LogisticRegression().fit(table, [0, 0, 1, 1])
mlflow.sklearn.save_model(model, sys.argv[1], signature=mlflow.models.infer_signature(table, model.predict(table)), pip_requirements=[], serialization_format="cloudpickle")
mlflow.set_tracking_uri("sqlite:///" + sys.argv[2])
mlflow.set_registry_uri("databricks-uc")
"""
REGISTERED = (
    SAVED
    + """
client, name = mlflow.MlflowClient(), "main.ml.churn"
first = mlflow.register_model(sys.argv[1], "main.ml.Churn", tags={"stage": "test"})
assert (first.name, first.version, first.status) == (name, "1", "READY"), first
client.set_registered_model_alias(name, "champion", 1)
assert list(mlflow.pyfunc.load_model(f"models:/{name}@champion").predict(table)) == [0, 0, 1, 1]

second = mlflow.register_model(sys.argv[1], name)
assert second.version == "2"
client.update_model_version(name, "2", "token abc")
client.set_model_version_tag(name, "2", "digest", "sha256")
found = client.get_model_version(name, "2")
assert (found.description, found.tags, found.aliases) == ("token abc", {"digest": "sha256"}, [])
assert client.get_model_version_by_alias(name, "champion").tags == {"stage": "test"}
searched = client.search_model_versions(f"name='{name}'")
print([(each.version, each.description) for each in searched])
client.delete_model_version_tag(name, "2", "digest")
assert client.get_model_version(name, "2").tags == {}
client.set_registered_model_tag(name, "team", "ml")
assert client.get_registered_model(name).tags == {"team": "ml"}
assert client.get_registered_model(name).aliases == {"champion": 1} or client.get_registered_model(name).aliases == {"champion": "1"}

client.delete_model_version(name, "1")
try:
    client.get_model_version_by_alias(name, "champion")
    raise AssertionError
except mlflow.MlflowException as error:
    assert error.error_code == "RESOURCE_DOES_NOT_EXIST", error.error_code

from databricks.sdk import WorkspaceClient
w = WorkspaceClient()
assert [each.version for each in w.model_versions.list(name)] == [2]
assert w.registered_models.set_alias(name, "Prod", 2).version_num == 2
assert w.model_versions.get_by_alias(name, "Prod").comment == "token abc"
assert [each.alias_name for each in w.registered_models.get(name, include_aliases=True).aliases] == ["Prod"]
w.registered_models.update(name, comment="ours")
assert [each.comment for each in w.registered_models.list(catalog_name="main", schema_name="ml")] == ["ours"]
w.registered_models.delete(name)
assert list(w.registered_models.list()) == []
"""
)


PUT = """
import json, sys, boto3
from botocore.exceptions import ClientError
for keys, key, content in json.loads(sys.argv[2]):
    s3 = boto3.client(
        "s3",
        region_name="us-east-1",
        aws_access_key_id=keys["access_key_id"],
        aws_secret_access_key=keys["secret_access_key"],
        aws_session_token=keys["session_token"],
    )
    try:
        s3.put_object(Bucket=sys.argv[1], Key=key, Body=content.encode())
        print("written")
    except ClientError as error:
        print(error.response["Error"]["Code"])
"""


def test_mlflow_registers_finds_loads_and_deletes_a_model(sdk: Sdk, tmp_path: Path) -> None:
    assert sdk(REGISTERED, str(tmp_path / "model"), str(tmp_path / "tracking.db")) == "[('2', 'token abc'), ('1', '')]\n"


def test_a_version_is_ready_once_its_files_with_a_signature_are_in_storage(emulator: Ready, sdk: Sdk) -> None:
    name = "main.ml.finalized"
    assert call(emulator, "POST", f"{MLFLOW}/registered-models/create", {"name": name})[0] == 200
    version = call(emulator, "POST", f"{MLFLOW}/model-versions/create", {"name": name, "source": "x"})[1]["model_version"]
    assert (version["version"], version["status"]) == ("1", "PENDING_REGISTRATION")
    one = {"name": name, "version": "1"}
    status, said = call(emulator, "POST", f"{MLFLOW}/model-versions/finalize", one)
    assert status == 400
    assert "there is no MLmodel file" in error(said)[1]

    asked = {**one, "operation": "MODEL_VERSION_OPERATION_READ_WRITE"}
    keys = call(emulator, "POST", f"{MLFLOW}/model-versions/generate-temporary-credentials", asked)[1]["credentials"][
        "aws_temp_credentials"
    ]
    bucket, _, prefix = version["storage_location"].removeprefix("s3://").partition("/")
    wrong = {**keys, "session_token": "wrong"}
    places = ("elsewhere/MLmodel", f"{prefix}x/MLmodel", prefix.rpartition("/")[0] + "/other/MLmodel")
    first = [*((keys, key, "") for key in places), (wrong, f"{prefix}/MLmodel", ""), (keys, f"{prefix}/MLmodel", "flavors: {}")]
    assert sdk(PUT, bucket, json.dumps(first)).split() == ["AccessDenied"] * 3 + ["InvalidToken", "written"]
    status, said = call(emulator, "POST", f"{MLFLOW}/model-versions/finalize", one)
    assert status == 400
    assert "signature containing both input and output" in error(said)[1]
    whole = (keys, f"{prefix}/MLmodel", "signature: {inputs: '[]', outputs: '[]'}")
    assert sdk(PUT, bucket, json.dumps([whole])) == "written\n"
    assert call(emulator, "POST", f"{MLFLOW}/model-versions/finalize", one)[1]["model_version"]["status"] == "READY"
    assert call(emulator, "POST", f"{MLFLOW}/model-versions/finalize", one)[0] == 200, "a repetition is no error"
    status, said = call(emulator, "POST", f"{MLFLOW}/model-versions/generate-temporary-credentials", asked)
    assert status == 400
    assert "cannot be written any more" in error(said)[1]


@pytest.fixture(scope="module")
def model(emulator: Ready) -> str:
    body = {"catalog_name": "main", "schema_name": "ML", "name": "Rules"}
    assert call(emulator, "POST", MODELS, body)[1]["full_name"] == "main.ml.rules"
    return "main.ml.rules"


@pytest.mark.parametrize(
    ("verb", "path", "body", "status", "code", "message"),
    [
        ("POST", MODELS, {"catalog_name": "main", "schema_name": "ml"}, 400, "INVALID_PARAMETER_VALUE", "Missing required field: name"),
        (
            "POST",
            MODELS,
            {"catalog_name": "main", "schema_name": "ml", "name": "a.b"},
            400,
            "INVALID_PARAMETER_VALUE",
            "<catalog>.<schema>.<name>",
        ),
        ("POST", MODELS, {"catalog_name": "main", "schema_name": "ml", "name": "rules"}, 409, "RESOURCE_ALREADY_EXISTS", "already exists"),
        ("POST", MODELS, {"catalog_name": "no", "schema_name": "ml", "name": "x"}, 404, "CATALOG_DOES_NOT_EXIST", "Catalog 'no'"),
        (
            "POST",
            MODELS,
            {"catalog_name": "main", "schema_name": "ml", "name": "x", "tag": 1},
            400,
            "INVALID_PARAMETER_VALUE",
            "unknown field 'tag'",
        ),
        ("GET", f"{MODELS}/rules", None, 400, "INVALID_PARAMETER_VALUE", "<catalog>.<schema>.<name>"),
        ("GET", f"{MODELS}/main.ml.none", None, 404, "RESOURCE_DOES_NOT_EXIST", "'main.ml.none' does not exist."),
        ("GET", f"{MODELS}/main.ml.rules/versions/7", None, 404, "RESOURCE_DOES_NOT_EXIST", "version 7"),
        ("GET", f"{MODELS}/main.ml.rules/versions/x", None, 400, "MALFORMED_REQUEST", "Expected int"),
        ("PUT", f"{MODELS}/main.ml.rules/aliases/latest", {"version_num": 1}, 400, "INVALID_PARAMETER_VALUE", "reserved"),
        ("PUT", f"{MODELS}/main.ml.rules/aliases/v1", {"version_num": 1}, 400, "INVALID_PARAMETER_VALUE", "reserved"),
        ("PUT", f"{MODELS}/main.ml.rules/aliases/a", {"version_num": "1"}, 400, "MALFORMED_REQUEST", "Expected int"),
        ("DELETE", f"{MODELS}/main.ml.rules/aliases/a", None, 404, "RESOURCE_DOES_NOT_EXIST", "Alias 'a'"),
        ("GET", f"{MODELS}?catalog_name=main", None, 400, "INVALID_PARAMETER_VALUE", "together"),
        ("POST", f"{MLFLOW}/registered-models/create", {}, 400, "INVALID_PARAMETER_VALUE", "Missing required field: name"),
        ("POST", f"{MLFLOW}/registered-models/create", {"name": "a", "x": 1}, 400, "MALFORMED_REQUEST", 'no field named "x"'),
        ("GET", f"{MLFLOW}/model-versions/search?filter=x", None, 400, "INVALID_PARAMETER_VALUE", "Invalid filter"),
        (
            "POST",
            f"{MLFLOW}/registered-models/set-tag",
            {"name": "main.ml.rules", "key": "a.b", "value": ""},
            400,
            "INVALID_PARAMETER_VALUE",
            "Tag key 'a.b' is invalid",
        ),
    ],
)
@pytest.mark.usefixtures("model")
def test_a_bad_request_is_refused(emulator: Ready, verb: str, path: str, body: Any, status: int, code: str, message: str) -> None:
    answered, said = call(emulator, verb, path, body)
    assert (answered, error(said)[0]) == (status, code), said
    assert message in error(said)[1]


def test_a_user_may_do_what_was_granted_and_no_more(emulator: Ready, model: str) -> None:
    def tried(verb: str, path: str, body: Any = None) -> tuple[int, Any]:
        return call(emulator, verb, path, body, token=PLAIN_TOKEN)

    def grant(kind: str, name: str, *privileges: str) -> None:
        change = {"changes": [{"principal": "plain@emulated.example", "add": list(privileges)}]}
        assert call(emulator, "PATCH", f"/api/2.1/unity-catalog/permissions/{kind}/{name}", change)[0] == 200

    assert error(tried("GET", f"{MODELS}/{model}")[1])[1] == "User does not have USE CATALOG on Catalog 'main'."
    grant("catalog", "main", "USE_CATALOG")
    assert error(tried("GET", f"{MODELS}/{model}")[1])[1] == "User does not have USE SCHEMA on Schema 'main.ml'."
    grant("schema", "main.ml", "USE_SCHEMA")
    assert error(tried("GET", f"{MODELS}/{model}")[1])[1] == f"User does not have EXECUTE on Routine or Model '{model}'."
    assert tried("GET", MODELS)[1] == {"registered_models": []}
    grant("function", model, "EXECUTE")
    assert tried("GET", f"{MODELS}/{model}")[0] == 200
    tag = {"name": model, "key": "k", "value": "v"}
    assert error(tried("POST", f"{MLFLOW}/registered-models/set-tag", tag)[1])[1].startswith("User does not have APPLY TAG")
    version = {"name": model, "source": "x"}
    assert error(tried("POST", f"{MLFLOW}/model-versions/create", version)[1])[0] == "PERMISSION_DENIED"
    own = {"catalog_name": "main", "schema_name": "ml", "name": "own"}
    assert error(tried("POST", MODELS, own)[1])[1] == "User does not have CREATE MODEL on Schema 'main.ml'."
    grant("schema", "main.ml", "CREATE_MODEL")
    assert tried("POST", MODELS, own)[0] == 200
    assert tried("POST", f"{MLFLOW}/model-versions/create", {"name": "main.ml.own", "source": "x"})[0] == 200, "an owner may do everything"
    assert tried("DELETE", f"{MODELS}/main.ml.own")[0] == 200
    assert error(tried("DELETE", f"{MODELS}/{model}")[1])[0] == "PERMISSION_DENIED"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"principal": "nobody@x", "add": ["EXECUTE"]}, 404, "PRINCIPAL_DOES_NOT_EXIST"),
        ({"principal": "plain@emulated.example", "add": ["SELECT"]}, 400, "INVALID_PARAMETER_VALUE"),
        ({"principal": "plain@emulated.example", "add": ["READ"]}, 400, "MALFORMED_REQUEST"),
        ({"principal": "plain@emulated.example", "add": ["EXECUTE"], "remove": ["EXECUTE"]}, 400, "INVALID_PARAMETER_VALUE"),
    ],
)
def test_a_grant_that_makes_no_sense_is_refused(emulator: Ready, model: str, change: Any, status: int, code: str) -> None:
    answered, said = call(emulator, "PATCH", f"/api/2.1/unity-catalog/permissions/function/{model}", {"changes": [change]})
    assert (answered, error(said)[0]) == (status, code)


def test_catalogs_schemas_and_volumes_come_and_go_with_what_is_in_them(sdk: Sdk) -> None:
    program = """
        import io
        from databricks.sdk import WorkspaceClient
        from databricks.sdk.errors import DatabricksError
        from databricks.sdk.service.catalog import VolumeType
        w = WorkspaceClient()
        made = w.catalogs.create("Ours", comment="c")
        assert (made.name, made.owner) == ("ours", "admin@emulated.example")
        schema = w.schemas.create("S", "ours")
        volume = w.volumes.create("ours", "s", "V", VolumeType.MANAGED)
        assert volume.full_name == "ours.s.v"
        w.files.upload("/Volumes/ours/s/v/x", io.BytesIO(b"1"))
        assert [each.name for each in w.schemas.list("ours")] == ["default", "s"]
        assert w.volumes.update("ours.s.v", comment="new").comment == "new"
        for work in (lambda: w.catalogs.delete("ours"), lambda: w.schemas.delete("ours.s"), lambda: w.catalogs.create("ours")):
            try:
                work()
                raise AssertionError
            except DatabricksError as error:
                print(error.error_code)
        w.catalogs.delete("ours", force=True)
        assert "ours" not in [each.name for each in w.catalogs.list()]
        try:
            w.files.download("/Volumes/ours/s/v/x")
        except DatabricksError as error:
            print(error.error_code)
    """
    assert sdk(program).split() == ["INVALID_STATE", "INVALID_STATE", "CATALOG_ALREADY_EXISTS", "CATALOG_DOES_NOT_EXIST"]
