"""A sketch of a numeric sample: counts and sums in dyadic cells, from which every distribution function is bounded with certainty.

Finite floats are ordered like 64-bit keys (their bits, negative ones inverted). A cell is a dyadic interval of keys: all keys that share
their leading bits. Cells are disjoint, and none is empty; so of any two cells of two sketches one contains the other, or they are apart.
Merging keeps the largest cells and adds up what is inside. Hence merging is associative and commutative, without an approximation:
every value is counted in a cell that contains it, and distribution functions at the ends of cells are exact. (Counts are exactly the
same in any order of merging; sums of floats up to rounding.)

A cell is parted while it holds more than `1 / RESOLUTION` of all at the median, less towards the tails: times `2 sqrt(F (1 - F))`, as in
T. Dunning's t-digest. A cell of one value only knows it. Dyadic cells by mass: N. Shrivastava et al., q-digest, SenSys 2004.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlport.drift.kernels import Floats, Integers, Kernel
from mlport.drift.ordered import Ordered, of_floats

Keys = npt.NDArray[np.uint64]
RESOLUTION = 256
MOST_CELLS = 2_048
"""More are put together when a sample is read; merging alone never does."""
SLOT_BITS = 14
SLOTS = 1 << SLOT_BITS
_SIGN = np.uint64(1 << 63)
_SPAN: Keys = np.array([(1 << level) - 1 for level in range(65)], np.uint64)


def keys_of(values: Floats) -> Keys:
    """Keys in the order of the values; both zeros have one key."""
    bits = (values + 0.0).view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def values_of(keys: Keys) -> Floats:
    bits: Keys = np.where(keys & _SIGN, keys ^ _SIGN, ~keys)
    return bits.view(np.float64)


@dataclass(frozen=True)
class Cells:
    """The cells in ascending order: first key, level (a cell spans 2^level keys), count and sum of the values; and what is beside them.

    `low`, `high`, `missing` and `rows` are as in `Ordered`; `mean` and `squares` (the sum of squared deviations) of the finite values.
    """

    starts: Keys
    levels: npt.NDArray[np.uint8]
    counts: Integers
    sums: Floats
    low: float = 0.0
    high: float = 0.0
    missing: float = 0.0
    rows: int = 0
    minimum: float | None = None
    maximum: float | None = None
    mean: float = math.nan
    squares: float = 0.0
    weighted: bool = False

    @cached_property
    def ends(self) -> Keys:
        """The last key of each cell."""
        return self.starts + _SPAN[self.levels]

    @cached_property
    def span(self) -> tuple[Floats, Floats]:
        """The least and greatest value that each cell may hold."""
        if self.minimum is None or self.maximum is None:
            return np.empty(0), np.empty(0)
        first, last = _finite(self.starts), _finite(self.ends)
        return np.maximum(first, self.minimum), np.minimum(last, self.maximum)

    @cached_property
    def through(self) -> Floats:
        """0, then the count up to and with each cell."""
        return np.concatenate([[0.0], np.cumsum(self.counts)])

    @property
    def finite(self) -> float:
        return float(self.through[-1])

    @property
    def total(self) -> float:
        return self.low + self.finite + self.high

    @property
    def moments(self) -> tuple[float, float]:
        return self.mean, self.squares

    def std(self, ddof: int = 0) -> float:
        return math.sqrt(self.squares / (self.finite - ddof)) if self.finite > ddof else math.nan

    def strictly(self, points: Floats) -> tuple[Floats, Floats]:
        """Bounds of the count below each point."""
        first, last = self.span
        lo, hi = np.searchsorted(last, points, side="left"), np.searchsorted(first, points, side="left")
        low = np.where(points == -np.inf, 0.0, self.low)
        return low + self.through[lo], low + self.through[hi]

    def up_to(self, points: Floats) -> tuple[Floats, Floats]:
        """Bounds of the count up to each point."""
        first, last = self.span
        lo, hi = np.searchsorted(last, points, side="right"), np.searchsorted(first, points, side="right")
        high = np.where(points == np.inf, self.high, 0.0)
        return self.low + self.through[lo] + high, self.low + self.through[hi] + high


EMPTY = Cells(np.empty(0, np.uint64), np.empty(0, np.uint8), np.empty(0, np.int64), np.empty(0))


def of_ordered(sample: Ordered) -> Cells:
    """The cells that a sample gives by itself."""
    keys, through = keys_of(sample.values), _through(sample)
    heads, tails, levels = _parted(keys, keys, through)
    sums = _sums(_times(sample), heads)
    starts = keys[heads] & ~_SPAN[levels]
    mean, squares = sample.moments
    return Cells(
        starts, levels, (through[tails] - through[heads]).astype(np.int64), sums, sample.low, sample.high, sample.missing, sample.rows,
        sample.minimum, sample.maximum, mean, squares,
    )  # fmt: skip


def add(cells: Cells, sample: Ordered) -> Cells:
    """The sketch of both. Values inside the cells there are counted in these, others get cells of their own."""
    if not cells.starts.size or not sample.values.size:
        return compact(merge(cells, of_ordered(sample)))
    first, last = _finite(cells.starts), _finite(cells.ends)
    heads, tails = np.searchsorted(sample.values, first, side="left"), np.searchsorted(sample.values, last, side="right")
    through = np.concatenate([[0.0], sample.through]) if sample.through is not None else None
    counts = (tails - heads if through is None else through[tails] - through[heads]).astype(np.int64)
    parts = _sums(np.append(_times(sample), 0.0), np.column_stack([heads, tails]).ravel())[::2]
    inside = replace(cells, counts=cells.counts + counts, sums=cells.sums + np.where(heads < tails, parts, 0.0))
    between = np.column_stack([np.append(0, tails), np.append(heads, sample.values.size)])
    gaps = [np.arange(start, stop) for start, stop in between[between[:, 0] < between[:, 1]]]
    outside = np.concatenate(gaps) if gaps else np.empty(0, np.int64)
    weights = None if through is None else (through[outside + 1] - through[outside]).cumsum()
    mean, squares = sample.moments
    whole = replace(
        of_ordered(Ordered(sample.values[outside], weights)), low=sample.low, high=sample.high, missing=sample.missing, rows=sample.rows,
        minimum=sample.minimum, maximum=sample.maximum, mean=mean, squares=squares,
    )  # fmt: skip
    return compact(_joined(inside, whole, cells.finite, sample.finite))


def tally(cells: Cells, values: Floats, nulls: int, kernel: Kernel) -> Cells:
    """The sketch of both, as `add` makes it, of values in no order, with NaN and infinities."""
    if kernel.tally is None or not cells.starts.size:
        return add(cells, of_floats(values, nulls, kernel))
    counts, sums, beside = _tallied(cells, values, nulls, kernel)
    inside = replace(cells, counts=cells.counts + counts, sums=cells.sums + sums)
    return compact(_joined(inside, beside, cells.finite, _finite_of(beside)))


def _tallied(cells: Cells, values: Floats, nulls: int, kernel: Kernel) -> tuple[Integers, Floats, Cells]:
    """Counts and sums of the values in each cell; and the sketch of those in none, with what is said of all values."""
    if kernel.tally is None:
        raise AssertionError(kernel.name)
    counts, sums, outside = np.zeros_like(cells.counts), np.zeros_like(cells.sums), np.empty_like(values)
    lookup = _lookup(cells)
    (beside, missing, low, high), (least, greatest, total, squares) = kernel.tally(values, *lookup, cells.mean, counts, sums, outside)
    count = values.size - missing - low - high
    whole = replace(
        of_ordered(Ordered(kernel.sort(outside[:beside].copy()))), low=float(low), high=float(high), missing=float(missing + nulls),
        rows=values.size + nulls, minimum=least if count else None, maximum=greatest if count else None,
        mean=cells.mean + total / count if count else math.nan, squares=max(0.0, squares - total * total / count) if count else 0.0,
    )  # fmt: skip
    return counts, sums, whole


def _finite_of(beside: Cells) -> float:
    """How many finite values a tally was of."""
    return beside.rows - beside.missing - beside.low - beside.high


class Lookup(NamedTuple):
    """Where to begin looking for a value's cell: at `table[slot]`; a slot is `(value - base) * scale`, or of keys, shifted by `shift`."""

    first: Floats
    last: Floats
    table: npt.NDArray[np.uint16]
    base: float
    scale: float
    shift: int


