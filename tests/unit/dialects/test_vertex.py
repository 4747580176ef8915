"""Vertex AI's dialect against the worked numbers in the vendor's own tests.

github.com/tensorflow/data-validation at 710b32fa: anomalies/metrics_test.cc, utils/quantiles_util_test.py and
statistics/generators/basic_stats_generator_test.py.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlport import dialects
from mlport.dialects import Numbers
from mlport.errors import UnsupportedError
from mlport_vertex.dialect import Histogram, bucket_counts, divergence, histogram, overlap

DIALECT = dialects.load("vertex")
INF, NAN = math.inf, math.nan
JS, LINF = "jensen_shannon_divergence", "l_infinity"


def buckets(*rows: tuple[float, float, float], nan: float = 0.0) -> Histogram:
    low, high, counts = (np.array([row[at] for row in rows], dtype=float) for at in range(3))
    return Histogram(low, high, counts, nan)


WORKED = {
    "same": ([(1, 2.3333333, 2.9866667), (2.3333333, 3.6666667, 1.0066667), (3.6666667, 5, 2.0066667)],) * 2 + (0.0,),
    "different edges": ([(1, 2, 2), (2, 3, 2)], [(2, 4, 2), (4, 6, 2)], 0.65563906222),
    "no overlap": ([(0, 1, 2), (1, 2, 2)], [(3, 4, 2), (4, 6, 2)], 1.0),
    "one value against buckets": ([(1, 1, 4)], [(2, 4, 2), (4, 6, 2)], 1.0),
    "one value each": ([(1, 1, 4)], [(2.33, 2.33, 4)], 1.0),
    "one value inside buckets": ([(10, 10, 21)], [(0, 4, 150), (4, 12, 200), (12, 20, 20)], 1.0),
    "values that overlap in part": ([(0, 0, 1), (1, 1, 1)], [(0, 0, 1), (2, 2, 1)], 0.5),
    "a value at the edge of a bucket": ([(0, 0, 1), (1, 2, 1)], [(1, 1, 1), (2, 2, 1)], 1.0),
    "infinities never match": ([(-INF, 0, 1), (INF, INF, 1)], [(-INF, 0, 1), (INF, INF, 1)], 1.0),
}


@pytest.mark.parametrize("case", WORKED)
def test_the_divergence_is_that_of_the_vendors_own_examples(case: str) -> None:
    first, second, expected = WORKED[case]
    assert divergence(buckets(*first), buckets(*second)) == pytest.approx(expected, abs=1e-9 if expected else 1e-12)


def test_nan_of_each_side_is_a_bin_that_the_other_lacks() -> None:
    assert divergence(buckets(nan=1), buckets(nan=1)) == 1.0
    assert divergence(buckets((1, 2, 3), nan=1), buckets((1, 2, 4))) == pytest.approx(0.13792538096, abs=1e-10)
    assert DIALECT.measure(JS, [NAN], [NAN]) == 1.0


@pytest.mark.parametrize("empty", [buckets(), buckets((0, 4, 0))])
def test_an_empty_histogram_has_no_divergence(empty: Histogram) -> None:
    assert divergence(empty, buckets((0, 4, 10))) is None
    assert divergence(buckets((0, 4, 10)), empty) is None


@pytest.mark.parametrize(
    ("values", "bins", "quantiles", "expected"),
    [
        ([1, 2, 3, 4, 5, 1], 3, 400, buckets((1, 7 / 3, 3.0049751), (7 / 3, 11 / 3, 1.0049751), (11 / 3, 5, 1.9900498))),
        (
            [1, 2, INF, INF, -INF, 3, 4, 5, -INF, 1, INF, -INF],
            4,
            400,
            buckets((-INF, -INF, 3), (1, 2, 3), (2, 3, 1), (3, 4, 1), (4, 5, 1), (INF, INF, 3)),
        ),
        ([7, 7, 7], 10, 1000, buckets((7, 7, 3))),
        ([INF, -INF, INF], 10, 1000, buckets((-INF, -INF, 1), (INF, INF, 2))),
    ],
)
def test_histograms_are_the_vendors(values: list[float], bins: int, quantiles: int, expected: Histogram) -> None:
    found = histogram(Numbers(np.array(values, dtype=float)), bins, quantiles)
    np.testing.assert_allclose([found.low, found.high], [expected.low, expected.high])
    np.testing.assert_allclose(found.counts, expected.counts, atol=5e-8)


def test_each_side_has_ten_bins_over_its_own_range() -> None:
    found = histogram(Numbers(np.linspace(-1, 4, 5_001)))
    np.testing.assert_allclose(np.append(found.low, found.high[-1]), np.linspace(-1, 4, 11))
    np.testing.assert_allclose(found.counts, 500, atol=5)


@pytest.mark.parametrize(
    ("quantiles", "through", "expected"),
    [
        ([1, 2, 2], [1, 2, 2], [1.5, 0.5]),
        ([1, 2, 2, 2, 3, 3, 4], [1, 34, 34, 34, 51, 51, 60], [12, 11, 11, 8.5, 8.5, 9]),
        ([5, 5, 5, 5, 5], [3, 3, 3, 3, 3], [0.75, 0.75, 0.75, 0.75]),
    ],
)
def test_equal_quantiles_share_what_they_hold(quantiles: list[float], through: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(bucket_counts(np.array(quantiles, dtype=float), np.array(through, dtype=float)), expected)


@pytest.mark.parametrize(
    ("quantiles", "through", "edges", "expected"),
    [
        ([1, 2, 2, 2, 3, 3, 4], [1, 34, 34, 34, 51, 51, 60], [1, 2.5, 4], [38.25, 21.75]),
        ([1, 2, 3, 4, 5, 7], [2, 5, 7, 10, 12, 15], [1, 4, 7], [10, 5]),
        ([1, 2, 3, 4, 5, 7], [2, 5, 7, 10, 12, 15], [1, 2.5, 4, 5.5, 7], [6, 4, 2.75, 2.25]),
        ([1, 2, 3, 4, 5, 7], [2, 5, 7, 10, 12, 15], [1, 7], [15]),
    ],
)
def test_equal_widths_are_made_of_quantiles(
    quantiles: list[float], through: list[float], edges: list[float], expected: list[float]
) -> None:
    ends = np.array(quantiles, dtype=float)
    shares = overlap(ends[:-1], ends[1:], np.array(edges, dtype=float))
    np.testing.assert_allclose((shares * bucket_counts(ends, np.array(through, dtype=float))).sum(axis=1), expected)


@pytest.mark.parametrize(
    ("metric", "first", "second", "expected"),
    [
        (LINF, {"hello": 1, "world": 9}, {"hello": 3, "world": 7}, 0.2),
        (LINF, {"b": 9, "c": 1}, {"a": 3, "b": 7}, 0.3),
        (LINF, {"a": 3, "b": 7}, {"b": 9, "c": 1}, 0.3),
        (JS, {"b": 2, "a": 2, "c": 1}, {"b": 2, "a": 2, "c": 1}, 0.0),
        (JS, {"b": 2, "a": 2, "c": 1}, {"a": 2, "Z": 1, "Y": 1, "X": 1}, 0.6),
    ],
)
def test_categories_are_the_vendors(metric: str, first: dict[str, int], second: dict[str, int], expected: float) -> None:
    assert DIALECT.measure(metric, first, second) == pytest.approx(expected, abs=1e-12)
    texts = [[key for key, count in side.items() for _ in range(count)] for side in (first, second)]
    assert DIALECT.measure(metric, *texts) == pytest.approx(expected, abs=1e-12)


def test_only_the_most_frequent_thousand_values_count() -> None:
    reference = {"a": 1000, "b": 1000, **{f"rare {at}": 1 for at in range(998)}}
    assert DIALECT.measure(LINF, reference, {**reference, "0": 1}) == 0.0  # the first in the alphabet of those that occur once
    assert DIALECT.measure(LINF, reference, {**reference, "z": 1}) == pytest.approx(1 / 2998)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_the_divergence_is_symmetric_within_0_and_1_and_0_of_itself(first: list[float], second: list[float]) -> None:
    found = DIALECT.measure(JS, first, second)
    assert -1e-12 <= found <= 1.0
    assert found == pytest.approx(DIALECT.measure(JS, second, first), abs=1e-12)
    assert DIALECT.measure(JS, first, first) == pytest.approx(0.0, abs=1e-12)
    assert histogram(Numbers(np.array(first))).counts.sum() == pytest.approx(len(first))


@pytest.mark.parametrize(("metric", "first", "second"), [(JS, [1.0], []), (JS, [None, None], [1.0]), (LINF, ["a"], [None])])
def test_a_side_without_values_is_refused(metric: str, first: list[float], second: list[float]) -> None:
    with pytest.raises(UnsupportedError, match="has no values"):
        DIALECT.measure(metric, first, second, kind="number" if metric == JS else "category")


def test_a_range_beyond_floats_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="range of the values is too wide"):
        DIALECT.measure(JS, [-1.7e308, 1.7e308], [0.0, 1.0])
