"""Which windows are due, and when the next is: pure functions of the spec and the clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from mlport.monitoring.specs import MonitorSpec
from mlport.spi import Window

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def aligned(moment: datetime, length: timedelta) -> datetime:
    """The last multiple of `length` since 1970-01-01 UTC that is not after `moment`.

    >>> aligned(datetime(2026, 3, 1, 7, 30, tzinfo=UTC), timedelta(hours=6)).isoformat()
    '2026-03-01T06:00:00+00:00'
    """
    return EPOCH + (moment - EPOCH) // length * length


def first(spec: MonitorSpec, created: datetime) -> datetime:
    """Where the first window of a monitor begins."""
    return aligned(created - (spec.start or timedelta()), spec.window)


def due(spec: MonitorSpec, handled: datetime, now: datetime) -> Iterator[Window]:
    """The windows after `handled` that can be read now, oldest first."""
    start = handled
    while (end := start + spec.window) + spec.delay <= now:
        yield Window(start, end)
        start = end


def next_due(spec: MonitorSpec, handled: datetime) -> datetime:
    """When the first window after `handled` is to be read: once it can be, or at the schedule's first time from then on."""
    ready = handled + spec.window + spec.delay
    if spec.schedule is None:
        return ready
    return clocked(spec.schedule, spec.time_zone, ready - timedelta(microseconds=1)) or ready


def clocked(schedule: str, time_zone: str, after: datetime) -> datetime | None:
    """The first time of a cron expression after a moment, in UTC; None if there is none."""
    from mlport.scheduling.cron import Cron

    return next(Cron.parse(schedule, time_zone).after(after), None)
