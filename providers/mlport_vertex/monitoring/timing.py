"""When a monitor's schedule fires, and which window it then measures: Vertex AI knows spans of whole hours, back from the firing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil

from mlport.monitoring.specs import MonitorSpec
from mlport.monitoring.windows import EPOCH
from mlport.scheduling.cron import Cron

HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)
LOOKED_AT = 100  # firings of a schedule, to see whether all of them lie alike in their windows
EPOCH_WEEKDAY = 4  # 1970-01-01 was a Thursday, as cron counts


@dataclass(frozen=True, slots=True)
class Timing:
    """`cron` with its time zone; each firing measures `window`, which ended `offset` before it."""

    cron: str
    window: str
    offset: str


def timing(spec: MonitorSpec) -> Timing | str:
    """How Vertex AI is told when to measure what; or why it cannot be.

    Windows begin at multiples of their length, as mlport's own, wherever a schedule lets them: the offset is chosen so.
    """
    hours, rest = divmod(spec.window, HOUR)
    if rest or not hours:
        return "its windows are whole hours, days or weeks"
    late = ceil(spec.delay / HOUR)
    if spec.schedule is None:
        cron = _cron(hours, late)
        if cron is None:
            return f"no cron expression comes every {hours} hours; take a divisor of a day, a day or a week, or set `schedule`"
        return Timing(f"TZ=Etc/UTC {cron}", span(hours), span(late))
    zone = "Etc/UTC" if spec.time_zone == "UTC" else spec.time_zone
    return Timing(f"TZ={zone} {spec.schedule}", span(hours), span(_aligned(spec, late)))


def span(hours: int) -> str:
    """Whole hours as Vertex AI writes them.

    >>> [span(hours) for hours in (0, 6, 24, 36, 168)]
    ['0h', '6h', '1d', '36h', '7d']
    """
    return f"{hours // 24}d" if hours and hours % 24 == 0 else f"{hours}h"


def _cron(hours: int, late: int) -> str | None:
    """An expression that fires `late` hours after each end of a window."""
    if hours in (1, 24) or (hours < 24 and 24 % hours == 0):
        return f"0 {'*' if hours == 1 else ','.join(map(str, sorted((hours * n + late) % 24 for n in range(24 // hours))))} * * *"
    if hours == WEEK // HOUR:
        return f"0 {late % 24} * * {(EPOCH_WEEKDAY + late // 24) % 7}"
    return None


def _aligned(spec: MonitorSpec, late: int) -> int:
    """The offset with which windows begin at multiples of their length; at least `late` hours, and those where that cannot be."""
    firings = Cron.parse(str(spec.schedule), spec.time_zone).after(datetime(2026, 1, 1, tzinfo=UTC), count=LOOKED_AT)
    after = {(each - EPOCH) % spec.window for each in firings}
    if len(after) != 1 or (found := after.pop()) % HOUR:
        return late
    hours, window = found // HOUR, spec.window // HOUR
    return hours + ceil(max(late - hours, 0) / window) * window
