"""The model registry's samples."""

from __future__ import annotations

from typing import Any

from samples.vertex.table import Sample
from samples.vertex.world import BUCKET, EXECUTOR, SERVER, Told, World

BUILDER, REGISTRY = "model-builder", "model-builder/model_registry"


def _uploaded(world: World, told: Told) -> None:
    model = world.find("models", world.named("uploaded"))
    assert (model["versionId"], model["containerSpec"]["imageUri"], model["versionAliases"]) == ("1", SERVER, ["default"]), model
    assert (told.returned["name"], model["artifactUri"]) == (model["name"], world.artifacts()), told
    world.kept["model"] = model["name"]


def _second(world: World, told: Told) -> None:
    """A second version for the samples that follow, which the upload samples, broken as they are, do not make."""
    first = world.get(world.kept["model"])
    content = {"displayName": first["displayName"], "artifactUri": first["artifactUri"], "containerSpec": first["containerSpec"]}
    body = {"parentModel": first["name"], "model": {**content, "versionAliases": ["second"]}}
    made = world.done(world.call("POST", "/v1/projects/emulated/locations/us-central1/models:upload", body))
    assert made["modelVersionId"] == "2", made


def _explained(world: World, told: Told) -> None:
    spec = world.find("models", world.named("explained"))["explanationSpec"]
    assert spec["metadata"]["inputs"]["x0"] == {"inputTensorName": "x0"}, spec
    assert spec["parameters"] == {"sampledShapleyAttribution": {"pathCount": 10}}, spec


def _has(version: str) -> Any:
    def after(world: World, told: Told) -> None:
        assert (told.returned["name"], told.returned["version"]) == (world.kept["model"], version), told.returned

    return after


def _aliases(version: str, *aliases: str) -> Any:
    def after(world: World, told: Told) -> None:
        found = world.get(f"{world.kept['model']}@{version}").get("versionAliases", [])
        assert sorted(found) == sorted(aliases), found

    return after


def _listed(world: World, told: Told) -> None:
    assert [each["version"] for each in told.returned] == ["2", "1"], told.returned


def _trained_version(world: World, told: Told) -> None:
    found = world.get(f"{world.kept['model']}@trained")
    assert (found["versionId"], found["versionDescription"]) == ("3", "by a script"), found
    assert told.returned["version"] == "3", told.returned
    assert world.objects(found["artifactUri"]) == [f"{found['artifactUri']}/model.pkl"], found
    assert "default" in world.get(f"{world.kept['model']}@1")["versionAliases"]


def _version_gone(world: World, told: Told) -> None:
    world.gone(f"{world.kept['model']}@2")
    assert world.get(world.kept["model"])["versionId"] == "1"


def _throw_away(world: World) -> str:
    name = world.kept["throw-away"] = world.model()
    return name


def _model_gone(world: World, told: Told) -> None:
    world.gone(world.kept["throw-away"])


def _upload(world: World) -> dict[str, Any]:
    return {**world.common, "parent_name": world.kept["model"], "artifact_uri": world.artifacts(), "serving_container_image": SERVER}


def _of(world: World, **more: Any) -> dict[str, Any]:
    return {**world.common, "model_id": world.kept["model"], **more}


def _nothing(world: World, told: Told) -> None:
    """That it ran, or was refused as it must be, is the outcome."""


BROKEN = "got an unexpected keyword argument 'serving_container_image'"  # Model.upload has serving_container_image_uri

RUNS = [
    Sample(f"{BUILDER}/init_sample.py", lambda w: {**w.common, "staging_bucket": f"gs://{BUCKET}"}, _nothing),
    Sample(
        f"{BUILDER}/upload_model_sample.py",
        lambda w: {
            **w.common,
            "display_name": w.named("uploaded"),
            "serving_container_image_uri": SERVER,
            "artifact_uri": w.artifacts(),
        },
        _uploaded,
    ),
    Sample(
        f"{BUILDER}/upload_model_explain_tabular_managed_container_sample.py",
        lambda w: {
            **w.common,
            "model_display_name": w.named("explained"),
            "serving_container_image_uri": SERVER,
            "artifact_uri": w.artifacts(),
            "explanation_metadata": {"inputs": {"x0": {"input_tensor_name": "x0"}}, "outputs": {"y": {"output_tensor_name": "y"}}},
            "explanation_parameters": {"sampled_shapley_attribution": {"path_count": 10}},
        },
        _explained,
    ),
    Sample(
        f"{BUILDER}/get_model_sample.py",
        lambda w: {**w.common, "model_name": w.kept["model"]},
        _has("1"),
    ),
    Sample(
        f"{REGISTRY}/upload_new_default_model_version_sample.py",
        _upload,
        _nothing,
        refused=BROKEN,
    ),
    Sample(
        f"{REGISTRY}/upload_new_aliased_model_version_sample.py",
        lambda w: {**_upload(w), "is_default_version": False, "version_aliases": ["second"], "version_description": "the second"},
        _second,
        refused=BROKEN,
    ),
    Sample(f"{REGISTRY}/create_default_model_sample.py", _of, _has("1")),
    Sample(f"{REGISTRY}/create_aliased_model_sample.py", lambda w: _of(w, version_id="second"), _has("2")),
    Sample(
        f"{REGISTRY}/assign_aliases_model_version_sample.py",
        lambda w: _of(w, version_aliases=["candidate", "blue"], version_id="2"),
        _aliases("2", "second", "candidate", "blue"),
    ),
    Sample(
        f"{REGISTRY}/delete_aliases_model_version_sample.py",
        lambda w: _of(w, version_aliases=["blue"], version_id="2"),
        _aliases("2", "second", "candidate"),
    ),
    Sample(
        f"{REGISTRY}/create_model_registry_sample.py",
        _of,
        lambda w, told: _same(w.kept["model"], told.returned["name"]),
    ),
    Sample(
        f"{REGISTRY}/get_model_version_info_sample.py",
        lambda w: _of(w, version_id="candidate"),
        lambda w, told: _same(("2", ["candidate", "second"]), (told.returned["version"], sorted(told.returned["aliases"]))),
    ),
    Sample(f"{REGISTRY}/get_registered_model_version_sample.py", lambda w: _of(w, version_id="2"), _has("2")),
    Sample(f"{REGISTRY}/list_model_versions_with_model_registry_sample.py", _of, _listed),
    Sample(
        f"{REGISTRY}/upload_new_model_version_using_custom_training_pipeline_sample.py",
        lambda w: {
            "display_name": w.named("new version"),
            "script_path": w.script,
            "container_uri": EXECUTOR,
            "model_serving_container_image_uri": SERVER,
            "dataset_id": None,
            "replica_count": 1,
            "machine_type": "n1-standard-4",
            "accelerator_type": "ACCELERATOR_TYPE_UNSPECIFIED",
            "accelerator_count": 0,
            "parent_model": w.kept["model"],
            "args": ["--depth=3"],
            "model_version_aliases": ["trained"],
            "model_version_description": "by a script",
            "is_default_version": False,
            **w.common,
        },
        _trained_version,
    ),
    Sample(f"{REGISTRY}/delete_model_version_sample.py", lambda w: _of(w, version_id="2"), _version_gone),
    Sample(f"{REGISTRY}/delete_model_sample.py", lambda w: {**w.common, "model_id": _throw_away(w)}, _model_gone),
]


def _same(wanted: Any, found: Any) -> None:
    assert found == wanted, f"{found!r} is not {wanted!r}"
