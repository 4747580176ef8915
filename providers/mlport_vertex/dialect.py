"""Vertex AI: how its model monitoring measures skew and drift, by TensorFlow Data Validation, which it is understood to run.

Sources: github.com/tensorflow/data-validation at 710b32fa (June 2026): anomalies/metrics.cc, utils/quantiles_util.py and
statistics/generators/basic_stats_generator.py; github.com/tensorflow/tfx-bsl at c6462b6e, sketches/weighted_quantiles_summary.h. Each
side has a histogram of its own, of 10 bins of equal width over its own range, made of 1,000 quantiles; the two are then put on the union
of their edges, as if values were even within bins. The metrics' names are those of google-cloud-aiplatform 2.7.0,
vertexai/resources/preview/ml_monitoring/spec/objective.py.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlport.dialects import Categories, Default, Dialect, Metric, Numbers, some
from mlport.drift import divergences
from mlport.drift.definitions import CATEGORIES, Definition
from mlport.drift.readings import aligned
from mlport.errors import UnsupportedError

Floats = npt.NDArray[np.float64]
NAME = "vertex"
BINS, QUANTILES, RANKED = 10, 1_000, 1_000
SOURCE = "github.com/tensorflow/data-validation@710b32fa tensorflow_data_validation/anomalies/metrics.cc"
BINNING = "10 bins of equal width over each side's own range, on the union of both sides' edges; NaN and infinities are bins of one side"
NO_ROWS = "TensorFlow Data Validation reports a missing column instead"


@dataclass(frozen=True)
class Histogram:
    """Buckets in ascending order; those of one value have equal ends. `nan` counts values that are in none."""

    low: Floats
    high: Floats
    counts: Floats
    nan: float = 0.0


def histogram(column: Numbers, bins: int = BINS, quantiles: int = QUANTILES) -> Histogram:
    """The standard histogram of a column, made of its quantiles; exact ones, where the vendor's sketch is within 1 % of ranks."""
    finite = column.values[np.isfinite(column.values)]
    infinite = [(end, float((column.values == end).sum())) for end in (-np.inf, np.inf)]
    if not finite.size:
        held = [(end, count) for end, count in infinite if count]
        outer = np.array([end for end, _ in held])
        return Histogram(outer, outer, np.array([count for _, count in held]), column.nan)
    least, greatest = float(finite.min()), float(finite.max())
    low, high, counts = _quantile_buckets(column.values, quantiles, greatest)
    with np.errstate(over="ignore", invalid="ignore"):
        edges = np.linspace(least, greatest, bins + 1) if least < greatest else np.array([least, greatest])
    if not np.isfinite(edges).all():
        return Histogram(np.empty(0), np.empty(0), np.empty(0), column.nan)
    equal = (overlap(low, high, edges) * counts).sum(axis=1)
    (_, below), (_, above) = infinite
    ends = [np.array([-np.inf] * bool(below)), np.array([np.inf] * bool(above))]
    return Histogram(
        np.concatenate([ends[0], edges[:-1], ends[1]]),
        np.concatenate([ends[0], edges[1:], ends[1]]),
        np.concatenate([[below] * bool(below), equal, [above] * bool(above)]),
        column.nan,
    )


def quantile_counts(values: Floats, quantiles: int) -> tuple[Floats, Floats]:
    """The values at `quantiles + 1` even ranks, and how many values there are up to each, as GenerateQuantilesAndCumulativeWeights."""
    distinct, held = np.unique(values, return_counts=True)
    through = np.cumsum(held).astype(np.float64)
    middles = 2 * through - held
    ranks = 2 * (np.arange(quantiles + 1) * through[-1] / quantiles)
    at = np.maximum(np.searchsorted(middles, ranks, side="right") - 1, 0)
    at = np.where((at + 1 < distinct.size) & (ranks >= 2 * through[at]), at + 1, at)
    return distinct[at], through[at]


def bucket_counts(quantiles: Floats, through: Floats) -> Floats:
    """The count of each bucket between quantiles; buckets with one upper end share evenly, as quantiles_util._get_bin_weights."""
    low, high, counts = quantiles[:-1], quantiles[1:], np.diff(through)
    if not counts.size:
        return counts
    heads = np.flatnonzero(np.concatenate([[True], high[1:] != high[:-1]]))
    sizes = np.diff(heads, append=high.size)
    counts = np.repeat(np.add.reduceat(counts, heads) / sizes, sizes)
    others = np.flatnonzero((low != low[0]) | (high != high[0]))
    first = int(others[0]) if others.size else low.size
    counts[:first] += through[0] / first
    return counts


def divergence(a: Histogram, b: Histogram) -> float | None:
    """The Jensen-Shannon divergence in bits of two histograms, at most 1; None where one is empty, which the vendor refuses."""
    p, q = _aligned(a, b)
    if p.sum() == 0 or q.sum() == 0:
        return None
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    return min((_kl(p, middle) + _kl(q, middle)) / 2, 1.0)


