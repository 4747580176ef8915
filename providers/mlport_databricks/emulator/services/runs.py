"""Runs: one-time ones and those of jobs, asked for, listed, repaired, exported, canceled and deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlport.emulation.faults import Rule, of_effect
from mlport_databricks.emulator.accounts import USERS
from mlport_databricks.emulator.place import Place, now_ms
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import ApiError, invalid
from mlport_databricks.emulator.protocol.permitted import VIEW, check_cluster_creation, check_job, sees_job
from mlport_databricks.emulator.services import run_answers, run_exports
from mlport_databricks.emulator.services.job_rules import check_settings, check_token
from mlport_databricks.emulator.working.repairs import entry, repair
from mlport_databricks.emulator.working.run_records import Found

Json = dict[str, Any]
MOST, USUAL = 25, 20  # runs of a page
PAGE = 100  # elements of an array in one answer (SDK, get_run)
SETTINGS = ("tasks", "environments", "environment_variables", "timeout_seconds", "queue", "run_name")
OVERRIDES = (
    "jar_params",
    "notebook_params",
    "python_params",
    "python_named_params",
    "spark_submit_params",
    "sql_params",
    "dbt_commands",
    "pipeline_params",
)
NOT_OF_TASK = (
    "Retrieving the output of runs with multiple tasks is not supported. Please retrieve the output of each individual task run instead."
)
QUOTA = "The quota for the number of active runs has been reached."  # docs.azure.cn/databricks/kb/jobs/job-rate-limit has the like for jobs


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their paths."""
    service = RunsService(place)
    return {
        "POST /api/2.2/jobs/runs/submit": service.submit,
        "GET /api/2.2/jobs/runs/get": service.get,
        "GET /api/2.2/jobs/runs/get-output": service.get_output,
        "GET /api/2.2/jobs/runs/list": service.list,
        "POST /api/2.2/jobs/runs/cancel": service.cancel,
        "POST /api/2.2/jobs/runs/cancel-all": service.cancel_all,
        "POST /api/2.2/jobs/runs/delete": service.delete,
        "POST /api/2.2/jobs/runs/repair": service.repair,
        "GET /api/2.2/jobs/runs/export": service.export,
    }


class RunsService:
    """The runs of a place, as callers ask for them."""

    def __init__(self, place: Place) -> None:
        self._place, self._records = place, place.runs.records

    def submit(self, request: Request) -> Json:
        given = request.body
        check_token(given.get("idempotency_token"))
        check_settings(self._place, request.workspace, given, is_job=False)
        if any(_new_cluster(task) for task in given["tasks"]):
            check_cluster_creation(request)
        refuse_over_quota(request)
        run = {
            "user": runs_as(request, given),
            "job_id": 0,
            "name": given.get("run_name") or "Untitled",  # SDK, submit
            "settings": {name: given[name] for name in SETTINGS if name in given},
            "run_type": "SUBMIT_RUN",
            "trigger": "ONE_TIME",
            "job_parameters": [],
            "overrides": {},
            "schedule": None,
            "max_concurrent_runs": 1,
            **faults_of(request.call.befallen),
        }
        token = given.get("idempotency_token")
        return {"run_id": self._records.begin(request.workspace, run, token=f"submit/{token}" if token else "")}

    def get(self, request: Request) -> Json:
        found = self._find(request)
        if found.attempt is not None:
            answer = run_answers.single(found)
            repeated = run_answers.iterations(found) if found.unit is found.task else []
            return {**answer, **({"iterations": repeated} if repeated else {})}
        answer = run_answers.whole_run(found)
        repeated = run_answers.iterations(found)
        if request.given("include_history"):
            answer["repair_history"] = [*found.run.get("history", ()), entry(found.run)]
        return _paged({**answer, **({"iterations": repeated} if repeated else {})}, request.given("page_token"))

    def get_output(self, request: Request) -> Json:
        found = self._find(request)
        if found.attempt is None:
            raise invalid(NOT_OF_TASK)
        return run_answers.output(found, self._records.folder(found.attempt))

    def export(self, request: Request) -> Json:
        found = self._find(request)
        folder = self._records.folder(found.attempt or {"run_id": 0})
        return run_exports.exported(found, folder, request.arguments.get("views_to_export", "CODE"))

    def repair(self, request: Request) -> Json:
        given = request.body
        found = self._find(request, "Admin or Manage Run or Owner")
        if found.attempt is not None:
            raise invalid(f"Run {given['run_id']} is a task run; only job runs can be repaired.")
        job = self._place.documents.get("jobs", f"{request.workspace}/{found.run['job_id']}")
        overrides = {name: given[name] for name in OVERRIDES if given.get(name)}
        return {"repair_id": repair(self._place, self._records, found.run, job, given, overrides)}

    def list(self, request: Request) -> Json:
        wanted = request.arguments
        if wanted.get("active_only") and wanted.get("completed_only"):
            raise invalid("Only one of active_only and completed_only can be true.")
        limit = _limit(wanted.get("limit"), most=MOST)
        begins = before(wanted.get("page_token"))
        found: list[tuple[int, Json]] = []
        for number, run in self._place.documents.list("runs", f"{request.workspace}/"):
            if number < begins and self._is_wanted(request, run):
                found.append((number, run))
        if wanted.get("page_token") is None:
            found = found[wanted.get("offset", 0) :]
        page, more = found[:limit], len(found) > limit
        expanded = bool(wanted.get("expand_tasks"))
        answer: Json = {"runs": [run_answers.whole_run(Found(run), expanded=expanded) for _, run in page]} if page else {}
        return {**answer, "has_more": more, **({"next_page_token": token_of(page[-1][0])} if more else {})}

    def _is_wanted(self, request: Request, run: Json) -> bool:
        wanted, active = request.arguments, run_answers.is_active(run)
        first, last = wanted.get("start_time_from", 0), wanted.get("start_time_to", 2**62)
        return (
            run["hidden_until"] <= now_ms()
            and sees_job(self._place, request, run["user"], run["job_id"])
            and wanted.get("job_id") in (None, run["job_id"])
            and wanted.get("run_type") in (None, run["run_type"])
            and not (wanted.get("active_only") and not active)
            and not (wanted.get("completed_only") and active)
            and first <= run["created"] <= last
        )

    def cancel(self, request: Request) -> None:
        found = self._find(request, "Admin or Manage Run or Owner")
        if (found.attempt or found.run)["ended"] is None:
            self._records.cancel(request.workspace, request.body["run_id"])

    def cancel_all(self, request: Request) -> None:
        job_id, queued_only = request.body.get("job_id"), request.body.get("all_queued_runs", False)
        if job_id is None and not queued_only:
            raise invalid("Either job_id or all_queued_runs must be set.")
        if job_id is not None:
            self._place.jobs.need(request, job_id, "Admin or Manage Run or Owner")
        for run in self._records.all(request.workspace):
            if (
                run["ended"] is None
                and job_id in (None, run["job_id"])
                and sees_job(self._place, request, run["user"], run["job_id"])
                and not (queued_only and run["phase"] != "QUEUED")
            ):
                self._records.cancel(request.workspace, run["run_id"])

    def delete(self, request: Request) -> None:
        found = self._find(request, "Admin or Owner")
        if found.attempt is not None:
            raise invalid(f"Run {request.body['run_id']} is a task run; only job runs can be deleted.")
        self._records.delete(found.run)

    def _find(self, request: Request, needed: str = VIEW) -> Found:
        found = self._records.find(request.workspace, request.given("run_id"))
        check_job(self._place, request, found.run["user"], found.run["job_id"], needed)
        return found


