"""What a batch prediction job may ask for: rules that the description states in words only."""

from __future__ import annotations

import re
from typing import Any

from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.protocol.rules import invalid
from mlport_vertex.emulator.storing.registry import OF_CONTAINERS, Registry
from mlport_vertex.emulator.working.batch_io import table_of
from mlport_vertex.emulator.working.batch_output import destination

Json = dict[str, Any]
FIELD = "batch_prediction_job"
OF_FIELDS = ("jsonl", "bigquery", "tf-record", "tf-record-gzip")


def model_of(registry: Registry, body: Json) -> tuple[Json, str, Json]:
    """Container, artifacts, and what the job says of its model. Raises ApiError."""
    given = [field for field in ("model", "unmanagedContainerModel") if body.get(field)]
    if len(given) != 1:
        raise invalid(f"{FIELD}.model", "Exactly one of model and unmanaged_container_model must be set.")
    if given == ["unmanagedContainerModel"]:
        unmanaged = body["unmanagedContainerModel"]
        if not unmanaged.get("containerSpec"):
            raise invalid(f"{FIELD}.unmanaged_container_model.container_spec", "Required field is not set.")
        return unmanaged["containerSpec"], unmanaged.get("artifactUri", ""), {}
    model, version = registry.resolve(body["model"])
    found = registry.get(f"{model}@{version}")
    if not found.get("containerSpec"):
        raise ApiError("FAILED_PRECONDITION", f"The Model {model} does not support batch prediction.")
    return found["containerSpec"], found.get("artifactUri", ""), {"model": model, "modelVersionId": version}


def check(body: Json) -> None:
    """Everything but the model. Raises ApiError."""
    _check_formats(body)
    _check_input(body["inputConfig"])
    _check_output(body["outputConfig"])
    _check_instances(body)
    _check_resources(body)
    _check_explanation(body)


def _check_formats(body: Json) -> None:
    """The sentence was seen, of instances (googleapis/python-aiplatform#467)."""
    for said, given, known in (
        ("Instance", body["inputConfig"]["instancesFormat"], OF_CONTAINERS["supportedInputStorageFormats"]),
        ("Prediction", body["outputConfig"]["predictionsFormat"], OF_CONTAINERS["supportedOutputStorageFormats"]),
    ):
        if given not in known:
            of = body.get("model") or "unmanaged_container_model"
            raise ApiError(
                "INVALID_ARGUMENT", f'{said} format "{given}" is not supported for Model {of}. Supported values are: [{", ".join(known)}].'
            )


def _check_input(config: Json) -> None:
    if config["instancesFormat"] == "bigquery":
        uri = config.get("bigquerySource", {}).get("inputUri", "")
        if table_of(uri) is None:
            raise invalid(f"{FIELD}.input_config.bigquery_source.input_uri", f"It must be bq://project.dataset.table, not {uri!r}.")
        return
    uris = config.get("gcsSource", {}).get("uris", [])
    if not uris:
        raise invalid(f"{FIELD}.input_config.gcs_source", f"It is required for instances of the format {config['instancesFormat']}.")
    for uri in uris:
        _check_object(f"{FIELD}.input_config.gcs_source.uris", uri)


def _check_output(config: Json) -> None:
    if config["predictionsFormat"] == "bigquery":
        uri = config.get("bigqueryDestination", {}).get("outputUri", "")
        if destination(uri) is None:
            said = f"It must be bq://project, bq://project.dataset or bq://project.dataset.table, not {uri!r}."
            raise invalid(f"{FIELD}.output_config.bigquery_destination.output_uri", said)
        return
    _check_object(f"{FIELD}.output_config.gcs_destination.output_uri_prefix", config.get("gcsDestination", {}).get("outputUriPrefix", ""))


def _check_object(field: str, uri: str) -> None:
    if not re.match(r"gs://[^/]", uri):
        raise invalid(field, f"It must begin with gs:// and a bucket, not {uri!r}.")


def _check_instances(body: Json) -> None:
    config, form = body.get("instanceConfig", {}), body["inputConfig"]["instancesFormat"]
    fields = [name for name in ("included_fields", "excluded_fields") if config.get(name.partition("_")[0] + "Fields")]
    if len(fields) > 1:
        raise invalid(f"{FIELD}.instance_config", "Only one of included_fields and excluded_fields can be set.")
    if config.get("instanceType", "") not in ("", "object", "array"):
        raise invalid(f"{FIELD}.instance_config.instance_type", "It must be object or array.")
    if fields and form not in OF_FIELDS:
        raise invalid(f"{FIELD}.instance_config.{fields[0]}", "The input must be JSONL with objects at each line, BigQuery or TfRecord.")
    if config.get("keyField"):
        if form == "file-list":
            raise invalid(f"{FIELD}.instance_config.key_field", "The input must be JSONL, CSV, BigQuery or TfRecord.")
        if body["outputConfig"]["predictionsFormat"] == "bigquery":  # seen: googleapis/python-aiplatform#4514
            raise ApiError("INVALID_ARGUMENT", '"bigquery" output format does not support key_field.')
    if form.startswith("tf-record") and (fields or config.get("keyField")):
        raise ApiError("UNIMPLEMENTED", "The emulator does not look into the fields of a tf.train.Example.")


def _check_resources(body: Json) -> None:
    resources = body.get("dedicatedResources")
    if not resources:
        raise invalid(f"{FIELD}.dedicated_resources", "'automatic_resources' is not supported for the Model.")
    start, most = resources.get("startingReplicaCount") or 1, resources.get("maxReplicaCount") or 10
    if not 1 <= start <= most:
        raise invalid(
            f"{FIELD}.dedicated_resources.starting_replica_count", f"It must be from 1 to max_replica_count, {most}, not {start}."
        )
    if (body.get("manualBatchTuningParameters", {}).get("batchSize") or 1) < 1:
        raise invalid(f"{FIELD}.manual_batch_tuning_parameters.batch_size", "It must be at least 1.")


def _check_explanation(body: Json) -> None:
    if body.get("explanationSpec") and not body.get("generateExplanation"):
        raise invalid(f"{FIELD}.explanation_spec", "It can be specified only if generate_explanation is set to true.")
    if body.get("generateExplanation"):
        raise ApiError("UNIMPLEMENTED", "The emulator makes no explanations.")
