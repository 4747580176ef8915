"""Schedules: start a job or a batch by the clock, on any provider; where it has no clock of its own, `mlport agent` is the clock."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from mlport.capabilities import Capability
from mlport.errors import NotFoundError
from mlport.jobs import located
from mlport.journal import token_for
from mlport.paging import each
from mlport.scheduling.deciding import firings, starts
from mlport.spi import Firing, Plan, Query, ScheduleRecord, ScheduleState
from mlport.waiting import wait_until

if TYPE_CHECKING:
    from mlport.bundle import Bundle
    from mlport.client import Client
    from mlport.specs import ScheduleSpec
    from mlport.spi import Schedules as Role

SECONDS = 600.0  # for a provider to make or remove one


@dataclass(frozen=True)
class Schedule:
    """A schedule that exists. `record` asks the provider anew at each look."""

    name: str
    client: Client

    def __repr__(self) -> str:
        return f"<mlport.Schedule {self.name}>"

    @property
    def record(self) -> ScheduleRecord:
        """State, next and last start as they are now. Raises NotFoundError."""
        return self.client.session.schedules.get(self.name)

    @property
    def state(self) -> ScheduleState:
        return self.record.state

    def firings(self) -> Iterator[Firing]:
        """What it started and what it left out, newest first. Jobs that it started carry the label `mlport_schedule`."""
        return each(lambda page: self.client.session.schedules.firings(self.name, page))

    def pause(self) -> None:
        """Start nothing more until `resume`; what runs goes on."""
        self.client.session.schedules.pause(self.name)

    def resume(self) -> None:
        """Go on with the next time; what a pause left out is not caught up."""
        self.client.session.schedules.resume(self.name)

    def next(self, count: int = 1, after: datetime | None = None) -> list[datetime]:
        """When it will start, from now or `after` on, as its spec says; a pause is not considered."""
        from mlport.specs import ScheduleSpec

        record = self.record
        return upcoming(ScheduleSpec.model_validate(record.spec), count, after, token=record.token or "")

    def delete(self) -> None:
        """Remove it; the jobs that it started stay."""
        Schedules(self.client).delete(self.name)


class Schedules:
    """The schedules of one profile."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def plan(self, spec: ScheduleSpec) -> Plan:
        """What `create` would do, without doing it."""
        with tempfile.TemporaryDirectory(prefix="mlport-") as folder:
            return self._prepare(spec, Path(folder))[0]

    def create(self, spec: ScheduleSpec, *, key: str | None = None) -> Schedule:
        """Make a schedule, with the code as it is now. Asked again for the same thing, it gives the schedule that is there.

        Raises:
            SpecError, UnsupportedError: as for a job: what would fail at the first firing fails now.
            ConflictError: a schedule of that name exists and is another, or the key was used for another.
        """
        client, role = self._client, self._role()
        with tempfile.TemporaryDirectory(prefix="mlport-") as folder:
            plan, bundle = self._prepare(spec, Path(folder))
            token = token_for(client.config.target, "schedule", key or f"{spec.name}/{plan.digest}")
            name = client.journal.once(
                token,
                plan,
                send=lambda: role.create(plan, token=token, bundle=bundle.path if bundle else None),
                find=lambda: role.find(token),
                name=str,
                recall=str,
                find_lag=client.session.find_lag,
                key=key,
            )
        wait_until(
            lambda: role.get(name).state, lambda state: state is not ScheduleState.CREATING, timeout=SECONDS, what=f"schedule {name}"
        )
        return Schedule(name, client)

    def get(self, name: str) -> Schedule:
        """The schedule of that name. Raises NotFoundError."""
        self._role().get(name)
        return Schedule(name, self._client)

    def list(self) -> Iterator[ScheduleRecord]:
        """Schedules, newest first, page by page."""
        role = self._role()
        return each(lambda page: role.list(Query(), page))

    def delete(self, name: str) -> None:
        """Remove a schedule; an absent one is fine. The jobs that it started stay."""
        role = self._role()
        try:
            token = role.get(name).token
        except NotFoundError:
            return
        if token:
            self._client.journal.forget(token)
        wait_until(lambda: role.delete(name), bool, timeout=SECONDS, what=f"removal of schedule {name}")

    def _role(self) -> Role:
        self._client.require(Capability.SCHEDULE)
        return self._client.session.schedules

    def _prepare(self, spec: ScheduleSpec, folder: Path) -> tuple[Plan, Bundle | None]:
        client = self._client
        client.require(*spec.requires())
        work = located(spec.work)
        plan, bundle = client.jobs.prepare(work, folder)
        placed = spec.model_copy(update={"batch" if spec.batch else "job": work})
        facts = replace(plan.facts, inputs={}, labels=client.stamps(spec.labels, None))  # inputs are those of each firing
        return client.plan(placed, facts), bundle


def upcoming(spec: ScheduleSpec, count: int, after: datetime | None = None, *, token: str = "") -> list[datetime]:
    """The next starts of a schedule, in UTC, its jitter included."""
    since = (after or datetime.now(UTC)).astimezone(UTC)
    early = since - spec.jitter if spec.jitter else since
    found = (start for instant in firings(spec, early) if (start := starts(spec, token, instant)) > since)
    return list(islice(found, count))
