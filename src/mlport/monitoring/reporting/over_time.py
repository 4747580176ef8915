"""Readings over time as pictures: columns by windows, and performance by windows; each also as words and as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from mlport.monitoring.records import Column, Judged, Reading
from mlport.monitoring.telling.messages import measured, moment
from mlport.reports.blocks import Block, Cell, Chart, Fold, Points, Table, Text
from mlport.reports.heat import CROSSED, Row, heat

WINDOWS = 60
"""Windows in a picture, the newest; a page's table has all."""
ROWS = 40
"""Columns in the picture that is open; the others are in one that unfolds."""
LEVELS = ("under half of its threshold", "from half of it", "above it, and no alarm", "drift", "severe drift")
WORDS = {"drift": "drift", "no drift": "no drift", "unknown": "not known", "not watched": "not watched"}
READING = (
    "A cell is a column in one window: its largest effect held against its threshold. What decides is the size of a change, less the noise of samples of that size.",
    "Above its threshold and no alarm: the noise, the column's test, or its small importance holds the alarm back.",
    "What could not be read or told is crossed out, and is never taken for “no drift”. Of what has no cell, nothing was measured.",
)


def start(reading: Reading) -> str:
    """When its window begins, in UTC."""
    return moment(reading.window.start)


def drift(readings: Sequence[Reading]) -> Iterator[Block]:
    """Columns by windows, the worst first; `readings` are newest first."""
    shown = list(reversed(readings[:WINDOWS]))
    columns = ranked(shown)
    if not any(each.drift != "not watched" for each in shown):
        return
    if len(readings) > len(shown):
        yield Text(f"The newest {len(shown)} of {len(readings):,} windows.", "quiet")
    whole = Row("the window", [_window_level(each) for each in shown])
    yield _map("Drift by column and window", [whole], shown, columns[:ROWS], columns)
    yield Points(READING)
    if len(columns) > ROWS:
        rest = columns[ROWS:]
        yield Fold(f"The other {len(rest):,} columns", [_map("Drift by window: the other columns", [], shown, rest, rest)])


def ranked(readings: Sequence[Reading]) -> list[str]:
    """All columns: those first that drifted in most windows, then by how near they came to their thresholds."""
    drifted: dict[str, int] = {}
    nearest: dict[str, float] = {}
    for reading in readings:
        for each in reading.columns:
            drifted[each.name] = drifted.get(each.name, 0) + (each.status == "drift")
            nearest[each.name] = max(nearest.get(each.name, 0.0), _ratio(each))
    return sorted(drifted, key=lambda name: (-drifted[name], -nearest[name], name))


def _ratio(column: Column) -> float:
    """Its largest effect in thresholds; of a threshold of 0, what is above it is far above."""
    ratios = [
        effect.value / effect.threshold if effect.threshold else float("inf") if effect.value > 0 else 0.0
        for effect in column.effects
        if effect.value is not None and effect.threshold is not None
    ]
    return max(ratios, default=0.0)


def _map(title: str, first: list[Row], readings: Sequence[Reading], names: Sequence[str], of: Sequence[str]) -> Chart:
    by_window = [{each.name: each for each in reading.columns} for reading in readings]
    found = {name: [window.get(name) for window in by_window] for name in names}
    often = {name: sum(name in window and window[name].status == "drift" for window in by_window) for name in of}
    ever = [name for name in of if often[name]]
    rows = [*first, *(Row(name, [None if each is None else _level(each) for each in cells]) for name, cells in found.items())]
    text = f"{len(ever):,} of {len(of):,} columns drifted in at least one of {len(readings):,} windows"
    if ever:
        text += f"; most often {', '.join(f'{name} ({often[name]:,})' for name in ever[:3])}"
    table_rows = [_in_words(name, cells, readings) for name, cells in found.items()]
    table = Table("Columns over time", ["column", "drifted in", "largest effect", "newest"], table_rows, stack=True)
    return heat(title, f"{text}.", rows, [_day(each) for each in readings], LEVELS, table)


def _day(reading: Reading) -> str:
    """A short form of when its window begins: the day if that is all, else without the year."""
    told = start(reading)
    return told if " " not in told else told[5:]


