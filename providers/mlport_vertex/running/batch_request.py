"""A batch's requests: a custom job that runs mlport.batch, or Vertex AI's own batchPredictionJobs.create. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from mlport.batch.request import asked
from mlport.errors import SpecError
from mlport.specs import BatchSpec
from mlport.spi import Facts, InputFact, Json, Request
from mlport.transfer import is_url
from mlport_vertex.compute import machines
from mlport_vertex.compute.images import training_image
from mlport_vertex.config import VertexConfig
from mlport_vertex.labels import KIND_LABEL, labels
from mlport_vertex.names import model_name
from mlport_vertex.options import NATIVE_ONLY, VertexBatchOptions, options_of
from mlport_vertex.running.job_request import Planned, common_work, custom_job, encryption, input_of
from mlport_vertex.serving.deployed import columns_of

MLPORT = "mlport[local]"
NATIVE = "options = {vertex = {batch = 'native'}}"
FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
BATCH_SIZE = 64
"""Instances in one request where a job does not say (aiplatform.v1, ManualBatchTuningParameters)."""
DEFAULT_ROWS: int = BatchSpec.model_fields["batch_rows"].default
TABLE = re.compile(r"bq://[^.]+\.[^.]+\.[^.]+")
TABLES = re.compile(r"bq://[^.]+(\.[^.]+){0,2}")


def batch_plan(config: VertexConfig, spec: BatchSpec, facts: Facts) -> Planned:
    """What scores a BatchSpec. Which of the two it is, `options.vertex.batch` says: their outputs have different forms."""
    options = options_of(VertexBatchOptions, spec.options)
    return _native(config, spec, options, facts) if options.batch == "native" else _composed(config, spec, options, facts)


# ---------------------------------------------------------------- a job of ours


def _composed(config: VertexConfig, spec: BatchSpec, options: VertexBatchOptions, facts: Facts) -> Planned:
    """A job of ours, for Vertex AI's own batch prediction reads no Parquet and keeps no columns."""
    _refuse_what_only_native_has(spec, options)
    model = facts.model or {}
    work = {
        **common_work(config, spec.name, spec.timeout, spec.compute),
        "entrypoint": ["python", "-m", "mlport.batch", "request.json"],
        "files": {"request.json": asked(spec)},
        "inputs": {
            "model": {"uri": model.get("uri"), "kind": "sha256", "digest": model.get("digest")},
            **{name: input_of(config, fact, "BatchSpec.input") for name, fact in facts.inputs.items()},
        },
        "outputs": {"predictions": {"uri": spec.output} if is_url(spec.output) else {}},
        "requirements": [],
        "needs": [MLPORT],
        "retries": 0,
    }
    if is_url(spec.output) and not spec.output.startswith("gs://"):
        raise SpecError(f"BatchSpec.output: {spec.output!r} must be a gs:// address, or a folder of this machine")
    image = config.server_image or config.image or training_image(config.location)
    local = () if is_url(spec.output) else (f"the scores are copied to {spec.output} when this machine first sees the job ended",)
    return custom_job("batch", config, spec, options, facts, work, image, local)


def _refuse_what_only_native_has(spec: BatchSpec, options: VertexBatchOptions) -> None:
    for field, uri in (("input", spec.input), ("output", spec.output)):
        if uri.startswith("bq://"):
            raise SpecError(f"BatchSpec.{field}: {uri!r} is a table of BigQuery, which only Vertex AI's own batch knows", hint=NATIVE)
    for field in NATIVE_ONLY:
        if getattr(options, field) != VertexBatchOptions.model_fields[field].default:
            raise SpecError(f"options.vertex.{field}: it is of Vertex AI's own batch only", hint=NATIVE)


# ---------------------------------------------------------------- Vertex AI's own


def _native(config: VertexConfig, spec: BatchSpec, options: VertexBatchOptions, facts: Facts) -> Planned:
    """A BatchPredictionJob. What it cannot do is refused here, never left out."""
    _refuse_what_native_has_not(spec, options)
    container: Json | None = (facts.machine or {}).get("container")
    if container == {}:
        raise SpecError(
            f"BatchSpec.model: {spec.model} is registered without a serving container, which Vertex AI's own batch needs",
            hint="set server_image in the profile and register the model again, or leave out options.vertex.batch",
        )
    machine = machines.for_serving(spec.compute, config.location, "BatchSpec.compute", options.machine)
    source = _source(spec, facts.inputs.get("rows"))
    account, instance = options.service_account or config.service_account, _instance(options, source["instancesFormat"], container, facts)
    body = {
        "displayName": spec.name,
        "labels": labels({**facts.labels, KIND_LABEL: "batch"}),
        "model": model_name(config.parent, spec.model.name, spec.model.version),
        "inputConfig": source,
        "outputConfig": _target(spec, options),
        "dedicatedResources": {
            "machineSpec": machine.spec(),
            "startingReplicaCount": spec.compute.nodes,
            "maxReplicaCount": spec.compute.nodes,
        },
        **({"instanceConfig": instance} if instance else {}),
        **({"manualBatchTuningParameters": {"batchSize": spec.batch_rows}} if spec.batch_rows != DEFAULT_ROWS else {}),
        **({"modelParameters": options.parameters} if options.parameters else {}),
        **({"serviceAccount": account} if account else {}),
        **encryption(config, options),
    }
    request = Request("aiplatform.projects.locations.batchPredictionJobs.create", body, "POST", f"/v1/{config.parent}/batchPredictionJobs")
    resolved = {**machine.resolved(spec.compute.nodes), "image": (container or {}).get("imageUri")}
    return "batch", spec.name, (request,), resolved, tuple(_notes(spec, source["instancesFormat"]))


