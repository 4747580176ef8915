"""Bounds of the metrics of numbers where one side or both is a sketch: the exact value lies between them."""

from __future__ import annotations

import math

import numpy as np

from mlport.drift import cells, divergences
from mlport.drift.cells import Cells
from mlport.drift.definitions import Definition
from mlport.drift.divergences import Interval
from mlport.drift.kernels import Floats
from mlport.drift.ordered import Ordered

Side = Cells | Ordered
SLACK = 1e-12
"""What rounding may add, as a share."""


def ks(a: Side, b: Side) -> Interval:
    """Kolmogorov-Smirnov: both distribution functions are bounded at the ends of all cells, and between two ends they only rise."""
    sides = [side for side in (a, b) if isinstance(side, Cells)]
    points = np.unique(np.concatenate([end for side in sides for end in side.span]))
    starts = np.concatenate([[-np.inf], points])
    stops = np.concatenate([points, [np.inf]])
    (a_lo, a_hi), (b_lo, b_hi) = ([bound / side.total for bound in side.up_to(starts)] for side in (a, b))
    (a_lo_end, a_hi_end), (b_lo_end, b_hi_end) = ([bound / side.total for bound in side.strictly(stops)] for side in (a, b))
    least = max(0.0, _apart(a_lo, a_hi, b_lo, b_hi), _apart(a_lo_end, a_hi_end, b_lo_end, b_hi_end))
    rise = np.maximum(a_hi_end - b_lo, b_hi_end - a_lo)  # one may have risen already where the other has not
    return Interval(least, min(1.0, max(least, float(rise.max()))))


def _apart(a_lo: Floats, a_hi: Floats, b_lo: Floats, b_hi: Floats) -> float:
    return float(np.maximum(a_lo - b_hi, b_lo - a_hi).max())


def wasserstein(a: Cells, b: Cells) -> tuple[float, Interval]:
    """An estimate of the first Wasserstein distance, as if values were even within cells, and its bounds.

    Over a largest cell of both the integral of either distribution function is known by the sum of its values. Where one is above the
    other throughout, so is the integral of their distance; elsewhere that is bounded from both ends of the cell.
    """
    if a.low / a.total != b.low / b.total or a.high / a.total != b.high / b.total:
        return math.inf, Interval(math.inf, math.inf)
    if not a.starts.size or not b.starts.size:
        return 0.0, Interval(0.0, 0.0)
    heads, order = cells.groups(a, b)
    of_a = order < a.starts.size
    count, sums = np.concatenate([a.counts, b.counts])[order].astype(np.float64), np.concatenate([a.sums, b.sums])[order]
    p, q = (np.add.reduceat(count * side, heads) / whole.total for side, whole in ((of_a, a), (~of_a, b)))
    first, last = (np.concatenate([x, y])[order] for x, y in zip(a.span, b.span, strict=True))
    first, last = np.minimum.reduceat(first, heads), np.maximum.reduceat(last, heads)
    with np.errstate(over="ignore", invalid="ignore"):
        s, t = (np.add.reduceat(sums * side, heads) / whole.total for side, whole in ((of_a, a), (~of_a, b)))
        estimate, least, most = _integrals((p, q), (s, t), (first, last), (a.low / a.total, b.low / b.total))
    slack = SLACK * (most + float((np.maximum(np.abs(first), np.abs(last)) * (p + q)).sum()))
    if not math.isfinite(estimate + least + most + slack):
        return (estimate if math.isfinite(estimate) else 0.0), Interval(0.0, math.inf)
    return min(max(estimate, least), most), Interval(max(0.0, least - slack), most + slack)


def _integrals(
    shares: tuple[Floats, Floats], sums: tuple[Floats, Floats], span: tuple[Floats, Floats], low: tuple[float, float]
) -> tuple[float, float, float]:
    (p, q), (s, t), (first, last) = shares, sums, span
    width = last - first
    after = (low[0] - low[1]) + np.cumsum(p - q)
    before = after - (p - q)
    over_a, over_b = np.clip(last * p - s, 0.0, p * width), np.clip(last * q - t, 0.0, q * width)  # above where each began
    inside = np.abs(before * width + over_a - over_b)
    sure = (before - q >= 0) | (before + p <= 0)
    from_left = np.abs(before) * width + over_a + over_b
    from_right = np.abs(after) * width + (p * width - over_a) + (q * width - over_b)
    largest = width * np.maximum(np.abs(before + p), np.abs(before - q))
    bound = np.where(sure, inside, np.minimum.reduce([from_left, from_right, largest]))
    both = np.abs(before) + np.abs(after)
    crossing = np.where(both > 0, (before**2 + after**2) / np.where(both > 0, 2 * both, 1.0), 0.0) * width
    even = np.where(before * after >= 0, inside, np.maximum(inside, crossing))
    gaps = float((np.abs(after[:-1]) * (first[1:] - last[:-1])).sum())
    return gaps + float(even.sum()), gaps + float(inside.sum()), gaps + float(np.maximum(bound, inside).sum())


