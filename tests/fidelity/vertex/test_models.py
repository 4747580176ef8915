"""Models of the Vertex AI emulator: versions, aliases, lists, changes and deletions, as the SDK asks for them and by plain calls."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aids.vertex.models import SKLEARN, P, ask, classifier, done, ended, put, refused, save, upload
from aids.vertex.place import Sdk, set_faults

from mlport.emulation.server import Ready

UPLOADS = f"{P}/models:upload"

PROGRAM = """
import json, sys
from google.cloud import aiplatform as a

transport, folder = sys.argv[1:]
a.init(project="emulated", location="us-central1", api_transport=transport, staging_bucket="gs://emulated-mlport")
image = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"
first = a.Model.upload(display_name=f"iris-{transport}", artifact_uri=folder, serving_container_image_uri=image, labels={"team": "a"})
second = a.Model.upload(
    parent_model=first.resource_name, display_name=f"iris-{transport}", artifact_uri=first.uri, serving_container_image_uri=image,
    is_default_version=False, version_aliases=["next"], version_description="more data",
)
registry = first.versioning_registry
listed = [(each.version_id, list(each.version_aliases)) for each in registry.list_versions()]
registry.add_version_aliases(["champion"], "2")
champion = a.Model(f"{first.resource_name}@champion").version_id
registry.remove_version_aliases(["champion"], "2")
try:
    a.Model(f"{first.resource_name}@champion")
    gone = False
except Exception as error:
    gone = type(error).__name__
