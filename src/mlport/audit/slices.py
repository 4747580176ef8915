"""Where a model is worse than elsewhere: every slice of one or two columns tested, adjusted for their number, shrunk, and pruned.

A slice is a category, a quantile bin of a number, or the rows where a column is missing. Rates are compared with those of all
other rows by Fisher's exact test, means by Welch's; p-values of all slices and views together are adjusted by Benjamini and Hochberg.
After Y. Chung et al., "Automated Data Slicing for Model Validation", IEEE TKDE 32 (2020) 2284-2296.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mlport.audit.intervals import Floats, discoveries, mean, newcombe, proportion
from mlport.audit.records import Measure, Record, figure
from mlport.audit.tables import bounded, codes, is_time, numbers

if TYPE_CHECKING:
    import pandas as pd

CATEGORIES = 50
"""The most frequent values of a column that are slices of their own."""


@dataclass(frozen=True)
class Axis:
    """A column cut into slices: each row's slice (-1 for none) and what each is called."""

    name: str
    codes: NDArray[np.int64]
    names: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """What is compared: a loss for each row, a rate if it is 0 or 1, over the rows where it means something."""

    name: str
    what: str
    loss: Floats
    over: NDArray[np.bool_]
    is_rate: bool


@dataclass(frozen=True)
class Slice(Record):
    """A slice that is worse. `value` is of its rows, `rest` of all others; `shrunken` draws the difference towards that of slices at large.

    The interval of `difference` is this one slice's and knows nothing of its having been chosen; `shrunken` and `q` do.
    """

    conditions: tuple[str, ...]
    view: str
    what: str
    rows: int
    value: Measure
    rest: float
    difference: Measure
    shrunken: float
    effect: float
    p: float
    q: float

    def __str__(self) -> str:
        where = " and ".join(self.conditions)
        return f"{where}: {self.what} {self.value} against {figure(self.rest)} elsewhere, {self.rows:,} rows, q {self.q:.2g}"


@dataclass(frozen=True)
class Search(Record):
    """What was looked for, and what was found, the worst first."""

    worst: tuple[Slice, ...]
    tested: int
    too_small: int
    min_rows: int
    columns: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass
class _Tested:
    """All slices of one or two axes in one view, as arrays."""

    axes: tuple[Axis, ...]
    view: View
    cells: NDArray[np.int64]
    n: Floats
    total: Floats
    p: Floats
    difference: Floats
    error: Floats
    shrunken: Floats = field(default_factory=lambda: np.empty(0))


def axis(name: str, values: pd.Series[Any], bins: int) -> Axis:
    """The column's slices: quantile bins of numbers and times, else its categories; missing values are one slice."""
    missing = values.isna().to_numpy()
    found = numbers(values) if values.dtype != bool else None
    if found is not None and len(np.unique(found[~missing])) > max(bins, 2):
        found = bounded(found)
        edges = np.unique(np.quantile(found[~missing], np.linspace(0, 1, bins + 1)))
        place = np.clip(np.searchsorted(edges, found, side="right") - 1, 0, len(edges) - 2)
        shown = [_shown(edge, values) for edge in edges]
        last = len(edges) - 2
        names = [f"{low} <= {name} {'<=' if at == last else '<'} {high}" for at, (low, high) in enumerate(itertools.pairwise(shown))]
    else:
        place, categories = codes(values)
        place = np.where(place >= CATEGORIES, -1, place)
        names = [f"{name} = {value if not isinstance(value, str) else repr(value)}" for value in categories[:CATEGORIES]]
    if missing.any():
        place, names = np.where(missing, len(names), place), [*names, f"{name} is missing"]
    return Axis(name, np.asarray(place, np.int64), tuple(names))


def _shown(edge: float, values: pd.Series[Any]) -> str:
    import pandas as pd

    return pd.Timestamp(edge, unit="s").isoformat(timespec="minutes") if is_time(values) else f"{edge:.6g}"


