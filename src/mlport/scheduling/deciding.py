"""What a schedule is to do now: a function of what is stored and the time, so that it can be played through for years. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from mlport.scheduling.cron import Cron
from mlport.specs import ScheduleSpec

LATE = timedelta(minutes=1)  # a firing that is later than this was missed


@dataclass(frozen=True, slots=True)
class Due:
    """A firing to be made now, for `instant` and `merged` earlier ones; with a `reason`, to be left out."""

    instant: datetime
    merged: int = 0
    reason: str = ""


def firings(spec: ScheduleSpec, after: datetime) -> Iterator[datetime]:
    """The instants later than `after` that the schedule is for, in UTC."""
    cron = Cron.parse(spec.cron, spec.time_zone)
    begin = max(after, cron.moment(spec.start) - timedelta.resolution) if spec.start else after
    end = cron.moment(spec.end) if spec.end else datetime.max.replace(tzinfo=UTC)
    return takewhile(lambda instant: instant < end, cron.after(begin))


def starts(spec: ScheduleSpec, token: str, instant: datetime) -> datetime:
    """When a firing for `instant` is to start: then, or later by its own share of the jitter, always the same."""
    if spec.jitter is None:
        return instant
    share = int.from_bytes(hashlib.sha256(f"{token}/{instant.isoformat()}".encode()).digest()[:8]) / 2**64
    return instant + spec.jitter * share


def due(spec: ScheduleSpec, token: str, *, after: datetime, now: datetime, busy: int) -> Due | None:
    """The firing to make now, None if there is none. `after` is the last instant dealt with, `busy` how many runs go on."""
    ripe = list(takewhile(lambda instant: starts(spec, token, instant) <= now, firings(spec, after)))
    if not ripe:
        return None
    is_full = spec.max_concurrent is not None and busy >= spec.max_concurrent
    if spec.catch_up == "once":
        return None if is_full else Due(ripe[-1], len(ripe) - 1)
    missed = [instant for instant in ripe if now - starts(spec, token, instant) > LATE]
    if missed:
        return Due(missed[-1], len(missed) - 1, "missed: nobody was there to start it")
    return Due(ripe[-1], len(ripe) - 1, f"left out: {busy} of its runs go on") if is_full else Due(ripe[0])
