"""Plans of models, endpoints and deployments: pure, and each request as Google's published description has it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from mlport.capabilities import Capability
from mlport.errors import SpecError, UntrustedModelError
from mlport.specs import Capture, DeploymentSpec, EndpointSpec, ModelRef, ModelSpec
from mlport.spi import TOKEN, Facts, Plan, Request
from mlport_vertex import PROVIDER
from mlport_vertex.config import VertexConfig
from mlport_vertex.emulator.protocol.discovery import document
from mlport_vertex.names import deployed_id, digest_label, settled

CONFIG = VertexConfig(project="acme-ml", location="europe-west4", staging="gs://acme-ml/mlport", owner="Ada L.", profile="prod")
SERVER = "europe-west4-docker.pkg.dev/acme-ml/mlport/server@sha256:7c9e"
STAMPS = {"mlport": "1", "mlport_profile": "vertex://acme-ml", "mlport_owner": "Ada L.", "mlport_token": TOKEN}
DIGEST = "c04137a1daf4ed9629718371dd7bfaccfc46af697dac4d3f5ddfdc0e8dd33cec"
MODEL = {"name": "delays", "version": "2", "uri": "gs://acme-ml/mlport/models/delays/t", "digest": DIGEST, "flavors": ["sklearn"]}
REF = ModelRef(name="delays", version="2")
OWN = {"imageUri": "europe-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"}


def plan(spec: Any, config: VertexConfig = CONFIG, **facts: Any) -> Plan:
    known = {"machine": {"container": OWN}, "model": MODEL, "labels": STAMPS, **facts}
    return PROVIDER.plan(config, spec, Facts(**known))


def registered(spec: ModelSpec, config: VertexConfig = CONFIG, **looked: Any) -> Plan:
    model = {"digest": DIGEST, "lineage": {"job": "custom/7"}, "trusted": True}
    return plan(spec, config, model=model, machine={"next_of": False, "flavors": ["sklearn"], "pickled": True, **looked})


def problems(request: Request) -> list[Any]:
    """What Google's description has against a request, with token and id filled in."""
    url, described = urlsplit(request.path), document("aiplatform.v1")
    found = described.match(request.method, url.path.lstrip("/"))
    assert found is not None, request.path
    method = found[0]
    assert method.id == request.call
    assert {name for name, _ in parse_qsl(url.query)} <= set(method.parameters)
    return described.request(method, settled(request.body, "0" * 32, "blue")).problems


def calls(made: Plan) -> list[str]:
    return [request.call.rpartition(".")[2] for request in made.requests]


# ---------------------------------------------------------------- models


def test_a_first_version_names_the_model_and_a_later_one_its_parent() -> None:
    first, later = (registered(ModelSpec(name="delays", path="/model"), next_of=known).requests[-1] for known in (False, True))
    assert problems(first) == problems(later) == []
    assert (first.body["modelId"], later.body["parentModel"]) == ("delays", f"{CONFIG.parent}/models/delays")
    assert "parentModel" not in first.body
    assert "modelId" not in later.body


def test_a_version_carries_digest_lineage_and_every_tag() -> None:
    made = registered(
        ModelSpec(name="delays", path="/model", tags={"stage": "ready", "Team": "Fraud", "note": "é"}, description="what it is")
    )
    model = made.requests[-1].body["model"]
    record = json.loads(model["versionDescription"])
    assert (record["digest"], record["lineage"], record["description"]) == (DIGEST, {"job": "custom/7"}, "what it is")
    assert record["tags"] == {"stage": "ready", "Team": "Fraud", "note": "é"}
    assert model["labels"]["stage"] == "ready"
    assert not {"Team", "note"} & model["labels"].keys()
    assert any("labels" in note for note in made.notes)
    assert model["labels"]["mlport_digest"] == "ybatpio26twzmklrqny52672zt6enl3jpwwe2p2537oa5dothtwa" == digest_label(DIGEST)
    assert all(re.fullmatch(r"[a-z0-9_-]{0,63}", value) for key, value in model["labels"].items() if key != "mlport_token")


