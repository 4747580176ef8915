"""Samples of custom jobs, training in three kinds, tuning and batch prediction."""

from __future__ import annotations

import json
from typing import Any

from samples.vertex.table import Sample
from samples.vertex.world import BUCKET, EXECUTOR, PROJECT, SERVER, SLEEPER, TRAINER, TUNER, Told, World

BUILDER = "model-builder"
NO_MACHINE = "'automatic_resources' is not supported"  # a custom model needs a machine type, says the published description
STAGING = f"gs://{BUCKET}"


def _custom(world: World, name: str, image: str, **more: Any) -> dict[str, Any]:
    return {**world.common, "display_name": world.named(name), "container_uri": image, **more}


def _trained(name: str) -> Any:
    """A pipeline and its job have succeeded, and the model that the job left is registered with its files."""

    def after(world: World, told: Told) -> None:
        pipeline = world.find("trainingPipelines", world.named(name))
        assert pipeline["state"] == "PIPELINE_STATE_SUCCEEDED", pipeline
        assert world.get(pipeline["trainingTaskMetadata"]["backingCustomJob"])["state"] == "JOB_STATE_SUCCEEDED"
        model = world.get(pipeline["modelToUpload"]["name"])
        assert (told.returned["name"], model["trainingPipeline"]) == (model["name"], pipeline["name"]), told.returned
        assert world.objects(model["artifactUri"]) == [f"{model['artifactUri'].rstrip('/')}/model.pkl"], model
        assert model["containerSpec"]["imageUri"] == SERVER, model

    return after


def _job(name: str, **spec: Any) -> Any:
    def after(world: World, told: Told) -> None:
        job = world.find("customJobs", world.named(name))
        assert job["state"] == "JOB_STATE_SUCCEEDED", job
        assert {key: job["jobSpec"][key] for key in spec} == spec, job

    return after


def _tuned(world: World, told: Told) -> None:
    """All 128 trials ended well within their space, and what the best reported is what its parameters give."""
    body = world.get(told.returned["name"])
    assert (body["state"], len(body["trials"]), body["labels"]) == ("JOB_STATE_SUCCEEDED", 128, {"my_key": "my_value"}), body["state"]
    for trial in body["trials"]:
        point = {each["parameterId"]: each["value"] for each in trial["parameters"]}
        assert trial["state"] == "SUCCEEDED", trial
        assert 0.001 <= point["lr"] <= 0.1, point
        assert point["activation"] in ("relu", "selu"), point
        assert point["batch_size"] in (128, 256), point
        (metric,) = trial["finalMeasurement"]["metrics"]
        assert abs(metric["value"] - abs(point["lr"] - 0.05)) < 1e-9, trial
    world.kept["tuned"] = body["name"]


def _made(kind: str) -> Any:
    def arguments(world: World) -> dict[str, Any]:
        world.kept[kind] = world.tuning()
        return {**world.common, "hyperparameter_tuning_job_id": world.kept[kind]}

    return arguments


def _scored(name: str) -> Any:
    def after(world: World, told: Told) -> None:
        job = world.find("batchPredictionJobs", world.named(name))
        assert (job["state"], told.returned["name"]) == ("JOB_STATE_SUCCEEDED", job["name"]), job
        files = world.objects(job["outputInfo"]["gcsOutputDirectory"])
        lines = [json.loads(line) for file in files if ".results" in file for line in world.text(file).splitlines()]
        assert sorted((line["instance"]["content"], line["prediction"]) for line in lines) == [("bad", "no"), ("good", "yes")], lines

    return after


def _scoring(world: World, name: str) -> dict[str, Any]:
    return {
        **world.common,
        "model_resource_name": world.kept["model"],
        "job_display_name": world.named(name),
        "gcs_source": world.rows(),
        "gcs_destination": f"{STAGING}/scores/{world.transport}",
    }


def _from_table(world: World, name: str) -> dict[str, Any]:
    return {
        **world.common,
        "model_resource_name": world.positional(),
        "job_display_name": world.named(name),
        "bigquery_source": world.table(),
        "bigquery_destination_prefix": f"bq://{PROJECT}",
    }


def _scored_in_a_table(world: World, told: Told) -> None:
    job = world.find("batchPredictionJobs", world.named("scored from a table"))
    assert (job["state"], told.returned["name"]) == ("JOB_STATE_SUCCEEDED", job["name"]), job
    dataset = job["outputInfo"]["bigqueryOutputDataset"].removeprefix("bq://").rpartition(".")[2]
    table = f"/bigquery/v2/projects/{PROJECT}/datasets/{dataset}/tables/{job['outputInfo']['bigqueryOutputTable']}"
    names = [each["name"] for each in world.call("GET", table)["schema"]["fields"]]
    rows = [dict(zip(names, (cell["v"] for cell in row["f"]), strict=True)) for row in world.call("GET", f"{table}/data")["rows"]]
    assert sorted((float(row["x0"]), "yes" in row["prediction"]) for row in rows) == [(-2.0, False), (2.0, True)], rows