def binned(definition: Definition, a: Side, b: Side) -> tuple[float, Interval]:
    """An estimate and bounds of a metric of histograms."""
    lowest, highest = edge_bounds(definition, a, b)
    a_below, b_below = _below(a, lowest, highest), _below(b, lowest, highest)
    if isinstance(a, Cells) and definition.bins is not None and definition.bins.rule == "quantiles":
        a_below = _ranks(a, lowest, highest)
    middle = [_counts((lo + hi) / 2, side.total) for (lo, hi), side in ((a_below, a), (b_below, b))]
    first, second = (_between(*below, side.total) for below, side in ((a_below, a), (b_below, b)))
    found = divergences.bounds(definition, first, second, (a.total, b.total))
    if found.lo == found.hi:
        return found.lo, found
    lo, hi = found.lo * (1 - SLACK), found.hi * (1 + SLACK)
    return min(max(divergences.value(definition, *middle), lo), hi), Interval(lo, hi)


def edge_bounds(definition: Definition, a: Side, b: Side) -> tuple[Floats, Floats]:
    """The least and greatest that each inner edge of the bins may be."""
    bins = definition.bins
    if bins is None or bins.rule == "categories":
        raise AssertionError(definition)
    if bins.rule == "quantiles" and isinstance(a, Cells):
        return _quantile_cells(a, np.arange(1, (bins.count or 0)) / (bins.count or 1))
    edges = edges_of(definition, a, b)
    return edges, edges


def edges_of(definition: Definition, a: Side, b: Side) -> Floats:
    """The inner edges, exactly; of quantiles `a` must be in order."""
    bins = definition.bins
    if bins is None or bins.rule == "edges":
        return np.array(bins.edges if bins else ())
    if bins.rule == "quantiles" and isinstance(a, Ordered):
        return a.quantiles(np.arange(1, (bins.count or 0)) / (bins.count or 1))
    least = min((side.minimum for side in (a, b) if side.minimum is not None), default=0.0)
    greatest = max((side.maximum for side in (a, b) if side.maximum is not None), default=0.0)
    count = bins.count or math.ceil(math.log2(max(a.finite + b.finite, 1.0))) + 1
    return np.linspace(least, greatest, count + 1)[1:-1]


def counts_of(side: Ordered, edges: Floats) -> Floats:
    """How much of a sample is in each bin."""
    return _counts(side.below(edges, including=False), side.total)


def _counts(below: Floats, total: float) -> Floats:
    return np.diff(below, prepend=0.0, append=total)


def _below(side: Side, lowest: Floats, highest: Floats) -> tuple[Floats, Floats]:
    return side.strictly(lowest)[0], side.strictly(highest)[1]


def _between(lo: Floats, hi: Floats, total: float) -> tuple[Floats, Floats]:
    """The least and greatest count of each bin, given those below its edges."""
    lows, highs = np.concatenate([[0.0], lo, [total]]), np.concatenate([[0.0], hi, [total]])
    return np.maximum(lows[1:] - highs[:-1], 0.0), np.maximum(highs[1:] - lows[:-1], 0.0)


def _quantile_cells(a: Cells, shares: Floats) -> tuple[Floats, Floats]:
    """The cells that the inverted CDF's values are in."""
    wanted = shares * a.total
    at = np.searchsorted(a.through[1:], (wanted - a.low) * (1 - 1e-15), side="left")
    first, last = (np.append(end, np.inf) for end in a.span)
    low = wanted <= a.low
    return np.where(low, -np.inf, first[at]), np.where(low, -np.inf, last[at])


def _ranks(a: Cells, lowest: Floats, highest: Floats) -> tuple[Floats, Floats]:
    """Bounds of the count below the reference's own quantiles: less than the share that the quantile stands for."""
    lo, hi = a.strictly(lowest)[0], a.strictly(highest)[1]
    count = lowest.size + 1
    wanted = np.ceil(np.arange(1, count) / count * a.total * (1 - 1e-15)) - 1
    return lo, np.maximum(lo, np.minimum(hi, np.maximum(wanted, 0.0)))
