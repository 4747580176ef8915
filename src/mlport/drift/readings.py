"""The readings of one column: each metric that its kind has, exact where both sides are whole, else an estimate with bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from mlport.drift import bounds, cells, divergences, ordered, significance
from mlport.drift.bounds import Side
from mlport.drift.cells import Cells
from mlport.drift.definitions import BINNED, DECILES, Definition, Kind, Norm
from mlport.drift.divergences import Interval
from mlport.drift.kernels import Floats, Kernel, Walk
from mlport.drift.observed import Observed
from mlport.drift.ordered import Ordered
from mlport.drift.records import Histogram, Reading

TOP = 20
"""Categories in a histogram; the others are put together."""
OTHERS = "(others)"


def readings(kind: Kind, reference: Observed, current: Observed, wanted: Sequence[Definition], kernel: Kernel) -> dict[str, Reading]:
    """All that is wanted of one column."""
    if empty := [name for name, side in (("reference", reference), ("current", current)) if not side.sample.total]:
        why = f"the {' and the '.join(empty)} sample has no values"
        return {
            each.key: _missing(each, reference, current) if each.metric == "missing" else Reading(each, None, why=why) for each in wanted
        }
    read = _reader(kind, reference, current, kernel)
    return {each.key: read(each) for each in wanted}


def _reader(kind: Kind, reference: Observed, current: Observed, kernel: Kernel) -> Callable[[Definition], Reading]:
    if kind == "category":
        main: _Categories | _Exact | _Sketched = _Categories(reference, current)
    elif isinstance(reference.sample, Ordered) and isinstance(current.sample, Ordered):
        main = _Exact(reference.sample, current.sample, kernel)
    else:
        main = _Sketched(reference.sample, current.sample)

    def read(definition: Definition) -> Reading:
        if definition.metric == "missing":
            return _missing(definition, reference, current)
        if definition.metric.startswith("centroid"):
            return _centroid(definition, reference, current)
        return main.read(definition)

    return read


@dataclass(frozen=True)
class _Exact:
    """Two samples in order."""

    a: Ordered
    b: Ordered
    kernel: Kernel

    @cached_property
    def walk(self) -> Walk:
        return ordered.walk(self.a, self.b, self.kernel)

    def read(self, definition: Definition) -> Reading:
        a, b = self.a, self.b
        if definition.metric in BINNED:
            edges = bounds.edges_of(definition, a, b)
            return Reading(definition, divergences.value(definition, bounds.counts_of(a, edges), bounds.counts_of(b, edges)))
        if definition.metric == "ks":
            test = partial(significance.ks, self.walk.distance, self.walk.a_below, self.walk.b_below, int(a.total), int(b.total))
            return Reading(definition, self.walk.distance, test=None if a.weighted or b.weighted else test)
        return _normed(definition, self.walk.area, None, a)


@dataclass(frozen=True)
class _Sketched:
    """Two samples of which at least one is a sketch."""

    a: Side
    b: Side

    @cached_property
    def wasserstein(self) -> tuple[float, Interval]:
        a = self.a if isinstance(self.a, Cells) else cells.like(self.b, self.a) if isinstance(self.b, Cells) else cells.of_ordered(self.a)
        b = self.b if isinstance(self.b, Cells) else cells.like(a, self.b)
        return bounds.wasserstein(a, b)

    def read(self, definition: Definition) -> Reading:
        if definition.metric in BINNED:
            return _between(definition, *bounds.binned(definition, self.a, self.b))
        if definition.metric == "ks":
            found = bounds.ks(self.a, self.b)
            return _between(definition, (found.lo + found.hi) / 2, found)
        return _normed(definition, *self.wasserstein, self.a)


@dataclass(frozen=True)
class _Categories:
    """Counts of the same categories on both sides."""

    reference: Observed
    current: Observed

    @cached_property
    def counts(self) -> tuple[Floats, Floats] | None:
        a, b = self.reference.counts(), self.current.counts()
        return None if a is None or b is None else aligned(a, b)

    @property
    def weighted(self) -> bool:
        return any(isinstance(side.sample, Ordered) and side.sample.weighted for side in (self.reference, self.current))

    def read(self, definition: Definition) -> Reading:
        if self.counts is None:
            return Reading(definition, None, why="a side has more distinct values than its profile keeps")
        if definition.metric != "chi2":
            return Reading(definition, divergences.value(definition, *self.counts))
        if self.weighted:
            return Reading(definition, None, why="chi-square is of counts, and these are weights")
        found = divergences.chi_square(*self.counts)
        return Reading(definition, found.statistic, test=partial(significance.chi_square, *found))


def aligned(a: Mapping[str, float], b: Mapping[str, float]) -> tuple[Floats, Floats]:
    """The counts of the same categories, the reference's first."""
    names = list(dict.fromkeys([*a, *b]))
    return np.array([a.get(name, 0.0) for name in names]), np.array([b.get(name, 0.0) for name in names])


