"""The emulator of Vertex AI, killed in the middle of what it does and started again: what it says is true, and nothing is left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aids.model_servers import ready_unnoted
from aids.process import Emulated, emulating, nothing_works
from aids.vertex.jobs import ENDED, create, get, job, pool, printed, until
from aids.vertex.models import BUCKET, MACHINE, P, ask, classifier, deploy, done, ended, endpoint, held, put, read, upload
from aids.vertex.place import call

import mlport
from mlport.emulation.server import serve
from mlport.errors import ConfigError
from mlport_vertex.emulator import EMULATOR

POINTS = ("after-operation-begin", "before-operation-end", "after-operation-end")
SKLEARN = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"
CUSTOM_TASK = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"
GATE = """
import pathlib, sys, time
print("begun", flush=True)
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.02)
"""


def quick_or_full(*points: str) -> list[Any]:
    return [pytest.param(point, marks=() if point == "before-operation-end" else pytest.mark.faults_full) for point in points]


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    """One folder for the tests of this module: they kill its emulator again and again."""
    with emulating("vertex", tmp_path_factory.mktemp("vertex") / "state") as emulated:
        yield emulated


def killed_at(emulated: Emulated, point: str, method: str, path: str, body: Any) -> None:
    """Make a call that begins an operation; the emulator dies at that point, and comes back."""
    emulated.die_at(point)
    try:
        call(emulated.ready, method, path, body)
    except OSError:  # it died before it could answer
        assert point == POINTS[0]
    emulated.died()
    emulated.start()


def operations(emulated: Emulated, resource: str) -> list[Any]:
    return list(ask(emulated.ready, "GET", f"/v1/{resource}/operations").get("operations", []))


def begun_once(emulated: Emulated, where: str, verb: str, body: Any) -> Any:
    """The operation that the call began before the kill; where it had not come so far, that of the same call made again."""
    begun = [each for each in operations(emulated, where) if verb.lower() in each["metadata"]["@type"].lower()]
    assert len(begun) < 2
    return begun[0] if begun else ask(emulated.ready, "POST", f"/v1/{where}:{verb}", body)


@pytest.mark.parametrize("point", quick_or_full(*POINTS))
def test_an_upload_is_made_once(emulated: Emulated, point: str) -> None:
    model = f"up-{POINTS.index(point)}"
    body = {"model": {"displayName": "m", "artifactUri": f"gs://{BUCKET}/m", "containerSpec": {"imageUri": SKLEARN}}, "modelId": model}
    killed_at(emulated, point, "POST", f"{P}/models:upload", body)
    (operation,) = operations(emulated, f"{P[4:]}/models/{model}")
    assert done(emulated.ready, operation)["modelVersionId"] == "1"
    versions = ask(emulated.ready, "GET", f"{P}/models/{model}:listVersions")["models"]
    assert [each["versionId"] for each in versions] == ["1"]


@pytest.mark.parametrize("point", quick_or_full("while it starts", *POINTS))
def test_a_deployment_answers_or_is_not_there(emulated: Emulated, tmp_path: Path, point: str) -> None:
    gate = tmp_path / "gate"
    model = upload(emulated.ready, put(emulated.ready, "m/model.pkl", classifier() if point in POINTS else held(gate)))
    where = endpoint(emulated.ready)
    if point in POINTS:
        body = {"deployedModel": {"model": model, "dedicatedResources": MACHINE, "id": "7"}, "trafficSplit": {"0": 100}}
        killed_at(emulated, point, "POST", f"/v1/{where}:deployModel", body)
        operation = begun_once(emulated, where, "deployModel", body)
    else:
        operation = deploy(emulated.ready, where, model, {"0": 100}, id="7")
        until(emulated.ready, operation["name"], lambda seen: seen["metadata"].get("deploymentStage") == "STARTING_MODEL_SERVER")
        emulated.kill()
        emulated.start()
        assert "done" not in get(emulated.ready, operation["name"])
        assert "deployedModels" not in get(emulated.ready, where)
        gate.touch()
    assert done(emulated.ready, operation)["deployedModel"]["id"] == "7"
    assert get(emulated.ready, where)["trafficSplit"] == {"7": 100}
    told = ask(emulated.ready, "POST", f"/v1/{where}:predict", {"instances": [[1.0, 0.0], [-1.0, 0.0]]})
    assert told["predictions"] == [True, False]
    out = {"deployedModelId": "7", "trafficSplit": {}}
    if point in POINTS:
        killed_at(emulated, point, "POST", f"/v1/{where}:undeployModel", out)
        operation = begun_once(emulated, where, "undeployModel", out)
    else:
        operation = ask(emulated.ready, "POST", f"/v1/{where}:undeployModel", out)
    done(emulated.ready, operation)
    assert "deployedModels" not in get(emulated.ready, where)
    nothing_works(emulated)


def test_a_server_that_was_ready_before_its_emulator_came_back_is_found_ready(tmp_path: Path) -> None:
    """The emulator dies when it has begun the server and has not noted it, and is away until the server answers."""
    with emulating("vertex", tmp_path / "state") as emulated:
        model = upload(emulated.ready, put(emulated.ready, "m/model.pkl", classifier()))
        where = endpoint(emulated.ready)
        operation = ready_unnoted(emulated, "containers", "serving", lambda: deploy(emulated.ready, where, model, {"0": 100}, id="7"))
        assert operation is not None
        assert ended(emulated.ready, operation, 30)["response"]["deployedModel"]["id"] == "7"
        told = ask(emulated.ready, "POST", f"/v1/{where}:predict", {"instances": [[1.0, 0.0], [-1.0, 0.0]]})
        assert told["predictions"] == [True, False]
        with mlport.connect(f"local://{emulated.folder / 'vertex' / 'containers'}") as engine:
            assert len(list(engine.jobs.list())) == 1


def test_a_batch_is_scored_whole_or_not_said_to_be_done(emulated: Emulated, tmp_path: Path) -> None:
    """Killed when it has come to the middle, where the model holds a row until the next emulator is there."""
    rows, gate = 200, tmp_path / "gate"
    model = upload(emulated.ready, put(emulated.ready, "b/model.pkl", held(gate, row=0)))
    put(emulated.ready, "rows/in.jsonl", b"".join(b"[%d, 0]\n" % (number - rows // 2) for number in range(rows)))
    body = {
        "displayName": "batch",
        "model": model,
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [f"gs://{BUCKET}/rows/in.jsonl"]}},
        "outputConfig": {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": f"gs://{BUCKET}/scored"}},
        "dedicatedResources": {"machineSpec": MACHINE["machineSpec"], "startingReplicaCount": 1},
        "manualBatchTuningParameters": {"batchSize": 1},
    }
    name = create(emulated.ready, body, "batchPredictionJobs")["name"]
    until(emulated.ready, name, lambda seen: seen["state"] == "JOB_STATE_RUNNING")
    emulated.kill()
    emulated.start()
    assert read(emulated.ready, f"gs://{BUCKET}/scored") == {}
    assert get(emulated.ready, name)["state"] == "JOB_STATE_RUNNING"
    gate.touch()
    ended = until(emulated.ready, name, lambda seen: seen["state"] in ENDED)
    assert ended["state"] == "JOB_STATE_SUCCEEDED", ended
    assert ended["completionStats"]["successfulCount"] == str(rows)
    found = read(emulated.ready, ended["outputInfo"]["gcsOutputDirectory"])
    told = [json.loads(line) for line in found["prediction.results-00000-of-00001"].splitlines()]
    assert sorted(each["instance"][0] for each in told) == list(range(-rows // 2, rows // 2))
    assert all(each["prediction"] == (each["instance"][0] > 0) for each in told)
    nothing_works(emulated)


@pytest.mark.parametrize("point", quick_or_full("while it trains", *POINTS))
def test_a_training_pipeline_uploads_its_model_once(emulated: Emulated, tmp_path: Path, point: str) -> None:
    model, gate = f"trained-{(*POINTS, point).index(point)}", tmp_path / "gate"
    inputs = {
        "workerPoolSpecs": [pool(GATE, str(gate))],
        "baseOutputDirectory": {"outputUriPrefix": f"gs://{BUCKET}/trained/{model}"},
    }
    body = {
        "displayName": "training",
        "trainingTaskDefinition": CUSTOM_TASK,
        "trainingTaskInputs": inputs,
        "modelToUpload": {"displayName": "m", "containerSpec": {"imageUri": SKLEARN}},
        "modelId": model,
    }
    name = create(emulated.ready, body, "trainingPipelines")["name"]
    custom = get(emulated.ready, name)["trainingTaskMetadata"]["backingCustomJob"]
    until(emulated.ready, custom, lambda _: printed(emulated.ready, custom) == ["begun"])
    if point in POINTS:
        emulated.die_at(point)
        gate.touch()
        emulated.died()
    else:
        emulated.kill()
        gate.touch()
    emulated.start()
    ended = until(emulated.ready, name, lambda seen: seen["state"] in ENDED)
    assert ended["state"] == "PIPELINE_STATE_SUCCEEDED"
    assert printed(emulated.ready, custom) == ["begun"]
    versions = ask(emulated.ready, "GET", f"{P}/models/{model}:listVersions")["models"]
    assert [each["versionId"] for each in versions] == [ended["modelToUpload"]["versionId"]] == ["1"]


STORES = """
import os, pathlib, sys, time, urllib.request, json
def token():
    ask = urllib.request.Request("http://" + os.environ["GCE_METADATA_HOST"] + "/computeMetadata/v1/instance/service-accounts/default/token", headers={"Metadata-Flavor": "Google"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(ask, timeout=10) as answer:
        return json.load(answer)["access_token"]
def store(name):
    url = "https://storage.googleapis.com/upload/storage/v1/b/emulated-mlport/o?uploadType=media&name=" + name
    ask = urllib.request.Request(url, name.encode(), {"Authorization": "Bearer " + token()}, method="POST")
    with urllib.request.build_opener().open(ask, timeout=10):
        print("stored", name, flush=True)
store("checkpoints/1")
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.02)
store("checkpoints/2")
"""


def test_a_job_reaches_storage_after_the_emulator_was_started_again(emulated: Emulated, tmp_path: Path) -> None:
    name = create(emulated.ready, job(pool(STORES, str(tmp_path / "gate"))))["name"]
    until(emulated.ready, name, lambda _: printed(emulated.ready, name) == ["stored checkpoints/1"])
    before = emulated.said
    emulated.kill()
    emulated.start()
    assert {key: emulated.said[key] for key in ("url", "proxy", "grpc", "env")} == {
        key: before[key] for key in ("url", "proxy", "grpc", "env")
    }
    (tmp_path / "gate").touch()
    ended = until(emulated.ready, name, lambda seen: seen["state"] in ENDED)
    assert (ended["state"], printed(emulated.ready, name)[-1]) == ("JOB_STATE_SUCCEEDED", "stored checkpoints/2"), printed(
        emulated.ready, name
    )
    assert read(emulated.ready, f"gs://{BUCKET}/checkpoints/") == {"1": "checkpoints/1", "2": "checkpoints/2"}


def test_a_second_emulator_on_the_folder_is_told_who_has_it(emulated: Emulated) -> None:
    with (
        pytest.raises(ConfigError, match=f"another emulator runs in this folder: process {emulated.said['pid']} since 20"),
        serve({"vertex": EMULATOR}, emulated.folder),
    ):
        pass
