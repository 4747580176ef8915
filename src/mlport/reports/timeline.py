"""A value over windows of time: each with its interval, those that matter in a colour of their own, gaps where nothing is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from mlport.reports.blocks import Chart, Key, Table
from mlport.reports.charts import EDGE, below
from mlport.reports.svg import LETTER, canvas, number, path, put, tick_text, ticks, written

VALUE, LEVELS = 0, 4
"""The colours that levels and kinds of spans begin at."""


@dataclass(frozen=True, slots=True)
class Span:
    """A window; `value` None where there is none, and `kind` what is known of it."""

    start: datetime
    end: datetime
    value: float | None
    low: float | None = None
    high: float | None = None
    kind: str = ""


def timeline(
    title: str, text: str, spans: Sequence[Span], levels: Mapping[str, float], table: Table, *, kinds: Sequence[str], up: str
) -> Chart:
    """Windows from left to right. `kinds` are all that spans may be of, in the order of their colours; `levels` are lines across.

    A window without an interval is a line alone.
    """
    shown = [kind for kind in kinds if any(span.kind == kind and span.value is not None for span in spans)]
    legend = [Key(kinds.index(kind), kind) for kind in shown]
    legend += [Key(LEVELS + place, name, "line") for place, name in enumerate(levels)]
    return Chart(title, text, partial(_drawn, title, text, tuple(spans), dict(levels), tuple(kinds), up), table, legend)


def _drawn(
    title: str, text: str, spans: Sequence[Span], levels: Mapping[str, float], kinds: Sequence[str], up: str, width: int, name: str
) -> str:
    height, top, right = (280.0 if width > 400 else 240.0), 26.0, width - EDGE
    bottom = height - 30
    ends = [*levels.values(), *(end for span in spans for end in (span.low, span.value, span.high) if end is not None)]
    axis = ticks(min(ends, default=0.0), max(ends, default=1.0), 5)
    left = max(len(tick_text(value, axis[1] - axis[0])) for value in axis) * LETTER + 8
    first, last = (edge.timestamp() for edge in (spans[0].start, spans[-1].end)) if spans else (0.0, 1.0)

    def across(at: datetime) -> float:
        return left + (at.timestamp() - first) / (last - first) * (right - left)

    def upwards(value: float) -> float:
        return bottom - (value - axis[0]) / (axis[-1] - axis[0]) * (bottom - top)

    svg = canvas(width, height, name, title, text)
    put(svg, "text", "tick start", up, x=0, y=12)
    for value in axis:
        put(svg, "line", "grid", x1=left, x2=right, y1=upwards(value), y2=upwards(value))
        put(svg, "text", "tick end", tick_text(value, axis[1] - axis[0]), x=left - 6, y=upwards(value) + 4)
    for place, kind in enumerate(kinds):
        own = [span for span in spans if span.kind == kind and span.value is not None]
        areas = (
            f"M{number(across(each.start))} {number(upwards(each.high))}H{number(across(each.end))}"
            f"V{number(upwards(each.low))}H{number(across(each.start))}z"
            for each in own
            if each.low is not None and each.high is not None
        )
        path(svg, f"area c{place}", areas).set("fill-opacity", "0.55")
        middles = (
            f"M{number(across(each.start))} {number(upwards(each.value))}H{number(across(each.end))}"
            for each in own
            if each.value is not None
        )
        path(svg, "span", middles)
    for place, value in enumerate(levels.values(), start=LEVELS):
        put(svg, "path", f"curve c{place} dash{place}").set("d", f"M{number(left)} {number(upwards(value))}H{number(right)}")
    below(svg, [(across(start), said) for start, said in _dates(spans, int((right - left) / (13 * LETTER)))], bottom + 18, width)
    return written(svg)


def _dates(spans: Sequence[Span], room: int) -> list[tuple[datetime, str]]:
    """Starts of windows that have room below the drawing: days where all begin at midnight, else to the minute or the second."""
    times = {f"{span.start:%H%M%S}" for span in spans}
    form = "%Y-%m-%d" if times <= {"000000"} else "%m-%d %H:%M" if all(time.endswith("00") for time in times) else "%H:%M:%S"
    step = -(-len(spans) // max(room, 1)) if spans else 1
    return [(span.start, f"{span.start:{form}}") for span in spans[::step]]