RUNS = [
    Sample(
        f"{BUILDER}/custom_training_job_sample.py",
        lambda w: {
            **_custom(w, "by script", EXECUTOR),
            "bucket": STAGING,
            "script_path": w.script,
            "script_args": ["--depth=3"],
            "model_serving_container_image_uri": SERVER,
            "requirements": [],
            "replica_count": 1,
        },
        _trained("by script"),
    ),
    Sample(
        f"{BUILDER}/create_training_pipeline_custom_job_sample.py",
        lambda w: _custom(
            w,
            "by pipeline",
            EXECUTOR,
            staging_bucket=STAGING,
            script_path=w.script,
            model_serving_container_image_uri=SERVER,
            model_display_name=w.named("by pipeline"),
            args=["--depth", 3],
            replica_count=1,
        ),
        _trained("by pipeline"),
    ),
    Sample(
        f"{BUILDER}/create_training_pipeline_custom_container_job_sample.py",
        lambda w: _custom(
            w,
            "by container",
            TRAINER,
            staging_bucket=STAGING,
            model_serving_container_image_uri=SERVER,
            model_display_name=w.named("by container"),
        ),
        _trained("by container"),
    ),
    Sample(
        f"{BUILDER}/create_training_pipeline_custom_package_job_sample.py",
        lambda w: _custom(
            w,
            "by package",
            EXECUTOR,
            staging_bucket=STAGING,
            python_package_gcs_uri=w.package(),
            python_module_name="trainer.task",
            model_serving_container_image_uri=SERVER,
            model_display_name=w.named("by package"),
        ),
        _trained("by package"),
    ),
    Sample(
        f"{BUILDER}/create_custom_job_on_persistent_resource_sample.py",
        lambda w: _custom(w, "persistent", TRAINER, staging_bucket=STAGING, persistent_resource_id="kept"),
        _job("persistent", persistentResourceId="kept"),
    ),
    Sample(
        f"{BUILDER}/create_custom_job_psci_sample.py",
        lambda w: {
            **w.common,
            "bucket": STAGING,
            "display_name": w.named("psci"),
            "machine_type": "n1-standard-4",
            "replica_count": 1,
            "image_uri": TRAINER,
            "network_attachment": "attached",
            "domain": "test.com.",
            "target_project": "other",
            "target_network": "net",
        },
        _job(
            "psci",
            pscInterfaceConfig={
                "networkAttachment": "attached",
                "dnsPeeringConfigs": [{"domain": "test.com.", "targetProject": "other", "targetNetwork": "net"}],
            },
        ),
    ),
    Sample(
        f"{BUILDER}/create_hyperparameter_tuning_job_sample.py",
        lambda w: _custom(w, "tuned", TUNER, staging_bucket=STAGING),
        _tuned,
    ),
    Sample(
        f"{BUILDER}/get_hyperparameter_tuning_job_sample.py",
        _made("got"),
        lambda w, told: _named(w.kept["got"], told),
    ),
    Sample(
        f"{BUILDER}/cancel_hyperparameter_tuning_job_sample.py",
        _made("cancelled"),
        lambda w, told: _cancelled(w, w.kept["cancelled"]),
    ),
    Sample(
        f"{BUILDER}/delete_hyperparameter_tuning_job_sample.py",
        lambda w: {**w.common, "hyperparameter_tuning_job_id": w.kept["cancelled"]},
        lambda w, told: w.gone(w.kept["cancelled"]),
    ),
    Sample(
        f"{BUILDER}/create_batch_prediction_job_sample.py",
        lambda w: _scoring(w, "scored"),
        lambda w, told: None,
        refused=NO_MACHINE,
    ),
    Sample(
        f"{BUILDER}/create_batch_prediction_job_dedicated_resources_sample.py",
        lambda w: _scoring(w, "scored apart"),
        _scored("scored apart"),
    ),
    Sample(
        f"{BUILDER}/create_batch_prediction_job_bigquery_sample.py",
        lambda w: _from_table(w, "scored from a table"),
        lambda w, told: None,
        refused=NO_MACHINE,
    ),
    Sample(
        f"{BUILDER}/create_batch_prediction_job_dedicated_resources_bigquery_sample.py",
        lambda w: _from_table(w, "scored from a table"),
        _scored_in_a_table,
    ),
]


def _named(name: str, told: Told) -> None:
    assert told.returned["name"] == name, told.returned


def _cancelled(world: World, name: str) -> None:
    world.ended(name, "CANCELLED")
    assert SLEEPER in json.dumps(world.get(name)), "the job keeps its spec"
