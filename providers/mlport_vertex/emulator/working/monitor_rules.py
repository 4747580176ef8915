"""What a model monitor and its jobs may ask for: rules that aiplatform.v1beta1 and the vendor's pages state in words only.

Pages: https://docs.cloud.google.com/gemini-enterprise-agent-platform/machine-learning/model-monitoring/set-up-model-monitoring and
.../run-monitoring-job. The codes and sentences of the refusals are guesses.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.protocol.resources import moment
from mlport_vertex.emulator.protocol.rules import invalid

Json = dict[str, Any]
OBJECTIVES = {"featureDriftSpec": ("raw-feature-drift", "featureFields"), "predictionOutputDriftSpec": ("prediction-output-drift", "predictionFields")}  # fmt: skip
JENSEN_SHANNON, L_INFINITY = "jensen_shannon_divergence", "l_infinity"
METRICS = {"number": (JENSEN_SHANNON,), "category": (L_INFINITY, JENSEN_SHANNON)}  # the first where none is named: a guess
KINDS = {"float": "number", "integer": "number", "boolean": "category", "string": "category", "categorical": "category"}
SOURCES = ("columnizedDataset", "batchPredictionOutput", "vertexEndpointLogs")
HOURS = {"h": 1, "d": 24, "w": 168}
_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


def check_id(field: str, text: str) -> None:
    if not _ID.fullmatch(text):
        raise invalid(field, "It must match ^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$.")


def check_monitor(field: str, monitor: Json) -> None:
    """Everything but its target."""
    schema = monitor.get("modelMonitoringSchema", {})
    _check_schema(f"{field}.model_monitoring_schema", schema)
    if "tabularObjective" in monitor:
        _check_objective(f"{field}.tabular_objective", monitor["tabularObjective"], schema)
    if "trainingDataset" in monitor:
        check_input(f"{field}.training_dataset", monitor["trainingDataset"])
    _check_output(f"{field}.output_spec", monitor.get("outputSpec", {}))


def check_job(field: str, spec: Json, schema: Json) -> None:
    """A whole spec: what the job does not say is the monitor's already."""
    said = spec["objectiveSpec"]
    for name in ("tabularObjective", "baselineDataset", "targetDataset"):
        if not said.get(name):
            raise invalid(f"{field}.model_monitoring_spec.objective_spec", f"{name} is set neither in the job nor in its model monitor.")
    _check_objective(f"{field}.objective_spec.tabular_objective", said["tabularObjective"], schema)
    check_input(f"{field}.objective_spec.baseline_dataset", said["baselineDataset"])
    check_input(f"{field}.objective_spec.target_dataset", said["targetDataset"])
    _check_output(f"{field}.output_spec", spec.get("outputSpec", {}))


def whole(spec: Json, monitor: Json) -> Json:
    """A job's spec with the monitor's defaults for what it leaves out, field by field, as the vendor's SDK documents `ModelMonitor.run`."""
    said = {key: value for key, value in spec.get("objectiveSpec", {}).items() if value}
    defaults = {"tabularObjective": monitor.get("tabularObjective"), "baselineDataset": monitor.get("trainingDataset")}
    objective = {**{key: value for key, value in defaults.items() if value}, **said}
    others = {key: spec.get(key) or monitor.get(key) for key in ("outputSpec", "notificationSpec")}
    return {"objectiveSpec": objective, **{key: value for key, value in others.items() if value}}


def _check_schema(field: str, schema: Json) -> None:
    if not schema.get("featureFields"):
        raise invalid(field, "The monitoring schema with its feature fields is required for models other than AutoML Tables.")
    for key in ("featureFields", "predictionFields", "groundTruthFields"):
        names = [each.get("name", "") for each in schema.get(key, ())]
        if twice := sorted({name for name in names if names.count(name) > 1 or not name}):
            raise invalid(f"{field}.{key}", f"Each field needs a name of its own: {twice[0]!r}.")
        for each in schema.get(key, ()):
            if each.get("dataType") not in KINDS:
                raise invalid(f"{field}.{key}.data_type", f"It must be one of {', '.join(KINDS)}, not {each.get('dataType')!r}.")


def fields_of(schema: Json, drift: Json, key: str) -> list[Json]:
    """The fields that a drift spec is of: those it names, all if it names none."""
    wanted = drift.get("features") or [each["name"] for each in schema.get(key, ())]
    return [each for each in schema.get(key, ()) if each["name"] in wanted]


def metric_of(drift: Json, kind: str) -> str:
    return str(drift.get("numericMetricType" if kind == "number" else "categoricalMetricType") or METRICS[kind][0])


def threshold_of(drift: Json, name: str, kind: str) -> float | None:
    """None where no alert is asked for: a threshold of 0 counts as none, since the wire cannot tell it from none."""
    default = drift.get("defaultNumericAlertCondition" if kind == "number" else "defaultCategoricalAlertCondition", {})
    return float(drift.get("featureAlertConditions", {}).get(name, default).get("threshold", 0.0)) or None


