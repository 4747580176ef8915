"""aiplatform: schedules, of model monitoring jobs alone: the emulator runs no pipelines and notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mlport_vertex.emulator.place import Place, now
from mlport_vertex.emulator.protocol.api import Handler, Request
from mlport_vertex.emulator.protocol.discovery import camel, document
from mlport_vertex.emulator.protocol.errors import ApiError, not_found
from mlport_vertex.emulator.protocol.long_running import EMPTY, Work, shown
from mlport_vertex.emulator.protocol.resources import listing, masked, moment, new_id, normal
from mlport_vertex.emulator.protocol.rules import check_resource, invalid
from mlport_vertex.emulator.working.monitor_clock import REQUEST, SCHEDULES, Clock, cron_of, following
from mlport_vertex.emulator.working.monitor_jobs import FIELD, MonitorJobs
from mlport_vertex.emulator.working.monitor_rules import check_job, whole

Json = dict[str, Any]
REQUESTS = ("createPipelineJobRequest", "createNotebookExecutionJobRequest", REQUEST)
PREFIX = "aiplatform.projects.locations.schedules"


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their ids."""
    schedules, clock = Schedules(place), Clock(place)
    place.chore(clock.tick)
    place.operations.register("schedules.delete", schedules.deleted)
    return {f"{PREFIX}.{name}": getattr(schedules, name) for name in ("create", "get", "list", "patch", "delete", "pause", "resume")}


class Schedules:
    """What the methods do."""

    def __init__(self, place: Place) -> None:
        self._place, self._jobs = place, MonitorJobs(place)

    def create(self, request: Request) -> Json:
        """A custom job is none of the requests that a schedule can make: ScheduleService's `oneof request` (docs/spi/vertex.md)."""
        body = dict(request.body)
        given = [name for name in REQUESTS if name in body]
        if len(given) != 1:
            raise ApiError("INVALID_ARGUMENT", f"One of {', '.join(REQUESTS)} must be set in the Schedule.")
        if given != [REQUEST]:
            raise ApiError("UNIMPLEMENTED", f"The emulator runs no pipelines and notebooks, so no schedule of a {given[0]}.")
        name, made = f"{normal(request.parent)}/schedules/{new_id(self._place)}", now()
        content = {key: value for key, value in body.items() if key != "name"}
        times = {"createTime": made, "updateTime": made, "startTime": body.get("startTime", made)}
        kept = self._checked({**content, "name": name, "state": "ACTIVE", "startedRunCount": "0", "catchUp": False, **times})
        self._place.documents.insert(SCHEDULES, name, following(kept, datetime.now(UTC)))
        return _shown(self._kept(name), request)

    def _checked(self, schedule: Json) -> Json:
        """The same, with its monitor's name as answers carry it."""
        check_resource("schedule", schedule)
        cron_of("schedule.cron", schedule.get("cron", ""))
        if int(schedule.get("maxConcurrentRunCount", 0)) < 1:
            raise invalid("schedule.max_concurrent_run_count", "It must be at least 1.")
        asked = schedule[REQUEST]
        parent = normal(asked["parent"])
        monitor = self._jobs.monitor(parent)
        spec = whole(asked["modelMonitoringJob"].get("modelMonitoringSpec", {}), monitor)
        check_job(f"schedule.create_model_monitoring_job_request.{FIELD}", spec, monitor["modelMonitoringSchema"])
        return {**schedule, REQUEST: {**asked, "parent": parent}}

    def get(self, request: Request) -> Json:
        return _shown(self._kept(normal(request.name)), request)

    def list(self, request: Request) -> Any:
        return listing(self._place, request, SCHEDULES, "schedules", lambda body: _shown(body, request))

    def _kept(self, name: str) -> Json:
        found = self._place.documents.get(SCHEDULES, name)
        if found is None:
            raise not_found("Schedule", name)
        return found

    def patch(self, request: Request) -> Json:
        """Change what the mask names; when it runs next is reckoned anew."""
        mask, name, properties = str(request.arguments.get("updateMask", "")), normal(request.name), _properties("v1beta1")
        for path in mask.split(",") if mask else [""]:
            field = camel(path.partition(".")[0])
            described = str(properties.get(field, {}).get("description", ""))
            if field not in properties or described.startswith(("Output only.", "Immutable.")):
                raise invalid("update_mask", f"Invalid field mask: {mask!r}.")
        changed = self._checked({**masked(self._kept(name), mask, request.body), "updateTime": now()})
        kept = following(changed, datetime.now(UTC)) if changed["state"] == "ACTIVE" else changed
        self._place.documents.change(SCHEDULES, name, lambda _: kept)
        return _shown(kept, request)

    def pause(self, request: Request) -> Json:
        self._move(request, "ACTIVE", lambda body: {**_without_next(body), "state": "PAUSED", "lastPauseTime": now()})
        return {}

    def resume(self, request: Request) -> Json:
        """Run again from now on, or with `catchUp` from where it was paused."""
        catch_up = bool((request.body or {}).get("catchUp"))

        def change(body: Json) -> Json:
            after = moment(body["lastPauseTime"]) if catch_up else datetime.now(UTC)
            return following({**body, "state": "ACTIVE", "catchUp": catch_up, "lastResumeTime": now()}, after)

        self._move(request, "PAUSED", change)
        return {}

    def _move(self, request: Request, wanted: str, change: Any) -> None:
        """That another state is refused, and in these words, is a guess."""
        body = self._kept(normal(request.name))
        if body["state"] != wanted:
            raise ApiError("FAILED_PRECONDITION", f"The Schedule {body['name']} is in state {body['state']}, not {wanted}.")
        self._place.documents.change(SCHEDULES, body["name"], change)

    def delete(self, request: Request) -> Json:
        name = str(self._kept(normal(request.name))["name"])
        return shown(self._place.operations.begin(name, "DeleteOperationMetadata", "schedules.delete", {}), request)

    def deleted(self, work: Work) -> Json:
        """Jobs that it made stay: run-monitoring-job, "Delete a schedule"."""
        self._place.documents.delete(SCHEDULES, work.resource)
        return EMPTY


def _without_next(body: Json) -> Json:
    return {key: value for key, value in body.items() if key != "nextRunTime"}


def _properties(version: str) -> Json:
    found: Json = document(f"aiplatform.{version}").schemas[f"GoogleCloudAiplatform{version.replace('v', 'V')}Schedule"]["properties"]
    return found


def _shown(body: Json, request: Request) -> Json:
    """Without what the version that was asked does not know: in v1 that is the request itself."""
    version = "v1beta1" if request.call.path.startswith("/v1beta1/") else "v1"
    return {key: value for key, value in body.items() if key in _properties(version)}
