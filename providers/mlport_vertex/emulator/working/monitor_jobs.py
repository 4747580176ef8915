"""Monitoring jobs at work: both data sets are read, and every field compared, as TensorFlow Data Validation does (`mlport_vertex.dialect`).

What is found are documents of the kind `modelMonitoringStats`, one for each job, objective and field:
`{"statsName", "objectiveType", "point": ModelMonitoringStatsDataPoint}`. Guesses: the states of a job of which a part could not be
measured, that a side without a value of a field leaves that field unmeasured, and how much of the distribution is told.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from mlport.emulation.documents import Exists
from mlport.errors import UnsupportedError
from mlport_vertex.emulator.place import Place, now
from mlport_vertex.emulator.protocol.errors import ApiError, not_found
from mlport_vertex.emulator.protocol.long_running import INTERNAL
from mlport_vertex.emulator.protocol.resources import moment, new_id
from mlport_vertex.emulator.storing.object_records import StorageError
from mlport_vertex.emulator.working.monitor_data import Columns, read
from mlport_vertex.emulator.working.monitor_rules import KINDS, OBJECTIVES, check_id, check_job, fields_of, metric_of, threshold_of, whole

Json = dict[str, Any]
MONITORS, JOBS, STATS, UNFINISHED = "modelMonitors", "modelMonitoringJobs", "modelMonitoringStats", "unfinishedMonitoring"
ENDED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_PARTIALLY_SUCCEEDED", "JOB_STATE_FAILED")
FIELD = "model_monitoring_job"


class MonitorJobs:
    """The monitoring jobs of one place."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def create(self, parent: str, job: Json, chosen: str = "", **scheduled: str) -> Json:
        """Make one. `scheduled` has `schedule` and `scheduleTime`, if one made it. Raises ApiError."""
        monitor = self.monitor(parent)
        if chosen:
            check_id("model_monitoring_job_id", chosen)
        spec = whole(job.get("modelMonitoringSpec", {}), monitor)
        check_job(FIELD, spec, monitor["modelMonitoringSchema"])
        name, made = f"{parent}/{JOBS}/{chosen or new_id(self._place)}", now()
        told = {"displayName": job["displayName"]} if job.get("displayName") else {}
        body = {"name": name, **told, "modelMonitoringSpec": spec, **scheduled, "createTime": made, "updateTime": made}
        try:
            with self._place.documents.together():
                self._place.documents.insert(JOBS, name, {**body, "state": "JOB_STATE_PENDING"})
                self._place.documents.insert(UNFINISHED, name, {"name": name})
        except Exists as error:
            raise ApiError("ALREADY_EXISTS", f"The ModelMonitoringJob already exists: {name}") from error
        return {**body, "state": "JOB_STATE_PENDING"}

    def monitor(self, name: str) -> Json:
        found = self._place.documents.get(MONITORS, name)
        if found is None:
            raise not_found("ModelMonitor", name)
        return found

    def forget(self, name: str) -> None:
        """Remove a job and what it found."""
        with self._place.documents.together():
            self._place.documents.delete(JOBS, name)
            self._place.documents.delete(UNFINISHED, name)
            self._place.documents.delete_all(STATS, f"{name}/")

    # ---------------------------------------------------------------- the work

    def push(self) -> None:
        """Go on with every job that has not ended; the oldest first."""
        for _, work in list(self._place.documents.list(UNFINISHED))[::-1]:
            failed = partial(self._end, work["name"], "JOB_STATE_FAILED", {"error": INTERNAL.rpc()}, [])
            self._place.operations.background(work["name"], partial(self._go_on, work["name"]), failed)

    def _go_on(self, name: str) -> None:
        job = self._place.documents.get(JOBS, name)
        if job is None:
            return
        self._place.documents.change(JOBS, name, lambda found: {**found, "state": "JOB_STATE_RUNNING", "updateTime": now()})
        try:
            state, detail, points = self._measured(job)
        except ApiError as error:
            state, detail, points = "JOB_STATE_FAILED", {"error": error.rpc()}, []
        except StorageError as error:
            state, detail, points = "JOB_STATE_FAILED", {"error": ApiError("NOT_FOUND", error.message).rpc()}, []
        self._end(name, state, detail, points)

    def _measured(self, job: Json) -> tuple[str, Json, list[Json]]:
        """Its state, its execution detail, and what it found."""
        monitor, said = self.monitor(job["name"].partition(f"/{JOBS}/")[0]), job["modelMonitoringSpec"]["objectiveSpec"]
        cutoff = moment(job.get("scheduleTime") or job["createTime"])
        baseline, target = (read(self._place, monitor, said[side], cutoff) for side in ("baselineDataset", "targetDataset"))
        for side, columns in (("baseline", baseline), ("target", target)):
            if not columns.rows:
                raise ApiError("FAILED_PRECONDITION", f"The {side} dataset has no data: {columns.location}")
        points, statuses = [], {}
        for key, (objective, fields) in OBJECTIVES.items():
            if key in said["tabularObjective"]:
                drift = said["tabularObjective"][key]
                found, missed = _drift(monitor["modelMonitoringSchema"], drift, fields, baseline, target)
                points += [{**each, "objectiveType": objective} for each in found]
                statuses[objective] = ApiError("FAILED_PRECONDITION", "; ".join(missed)).rpc() if missed else {}
        state = "JOB_STATE_SUCCEEDED" if not any(statuses.values()) else ENDED[1 if points else 2]
        error = {"error": next(iter(statuses.values()))} if state == "JOB_STATE_FAILED" else {}
        detail = {"baselineDatasets": [baseline.told()], "targetDatasets": [target.told()], "objectiveStatus": statuses, **error}
        return state, detail, points

    def _end(self, name: str, state: str, detail: Json, points: list[Json]) -> None:
        """What it found first, and its end with it; nothing of a job that was deleted meanwhile."""
        ended = now()

        def change(job: Json) -> Json:
            return {**job, "state": state, "jobExecutionDetail": detail, "updateTime": ended}

        with self._place.documents.together():
            job = self._place.documents.change(JOBS, name, change)
            self._place.documents.delete(UNFINISHED, name)
            if job is None:
                return
            about = {"modelMonitoringJob": name, "createTime": ended, **({"schedule": job["schedule"]} if "schedule" in job else {})}
            self._place.documents.delete_all(STATS, f"{name}/")
            for each in points:
                kept = {**each, "point": {**each["point"], **about}}
                self._place.documents.insert(STATS, f"{name}/{each['objectiveType']}/{each['statsName']}", kept)