def _check_objective(field: str, objective: Json, schema: Json) -> None:
    if objective.get("featureAttributionSpec"):
        raise ApiError("UNIMPLEMENTED", "The emulator makes no explanations, so it measures no feature attributions.")
    given = [key for key in OBJECTIVES if key in objective]
    if not given:
        raise invalid(field, "At least one objective must be set.")
    for key in given:
        drift, known = objective[key], [each["name"] for each in schema.get(OBJECTIVES[key][1], ())]
        named = [*drift.get("features", ()), *drift.get("featureAlertConditions", {})]
        if unknown := [name for name in named if name not in known]:
            raise invalid(f"{field}.{key}", f"{', '.join(unknown)}: not in the monitoring schema.")
        for kind, metrics in METRICS.items():
            if (metric := metric_of(drift, kind)) not in metrics:
                raise invalid(f"{field}.{key}", f"The metric {metric!r} is not supported; supported are {', '.join(metrics)}.")
        _check_thresholds(f"{field}.{key}", drift)


def _check_thresholds(field: str, drift: Json) -> None:
    own: Mapping[str, Json] = drift.get("featureAlertConditions", {})
    every = [*own.values(), *(drift.get(key, {}) for key in ("defaultNumericAlertCondition", "defaultCategoricalAlertCondition"))]
    for each in every:
        value = each.get("threshold", 0.0)
        if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise invalid(f"{field}.threshold", f"It must be a number that is not negative, not {value!r}.")


def check_input(field: str, source: Json) -> None:
    _one(field, source, SOURCES)
    if source.get("timeInterval") and source.get("timeOffset"):
        raise invalid(f"{field}.time_spec", "Only one of time_interval and time_offset can be set.")
    for key in ("offset", "window"):
        if text := source.get("timeOffset", {}).get(key):
            hours_of(f"{field}.time_offset.{key}", text)
    _interval(field, source)
    if "vertexEndpointLogs" in source and not source["vertexEndpointLogs"].get("endpoints"):
        raise invalid(f"{field}.vertex_endpoint_logs.endpoints", "At least one endpoint is required.")
    if "columnizedDataset" in source:
        _check_columnized(f"{field}.columnized_dataset", source)
    if "batchPredictionOutput" in source:
        raise ApiError("UNIMPLEMENTED", "The emulator's model monitors do not read batch prediction jobs.")


def _check_columnized(field: str, source: Json) -> None:
    dataset = source["columnizedDataset"]
    _one(field, dataset, ("vertexDataset", "gcsSource", "bigquerySource"))
    files = dataset.get("gcsSource", {})
    if "vertexDataset" in dataset or files.get("format") == "TF_RECORD":
        raise ApiError("UNIMPLEMENTED", "The emulator's model monitors read CSV, JSONL and BigQuery only.")
    if files and (not files.get("gcsUri", "").startswith("gs://") or files.get("format") not in ("CSV", "JSONL")):
        raise invalid(f"{field}.gcs_source", "It needs a gs:// address, and a format.")
    table = dataset.get("bigquerySource", {})
    if table and bool(table.get("tableUri")) == bool(table.get("query")):
        raise invalid(f"{field}.bigquery_source", "Exactly one of table_uri and query must be set.")
    if (source.get("timeInterval") or source.get("timeOffset")) and not (table and dataset.get("timestampField")):
        raise invalid(f"{field}.timestamp_field", "A time specification needs a BigQuery source with a timestamp field.")


def _one(field: str, given: Json, names: Sequence[str]) -> None:
    if len([name for name in names if given.get(name)]) != 1:
        raise invalid(field, f"Exactly one of {', '.join(names)} must be set.")


def _check_output(field: str, output: Json) -> None:
    address = output.get("gcsBaseDirectory", {}).get("outputUriPrefix")
    if address is not None and not re.match(r"gs://[^/]", address):
        raise invalid(f"{field}.gcs_base_directory.output_uri_prefix", f"It must begin with gs:// and a bucket, not {address!r}.")


def hours_of(field: str, text: str) -> timedelta:
    """A span such as `1h`, `2d`, `1w`."""
    found = re.fullmatch(r"(\d+)([hdw])", text.lower())
    if found is None:
        raise invalid(field, f"It must be a number and one of h, d and w, not {text!r}.")
    return timedelta(hours=int(found[1]) * HOURS[found[2]])


def _interval(field: str, source: Json) -> tuple[datetime | None, datetime | None]:
    said = source.get("timeInterval", {})
    start, end = (moment(said[key]) if said.get(key) else None for key in ("startTime", "endTime"))
    if start and end and start > end:
        raise invalid(f"{field}.time_interval", "The start must be less than or equal to the end.")
    return start, end


def span(source: Json, cutoff: datetime) -> tuple[datetime | None, datetime | None]:
    """The time from which, inclusive, and until which, exclusive, data are read. `cutoff` is when the job was scheduled, or made."""
    if offset := source.get("timeOffset"):
        end = cutoff - hours_of("offset", offset.get("offset") or "0h")
        return (end - hours_of("window", offset["window"]) if offset.get("window") else None), end
    return _interval("", source)
