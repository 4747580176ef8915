"""Monitors by the clock: what `mlport agent` does for each, and when."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mlport.errors import NotFoundError
from mlport.monitoring.running import Runner
from mlport.monitoring.stored import Book, Stored
from mlport.monitoring.windows import clocked, next_due

if TYPE_CHECKING:
    from mlport.agent import Clock
    from mlport.client import Client

TRAINING = timedelta(seconds=10)
TELLING = timedelta(minutes=1)
LOOKING = timedelta(minutes=1), timedelta(hours=1)
"""How often it is looked what became of a training, how often it is tried again to tell, and how often at most and at least a provider's
own monitor is asked."""


@dataclass(frozen=True)
class Watch:
    """Run one monitor: its windows as they come, what is still to be told, the retraining that goes on."""

    client: Client
    monitor: Stored
    clock: Clock
    ran: dict[str, datetime]

    @property
    def name(self) -> str:
        return f"monitor {self.monitor.name}"

    def due(self, now: datetime) -> datetime | None:
        return next_run(self.monitor, self.ran.get(self.monitor.name))

    def run(self, now: datetime) -> None:
        self.ran[self.monitor.name] = now
        with suppress(NotFoundError):  # deleted meanwhile
            Runner(self.client, self.monitor.name, self.clock).run()


def watches(client: Client, clock: Clock, ran: dict[str, datetime]) -> Iterator[Watch]:
    """A chore for each monitor of a profile; `ran` says when each was run last, and is kept by the caller."""
    return (Watch(client, stored, clock, ran) for stored in Book(client.session.state).all())


def next_run(monitor: Stored, ran: datetime | None) -> datetime:
    """When a monitor is to be run next, given when it was last."""
    last = ran or monitor.created
    wanted = [
        last + min(max(monitor.spec.window / 10, LOOKING[0]), LOOKING[1]) if monitor.native else next_due(monitor.spec, monitor.handled)
    ]
    if monitor.open:
        wanted.append(last + TRAINING)
    if monitor.pending:
        wanted.append(last + TELLING)
    policy = monitor.spec.retrain
    if policy is not None and policy.schedule is not None and (at := clocked(policy.schedule, policy.time_zone, monitor.clocked)):
        wanted.append(max(at, last + TELLING))  # in a cooldown it waits, and is not asked for at each look
    return min(wanted)
