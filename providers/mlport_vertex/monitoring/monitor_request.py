"""A monitor's requests: modelMonitors.create and schedules.create, which v1beta1 alone has. Pure."""

from __future__ import annotations

from mlport.errors import SpecError, UnsupportedError
from mlport.monitoring.specs import MonitorSpec
from mlport.spi import TOKEN, Facts, Json, Request
from mlport_vertex.config import VertexConfig
from mlport_vertex.monitoring.thresholds import Alarms, alarms
from mlport_vertex.monitoring.timing import Timing, timing
from mlport_vertex.names import endpoint_name, model_name
from mlport_vertex.options import VertexMonitorOptions, options_of
from mlport_vertex.running.job_request import Planned

CREATE, SCHEDULE = (f"aiplatform.projects.locations.{call}" for call in ("modelMonitors.create", "schedules.create"))
NUMBERS = ("double", "float", "long", "integer")  # of MLflow's types
PREVIEW = "Model Monitoring v2 is in preview: Google gives no promise of support, and takes no charge for it now"
UNMEASURED = ("text", "embedding")


def monitor_plan(config: VertexConfig, spec: MonitorSpec, facts: Facts) -> Planned:
    """What makes a MonitorSpec that the provider measures: a monitor of the served version, and a schedule that starts its jobs.

    Raises:
        SpecError: no version is known, or a threshold can never tell anything.
        UnsupportedError: names each field and threshold that the monitor cannot express, with the reason.
    """
    options_of(VertexMonitorOptions, spec.options)
    model, name = _served(facts), spec.monitor_name
    watched = {column: kind for column, kind in facts.columns.items() if spec.columns is None or column in spec.columns}
    if not watched:
        raise SpecError("MonitorSpec.columns: none is watched", hint="reference and requests must share a column")
    from mlport_vertex.dialect import DIALECT

    found, gaps = alarms(DIALECT, watched, spec.thresholds, spec.metrics)
    gaps += [(f"kinds.{column}", "it measures numbers and categories alone") for column in watched if spec.kinds.get(column) in UNMEASURED]
    answer = _answer(spec, model, watched)
    if answer and not _is_one_value(model):
        why = "the model answers several values a row, and it would take the first of them: leave it out of `columns`"
        gaps.append((f"columns.{answer}", why))
    timed = timing(spec)
    if isinstance(timed, str):
        gaps.append(("window", timed))
    if gaps or isinstance(timed, str):
        raise UnsupportedError("vertex", gaps, hint='`measured_by = "mlport"` compares what was captured with metrics of mlport\'s own')
    folder = f"{config.staging}/monitors/{TOKEN}"
    common = {
        "tabularObjective": _objective(found, watched, answer),
        "outputSpec": {"gcsBaseDirectory": {"outputUriPrefix": f"{folder}/"}},
    }
    baseline = {"columnizedDataset": {"gcsSource": {"gcsUri": f"{folder}/reference.jsonl", "format": "JSONL"}}}
    monitor = {
        "displayName": name,
        "modelMonitoringTarget": {
            "vertexModel": {"model": model_name(config.parent, model["name"]), "modelVersionId": str(model["version"])}
        },
        "modelMonitoringSchema": _schema(model, watched, answer),
        "trainingDataset": baseline,
        **common,
        **({"encryptionSpec": {"kmsKeyName": config.encryption_key}} if config.encryption_key else {}),
    }
    requests = (
        Request(CREATE, monitor, "POST", f"/v1beta1/{config.parent}/modelMonitors?modelMonitorId={name}"),
        Request(
            SCHEDULE,
            _schedule(config, spec, timed, baseline, common),
            "POST",
            f"/v1beta1/{config.parent}/schedules",
            after="the monitor is there",
        ),
    )
    resolved = {
        "road": "native",
        "model": model["name"],
        "version": str(model["version"]),
        "metrics": dict(found.metrics),
        "cron": timed.cron,
        "window": timed.window,
        "offset": timed.offset,
        "reference": f"{folder}/reference.jsonl",
    }
    return "monitor", name, requests, resolved, (PREVIEW, _one_version(model), *_copied(facts, model), *found.notes)


def _served(facts: Facts) -> Json:
    model = facts.model or {}
    if not model.get("name") or not model.get("version"):
        raise SpecError("MonitorSpec.endpoint: nothing is known of the version that it serves", hint="deploy a registered version first")
    return model


