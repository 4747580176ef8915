"""Endpoints of the Vertex AI emulator: real models deployed, asked, shared traffic, and taken away again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aids.vertex.models import MACHINE, P, ask, classifier, deploy, done, ended, endpoint, put, refused, save, until, upload
from aids.vertex.place import Sdk

from mlport.emulation.server import Ready

FIRST = """
import json, sys
from google.cloud import aiplatform as a

a.init(project="emulated", location="us-central1", api_transport="rest", staging_bucket="gs://emulated-mlport")
image = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"
model = a.Model.upload(display_name="iris", artifact_uri=sys.argv[1], serving_container_image_uri=image)
endpoint = a.Endpoint.create(display_name="flowers", labels={"team": "a"})
model.deploy(endpoint=endpoint, machine_type="n1-standard-2", min_replica_count=1, max_replica_count=2)
answer = endpoint.predict(instances=[[1.5, 0.0], [-3.0, 1.0]])
model.deploy(endpoint=endpoint, machine_type="n1-standard-2", traffic_percentage=30, deployed_model_display_name="second")
print(json.dumps({
    "predictions": answer.predictions, "model": answer.model_resource_name == model.resource_name, "version": answer.model_version_id,
    "shares": sorted(endpoint.traffic_split.values()), "names": sorted(each.display_name for each in endpoint.list_models()),
    "first": answer.deployed_model_id in endpoint.traffic_split,
}))
"""

THEN = """
import json
from google.cloud import aiplatform as a

a.init(project="emulated", location="us-central1", api_transport="grpc")
(endpoint,) = a.Endpoint.list(filter='display_name="flowers"')
ids = {each.display_name: each.id for each in endpoint.list_models()}
endpoint.update(traffic_split={ids["iris"]: 0, ids["second"]: 100})
answered = {endpoint.predict(instances=[[1.5, 0.0]]).deployed_model_id for _ in range(10)}
raw = endpoint.raw_predict(b'{"instances": [[1.5, 0.0]]}', {"content-type": "application/json"})
refusals = []
def refuse(call):
    try:
        call()
    except Exception as error:
        refusals.append([type(error).__name__, str(error)[:70]])
