"""Samples of endpoints, of predictions, and of what one deploys."""

from __future__ import annotations

from typing import Any

from samples.vertex.table import Sample
from samples.vertex.world import ROWS, Told, World

BUILDER = "model-builder"


def _created(world: World, told: Told) -> None:
    endpoint = world.find("endpoints", world.named("created"))
    assert told.returned["name"] == endpoint["name"], told.returned
    assert "deployedModels" not in endpoint, endpoint
    world.kept["endpoint"] = endpoint["name"]


def _deployed(world: World, told: Told) -> None:
    """Two replicas at most, all the traffic, and it answers."""
    endpoint = world.get(world.kept["endpoint"])
    (deployed,) = endpoint["deployedModels"]
    resources = deployed["dedicatedResources"]
    assert (resources["machineSpec"]["machineType"], resources["minReplicaCount"], resources["maxReplicaCount"]) == ("n1-standard-2", 1, 2)
    assert endpoint["trafficSplit"] == {deployed["id"]: 100}, endpoint
    answer = world.call("POST", f"/v1/{endpoint['name']}:predict", {"instances": ROWS})
    assert (answer["predictions"], answer["deployedModelId"]) == (["no", "yes"], deployed["id"]), answer


def _deployed_anew(world: World, told: Told) -> None:
    """With no endpoint named, the SDK makes one with the model's name."""
    model = world.get(world.kept["model"])
    endpoint = world.find("endpoints", f"{model['displayName']}_endpoint")
    assert [each["model"] for each in endpoint["deployedModels"]] == [model["name"]], endpoint
    assert world.call("POST", f"/v1/{endpoint['name']}:predict", {"instances": ROWS})["predictions"] == ["no", "yes"]


def _predicted(world: World, told: Told) -> None:
    assert told.returned[0] == ["no", "yes"], told.returned


def _printed(*wanted: str) -> Any:
    def after(world: World, told: Told) -> None:
        said = [line for line in told.output.splitlines() if line in ("yes", "no")]
        assert said == list(wanted), told.output

    return after


def _invoked(world: World, told: Told) -> None:
    assert "<Response [200]>" in told.output, told.output


def _image(world: World) -> str:
    path = world.folder / "image.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 an image")
    return str(path)


def _asked(world: World, named: str = "endpoint_id", **more: Any) -> dict[str, Any]:
    return {**world.common, named: world.kept["endpoint"], **more}


def _invocable(world: World) -> str:
    """A dedicated endpoint whose model takes any route."""
    if "invocable" not in world.kept:
        model = world.model("invocable", {"invokeRoutePrefix": "/*"})
        world.kept["invocable"] = world.deployed(world.endpoint(dedicatedEndpointEnabled=True), model)
    return str(world.kept["invocable"])


def _invoking(world: World, **more: Any) -> dict[str, Any]:
    body = {"dataframe_records": ROWS}  # in the words of the server that stands for the container here
    return {**world.common, "endpoint_id": _invocable(world), "request_path": "/invocations", "http_request_body": body, **more}


RUNS = [
    Sample(f"{BUILDER}/create_endpoint_sample.py", lambda w: {**w.common, "display_name": w.named("created")}, _created),
    Sample(
        f"{BUILDER}/deploy_model_with_dedicated_resources_sample.py",
        lambda w: {
            **w.common,
            "model_name": w.kept["model"],
            "machine_type": "n1-standard-2",
            "endpoint": {"$endpoint": w.kept["endpoint"]},
            "traffic_percentage": 100,
            "max_replica_count": 2,
        },
        _deployed,
    ),
    Sample(f"{BUILDER}/endpoint_predict_sample.py", lambda w: _asked(w, "endpoint", instances=ROWS), _predicted),
    *(
        Sample(f"{BUILDER}/{name}.py", lambda w: _asked(w, "endpoint_name", instances=ROWS), _printed("no", "yes"))
        for name in ("predict_tabular_classification_sample", "predict_tabular_regression_sample")
    ),
    Sample(f"{BUILDER}/predict_image_classification_sample.py", lambda w: _asked(w, "endpoint_name", images=[_image(w)]), _printed("no")),
    Sample(
        f"{BUILDER}/predict_text_classification_single_label_sample.py",
        lambda w: _asked(w, "endpoint", content="good"),
        _printed("yes"),
    ),
    *(
        Sample(f"{BUILDER}/{name}.py", lambda w: _asked(w, content="good"), _printed("yes"))
        for name in ("predict_text_entity_extraction_sample", "predict_text_sentiment_analysis_sample")
    ),
    Sample(f"{BUILDER}/invoke_tabular_sample.py", _invoking, _invoked),
    Sample(
        f"{BUILDER}/invoke_direct_deployed_model_inference_tabular_sample.py",
        lambda w: _invoking(w, deployed_model_id=w.get(_invocable(w))["deployedModels"][0]["id"]),
        _invoked,
    ),
]
