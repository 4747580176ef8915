"""A numeric sample in order: what every exact metric of numbers is read off."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mlport.drift.kernels import Floats, Integers, Kernel, Sizes, Walk

MOST_COUNTED = 1 << 20
"""Integers within a range up to this are counted rather than sorted."""


@dataclass(frozen=True)
class Ordered:
    """The finite values in ascending order, and what is beside them.

    `through` holds the weight of all finite values up to each one, itself included; None where each value weighs 1. `low` and `high`
    are the weights of minus and plus infinity, `missing` that of NaN and null, `rows` the number of all rows.
    """

    values: Floats
    through: Floats | None = None
    low: float = 0.0
    high: float = 0.0
    missing: float = 0.0
    rows: int = 0
    weighted: bool = False

    @property
    def finite(self) -> float:
        """The weight of the finite values."""
        if self.through is None:
            return float(self.values.size)
        return float(self.through[-1]) if self.through.size else 0.0

    @property
    def total(self) -> float:
        """The weight of all that is not missing."""
        return self.low + self.finite + self.high

    @property
    def weights(self) -> Floats:
        """The weight of each value."""
        return np.ones(self.values.size) if self.through is None else np.diff(self.through, prepend=0.0)

    @property
    def minimum(self) -> float | None:
        return float(self.values[0]) if self.values.size else None

    @property
    def maximum(self) -> float | None:
        return float(self.values[-1]) if self.values.size else None

    @cached_property
    def moments(self) -> tuple[float, float]:
        """Mean and sum of squared deviations of the finite values; NaN and 0 without any."""
        if not self.values.size:
            return math.nan, 0.0
        shift = float(self.values[self.values.size // 2])  # near the mean, so that little is lost of values far from zero
        with np.errstate(over="ignore", invalid="ignore"):
            apart = self.values - shift
            if self.through is None:
                return shift + float(apart.mean()), float(apart.var()) * self.values.size
            mean = float((apart * self.weights).sum() / self.finite)
            return shift + mean, float((self.weights * (apart - mean) ** 2).sum())

    def std(self, ddof: int = 0) -> float:
        """Standard deviation of the finite values; NaN where there are too few."""
        return math.sqrt(self.moments[1] / (self.finite - ddof)) if self.finite > ddof else math.nan

    def below(self, points: Floats, *, including: bool) -> Floats:
        """The weight of all values below each point, or up to it."""
        at = np.searchsorted(self.values, points, side="right" if including else "left")
        finite = at.astype(np.float64) if self.through is None else np.concatenate([[0.0], self.through])[at]
        low = np.where((points == -np.inf) & (not including), 0.0, self.low)
        found: Floats = low + finite + np.where((points == np.inf) & including, self.high, 0.0)
        return found

    def strictly(self, points: Floats) -> tuple[Floats, Floats]:
        """Bounds of the weight below each point, which are one here; `Cells` has others."""
        found = self.below(points, including=False)
        return found, found

    def up_to(self, points: Floats) -> tuple[Floats, Floats]:
        """Bounds of the weight up to each point."""
        found = self.below(points, including=True)
        return found, found

    def quantiles(self, shares: Floats) -> Floats:
        """The inverted CDF: the least value up to which there is at least each share of all, which may be infinite."""
        wanted = shares * self.total
        finite = wanted - self.low
        if self.through is None:
            at = np.maximum(np.ceil(finite * (1 - 1e-15)), 1).astype(np.int64) - 1
        else:
            at = np.searchsorted(self.through, finite * (1 - 1e-15), side="left")
        inside = self.values[np.minimum(at, self.values.size - 1)] if self.values.size else np.full(shares.size, np.inf)
        found: Floats = np.where(wanted <= self.low, -np.inf, np.where(at < self.values.size, inside, np.inf))
        return found


def of_floats(values: Floats, nulls: int, kernel: Kernel) -> Ordered:
    """A sample of floats, sorted. `values` is not written to."""
    finite = np.isfinite(values)
    if finite.all():
        return Ordered(kernel.sort(values.copy()), missing=float(nulls), rows=values.size + nulls)
    low, high = int((values == -np.inf).sum()), int((values == np.inf).sum())
    kept = values[finite]
    missing = values.size - kept.size - low - high + nulls
    return Ordered(kernel.sort(kept), low=float(low), high=float(high), missing=float(missing), rows=values.size + nulls)


def of_integers(values: Integers, nulls: int, scale: float, kernel: Kernel) -> Ordered:
    """A sample of integers times `scale`, counted where their range is small. Integers beyond 2^53 are rounded to floats."""
    if values.size:
        least, greatest = int(values.min()), int(values.max())
        if greatest - least < min(MOST_COUNTED, max(values.size, 1 << 10)):
            counts = np.bincount(values - least)
            there = np.flatnonzero(counts)
            through = np.cumsum(counts[there], dtype=np.float64)
            return Ordered(((there + least) * scale).astype(np.float64), through, missing=float(nulls), rows=values.size + nulls)
    return of_floats((values * scale).astype(np.float64), nulls, kernel)


def of_weighted(values: Floats, weights: Floats, rows: int | None = None, *, counts: bool = False) -> Ordered:
    """A sample whose values, NaN where missing, have weights; equal values are put together. `counts` if the weights count rows."""
    finite = np.isfinite(values)
    distinct, place = np.unique(values[finite], return_inverse=True)
    through = np.cumsum(np.bincount(place, weights[finite], minlength=distinct.size), dtype=np.float64)
    low, high, missing = (float(weights[where].sum()) for where in (values == -np.inf, values == np.inf, np.isnan(values)))
    return Ordered(distinct, through, low, high, missing, values.size if rows is None else rows, weighted=not counts)


def walk(reference: Ordered, current: Ordered, kernel: Kernel) -> Walk:
    """The Kolmogorov-Smirnov statistic and the first Wasserstein distance; neither side may be empty.

    The distance is infinite where the sides have unequal mass at an infinity.
    """
    if reference.through is None and current.through is None:
        sizes = Sizes(int(reference.low), int(current.low), int(reference.total), int(current.total))
        found = kernel.walk(reference.values, current.values, sizes)
    else:
        found = _weighted_walk(reference, current)
    a, b = reference, current
    equal = a.low / a.total == b.low / b.total and a.high / a.total == b.high / b.total
    return found if equal else found._replace(area=math.inf)


def _weighted_walk(a: Ordered, b: Ordered) -> Walk:
    points = np.union1d(a.values, b.values)
    i = np.concatenate([[a.low], a.below(points, including=True)])
    j = np.concatenate([[b.low], b.below(points, including=True)])
    distance = np.abs(i / a.total - j / b.total)
    at = int(distance.argmax())
    area = float((distance[1:-1] * np.diff(points)).sum())
    return Walk(float(distance[at]), area, int(i[at]), int(j[at]))
