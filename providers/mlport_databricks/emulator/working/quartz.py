"""Quartz cron expressions: when a schedule of a job fires.

Six or seven fields: seconds minutes hours day-of-month month day-of-week [year], days of the week from 1, Sunday
(http://www.quartz-scheduler.org/documentation/quartz-2.3.0/tutorials/crontrigger.html). They are translated for the core's
cron, whose days of the week begin with 0. What fires when clocks are changed is the core's rule, not Quartz's. Not there:
`W` for the weekday nearest to a day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from mlport.scheduling.cron import Cron

YEARS = range(1970, 2100)
_DAY = re.compile(r"(?<![#/\d])\d+")
_YEAR = re.compile(r"(\*|(\d{4})(?:-(\d{4}))?)(?:/(\d+))?")


class BadSchedule(ValueError):  # noqa: N818 - what is wrong, for an answer
    """No Quartz expression, or no time zone."""


class _Wall(Cron):
    """The core's cron with a field for seconds."""

    @property
    def _by_elapsed_time(self) -> bool:
        return any(field.startswith("*") for field in self.expression.split()[:3])


@dataclass(frozen=True, slots=True)
class Quartz:
    """An expression and a zone, from `Quartz.parse`."""

    cron: Cron
    years: frozenset[int] | None

    @classmethod
    @lru_cache(maxsize=1024)
    def parse(cls, expression: str, zone: str) -> Quartz:
        """Raises BadSchedule.

        >>> list(map(str, Quartz.parse("0 0 2 ? * 2-6", "UTC").after(datetime(2026, 11, 20, 12, tzinfo=UTC), 2)))
        ['2026-11-23 02:00:00+00:00', '2026-11-24 02:00:00+00:00']
        """
        fields = expression.split()
        if len(fields) not in (6, 7):
            raise BadSchedule(f"a Quartz expression has 6 or 7 fields, not {len(fields)}")
        day, weekday = fields[3], fields[5]
        if (day == "?") == (weekday == "?"):
            raise BadSchedule("exactly one of day-of-month and day-of-week must be '?'")
        if "?" in "".join(fields[:3] + fields[4:5]):
            raise BadSchedule("'?' can only be specified for day-of-month or day-of-week")
        translated = [*fields[:3], _star(day), fields[4], _weekdays(_star(weekday))]
        try:
            next(CronSim(" ".join(translated), datetime(2026, 1, 1)))  # noqa: DTZ001 - any wall clock will do
        except (CronSimError, StopIteration) as error:
            raise BadSchedule(str(error).lower() or "it never comes") from error
        try:
            return cls(_Wall(" ".join(translated), ZoneInfo(zone)), _years(fields[6]) if len(fields) > 6 else None)
        except (KeyError, ValueError, OSError) as error:
            raise BadSchedule(f"there is no time zone {zone!r}") from error

    def after(self, moment: datetime, count: int = 1) -> Iterator[datetime]:
        """The next `count` instants after `moment`, in UTC; fewer where the years end."""
        found = self.cron.after(moment)
        for _ in range(count):
            for instant in found:
                year = instant.astimezone(self.cron.zone).year
                if self.years is None or year in self.years:
                    yield instant
                    break
                if year > max(self.years, default=0):
                    return


def next_firing(expression: str, zone: str, moment: datetime) -> datetime | None:
    """The first instant after `moment`; None where there is none any more. Raises BadSchedule."""
    return next(Quartz.parse(expression, zone).after(moment.astimezone(UTC)), None)


def _star(field: str) -> str:
    return "*" if field == "?" else field


def _weekdays(field: str) -> str:
    """1-7 from Sunday becomes 0-6; what follows `#` or `/` is a count.

    >>> _weekdays("2-6"), _weekdays("6#3"), _weekdays("6L"), _weekdays("MON,WED")
    ('1-5', '5#3', '5L', 'MON,WED')
    """
    if field == "L":
        return "6"
    for number in map(int, _DAY.findall(field)):
        if not 1 <= number <= 7:
            raise BadSchedule(f"day-of-week values must be between 1 and 7, not {number}")
    return _DAY.sub(lambda found: str(int(found[0]) - 1), field)


def _years(field: str) -> frozenset[int] | None:
    """The years of the seventh field; None for all.

    >>> sorted(_years("2026-2028,2030"))
    [2026, 2027, 2028, 2030]
    """
    if field == "*":
        return None
    found: set[int] = set()
    for part in field.split(","):
        matched = _YEAR.fullmatch(part)
        if matched is None:
            raise BadSchedule(f"{part!r} is no year")
        whole, first, last, step = matched.groups()
        begin = YEARS.start if whole == "*" else int(first)
        end = int(last) if last else YEARS.stop - 1 if whole == "*" or step else begin
        found.update(range(begin, end + 1, int(step or 1)))
    return frozenset(found)