@pytest.mark.parametrize(
    ("looked", "server", "image"),
    [
        ({"flavors": ["sklearn"], "pickled": True, "sklearn": "1.5.2"}, SERVER, OWN["imageUri"]),
        ({"flavors": ["sklearn", "python_function"], "pickled": True, "sklearn": "1.9.1"}, SERVER, SERVER),
        ({"flavors": ["sklearn", "python_function"], "pickled": True, "sklearn": "1.9.1"}, None, OWN["imageUri"]),
        ({"flavors": ["sklearn", "python_function"], "pickled": False, "sklearn": "1.5.2"}, SERVER, SERVER),
        ({"flavors": ["sklearn", "python_function"], "pickled": False, "sklearn": "1.5.2"}, None, None),
        ({"flavors": [], "pickled": False}, SERVER, None),
    ],
)
def test_the_image_is_one_that_can_read_the_files(looked: dict[str, Any], server: str | None, image: str | None) -> None:
    made = registered(ModelSpec(name="delays", path="/model"), CONFIG.model_copy(update={"server_image": server}), **looked)
    assert made.resolved["image"] == image
    assert made.requests[-1].body["model"].get("containerSpec", {}).get("imageUri") == image
    assert any("server_image" in note for note in made.notes) == (image is None)
    assert any("newer" in note for note in made.notes) == (image == OWN["imageUri"] and looked.get("sklearn") == "1.9.1")


@pytest.mark.parametrize(
    ("spec", "trusted", "error"),
    [
        (ModelSpec(name="delays", path="/model"), False, UntrustedModelError),
        (ModelSpec(name="delays", path="s3://bucket/model"), True, SpecError),
        (ModelSpec(name="delays", path="/model", tags={"mlport_token": "x"}), True, SpecError),
    ],
)
def test_what_cannot_be_registered_is_refused(spec: ModelSpec, trusted: bool, error: type[Exception]) -> None:
    with pytest.raises(error):
        plan(spec, model={"trusted": trusted})


# ---------------------------------------------------------------- endpoints


def test_an_endpoint_is_made_empty_and_then_given_its_deployment() -> None:
    made = plan(EndpointSpec(name="delays", deployment=DeploymentSpec(model=REF, name="blue"), capture=Capture(rate=0.5)))
    assert calls(made) == ["create", "deployModel"]
    assert [problems(request) for request in made.requests] == [[], []]
    created, deployed = (request.body for request in made.requests)
    assert made.requests[0].path.endswith("/endpoints?endpointId=delays")
    logging = created["predictRequestResponseLoggingConfig"]
    assert (logging["samplingRate"], logging["bigqueryDestination"]) == (0.5, {"outputUri": "bq://acme-ml"})
    assert deployed["trafficSplit"] == {"0": 100}
    assert (deployed["deployedModel"]["displayName"], deployed["deployedModel"]["model"]) == ("blue", f"{CONFIG.parent}/models/delays@2")


def test_a_dataset_of_the_profiles_gets_a_table_that_is_new() -> None:
    asked = EndpointSpec(name="my-delays", deployment=DeploymentSpec(model=REF), capture=Capture())
    made = plan(asked, CONFIG.model_copy(update={"capture_dataset": "seen"}))
    config = made.requests[0].body["predictRequestResponseLoggingConfig"]
    assert config["bigqueryDestination"] == {"outputUri": f"bq://acme-ml.seen.my_delays_{TOKEN}"}
    assert "predictRequestResponseLoggingConfig" not in plan(asked.model_copy(update={"capture": None})).requests[0].body


def test_a_deployment_says_nothing_of_the_split_and_so_gets_none_of_it() -> None:
    made = plan(DeploymentSpec(model=REF, endpoint="delays", name="green"))
    assert calls(made) == ["deployModel"]
    assert problems(made.requests[0]) == []
    assert "trafficSplit" not in made.requests[0].body


def test_replicas_scale_by_their_cpu_or_their_gpu() -> None:
    for compute, metric in (({"cpus": 2}, "cpu/utilization"), ({"gpus": 1, "gpu": "L4"}, "accelerator/duty_cycle")):
        spec = DeploymentSpec.model_validate(
            {"model": REF, "endpoint": "delays", "compute": compute, "replicas": {"min": 1, "max": 3, "target_utilization": 0.7}}
        )
        made = plan(spec)
        assert problems(made.requests[0]) == []
        resources = made.requests[0].body["deployedModel"]["dedicatedResources"]
        assert (resources["minReplicaCount"], resources["maxReplicaCount"]) == (1, 3)
        assert resources["autoscalingMetricSpecs"] == [
            {"metricName": f"aiplatform.googleapis.com/prediction/online/{metric}", "target": 70}
        ]


