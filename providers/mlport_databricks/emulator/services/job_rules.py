"""What the settings of a job or of a one-time run must be, beyond their types. Unquoted sentences are guesses."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.errors import ApiError, invalid
from mlport_databricks.emulator.services.cluster_rules import check_cluster, check_libraries
from mlport_databricks.emulator.working.quartz import BadSchedule, Quartz

Json = dict[str, Any]
KINDS = ("spark_python_task", "python_wheel_task", "notebook_task", "for_each_task")
PLACES = ("existing_cluster_id", "new_cluster", "job_cluster_key")
KEY = re.compile(r"[A-Za-z0-9_-]{1,100}")  # SDK: "only alphanumeric characters, _ and -, 100 characters"
MOST_TASKS, MOST_TAGS, LONGEST_TOKEN, LONGEST_NAME = 1000, 25, 64, 4096
PARAMETERS_BYTES = 10_000  # SDK, RunNow.python_params: as JSON, and ASCII only; that a task's own are held to it is a guess
MOST_CONCURRENT_RUNS, MOST_ITERATIONS_AT_ONCE = 1000, 100  # SDK; docs.databricks.com/jobs/for-each
NO_EMULATION = ("git_source", "continuous", "trigger", "triggers", "deployment")


def check_token(token: str | None) -> None:
    """Of idempotency. Raises ApiError."""
    if token is not None and len(token) > LONGEST_TOKEN:
        raise invalid(f"The idempotency token must have at most {LONGEST_TOKEN} characters, not {len(token)}.")


def check_settings(place: Place, workspace: str, settings: Json, *, is_job: bool) -> None:
    """Raises ApiError."""
    for name in NO_EMULATION:
        if settings.get(name):
            raise ApiError("NOT_IMPLEMENTED", f"The emulator's jobs have no {name}.")
    named = settings.get("name" if is_job else "run_name") or ""
    if len(named.encode()) > LONGEST_NAME:
        raise invalid(f"The name must have at most {LONGEST_NAME} bytes, not {len(named.encode())}.")
    _check_number("timeout_seconds", settings, 0)
    tasks = settings.get("tasks") or []
    if not tasks and not is_job:
        raise invalid("At least one task must be specified.")
    if len(tasks) > MOST_TASKS:
        raise invalid(f"A job can have at most {MOST_TASKS} tasks, not {len(tasks)}.")
    environments = _keys(settings.get("environments") or (), "environment_key", "environment")
    clusters = _keys(settings.get("job_clusters") or (), "job_cluster_key", "job cluster")
    for shared in settings.get("job_clusters") or ():
        check_cluster(place, workspace, shared["new_cluster"], "settings.job_clusters.new_cluster")
    keys = _keys(tasks, "task_key", "task")
    for task in tasks:
        _check_task(place, workspace, task, environments, clusters)
    _check_dependencies(tasks, keys)
    if is_job:
        _check_job(settings)


def _check_job(settings: Json) -> None:
    if len(settings.get("tags") or {}) > MOST_TAGS:
        raise invalid(f"A job can have at most {MOST_TAGS} tags, not {len(settings['tags'])}.")
    if not 0 <= settings.get("max_concurrent_runs", 1) <= MOST_CONCURRENT_RUNS:
        raise invalid(f"max_concurrent_runs must be between 0 and {MOST_CONCURRENT_RUNS}, not {settings['max_concurrent_runs']}.")
    _keys(settings.get("parameters") or (), "name", "parameter")
    schedule = settings.get("schedule")
    if schedule:
        if schedule.get("sql_condition"):
            raise ApiError("NOT_IMPLEMENTED", "The emulator's schedules have no sql_condition.")
        check_schedule(schedule)


def check_schedule(schedule: Json) -> None:
    """Raises ApiError."""
    expression, zone = schedule["quartz_cron_expression"], schedule["timezone_id"]
    try:
        Quartz.parse(expression, zone)
    except BadSchedule as error:
        field = "timezone_id" if "time zone" in str(error) else "quartz_cron_expression"
        raise invalid(f"Invalid {field} {zone if field == 'timezone_id' else expression!r}: {error}") from error


# ---------------------------------------------------------------- tasks


def _check_task(
    place: Place, workspace: str, task: Json, environments: Collection[str], clusters: Collection[str], inner: bool = False
) -> None:
    key = task["task_key"]
    if not KEY.fullmatch(key):
        raise invalid(f"The task key {key!r} may have only alphanumeric characters, '_' and '-', and at most 100 of them.")
    kinds = [name for name in task if name.endswith("_task")]
    if len(kinds) != 1:
        raise invalid(f"Exactly one type of task must be specified for task {key}, not {', '.join(kinds) or 'none'}.")
    kind = kinds[0]
    if kind not in KINDS:
        raise ApiError("NOT_IMPLEMENTED", f"The emulator runs {', '.join(KINDS)} only, not {kind}.")
    for name, least in (("max_retries", -1), ("timeout_seconds", 0), ("min_retry_interval_millis", 0)):
        _check_number(name, task, least)
    if kind == "for_each_task":
        _check_each(place, workspace, task, environments, clusters, inner)
        return
    if task[kind].get("source") == "GIT":
        raise ApiError("NOT_IMPLEMENTED", "The emulator has no Git sources.")
    if kind == "notebook_task" and task[kind].get("warehouse_id"):
        raise ApiError("NOT_IMPLEMENTED", "The emulator runs no notebooks on SQL warehouses.")
    if kind == "python_wheel_task" and task[kind].get("parameters") and task[kind].get("named_parameters"):
        raise invalid(f"Only one of parameters and named_parameters can be set for task {key}.")
    if kind == "spark_python_task":
        _check_parameters(key, task[kind].get("parameters") or [])
    _check_compute(place, workspace, task, kind, environments, clusters)


def _check_parameters(key: str, parameters: list[str]) -> None:
    size = len(json.dumps({"python_params": parameters}))
    if size > PARAMETERS_BYTES:
        raise invalid(f"The parameters of task {key} must have at most {PARAMETERS_BYTES} bytes as JSON, not {size}.")
    if not all(word.isascii() for word in parameters):
        raise invalid(f"The parameters of task {key} must have ASCII characters only.")


def _check_each(place: Place, workspace: str, task: Json, environments: Collection[str], clusters: Collection[str], inner: bool) -> None:
    key, each = task["task_key"], task["for_each_task"]
    if inner:
        raise invalid(f"The for-each task {key} cannot be nested in another.")
    if any(task.get(name) for name in (*PLACES, "environment_key", "libraries")):
        raise invalid(f"The compute of the for-each task {key} must be specified in its nested task.")
    if not 1 <= each.get("concurrency", 1) <= MOST_ITERATIONS_AT_ONCE:
        raise invalid(
            f"The concurrency of the for-each task {key} must be between 1 and {MOST_ITERATIONS_AT_ONCE}, not {each['concurrency']}."
        )
    if each["task"].get("depends_on"):
        raise invalid(f"The nested task of {key} cannot depend on other tasks.")
    _check_task(place, workspace, each["task"], environments, clusters, inner=True)


def _check_compute(place: Place, workspace: str, task: Json, kind: str, environments: Collection[str], clusters: Collection[str]) -> None:
    key, chosen = task["task_key"], [name for name in PLACES if task.get(name)]
    if len(chosen) > 1:
        raise invalid(f"Only one of {', '.join(chosen)} can be specified for task {key}.")
    check_libraries(task.get("libraries") or [])
    if not chosen:
        _check_serverless(task, kind, environments)
    elif task.get("environment_key"):
        raise invalid(f"An environment cannot be specified for task {key}, which runs on a cluster.")
    elif chosen[0] == "new_cluster":
        check_cluster(place, workspace, task["new_cluster"], "settings.cluster_spec.new_cluster")
    elif chosen[0] == "job_cluster_key":
        if task["job_cluster_key"] not in clusters:
            raise invalid(f"The job cluster {task['job_cluster_key']} of task {key} is not defined.")
    elif place.clusters.need(workspace, task["existing_cluster_id"])["job"] is not None:
        raise invalid("existing_cluster_id only supports all-purpose cluster IDs")  # databricks/databricks-sdk-py issue 744


def _check_serverless(task: Json, kind: str, environments: Collection[str]) -> None:
    key, environment = task["task_key"], task.get("environment_key")
    if task.get("libraries"):  # seen in public
        raise invalid("Libraries field is not supported for serverless task, please specify libraries in environment.")
    if environment and kind == "notebook_task":  # seen in public
        advice = "Please use the %pip magic command to install notebook-scoped Python libraries and Python wheel packages"
        raise invalid(f"A task environment can not be provided for notebook task {key}. {advice}")
    if not environment and kind != "notebook_task":
        raise invalid(f"An environment is required for serverless task {key}.")
    if environment and environment not in environments:
        raise invalid(f"The environment {environment} of task {key} is not defined.")


def _check_dependencies(tasks: list[Json], keys: Collection[str]) -> None:
    needs = {task["task_key"]: [each["task_key"] for each in task.get("depends_on") or ()] for task in tasks}
    for key, wanted in needs.items():
        for other in wanted:
            if other not in keys:
                raise invalid(f"Task {key} depends on {other}, which is not defined.")
    done: set[str] = set()
    while free := {key for key, wanted in needs.items() if key not in done and done.issuperset(wanted)}:
        done |= free
    if len(done) < len(needs):
        raise invalid(f"The dependencies of the tasks {', '.join(sorted(needs.keys() - done))} form a cycle.")


# ---------------------------------------------------------------- small checks


def _check_number(name: str, given: Json, least: int) -> None:
    if given.get(name, least) < least:
        raise invalid(f"{name} must be at least {least}, not {given[name]}.")


def _keys(given: Collection[Json], field: str, what: str) -> set[str]:
    """The keys of what is listed, each once. Raises ApiError."""
    found: set[str] = set()
    for each in given:
        if each[field] in found:
            raise invalid(f"Duplicate {what} key found: {each[field]}.")
        found.add(each[field])
    return found
