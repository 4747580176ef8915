"""Distances of two histograms, exact, and their bounds where the counts are known only to lie within bounds.

Every metric but L-infinity is a sum of terms f(p, q) over the bins with f convex, zero where p = q and positive elsewhere. So over a
box of p and q a term is largest at a corner, and smallest where p and q are nearest.

    js         (p ln(p / m) + q ln(q / m)) / 2 with m = (p + q) / 2   J. Lin, IEEE Trans. Inf. Theory 37 (1991)
    kl         p ln(p / q) - p + q: Kullback-Leibler of the reference p from the current q; terms as `scipy.special.kl_div`
    psi        (p - q) ln(p / q)                                      the sum of both directions of Kullback-Leibler
    tv         |p - q| / 2
    hellinger  (sqrt p - sqrt q)^2 / 2, of which the root is taken
    linf       the largest |p - q|
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mlport.drift.definitions import Definition, Smoothing
from mlport.drift.kernels import Floats

Terms = Callable[[Floats, Floats], Floats]


class Interval(NamedTuple):
    """Bounds that contain the exact value."""

    lo: float
    hi: float


def _entropy(p: Floats, q: Floats) -> Floats:
    """Terms p ln(p / q), 0 where p is."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found: Floats = np.where(p > 0, p * np.log(p / q), 0.0)
    return found


def _js(p: Floats, q: Floats) -> Floats:
    middle = (p + q) / 2
    return np.maximum((_entropy(p, middle) + _entropy(q, middle)) / 2, 0.0)


def _kl(p: Floats, q: Floats) -> Floats:
    return np.maximum(_entropy(p, q) - p + q, 0.0)


def _psi(p: Floats, q: Floats) -> Floats:
    return _entropy(p, q) + _entropy(q, p)


def _tv(p: Floats, q: Floats) -> Floats:
    found: Floats = np.abs(p - q) / 2
    return found


def _hellinger(p: Floats, q: Floats) -> Floats:
    found: Floats = (np.sqrt(p) - np.sqrt(q)) ** 2 / 2
    return found


def _linf(p: Floats, q: Floats) -> Floats:
    found: Floats = np.abs(p - q)
    return found


TERMS: dict[str, Terms] = {
    "js": _js, "js_distance": _js, "kl": _kl, "psi": _psi, "tv": _tv, "hellinger": _hellinger, "linf": _linf,
}  # fmt: skip


def value(definition: Definition, reference: Floats, current: Floats) -> float:
    """The metric of two histograms of counts, neither empty."""
    p = _shares(reference, float(reference.sum()), definition.smoothing)
    q = _shares(current, float(current.sum()), definition.smoothing)
    return _whole(definition, TERMS[definition.metric](p, q))


def bounds(
    definition: Definition, reference: tuple[Floats, Floats], current: tuple[Floats, Floats], totals: tuple[float, float]
) -> Interval:
    """Bounds of the metric, given the least and greatest count of each bin on each side, and the total of each side."""
    (p_lo, p_hi), (q_lo, q_hi) = (
        (_shares(lo, total, definition.smoothing), _shares(hi, total, definition.smoothing))
        for (lo, hi), total in zip((reference, current), totals, strict=True)
    )
    terms = TERMS[definition.metric]
    largest = np.maximum.reduce([terms(p, q) for p, q in itertools.product((p_lo, p_hi), (q_lo, q_hi))])
    smallest = np.where(p_lo > q_hi, terms(p_lo, q_hi), np.where(q_lo > p_hi, terms(p_hi, q_lo), 0.0))
    return Interval(_whole(definition, smallest), _whole(definition, largest))


def _shares(counts: Floats, total: float, smoothing: Smoothing | None) -> Floats:
    if smoothing is not None and smoothing.rule == "add":
        return (counts + smoothing.amount) / (total + smoothing.amount * counts.size)
    shares = counts / total
    return np.maximum(shares, smoothing.amount) if smoothing is not None and smoothing.rule == "floor" else shares


def _whole(definition: Definition, terms: Floats) -> float:
    found = float(terms.max()) if definition.metric == "linf" else float(terms.sum())
    found /= math.log(definition.base) if definition.base else 1.0
    return math.sqrt(found) if definition.root else found


class ChiSquare(NamedTuple):
    """Pearson's statistic of two columns of counts, and its degrees of freedom."""

    statistic: float
    degrees: int


def chi_square(reference: Floats, current: Floats) -> ChiSquare:
    """Pearson's chi-square of homogeneity, as `scipy.stats.chi2_contingency`: with Yates' correction at one degree of freedom.

    Categories that neither side has are left out; with one category left there is nothing to differ: 0 with 0 degrees.
    """
    table = np.vstack([reference, current])
    table = table[:, table.sum(axis=0) > 0]
    degrees = table.shape[1] - 1
    if degrees == 0:
        return ChiSquare(0.0, 0)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    difference = expected - table
    if degrees == 1:
        difference = np.sign(difference) * (np.abs(difference) - np.minimum(0.5, np.abs(difference)))
    return ChiSquare(float((difference**2 / expected).sum()), degrees)
