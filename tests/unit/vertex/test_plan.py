"""Plans of jobs and batches: the machine, the labels, the options, and each request against Google's description."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("googleapiclient", reason="needs google-api-python-client: it ships the description")

from mlport.errors import SpecError
from mlport.specs import BatchSpec, Compute, JobSpec, ModelRef, ScheduleSpec
from mlport.spi import TOKEN, Facts, InputFact, Plan
from mlport_vertex import PROVIDER
from mlport_vertex.compute.machines import for_serving, stand_in
from mlport_vertex.config import VertexConfig
from mlport_vertex.emulator.protocol.discovery import document

CONFIG = VertexConfig(project="acme-ml", location="europe-west4", staging="gs://acme-ml/mlport", owner="ada", profile="prod")
LABELS = {"mlport": "1", "mlport_token": TOKEN, "mlport_owner": "Ada L."}


def plan_of(facts: Facts | None = None, config: VertexConfig = CONFIG, **fields: Any) -> Plan:
    spec = JobSpec.model_validate({"name": "delays", "entrypoint": ["python", "train.py"], **fields})
    plan = PROVIDER.plan(config, spec, facts or Facts(bundle="0" * 64, labels=LABELS))
    refuse_what_google_would(plan)
    return plan


def refuse_what_google_would(plan: Plan) -> None:
    """Hold customJobs.create to the published description."""
    request = plan.requests[-1]
    described = document("aiplatform.v1")
    found = described.match(request.method, request.path.lstrip("/"))
    assert found is not None
    assert found[0].id == request.call
    assert described.request(found[0], request.body).problems == []


def body(plan: Plan) -> dict[str, Any]:
    return plan.requests[-1].body


def manifest(plan: Plan) -> dict[str, Any]:
    return dict(json.loads(body(plan)["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["env"][0]["value"]))


def test_the_cheapest_machine_that_satisfies_is_taken_and_its_price_told() -> None:
    plan = plan_of(compute={"cpus": 3, "memory_gib": 12})
    assert body(plan)["jobSpec"]["workerPoolSpecs"][0]["machineSpec"] == {"machineType": "e2-standard-4"}
    assert plan.resolved["machine"] == "e2-standard-4"
    assert plan.resolved["price_basis"] == "on demand, europe-west4, 2025-03-02"
    assert 0 < float(plan.resolved["usd_per_hour"]) < 1


def test_what_trains_runs_on_machines_that_custom_training_has() -> None:
    """N2D and machines of 2 vCPU are for endpoints; whoever names one gets it."""
    assert for_serving(Compute(), "europe-west4").name == "n2d-highcpu-2"
    assert plan_of().resolved["machine"] == "e2-standard-4"
    assert plan_of(options={"vertex": {"machine": "n2d-standard-4"}}).resolved["machine"] == "n2d-standard-4"


def test_gpus_come_with_their_machines() -> None:
    plan = plan_of(compute={"gpus": 1, "gpu": "L4"})
    assert body(plan)["jobSpec"]["workerPoolSpecs"][0]["machineSpec"] == {
        "machineType": "g2-standard-4",
        "acceleratorType": "NVIDIA_L4",
        "acceleratorCount": 1,
    }


@pytest.mark.parametrize(
    ("compute", "said"),
    [
        ({"cpus": 500}, r"JobSpec.compute.cpus: 500 .*\n.*nearest is c2-standard-60"),
        ({"cpus": 4, "memory_gib": 5000}, r"compute.memory_gib: 5000"),
        ({"gpus": 1, "gpu": "B200"}, r"compute.gpu: 'B200' .*A100, H100, L4"),
        ({"gpus": 64, "gpu": "L4"}, r"compute.gpus: 64 .*\n.*g2-standard-96"),
    ],
)
def test_a_machine_that_there_is_none_of_is_refused_with_the_nearest(compute: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        plan_of(compute=compute)


def test_a_region_without_prices_goes_by_another_and_says_so() -> None:
    found = for_serving(Compute(), "africa-south1").resolved(1)
    assert (found["machine"], found["usd_per_hour"]) == ("n2d-highcpu-2", None)
    basis = "no price of n2d-highcpu-2 is known in africa-south1; chosen by 0.071732 on demand, us-central1, 2025-03-02"
    assert found["price_basis"] == basis
    assert (stand_in("africa-south1"), stand_in("europe-west1")) == ("us-central1", None)


def test_several_nodes_are_two_pools_and_spot_a_strategy() -> None:
    spec = body(plan_of(compute={"nodes": 3, "spot": True}))["jobSpec"]
    assert [pool["replicaCount"] for pool in spec["workerPoolSpecs"]] == ["1", "2"]
    assert (spec["scheduling"]["strategy"], spec["scheduling"]["disableRetries"]) == ("SPOT", False)


def test_googles_limit_is_above_that_of_all_attempts() -> None:
    plan = plan_of(timeout="1h", retries=2)
    assert body(plan)["jobSpec"]["scheduling"]["timeout"] == f"{3 * 3608 + 3600}s"
    assert (manifest(plan)["timeout"], manifest(plan)["retries"]) == (3600, 2)
    assert "timeout" not in body(plan_of())["jobSpec"]["scheduling"]


def test_options_win_over_the_profile() -> None:
    config = CONFIG.model_copy(update={"service_account": "a@p.iam.gserviceaccount.com", "network": "projects/1/global/networks/n"})
    spec = body(plan_of(config=config))["jobSpec"]
    assert (spec["serviceAccount"], spec["network"]) == ("a@p.iam.gserviceaccount.com", "projects/1/global/networks/n")
    key = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
    options = {"vertex": {"service_account": "b@p.iam.gserviceaccount.com", "encryption_key": key, "machine": "n2-standard-8"}}
    told = body(plan_of(config=config, options=options))
    assert told["jobSpec"]["serviceAccount"] == "b@p.iam.gserviceaccount.com"
    assert told["encryptionSpec"] == {"kmsKeyName": key}
    assert told["jobSpec"]["workerPoolSpecs"][0]["machineSpec"]["machineType"] == "n2-standard-8"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"machin": "x"}, "options.vertex: .*did you mean 'machine'"),
        ({"machine": "z9-mega"}, "z9-mega"),
        ({"network": "default"}, "network"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        plan_of(options={"vertex": options})


def test_labels_keep_googles_rules() -> None:
    assert body(plan_of())["labels"] == {"mlport": "1", "mlport_token": TOKEN, "mlport_owner": "ada-l-", "mlport_kind": "job"}
    with pytest.raises(SpecError, match="'Team'"):
        plan_of(Facts(labels={"Team": "x"}))


def test_what_is_local_is_uploaded_and_what_is_elsewhere_is_read_there() -> None:
    inputs = {
        "rows": InputFact("/data/rows.csv", "sha256", "ab12", 3),
        "more": InputFact("gs://b/o", "generation", "17", 3),
    }
    found = manifest(plan_of(Facts(labels=LABELS, inputs=inputs)))["inputs"]
    assert found["rows"]["uri"] == "gs://acme-ml/mlport/inputs/ab12/rows.csv"
    assert (found["more"]["uri"], found["more"]["kind"], found["more"]["digest"]) == ("gs://b/o", "generation", "17")
    with pytest.raises(SpecError, match=r"JobSpec\.inputs\.rows: 's3://b/o'"):
        plan_of(Facts(labels=LABELS, inputs={"rows": InputFact("s3://b/o", "etag", "1", 3)}))


def test_a_wheel_of_this_machine_goes_with_the_package() -> None:
    plan = plan_of(requirements=["numpy>=2", "ours @ file:///wheels/ours-1.0-py3-none-any.whl"])
    assert manifest(plan)["requirements"] == ["numpy>=2", "ours @ file://${packed}/wheels/ours-1.0-py3-none-any.whl"]


@pytest.mark.parametrize(
    ("fields", "image"),
    [
        ({}, "europe-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-6:latest"),
        ({"python": "3.12"}, "python:3.12"),
        ({"image": "eu.example/x@sha256:0"}, "eu.example/x@sha256:0"),
    ],
)
def test_the_image_is_the_jobs_that_of_its_python_or_googles(fields: dict[str, Any], image: str) -> None:
    plan = plan_of(**fields)
    assert plan.resolved["image"] == image
    assert body(plan)["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["imageUri"] == image


def test_a_variable_that_looks_like_a_secret_is_noted() -> None:
    assert any("API_KEY" in note for note in plan_of(env={"API_KEY": "x"}).notes)


def test_a_batch_is_a_job_of_ours() -> None:
    spec = BatchSpec(name="score", model=ModelRef(name="delays", version="1"), input="gs://b/rows", output="gs://b/scored", keep=("id",))
    facts = Facts(
        labels=LABELS, model={"uri": "gs://b/model", "digest": "d"}, inputs={"rows": InputFact("gs://b/rows", "unversioned", "", 1)}
    )
    plan = PROVIDER.plan(CONFIG, spec, facts)
    refuse_what_google_would(plan)
    assert (plan.kind, body(plan)["labels"]["mlport_kind"]) == ("batch", "batch")
    assert manifest(plan)["outputs"] == {"predictions": {"uri": "gs://b/scored"}}
    with pytest.raises(SpecError, match=r"BatchSpec\.output"):
        PROVIDER.plan(CONFIG, spec.model_copy(update={"output": "s3://b/scored"}), facts)


def test_a_schedule_keeps_the_job_that_it_would_start() -> None:
    spec = ScheduleSpec(name="nightly", cron="0 3 * * *", job=JobSpec(name="delays", entrypoint=("python", "train.py")))
    plan = PROVIDER.plan(CONFIG, spec, Facts(labels=LABELS))
    assert plan.kind == "schedule"
    assert plan.requests[0].body["job"]["displayName"] == "delays"


@pytest.mark.parametrize("name", ["job", "batch"])
def test_the_golden_request_is_what_is_planned(name: str) -> None:
    golden = json.loads((Path(__file__).parents[2] / "golden" / "vertex" / f"{name}.json").read_text("utf-8"))
    config = CONFIG.model_copy(update={"service_account": "mlport-jobs@acme-ml.iam.gserviceaccount.com"})
    labels = {"mlport": "1", "mlport_profile": "prod", "mlport_owner": "ada", "mlport_token": TOKEN}
    rows = InputFact("gs://acme-ml/data/2013-q2", "unversioned", "", 1)
    job = JobSpec.model_validate(
        {
            "name": "delays",
            "source": "/code",
            "entrypoint": ["python", "train.py"],
            "params": {"depth": 6},
            "compute": {"cpus": 4, "memory_gib": 16},
            "timeout": "1h",
            "retries": 1,
        }
    )
    batch = BatchSpec(
        name="delays", model=ModelRef(name="delays", version="1"), input=rows.uri, output="gs://acme-ml/scores/2013-q2", keep=("id",)
    )
    model = {"uri": "gs://acme-ml/mlport/models/delays", "digest": "ab" * 32}
    facts = {"job": Facts(bundle="9f2c" + "0" * 60, labels=labels), "batch": Facts(labels=labels, model=model, inputs={"rows": rows})}
    request = PROVIDER.plan(config, {"job": job, "batch": batch}[name], facts[name]).requests[-1]
    assert golden["requests"] == [{"call": request.call, "method": request.method, "path": request.path, "body": request.body}]
