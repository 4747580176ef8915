"""Samples of the generated clients (samples/snippets). They begin work and print what was answered; they wait for nothing."""

from __future__ import annotations

import json
from typing import Any

from samples.vertex.table import Sample
from samples.vertex.world import BUCKET, NOTHING, ROWS, SERVER, SLEEPER, TRAINER, TUNER, Told, World

JOBS, ENDPOINTS, MODELS = "snippets/job_service", "snippets/endpoint_service", "snippets/model_service"
PIPELINES, PREDICTIONS = "snippets/pipeline_service", "snippets/prediction_service"


def _kept(world: World, key: str, name: str, **more: Any) -> dict[str, Any]:
    """Arguments with the id of a resource, which is kept under a key."""
    world.kept[key] = name
    return {"project": "emulated", f"{key}_id": name.rpartition("/")[2], **more}


def _id(world: World, key: str, **more: Any) -> dict[str, Any]:
    return _kept(world, key, world.kept[key], **more)


def _gone(key: str) -> Any:
    return lambda world, told: world.gone(world.kept[key])


def _ends(key: str, state: str) -> Any:
    def after(world: World, told: Told) -> None:
        world.ended(world.kept[key], state)

    return after


def _told(key: str) -> Any:
    def after(world: World, told: Told) -> None:
        assert world.kept[key] in told.output, told.output

    return after


def _begun(kind: str, key: str, name: str) -> Any:
    """What the sample began succeeds, and is kept."""

    def after(world: World, told: Told) -> None:
        found = world.find(kind, world.named(name))
        assert f'name: "{found["name"]}"' in told.output, told.output
        world.kept[key] = world.ended(found["name"])["name"]

    return after


def _named(world: World, name: str, **more: Any) -> dict[str, Any]:
    return {"project": "emulated", "display_name": world.named(name), **more}


def _trials(count: int, metric: str) -> Any:
    def after(world: World, told: Told) -> None:
        body = world.ended(world.kept["hyperparameter_tuning_job"])
        reported = [each["finalMeasurement"]["metrics"][0]["metricId"] for each in body["trials"]]
        assert reported == [metric] * count, body

    return after


def _tuned(name: str, count: int, metric: str) -> Any:
    def after(world: World, told: Told) -> None:
        _begun("hyperparameterTuningJobs", "hyperparameter_tuning_job", name)(world, told)
        _trials(count, metric)(world, told)

    return after


def _piped(world: World, told: Told) -> None:
    _begun("trainingPipelines", "training_pipeline", "piped")(world, told)
    model = world.find("models", world.named("piped"))
    assert world.objects(f"gs://{BUCKET}/piped/model") == [f"gs://{BUCKET}/piped/model/model.pkl"]
    assert model["artifactUri"] == f"gs://{BUCKET}/piped/model", model


def _scored(world: World, told: Told) -> None:
    _begun("batchPredictionJobs", "batch_prediction_job", "snippet")(world, told)
    job = world.get(world.kept["batch_prediction_job"])
    files = [each for each in world.objects(job["outputInfo"]["gcsOutputDirectory"]) if ".results" in each]
    lines = [json.loads(line) for file in files for line in world.text(file).splitlines()]
    assert sorted(line["prediction"] for line in lines) == ["no", "yes"], lines


def _endpoint(world: World, told: Told) -> None:
    world.kept["endpoint"] = world.find("endpoints", world.named("snippet"))["name"]
    assert world.kept["endpoint"].rpartition("/")[2] in told.output, told.output


def _deployed(world: World, told: Told) -> None:
    body = world.get(world.kept["endpoint"])
    (deployed,) = body["deployedModels"]
    assert (deployed["displayName"], body["trafficSplit"]) == (world.named("snippet"), {deployed["id"]: 100}), body


def _predicted(world: World, told: Told) -> None:
    deployed = world.get(world.kept["endpoint"])["deployedModels"][0]["id"]
    assert f"deployed_model_id: {deployed}" in told.output, told.output
    assert [line for line in told.output.splitlines() if line.startswith(" prediction:")] == [" prediction: no", " prediction: yes"]


