"""Two samples beside each other, as small charts: shares of bins as columns, shares of names as bars."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from xml.etree import ElementTree as ET

from mlport.reports.blocks import Chart, Table
from mlport.reports.svg import LETTER, canvas, number, path, put, shortened, ticks, written

TOP, HIGH, LEFT, RIGHT = 26.0, 120.0, 44.0, 8.0
"""Where a drawing of columns begins, how high its columns go, and what is left free beside them."""
ROW, NAMES = 24.0, 0.36
"""Of bars: how high a pair of them is, and the share of the width that their names have."""


def columns(
    title: str,
    text: str,
    samples: tuple[str, str],
    shares: tuple[Sequence[float], Sequence[float]],
    edges: Sequence[str],
    table: Table,
) -> Chart:
    """Shares of bins that lie in order; `edges` are written where one bin ends and the next begins."""
    return Chart(title, text, partial(_columns, title, text, samples, shares, tuple(edges)), table, small=True)


def bars(
    title: str,
    text: str,
    samples: tuple[str, str],
    shares: tuple[Sequence[float], Sequence[float]],
    names: Sequence[str],
    table: Table,
) -> Chart:
    """Shares of names, beneath each other."""
    return Chart(title, text, partial(_bars, title, text, samples, shares, tuple(names)), table, small=True)


def _columns(
    title: str,
    text: str,
    samples: tuple[str, str],
    shares: tuple[Sequence[float], Sequence[float]],
    edges: Sequence[str],
    width: int,
    name: str,
) -> str:
    svg = canvas(width, TOP + HIGH + 24, name, title, text)
    _legend(svg, samples, width)
    axis = _axis(shares)
    bottom = TOP + HIGH
    heights = [bottom - value / axis[-1] * HIGH for value in axis]
    path(svg, "grid", (f"M{LEFT:g} {number(y)}H{number(width - RIGHT)}" for y in heights))
    for value, y in zip(axis, heights, strict=True):
        put(svg, "text", "tick end", _percent(value, axis), x=LEFT - 6, y=y + 4)
    slot = (width - LEFT - RIGHT) / len(shares[0])
    for sample, each in enumerate(shares):
        left = LEFT + slot * (0.08 + 0.42 * sample)
        drawn = [(left + slot * place, share / axis[-1] * HIGH) for place, share in enumerate(each) if share]
        path(svg, f"area c{sample}", (f"M{number(x)} {bottom:g}v-{number(high)}h{number(slot * 0.42)}V{bottom:g}z" for x, high in drawn))
    free = 0.0
    for place, edge in enumerate(edges, start=1):
        x, half = LEFT + slot * place, len(edge) * LETTER / 2
        if x - half >= free and x + half <= width:
            put(svg, "text", "tick middle", edge, x=x, y=bottom + 18)
            free = x + half + LETTER
    return written(svg)


def _bars(
    title: str,
    text: str,
    samples: tuple[str, str],
    shares: tuple[Sequence[float], Sequence[float]],
    names: Sequence[str],
    width: int,
    name: str,
) -> str:
    bottom = TOP + ROW * len(names)
    svg = canvas(width, bottom + 24, name, title, text)
    _legend(svg, samples, width)
    axis = _axis(shares)
    left = round(width * NAMES)
    across = width - left - 2 * LETTER
    places = [left + value / axis[-1] * across for value in axis]
    path(svg, "grid", (f"M{number(x)} {TOP - 4:g}V{bottom:g}" for x in places))
    for value, x in zip(axis, places, strict=True):
        put(svg, "text", "tick middle", _percent(value, axis), x=x, y=bottom + 16)
    for sample, each in enumerate(shares):
        drawn = [(TOP + ROW * place + 9 * sample, share / axis[-1] * across) for place, share in enumerate(each) if share]
        path(svg, f"area c{sample}", (f"M{number(left)} {y:g}h{number(long)}v9H{number(left)}z" for y, long in drawn))
    for place, each_name in enumerate(names):
        put(svg, "text", "tick end", shortened(each_name, left - 6), x=left - 6, y=TOP + ROW * place + 13)
    return written(svg)


def _legend(svg: ET.Element, samples: tuple[str, str], width: int) -> None:
    """Both colours with their names, above the drawing."""
    for place, sample in enumerate(samples):
        x = place * width / 2
        put(svg, "rect", f"area c{place}", x=x, y=2, width=11, height=11)
        put(svg, "text", "tick", shortened(sample, width / 2 - 20), x=x + 15, y=12)


def _axis(shares: tuple[Sequence[float], Sequence[float]]) -> list[float]:
    return ticks(0.0, max((share for each in shares for share in each), default=0.0) or 1.0, 3)


def _percent(value: float, axis: Sequence[float]) -> str:
    """As many digits as tell neighbouring ticks apart."""
    return f"{value:.0%}" if axis[1] >= 0.01 else f"{value:.1%}"