def _lookup(cells: Cells) -> Lookup:
    """The lookup, linear or of keys, that has fewer cells to go past."""
    first, last = _finite(cells.starts), _finite(cells.ends)
    least, greatest = float(cells.minimum or 0.0), float(cells.maximum or 0.0)
    key_least, key_greatest = keys_of(np.array([least, greatest]))
    shift = max(0, int(key_greatest - key_least).bit_length() - SLOT_BITS)
    with np.errstate(over="ignore", divide="ignore"):
        scale = float(np.divide(SLOTS, np.subtract(greatest, least)))
    scale = scale if math.isfinite(scale) else 0.0

    def linear(values: Floats) -> Integers:
        with np.errstate(over="ignore"):
            return np.clip((values - least) * scale, 0.0, SLOTS - 1).astype(np.int64)

    def keyed(values: Floats) -> Integers:
        keys = keys_of(values)
        apart = np.where(keys > key_least, keys - np.minimum(keys, key_least), np.uint64(0))
        slots: Integers = np.minimum(apart >> np.uint64(shift), np.uint64(SLOTS - 1)).astype(np.int64)
        return slots

    tried = []
    for slot, how in ((linear, -1), (keyed, shift)):
        table = np.searchsorted(slot(last), np.arange(SLOTS), side="left")
        past = float((cells.counts * (np.arange(first.size) - table[slot(first)])).sum())
        tried.append((past, Lookup(first, last, table.astype(np.uint16), least, scale, how)))
    return min(tried, key=lambda one: one[0])[1]