def _between(definition: Definition, value: float, found: Interval) -> Reading:
    if found.lo == found.hi:
        return Reading(definition, found.lo)
    return Reading(definition, value, found.lo, found.hi)


def _normed(definition: Definition, area: float, found: Interval | None, reference: Side) -> Reading:
    """Wasserstein's distance, divided where a norm is asked for."""
    divisor = 1.0
    if definition.metric == "wasserstein_normed":
        norm = definition.norm or Norm()
        std = reference.std(norm.ddof)
        divisor = max(std, norm.floor) if math.isfinite(std) else norm.floor
        if not divisor:
            return Reading(definition, None, why="the reference does not vary")
    if found is None or found.lo == found.hi:
        return Reading(definition, area / divisor)
    return Reading(definition, area / divisor, found.lo / divisor, found.hi / divisor)


def _missing(definition: Definition, reference: Observed, current: Observed) -> Reading:
    if not reference.whole or not current.whole:
        return Reading(definition, None, why="a sample has no rows")
    return Reading(definition, abs(current.missing / current.whole - reference.missing / reference.whole))


def _centroid(definition: Definition, reference: Observed, current: Observed) -> Reading:
    """How far the mean vectors are apart: by angle, `1 - cos`, or by distance."""
    if reference.sums is None or current.sums is None or not reference.vectors or not current.vectors:
        return Reading(definition, None, why="a sample has no finite vectors")
    a, b = reference.sums / reference.vectors, current.sums / current.vectors
    if definition.metric == "centroid_euclidean":
        return Reading(definition, float(np.linalg.norm(a - b)))
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    if not lengths:
        return Reading(definition, None, why="a mean vector is zero and has no direction")
    return Reading(definition, max(0.0, 1.0 - float(a @ b) / lengths))


def histogram(kind: Kind, reference: Observed, current: Observed) -> Histogram | None:
    """What to draw: categories by their share in the reference, the deciles of numbers (of sketches, between the cells nearest to them)."""
    if not reference.sample.total or not current.sample.total:
        return None
    if kind == "category":
        a, b = reference.counts(), current.counts()
        return None if a is None or b is None else _bars(a, b)
    wanted = Definition("js", bins=DECILES)
    edges = np.unique(bounds.edge_bounds(wanted, reference.sample, current.sample)[0])
    edges = edges[np.isfinite(edges)]
    shares = [
        np.diff(sum(side.strictly(edges)) / 2, prepend=0.0, append=side.total) / side.total for side in (reference.sample, current.sample)
    ]
    return Histogram(shares[0].tolist(), shares[1].tolist(), edges.tolist())


def _bars(a: Mapping[str, float], b: Mapping[str, float]) -> Histogram:
    names = sorted({*a, *b}, key=lambda name: (-max(a.get(name, 0.0), b.get(name, 0.0)), name))
    top, others = names[:TOP], names[TOP:]
    shares = []
    for side in (a, b):
        total = sum(side.values())
        rest = [sum(side.get(name, 0.0) for name in others) / total] if others else []
        shares.append([*(side.get(name, 0.0) / total for name in top), *rest])
    return Histogram(shares[0], shares[1], names=[*top, *([OTHERS] if others else [])])
