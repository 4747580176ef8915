"""aiplatform, v1beta1 alone: model monitors, their jobs, and the search for what these found. `working/monitor_jobs.py` does the work.

Google's pages say that a model version has one monitor at most. Guesses: the codes of refusals, that the jobs of a deleted monitor go
with it, and that searches page by statistic and by alert.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlport_vertex.emulator.place import Place, now
from mlport_vertex.emulator.protocol.api import Handler, Request
from mlport_vertex.emulator.protocol.discovery import camel, document
from mlport_vertex.emulator.protocol.errors import ApiError, not_found
from mlport_vertex.emulator.protocol.long_running import EMPTY, Work, shown, typed
from mlport_vertex.emulator.protocol.resources import listing, masked, moment, new_id, normal, page
from mlport_vertex.emulator.protocol.rules import check_resource, invalid
from mlport_vertex.emulator.storing.registry import Registry
from mlport_vertex.emulator.working.monitor_clock import REQUEST, SCHEDULES
from mlport_vertex.emulator.working.monitor_jobs import ENDED, JOBS, MONITORS, STATS, MonitorJobs
from mlport_vertex.emulator.working.monitor_rules import check_id, check_monitor

Json = dict[str, Any]
PREFIX = "aiplatform.projects.locations.modelMonitors"
FIELD = "model_monitor"
FIXED = ("modelMonitoringTarget", "encryptionSpec")


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their ids."""
    monitors = Monitors(place)
    place.chore(monitors.jobs.push)
    for kind, doer in (("create", monitors.created), ("patch", monitors.patched), ("delete", monitors.deleted)):
        place.operations.register(f"modelMonitors.{kind}", doer)
    place.operations.register("modelMonitoringJobs.delete", monitors.job_deleted)
    return {
        **{f"{PREFIX}.{name}": getattr(monitors, name) for name in ("create", "get", "list", "patch", "delete")},
        **{f"{PREFIX}.{JOBS}.{name}": getattr(monitors, f"{name}_job") for name in ("create", "get", "list", "delete")},
        f"{PREFIX}.searchModelMonitoringStats": monitors.search_stats,
        f"{PREFIX}.searchModelMonitoringAlerts": monitors.search_alerts,
    }


