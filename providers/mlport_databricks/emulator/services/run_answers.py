"""How runs are answered: jobs/runs/get, list and get-output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlport_databricks.emulator.accounts import workspace_id
from mlport_databricks.emulator.working.run_records import Found, spec_of
from mlport_databricks.emulator.working.task_states import states

Json = dict[str, Any]
OUTPUT_BYTES = 5 * 1024 * 1024  # SDK, RunOutput
TASK_FIELDS_NOT_ANSWERED = ("health",)  # of Task and SubmitTask, which RunTask does not have
TRACEBACK = "Traceback (most recent call last):"


def whole_run(found: Found, *, expanded: bool = True) -> Json:
    """A run of a job or a one-time run, as runs/get and runs/list answer it; without its tasks unless `expanded`."""
    run = found.run
    settings = run["settings"]
    answer = {
        **_identity(run, run["run_id"]),
        "run_name": run["name"],
        "job_run_id": run["run_id"],
        "original_attempt_run_id": run["run_id"],
        "attempt_number": 0,
        **states(run["phase"], run["outcome"], run["queued"]),
        **_times(run["created"], None, run["ended"]),
        "run_duration": (run["ended"] - run["created"]) if run["ended"] else 0,
        **({"queue_duration": (run["began"] or run["ended"] or run["created"]) - run["created"]} if run["queued"] else {}),
        "has_more": False,
    }
    if expanded:
        answer["tasks"] = [each for task in run["tasks"] for each in _attempts(run, task)]
        answer.update({name: settings[name] for name in ("job_clusters", "environment_variables") if settings.get(name)})
    return answer


def iterations(found: Found) -> list[Json]:
    """The iterations of the for-each tasks of a run, or of the one that was asked for."""
    tasks = [found.task] if found.task is not None else found.run["tasks"]
    return [
        run_task(found.run, spec_of(found.run, task["key"])["for_each_task"]["task"], attempt)
        for task in tasks
        for iteration in task.get("iterations", ())
        for attempt in iteration["attempts"]
    ]


def single(found: Found) -> Json:
    """The run of one attempt, as runs/get answers it for the attempt's own id, and get-output as metadata."""
    run, task, unit, attempt = found
    if task is None or attempt is None or unit is None:
        return whole_run(found)
    spec = _spec(found)
    shown = {**run_task(run, spec, attempt), **({"for_each_task": _each(spec, task)} if "for_each_task" in spec else {})}
    named = ("state", "status", "start_time", "end_time", "setup_duration", "execution_duration", "cleanup_duration", "run_duration")
    return {
        **_identity(run, attempt["run_id"]),
        **{name: shown[name] for name in (*named, "attempt_number", "cluster_instance") if name in shown},
        "trigger": "RETRY" if attempt["number"] else run["trigger"],
        "run_name": task["key"],
        "job_run_id": run["run_id"],
        "original_attempt_run_id": attempt["original"],
        "tasks": [shown],
    }


def output(found: Found, folder: Path) -> Json:
    """What an attempt left: its log or the value of its notebook, and the error."""
    attempt = found.attempt or {}
    answer: Json = {"metadata": single(found)}
    ended = attempt.get("outcome")
    log, cut = _tail(folder / "log")
    if "notebook_task" in _spec(found):
        answer["notebook_output"] = _notebook(folder / "notebook_result")
    elif attempt.get("started"):
        answer.update(logs=log, logs_truncated=cut)
    if ended is not None and ended["result"] not in ("SUCCESS", "CANCELED"):
        answer["error"] = ended["message"]
        if ended["code"] == "RUN_EXECUTION_ERROR":
            lines = log.rstrip().splitlines()
            answer["error"] = lines[-1].strip() if lines else ended["message"]  # databricks/cli libs/testserver/jobs.go, newTaskFailure
            answer["error_trace"] = log[log.rfind(TRACEBACK) :] if TRACEBACK in log else log.rstrip()
    return answer


# ---------------------------------------------------------------- parts


