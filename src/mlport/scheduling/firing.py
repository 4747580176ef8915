"""Firing what is due: decided in one compare-and-swap, started by a token of its own, finished by whoever comes next."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlport.errors import MlportError, NotFoundError
from mlport.jobs import again_later, secrets_of
from mlport.journal import token_for
from mlport.scheduling.deciding import due
from mlport.scheduling.stored import Book, Stored, StoredSchedules
from mlport.specs import JobSpec
from mlport.spi import Firing

if TYPE_CHECKING:
    from mlport.client import Client
    from mlport.specs import BatchSpec

LABEL = "mlport_schedule"
TIME_LABEL = "mlport_scheduled"
TIME_VARIABLE = "MLPORT_SCHEDULED"
STAMP = "%Y%m%dT%H%M%SZ"

Start = Callable[[Stored, Firing], str]
"""Start the run of a firing, at most once however often it is called; the job's id."""


class Clerk:
    """Fires schedules, with the ways to start a run and to see whether one goes on handed in."""

    def __init__(self, book: Book, start: Start, goes_on: Callable[[str], bool], clock: Callable[[], datetime]) -> None:
        self._book, self._start, self._goes_on, self._clock = book, start, goes_on, clock

    def fire(self, name: str) -> Firing | None:
        """Finish the firing that is under way, or make the one that is due; None if there was neither.

        Raises:
            MlportError: it cannot be finished now; it stays under way.
            NotFoundError: the schedule was deleted.
        """
        schedule = self._book.get(name)
        if schedule.open is None:
            now, ended = self._clock(), {run for run in schedule.runs if not self._goes_on(run)}
            decided = self._book.change(name, lambda stored: _decided(stored, now, ended))
            if decided is None:
                return None
            schedule = decided
        return self._finish(schedule)

    def _finish(self, schedule: Stored) -> Firing:
        assert schedule.open is not None  # noqa: S101 - that is why we are here
        done = schedule.open if schedule.open.reason else self._started(schedule, schedule.open)
        self._book.note(schedule, done)
        self._book.change(schedule.name, lambda stored: _closed(stored, schedule.token, done))
        return done

    def _started(self, schedule: Stored, firing: Firing) -> Firing:
        try:
            return replace(firing, job_id=self._start(schedule, firing), fired=self._clock())
        except MlportError as error:
            if again_later(error):
                raise
            return replace(firing, error=error.message, fired=self._clock())


def _decided(stored: Stored, now: datetime, ended: set[str]) -> Stored | None:
    """The schedule with the next firing under way; None where there is none, or another agent was faster."""
    if stored.paused or stored.open is not None:
        return None
    runs = tuple(run for run in stored.runs if run not in ended)
    found = due(stored.spec, stored.token, after=stored.handled, now=now, busy=len(runs))
    if found is None:
        return None
    under_way = Firing(found.instant, merged=found.merged, reason=found.reason)
    return replace(stored, handled=found.instant, open=under_way, decided=now, runs=runs)


def _closed(stored: Stored, token: str, done: Firing) -> Stored | None:
    """The schedule without its firing; None where another agent was faster, or it is another schedule by now."""
    if stored.token != token or stored.open is None or stored.open.scheduled != done.scheduled:
        return None
    runs = (*stored.runs, done.job_id) if done.job_id and stored.spec.max_concurrent else stored.runs
    return replace(stored, open=None, decided=None, runs=runs, last=done.fired or stored.last)


# ---------------------------------------------------------------- for real


def clerk(client: Client, schedules: StoredSchedules, clock: Callable[[], datetime]) -> Clerk:
    """A clerk that starts jobs of a profile."""

    def start(schedule: Stored, firing: Firing) -> str:
        spec = _work(schedule, firing)
        plan = client.plan(spec, client.jobs.facts(spec, schedule.code)) if isinstance(spec, JobSpec) else client.jobs.plan(spec)
        return client.jobs.send(
            plan,
            token=token_for(client.config.target, "job", f"{schedule.token}/{firing.scheduled.isoformat()}"),
            bundle=schedules.bundle(schedule),
            secrets=secrets_of(spec),
            replan=True,  # inputs may have changed since an earlier try
        )

    def goes_on(job_id: str) -> bool:
        with suppress(NotFoundError):
            return not client.session.jobs.status(job_id).state.terminal
        return False

    return Clerk(schedules.book, start, goes_on, clock)


def _work(schedule: Stored, firing: Firing) -> JobSpec | BatchSpec:
    """What this firing starts: it finds its time in its labels, its environment, or its output's name."""
    work, stamp = schedule.spec.work, firing.scheduled.astimezone(UTC).strftime(STAMP)
    labels = {**schedule.spec.labels, **work.labels, LABEL: schedule.name, TIME_LABEL: stamp.lower()}
    if isinstance(work, JobSpec):
        return work.model_copy(update={"labels": labels, "env": {**work.env, TIME_VARIABLE: firing.scheduled.isoformat()}})
    return work.model_copy(update={"labels": labels, "output": work.output.replace("{time}", stamp)})