def test_another_container_than_the_registered_one_is_a_copy_of_the_version() -> None:
    spec = DeploymentSpec(model=REF, endpoint="delays", runtime="image", image=SERVER, env={"A": "b"})
    made, again = plan(spec), plan(spec)
    assert made == again
    assert calls(made) == ["upload", "deployModel"]
    assert [problems(request) for request in made.requests] == [[], []]
    copied = made.requests[0].body
    assert re.fullmatch(r"delays-serving-[0-9a-f]{8}", copied["modelId"])
    assert copied["model"]["containerSpec"]["env"] == [{"name": "A", "value": "b"}]
    assert made.requests[1].body["deployedModel"]["model"].endswith(f"/models/{copied['modelId']}")
    assert any(copied["modelId"] in note for note in made.notes)
    other = plan(spec.model_copy(update={"env": {"A": "c"}}))
    assert other.requests[0].body["modelId"] != copied["modelId"]


def test_a_copys_name_keeps_to_the_length_of_names() -> None:
    long = {**MODEL, "name": "m" * 63}
    made = plan(DeploymentSpec(model=ModelRef(name="m" * 63, version="2"), endpoint="e", runtime="image", image=SERVER), model=long)
    assert len(made.requests[0].body["modelId"]) <= 63


def test_routes_and_accounts_are_the_options() -> None:
    options = {"vertex": {"predict_route": "/v2/models/model/infer", "service_account": "serve@acme.iam.gserviceaccount.com"}}
    made = plan(DeploymentSpec(model=REF, endpoint="delays", runtime="image", image=SERVER, options=options))
    assert made.requests[0].body["model"]["containerSpec"]["predictRoute"] == "/v2/models/model/infer"
    assert made.requests[1].body["deployedModel"]["serviceAccount"] == "serve@acme.iam.gserviceaccount.com"
    with pytest.raises(SpecError, match="predict_route"):
        plan(DeploymentSpec(model=REF, endpoint="delays", options={"vertex": {"predict_rute": "/x"}}))


def test_what_nothing_serves_says_what_to_set() -> None:
    nothing = {**MODEL, "flavors": ["python_function"]}
    with pytest.raises(SpecError, match="server_image"):
        plan(DeploymentSpec(model=REF, endpoint="delays"), model=nothing, machine={"container": {}})
    config = CONFIG.model_copy(update={"server_image": SERVER})
    made = plan(DeploymentSpec(model=REF, endpoint="delays"), config, model=nothing, machine={"container": {}})
    assert made.requests[0].body["model"]["containerSpec"]["imageUri"] == SERVER


def test_an_id_of_a_deployment_is_ten_digits_of_its_token_and_name() -> None:
    ids = {deployed_id(f"{n:032x}", name) for n in range(500) for name in ("blue", "green")}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"[1-9][0-9]{9}", number) for number in ids)


def test_callers_show_credentials_and_nothing_else() -> None:
    supports = PROVIDER.supports(CONFIG)
    assert supports[Capability.ENDPOINT_IDENTITY].available
    assert not supports[Capability.ENDPOINT_KEY].available
    assert not supports[Capability.ENDPOINT_TARGET].available


GOLDENS = Path(__file__).parents[2] / "golden" / "vertex"


def golden(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((GOLDENS / f"{name}.json").read_text("utf-8"))["requests"]
    return found


def test_the_plans_are_the_goldens() -> None:
    config = CONFIG.model_copy(
        update={
            "owner": "ada",
            "serving_account": "mlport-serving@acme-ml.iam.gserviceaccount.com",
            "server_image": golden("model")[0]["body"]["model"]["containerSpec"]["imageUri"],
        }
    )
    stamps = {**STAMPS, "mlport_profile": "prod", "mlport_owner": "ada"}
    deployment = DeploymentSpec.model_validate({"model": ModelRef(name="delays", version="1"), "name": "blue", "replicas": {"max": 3}})
    asked = EndpointSpec(name="delays", deployment=deployment)
    made = plan(asked, config, labels=stamps, model={**MODEL, "version": "1"})
    assert [{"call": each.call, "method": each.method, "path": each.path, "body": each.body} for each in made.requests] == golden(
        "endpoint"
    )

    spec = ModelSpec(name="delays", path="gs://acme-ml/mlport/runs/t/outputs/model", job_id="custom/7", tags={"stage": "ready"})
    facts = {"digest": DIGEST, "lineage": {"job": "custom/7", "output": "model"}, "trusted": True}
    looked = {"next_of": True, "flavors": ["python_function", "sklearn"], "pickled": False}
    upload = plan(spec, config, labels=stamps, model=facts, machine=looked).requests[-1]
    wanted = golden("model")[0]
    planned, told = (json.loads(body["model"].pop("versionDescription")) for body in (upload.body, wanted["body"]))
    assert told == {**planned, "flavors": told["flavors"], "signature": told["signature"]}  # those two are read from the files
    assert upload.body == wanted["body"]
