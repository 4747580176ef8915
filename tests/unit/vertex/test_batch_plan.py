"""Plans of Vertex AI's own batch prediction: held to Google's description, and what it cannot do refused by name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("googleapiclient", reason="needs google-api-python-client: it ships the description")

from mlport.errors import SpecError
from mlport.specs import BatchSpec, ScheduleSpec
from mlport.spi import TOKEN, Facts, InputFact, Json, Plan
from mlport_vertex import PROVIDER
from mlport_vertex.config import VertexConfig
from mlport_vertex.emulator.protocol.discovery import document

CONFIG = VertexConfig(project="acme-ml", location="europe-west4", staging="gs://acme-ml/mlport")
PREBUILT = {"imageUri": "europe-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"}
OURS = {"imageUri": "europe-docker.pkg.dev/acme-ml/mlport/server:1", "predictRoute": "/predict"}
SIGNATURE = {"inputs": [{"name": "hour", "type": "long"}, {"name": "carrier", "type": "string"}]}
BASE: Json = {"name": "score", "model": {"name": "delays", "version": "2"}, "input": "gs://b/in/rows.jsonl", "output": "gs://b/out"}


def plan_of(
    options: Json | None = None, container: Json | None = None, signature: Json | None = None, kind: Any = "generation", **fields: Any
) -> Plan:
    spec = BatchSpec.model_validate({**BASE, "options": {"vertex": {"batch": "native", **(options or {})}}, **fields})
    facts = Facts(
        labels={"mlport_token": TOKEN},
        inputs={"rows": InputFact(spec.input, kind, "1", 1)},
        model={"name": "delays", "version": "2", "signature": signature},
        machine={"container": PREBUILT if container is None else container},
    )
    plan = PROVIDER.plan(CONFIG, spec, facts)
    (request,) = plan.requests
    described = document("aiplatform.v1")
    found = described.match(request.method, request.path.lstrip("/"))
    assert found is not None
    assert found[0].id == request.call
    assert described.request(found[0], request.body).problems == []
    return plan


def body(*arguments: Any, **fields: Any) -> Json:
    return plan_of(*arguments, **fields).requests[0].body


def test_a_native_batch_is_one_call() -> None:
    config = CONFIG.model_copy(update={"service_account": "jobs@acme-ml.iam.gserviceaccount.com"})
    spec = BatchSpec.model_validate(
        {**BASE, "batch_rows": 500, "compute": {"cpus": 2, "memory_gib": 7, "nodes": 3}, "options": {"vertex": {"batch": "native"}}}
    )
    (request,) = PROVIDER.plan(config, spec, Facts(labels={"mlport_token": TOKEN, "team": "A b"})).requests
    golden = json.loads((Path(__file__).parents[2] / "golden" / "vertex" / "batch_native.json").read_text("utf-8"))
    assert golden["requests"] == [{"call": request.call, "method": request.method, "path": request.path, "body": request.body}]
    assert request.body == {
        "displayName": "score",
        "labels": {"mlport_token": TOKEN, "team": "a-b", "mlport_kind": "batch"},
        "model": "projects/acme-ml/locations/europe-west4/models/delays@2",
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": ["gs://b/in/rows.jsonl"]}},
        "outputConfig": {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": "gs://b/out"}},
        "dedicatedResources": {"machineSpec": {"machineType": "e2-standard-2"}, "startingReplicaCount": 3, "maxReplicaCount": 3},
        "manualBatchTuningParameters": {"batchSize": 500},
        "serviceAccount": "jobs@acme-ml.iam.gserviceaccount.com",
    }


@pytest.mark.parametrize(
    ("fields", "kind", "expected"),
    [
        ({"input": "gs://b/rows.csv"}, "generation", {"instancesFormat": "csv", "gcsSource": {"uris": ["gs://b/rows.csv"]}}),
        (
            {"input": "gs://b/rows.txt", "format": "csv"},
            "generation",
            {"instancesFormat": "csv", "gcsSource": {"uris": ["gs://b/rows.txt"]}},
        ),
        (
            {"input": "gs://b/rows/", "format": "jsonl"},
            "unversioned",
            {"instancesFormat": "jsonl", "gcsSource": {"uris": ["gs://b/rows/*.jsonl"]}},
        ),
        ({"input": "bq://p.d.t"}, "etag", {"instancesFormat": "bigquery", "bigquerySource": {"inputUri": "bq://p.d.t"}}),
    ],
)
def test_where_instances_come_from(fields: Json, kind: str, expected: Json) -> None:
    assert body(kind=kind, **fields)["inputConfig"] == expected


def test_predictions_may_go_to_bigquery() -> None:
    assert body(output="bq://p.d")["outputConfig"] == {"predictionsFormat": "bigquery", "bigqueryDestination": {"outputUri": "bq://p.d"}}


@pytest.mark.parametrize(
    ("options", "container", "fields", "expected"),
    [
        ({}, PREBUILT, {}, {"instanceType": "array", "includedFields": ["hour", "carrier"]}),
        ({}, OURS, {}, {"instanceType": "object", "includedFields": ["hour", "carrier"]}),
        ({"key_field": "id"}, OURS, {}, {"instanceType": "object", "includedFields": ["hour", "carrier"], "keyField": "id"}),
        ({"included_fields": []}, OURS, {}, None),
        ({"excluded_fields": ["id"]}, OURS, {}, {"excludedFields": ["id"]}),
        ({"included_fields": ["b", "a"], "instance_type": "array"}, OURS, {}, {"instanceType": "array", "includedFields": ["b", "a"]}),
        ({"key_field": "id"}, PREBUILT, {"input": "gs://b/rows.csv"}, {"keyField": "id"}),
    ],
)
def test_rows_become_what_the_registered_image_takes(options: Json, container: Json, fields: Json, expected: Json | None) -> None:
    assert body(options, container, SIGNATURE, **fields).get("instanceConfig") == expected


def test_options_reach_the_job() -> None:
    key = "projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k"
    found = body({"parameters": {"threshold": 0.5}, "encryption_key": key, "service_account": "a@b", "machine": "n2-standard-8"})
    assert found["modelParameters"] == {"threshold": 0.5}
    assert found["encryptionSpec"] == {"kmsKeyName": key}
    assert found["serviceAccount"] == "a@b"
    assert found["dedicatedResources"]["machineSpec"] == {"machineType": "n2-standard-8"}


def test_the_plan_says_what_differs() -> None:
    notes = " ".join(plan_of(input="gs://b/rows.csv").notes)
    assert "Vertex AI's form" in notes
    assert "64" in notes
    assert "double quotes" in notes


@pytest.mark.parametrize(
    ("options", "fields", "said"),
    [
        ({}, {"keep": ["id"]}, r"BatchSpec\.keep"),
        ({}, {"timeout": "1h"}, r"BatchSpec\.timeout"),
        ({}, {"compute": {"spot": True}}, r"BatchSpec\.compute\.spot"),
        ({}, {"compute": {"disk_gib": 10}}, r"BatchSpec\.compute\.disk_gib"),
        ({}, {"format": "parquet"}, r"BatchSpec\.format.*jsonl and csv"),
        ({}, {"input": "gs://b/rows.parquet"}, r"BatchSpec\.format"),
        ({}, {"input": "gs://b/rows"}, r"BatchSpec\.format"),
        ({}, {"input": "/rows.jsonl"}, r"BatchSpec\.input.*gs://"),
        ({}, {"input": "https://x/rows.jsonl"}, r"BatchSpec\.input.*gs://"),
        ({}, {"input": "bq://p.d"}, r"BatchSpec\.input.*DATASET"),
        ({}, {"input": "bq://p.d.t", "format": "csv"}, r"BatchSpec\.input.*auto"),
        ({}, {"output": "/scores"}, r"BatchSpec\.output.*gs://"),
        ({}, {"output": "bq://p.d.t.x"}, r"BatchSpec\.output"),
        ({"key_field": "id"}, {"output": "bq://p.d"}, "key_field"),
        ({"network": "projects/p/global/networks/n"}, {}, "network"),
        ({"boot_disk": "pd-standard"}, {}, "boot_disk"),
        ({"included_fields": ["a"], "excluded_fields": ["b"]}, {}, "excluded_fields"),
        ({"instance_type": "array"}, {"input": "gs://b/rows.csv"}, "instance_type"),
        ({"key": "id"}, {}, "key_field"),
        ({"batch": "composed", "key_field": "id"}, {}, "key_field"),
        ({"batch": "composed"}, {"input": "bq://p.d.t"}, r"BatchSpec\.input"),
        ({"batch": "composed"}, {"output": "bq://p.d.t"}, r"BatchSpec\.output"),
    ],
)
def test_what_cannot_be_is_refused_by_name(options: Json, fields: Json, said: str) -> None:
    with pytest.raises(SpecError) as refused:
        plan_of(options, **fields)

    assert re.search(said, f"{refused.value.message} {refused.value.hint}")


def test_a_schedule_keeps_the_batch_that_it_would_start() -> None:
    """Nobody has looked at inputs and containers yet."""
    batch = {**BASE, "output": "gs://b/out/{time}", "options": {"vertex": {"batch": "native"}}}
    spec = ScheduleSpec.model_validate({"name": "nightly", "cron": "0 3 * * *", "batch": batch})
    for facts in (Facts(), Facts(machine={})):
        (request,) = PROVIDER.plan(CONFIG, spec, facts).requests
        assert request.body["batch"]["outputConfig"]["gcsDestination"] == {"outputUriPrefix": "gs://b/out/{time}"}


def test_a_version_without_a_container_is_refused() -> None:
    with pytest.raises(SpecError, match="without a serving container"):
        plan_of(container={})