refuse(lambda: endpoint.predict(instances=[["a text"]]))
refuse(lambda: endpoint.delete())
refuse(lambda: a.Model.list(filter='display_name="iris"')[0].delete())
refuse(lambda: endpoint.update(traffic_split={ids["iris"]: 60, ids["second"]: 60}))
endpoint.undeploy(ids["iris"])
left = [each.display_name for each in endpoint.list_models()]
endpoint.delete(force=True)
a.Model.list(filter='display_name="iris"')[0].delete()
print(json.dumps({
    "answered": answered == {ids["second"]}, "raw": [raw.status_code, raw.json(), raw.headers["X-Vertex-AI-Deployed-Model-Id"] == ids["second"]],
    "refusals": refusals, "left": left, "endpoints": [each.name for each in a.Endpoint.list(filter='display_name="flowers"')],
}))
"""


pytestmark = pytest.mark.usefixtures("no_server_left")


def test_a_whole_life_through_the_sdk(sdk: Sdk, tmp_path: Path) -> None:
    """Begun over REST, gone on with over gRPC."""
    folder = save(tmp_path / "model", classifier())
    assert json.loads(sdk(FIRST, folder).splitlines()[-1]) == {
        "predictions": [True, False],
        "model": True,
        "version": "1",
        "shares": [30, 70],
        "names": ["iris", "second"],
        "first": True,
    }
    seen = json.loads(sdk(THEN).splitlines()[-1])
    kinds = [kind for kind, _ in seen.pop("refusals")]
    assert kinds == ["InternalServerError", "FailedPrecondition", "FailedPrecondition", "InvalidArgument"]
    assert seen == {"answered": True, "raw": [200, {"predictions": [True]}, True], "left": ["second"], "endpoints": []}


def test_an_endpoint_of_ones_own_name(emulator: Ready) -> None:
    begun = ask(emulator, "POST", f"{P}/endpoints?endpointId=my-endpoint", {"displayName": "x", "dedicatedEndpointEnabled": True})
    name = str(done(emulator, begun)["name"])
    assert name.endswith("/endpoints/my-endpoint")
    found = ask(emulator, "GET", f"/v1/{name}")
    assert found["dedicatedEndpointDns"] == "my-endpoint.us-central1-424242424242.prediction.vertexai.goog"
    assert {"createTime", "updateTime", "etag"} <= found.keys()
    again = refused(emulator, "POST", f"{P}/endpoints?endpointId=my-endpoint", {"displayName": "x"})
    assert again[0] == "ALREADY_EXISTS"
    assert refused(emulator, "POST", f"/v1/{name}:predict", {"instances": [[1.0]]}) == (
        "FAILED_PRECONDITION",
        "Endpoint projects/424242424242/locations/us-central1/endpoints/my-endpoint doesn't have traffic_split.",
    )
    done(emulator, ask(emulator, "DELETE", f"/v1/{name}"))
    assert refused(emulator, "GET", f"/v1/{name}")[0] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("query", "body", "said"),
    [
        ("", {}, "Field: endpoint.display_name; Message: Required field is not set."),
        ("?endpointId=Upper", {"displayName": "x"}, "endpoint_id"),
        ("?endpointId=012", {"displayName": "x"}, "endpoint_id"),
        ("?endpointid=x", {"displayName": "x"}, 'Unknown name "endpointid"'),
        ("", {"displayName": "x", "trafficSplit": {"7": 100}}, "The following DeployedModel ID(s) [7] do not exist."),
        (
            "",
            {
                "displayName": "x",
                "predictRequestResponseLoggingConfig": {"enabled": True, "samplingRate": 2, "bigqueryDestination": {"outputUri": "bq://p"}},
            },
            "(0, 1]",
        ),
    ],
)
def test_endpoints_that_are_refused(emulator: Ready, query: str, body: object, said: str) -> None:
    code, message = refused(emulator, "POST", f"{P}/endpoints{query}", body)
    assert code == "INVALID_ARGUMENT"
    assert said in message


def test_deployments_that_are_refused(emulator: Ready) -> None:
    model, where = upload(emulator, put(emulator, "m/model.pkl", classifier())), endpoint(emulator)
    path = f"/v1/{where}:deployModel"

    def said(**deployed: object) -> str:
        body = {"deployedModel": {"model": model, "dedicatedResources": MACHINE, **deployed}, "trafficSplit": {"0": 100}}
        return refused(emulator, "POST", path, body)[1]

    assert "1-10 characters" in said(id="abc")
    assert "does not exist" in said(model=f"{model}@7")
    assert "automatic_resources" in said(dedicatedResources=None, automaticResources={"minReplicaCount": 1})
    assert "min_replica_count" in said(dedicatedResources={**MACHINE, "minReplicaCount": 0})
    assert "max_replica_count" in said(dedicatedResources={**MACHINE, "minReplicaCount": 2, "maxReplicaCount": 1})
    body = {"deployedModel": {"model": model, "dedicatedResources": MACHINE}, "trafficSplit": {"0": 50}}
    assert "add up to 100" in refused(emulator, "POST", path, body)[1]
    bare = done(emulator, ask(emulator, "POST", f"{P}/models:upload", {"model": {"displayName": "bare"}}))["model"]
    assert "no container" in said(model=bare)
    assert refused(emulator, "POST", f"/v1/{where}0:deployModel", body)[0] == "NOT_FOUND"


def test_deployments_that_fail_leave_nothing(emulator: Ready) -> None:
    where = endpoint(emulator)
    cases = {
        "is expected to contain exactly one of: [model.pkl, model.joblib]": upload(emulator, put(emulator, "none/readme", b"x")),
        "Image gcr.io/acme/unknown:1 not found.": upload(
            emulator, "gs://emulated-mlport/m", containerSpec={"imageUri": "gcr.io/acme/unknown:1"}
        ),
        "Model server exited unexpectedly.": upload(emulator, put(emulator, "broken/model.pkl", b"not a pickle")),
    }
    for said, model in cases.items():
        failed = ended(emulator, deploy(emulator, where, model, {"0": 100}))
        assert said in failed["error"]["message"]
        assert failed["metadata"]["deploymentStage"] == "FAILED_TO_DEPLOY"
    assert "deployedModels" not in ask(emulator, "GET", f"/v1/{where}")
    done(emulator, ask(emulator, "DELETE", f"/v1/{where}"))


def test_the_split_the_etag_and_one_change_at_a_time(emulator: Ready) -> None:
    model, where = upload(emulator, put(emulator, "m/model.pkl", classifier())), endpoint(emulator)
    begun = deploy(emulator, where, model, id="17")
    code, said = refused(
        emulator,
        "POST",
        f"/v1/{where}:deployModel",
        {"deployedModel": {"model": model, "dedicatedResources": MACHINE}},
    )
    assert (code, begun["name"] in said) == ("FAILED_PRECONDITION", True)
    assert "being-deployed" in refused(emulator, "DELETE", f"/v1/{where}")[1]
    assert done(emulator, begun)["deployedModel"]["id"] == "17"
    before = ask(emulator, "GET", f"/v1/{where}")
    assert "trafficSplit" not in before  # a deployment that no split names gets nothing
    (deployed,) = before["deployedModels"]
    assert (deployed["modelVersionId"], deployed["displayName"], deployed["status"]["availableReplicaCount"]) == ("1", "iris", 1)
    change = {"displayName": "iris", "trafficSplit": {"17": 100}, "etag": before["etag"]}
    assert ask(emulator, "PATCH", f"/v1/{where}?updateMask=trafficSplit", change)["trafficSplit"] == {"17": 100}
    assert refused(emulator, "PATCH", f"/v1/{where}?updateMask=trafficSplit", change)[0] == "ABORTED"
    for split in ({"17": 99}, {"18": 100}, {"17": 101, "18": -1}):
        body = {"displayName": "iris", "trafficSplit": split}
        assert refused(emulator, "PATCH", f"/v1/{where}?updateMask=traffic_split", body)[0] == "INVALID_ARGUMENT"
    answer = ask(emulator, "POST", f"/v1/{where}:predict", {"instances": [[2.0, 0.0]]})
    assert (answer["predictions"], answer["deployedModelId"], answer["modelDisplayName"]) == ([True], "17", "iris")
    assert "payload size exceeds" in refused(emulator, "POST", f"/v1/{where}:predict", {"instances": [["x" * 1_600_000]]})[1]
    mutation = {"deployedModel": {"id": "17", "dedicatedResources": {**MACHINE, "maxReplicaCount": 3}}}
    masked = {**mutation, "updateMask": "dedicatedResources.maxReplicaCount"}
    mutated = done(emulator, ask(emulator, "POST", f"/v1/{where}:mutateDeployedModel", masked))
    assert mutated["deployedModel"]["dedicatedResources"]["maxReplicaCount"] == 3
    assert refused(emulator, "POST", f"/v1/{where}:mutateDeployedModel", {**mutation, "updateMask": "model"})[0] == "INVALID_ARGUMENT"
    assert "is deployed or being deployed" in refused(emulator, "DELETE", f"/v1/{model}")[1]
    done(emulator, ask(emulator, "POST", f"/v1/{where}:undeployModel", {"deployedModelId": "17"}))
    assert "trafficSplit" not in ask(emulator, "GET", f"/v1/{where}")
    assert until(lambda: refused(emulator, "POST", f"/v1/{where}:predict", {"instances": [[1.0]]})[0] == "FAILED_PRECONDITION", 30)


def test_a_cancelled_deployment_leaves_nothing(emulator: Ready) -> None:
    model, where = upload(emulator, put(emulator, "m/model.pkl", classifier())), endpoint(emulator)
    begun = deploy(emulator, where, model, {"0": 100})
    ask(emulator, "POST", f"/v1/{begun['name']}:cancel")
    assert ended(emulator, begun)["error"]["code"] == 1
    done(emulator, ask(emulator, "DELETE", f"/v1/{where}"))
