"""Repairs of runs: some tasks of a run that has ended are done again, as part of the same run (SDK, repair_run)."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from mlport_databricks.emulator.place import now_ms
from mlport_databricks.emulator.protocol.errors import ApiError, invalid
from mlport_databricks.emulator.working.run_records import ACTIVE, CANCELS, Records, attempts_of
from mlport_databricks.emulator.working.task_states import CLEAN, states

if TYPE_CHECKING:
    from mlport_databricks.emulator.place import Place

Json = dict[str, Any]
LATEST = "The latest repair ID needs to be provided in order to create a new repair"  # databricks/databricks-sdk-py issue 157


def repair(place: Place, records: Records, run: Json, job: Json | None, asked: Json, overrides: Json) -> int:
    """Begin a repair; its id. `job` is the run's, None for a one-time run or where the job is gone. Raises ApiError."""
    workspace, name = run["workspace"], f"{run['workspace']}/{run['run_id']}"
    with place.documents.together():
        run = records.find(workspace, run["run_id"]).run  # as it is now: another repair may have come before
        if run["ended"] is None:
            raise ApiError("INVALID_STATE", f"Run {run['run_id']} is in progress and cannot be repaired.")
        history = run.get("history", [])
        latest = run.get("repair_id")
        if latest is not None and asked.get("latest_repair_id") != latest:
            raise invalid(LATEST)
        again = chosen(run, asked)
        settings = _settings(run, job, again)
        number, ids = records.new_id(), list[int]()
        begun = {
            "settings": settings,
            "history": [*history, entry(run)],
            "repair_id": number,
            "repaired": ids,
            "job_parameters": _parameters(run, asked.get("job_parameters") or {}),
            "overrides": overrides,
            "repair_began": now_ms(),
            "began": None,
            "ended": None,
            "phase": "PENDING",
            "queued": None,
            "stop": None,
            "outcome": None,
            "clusters": {},
        }
        changed = {**run, **begun, "tasks": [_anew(records, run, task, again, ids) for task in run["tasks"]]}
        place.documents.delete(CANCELS, name)
        records.save(changed)
        place.documents.insert(ACTIVE, name, {"workspace": workspace, "run_id": run["run_id"], "job_id": run["job_id"]})
    return number


def chosen(run: Json, asked: Json) -> set[str]:
    """The keys of the tasks that are done again. Raises ApiError."""
    keys, failed = asked.get("rerun_tasks") or [], asked.get("rerun_all_failed_tasks", False)
    if bool(keys) == bool(failed):
        raise invalid("Exactly one of rerun_tasks and rerun_all_failed_tasks must be given.")
    known = {task["key"]: task for task in run["tasks"]}
    if unknown := [key for key in keys if key not in known]:
        raise invalid(f"Run {run['run_id']} has no task {unknown[0]}.")
    found = set(keys) or {key for key, task in known.items() if (task["outcome"] or {}).get("result") not in CLEAN}
    if not found:
        raise invalid(f"No task of run {run['run_id']} has failed.")
    return _with_dependents(run, found) if asked.get("rerun_dependent_tasks") else found


def _with_dependents(run: Json, found: set[str]) -> set[str]:
    needs = {spec["task_key"]: {each["task_key"] for each in spec.get("depends_on") or ()} for spec in run["settings"]["tasks"]}
    while more := {key for key, wanted in needs.items() if key not in found and wanted & found}:
        found = found | more
    return found


def _settings(run: Json, job: Json | None, again: Collection[str]) -> Json:
    """The job's own settings of today for what is done again (SDK: "the current job and task settings"). Raises ApiError."""
    if job is None:
        found: Json = run["settings"]
        return found
    today = {spec["task_key"]: spec for spec in job["settings"].get("tasks") or ()}
    if gone := [key for key in again if key not in today]:
        raise invalid(f"The job {run['job_id']} has no task {gone[0]} any more.")
    tasks = [today[spec["task_key"]] if spec["task_key"] in again else spec for spec in run["settings"]["tasks"]]
    known = {spec["task_key"] for spec in tasks}
    for spec in tasks:
        if foreign := [each["task_key"] for each in spec.get("depends_on") or () if each["task_key"] not in known]:
            raise invalid(f"The task {spec['task_key']} depends on {foreign[0]} by now, which run {run['run_id']} does not have.")
    return {**job["settings"], "tasks": tasks}


def _parameters(run: Json, given: Json) -> list[Json]:
    """Those of the run, with what is given over them."""
    found = {each["name"]: each for each in run["job_parameters"]}
    for name, value in given.items():
        found[name] = {**found.get(name, {"name": name}), "value": value}
    return [found[name] for name in sorted(found)]


def _anew(records: Records, run: Json, task: Json, again: Collection[str], ids: list[int]) -> Json:
    """The task with another attempt; of a for-each task, its iterations that did not succeed wait again."""
    if task["key"] not in again:
        return task
    following = {**records.attempt(run["workspace"], run["run_id"], task["key"], before=task["attempts"][-1])}
    following["first"] = following["number"]
    ids.append(following["run_id"])
    waiting = [
        each if (each["outcome"] or {}).get("result") == "SUCCESS" else {**each, "outcome": None, "waits": True}
        for each in task.get("iterations", ())
    ]
    return {**task, "attempts": [*task["attempts"], following], "outcome": None, **({"iterations": waiting} if waiting else {})}


def entry(run: Json) -> Json:
    """An item of `repair_history`: the original run, or its latest repair, as it stands."""
    repaired = run.get("repair_id")
    ids = run["repaired"] if repaired else [attempt["run_id"] for attempt in attempts_of(run)]
    return {
        "type": "REPAIR" if repaired else "ORIGINAL",
        **({"id": repaired} if repaired else {}),
        "start_time": run.get("repair_began", run["created"]),
        "end_time": run["ended"] or 0,
        **states(run["phase"], run["outcome"], run["queued"]),
        "task_run_ids": ids,
    }