def _answered(world: World, told: Told) -> None:
    """The snippets for AutoML print each prediction as an object; the model says what it was asked."""
    (line,) = [line for line in told.output.splitlines() if line.startswith(" prediction:")]
    assert "'asked'" in line, told.output
    assert world.kept["echo"], "an endpoint was made"


def _asking(world: World, **more: Any) -> dict[str, Any]:
    if "echo" not in world.kept:
        world.kept["echo"] = world.deployed(world.endpoint(), world.echo())
    return {"project": "emulated", "endpoint_id": world.kept["echo"].rpartition("/")[2], **more}


def _explained(world: World, told: Told) -> None:
    spec = world.find("models", world.named("explained by a snippet"))["explanationSpec"]
    assert spec["parameters"] == {"xraiAttribution": {"stepCount": 1}}, spec
    assert [each["inputTensorName"] for each in spec["metadata"]["inputs"].values()] == ["asked"], spec


def _explaining(world: World, **more: Any) -> dict[str, Any]:
    tensors = {"input_tensor_name": "asked", "output_tensor_name": "said", "artifact_uri": world.artifacts()}
    return _named(world, "explained by a snippet", container_spec_image_uri=SERVER, **tensors, **more)


def _file(world: World) -> str:
    path = world.folder / "image.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 an image")
    return str(path)


def _emptied(world: World) -> dict[str, Any]:
    """The endpoint, with nothing deployed on it any more."""
    for each in world.get(world.kept["endpoint"])["deployedModels"]:
        world.done(world.call("POST", f"/v1/{world.kept['endpoint']}:undeployModel", {"deployedModelId": each["id"]}))
    return _id(world, "endpoint")


def _uploaded(world: World, told: Told) -> None:
    world.kept["uploaded"] = world.find("models", world.named("snippet"))["name"]
    assert world.kept["uploaded"] in told.output, told.output


def _batch(world: World) -> dict[str, Any]:
    model = world.model("for a batch")
    return _named(
        world,
        "snippet",
        model_name=model,
        instances_format="jsonl",
        gcs_source_uri=world.rows(),
        predictions_format="jsonl",
        gcs_destination_output_uri_prefix=f"gs://{BUCKET}/snippet",
    )