first.update(description="flowers", labels={"team": "b"})
found = [each.resource_name for each in a.Model.list(filter=f'display_name="iris-{transport}" AND labels.team="b"')]
registry.delete_version("2")
left = [each.version_id for each in registry.list_versions()]
first.delete()
print(json.dumps({
    "ids": [first.version_id, second.version_id], "aliases": [list(first.version_aliases), list(second.version_aliases)], "listed": listed,
    "champion": champion, "gone": gone, "described": first.description, "found": found == [first.resource_name], "left": left,
    "uri": first.uri, "kinds": [getattr(kind, "name", kind) for kind in first.supported_deployment_resources_types],
    "after": [each.name for each in a.Model.list(filter=f'display_name="iris-{transport}"')],
}))
"""


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_versions_and_aliases_through_the_sdk(sdk: Sdk, tmp_path: Path, transport: str) -> None:
    seen = json.loads(sdk(PROGRAM, transport, save(tmp_path / "model", classifier())).splitlines()[-1])
    assert seen["uri"].startswith("gs://emulated-mlport/")
    del seen["uri"]
    assert seen == {
        "ids": ["1", "2"],
        "aliases": [["default"], ["next"]],
        "listed": [["2", ["next"]], ["1", ["default"]]],
        "champion": "2",
        "gone": "NotFound",
        "described": "flowers",
        "found": True,
        "left": ["1"],
        "kinds": ["DEDICATED_RESOURCES"],
        "after": [],
    }


def test_ids_of_ones_own(emulator: Ready) -> None:
    uri = put(emulator, "own/model.pkl", classifier())
    model = {"displayName": "own", "artifactUri": uri, "containerSpec": {"imageUri": SKLEARN}}
    begun = ask(emulator, "POST", UPLOADS, {"model": model, "modelId": "my_model-1"})
    assert begun["name"].startswith("projects/424242424242/locations/us-central1/models/my_model-1/operations/")
    assert begun["metadata"]["@type"].endswith(".v1.UploadModelOperationMetadata")
    assert done(emulator, begun)["model"].endswith("/models/my_model-1")
    assert refused(emulator, "POST", UPLOADS, {"model": model, "modelId": "my_model-1"})[0] == "ALREADY_EXISTS"
    found = ask(emulator, "GET", f"{P}/models/my_model-1")
    assert {
        "name",
        "createTime",
        "updateTime",
        "versionCreateTime",
        "etag",
        "supportedInputStorageFormats",
        "modelSourceInfo",
    } <= found.keys()
    assert found["versionAliases"] == ["default"]


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ({"model": {"displayName": ""}}, "INVALID_ARGUMENT", "Field: model.display_name; Message: Required field is not set."),
        ({"model": {"displayName": "x", "artifactUri": "/tmp/x"}}, "INVALID_ARGUMENT", "gs://"),
        ({"model": {"displayName": "x" * 129}}, "INVALID_ARGUMENT", "128 characters"),
        ({"model": {"displayName": "x", "labels": {"A": "b"}}}, "INVALID_ARGUMENT", "Label key 'A'"),
        ({"model": {"displayName": "x", "versionAliases": ["7"]}}, "INVALID_ARGUMENT", "Version alias '7'"),
        ({"model": {"displayName": "x", "colour": "red"}}, "INVALID_ARGUMENT", "Unknown name \"colour\" at 'model': Cannot find field."),
        ({"model": {"displayName": "x"}, "modelId": "1st"}, "INVALID_ARGUMENT", "model_id"),
        ({"model": {"displayName": "x"}, "parentModel": "projects/p/locations/us-central1/models/none"}, "NOT_FOUND", "does not exist"),
    ],
)
def test_uploads_that_are_refused(emulator: Ready, body: object, code: str, said: str) -> None:
    found = refused(emulator, "POST", UPLOADS, body)
    assert found[0] == code
    assert said in found[1]


def test_aliases_follow_the_rules(emulator: Ready) -> None:
    model = upload(emulator, "gs://emulated-mlport/own")
    path = f"/v1/{model}@1:mergeVersionAliases"
    assert ask(emulator, "POST", path, {"versionAliases": ["golden", "blue", "-blue"]})["versionAliases"] == ["default", "golden"]
    assert refused(emulator, "POST", path, {"versionAliases": ["-default"]})[0] == "INVALID_ARGUMENT"
    assert refused(emulator, "POST", path, {"versionAliases": ["Golden"]})[0] == "INVALID_ARGUMENT"
    done(emulator, ask(emulator, "POST", UPLOADS, {"model": {"displayName": "x"}, "parentModel": model}))
    moved = ask(emulator, "POST", f"/v1/{model}@2:mergeVersionAliases", {"versionAliases": ["golden", "default"]})
    assert moved["versionAliases"] == ["default", "golden"]
    assert "versionAliases" not in ask(emulator, "GET", f"/v1/{model}@1")
    assert ask(emulator, "GET", f"/v1/{model}")["versionId"] == "2"


def test_an_etag_guards_a_change(emulator: Ready) -> None:
    model = upload(emulator, "gs://emulated-mlport/own", labels={"a": "1"})
    before = ask(emulator, "GET", f"/v1/{model}")
    change = {"displayName": "iris", "labels": {"b": "2"}, "etag": before["etag"]}
    after = ask(emulator, "PATCH", f"/v1/{model}@1?updateMask=labels", change)
    assert after["labels"] == {"b": "2"}
    assert refused(emulator, "PATCH", f"/v1/{model}@1?updateMask=labels", change)[0] == "ABORTED"
    assert refused(emulator, "PATCH", f"/v1/{model}?updateMask=artifactUri", {**change, "etag": ""})[0] == "INVALID_ARGUMENT"


def test_deletions_that_are_refused(emulator: Ready) -> None:
    model = upload(emulator, "gs://emulated-mlport/own")
    code, said = refused(emulator, "DELETE", f"/v1/{model}@1:deleteVersion")
    assert (code, "only version" in said) == ("FAILED_PRECONDITION", True)
    done(emulator, ask(emulator, "POST", UPLOADS, {"model": {"displayName": "x"}, "parentModel": model}))
    assert "default" in refused(emulator, "DELETE", f"/v1/{model}@1:deleteVersion")[1]
    assert refused(emulator, "DELETE", f"/v1/{model}:deleteVersion")[0] == "INVALID_ARGUMENT"
    done(emulator, ask(emulator, "DELETE", f"/v1/{model}@2:deleteVersion"))
    done(emulator, ask(emulator, "DELETE", f"/v1/{model}"))
    assert refused(emulator, "GET", f"/v1/{model}")[0] == "NOT_FOUND"
    assert refused(emulator, "DELETE", f"/v1/{model}")[0] == "NOT_FOUND"


def test_versions_in_pages(emulator: Ready) -> None:
    model = upload(emulator, "gs://emulated-mlport/own")
    for number in range(4):
        done(emulator, ask(emulator, "POST", UPLOADS, {"model": {"displayName": "x", "labels": {"n": str(number)}}, "parentModel": model}))
    seen, token = [], ""
    while True:
        page = ask(emulator, "GET", f"/v1/{model}:listVersions?pageSize=2&pageToken={token}")
        seen += [each["name"].rpartition("@")[2] for each in page["models"]]
        if not (token := page.get("nextPageToken", "")):
            break
    assert seen == ["5", "4", "3", "2", "1"]
    chosen = ask(emulator, "GET", f'/v1/{model}:listVersions?filter=labels.n="2"')["models"]
    assert [each["versionId"] for each in chosen] == ["4"]


def test_a_copy_and_what_cannot_be_exported(emulator: Ready) -> None:
    model = upload(emulator, "gs://emulated-mlport/own")
    copied = done(emulator, ask(emulator, "POST", f"{P}/models:copy", {"sourceModel": model, "modelId": "copied"}))
    assert ask(emulator, "GET", f"/v1/{copied['model']}")["originalModelInfo"] == {"model": model}
    export = {"outputConfig": {"exportFormatId": "custom-trained"}}
    assert refused(emulator, "POST", f"/v1/{model}:export", export)[0] == "FAILED_PRECONDITION"


def test_operations_are_listed_asked_for_and_deleted(emulator: Ready) -> None:
    begun = ask(emulator, "POST", UPLOADS, {"model": {"displayName": "x"}})
    operation = begun["name"]
    waited = ask(emulator, "POST", f"/v1/{operation}:wait?timeout=30s")
    assert waited["done"]
    assert ended(emulator, begun) == waited == ask(emulator, "GET", f"/ui/{operation}")
    model = operation.partition("/operations/")[0]
    assert [each["name"] for each in ask(emulator, "GET", f"/v1/{model}/operations")["operations"]] == [operation]
    beta = ask(emulator, "GET", f"/v1beta1/{operation}")
    assert beta["response"]["@type"] == "type.googleapis.com/google.cloud.aiplatform.v1beta1.UploadModelResponse"
    ask(emulator, "DELETE", f"/v1/{operation}")
    assert refused(emulator, "GET", f"/v1/{operation}")[0] == "NOT_FOUND"


def test_an_answer_that_is_lost_was_still_worked_on(emulator: Ready) -> None:
    set_faults(emulator, {"match": "POST */models:upload", "effect": "error", "status": 503, "when": "after", "times": 1})
    try:
        assert refused(emulator, "POST", UPLOADS, {"model": {"displayName": "lost"}, "modelId": "lost"})[0] == "UNAVAILABLE"
        (operation,) = ask(emulator, "GET", f"{P}/models/lost/operations")["operations"]
        done(emulator, operation)
        assert ask(emulator, "GET", f"{P}/models/lost")["displayName"] == "lost"
    finally:
        set_faults(emulator)
