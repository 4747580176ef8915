"""Batch prediction jobs of the Vertex AI emulator: files really scored, results and errors where Vertex AI puts them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aids.vertex.models import BUCKET, MACHINE, P, ask, classifier, done, lines, put, read, refused, until, upload
from aids.vertex.place import Sdk

from mlport.emulation.server import Ready

ENDED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")
JOBS = f"{P}/batchPredictionJobs"
COMPUTE = {"machineSpec": MACHINE["machineSpec"], "startingReplicaCount": 1}

PROGRAM = """
import json, sys
from google.cloud import aiplatform as a
from google.cloud.aiplatform import jobs

a.init(project="emulated", location="us-central1", api_transport="grpc", staging_bucket="gs://emulated-mlport")
jobs._LOG_WAIT_TIME = jobs._JOB_WAIT_TIME = 0.1
job = a.Model(sys.argv[1]).batch_predict(
    job_display_name="nightly", gcs_source="gs://emulated-mlport/in/*.jsonl", gcs_destination_prefix="gs://emulated-mlport/out",
    machine_type="n1-standard-2", labels={"team": "a"},
)
print(json.dumps({
    "state": job.state.name, "good": job.completion_stats.successful_count, "failures": [each.message for each in job.partial_failures],
    "directory": job.output_info.gcs_output_directory, "outputs": sorted(each.name.rpartition("/")[2] for each in job.iter_outputs()),
    "found": [each.display_name for each in a.BatchPredictionJob.list(filter='labels.team="a"')],
}))
"""


pytestmark = pytest.mark.usefixtures("no_server_left")


@pytest.fixture(scope="module")
def model(emulator: Ready) -> str:
    return upload(emulator, put(emulator, "m/model.pkl", classifier()), displayName="my model")


def _job(model: str, source: str, **fields: Any) -> dict[str, Any]:
    return {
        "displayName": "batch",
        "model": model,
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [source]}},
        "outputConfig": {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": f"gs://{BUCKET}/out"}},
        "dedicatedResources": COMPUTE,
        **fields,
    }


def _ended(emulator: Ready, name: str) -> dict[str, Any]:
    return dict(until(lambda: found if (found := ask(emulator, "GET", f"/v1/{name}"))["state"] in ENDED else None, 120))


def test_a_batch_through_the_sdk(emulator: Ready, sdk: Sdk, model: str) -> None:
    """Two files, one of them with a line that the model cannot take."""
    put(emulator, "in/a.jsonl", b"[1.0, 0.0]\n[-1.0, 0.0]\n" * 100)
    put(emulator, "in/b.jsonl", b'[2.0, 0.0]\n["a text", 0.0]\n')
    put(emulator, "in/other.txt", b"not asked for")
    seen = json.loads(sdk(PROGRAM, model).splitlines()[-1])
    directory = seen.pop("directory")
    assert directory.startswith(f"gs://{BUCKET}/out/prediction-my_model-")
    (failure,) = seen.pop("failures")
    assert "the model failed" in failure
    files = ["prediction.errors_stats-00000-of-00001", "prediction.results-00000-of-00002", "prediction.results-00001-of-00002"]
    assert seen == {"state": "JOB_STATE_SUCCEEDED", "good": 201, "outputs": files, "found": ["nightly"]}
    written = read(emulator, directory)
    first = lines(written[files[1]])
    assert first[:2] == [{"instance": [1.0, 0.0], "prediction": True}, {"instance": [-1.0, 0.0], "prediction": False}]
    assert (len(first), lines(written[files[2]])) == (200, [{"instance": [2.0, 0.0], "prediction": True}])
    (error,) = lines(written[files[0]])
    assert (error["instance"], error["error"]["code"]) == (["a text", 0.0], 13)


def test_objects_become_arrays_beside_their_key(emulator: Ready, model: str) -> None:
    put(emulator, "keyed/a.jsonl", b'{"id": 7, "x": 1.0, "y": 0.0}\n{"y": 0.0, "id": 8, "x": -1.0}\n')
    config = {"instanceType": "array", "keyField": "id", "includedFields": ["x", "y"]}
    begun = ask(emulator, "POST", JOBS, _job(model, f"gs://{BUCKET}/keyed/a.jsonl", instanceConfig=config))
    assert begun["state"] == "JOB_STATE_PENDING"
    found = _ended(emulator, begun["name"])
    assert {"startTime", "endTime", "resourcesConsumed"} <= found.keys()
    results = read(emulator, found["outputInfo"]["gcsOutputDirectory"])["prediction.results-00000-of-00001"]
    assert lines(results) == [{"key": 7, "prediction": True}, {"key": 8, "prediction": False}]
    deletion = ask(emulator, "DELETE", f"/v1/{begun['name']}")
    assert deletion["name"].startswith("projects/424242424242/locations/us-central1/operations/")
    done(emulator, deletion)
    assert refused(emulator, "GET", f"/v1/{begun['name']}")[0] == "NOT_FOUND"


def test_jobs_that_fail_say_why(emulator: Ready, model: str) -> None:
    put(emulator, "wide/a.csv", b"a,b,c\n1,2,3\n")
    cases = {
        "is expected to contain exactly one of": _job(upload(emulator, f"gs://{BUCKET}/nothing/here"), f"gs://{BUCKET}/in/a.jsonl"),
        "No file matches the input URI": _job(model, f"gs://{BUCKET}/none/*.jsonl"),
        "3 features": _job(model, "", inputConfig={"instancesFormat": "csv", "gcsSource": {"uris": [f"gs://{BUCKET}/wide/a.csv"]}}),
    }
    for said, body in cases.items():
        found = _ended(emulator, ask(emulator, "POST", JOBS, body)["name"])
        assert found["state"] == "JOB_STATE_FAILED"
        assert said in found["error"]["message"]


def test_a_cancelled_job_writes_nothing(emulator: Ready, model: str) -> None:
    put(emulator, "cancelled/a.jsonl", b"[1.0, 0.0]\n")
    target = {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": f"gs://{BUCKET}/never"}}
    begun = ask(emulator, "POST", JOBS, _job(model, f"gs://{BUCKET}/cancelled/a.jsonl", outputConfig=target))
    assert refused(emulator, "DELETE", f"/v1/{begun['name']}")[0] == "FAILED_PRECONDITION"
    ask(emulator, "POST", f"/v1/{begun['name']}:cancel")
    found = _ended(emulator, begun["name"])
    assert (found["state"], found["error"]["code"]) == ("JOB_STATE_CANCELLED", 1)
    assert read(emulator, f"gs://{BUCKET}/never/") == {}


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        ({"displayName": ""}, "INVALID_ARGUMENT", "batch_prediction_job.display_name"),
        ({"model": "projects/p/locations/us-central1/models/none"}, "NOT_FOUND", "does not exist"),
        ({"dedicatedResources": None}, "INVALID_ARGUMENT", "automatic_resources"),
        ({"inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": ["/tmp/a"]}}}, "INVALID_ARGUMENT", "gs://"),
        (
            {"inputConfig": {"instancesFormat": "parquet", "gcsSource": {"uris": ["gs://a/b"]}}},
            "INVALID_ARGUMENT",
            'Instance format "parquet" is not supported for Model',
        ),
        ({"inputConfig": {"instancesFormat": "bigquery", "gcsSource": {"uris": ["gs://a/b"]}}}, "INVALID_ARGUMENT", "bigquery_source"),
        ({"inputConfig": {"instancesFormat": "jsonl"}}, "INVALID_ARGUMENT", "gcs_source"),
        (
            {"outputConfig": {"predictionsFormat": "csv", "gcsDestination": {"outputUriPrefix": "gs://a"}}},
            "INVALID_ARGUMENT",
            "[jsonl, bigquery]",
        ),
        (
            {"outputConfig": {"predictionsFormat": "bigquery", "bigqueryDestination": {"outputUri": "gs://a"}}},
            "INVALID_ARGUMENT",
            "output_uri",
        ),
        (
            {
                "outputConfig": {"predictionsFormat": "bigquery", "bigqueryDestination": {"outputUri": "bq://p"}},
                "instanceConfig": {"keyField": "k"},
            },
            "INVALID_ARGUMENT",
            '"bigquery" output format does not support key_field.',
        ),
        (
            {
                "inputConfig": {"instancesFormat": "tf-record", "gcsSource": {"uris": ["gs://a/b"]}},
                "instanceConfig": {"includedFields": ["a"]},
            },
            "UNIMPLEMENTED",
            "tf.train.Example",
        ),
        ({"instanceConfig": {"instanceType": "row"}}, "INVALID_ARGUMENT", "instance_type"),
        ({"generateExplanation": True}, "UNIMPLEMENTED", "explanations"),
        ({"modelMonitoringConfig": {}}, "INVALID_ARGUMENT", "modelMonitoringConfig"),
        (
            {"dedicatedResources": {**COMPUTE, "startingReplicaCount": 3, "maxReplicaCount": 2}},
            "INVALID_ARGUMENT",
            "starting_replica_count",
        ),
        ({"manualBatchTuningParameters": {"batchSize": -1}}, "INVALID_ARGUMENT", "batch_size"),
        ({"unmanagedContainerModel": {"artifactUri": "gs://a/b"}}, "INVALID_ARGUMENT", "Exactly one of"),
        ({"instanceConfig": {"includedFields": ["a"], "excludedFields": ["b"]}}, "INVALID_ARGUMENT", "included_fields"),
    ],
)
def test_jobs_that_are_refused(emulator: Ready, model: str, changed: dict[str, Any], code: str, said: str) -> None:
    found = refused(emulator, "POST", JOBS, _job(model, f"gs://{BUCKET}/in/a.jsonl") | changed)
    assert found[0] == code
    assert said in found[1]
