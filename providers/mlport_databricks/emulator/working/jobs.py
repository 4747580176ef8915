"""Jobs at work: a run of a job is begun, on demand or by its schedule.

While the emulator is down nothing fires, and what was missed is not made up for. What is due is begun with its time for a token,
so that it is begun once.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from mlport_databricks.emulator.place import now_ms
from mlport_databricks.emulator.protocol.api import Request
from mlport_databricks.emulator.protocol.errors import invalid
from mlport_databricks.emulator.protocol.permitted import check_job
from mlport_databricks.emulator.working import task_states
from mlport_databricks.emulator.working.quartz import next_firing
from mlport_databricks.emulator.working.run_records import Records

if TYPE_CHECKING:
    from mlport_databricks.emulator.place import Place

Json = dict[str, Any]
JOBS, FIRINGS = "jobs", "job firings"
QUEUED = {
    "code": "MAX_CONCURRENT_RUNS_REACHED",
    "message": "The run was queued because the job has reached its maximum number of concurrent runs.",
}


class Jobs:
    """The jobs of all workspaces."""

    def __init__(self, place: Place, records: Records, clock: Callable[[], int] = now_ms) -> None:
        self._place, self._records, self._now = place, records, clock
        self._opened = clock()
        place.chore(self._fire)

    def need(self, request: Request, job_id: int, needed: str = "View or Admin or Manage Run or Owner") -> Json:
        """The document. Raises ApiError in the words by which the SDK knows that there is none."""
        job = self._place.documents.get(JOBS, f"{request.workspace}/{job_id}")
        if job is None:
            raise invalid(f"Job {job_id} does not exist.")
        check_job(self._place, request, job["creator"], job_id, needed)
        return job

    def begin(
        self,
        job: Json,
        *,
        trigger: str,
        token: str,
        parameters: list[Json],
        overrides: Json,
        queue: Json | None = None,
        faults: Json | None = None,
    ) -> int:
        """A run of the job: at once, in the queue, or skipped where there are too many already."""
        settings, schedule = job["settings"], job["settings"].get("schedule")
        with self._place.documents.together():
            if token and (known := self._records.by_token(job["workspace"], token)) is not None:
                return known
            others = self._records.active_of(job["workspace"], job["job_id"])
            is_full = len(others) >= settings["max_concurrent_runs"]
            waits = is_full and bool((queue or settings.get("queue") or {}).get("enabled"))
            run = {
                "user": job["run_as"],
                "job_id": job["job_id"],
                "name": settings["name"],
                "settings": {"tasks": [], **settings},
                "run_type": "JOB_RUN",
                "trigger": trigger,
                "job_parameters": parameters,
                "overrides": overrides,
                "schedule": schedule if trigger == "PERIODIC" else None,
                "max_concurrent_runs": settings["max_concurrent_runs"],
                **(faults or {"hidden_until": 0, "preempt": []}),
            }
            run_id = self._records.begin(job["workspace"], run, token=token, queued=QUEUED if waits else None)
            if is_full and not waits:
                self._skip(job["workspace"], run_id)
        return run_id

    def _skip(self, workspace: str, run_id: int) -> None:
        run = self._records.find(workspace, run_id).run
        ended = {"phase": "TERMINATED", "outcome": task_states.MAX_CONCURRENT, "ended": run["created"]}
        for task in run["tasks"]:
            task["outcome"] = task_states.MAX_CONCURRENT
            task["attempts"][-1].update(ended, began=run["created"])
        self._records.save({**run, **ended})

    # ---------------------------------------------------------------- schedules

    def _fire(self) -> None:
        for _, job in list(self._place.documents.list(JOBS))[::-1]:
            schedule = job["settings"].get("schedule")
            if schedule and schedule["pause_status"] == "UNPAUSED":
                self._place.tries(f"schedule of job {job['job_id']}", partial(self._look, job, schedule))
            elif self._place.documents.get(FIRINGS, f"{job['workspace']}/{job['job_id']}"):
                self._place.documents.delete(FIRINGS, f"{job['workspace']}/{job['job_id']}")

    def _look(self, job: Json, schedule: Json) -> None:
        """Begin what is due, and note when it fires next."""
        name, wanted = f"{job['workspace']}/{job['job_id']}", [schedule["quartz_cron_expression"], schedule["timezone_id"]]
        firing = self._place.documents.get(FIRINGS, name)
        if firing is None or firing["schedule"] != wanted:
            self._note(name, wanted)
        elif firing["due"] is not None and firing["due"] <= self._now():
            if firing["due"] >= self._opened:
                token = f"schedule/{job['job_id']}/{firing['due']}"
                self.begin(job, trigger="PERIODIC", token=token, parameters=job_parameters(job["settings"], {}), overrides={})
            self._note(name, wanted)

    def _note(self, name: str, wanted: list[str]) -> None:
        moment = datetime.fromtimestamp(self._now() / 1000, UTC)
        instant = next_firing(wanted[0], wanted[1], moment)
        with self._place.documents.together():
            self._place.documents.delete(FIRINGS, name)
            due = int(instant.timestamp() * 1000) if instant else None
            self._place.documents.insert(FIRINGS, name, {"schedule": wanted, "due": due})


def job_parameters(settings: Json, given: Json) -> list[Json]:
    """Every parameter that the job defines, with the run's own values over it (databricks/cli libs/testserver/jobs.go, runJobParameters)."""
    defaults = {each["name"]: each["default"] for each in settings.get("parameters") or ()}
    found = {name: {"name": name, "default": default, "value": default} for name, default in defaults.items()}
    for name, value in given.items():
        found[name] = {**found.get(name, {"name": name}), "value": value}
    return [found[name] for name in sorted(found)]