def like(cells: Cells, sample: Ordered) -> Cells:
    """A sketch of `sample` with the cells of another, so that the two are apart by nothing but their values."""
    return _occupied(add(_emptied(cells), sample))


def like_values(cells: Cells, values: Floats, nulls: int, kernel: Kernel) -> Cells:
    """The same of values in no order, with NaN and infinities."""
    if kernel.tally is None or not cells.starts.size:
        return like(cells, of_floats(values, nulls, kernel))
    counts, sums, beside = _tallied(cells, values, nulls, kernel)
    inside = replace(_emptied(cells), counts=counts, sums=sums)
    return _occupied(_joined(inside, beside, 0.0, _finite_of(beside)))


def _emptied(cells: Cells) -> Cells:
    return replace(EMPTY, starts=cells.starts, levels=cells.levels, counts=np.zeros_like(cells.counts), sums=np.zeros_like(cells.sums))


def _occupied(found: Cells) -> Cells:
    there = found.counts > 0
    return replace(found, starts=found.starts[there], levels=found.levels[there], counts=found.counts[there], sums=found.sums[there])


def merge(a: Cells, b: Cells) -> Cells:
    """The sketch of two samples together: the largest cells of both."""
    return _joined(a, b, a.finite, b.finite)


def compact(cells: Cells, most: int = MOST_CELLS) -> Cells:
    """Cells put together where there are more than `most`, as finely as a sketch of one sample."""
    if cells.starts.size <= most:
        return cells
    heads, _, levels = _parted(cells.starts, cells.ends, cells.through)
    levels = np.maximum(levels, cells.levels[heads])
    starts = cells.starts[heads] & ~_SPAN[levels]
    counts, sums = np.add.reduceat(cells.counts, heads), _sums(cells.sums, heads)
    return replace(cells, starts=starts, levels=levels, counts=counts, sums=sums)


def _joined(a: Cells, b: Cells, n: float, m: float) -> Cells:
    """`a` and `b` in one; `n` and `m` are the finite values that their means are of."""
    heads, order = groups(a, b)
    starts, levels = np.concatenate([a.starts, b.starts])[order], np.concatenate([a.levels, b.levels])[order]
    counts, sums = np.concatenate([a.counts, b.counts])[order], np.concatenate([a.sums, b.sums])[order]
    if heads.size:
        starts, levels = starts[heads], levels[heads]
        counts, sums = np.add.reduceat(counts, heads), _sums(sums, heads)
    mean, squares = _moments((n, a.mean, a.squares), (m, b.mean, b.squares))
    ends = [(each.minimum, each.maximum) for each in (a, b)]
    return Cells(
        starts, levels, counts, sums, a.low + b.low, a.high + b.high, a.missing + b.missing, a.rows + b.rows,
        min((least for least, _ in ends if least is not None), default=None),
        max((greatest for _, greatest in ends if greatest is not None), default=None), mean, squares,
    )  # fmt: skip