class Monitors:
    """What the methods do."""

    def __init__(self, place: Place) -> None:
        self._place, self._registry, self.jobs = place, Registry(place), MonitorJobs(place)

    # ---------------------------------------------------------------- monitors

    def create(self, request: Request) -> Json:
        body, chosen = dict(request.body), str(request.arguments.get("modelMonitorId") or "")
        if chosen:
            check_id("model_monitor_id", chosen)
        check_resource(FIELD, body)
        target = self._target(body)
        check_monitor(FIELD, body)
        name = f"{normal(request.parent)}/{MONITORS}/{chosen or new_id(self._place)}"
        self._refuse_second(name, target)
        made = now()
        content = {"name": name, **body, "modelMonitoringTarget": {"vertexModel": target}, "createTime": made, "updateTime": made}
        return shown(self._place.operations.begin(name, "CreateModelMonitorOperationMetadata", "modelMonitors.create", content), request)

    def _target(self, body: Json) -> Json:
        said = body.get("modelMonitoringTarget", {}).get("vertexModel", {})
        for key, field in (("model", "model"), ("modelVersionId", "model_version_id")):
            if not said.get(key):
                raise invalid(f"{FIELD}.model_monitoring_target.vertex_model.{field}", "Required field is not set.")
        model, version = self._registry.resolve(f"{said['model'].partition('@')[0]}@{said['modelVersionId']}")
        return {"model": model, "modelVersionId": version}

    def _refuse_second(self, name: str, target: Json) -> None:
        """set-up-model-monitoring: "You can create only one model monitor per model version"."""
        if self._place.documents.get(MONITORS, name) is not None:
            raise ApiError("ALREADY_EXISTS", f"The ModelMonitor already exists: {name}")
        for _, kept in self._place.documents.list(MONITORS):
            if kept["modelMonitoringTarget"]["vertexModel"] == target:
                said = f"The ModelMonitor {kept['name']} monitors {target['model']}@{target['modelVersionId']} already."
                raise ApiError("ALREADY_EXISTS", said)

    def created(self, work: Work) -> Json:
        with self._place.documents.together():
            kept = self._place.documents.get(MONITORS, work.resource)
            if kept is None or kept["createTime"] != work.args["createTime"]:  # else an emulator that was killed here had made it
                self._refuse_second(work.resource, work.args["modelMonitoringTarget"]["vertexModel"])
                self._place.documents.insert(MONITORS, work.resource, work.args)
        return typed("ModelMonitor", work.args)

    def get(self, request: Request) -> Json:
        return self.jobs.monitor(normal(request.name))

    def list(self, request: Request) -> Any:
        return listing(self._place, request, MONITORS, MONITORS)

    def patch(self, request: Request) -> Json:
        mask, name = str(request.arguments.get("updateMask", "")), normal(request.name)
        properties = document("aiplatform.v1beta1").schemas["GoogleCloudAiplatformV1beta1ModelMonitor"]["properties"]
        for path in mask.split(",") if mask else [""]:
            field = camel(path.partition(".")[0])
            described = str(properties.get(field, {}).get("description", ""))
            if field not in properties or field in FIXED or described.startswith(("Output only.", "Immutable.")):
                raise invalid("update_mask", f"Invalid field mask: {mask!r}.")
        check_monitor(FIELD, masked(self.jobs.monitor(name), mask, request.body))
        begun = self._place.operations.begin(
            name, "UpdateModelMonitorOperationMetadata", "modelMonitors.patch", {"mask": mask, "sent": request.body}
        )
        return shown(begun, request)

    def patched(self, work: Work) -> Json:
        def change(body: Json) -> Json:
            return {**masked(body, work.args["mask"], work.args["sent"]), "updateTime": now()}

        changed = self._place.documents.change(MONITORS, work.resource, change)
        if changed is None:
            raise not_found("ModelMonitor", work.resource)
        return typed("ModelMonitor", changed)

    def delete(self, request: Request) -> Json:
        name = str(self.jobs.monitor(normal(request.name))["name"])
        if not request.arguments.get("force") and (held := self._schedules(name)):
            raise ApiError("FAILED_PRECONDITION", f"The ModelMonitor {name} has schedules: {', '.join(held)}. Set force to delete them.")
        return shown(self._place.operations.begin(name, "DeleteOperationMetadata", "modelMonitors.delete", {}), request)

    def _schedules(self, monitor: str) -> Sequence[str]:
        return [body["name"] for _, body in self._place.documents.list(SCHEDULES) if body[REQUEST]["parent"] == monitor]

    def deleted(self, work: Work) -> Json:
        with self._place.documents.together():
            for name in self._schedules(work.resource):
                self._place.documents.delete(SCHEDULES, name)
            for _, job in list(self._place.documents.list(JOBS, f"{work.resource}/")):
                self.jobs.forget(job["name"])
            self._place.documents.delete(MONITORS, work.resource)
        return EMPTY

    # ---------------------------------------------------------------- jobs

    def create_job(self, request: Request) -> Json:
        chosen = str(request.arguments.get("modelMonitoringJobId") or "")
        check_resource("model_monitoring_job", request.body)
        return self.jobs.create(normal(request.parent), request.body, chosen)

    def get_job(self, request: Request) -> Json:
        name = normal(request.name)
        found = self._place.documents.get(JOBS, name)
        if found is None:
            raise not_found("ModelMonitoringJob", name)
        return found

    def list_job(self, request: Request) -> Any:
        self.jobs.monitor(normal(request.parent))
        return listing(self._place, request, JOBS, JOBS)

    def delete_job(self, request: Request) -> Json:
        job = self.get_job(request)
        if job["state"] not in ENDED:
            raise ApiError("FAILED_PRECONDITION", f"The ModelMonitoringJob {job['name']} is in state {job['state']} and cannot be deleted.")
        return shown(self._place.operations.begin(job["name"], "DeleteOperationMetadata", "modelMonitoringJobs.delete", {}), request)

    def job_deleted(self, work: Work) -> Json:
        self.jobs.forget(work.resource)
        return EMPTY

    # ---------------------------------------------------------------- what they found

    def search_stats(self, request: Request) -> Any:
        """The points of each statistic, newest first."""
        said = request.body.get("statsFilter", {}).get("tabularStatsFilter", {})
        series: dict[tuple[str, str], tuple[int, Json]] = {}
        for number, body in self._found(request, said, request.body.get("timeInterval", {})):
            key = (body["statsName"], body["objectiveType"])
            first = {"statsName": key[0], "objectiveType": key[1], "dataPoints": []}
            series.setdefault(key, (number, {"tabularStats": first}))[1]["tabularStats"]["dataPoints"].append(body["point"])
        return page(_paged(request), "monitoringStats", iter(series.values()))

    def search_alerts(self, request: Request) -> Any:
        said = request.body
        told = [
            (number, _alert(body))
            for number, body in self._found(request, said, said.get("alertTimeInterval", {}))
            if body["point"].get("hasAnomaly")
        ]
        return {**page(_paged(request), "modelMonitoringAlerts", iter(told)), "totalNumberAlerts": str(len(told))}

    def _found(self, request: Request, said: Json, interval: Json) -> Iterator[tuple[int, Json]]:
        """What was found and is asked for, newest first. That an interval is one of the times at which it was found is a guess."""
        monitor = normal(str(request.arguments["modelMonitor"]))
        self.jobs.monitor(monitor)
        start, end = (moment(interval[key]) if interval.get(key) else None for key in ("startTime", "endTime"))
        for number, body in self._place.documents.list(STATS, f"{monitor}/"):
            point, at = body["point"], moment(body["point"]["createTime"])
            wanted = (
                (said.get("statsName"), body["statsName"]),
                (said.get("objectiveType"), body["objectiveType"]),
                (normal(said.get("modelMonitoringJob", "")), point["modelMonitoringJob"]),
                (normal(said.get("modelMonitoringSchedule", "")), point.get("schedule")),
                (said.get("algorithm"), point["algorithm"]),
            )
            if all(not asked or asked == has for asked, has in wanted) and (start is None or at >= start) and (end is None or at < end):
                yield number, body


def _paged(request: Request) -> Request:
    """The request of a search with the page that its body asks for where lists have it."""
    monitor = str(request.arguments["modelMonitor"])
    asked = {key: request.body[key] for key in ("pageSize", "pageToken") if key in request.body}
    return replace(request, arguments={"name": monitor, **asked})


def _alert(body: Json) -> Json:
    point = body["point"]
    value = point["currentStats"]["distributionValue"]["distributionDeviation"]
    said = f"{point['algorithm']} of {body['statsName']} is {value:.6g}, above the threshold {point['thresholdValue']:.6g}."
    anomaly = {"summary": said, "triggerTime": point["createTime"], "condition": {"threshold": point["thresholdValue"]}}
    return {
        "statsName": body["statsName"],
        "objectiveType": body["objectiveType"],
        "alertTime": point["createTime"],
        "anomaly": {"modelMonitoringJob": point["modelMonitoringJob"], "algorithm": point["algorithm"], "tabularAnomaly": anomaly},
    }
