"""Jobs: settings that are kept, run on demand and by schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlport_databricks.emulator.place import Place, now_ms
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import invalid
from mlport_databricks.emulator.protocol.permitted import sees_job
from mlport_databricks.emulator.services.job_rules import check_settings, check_token
from mlport_databricks.emulator.services.runs import OVERRIDES, before, faults_of, refuse_over_quota, runs_as, token_of
from mlport_databricks.emulator.working.jobs import JOBS, job_parameters

Json = dict[str, Any]
MOST, USUAL = 100, 20  # jobs of a page
PAGE = 100  # elements of an array in one answer (SDK, get)
ARRAYS = ("tasks", "job_clusters", "environments", "parameters")
MERGED = {"tasks": "task_key", "job_clusters": "job_cluster_key"}  # SDK, update: these arrays are merged by their keys


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their paths."""
    service = JobsService(place)
    return {
        "POST /api/2.2/jobs/create": service.create,
        "GET /api/2.2/jobs/get": service.get,
        "GET /api/2.2/jobs/list": service.list,
        "POST /api/2.2/jobs/update": service.update,
        "POST /api/2.2/jobs/reset": service.reset,
        "POST /api/2.2/jobs/delete": service.delete,
        "POST /api/2.2/jobs/run-now": service.run_now,
    }


class JobsService:
    """The jobs of a place, as callers ask for them."""

    def __init__(self, place: Place) -> None:
        self._place, self._jobs = place, place.jobs  # whose schedules fire from now on

    def create(self, request: Request) -> Json:
        given = {name: value for name, value in request.body.items() if name != "access_control_list"}
        check_settings(self._place, request.workspace, given, is_job=True)
        refuse_over_quota(request)
        job_id = self._place.runs.records.new_id()
        job = {
            "workspace": request.workspace,
            "job_id": job_id,
            "creator": request.user,
            "run_as": runs_as(request, given),
            "created": now_ms(),
            "settings": with_defaults(given),
            "hidden_until": faults_of(request.call.befallen)["hidden_until"],
        }
        with self._place.documents.together():
            self._place.documents.insert(JOBS, f"{request.workspace}/{job_id}", job)
            if entries := request.body.get("access_control_list"):
                self._place.permissions.put(request.workspace, "jobs", job_id, request.user, entries, keep=True)
        return {"job_id": job_id}

    def get(self, request: Request) -> Json:
        job = self._jobs.need(request, request.arguments["job_id"])
        token = request.arguments.get("page_token")
        if token is not None and not token.isdigit():
            raise invalid(f"Invalid page token: {token}")
        begin, settings = int(token or 0), job["settings"]
        cut = {name: settings[name][begin : begin + PAGE] for name in ARRAYS if name in settings}
        more = any(len(settings[name]) > begin + PAGE for name in cut)
        answer = {**_answer(job), "settings": {**settings, **cut}, "run_as_user_name": job["run_as"]}
        return {**answer, **({"has_more": True, "next_page_token": str(begin + PAGE)} if more else {})}

    def list(self, request: Request) -> Json:
        wanted = request.arguments
        limit = wanted.get("limit", USUAL)
        if not 1 <= limit <= MOST:
            raise invalid(f"The limit must be between 1 and {MOST}, not {limit}.")
        begins, name = before(wanted.get("page_token")), wanted.get("name")
        found = [
            (number, job)
            for number, job in self._place.documents.list(JOBS, f"{request.workspace}/")
            if number < begins
            and job["hidden_until"] <= now_ms()
            and sees_job(self._place, request, job["creator"], job["job_id"])
            and (name is None or job["settings"]["name"].lower() == name.lower())
        ]
        if wanted.get("page_token") is None:
            found = found[wanted.get("offset", 0) :]
        page, more = found[:limit], len(found) > limit
        hidden = () if wanted.get("expand_tasks") else ARRAYS
        jobs = [
            {**_answer(job), "settings": {key: value for key, value in job["settings"].items() if key not in hidden}} for _, job in page
        ]
        return {**({"jobs": jobs} if jobs else {}), "has_more": more, **({"next_page_token": token_of(page[-1][0])} if more else {})}

    def update(self, request: Request) -> None:
        job = self._jobs.need(request, request.body["job_id"], "Manage")
        settings = merged(job["settings"], request.body.get("new_settings") or {}, request.body.get("fields_to_remove") or [])
        self._change(request, job, settings)

    def reset(self, request: Request) -> None:
        job = self._jobs.need(request, request.body["job_id"], "Manage")
        kept = (
            {"run_as": job["settings"]["run_as"]} if "run_as" in job["settings"] else {}
        )  # databricks/cli libs/testserver/jobs.go, JobsReset
        self._change(request, job, {**kept, **request.body["new_settings"]})

    def _change(self, request: Request, job: Json, settings: Json) -> None:
        check_settings(self._place, request.workspace, settings, is_job=True)
        changed = {"settings": with_defaults(settings), "run_as": runs_as(request, settings) if settings.get("run_as") else job["run_as"]}
        self._place.documents.change(JOBS, f"{request.workspace}/{job['job_id']}", lambda known: {**known, **changed})

    def delete(self, request: Request) -> None:
        job = self._jobs.need(request, request.body["job_id"], "Admin or Owner")
        self._place.documents.delete(JOBS, f"{request.workspace}/{job['job_id']}")
        self._place.permissions.forget(request.workspace, "jobs", job["job_id"])
        for run in self._place.runs.records.active_of(request.workspace, job["job_id"]):
            self._place.runs.records.cancel(request.workspace, run["run_id"])

    def run_now(self, request: Request) -> Json:
        given = request.body
        check_token(given.get("idempotency_token"))
        job = self._jobs.need(request, given["job_id"], "Admin or Manage Run or Owner")
        if given.get("only"):
            raise invalid("The emulator runs all tasks of a job; only is not there.")
        refuse_over_quota(request)
        token = given.get("idempotency_token")
        run_id = self._jobs.begin(
            job,
            trigger="ONE_TIME",
            token=f"run-now/{token}" if token else "",
            parameters=job_parameters(job["settings"], given.get("job_parameters") or {}),
            overrides={name: given[name] for name in OVERRIDES if given.get(name)},
            queue=given.get("queue"),
            faults=faults_of(request.call.befallen),
        )
        return {"run_id": run_id, "number_in_job": run_id}


