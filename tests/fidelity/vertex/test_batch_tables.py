"""Batch prediction of the Vertex AI emulator over BigQuery and files that are no text, as Google's SDK and samples ask for it."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest
from aids.vertex.models import BUCKET, MACHINE, SKLEARN, P, ask, classifier, constant, lines, put, read, until, upload
from aids.vertex.place import Sdk

from mlport.emulation.server import Ready
from mlport_vertex.emulator.working.tf_records import record

ENDED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")
JOBS = f"{P}/batchPredictionJobs"
TABLES = "/bigquery/v2/projects/emulated/datasets"
ROWS = [{"x": 1.5, "y": 0.0}, {"x": -1.5, "y": 0.0}, {"x": 2.5, "y": None}]

# The calls of googleapis/python-aiplatform, samples/model-builder/create_batch_prediction_job_dedicated_resources_bigquery_sample.py
PROGRAM = """
import json, sys
from google.cloud import aiplatform
from google.cloud.aiplatform import jobs

jobs._LOG_WAIT_TIME = jobs._JOB_WAIT_TIME = 0.1
aiplatform.init(project="emulated", location="us-central1")
my_model = aiplatform.Model(sys.argv[1])
batch_prediction_job = my_model.batch_predict(
    job_display_name="from a table", bigquery_source="bq://emulated.given.rows", bigquery_destination_prefix=sys.argv[2],
    machine_type="n1-standard-2", accelerator_count=1, accelerator_type="NVIDIA_TESLA_K80", starting_replica_count=1,
    max_replica_count=1, sync=True,
)
batch_prediction_job.wait()
info = batch_prediction_job.output_info
print(json.dumps({
    "state": batch_prediction_job.state.name, "dataset": info.bigquery_output_dataset, "table": info.bigquery_output_table,
    "rows": [dict(row) for row in batch_prediction_job.iter_outputs()],
}))
"""


pytestmark = pytest.mark.usefixtures("no_server_left")


@pytest.fixture(scope="module")
def model(emulator: Ready) -> str:
    return upload(emulator, put(emulator, "m/model.pkl", classifier()), displayName="my model")


def _ended(emulator: Ready, **fields: Any) -> dict[str, Any]:
    body = {"displayName": "batch", "dedicatedResources": {"machineSpec": MACHINE["machineSpec"]}, **fields}
    name = ask(emulator, "POST", JOBS, body)["name"]
    return dict(until(lambda: found if (found := ask(emulator, "GET", f"/v1/{name}"))["state"] in ENDED else None, 120))


def _rows(emulator: Ready, dataset: str, table: str) -> list[list[Any]]:
    found = ask(emulator, "GET", f"{TABLES}/{dataset}/tables/{table}/data")
    return [[cell["v"] for cell in row["f"]] for row in found.get("rows", [])]


def test_a_table_through_the_calls_of_googles_sample(emulator: Ready, sdk: Sdk, model: str) -> None:
    """To a dataset that is there, and to a project alone, in which one is made; the row that has no value fails."""
    for dataset in ("given", "scores"):
        ask(emulator, "POST", TABLES, {"datasetReference": {"datasetId": dataset}})
    schema = {"fields": [{"name": name, "type": "FLOAT", "mode": "NULLABLE"} for name in ("x", "y")]}
    reference = {"projectId": "emulated", "datasetId": "given", "tableId": "rows"}
    ask(emulator, "POST", f"{TABLES}/given/tables", {"tableReference": reference, "schema": schema})
    ask(emulator, "POST", f"{TABLES}/given/tables/rows/insertAll", {"rows": [{"json": row} for row in ROWS]})
    for target in ("bq://emulated.scores", "bq://emulated"):
        seen = json.loads(sdk(PROGRAM, model, target).splitlines()[-1])
        assert seen["state"] == "JOB_STATE_SUCCEEDED"
        assert seen["rows"] == [{"x": 1.5, "y": 0.0, "prediction": "true"}, {"x": -1.5, "y": 0.0, "prediction": "false"}]
        dataset = seen["dataset"].removeprefix("bq://emulated.")
        if target.endswith("scores"):
            assert (dataset, seen["table"][:12]) == ("scores", "predictions_")
        else:
            assert (dataset[:20], seen["table"]) == ("prediction_my_model_", "predictions")
        ((x, y, error),) = _rows(emulator, dataset, seen["table"].replace("predictions", "errors"))
        assert (x, y, error["f"][0]["v"]) == ("2.5", None, "13")


def test_what_has_no_place_in_bigquery_fails_before_it_is_scored(emulator: Ready, model: str) -> None:
    source = {"instancesFormat": "bigquery", "bigquerySource": {"inputUri": "bq://emulated.nowhere.rows"}}
    target = {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": f"gs://{BUCKET}/out"}}
    found = _ended(emulator, model=model, inputConfig=source, outputConfig=target)
    assert (found["state"], "Not found: Dataset emulated:nowhere" in found["error"]["message"]) == ("JOB_STATE_FAILED", True)
    put(emulator, "one/a.jsonl", b"[1.0, 2.0]\n")
    source = {"instancesFormat": "jsonl", "gcsSource": {"uris": [f"gs://{BUCKET}/one/*"]}}
    target = {"predictionsFormat": "bigquery", "bigqueryDestination": {"outputUri": "bq://emulated.nowhere"}}
    found = _ended(emulator, model=model, inputConfig=source, outputConfig=target)
    assert (found["state"], "outputInfo" in found) == ("JOB_STATE_FAILED", False)


def test_files_of_bytes_and_parameters_reach_a_model_that_nobody_registered(emulator: Ready) -> None:
    """An unmanagedContainerModel, TFRecord in both forms, and a list of files."""
    artifacts = put(emulator, "constant/model.pkl", constant(7))
    contents = [b"abc", b"\x00\xff"]
    put(emulator, "bytes/plain", b"".join(map(record, contents)))
    put(emulator, "bytes/zipped", gzip.compress(b"".join(map(record, contents))))
    for number, content in enumerate(contents):
        put(emulator, f"images/{number}", content)
    uris = [f"gs://{BUCKET}/images/{number}" for number in range(2)]
    put(emulator, "bytes/list", "\n".join([*uris, f"gs://{BUCKET}/images/none"]).encode())
    encoded = [{"b64": base64.b64encode(content).decode()} for content in contents]
    for form, name, shown in (("tf-record", "plain", encoded), ("tf-record-gzip", "zipped", encoded), ("file-list", "list", uris)):
        found = _ended(
            emulator,
            unmanagedContainerModel={"artifactUri": artifacts, "containerSpec": {"imageUri": SKLEARN}},
            inputConfig={"instancesFormat": form, "gcsSource": {"uris": [f"gs://{BUCKET}/bytes/{name}"]}},
            outputConfig={"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": f"gs://{BUCKET}/bytes-out/{name}"}},
            modelParameters={"anything": 1},
        )
        assert found["state"] == "JOB_STATE_SUCCEEDED", found
        results = lines(read(emulator, found["outputInfo"]["gcsOutputDirectory"])["prediction.results-00000-of-00001"])
        assert results == [{"instance": each, "prediction": 7.0} for each in shown]
        assert found["completionStats"]["failedCount"] == ("1" if form == "file-list" else "0")