def search(
    axes: Sequence[Axis], views: Sequence[View], *, min_rows: int, pairs: bool, rate: float, least: float, confidence: float, top: int
) -> Search:
    """The worst slices: false discovery rate `rate`, effect (Cohen's h or d) of at least `least`, at least `min_rows` rows inside and outside."""
    groups: list[tuple[Axis, ...]] = [(each,) for each in axes]
    groups += list(itertools.combinations(axes, 2)) if pairs else []
    small, tests = 0, []
    for view in views:
        of_view = []
        for group in groups:
            tested, skipped = _test(group, view, min_rows)
            small += skipped
            of_view += [tested] if len(tested.n) else []
        for level in (1, 2):
            _shrink([tested for tested in of_view if len(tested.axes) == level])
        tests += of_view
    q = discoveries(np.concatenate([tested.p for tested in tests])) if tests else np.empty(0)
    found = sorted(_significant(tests, q, rate, least), key=lambda hit: (-hit.weight, hit.conditions))
    alone = {hit.key: hit.weight for hit in found if len(hit.tested.axes) == 1}
    kept = (_slice(hit, confidence) for hit in found if len(hit.tested.axes) == 1 or _adds(hit, alone, rate))
    worst = itertools.islice(_apart(kept), top)
    return Search(tuple(worst), len(q), small, min_rows, tuple(each.name for each in axes))


def _test(group: tuple[Axis, ...], view: View, min_rows: int) -> tuple[_Tested, int]:
    place, size = _place(group)
    use = view.over & (place >= 0)
    chosen, loss = place[use], view.loss[use]
    counts = np.bincount(chosen, minlength=size)
    of_all = view.loss[view.over]
    cells = np.flatnonzero((counts >= min_rows) & (len(of_all) - counts >= min_rows)).astype(np.int64)
    n = counts[cells].astype(np.float64)
    total = np.bincount(chosen, weights=loss, minlength=size)[cells].astype(np.float64)
    whole, rest_n = float(of_all.sum()), len(of_all) - n
    rest = whole - total
    difference = np.asarray(total / n - rest / rest_n, np.float64)
    if view.is_rate:
        pooled = whole / max(len(of_all), 1)
        error = np.asarray(np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / rest_n)), np.float64)
        p = np.asarray(stats.hypergeom.sf(total - 1, len(of_all), whole, n), np.float64)
    else:
        squares = np.bincount(chosen, weights=loss**2, minlength=size)[cells].astype(np.float64)
        error, p = _welch(n, total, squares, rest_n, rest, float((of_all**2).sum()) - squares)
    alive = error > 0
    tested = _Tested(group, view, cells[alive], n[alive], total[alive], p[alive], difference[alive], error[alive])
    return tested, int(((counts > 0) & (counts < min_rows)).sum())


def _place(group: tuple[Axis, ...]) -> tuple[NDArray[np.int64], int]:
    if len(group) == 1:
        return group[0].codes, len(group[0].names)
    first, second = group
    place = np.where((first.codes < 0) | (second.codes < 0), -1, first.codes * len(second.names) + second.codes)
    return place, len(first.names) * len(second.names)


def _welch(n: Floats, total: Floats, squares: Floats, m: Floats, rest: Floats, rest_squares: Floats) -> tuple[Floats, Floats]:
    """The difference's standard error and the one-sided p-value that the slice's mean is no higher."""
    here = np.maximum(squares - total**2 / n, 0) / (n - 1) / n
    there = np.maximum(rest_squares - rest**2 / m, 0) / (m - 1) / m
    error = np.sqrt(here + there)
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = (here + there) ** 2 / (here**2 / (n - 1) + there**2 / (m - 1))
        return error, np.asarray(stats.t.sf((total / n - rest / m) / error, freedom), float)


def _shrink(tests: list[_Tested]) -> None:
    """Empirical Bayes: each difference drawn to the mean, by the variance between slices of R. DerSimonian and N. Laird (1986)."""
    if not tests:
        return
    difference = np.concatenate([tested.difference for tested in tests])
    variance = np.concatenate([tested.error for tested in tests]) ** 2
    weight = 1 / variance
    centre = float((weight * difference).sum() / weight.sum())
    spread = float((weight * (difference - centre) ** 2).sum()) - (len(difference) - 1)
    below = float(weight.sum() - (weight**2).sum() / weight.sum())
    between = max(0.0, spread / below) if below > 0 else 0.0
    shrunken = centre + between / (between + variance) * (difference - centre)
    for tested, part in zip(tests, np.split(shrunken, np.cumsum([len(each.n) for each in tests])[:-1]), strict=True):
        tested.shrunken = part