def with_defaults(settings: Json) -> Json:
    """What the server adds (databricks/cli libs/testserver/jobs.go, jobFixUps)."""
    found = {
        "name": "Untitled",
        "email_notifications": {},
        "webhook_notifications": {},
        "timeout_seconds": 0,
        "max_concurrent_runs": 1,
        **settings,
    }
    found["format"] = "MULTI_TASK"
    if "tasks" in found:
        found["tasks"] = [_task_with_defaults(task) for task in found["tasks"]]
    if found.get("schedule"):
        found["schedule"] = {"pause_status": "UNPAUSED", **found["schedule"]}
    return found


def _task_with_defaults(task: Json) -> Json:
    found = {"run_if": "ALL_SUCCESS", "timeout_seconds": 0, "email_notifications": {}, **task}
    if found.get("depends_on"):
        found["depends_on"] = sorted(found["depends_on"], key=lambda each: each["task_key"])
    for name in ("notebook_task", "spark_python_task"):
        if name in found:
            found[name] = {"source": "WORKSPACE", **found[name]}
    if "new_cluster" in found:
        aws = {"aws_attributes": {"availability": "SPOT_WITH_FALLBACK", "zone_id": "us-east-1c"}}
        cluster = {**aws, "data_security_mode": "SINGLE_USER", "enable_elastic_disk": False, **found["new_cluster"]}
        cluster.pop("apply_policy_default_values", None)
        found["new_cluster"] = cluster
    return found


def merged(settings: Json, new: Json, removed: list[str]) -> Json:
    """The settings of a job after an update: whole fields are replaced, but for tasks and job clusters of other keys."""
    found = dict(settings)
    for path in removed:
        name, _, key = path.partition("/")
        if name not in found:
            raise invalid(f"The field {path} of fields_to_remove is not set.")
        if key and name in MERGED:
            found[name] = [each for each in found[name] if each[MERGED[name]] != key]
        else:
            del found[name]
    for name, value in new.items():
        if name in MERGED:
            known = {each[MERGED[name]]: each for each in (*found.get(name, ()), *value)}
            found[name] = list(known.values())
        else:
            found[name] = value
    return found


def _answer(job: Json) -> Json:
    return {"job_id": job["job_id"], "creator_user_name": job["creator"], "created_time": job["created"]}