def _drift(schema: Json, drift: Json, key: str, baseline: Columns, target: Columns) -> tuple[list[Json], list[str]]:
    """What was found of each field, and why others were not measured."""
    found, missed = [], []
    sides = [each.features if key == "featureFields" else each.predictions for each in (baseline, target)]
    for each in fields_of(schema, drift, key):
        name, kind = each["name"], KINDS[each["dataType"]]
        reference, current = (_column(side.get(name, []), kind) for side in sides)
        try:
            found.append({"statsName": name, "point": _point(drift, name, kind, reference, current, target.rows)})
        except UnsupportedError as error:
            missed.append(f"{name}: {error.message}")
    return found, missed


def _point(drift: Json, name: str, kind: Any, reference: Any, current: Any, rows: int) -> Json:
    """As ModelMonitoringStatsDataPoint. Zeros and false are left out, as they are of Google's JSON."""
    from mlport_vertex.dialect import DIALECT

    metric, threshold = metric_of(drift, kind), threshold_of(drift, name, kind)
    value = DIALECT.measure(metric, reference, current, kind=kind)
    distribution = {"distribution": {"numExamples": str(rows)}, **({"distributionDeviation": value} if value else {})}
    return {
        "currentStats": {"distributionValue": distribution},
        "algorithm": metric,
        **({"thresholdValue": threshold} if threshold is not None else {}),
        **({"hasAnomaly": True} if threshold is not None and value > threshold else {}),
    }


def _column(values: list[Any], kind: str) -> Any:
    import pyarrow as pa

    return pa.array(values, pa.float64() if kind == "number" else pa.string())