@dataclass(frozen=True)
class _Hit:
    """A slice, number `at` of those tested together, that is worse beyond noise."""

    tested: _Tested
    at: int
    q: float
    effect: float
    weight: float

    @property
    def cell(self) -> int:
        return int(self.tested.cells[self.at])

    @property
    def conditions(self) -> tuple[str, ...]:
        axes = self.tested.axes
        if len(axes) == 1:
            return (axes[0].names[self.cell],)
        first, second = divmod(self.cell, len(axes[1].names))
        return (axes[0].names[first], axes[1].names[second])

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.tested.view.name, self.tested.axes[0].name, self.cell)


def _significant(tests: list[_Tested], q: Floats, rate: float, least: float) -> Iterator[_Hit]:
    start = 0
    for tested in tests:
        own = q[start : start + len(tested.n)]
        start += len(tested.n)
        effects = _effects(tested)
        for at in np.flatnonzero((own <= rate) & (effects >= least) & (tested.shrunken > 0)):
            weight = float(effects[at] * tested.shrunken[at] / tested.difference[at])
            yield _Hit(tested, int(at), float(own[at]), float(effects[at]), weight)


def _effects(tested: _Tested) -> Floats:
    """Cohen's h of two rates; for means Cohen's d by the standard deviation of all rows."""
    of_all = tested.view.loss[tested.view.over]
    if not tested.view.is_rate:
        return np.asarray(tested.difference / of_all.std(), float)
    here = tested.total / tested.n
    there = (of_all.sum() - tested.total) / (len(of_all) - tested.n)
    return np.asarray(2 * np.arcsin(np.sqrt(here)) - 2 * np.arcsin(np.sqrt(np.clip(there, 0, 1))), float)


def _slice(hit: _Hit, confidence: float) -> Slice:
    tested, at, code = hit.tested, hit.at, hit.cell
    view, place = tested.view, _place(tested.axes)[0]
    inside = (place == code) & view.over
    here, there = view.loss[inside], view.loss[view.over & ~inside]
    rest = float(there.mean())
    if view.is_rate:
        value = proportion(int(here.sum()), len(here), confidence, "")
        low, high = newcombe(here.sum(), len(here), there.sum(), len(there), confidence)
        method = f"Newcombe, {confidence:g}"
    else:
        value = mean(here, confidence, "")
        half = stats.norm.ppf((1 + confidence) / 2) * tested.error[at]
        low, high, method = tested.difference[at] - half, tested.difference[at] + half, f"normal, {confidence:g}"
    difference = Measure(float(tested.difference[at]), float(low), float(high), len(here), method)
    shrunken, p = float(tested.shrunken[at]), float(tested.p[at])
    rows = int((place == code).sum())
    return Slice(hit.conditions, view.name, view.what, rows, value, rest, difference, shrunken, hit.effect, p, hit.q)


def _adds(hit: _Hit, alone: Mapping[tuple[str, str, int], float], rate: float) -> bool:
    """Whether a pair is worse than the rest of either of its own columns' slices, and not merely part of a slice that is bad already."""
    axes, view = hit.tested.axes, hit.tested.view
    inside = (_place(axes)[0] == hit.cell) & view.over
    for each, code in zip(axes, divmod(hit.cell, len(axes[1].names)), strict=True):
        beside = (each.codes == code) & view.over & ~inside
        if not beside.any() or _p_worse(view, inside, beside) > rate:
            return False
        if alone.get((view.name, each.name, code), 0.0) >= hit.weight:
            return False
    return True


def _p_worse(view: View, inside: NDArray[np.bool_], beside: NDArray[np.bool_]) -> float:
    here, there = view.loss[inside], view.loss[beside]
    if view.is_rate:
        return float(stats.hypergeom.sf(here.sum() - 1, len(here) + len(there), here.sum() + there.sum(), len(here)))
    if min(len(here), len(there)) < 2:
        return 1.0
    sums = [np.array([value]) for part in (here, there) for value in (float(len(part)), float(part.sum()), float((part**2).sum()))]
    error, p = _welch(*sums)
    return float(p[0]) if error[0] > 0 else 1.0


def _apart(ordered: Iterable[Slice]) -> Iterator[Slice]:
    """Slices of which several conditions name the very same rows, once."""
    seen: set[tuple[str, int, float | None, float]] = set()
    for each in ordered:
        key = (each.view, each.rows, each.value.value, each.rest)
        if key not in seen:
            seen.add(key)
            yield each