def _attempts(run: Json, task: Json) -> list[Json]:
    spec = spec_of(run, task["key"])
    more = {"for_each_task": _each(spec, task)} if "for_each_task" in spec else {}
    return [{**run_task(run, spec, attempt), **more} for attempt in task["attempts"]]


def run_task(run: Json, spec: Json, attempt: Json) -> Json:
    """One attempt of a task."""
    told = {name: value for name, value in spec.items() if name not in TASK_FIELDS_NOT_ANSWERED}
    began = attempt["began"] or run["created"]
    return {
        "run_if": "ALL_SUCCESS",
        "timeout_seconds": 0,
        **told,
        "run_id": attempt["run_id"],
        "attempt_number": attempt["number"],
        "run_page_url": _page(run, attempt["run_id"]),
        **states(attempt["phase"], attempt["outcome"]),
        **_times(began, attempt["started"], attempt["ended"], attempt["finished"]),
        **({"cluster_instance": {"cluster_id": attempt["cluster_id"]}} if attempt["cluster_id"] else {}),
    }


def _each(spec: Json, task: Json) -> Json:
    """A for-each task with how far it is."""
    outcomes = [iteration["outcome"] for iteration in task.get("iterations", ())]
    ended = [outcome["result"] for outcome in outcomes if outcome]
    begun = sum(bool(iteration["attempts"]) for iteration in task.get("iterations", ()))
    stats = {
        "total_iterations": len(outcomes),
        "scheduled_iterations": begun,
        "active_iterations": sum(bool(each["attempts"]) and not each["outcome"] for each in task.get("iterations", ())),
        "completed_iterations": len(ended),
        "succeeded_iterations": ended.count("SUCCESS"),
        "failed_iterations": len(ended) - ended.count("SUCCESS"),
    }
    return {"concurrency": 1, **spec["for_each_task"], "stats": {"task_run_stats": stats}}


def _spec(found: Found) -> Json:
    if found.task is None:
        return {}
    spec = spec_of(found.run, found.task["key"])
    is_iteration = found.unit is not found.task
    nested: Json = spec["for_each_task"]["task"] if is_iteration else spec
    return nested


def _identity(run: Json, run_id: int) -> Json:
    answer = {
        "job_id": run["job_id"],
        "run_id": run_id,
        "number_in_job": run_id,
        "creator_user_name": run["user"],
        "run_type": run["run_type"],
        "trigger": run["trigger"],
        "run_page_url": _page(run, run_id),
        "job_parameters": run["job_parameters"],
    }
    optional = {"schedule": run["schedule"], "overriding_parameters": run["overrides"]}
    return {**answer, **{name: value for name, value in optional.items() if value}}


def _page(run: Json, run_id: int) -> str:
    number = workspace_id(run["workspace"])
    return f"https://{run['workspace']}/?o={number}#job/{run['job_id']}/run/{run_id}"


def _times(began: int, started: int | None, ended: int | None, finished: int | None = None) -> Json:
    """In milliseconds; a duration is 0 until it is known, as the end time is."""
    last = finished or ended
    return {
        "start_time": began,
        "end_time": ended or 0,
        "setup_duration": started - began if started else 0,
        "execution_duration": last - started if started and last else 0,
        "cleanup_duration": ended - finished if ended and finished else 0,
    }


def _tail(path: Path) -> tuple[str, bool]:
    """The last bytes of a log that one answer holds, and whether more came before."""
    if not path.exists():
        return "", False
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - OUTPUT_BYTES))
        return stream.read(OUTPUT_BYTES).decode(errors="replace"), size > OUTPUT_BYTES


def _notebook(path: Path) -> Json:
    """What dbutils.notebook.exit was given: the first bytes; empty where it was not called."""
    if not path.exists():
        return {}
    with path.open("rb") as stream:
        value = stream.read(OUTPUT_BYTES + 1)
    return {"result": value[:OUTPUT_BYTES].decode(errors="replace"), "truncated": len(value) > OUTPUT_BYTES}


def is_active(run: Json) -> bool:
    return run["ended"] is None
