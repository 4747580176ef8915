"""Schedules by Databricks' own clock: a job with a schedule for each. Its spec and the number of its job stand in the state.

Names of jobs are not unique and jobs/create takes no token; so the name is taken in the state first, by compare-and-swap, and of
several jobs with our token in their name, made by a call whose answer was lost, the one with the lowest number stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlport.errors import AmbiguousError, ConflictError, InvalidRequestError, NotFoundError, PermissionDeniedError, stamped
from mlport.scheduling.deciding import firings as instants
from mlport.specs import ScheduleSpec
from mlport.spi import ABSENT, Firing, Json, Page, Plan, Query, ScheduleRecord, ScheduleState, StateStore
from mlport_databricks.names import run_name
from mlport_databricks.running.job_records import id_of, moment
from mlport_databricks.running.schedule_request import CREATE_PATH, clock
from mlport_databricks.running.states import words

if TYPE_CHECKING:
    from mlport_databricks.jobs import DatabricksJobs
    from mlport_databricks.workspace.connection import Connection

KEYS = "databricks-schedules/"
JOBS = "/api/2.2/jobs"
PAGE = 24


@dataclass(frozen=True, slots=True)
class Kept:
    """A schedule as it stands in the state. `job_id` is 0 until the job is known."""

    token: str
    spec: Json
    labels: dict[str, str]
    created: str
    job_id: int = 0


@stamped("databricks", "schedules")
class DatabricksSchedules:
    """The role `Schedules`."""

    def __init__(self, connection: Connection, state: StateStore, jobs: DatabricksJobs) -> None:
        self._connection, self._state, self._jobs = connection, state, jobs

    # ---------------------------------------------------------------- making

    def create(self, plan: Plan, *, token: str, bundle: Path | None = None) -> str:
        name, body = plan.name, self._jobs.settled(plan.requests[-1].body, token)
        kept = self._taken(name, Kept(token, plan.spec, body["tags"], datetime.now(UTC).isoformat(timespec="milliseconds")))
        if kept.job_id:
            return name
        self._jobs.stage(plan, token, bundle)
        if not self._same(name, token):
            with suppress(AmbiguousError):  # the look that follows tells
                self._connection.call("POST", CREATE_PATH, operation="jobs.create", body=body)
        same = self._same(name, token)
        if not same:
            raise AmbiguousError(f"schedule {name}: no answer came, and its job is not listed", hint="ask again with the same key")
        for job_id in same[1:]:
            self._remove(job_id)
        self._state.put(f"{KEYS}{name}", _dump(replace(kept, job_id=same[0])))
        return name

    def _taken(self, name: str, wanted: Kept) -> Kept:
        """The schedule in the state, with this token. Raises ConflictError where the name is another's."""
        try:
            self._state.put(f"{KEYS}{name}", _dump(wanted), expect=ABSENT)
        except ConflictError as error:
            found = self._look(name)
            if found.token != wanted.token:
                hint = f"choose another name, or delete it first: mlport schedules delete {name}"
                raise ConflictError(f"a schedule {name!r} exists already, and is another", hint=hint) from error
            return found
        return wanted

    def _same(self, name: str, token: str) -> list[int]:
        """The numbers of the jobs that carry this token, the lowest first."""
        answer = self._connection.call("GET", f"{JOBS}/list", operation="jobs.list", query={"name": run_name(name, token), "limit": 100})
        return sorted(int(job["job_id"]) for job in answer.get("jobs", ()))

    def _look(self, name: str) -> Kept:
        found = self._state.get(f"{KEYS}{name}")
        if found is None:
            raise NotFoundError(f"no schedule {name!r}", hint="`mlport schedules list` shows those that there are")
        return Kept(**json.loads(found.value))

    def _all(self) -> Iterator[tuple[str, Kept]]:
        return ((key.removeprefix(KEYS), Kept(**json.loads(found.value))) for key, found in self._state.list(KEYS))

    # ---------------------------------------------------------------- looking

    def find(self, token: str) -> str | None:
        """A name that was taken without a job is not made yet."""
        return next((name for name, kept in self._all() if kept.token == token and kept.job_id), None)

    def get(self, name: str) -> ScheduleRecord:
        kept = self._look(name)
        if not kept.job_id:
            raise NotFoundError(f"schedule {name!r} was begun and never made", hint="create it again, with the same key")
        return _record(name, kept, self._job(kept.job_id))

    def list(self, query: Query, page: str | None = None) -> Page[ScheduleRecord]:
        found = [(name, kept) for name, kept in self._all() if kept.job_id and query.name in (None, name)]
        found = [each for each in found if query.labels.items() <= each[1].labels.items()]
        found.sort(key=lambda each: (each[1].created, each[0]), reverse=query.newest_first)
        begin = int(page) if page and page.isdigit() else 0
        shown = [_record(name, kept, self._job(kept.job_id)) for name, kept in found[begin : begin + query.page_size]]
        return Page(shown, str(begin + query.page_size) if begin + query.page_size < len(found) else None)

    def _job(self, job_id: int) -> Json | None:
        """The job, None if other hands deleted it; such a one may be told as one that we may not see."""
        try:
            return self._connection.call("GET", f"{JOBS}/get", operation="jobs.get", query={"job_id": job_id})
        except (NotFoundError, PermissionDeniedError):
            return None

    def firings(self, name: str, page: str | None = None) -> Page[Firing]:
        kept = self._look(name)
        query = {"job_id": kept.job_id, "limit": PAGE, "page_token": page}
        answer = self._connection.call("GET", f"{JOBS}/runs/list", operation="jobs.list_runs", query=query)
        found = [_firing(run) for run in answer.get("runs", ()) if run.get("trigger", "PERIODIC") == "PERIODIC"]
        return Page(found, answer.get("next_page_token") or None)

    # ---------------------------------------------------------------- changing

    def pause(self, name: str) -> None:
        self._set(name, paused=True)

    def resume(self, name: str) -> None:
        self._set(name, paused=False)

    def _set(self, name: str, *, paused: bool) -> None:
        kept = self._look(name)
        schedule = clock(ScheduleSpec.model_validate(kept.spec), paused=paused)
        body = {"job_id": kept.job_id, "new_settings": {"schedule": schedule}}
        self._connection.call("POST", f"{JOBS}/update", operation="jobs.update", body=body, repeatable=True)

    def delete(self, name: str) -> bool:
        """The job first, and what the state has of it last. The manifest stays for the runs that it started."""
        with suppress(NotFoundError):
            kept = self._look(name)
            for job_id in {*self._same(name, kept.token), *([kept.job_id] if kept.job_id else [])}:
                self._remove(job_id)
            self._state.delete(f"{KEYS}{name}")
        return True

    def _remove(self, job_id: int) -> None:
        """Remove a job; an absent one is fine, and may be told as an invalid value."""
        try:
            self._connection.call("POST", f"{JOBS}/delete", operation="jobs.delete", body={"job_id": job_id}, repeatable=True)
        except (NotFoundError, InvalidRequestError, PermissionDeniedError):
            if self._job(job_id) is not None:
                raise


