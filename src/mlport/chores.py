"""What the agent does for a profile: a chore for each schedule, each sweep that goes on, each monitor, and for what must be looked after."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from mlport.agent import Chore, Clock, utc_now
from mlport.capabilities import Capability
from mlport.errors import NotFoundError
from mlport.scheduling.firing import Clerk, clerk
from mlport.scheduling.stored import Book, Stored, StoredSchedules
from mlport.spi import Reconciles
from mlport.sweeping.driving import Driver
from mlport.sweeping.ledger import Ledger

if TYPE_CHECKING:
    from mlport.client import Client

MONITORS = "monitors/"
SOME_TIME_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Every:
    """A chore that is done again and again, the first time at once."""

    name: str
    pause: timedelta
    what: Callable[[], object]
    _next: datetime = SOME_TIME_AGO

    def due(self, now: datetime) -> datetime | None:
        return min(self._next, now + self.pause)  # a clock that was set back must not make it wait for ever

    def run(self, now: datetime) -> None:
        self.what()
        self._next = now + self.pause


@dataclass(frozen=True)
class Fire:
    """Fire one schedule. `next` is when it starts next, as it was stored when we looked."""

    schedule: Stored
    next: datetime | None
    clerk: Clerk

    @property
    def name(self) -> str:
        return f"schedule {self.schedule.name}"

    def due(self, now: datetime) -> datetime | None:
        return self.schedule.decided or self.next

    def run(self, now: datetime) -> None:
        with suppress(NotFoundError):  # deleted meanwhile
            while self.clerk.fire(self.schedule.name) is not None:
                pass


@dataclass(frozen=True)
class Drive:
    """Take one sweep forward."""

    driver: Driver
    sweep_id: str

    @property
    def name(self) -> str:
        return f"sweep {self.sweep_id}"

    def due(self, now: datetime) -> datetime | None:
        return now

    def run(self, now: datetime) -> None:
        self.driver.step()


@dataclass
class Rota:
    """Every chore of a profile, as they are now."""

    client: Client
    clock: Clock
    folder: Path
    fixed: Sequence[Chore]
    schedules: StoredSchedules | None
    _drivers: dict[str, Driver] = field(default_factory=dict)
    _starts: dict[tuple[str, datetime, bool], datetime | None] = field(default_factory=dict)
    _ran: dict[str, datetime] = field(default_factory=dict)

    def __call__(self) -> list[Chore]:
        return [*self.fixed, *self._fires(), *self._drives(), *self._watches()]

    def _fires(self) -> Iterator[Chore]:
        if self.schedules is None:
            return
        by = clerk(self.client, self.schedules, self.clock)
        stored = list(self.schedules.book.all())
        known = {(each.token, each.handled, each.paused): each for each in stored}
        self._starts = {key: self._starts[key] if key in self._starts else each.next() for key, each in known.items()}
        yield from (Fire(each, self._starts[key], by) for key, each in known.items())

    def _drives(self) -> Iterator[Chore]:
        going_on = [record.id for record in Ledger(self.client.session.state).list() if not record.state.terminal]
        self._drivers = {
            sweep_id: self._drivers.get(sweep_id) or Driver(self.client, sweep_id, self.folder, self.clock) for sweep_id in going_on
        }
        yield from (Drive(driver, sweep_id) for sweep_id, driver in self._drivers.items())

    def _watches(self) -> Iterator[Chore]:
        if next(self.client.session.state.list(MONITORS), None) is None:
            return  # nothing of monitors is loaded where there are none
        from mlport.monitoring.watching import watches

        yield from watches(self.client, self.clock, self._ran)


@contextmanager
def rota(client: Client, clock: Clock = utc_now, more: Sequence[Chore] = ()) -> Iterator[Rota]:
    """The chores of a profile, `more` among them, with a place for what sweeps pack."""
    role = client.session.schedules if client.can(Capability.SCHEDULE) else None
    schedules = role if isinstance(role, StoredSchedules) else None
    fixed: list[Chore] = [*more]
    if isinstance(client.session, Reconciles):
        fixed.append(Every("jobs and endpoints", timedelta(seconds=30), client.session.reconcile))
    if schedules is not None:
        fixed.append(Every("housekeeping", timedelta(days=1), lambda: _tidy(schedules.book)))
    with tempfile.TemporaryDirectory(prefix="mlport-agent-") as folder:
        yield Rota(client, clock, Path(folder), fixed, schedules)


def _tidy(book: Book) -> None:
    for schedule in book.all():
        book.forget(schedule)
