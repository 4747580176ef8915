"""Many rows over windows of time as one picture: a cell is darker (on a dark page, lighter) the more it matters, and crossed out where it is not known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from mlport.reports.blocks import Chart, Key, Table
from mlport.reports.charts import EDGE, below
from mlport.reports.svg import LETTER, canvas, number, path, put, written

LEVELS = 5
"""How many steps there are, the last the worst; page.css has their colours."""
CROSSED = -1
"""The level of what is not known."""
ROW, CELL, TOP, GAP = 17, 14, 22, 6
"""Pixels: a row, a cell's height, the room above the first row, and between the first row and the others."""
NAMES = 0.42
"""The most of the width that the names may have."""
APART = 6
"""Pixels of a cell from which on there is a gap to the next."""
TALL = 12
"""From so many rows on the windows are written above them, too."""


@dataclass(frozen=True, slots=True)
class Row:
    """A name, and its level in each window; None where there is nothing of it."""

    name: str
    levels: Sequence[int | None]


def heat(title: str, text: str, rows: Sequence[Row], windows: Sequence[str], words: Sequence[str], table: Table) -> Chart:
    """Rows beneath each other, the first a little apart; `windows` are written below as there is room, `words` say what each level means."""
    seen = {level for row in rows for level in row.levels}
    legend = [Key(level, said, "heat") for level, said in enumerate(words) if level in seen]
    if CROSSED in seen:
        legend.append(Key(CROSSED, "not known", "cross"))
    return Chart(title, text, partial(_drawn, title, text, tuple(rows), tuple(windows)), table, legend)


def _drawn(title: str, text: str, rows: Sequence[Row], windows: Sequence[str], width: int, name: str) -> str:
    left = min(round(width * NAMES), round(max((len(row.name) for row in rows), default=0) * LETTER) + 8)
    cell = (width - EDGE - left) / max(len(windows), 1)
    cell = float(int(cell)) if cell >= 4 else cell  # whole pixels, where that costs no more than a quarter of the drawing
    right = left + cell * len(windows)
    middles = [TOP + ROW * place + (GAP if place else 0) + CELL / 2 for place in range(len(rows))]
    bottom = (middles[-1] if middles else TOP) + CELL / 2
    svg = canvas(width, bottom + 24, name, title, text)
    drawn = {f"heat h{level}": list(_runs(rows, middles, left, cell, level)) for level in range(LEVELS)}
    if cell >= APART:
        drawn["between"] = [f"M{number(left + cell * place)} {TOP}V{number(bottom)}" for place in range(1, len(windows))]
    drawn["cross"] = list(_crosses(rows, middles, left, cell))
    for kind, pieces in drawn.items():
        if pieces:
            path(svg, kind, pieces)
    for row, middle in zip(rows, middles, strict=True):
        put(svg, "text", "tick end", fitting(row.name, left - 6), x=left - 6, y=middle + 4)
    below(svg, [(left + cell * (place + 0.5), said) for place, said in enumerate(windows)], bottom + 16, int(right + EDGE))
    if len(rows) > TALL:
        below(svg, [(left + cell * (place + 0.5), said) for place, said in enumerate(windows)], TOP - 8, int(right + EDGE))
    return written(svg)


def fitting(name: str, width: float) -> str:
    """As much of a name as fits, its beginning and its end: columns' names often differ there alone.

    >>> fitting("a_rather_long_feature_name_19", 110)
    'a_rathe…name_19'
    """
    room = max(int(width / LETTER), 3)
    return name if len(name) <= room else f"{name[: room // 2]}…{name[len(name) - (room - 1) // 2 :]}"


def _runs(rows: Sequence[Row], middles: Sequence[float], left: float, cell: float, level: int) -> Iterator[str]:
    """The cells of one level, neighbours as one line as thick as a cell is high: two hundred rows of sixty windows must stay small."""
    for row, middle in zip(rows, middles, strict=True):
        place, at = 0, None
        for each, run in groupby(row.levels):
            count = len(list(run))
            if each == level:
                x = left + cell * place
                yield (
                    f"M{number(x)} {number(middle)}h{number(cell * count)}" if at is None else f"m{number(x - at)} 0h{number(cell * count)}"
                )
                at = x + cell * count
            place += count


def _crosses(rows: Sequence[Row], middles: Sequence[float], left: float, cell: float) -> Iterator[str]:
    wide = max(min(cell - 2, 9.0), 2.0)
    for row, middle in zip(rows, middles, strict=True):
        for place, level in enumerate(row.levels):
            if level == CROSSED:
                x = left + cell * place + (cell - wide) / 2
                yield f"M{number(x)} {number(middle - 4)}l{number(wide)} 8m-{number(wide)} 0l{number(wide)}-8"