def _one_version(model: Json) -> str:
    return (
        f"only what version {model['version']} of {model['name']} answers is measured, and a version has one monitor at most: "
        "after a rollout make another"
    )


def _copied(facts: Facts, model: Json) -> tuple[str, ...]:
    """What only the deployment tells: with which copy a version is served whose container is not the one that it is registered with."""
    of_version = [
        each
        for each in (facts.endpoint or {}).get("deployments", ())
        if (each.get("model"), str(each.get("version"))) == (model["name"], str(model["version"]))
    ]
    if all(each.get("runtime", "prebuilt") == "prebuilt" for each in of_version):
        return ()
    return ("if a copy of the version is what is deployed, that copy is the monitor's target",)


def _types(model: Json) -> dict[str, str]:
    """MLflow's types of the signature's inputs, in its order."""
    inputs = (model.get("signature") or {}).get("inputs") or ()
    return {column["name"]: str(column.get("type", "")) for column in inputs if "name" in column}


def _answer(spec: MonitorSpec, model: Json, watched: Json) -> str | None:
    """The column that holds what the model answers, if it is watched."""
    name = spec.performance.prediction
    return name if name in watched and name not in _types(model) else None


def _is_one_value(model: Json) -> bool:
    """Whether the model answers one value a row, as far as its signature tells."""
    outputs = (model.get("signature") or {}).get("outputs") or ()
    shapes = [each.get("tensor-spec", {}).get("shape", [-1]) for each in outputs if isinstance(each, dict)]
    return len(outputs) <= 1 and all(len(shape) == 1 or list(shape[1:]) == [1] for shape in shapes)


def _schema(model: Json, watched: Json, answer: str | None) -> Json:
    """The features of the model in the order of its signature, since requests may carry them by position; then what it does not name."""
    types = _types(model)
    kinds = {name: "number" if kind in NUMBERS else "category" for name, kind in types.items()} | dict(watched)
    ordered = [*types, *(name for name in watched if name not in types and name != answer)]
    fields = {name: {"name": name, "dataType": "float" if kinds[name] == "number" else "categorical"} for name in kinds}
    answers = {"predictionFields": [fields[answer]]} if answer else {}
    return {"featureFields": [fields[name] for name in ordered], **answers}


def _objective(found: Alarms, watched: Json, answer: str | None) -> Json:
    """As TabularObjective. A drift spec without features would be one of all of them."""
    features = {name: kind for name, kind in watched.items() if name != answer}
    objective = {"featureDriftSpec": _drift(found, features)} if features else {}
    return objective | ({"predictionOutputDriftSpec": _drift(found, {answer: watched[answer]})} if answer else {})


def _drift(found: Alarms, watched: Json) -> Json:
    """As DataDriftSpec."""
    fields = {"number": ("numericMetricType", "defaultNumericAlertCondition"), "category": ("categoricalMetricType", "defaultCategoricalAlertCondition")}  # fmt: skip
    said: Json = {"features": list(watched)}
    for kind, metric in found.metrics.items():
        if kind in watched.values():
            said[fields[kind][0]] = metric
            said |= {fields[kind][1]: {"threshold": found.defaults[kind]}} if kind in found.defaults else {}
    own = {name: {"threshold": value} for name, value in found.columns.items() if name in watched}
    return said | ({"featureAlertConditions": own} if own else {})


def _schedule(config: VertexConfig, spec: MonitorSpec, timed: Timing, baseline: Json, common: Json) -> Json:
    """The job is told all of it: that the monitor's defaults stand in for what it leaves out is said in two ways."""
    name = spec.monitor_name
    target = {
        "vertexEndpointLogs": {"endpoints": [endpoint_name(config.parent, spec.endpoint)]},
        "timeOffset": {"offset": timed.offset, "window": timed.window},
    }
    objective = {"tabularObjective": common["tabularObjective"], "baselineDataset": baseline, "targetDataset": target}
    job = {"displayName": name, "modelMonitoringSpec": {"objectiveSpec": objective, "outputSpec": common["outputSpec"]}}
    return {
        "displayName": f"{name} {TOKEN}",
        "cron": timed.cron,
        "maxConcurrentRunCount": "1",
        "allowQueueing": False,
        "createModelMonitoringJobRequest": {"parent": f"{config.parent}/modelMonitors/{name}", "modelMonitoringJob": job},
    }
