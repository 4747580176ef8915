"""Vertex AI's own monitors, Model Monitoring v2: a monitor of the served version with a schedule that starts its jobs.

Monitors and schedules take no labels. The token is in the address of what is made for a monitor, which the monitor names, and in the
schedule's display name. What a monitor found is read from its jobs, one search each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlport.errors import AmbiguousError, ConflictError, MlportError, NotFoundError, UnsupportedError, stamped
from mlport.spi import Json, Measurement, MonitorRecord, MonitorState, Operation, Page, Plan, StateStore, Window
from mlport_vertex.monitoring.measurements import SAID, measurement, window_of
from mlport_vertex.monitoring.monitor_request import CREATE, SCHEDULE
from mlport_vertex.names import endpoint_name, last, settled
from mlport_vertex.sagas import FILES, Note, Sagas, Step, folder_of, token_of
from mlport_vertex.serving.deployed import DeployedModels

if TYPE_CHECKING:
    from mlport_vertex.google.api import VertexApi

KINDS = ("monitor", "monitor-delete")
JOBS = "modelMonitoringJobs"
PAGE = 20  # measurements, each of which is a search
STATES = {"ACTIVE": MonitorState.ACTIVE, "PAUSED": MonitorState.UNKNOWN, "COMPLETED": MonitorState.FAILED}


@stamped("vertex", "monitors")
class VertexMonitors:
    """The model monitors of one project and region. Safe to use from several threads."""

    def __init__(self, api: VertexApi, state: StateStore) -> None:
        self._api, self._sagas, self._deployed = api, Sagas(api, state), DeployedModels(state)
        self._parent = api.config.parent
        self._ended: dict[str, Measurement] = {}

    # ---------------------------------------------------------------- making

    def create(self, plan: Plan, *, token: str, reference: Path) -> Operation:
        """Begin to make monitor and schedule, once the reference lies in the staging folder.

        Raises:
            ConflictError: a monitor of that name exists, or one of the served version: Vertex AI has room for one.
            UnsupportedError: the endpoint speaks a protocol that the monitor does not read.
        """
        if found := self._standing(plan.name, token):
            return found
        bodies = {request.call: settled(request.body, token) for request in plan.requests}
        target = self._served(plan)
        bodies[CREATE]["modelMonitoringTarget"]["vertexModel"] = target
        self._refuse_second(plan.name, token, target)
        from mlport_vertex.monitoring.reference import upload

        upload(self._api.objects, reference, settled(plan.resolved, token)["reference"])
        steps = (
            Step("modelMonitors.create", self._parent, bodies[CREATE], {"modelMonitorId": plan.name}),
            Step("schedules.create", self._parent, bodies[SCHEDULE]),
        )
        try:
            return self._sagas.begin(Note(token, "monitor", plan.name, steps, result=plan.name)).operation
        except AmbiguousError:
            raise
        except MlportError:
            self._api.objects.delete_below(folder_of(self._api.config, token))
            raise

    def _standing(self, name: str, token: str) -> Operation | None:
        """What the token began, if it goes on or has come to something that is still there; what has not is begun anew."""
        note = self._sagas.find(token)
        if note is None or not note.ended:
            return note.operation if note else None
        if not (note.failed or note.undone) and self._look(name) is not None:
            return note.operation
        self._sagas.forget(token)
        return None

    def _served(self, plan: Plan) -> Json:
        """The model version that is deployed for the planned one, which may be a copy of it with a container of its own."""
        name, model, version = str(plan.spec["endpoint"]), plan.resolved["model"], plan.resolved["version"]
        served = self._api.call("endpoints.get", name=endpoint_name(self._parent, name))
        known = self._deployed.of(served)
        if any(each.speaks_v2 for each in known.values()):
            why = "its monitor reads requests in the form of Vertex AI's predict alone, and this endpoint is asked in the Open Inference Protocol"
            raise UnsupportedError("vertex", [("endpoint", why)], hint='`measured_by = "mlport"` reads both')
        for told in served.get("deployedModels", ()):
            if (known[told["id"]].model, known[told["id"]].version) == (model, version):
                resource, _, said = str(told["model"]).partition("@")
                return {"model": resource, "modelVersionId": str(told.get("modelVersionId") or said)}
        raise ConflictError(f"endpoint {name!r} no longer serves version {version} of {model}", hint="plan again")

    def _refuse_second(self, name: str, token: str, target: Json) -> None:
        for found in self._pages("modelMonitors.list", self._parent, "modelMonitors"):
            watched = found.get("modelMonitoringTarget", {}).get("vertexModel", {})
            known = last(found["name"])
            if known == name and token_of(self._api.config, found) != token:
                raise ConflictError(f"there is a model monitor {name!r}", hint="choose another name, or delete that one")
            same = (last(watched.get("model", "")), watched.get("modelVersionId")) == (last(target["model"]), target["modelVersionId"])
            if same and known != name:
                said = (
                    f"version {target['modelVersionId']} of {last(target['model'])} has the model monitor {known!r}, and may have one only"
                )
                raise ConflictError(said, hint="delete that one, or use it")

    def find(self, token: str) -> Operation | None:
        note = self._sagas.find(token)
        return note.operation if note and note.kind in KINDS else None

    def delete(self, name: str, *, token: str) -> Operation:
        """Remove the monitor with its schedules and jobs, then the reference and what was written beside it.

        A deletion whose answer was lost may have removed the monitor, which alone would say where that is: our notes of it say it, too.
        """
        if found := self.find(token):
            return found
        monitor = self._look(name)
        if monitor is None:
            tokens = {note.token for note in self._sagas.of("monitor", name) if note.ended}
            steps: list[Step] = []
        else:
            tokens = {made} if (made := token_of(self._api.config, monitor)) else set()
            steps = [Step("modelMonitors.delete", self._name(name), query={"force": True})]
        folders = (folder_of(self._api.config, each) for each in sorted(tokens))
        steps += [Step(FILES, folder) for folder in folders if any(self._api.objects.list(folder))]
        return self._sagas.begin(Note(token, "monitor-delete", name, tuple(steps), result=name)).operation

    # ---------------------------------------------------------------- looking

    def get(self, name: str) -> MonitorRecord:
        """A monitor has no state: it is there, and its schedule is what measures."""
        monitor = self._monitor(name)
        token = token_of(self._api.config, monitor)
        schedule = self._schedule(name, token)
        created = datetime.fromisoformat(monitor["createTime"]) if "createTime" in monitor else None
        if schedule is None:
            note = self._sagas.find(token) if token else None
            making = note is not None and not note.ended
            state, reason = (MonitorState.CREATING, "") if making else (MonitorState.FAILED, "it has no schedule of mlport's any more")
            return MonitorRecord(name, state, "no schedule", created, None, token, reason, str(monitor["name"]))
        native = str(schedule.get("state", ""))
        following = datetime.fromisoformat(schedule["nextRunTime"]) if schedule.get("nextRunTime") else None
        state = STATES.get(native, MonitorState.UNKNOWN)
        reason = "" if state is MonitorState.ACTIVE else f"its schedule is {native}: it measures nothing by itself"
        return MonitorRecord(name, state, native, created, following, token, reason, str(monitor["name"]))

    def _monitor(self, name: str) -> Json:
        return self._api.call("modelMonitors.get", name=self._name(name))

    def _look(self, name: str) -> Json | None:
        try:
            return self._monitor(name)
        except NotFoundError:
            return None

    def _name(self, name: str) -> str:
        return f"{self._parent}/modelMonitors/{name}"

    def _schedule(self, name: str, token: str | None) -> Json | None:
        """That which mlport made with the monitor."""
        if token is None:
            return None
        listed = self._api.call("schedules.list", parent=self._parent, filter=f'display_name="{name} {token}"')
        return next(iter(listed.get("schedules", ())), None)

    # ---------------------------------------------------------------- measuring

    def measure(self, name: str, window: Window, *, token: str) -> str:
        """A job of this window, with all else as the schedule's jobs have it."""
        schedule = self._schedule(name, token_of(self._api.config, self._monitor(name)))
        if schedule is None:
            raise NotFoundError(f"the model monitor {name!r} has no schedule of mlport's, which would say what to measure")
        job, chosen = schedule["createModelMonitoringJobRequest"]["modelMonitoringJob"], f"mlport-{token}"
        spec = job["modelMonitoringSpec"]
        times = {"timeInterval": {"startTime": _written(window.start), "endTime": _written(window.end)}}
        target = {key: value for key, value in spec["objectiveSpec"]["targetDataset"].items() if key != "timeOffset"}
        body = {
            "displayName": name,
            "modelMonitoringSpec": {**spec, "objectiveSpec": {**spec["objectiveSpec"], "targetDataset": target | times}},
        }
        with suppress(ConflictError):  # it was asked for already
            self._api.call(f"modelMonitors.{JOBS}.create", parent=self._name(name), body=body, modelMonitoringJobId=chosen)
        return chosen

    def measurements(self, name: str, page: str | None = None) -> Page[Measurement]:
        """By the end of their windows, newest first. All jobs are listed for it; those that say no time are left out."""
        self._monitor(name)
        jobs = [(window, job) for job in self._pages(f"modelMonitors.{JOBS}.list", self._name(name), JOBS) if (window := window_of(job))]
        ranked = sorted(((_place(window, job), window, job) for window, job in jobs), key=lambda each: each[0], reverse=True)
        left = [each for each in ranked if page is None or each[0] < page]
        shown = left[:PAGE]
        return Page([self._found(name, job, window) for _, window, job in shown], shown[-1][0] if len(left) > PAGE else None)

    def _found(self, name: str, job: Json, window: Window) -> Measurement:
        """What has ended stays as it is, and is asked for once."""
        if known := self._ended.get(job["name"]):
            return known
        asked = {"statsFilter": {"tabularStatsFilter": {"modelMonitoringJob": job["name"]}}}
        stats = list(self._searched(name, asked)) if job.get("state") in SAID else []
        told = measurement(job, window, stats)
        if told.state.terminal:
            self._ended[job["name"]] = told
        return told

    def _searched(self, name: str, asked: Json) -> Iterator[Json]:
        """The tabular statistics that a search finds."""
        token = ""
        while True:
            body = {**asked, **({"pageToken": token} if token else {})}
            found = self._api.call("modelMonitors.searchModelMonitoringStats", name=self._name(name), body=body)
            yield from (each["tabularStats"] for each in found.get("monitoringStats", ()) if "tabularStats" in each)
            token = str(found.get("nextPageToken", ""))
            if not token:
                return

    def _pages(self, call: str, parent: str, key: str) -> Iterator[Json]:
        """All that a list has."""
        token: str | None = None
        while True:
            found = self._api.call(call, parent=parent, pageToken=token)
            yield from found.get(key, ())
            token = found.get("nextPageToken") or None
            if token is None:
                return


def _place(window: Window, job: Json) -> str:
    """What measurements are in order of, as a text."""
    return f"{window.end.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f} {window.start.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f} {last(job['name'])}"


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
