"""Databricks' dialect: what needs no unpublished rule is SciPy's number, all else is refused with the reason."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mlport import dialects
from mlport.errors import UnsupportedError

DIALECT = dialects.load("databricks")
COLUMN = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)
COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 50), min_size=1)


@settings(max_examples=30, deadline=None)
@given(COLUMN, COLUMN)
def test_numbers_are_scipys(first: list[float], second: list[float]) -> None:
    with_nan = pa.array([*first, None, math.nan])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # SciPy's own, of its p-value
        statistic = stats.ks_2samp(first, second).statistic
    assert DIALECT.measure("ks_test.statistic", with_nan, second) == pytest.approx(statistic, abs=1e-12)
    expected = stats.wasserstein_distance(first, second)
    assert DIALECT.measure("wasserstein_distance", first, second) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(COUNTS, COUNTS)
def test_categories_are_by_their_formulas(first: dict[str, int], second: dict[str, int]) -> None:
    apart = np.array([first.get(key, 0) / sum(first.values()) - second.get(key, 0) / sum(second.values()) for key in "abcdef"])
    assert DIALECT.measure("tv_distance", first, second) == pytest.approx(np.abs(apart).sum() / 2, abs=1e-12)
    assert DIALECT.measure("l_infinity_distance", first, second) == pytest.approx(np.abs(apart).max(), abs=1e-12)


@pytest.mark.parametrize("metric", [each for each in DIALECT.metrics if each.compute is None], ids=lambda each: each.name)
def test_what_has_unpublished_rules_is_refused_with_them(metric: dialects.Metric) -> None:
    assert "not published" in metric.refusal
    with pytest.raises(UnsupportedError, match="not published") as refused:
        DIALECT.measure(metric.name, [1, 2], [2, 3], kind=metric.kind)
    assert metric.name in refused.value.gaps
    with pytest.raises(UnsupportedError, match="not published"):
        dialects.load("azureml").threshold(metric, 0.1)


def test_there_are_no_default_thresholds() -> None:
    assert DIALECT.default("number") is None


@pytest.mark.parametrize(
    ("metric", "kind"), [("ks_test.statistic", "number"), ("wasserstein_distance", "number"), ("tv_distance", "category")]
)
def test_bad_columns_are_refused(metric: str, kind: dialects.Kind) -> None:
    with pytest.raises(UnsupportedError, match="reference column has no values"):
        DIALECT.measure(metric, [None], [1.0], kind=kind)
    if metric == "wasserstein_distance":
        with pytest.raises(UnsupportedError, match="infinite"):
            DIALECT.measure(metric, [1.0, math.inf], [1.0])