def _level(column: Column) -> int | None:
    match column.status:
        case "unknown":
            return CROSSED
        case "drift":
            return 4 if column.severity == "severe" else 3
        case "not watched":
            return None
    return sum(_ratio(column) >= step for step in (0.5, 1.0))


def _window_level(reading: Reading) -> int | None:
    match reading.drift:
        case "unknown":
            return CROSSED
        case "drift":
            return 4 if reading.severity == "severe" else 3
        case "not watched":
            return None
    return 0


def _in_words(name: str, cells: Sequence[Column | None], readings: Sequence[Reading]) -> list[Cell]:
    """A row of the picture as a row of a table."""
    known = [(each, reading) for each, reading in zip(cells, readings, strict=True) if each is not None]
    drifted = [reading for each, reading in known if each.status == "drift"]
    often = f"{len(drifted):,} of {len(known):,}" + (f", last {start(drifted[-1])}" if drifted else "")
    worst, when = max(known, key=lambda pair: _ratio(pair[0]))
    largest = max(worst.effects, key=lambda effect: (effect.value or 0.0) / (effect.threshold or 1.0), default=None)
    effect = None if largest is None else f"{largest.metric} {measured(largest.value)}, {start(when)}"
    return [name, often, effect, "none" if cells[-1] is None else WORDS[cells[-1].status]]


def performance(readings: Sequence[Reading]) -> Iterator[Block]:
    """As the readings have it, where it was not worked out anew."""
    from mlport.decay.report import KIND, KINDS
    from mlport.reports.timeline import Span, timeline

    known = [(each, each.performance) for each in reversed(readings[:WINDOWS]) if each.performance is not None]
    if not known:
        return
    last = known[-1][1]
    spans = [
        Span(each.window.start, each.window.end, *_finite(found), KINDS[KIND[found.status]])
        for each, found in known
        if found.metric == last.metric and found.status in KIND
    ]
    values = [found for _, found in known if found.value is not None]
    text = f"{last.metric} of each window with its 95% interval; {len(values):,} of {len(known):,} windows have labels enough for a value."
    columns = ["window from (UTC)", last.metric, "worse by", "labelled", "status", "why"]
    rows: list[list[Cell]] = [
        [start(each), measured(found.value, found.low, found.high), measured(found.loss, found.loss_low, found.loss_high),
         f"{found.labelled:,} of {found.captured:,}", found.status, found.why]
        for each, found in known
    ]  # fmt: skip
    table = Table("Performance by window", columns, rows, stack=True)
    yield timeline(f"{last.metric} by window", text, spans, _lines(last), table, kinds=KINDS, up=last.metric)
    if asked := [(each, found) for each, found in known if found.captured]:
        yield _coverage(asked)


def _coverage(known: Sequence[tuple[Reading, Judged]]) -> Chart:
    """How much of each window is labelled so far."""
    from mlport.reports.timeline import Span, timeline

    shares = [found.labelled / found.captured for _, found in known]
    spans = [
        Span(each.window.start, each.window.end, share, 0.0, share, "labelled") for (each, _), share in zip(known, shares, strict=True)
    ]
    rows: list[list[Cell]] = [[start(each), f"{share:.0%}"] for (each, _), share in zip(known, shares, strict=True)]
    text = f"The share of each window's rows that are labelled so far: from {min(shares):.0%} to {max(shares):.0%}."
    table = Table("Labelled", ["window from (UTC)", "share"], rows, short=True)
    return timeline("Labelled so far", text, spans, {}, table, kinds=["labelled"], up="share")


def _finite(found: Judged) -> tuple[float | None, float | None, float | None]:
    """What can be drawn: a log loss may be infinite."""
    ends = (found.value, found.low, found.high)
    return ends if all(end is None or math.isfinite(end) for end in ends) else (None, None, None)


def _lines(found: Judged) -> dict[str, float]:
    """The reference, and what is still fine."""
    from mlport.decay.measures import METRICS

    if found.reference is None:
        return {}
    if found.margin is None:
        return {"reference": found.reference}
    sign = -1 if METRICS[found.metric].greater_is_better else 1
    return {"reference": found.reference, "margin": found.reference + sign * found.margin}