def groups(a: Cells, b: Cells) -> tuple[Integers, Integers]:
    """The cells of both, `a`'s before `b`'s, in an order where each largest cell comes before those inside it; and where these begin."""
    starts, levels, ends = (np.concatenate(pair) for pair in ((a.starts, b.starts), (a.levels, b.levels), (a.ends, b.ends)))
    order = np.lexsort((-levels.astype(np.int64), starts))
    if not order.size:
        return order, order
    reached = np.maximum.accumulate(ends[order])
    return np.flatnonzero(np.concatenate([[True], starts[order][1:] > reached[:-1]])), order


def _moments(a: tuple[float, float, float], b: tuple[float, float, float]) -> tuple[float, float]:
    """Mean and squared deviations of both. Chan, Golub and LeVeque, Updating formulae (1979)."""
    (n, mean_a, squares_a), (m, mean_b, squares_b) = a, b
    if not n or not m:
        return (mean_b, squares_b) if not n else (mean_a, squares_a)
    with np.errstate(over="ignore", invalid="ignore"):
        apart = np.float64(mean_b) - mean_a
        return float(mean_a + apart * (m / (n + m))), float(squares_a + squares_b + apart * apart * (n * m / (n + m)))


def _parted(starts: Keys, ends: Keys, through: Floats) -> tuple[Integers, Integers, npt.NDArray[np.uint8]]:
    """Part items, in order and each from a start to an end key, into cells: the first item of each, one past its last, and its level."""
    total = float(through[-1]) if through.size else 0.0
    heads, tails = np.array([0], np.int64), np.array([starts.size], np.int64)
    found: list[npt.NDArray[np.int64]] = []
    while starts.size and heads.size:
        levels = _bit_length(starts[heads] ^ ends[tails - 1])
        counts, middle = through[tails] - through[heads], (through[tails] + through[heads]) / (2 * total)
        most = total / RESOLUTION * 2 * np.sqrt(middle * (1 - middle))
        whole = (counts <= most) | (tails - heads == 1) | (levels == 0)
        found.append(np.column_stack([heads[whole], tails[whole], levels[whole]]))
        heads, tails, levels = heads[~whole], tails[~whole], levels[~whole]
        halves = (starts[heads] & ~_SPAN[levels]) + (_SPAN[levels - 1] + np.uint64(1))
        parting = np.searchsorted(starts, halves, side="left").astype(np.int64)
        heads, tails = np.concatenate([heads, parting]), np.concatenate([parting, tails])
    cells = np.concatenate(found) if found else np.empty((0, 3), np.int64)
    cells = cells[np.argsort(cells[:, 0])]
    return cells[:, 0], cells[:, 1], cells[:, 2].astype(np.uint8)


def _sums(values: Floats, heads: Integers) -> Floats:
    """Sums of stretches; of values near the greatest they are infinite, and bounds that need them too."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.add.reduceat(values, heads) if heads.size else np.empty(0)


def _bit_length(keys: Keys) -> Integers:
    high, low = keys >> np.uint64(32), keys & np.uint64(0xFFFFFFFF)
    found = np.where(high > 0, 32 + np.frexp(high.astype(np.float64))[1], np.frexp(low.astype(np.float64))[1])
    return found.astype(np.int64)


def _finite(keys: Keys) -> Floats:
    """The values of keys; a cell may reach beyond the finite ones. The key of minus zero, where no value is, is that of the value below."""
    least, greatest = keys_of(np.array([-np.finfo(np.float64).max, np.finfo(np.float64).max]))
    return values_of(np.clip(np.where(keys == _SIGN - np.uint64(1), keys - np.uint64(1), keys), least, greatest))


def _through(sample: Ordered) -> Floats:
    through = np.arange(1.0, sample.values.size + 1) if sample.through is None else sample.through
    return np.concatenate([[0.0], through])


def _times(sample: Ordered) -> Floats:
    return sample.values if sample.through is None else sample.values * sample.weights
