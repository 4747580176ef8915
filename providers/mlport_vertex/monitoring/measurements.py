"""A monitoring job and what it found as a measurement. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from mlport.spi import Json, Measured, Measurement, State, Window
from mlport_vertex.names import last
from mlport_vertex.running.states import job_state

DRIFT = ("featureDriftSpec", "predictionOutputDriftSpec")
HOURS = {"h": 1, "d": 24, "w": 168}
SAID = ("JOB_STATE_SUCCEEDED", "JOB_STATE_PARTIALLY_SUCCEEDED")
"""The states of jobs that have found something."""


def window_of(job: Json) -> Window | None:
    """The time that a job measures; None where it says none."""
    detail: Sequence[Json] = job.get("jobExecutionDetail", {}).get("targetDatasets") or ({},)
    target = job.get("modelMonitoringSpec", {}).get("objectiveSpec", {}).get("targetDataset", {})
    for told in (detail[0].get("timeRange", {}), target.get("timeInterval", {})):
        if told.get("startTime") and told.get("endTime"):
            return Window(datetime.fromisoformat(told["startTime"]), datetime.fromisoformat(told["endTime"]))
    offset = target.get("timeOffset", {})
    if not offset.get("window"):
        return None
    end = datetime.fromisoformat(job.get("scheduleTime") or job["createTime"]) - span(offset.get("offset") or "0h")
    return Window(end - span(offset["window"]), end)


def span(text: str) -> timedelta:
    """A span as Vertex AI writes it.

    >>> span("2d")
    datetime.timedelta(days=2)
    """
    return timedelta(hours=int(text[:-1]) * HOURS[text[-1].lower()])


def measurement(job: Json, window: Window, found: Iterable[Json]) -> Measurement:
    """A job with the statistics that it found: ModelMonitoringTabularStats with the points of this job."""
    points = {each["statsName"]: each["dataPoints"][0] for each in found if each.get("dataPoints")}
    native = str(job.get("state", ""))
    said = native in SAID
    detail = job.get("jobExecutionDetail", {})
    statuses: Mapping[str, Json] = detail.get("objectiveStatus", {})
    reasons = [str(each["message"]) for each in (detail.get("error", {}), *statuses.values()) if each.get("message")]
    reason = "; ".join(dict.fromkeys(reasons))
    objective: Json = job["modelMonitoringSpec"]["objectiveSpec"].get("tabularObjective", {})
    asked = {name: drift for key in DRIFT for drift in [objective.get(key, {})] for name in drift.get("features", ())}
    names = [*asked, *(name for name in points if name not in asked)] if said else []
    measured = tuple(_measured(name, points.get(name), asked.get(name, {}), reason) for name in names)
    state = State.SUCCEEDED if said else job_state(native)
    return Measurement(last(job["name"]), window, state, native, measured, _rows(points.values()), reason)


def _measured(name: str, point: Json | None, drift: Json, reason: str) -> Measured:
    """A number that is 0, and an alarm that is none, may be left out of an answer; a field that was not measured has no point at all."""
    if point is None:
        asked = drift.get("numericMetricType") or drift.get("categoricalMetricType") or ""
        return Measured(name, asked, None, reason=reason or "the job measured nothing of it")
    value = float(point.get("currentStats", {}).get("distributionValue", {}).get("distributionDeviation", 0.0))
    threshold = point.get("thresholdValue")
    alarm = bool(point.get("hasAnomaly", False)) if threshold else None
    return Measured(name, str(point.get("algorithm", "")), value, float(threshold) if threshold else None, alarm)


def _rows(points: Iterable[Json]) -> int | None:
    """How many rows were looked at, where the distribution says it."""
    for point in points:
        distribution = point.get("currentStats", {}).get("distributionValue", {}).get("distribution")
        if isinstance(distribution, dict) and str(distribution.get("numExamples", "")).isdigit():
            return int(distribution["numExamples"])
    return None
