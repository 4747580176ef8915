"""Intervals: Wilson's and Newcombe's for proportions, Student's t for means, the bootstrap for the rest, and false discovery rates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mlport.audit.records import Measure, absent
from mlport.errors import SpecError

Floats = NDArray[np.float64]
MOST_DRAWN = 20_000_000
"""Rows that a bootstrap of ranking metrics draws at most; many rows get fewer resamples."""


def checked_confidence(confidence: float) -> float:
    """Raises SpecError unless it lies between 0 and 1."""
    if not 0 < confidence < 1:
        raise SpecError(f"confidence: {confidence} is not between 0 and 1", hint="such as 0.95")
    return confidence


def wilson(hits: Any, n: Any, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Wilson's score interval without continuity correction (E. B. Wilson, JASA 22 (1927) 209-212); `hits` of `n`, elementwise.

    >>> low, high = wilson(81, 263)  # R. G. Newcombe, Statistics in Medicine 17 (1998) 857-872, table I
    >>> print(f"{low:.4f} {high:.4f}")
    0.2553 0.3662
    """
    z = float(stats.norm.ppf((1 + confidence) / 2))
    hits, n = np.asarray(hits, float), np.asarray(n, float)
    share = hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low, high = np.where(hits == 0, 0.0, middle - half), np.where(hits == n, 1.0, middle + half)
    return np.clip(low, 0, 1), np.clip(high, 0, 1)


def newcombe(hits: Any, n: Any, other_hits: Any, other_n: Any, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """The interval of a difference of two proportions, method 10 of R. G. Newcombe, Statistics in Medicine 17 (1998) 873-890.

    >>> low, high = newcombe(56, 70, 48, 80)  # his example (a)
    >>> print(f"{low:.4f} {high:.4f}")
    0.0524 0.3339
    """
    low, high = wilson(hits, n, confidence)
    other_low, other_high = wilson(other_hits, other_n, confidence)
    share, other = np.asarray(hits, float) / n, np.asarray(other_hits, float) / other_n
    return share - other - np.hypot(share - low, other_high - other), share - other + np.hypot(high - share, other - other_low)


def proportion(hits: float, n: int, confidence: float, none: str) -> Measure:
    """`hits` of `n` with Wilson's interval; of no rows there is none, for the reason `none`."""
    if n == 0:
        return absent(none, 0)
    low, high = wilson(hits, n, confidence)
    return Measure(hits / n, float(low), float(high), n, f"Wilson, {confidence:g}")


def mean(values: Floats, confidence: float, none: str) -> Measure:
    """The mean of independent rows, with Student's t interval."""
    if len(values) == 0:
        return absent(none, 0)
    centre = float(np.mean(values))
    if len(values) == 1:
        return Measure(centre, n=1, reason="one row has no interval")
    half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return Measure(centre, centre - half, centre + half, len(values), f"Student's t, {confidence:g}")


def resampled(
    value: float | None, draws: Floats, n: int, confidence: float, method: str, none: str = "it is not defined for these rows"
) -> Measure:
    """`value` with the percentile interval of its bootstrap `draws`, those that are not finite left out."""
    if value is None or not np.isfinite(value):
        return absent(none, n)
    finite = draws[np.isfinite(draws)]
    if len(finite) < 0.9 * len(draws) or len(finite) < 20:
        return Measure(value, n=n, reason="too few rows: it is not defined in more than a tenth of the resamples")
    low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Measure(value, float(low), float(high), n, method)


def from_confusion(
    matrix: NDArray[np.int64], metrics: Mapping[str, Callable[[Floats], Floats]], confidence: float, resamples: int, seed: int
) -> dict[str, Measure]:
    """Metrics of a confusion matrix with bootstrap intervals.

    Drawing rows again is drawing the matrix's cells from a multinomial, so this is the rows' bootstrap at the cost of the cells'.
    `metrics` take matrices of shape (resamples, true, predicted) and answer with one value each, NaN where it is not defined.
    """
    n = int(matrix.sum())
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n, matrix.ravel() / n, size=resamples).reshape(resamples, *matrix.shape).astype(float)
    method = f"bootstrap of rows, {resamples} resamples, seed {seed}, {confidence:g}"
    return {
        name: resampled(float(metric(matrix[None].astype(float))[0]), metric(drawn), n, confidence, method)
        for name, metric in metrics.items()
    }


def affordable(resamples: int, n: int) -> int:
    """How many resamples of `n` rows are drawn: as asked for, or as MOST_DRAWN allows but at least 100."""
    return min(resamples, max(100, MOST_DRAWN // max(n, 1)))


def discoveries(p: Floats) -> Floats:
    """p-values adjusted for their number, so that taking those below q lets a share of at most q be false (Benjamini and Hochberg, 1995)."""
    return np.asarray(stats.false_discovery_control(p), float) if len(p) else p