def _record(name: str, kept: Kept, job: Json | None) -> ScheduleRecord:
    spec, told = ScheduleSpec.model_validate(kept.spec), (job or {}).get("settings", {}).get("schedule") or {}
    native = str(told.get("pause_status", "")) if job else "DELETED"
    state = {"PAUSED": ScheduleState.PAUSED, "DELETED": ScheduleState.FAILED}.get(native, ScheduleState.ACTIVE)
    created = job["created_time"] if job else None
    return ScheduleRecord(
        name=name,
        state=state,
        native_state=native,
        cron=spec.cron,
        time_zone=spec.time_zone,
        spec=kept.spec,
        created=moment(created) if created else datetime.fromisoformat(kept.created),
        next=next(instants(spec, datetime.now(UTC)), None) if state is ScheduleState.ACTIVE else None,
        token=kept.token,
        labels=kept.labels,
        reason=""
        if job
        else f"job {kept.job_id} of the workspace was deleted, or may not be seen: delete the schedule, and create it again",
        native_name=str(kept.job_id),
    )


def _firing(run: Json) -> Firing:
    """A run by the clock; Databricks tells when it made it, not for which time. One that was skipped has no job."""
    began, life, result = moment(run["start_time"]), words(run)[2], words(run)[3]
    if life == "SKIPPED" or result == "MAXIMUM_CONCURRENT_RUNS_REACHED":
        return Firing(began, reason=str((run.get("state") or {}).get("state_message") or "Databricks skipped it"))
    return Firing(began, fired=began, job_id=id_of(run))


def _dump(kept: Kept) -> bytes:
    return json.dumps({name: getattr(kept, name) for name in Kept.__slots__}).encode()
