"""Runs as documents: how they are begun, found again by any of their ids, and forgotten.

A run of a job, or a one-time run, is one document of the kind `runs`: its settings, its tasks, and the attempts of each. Only
the chore in runs.py changes it once it is there, so what callers ask for meanwhile is a document of its own kind. While a run
has not ended there is one of the kind `active runs`. Every attempt has a run id; `run ids` says whose it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from mlport_databricks.emulator.place import now_ms
from mlport_databricks.emulator.protocol.errors import ApiError, invalid
from mlport_databricks.emulator.working.task_commands import clear

if TYPE_CHECKING:
    from pathlib import Path

    from mlport_databricks.emulator.place import Place

Json = dict[str, Any]
RUNS, ACTIVE, IDS, CANCELS, TOKENS = "runs", "active runs", "run ids", "run cancellations", "run tokens"
SPREAD, LEAST, COUNT = 316_227_766_017, 10**14, 9 * 10**14  # ids have 15 digits; SPREAD and COUNT have no factor in common


class Found(NamedTuple):
    """A run, and the attempt that was asked for by its own id: None for the run itself. `unit` is a task or one of its iterations."""

    run: Json
    task: Json | None = None
    unit: Json | None = None
    attempt: Json | None = None


class Records:
    """The runs of all workspaces."""

    def __init__(self, place: Place) -> None:
        self._place = place

    # ---------------------------------------------------------------- ids

    def new_id(self) -> int:
        """An id for a run or a job: 15 digits, never twice."""
        return LEAST + self._place.documents.next_number("run and job ids") * SPREAD % COUNT

    def by_token(self, workspace: str, token: str) -> int | None:
        """The run that this token began. Raises ApiError where that run was deleted (SDK: "it returns an error")."""
        found = self._place.documents.get(TOKENS, f"{workspace}/{token}")
        if found is None:
            return None
        run_id = int(found["run_id"])
        if self._place.documents.get(RUNS, f"{workspace}/{run_id}") is None:
            raise invalid(f"The run {run_id} with the idempotency token {token.rpartition('/')[2]} has been deleted.")
        return run_id

    def begin(self, workspace: str, run: Json, *, token: str = "", queued: Json | None = None) -> int:
        """Keep a new run; one with the same token is found again instead.

        What the caller has put into `run` and checked: user, job_id (0 for a one-time run), name, settings, run_type, trigger, job_parameters, overrides, schedule, preempt,
        hidden_until, max_concurrent_runs.
        """
        with self._place.documents.together():
            if token and (known := self.by_token(workspace, token)) is not None:
                return known
            run_id, moment = self.new_id(), now_ms()
            if token:
                self._place.documents.insert(TOKENS, f"{workspace}/{token}", {"run_id": run_id})
            kept = {
                **run,
                "workspace": workspace,
                "run_id": run_id,
                "job_id": run["job_id"] or self.new_id(),  # a one-time run belongs to a job that nobody sees
                "created": moment,
                "began": None,
                "ended": None,
                "phase": "QUEUED" if queued else "PENDING",
                "queued": queued,
                "stop": None,
                "outcome": None,
                "clusters": {},
                "tasks": [
                    {"key": spec["task_key"], "attempts": [self.attempt(workspace, run_id, spec["task_key"])], "outcome": None}
                    for spec in run["settings"]["tasks"]
                ],
            }
            self._place.documents.insert(RUNS, f"{workspace}/{run_id}", kept)
            self._place.documents.insert(
                ACTIVE, f"{workspace}/{run_id}", {"workspace": workspace, "run_id": run_id, "job_id": kept["job_id"]}
            )
        return run_id

    def attempt(self, workspace: str, run_id: int, key: str, iteration: int | None = None, before: Json | None = None) -> Json:
        """A new attempt of a task, or the one after `before`, under its own id."""
        own = self.new_id()
        number = before["number"] + 1 if before else 0
        where = {"run_id": run_id, "task": key, "iteration": iteration, "number": number}
        self._place.documents.insert(IDS, f"{workspace}/{own}", where)
        return {
            "run_id": own,
            "number": number,
            "original": before["original"] if before else own,
            "phase": "BLOCKED",
            "not_before": 0,
            "began": None,
            "started": None,
            "finished": None,
            "ended": None,
            "engine": None,
            "cluster_id": None,
            "told": None,
            "outcome": None,
        }

    # ---------------------------------------------------------------- finding

    def find(self, workspace: str, run_id: int) -> Found:
        """By the id of a run or of an attempt. Raises ApiError in the words by which the SDK knows that there is none."""
        run = self._place.documents.get(RUNS, f"{workspace}/{run_id}")
        if run is not None:
            return Found(run)
        where = self._place.documents.get(IDS, f"{workspace}/{run_id}")
        run = where and self._place.documents.get(RUNS, f"{workspace}/{where['run_id']}")
        if where is None or run is None:
            raise invalid(f"Run {run_id} does not exist.")
        task = next(task for task in run["tasks"] if task["key"] == where["task"])
        unit = task if where["iteration"] is None else task["iterations"][where["iteration"]]
        return Found(run, task, unit, unit["attempts"][where["number"]])

    def all(self, workspace: str) -> Iterator[Json]:
        """Newest first."""
        return (run for _, run in self._place.documents.list(RUNS, f"{workspace}/"))

    def active(self) -> list[Json]:
        """What says which runs have not ended, oldest first."""
        return [run for _, run in self._place.documents.list(ACTIVE)][::-1]

    def active_of(self, workspace: str, job_id: int) -> list[Json]:
        """The runs of a job that have not ended, oldest first."""
        ids = [each["run_id"] for each in self.active() if each["workspace"] == workspace and each["job_id"] == job_id]
        found = [self._place.documents.get(RUNS, f"{workspace}/{run_id}") for run_id in ids]
        return [run for run in found if run is not None]

    def folder(self, attempt: Json) -> Path:
        """Where an attempt keeps its files."""
        return self._place.folder / "runs" / str(attempt["run_id"])

    # ---------------------------------------------------------------- changing

    def save(self, run: Json) -> None:
        """What the chore has made of a run; it is no longer active once it has ended."""
        name = f"{run['workspace']}/{run['run_id']}"
        with self._place.documents.together():
            self._place.documents.change(RUNS, name, lambda _: run)
            if run["ended"] is not None:
                self._place.documents.delete(ACTIVE, name)

    def cancel(self, workspace: str, run_id: int) -> None:
        """Ask for the end of a run or an attempt; the chore does it."""
        with self._place.documents.together():
            if not self.is_canceled(workspace, run_id):
                self._place.documents.insert(CANCELS, f"{workspace}/{run_id}", {"at": now_ms()})

    def is_canceled(self, workspace: str, run_id: int) -> bool:
        return self._place.documents.get(CANCELS, f"{workspace}/{run_id}") is not None

    def delete(self, run: Json) -> None:
        """Forget a run that has ended; its token stays spent. Raises ApiError for an active one."""
        if run["ended"] is None:
            raise ApiError("INVALID_STATE", f"Run {run['run_id']} is active and cannot be deleted. Cancel it first.")
        workspace = run["workspace"]
        for attempt in attempts_of(run):
            if attempt["engine"] is not None and (job := self._place.engine.jobs.find(f"{workspace}/{attempt['run_id']}")) is not None:
                job.delete()
            clear(self.folder(attempt))
        with self._place.documents.together():
            for own in (run["run_id"], *(attempt["run_id"] for attempt in attempts_of(run))):
                self._place.documents.delete(IDS, f"{workspace}/{own}")
                self._place.documents.delete(CANCELS, f"{workspace}/{own}")
            self._place.documents.delete(RUNS, f"{workspace}/{run['run_id']}")


def attempts_of(run: Json) -> Iterator[Json]:
    """Every attempt of every task."""
    for task in run["tasks"]:
        yield from task["attempts"]
        for iteration in task.get("iterations", ()):
            yield from iteration["attempts"]


def spec_of(run: Json, key: str) -> Json:
    """The settings of a task."""
    found: Json = next(spec for spec in run["settings"]["tasks"] if spec["task_key"] == key)
    return found
