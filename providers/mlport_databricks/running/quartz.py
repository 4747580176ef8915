"""Cron expressions of five fields in Quartz's words, which Databricks' schedules take.

https://www.quartz-scheduler.org/documentation/quartz-2.3.0/tutorials/crontrigger.html: seconds come first, days of the week count
from Sunday = 1, and one of the two day fields must be `?`.
"""

from __future__ import annotations

import re

from mlport.errors import UnsupportedError

DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
ITEM = re.compile(r"(?P<first>\*|[0-7]|[A-Z]{3})(-(?P<last>[0-7]|[A-Z]{3}))?(/(?P<step>\d+))?")


def quartz(cron: str) -> str:
    """The same times in Quartz's words.

    >>> quartz("30 6 * * 1-5"), quartz("0 0 1 * *"), quartz("*/5 * * * *")
    ('0 30 6 ? * MON,TUE,WED,THU,FRI', '0 0 0 1 * ?', '0 */5 * * * ?')

    Raises:
        UnsupportedError: days of the month and of the week together, which cron takes as one or the other.
    """
    minute, hour, day, month, weekday = cron.split()
    if weekday in ("*", "?"):
        return f"0 {minute} {hour} {'*' if day == '?' else day} {month} ?"
    if day not in ("*", "?"):
        why = f"{cron!r} names days of the month and of the week; Quartz, which Databricks uses, takes only one of them"
        raise UnsupportedError("databricks", [("ScheduleSpec.cron", why)], hint="make two schedules")
    return f"0 {minute} {hour} ? {month} {_weekdays(cron, weekday)}"


def _weekdays(cron: str, field: str) -> str:
    """The days by name, in the order of the week."""
    found: set[int] = set()
    for item in field.upper().split(","):
        match = ITEM.fullmatch(item)
        if match is None:
            why = f"{cron!r}: the day of the week {item!r} cannot be said to Databricks"
            raise UnsupportedError("databricks", [("ScheduleSpec.cron", why)], hint="name days, or ranges of them")
        first = 0 if match["first"] == "*" else _day(match["first"])
        last = _day(match["last"]) if match["last"] else 6 if match["first"] == "*" or match["step"] else first
        last += 7 if last < first else 0
        found |= {number % 7 for number in range(first, last + 1, int(match["step"] or 1))}
    return ",".join(DAYS[number] for number in sorted(found))


def _day(text: str) -> int:
    return DAYS.index(text) if text in DAYS else int(text)
