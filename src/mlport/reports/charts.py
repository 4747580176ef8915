"""Charts as pure functions: stacked bars, lines with marked points, and a tornado. Colours and fonts are the page's own (page.css).

Names stand above their bars, so that a drawing needs no margin whose width depends on the words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from xml.etree import ElementTree as ET

from mlport.reports.blocks import Chart, Key, Table
from mlport.reports.svg import LETTER, canvas, put, shortened, tick_text, ticks, written

COLOURS = 9
ROW, BAR, EDGE, DOT = 52.0, 18.0, 10.0, 9.0


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of several amounts on each other, what is written above its end, and a range to draw over it if there is one."""

    name: str
    amounts: Mapping[str, float]
    label: str
    span: tuple[float, float] | None = None

    @property
    def ends(self) -> tuple[float, float]:
        """How far it goes to both sides of 0, its range included."""
        low = sum(amount for amount in self.amounts.values() if amount < 0)
        high = sum(amount for amount in self.amounts.values() if amount > 0)
        return min(low, *(self.span or (low,))), max(high, *(self.span or (high,)))


@dataclass(frozen=True, slots=True)
class Curve:
    """A line through points."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Mark:
    """A point that matters, and what it says."""

    x: float
    y: float
    words: str


@dataclass(frozen=True, slots=True)
class Swing:
    """What one input does to a total: at its low and at its high."""

    name: str
    at_low: float
    at_high: float
    label: str


def colours_of(bars: Sequence[Bar]) -> dict[str, int]:
    """A colour for each kind of amount; of more kinds than there are colours, the smallest share the last one."""
    sizes: dict[str, float] = {}
    for bar in bars:
        for name, amount in bar.amounts.items():
            sizes[name] = max(sizes.get(name, 0.0), abs(amount))
    shown = sorted(sizes, key=lambda name: -sizes[name])[: COLOURS if len(sizes) <= COLOURS else COLOURS - 1]
    names = [name for name in sizes if name in shown]
    return {name: names.index(name) if name in shown else COLOURS - 1 for name in sizes}


def stacked_bars(title: str, text: str, bars: Sequence[Bar], colours: Mapping[str, int], table: Table, *, span: str = "") -> Chart:
    """Bars beneath each other, each of the same kinds of amounts, whose `colours` several charts may share.

    `span` says what the ranges drawn over the bars are.
    """
    kinds = [name for name in colours if any(name in bar.amounts for bar in bars)]
    sharing: dict[int, list[str]] = {}
    for name in kinds:
        sharing.setdefault(colours[name], []).append(name)
    legend = [Key(colour, names[0] if len(names) == 1 else f"{len(names)} smaller ones") for colour, names in sharing.items()]
    if span and any(bar.span for bar in bars):
        legend.append(Key(-1, span, "line"))
    return Chart(title, text, partial(_bars, title, text, tuple(bars), colours), table, legend)


def lines(title: str, text: str, curves: Sequence[Curve], marks: Sequence[Mark], table: Table, *, across: str, up: str) -> Chart:
    """Lines over one axis, with numbered points; `across` and `up` name the axes."""
    legend = [Key(number % COLOURS, curve.name, "line") for number, curve in enumerate(curves)]
    legend += [Key(number + 1, mark.words, "dot") for number, mark in enumerate(marks)]
    return Chart(title, text, partial(_lines, title, text, tuple(curves), tuple(marks), across, up), table, legend)


def tornado(title: str, text: str, middle: float, swings: Sequence[Swing], table: Table) -> Chart:
    """What each input does to a total, around that total."""
    legend = [Key(0, "at the input's low"), Key(1, "at its high")]
    return Chart(title, text, partial(_tornado, title, text, middle, tuple(swings)), table, legend)


def _scale(width: int, axis: Sequence[float]) -> tuple[float, float]:
    """Pixels a unit, and where 0 is."""
    per_unit = (width - 2 * EDGE) / (axis[-1] - axis[0])
    return per_unit, EDGE - axis[0] * per_unit


def _rows(title: str, text: str, name: str, width: int, axis: Sequence[float], count: int) -> tuple[ET.Element, float, float]:
    """A drawing with room for `count` bars above their axis; pixels a unit, and where 0 is."""
    per_unit, zero = _scale(width, axis)
    bottom = count * ROW + 4
    svg = canvas(width, bottom + 24, name, title, text)
    _axis(svg, axis, per_unit, zero, bottom, width)
    return svg, per_unit, zero


def _axis(svg: ET.Element, axis: Sequence[float], per_unit: float, zero: float, bottom: float, width: int) -> None:
    """Ticks below, with lines through the drawing."""
    for value in axis:
        x = zero + value * per_unit
        put(svg, "line", "grid", x1=x, x2=x, y1=4, y2=bottom)
    below(svg, [(zero + value * per_unit, tick_text(value, axis[1] - axis[0])) for value in axis], bottom + 16, width)


def below(svg: ET.Element, places: Sequence[tuple[float, str]], y: float, width: int) -> None:
    """Numbers below an axis: those at the edges inwards, and none that would touch the one before it."""
    free = -LETTER
    for x, text in places:
        wide = len(text) * LETTER
        left = min(max(x - wide / 2, 0.0), width - wide)
        if left >= free + LETTER:
            put(svg, "text", "tick middle", text, x=left + wide / 2, y=y)
            free = left + wide


def _head(svg: ET.Element, width: int, y: float, name: str, label: str) -> None:
    """A name to the left and an amount to the right, above a bar."""
    put(svg, "text", "label", shortened(name, width - 2 * EDGE - (len(label) + 2) * LETTER), x=EDGE, y=y)
    put(svg, "text", "label end", label, x=width - EDGE, y=y)


def _bars(title: str, text: str, bars: Sequence[Bar], colours: Mapping[str, int], width: int, name: str) -> str:
    ends = [bar.ends for bar in bars] or [(0.0, 0.0)]
    axis = ticks(min(0.0, *(low for low, _ in ends)), max(0.0, *(high for _, high in ends)), 5 if width > 400 else 3)
    svg, per_unit, zero = _rows(title, text, name, width, axis, len(bars))
    for place, bar in enumerate(bars):
        y = place * ROW + 20
        _head(svg, width, y, bar.name, bar.label)
        left = right = 0.0
        for kind in colours:
            amount = bar.amounts.get(kind, 0.0)
            start = right if amount >= 0 else left + amount
            if amount:
                put(svg, "rect", f"area c{colours[kind]}", x=zero + start * per_unit, y=y + 7, width=abs(amount) * per_unit, height=BAR)
            left, right = (left, right + amount) if amount >= 0 else (left + amount, right)
        if bar.span:
            low, high = (zero + end * per_unit for end in bar.span)
            middle = y + 7 + BAR / 2
            for layer in ("halo", "span"):
                put(svg, "path", layer).set("d", _whisker(low, high, middle))
    return written(svg)


def _whisker(low: float, high: float, y: float) -> str:
    return f"M{low:.2f} {y - 5:.2f}V{y + 5:.2f}M{low:.2f} {y:.2f}H{high:.2f}M{high:.2f} {y - 5:.2f}V{y + 5:.2f}"


def _lines(title: str, text: str, curves: Sequence[Curve], marks: Sequence[Mark], across: str, up: str, width: int, name: str) -> str:
    height = 300.0 if width > 400 else 260.0
    points = [point for curve in curves for point in curve.points] or [(0.0, 0.0)]
    xs = ticks(min(x for x, _ in points), max(x for x, _ in points), 6 if width > 400 else 3)
    ys = ticks(min(0.0, *(y for _, y in points)), max(0.0, *(y for _, y in points)), 5)
    left = max(len(tick_text(value, ys[1] - ys[0])) for value in ys) * LETTER + 8
    top, bottom, right = 26.0, height - 40, width - EDGE - 6
    most = max(x for x, _ in points)

    def at(x: float, y: float) -> tuple[float, float]:
        return left + (x - xs[0]) / (most - xs[0] or 1) * (right - left), bottom - (y - ys[0]) / (ys[-1] - ys[0]) * (bottom - top)

    svg = canvas(width, height, name, title, text)
    put(svg, "text", "tick start", up, x=0, y=12)
    for value in ys:
        _, y = at(0, value)
        put(svg, "line", "grid", x1=left, x2=right, y1=y, y2=y)
        put(svg, "text", "tick end", tick_text(value, ys[1] - ys[0]), x=left - 6, y=y + 4)
    within = [value for value in xs if value <= most * (1 + 1e-9)]
    for value in within:
        put(svg, "line", "grid", x1=at(value, 0)[0], x2=at(value, 0)[0], y1=bottom, y2=bottom + 4)
    below(svg, [(at(value, 0)[0], tick_text(value, xs[1] - xs[0])) for value in within], bottom + 18, width)
    put(svg, "text", "tick end", across, x=right, y=height - 4)
    for number, curve in enumerate(curves):
        path = "L".join(f"{x:.2f} {y:.2f}" for x, y in (at(*point) for point in curve.points))
        put(svg, "path", f"curve c{number % COLOURS} dash{number % COLOURS}").set("d", f"M{path}")
    placed: list[tuple[float, float]] = []
    for number, mark in enumerate(marks, start=1):
        x, y = at(mark.x, mark.y)
        placed.append(_free(x, y, placed))
        put(svg, "circle", "point", cx=x, cy=y, r=4)
        put(svg, "circle", "dot", cx=placed[-1][0], cy=placed[-1][1], r=DOT)
        put(svg, "text", "dot-text", str(number), x=placed[-1][0], y=placed[-1][1] + 4)
    return written(svg)


def _free(x: float, y: float, placed: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Where a point's number stands: above it, below it, or further off, so that it covers no other."""
    for step in range(1, len(placed) + 2):
        for way in (-1, 1):
            found = x, y + way * 2 * DOT * step
            if all((found[0] - left) ** 2 + (found[1] - top) ** 2 >= (2 * DOT) ** 2 for left, top in placed):
                return found
    return x, y - 2 * DOT * (len(placed) + 2)


def _tornado(title: str, text: str, middle: float, swings: Sequence[Swing], width: int, name: str) -> str:
    ends = [end for swing in swings for end in (swing.at_low, swing.at_high)]
    axis = ticks(min(middle, *ends), max(middle, *ends), 5 if width > 400 else 3) if ends else ticks(middle, middle)
    svg, per_unit, zero = _rows(title, text, name, width, axis, len(swings))
    for place, swing in enumerate(swings):
        y = place * ROW + 20
        _head(svg, width, y, swing.name, swing.label)
        for end, colour in sorted(((swing.at_low, 0), (swing.at_high, 1)), key=lambda pair: -abs(pair[0] - middle)):
            start, stop = sorted((middle, end))
            put(svg, "rect", f"area c{colour}", x=zero + start * per_unit, y=y + 7, width=(stop - start) * per_unit, height=BAR)
        x = zero + middle * per_unit
        put(svg, "line", "base", x1=x, x2=x, y1=y + 4, y2=y + BAR + 10)
    return written(svg)