RUNS = [
    Sample(
        f"{JOBS}/create_custom_job_sample.py",
        lambda w: _named(w, "snippet", container_image_uri=NOTHING),
        _begun("customJobs", "custom_job", "snippet"),
    ),
    Sample(f"{JOBS}/get_custom_job_sample.py", lambda w: _id(w, "custom_job"), _told("custom_job")),
    Sample(f"{JOBS}/cancel_custom_job_sample.py", lambda w: _kept(w, "custom_job", w.job(SLEEPER)), _ends("custom_job", "CANCELLED")),
    Sample(f"{JOBS}/delete_custom_job_sample.py", lambda w: _id(w, "custom_job"), _gone("custom_job")),
    Sample(
        f"{JOBS}/create_hyperparameter_tuning_job_sample.py",
        lambda w: _named(w, "tuned by a snippet", container_image_uri=TUNER),
        _tuned("tuned by a snippet", 2, "accuracy"),
    ),
    Sample(
        f"{JOBS}/get_hyperparameter_tuning_job_sample.py",
        lambda w: _id(w, "hyperparameter_tuning_job"),
        _told("hyperparameter_tuning_job"),
    ),
    Sample(
        f"{JOBS}/cancel_hyperparameter_tuning_job_sample.py",
        lambda w: _kept(w, "hyperparameter_tuning_job", w.tuning()),
        _ends("hyperparameter_tuning_job", "CANCELLED"),
    ),
    Sample(
        f"{JOBS}/delete_hyperparameter_tuning_job_sample.py",
        lambda w: _id(w, "hyperparameter_tuning_job"),
        _gone("hyperparameter_tuning_job"),
    ),
    Sample(f"{JOBS}/create_batch_prediction_job_sample.py", _batch, _scored),
    Sample(f"{JOBS}/get_batch_prediction_job_sample.py", lambda w: _id(w, "batch_prediction_job"), _told("batch_prediction_job")),
    Sample(f"{JOBS}/delete_batch_prediction_job_sample.py", lambda w: _id(w, "batch_prediction_job"), _gone("batch_prediction_job")),
    Sample(
        f"{JOBS}/cancel_batch_prediction_job_sample.py",
        lambda w: _kept(w, "batch_prediction_job", w.batch()),
        _ends("batch_prediction_job", "CANCELLED"),
    ),
    Sample(
        f"{MODELS}/upload_model_sample.py",
        lambda w: _named(w, "snippet", metadata_schema_uri="", image_uri=SERVER, artifact_uri=w.artifacts()),
        _uploaded,
    ),
    Sample(
        f"{MODELS}/get_model_sample.py",
        lambda w: {"project": "emulated", "model_id": w.kept["uploaded"].rpartition("/")[2]},
        _told("uploaded"),
    ),
    Sample(f"{ENDPOINTS}/create_endpoint_sample.py", lambda w: _named(w, "snippet"), _endpoint),
    Sample(
        f"{ENDPOINTS}/deploy_model_custom_trained_model_sample.py",
        lambda w: _id(w, "endpoint", model_name=w.kept["uploaded"], deployed_model_display_name=w.named("snippet")),
        _deployed,
    ),
    Sample(f"{PREDICTIONS}/predict_custom_trained_model_sample.py", lambda w: _id(w, "endpoint", instances=ROWS), _predicted),
    Sample(f"{ENDPOINTS}/delete_endpoint_sample.py", _emptied, _gone("endpoint")),
    *(
        Sample(f"{PREDICTIONS}/{name}_sample.py", lambda w: _asking(w, instance_dict=ROWS[0]), _answered)
        for name in ("predict", "predict_tabular_classification", "predict_tabular_regression")
    ),
    *(
        Sample(f"{PREDICTIONS}/{name}_sample.py", lambda w: _asking(w, content="good"), _answered)
        for name in ("predict_text_classification_single_label", "predict_text_entity_extraction", "predict_text_sentiment_analysis")
    ),
    *(
        Sample(f"{PREDICTIONS}/{name}_sample.py", lambda w: _asking(w, filename=_file(w)), _answered)
        for name in ("predict_image_classification", "predict_image_object_detection")
    ),
    Sample(f"{MODELS}/upload_model_explain_image_managed_container_sample.py", _explaining, _explained),
    Sample(
        f"{MODELS}/upload_model_explain_tabular_managed_container_sample.py",
        lambda w: _explaining(w, feature_names=["x0"]),
        _explained,
    ),
    Sample(
        f"{MODELS}/delete_model_sample.py",
        lambda w: {"project": "emulated", "model_id": w.kept["uploaded"].rpartition("/")[2]},
        _gone("uploaded"),
    ),
    Sample(
        f"{PIPELINES}/create_training_pipeline_custom_job_sample.py",
        lambda w: _named(
            w,
            "piped",
            model_display_name=w.named("piped"),
            container_image_uri=TRAINER,
            base_output_directory_prefix=f"gs://{BUCKET}/piped",
        ),
        _piped,
    ),
    Sample(f"{PIPELINES}/get_training_pipeline_sample.py", lambda w: _id(w, "training_pipeline"), _told("training_pipeline")),
    Sample(f"{PIPELINES}/delete_training_pipeline_sample.py", lambda w: _id(w, "training_pipeline"), _gone("training_pipeline")),
    Sample(
        f"{PIPELINES}/cancel_training_pipeline_sample.py",
        lambda w: _kept(w, "training_pipeline", w.pipeline(SLEEPER)),
        _ends("training_pipeline", "CANCELLED"),
    ),
]