# ---------------------------------------------------------------- what jobs need, too


def runs_as(request: Request, settings: Json) -> str:
    """Whose run it is. Raises ApiError for somebody that there is not, or that the caller may not run as."""
    given = settings.get("run_as") or {}
    name = str(given.get("service_principal_name") or given.get("user_name") or request.user)
    if name not in USERS:
        raise invalid(f"The user or service principal {name} of run_as does not exist.")
    if name != request.user and not USERS[request.user].is_admin:
        raise ApiError("PERMISSION_DENIED", f"User {request.user} cannot set run_as to {name}.")
    return name


def refuse_over_quota(request: Request) -> None:
    """The fault "quota"."""
    if of_effect(request.call.befallen, "quota"):
        raise ApiError("QUOTA_EXCEEDED", QUOTA)


def faults_of(befallen: Sequence[Rule]) -> Json:
    """What the faults of the call that begins a run do to the run itself."""
    lag = of_effect(befallen, "lag")
    return {
        "hidden_until": now_ms() + int(1000 * lag.seconds) if lag else 0,
        "preempt": [rule.seconds for rule in befallen if rule.effect == "preempt"],
    }


def before(token: str | None) -> int:
    """The number before which a page begins. Raises ApiError."""
    if token is None:
        return 2**62
    kind, _, number = token.partition("-")
    if kind != "before" or not number.isdigit():
        raise invalid(f"Invalid page token: {token}")
    return int(number)


def token_of(number: int) -> str:
    """The page token for what comes after this one."""
    return f"before-{number}"


def _limit(given: int | None, *, most: int, usual: int = USUAL) -> int:
    if given is None:
        return usual
    if not 0 <= given <= most:
        raise invalid(f"The limit must be between 0 and {most}, not {given}.")
    return given or most


def _new_cluster(task: Json) -> bool:
    return bool((task.get("for_each_task") or {"task": task})["task"].get("new_cluster"))


def _paged(answer: Json, token: str | None) -> Json:
    """At most so many tasks and iterations in one answer; the token is where the next begin."""
    if token is not None and not token.isdigit():
        raise invalid(f"Invalid page token: {token}")
    begin = int(token or 0)
    arrays = ("tasks", "iterations")
    more = any(len(answer.get(name, ())) > begin + PAGE for name in arrays)
    cut = {name: answer[name][begin : begin + PAGE] for name in arrays if name in answer}
    return {**answer, **cut, "has_more": more, **({"next_page_token": str(begin + PAGE)} if more else {})}