def _notes(spec: BatchSpec, form: str) -> Iterator[str]:
    yield "a batch of Vertex AI's own: its output is in Vertex AI's form, and its input is read as it is when the job runs"
    if spec.batch_rows == DEFAULT_ROWS:
        yield f"batch_rows: {DEFAULT_ROWS} is mlport's default, and is left to Vertex AI, which sends {BATCH_SIZE} rows at a time"
    if form == "csv":
        yield "the model gets the columns of the CSV files by their position; text must stand in double quotes"


def _refuse_what_native_has_not(spec: BatchSpec, options: VertexBatchOptions) -> None:
    """What a BatchPredictionJob has no field for."""
    compute = spec.compute
    beside = "each prediction stands beside its whole instance; options.vertex.key_field shows one column of it instead"
    gaps = {
        "keep": (spec.keep, beside),
        "timeout": (spec.timeout, "cancel the job"),
        "compute.spot": (compute.spot, "its machines are on demand"),
        "compute.disk_gib": (compute.disk_gib, "its machines' disks cannot be chosen"),
    }
    for field, (given, hint) in gaps.items():
        if given:
            raise SpecError(f"BatchSpec.{field}: Vertex AI's own batch has no such thing (got {given!r})", hint=hint)
    for field in ("network", "boot_disk", "restart_on_worker_restart"):
        if getattr(options, field) != VertexBatchOptions.model_fields[field].default:
            raise SpecError(f"options.vertex.{field}: Vertex AI's own batch has no such thing", hint="leave it out")


def _source(spec: BatchSpec, fact: InputFact | None) -> Json:
    """inputConfig: a table, an object, or the objects of a folder that have the format's ending."""
    if spec.input.startswith("bq://"):
        if not TABLE.fullmatch(spec.input) or spec.format != "auto":
            raise SpecError(f"BatchSpec.input: {spec.input!r} must be bq://PROJECT.DATASET.TABLE, with format 'auto' (got {spec.format!r})")
        return {"instancesFormat": "bigquery", "bigquerySource": {"inputUri": spec.input}}
    if not spec.input.startswith("gs://"):
        raise SpecError(
            f"BatchSpec.input: {spec.input!r} must be a gs:// address or a bq:// table for Vertex AI's own batch",
            hint="put it there, or leave out options.vertex.batch",
        )
    is_folder = fact is not None and fact.kind == "unversioned"
    ending = PurePosixPath(spec.input).suffix
    form = FORMATS.get(ending) if spec.format == "auto" and not is_folder else spec.format
    if form not in FORMATS.values():
        raise SpecError(
            f"BatchSpec.format: {spec.format!r} of {spec.input!r}: Vertex AI's own batch reads jsonl and csv, and tables of BigQuery",
            hint="say format 'jsonl' or 'csv' of a folder; Parquet is read without options.vertex.batch",
        )
    uri = f"{spec.input.rstrip('/')}/*.{form}" if is_folder else spec.input
    return {"instancesFormat": form, "gcsSource": {"uris": [uri]}}


def _target(spec: BatchSpec, options: VertexBatchOptions) -> Json:
    if spec.output.startswith("bq://"):
        if not TABLES.fullmatch(spec.output):
            raise SpecError(f"BatchSpec.output: {spec.output!r} must be bq://PROJECT, bq://PROJECT.DATASET or bq://PROJECT.DATASET.TABLE")
        if options.key_field:
            raise SpecError(
                "options.vertex.key_field: Vertex AI refuses it with an output in BigQuery", hint="write to gs://, or leave it out"
            )
        return {"predictionsFormat": "bigquery", "bigqueryDestination": {"outputUri": spec.output}}
    if not spec.output.startswith("gs://"):
        raise SpecError(
            f"BatchSpec.output: {spec.output!r} must be a gs:// or bq:// address for Vertex AI's own batch",
            hint="leave out options.vertex.batch for an output on this machine",
        )
    return {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": spec.output}}


def _instance(options: VertexBatchOptions, form: str, container: Json | None, facts: Facts) -> Json:
    """instanceConfig: what the options say; else the signature's columns, in its order, as the container takes them.

    Raises:
        SpecError: fields that Vertex AI takes of other formats only.
    """
    if form == "csv" and (options.instance_type or options.included_fields or options.excluded_fields):
        raise SpecError("options.vertex: instance_type, included_fields and excluded_fields are not for CSV files", hint="use JSON lines")
    included, kind = options.included_fields, options.instance_type
    columns = [name for name, _ in columns_of((facts.model or {}).get("signature"))]
    if form != "csv" and container and columns and included is None and not options.excluded_fields:
        included, kind = tuple(columns), kind or ("object" if container.get("predictRoute") else "array")
    return {
        **({"instanceType": kind} if kind else {}),
        **({"includedFields": list(included)} if included else {}),
        **({"excludedFields": list(options.excluded_fields)} if options.excluded_fields else {}),
        **({"keyField": options.key_field} if options.key_field else {}),
    }
