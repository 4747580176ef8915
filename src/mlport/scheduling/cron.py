"""When a cron expression fires: instants in UTC, the same from wherever one starts to count.

Five fields as in Debian's cron, on the clock of a time zone. Where that clock is changed, as there:

- An expression for certain times of day (`30 2 * * *`) fires once a day. A time that the clock skips fires at the moment
  of the change; a time that comes twice fires the first time.
- One whose minutes or hours begin with `*` (`*/15 * * * *`) goes by elapsed time: what the clock skips is left out, and
  what comes twice fires twice.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

MARGIN = timedelta(hours=4)  # no zone's clock has been set back by more since 1970


@dataclass(frozen=True, slots=True)
class Cron:
    """An expression and a zone, from `Cron.parse`."""

    expression: str
    zone: ZoneInfo

    @classmethod
    @lru_cache(maxsize=1024)  # specs are read from the StateStore again and again
    def parse(cls, expression: str, zone: str) -> Cron:
        """Five fields on the clock of a zone; ValueError for what is neither.

        >>> list(map(str, Cron.parse("30 2 * * *", "Europe/Berlin").after(datetime(2026, 3, 28, 12, tzinfo=UTC), count=2)))
        ['2026-03-29 01:00:00+00:00', '2026-03-30 00:30:00+00:00']
        """
        if len(expression.split()) != 5:
            raise ValueError(
                f"{expression!r} has {len(expression.split())} fields; cron has five: minute hour day-of-month month day-of-week"
            )
        try:
            next(CronSim(expression, datetime(2026, 1, 1)))  # noqa: DTZ001 - any wall clock will do
        except CronSimError as error:
            raise ValueError(f"{expression!r} is no cron expression: {str(error).lower()}") from error
        except StopIteration as error:
            raise ValueError(f"{expression!r} never comes in fifty years") from error
        try:
            return cls(expression, ZoneInfo(zone))
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"there is no time zone {zone!r}; for example Europe/Berlin or UTC") from error

    def after(self, moment: datetime, *, count: int | None = None) -> Iterator[datetime]:
        """Instants in UTC that are later than `moment`, in order; the first `count` of them, or without end."""
        found = (instant for instant in self._instants(moment) if instant > moment)
        return found if count is None else (instant for instant, _ in zip(found, range(count), strict=False))

    def moment(self, given: datetime) -> datetime:
        """A time in UTC; one that names no zone is on this zone's clock."""
        return (given if given.tzinfo else given.replace(tzinfo=self.zone)).astimezone(UTC)

    @lru_cache(maxsize=1024)  # noqa: B019 - keyed by expression and zone, of which there are few
    def shortest_gap(self) -> timedelta:
        """The least time between two firings, among a hundred of them, on a clock that is never changed."""
        firings = list(Cron(self.expression, ZoneInfo("UTC")).after(datetime(2026, 1, 1, tzinfo=UTC), count=100))
        return min((later - earlier for earlier, later in itertools.pairwise(firings)), default=timedelta.max)

    def _instants(self, moment: datetime) -> Iterator[datetime]:
        """In order and without repetition. A later time of day never fires before the first instant of an earlier one."""
        waiting: list[datetime] = []
        last = datetime.min.replace(tzinfo=UTC)
        for wall in CronSim(self.expression, moment.astimezone(self.zone).replace(tzinfo=None) - MARGIN):
            came = self._on_clock(wall)
            while waiting and waiting[0] < _earliest(wall, self.zone):
                if (instant := heapq.heappop(waiting)) > last:
                    last = instant
                    yield instant
            for instant in came:
                heapq.heappush(waiting, instant)

    def _on_clock(self, wall: datetime) -> list[datetime]:
        """The instants at which the zone's clock shows this time and the expression fires."""
        first, second = (wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        if first == second:
            return [first]
        if first > second:  # the clock skips it
            return [] if self._by_elapsed_time else [_earliest(wall, self.zone)]
        return [first, second] if self._by_elapsed_time else [first]

    @property
    def _by_elapsed_time(self) -> bool:
        return any(field.startswith("*") for field in self.expression.split()[:2])


def _earliest(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first instant at which the zone's clock shows `wall` or later: where it is skipped, the moment of the change."""
    before, after = (wall.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    first, second = before.astimezone(UTC), after.astimezone(UTC)
    if first <= second:
        return first
    low, high = int(second.timestamp()), int(first.timestamp())  # before the change, and not before it
    while high - low > 1:
        middle = (low + high) // 2
        is_before = datetime.fromtimestamp(middle, zone).replace(tzinfo=None) < wall
        low, high = (middle, high) if is_before else (low, middle)
    return datetime.fromtimestamp(high, UTC)