def js_of_numbers(reference: Numbers, current: Numbers) -> float:
    name = "jensen_shannon_divergence"
    sides = (("reference", reference), ("current", current))
    some(NAME, name, [(side, column.values.size + column.nan) for side, column in sides], NO_ROWS)
    found = divergence(histogram(reference), histogram(current))
    if found is None:
        raise UnsupportedError(NAME, [(name, "the range of the values is too wide for a histogram")], hint="scale the column")
    return found


def js_of_categories(reference: Categories, current: Categories) -> float:
    return min(divergences.value(_JS, *_ranked("jensen_shannon_divergence", reference, current)), 1.0)


def l_infinity(reference: Categories, current: Categories) -> float:
    return divergences.value(_LINF, *_ranked("l_infinity", reference, current))


def _kl(p: Floats, q: Floats) -> float:
    held = (p > 0) & (q > 0)
    return float((p[held] * np.log2(p[held] / q[held])).sum())


def _quantile_buckets(values: Floats, quantiles: int, greatest: float) -> tuple[Floats, Floats, Floats]:
    """The buckets between quantiles without infinities, as quantiles_util._strip_infinities."""
    ends, through = quantile_counts(values, quantiles)
    above = float((values == np.inf).sum())
    total = through[-1]
    start = int(np.searchsorted(ends, -np.inf, side="right"))
    below = through[start - 1] if start else 0.0
    ends, through = ends[start:], through[start:] - below
    if above:
        stop = int(np.searchsorted(ends, np.inf, side="left"))
        ends, through = np.append(ends[:stop], greatest), np.append(through[:stop], total - below - above)
    return ends[:-1], ends[1:], bucket_counts(ends, through)


def overlap(low: Floats, high: Floats, edges: Floats) -> Floats:
    """The share of each bucket (columns) in each bin between edges (rows). Bins hold their right end, the first both."""
    left, right = edges[:-1, None], edges[1:, None]
    width = np.where(high > low, high - low, 1.0)
    shared = np.maximum(np.minimum(high, right) - np.maximum(low, left), 0.0) / width
    inside = (low > left) & (low <= right)
    inside[0] |= low == edges[0]
    return np.where(high > low, shared, inside)


def _aligned(a: Histogram, b: Histogram) -> tuple[Floats, Floats]:
    """Counts of both on common bins: spans, then points, then what is of one side only: infinities and NaN."""
    spans = [side.low < side.high for side in (a, b)]
    finite = [np.isfinite(side.low) & np.isfinite(side.high) for side in (a, b)]
    kept = [span & known for span, known in zip(spans, finite, strict=True)]
    edges = np.unique(np.concatenate([end[mask] for side, mask in zip((a, b), kept, strict=True) for end in (side.low, side.high)]))
    points = [~span & known for span, known in zip(spans, finite, strict=True)]
    values = np.unique(np.concatenate([side.low[mask] for side, mask in zip((a, b), points, strict=True)]))
    rows = []
    for at, (side, span, point, known) in enumerate(zip((a, b), kept, points, finite, strict=True)):
        spread = (overlap(side.low[span], side.high[span], edges) * side.counts[span]).sum(axis=1) if edges.size else np.empty(0)
        atoms = (side.counts[point] * (side.low[point] == values[:, None])).sum(axis=1)
        alone = np.zeros(4)
        alone[at], alone[2 + at] = side.counts[~known].sum(), side.nan
        rows.append(np.concatenate([spread, atoms, alone]))
    return rows[0], rows[1]


def _ranked(metric: str, reference: Categories, current: Categories) -> tuple[Floats, Floats]:
    """Counts of the 1,000 most frequent values of each side; of equally frequent ones those that are last in the alphabet."""
    some(NAME, metric, [("reference", reference.rows), ("current", current.rows)], NO_ROWS)
    a, b = (
        dict(heapq.nlargest(RANKED, side.counts.items(), key=lambda item: (item[1], item[0].encode()))) for side in (reference, current)
    )
    return aligned(a, b)


_JS, _LINF = Definition("js", base=2.0, bins=CATEGORIES), Definition("linf", bins=CATEGORIES)
DEFAULTS = "google-cloud-aiplatform 2.7.0 google/cloud/aiplatform/model_monitoring/objective.py: 0.3 (Backend default)"
DIALECT = Dialect(
    NAME,
    (
        Metric(
            "jensen_shannon_divergence",
            "number",
            Definition("js", base=2.0, nan="each side's NaN is a bin that the other side lacks, so that NaN alone is drift"),
            SOURCE,
            binning=BINNING,
            compute=js_of_numbers,
        ),
        Metric("l_infinity", "category", _LINF, SOURCE, compute=l_infinity),
        Metric("jensen_shannon_divergence", "category", _JS, SOURCE, compute=js_of_categories),
    ),
    (Default("number", "jensen_shannon_divergence", 0.3, DEFAULTS), Default("category", "l_infinity", 0.3, DEFAULTS)),
    notes=(
        "that Vertex AI runs TensorFlow Data Validation with its default options is inferred: its documents name the same two metrics",
        "quantiles are exact here; the vendor's are exact up to some 2,000 distinct values, and within 1 % of ranks beyond",
        "of more than 1,000 categories the vendor compares the most frequent 1,000 of each side, and so does this",
    ),
    no_zero="a threshold of 0 means that no alert is wanted: each feature must have a non-zero threshold to be monitored",
)
