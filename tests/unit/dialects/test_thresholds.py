"""What a threshold is in another dialect: the same number, a translated one that alarms alike, or a refusal with the reason."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlport import dialects, drift
from mlport.drift import Bins, Definition, Norm, Smoothing
from mlport.drift.definitions import CATEGORIES, DEFAULT
from mlport.errors import NotFoundError, UnsupportedError, UsageError

AZURE, VERTEX, DATABRICKS, SAGEMAKER = (dialects.load(name) for name in ("azureml", "vertex", "databricks", "sagemaker"))
ALL = (AZURE, VERTEX, DATABRICKS, SAGEMAKER)
BITS = Definition("js", base=2.0, bins=CATEGORIES)
COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 50), min_size=1)


@pytest.mark.parametrize(
    ("definition", "value", "dialect", "metric", "expected"),
    [
        (BITS, 0.01, AZURE, "JensenShannonDistance", 0.1),
        (BITS, 0.3, VERTEX, "jensen_shannon_divergence", 0.3),
        (Definition("js_distance", base=2.0, root=True, bins=CATEGORIES), 0.548, VERTEX, "jensen_shannon_divergence", 0.548**2),
        (
            Definition("js_distance", base=math.e, root=True, bins=CATEGORIES),
            0.1 * math.sqrt(math.log(2)),
            AZURE,
            "JensenShannonDistance",
            0.1,
        ),
        (Definition("js", bins=CATEGORIES), 0.01 * math.log(2), VERTEX, "jensen_shannon_divergence", 0.01),
        (Definition("psi", base=math.e, bins=CATEGORIES, smoothing=Smoothing("add", 1)), 0.2, AZURE, "PopulationStabilityIndex", 0.2),
        (Definition("wasserstein_normed", norm=Norm(1, 0.001)), 0.1, AZURE, "NormalizedWassersteinDistance", 0.1),
        (Definition("linf", bins=CATEGORIES), 0.2, VERTEX, "l_infinity", 0.2),
        (Definition("linf", bins=CATEGORIES), 0.2, SAGEMAKER, "categorical_LInfinity_simple", 0.2),
        (Definition("tv", bins=CATEGORIES), 0.2, DATABRICKS, "tv_distance", 0.2),
        (Definition("ks"), 0.1, SAGEMAKER, "numerical_simple", 0.1),
        (Definition("ks"), 0.1, DATABRICKS, "ks_test.statistic", 0.1),
        (Definition("wasserstein"), 2.5, DATABRICKS, "wasserstein_distance", 2.5),
    ],
)
def test_what_agrees_or_has_a_formula(
    definition: Definition, value: float, dialect: dialects.Dialect, metric: str, expected: float
) -> None:
    found = dialect.threshold(definition, value)
    assert (found.metric, found.alarm) == (metric, "above")
    assert found.value == pytest.approx(expected, rel=1e-12)
    assert (found.how == "the same number") == (found.value == value)


@settings(max_examples=40, deadline=None)
@given(COUNTS, COUNTS, st.floats(0.01, 0.65))
def test_a_threshold_here_alarms_exactly_where_it_does_there(first: dict[str, int], second: dict[str, int], value: float) -> None:
    columns = [{"x": [key for key, count in side.items() for _ in range(count)]} for side in (first, second)]
    nats = [Definition("js_distance", "rooted", base=math.e, root=True), Definition("js", "unrooted", bins=CATEGORIES)]
    definitions = [BITS, *nats, Definition("js", "root of bits", base=2.0, root=True), Definition("linf"), Definition("tv")]
    report = drift.compare(*columns, metrics=definitions).column("x")
    for definition, dialect in product(definitions, ALL):
        reading = report[definition.key]
        try:
            there = dialect.threshold(reading.definition, value)
        except UnsupportedError:
            continue
        measured = dialect.measure(there.metric, columns[0]["x"], columns[1]["x"])
        assert reading.value is not None
        if not math.isclose(reading.value, value, rel_tol=1e-9):
            assert (reading.value > value) == (measured > there.value)


@pytest.mark.parametrize(
    ("definition", "dialect", "kind", "reason"),
    [
        (Definition("psi", base=math.e, bins=Bins(), smoothing=Smoothing("add", 1)), AZURE, None, "bins differ: 10 quantiles here"),
        (Definition("psi", base=math.e, bins=CATEGORIES, smoothing=Smoothing("floor", 1e-4)), AZURE, None, "smoothing differs"),
        (Definition("js", base=2.0, bins=Bins("uniform", 10)), VERTEX, None, "bins differ"),
        (Definition("js", base=2.0, bins=Bins("edges", None, (1.0, 2.0))), AZURE, None, r"edges \[1.0, 2.0\] here"),
        (Definition("ks"), AZURE, None, "a statistic is no p-value"),
        (Definition("chi2"), AZURE, None, "a statistic is no p-value"),
        (Definition("chi2"), SAGEMAKER, None, "formula differs"),
        (Definition("wasserstein_normed", norm=Norm(0, 0.0)), AZURE, None, "divisor differs"),
        (Definition("wasserstein"), AZURE, None, "divisor differs"),
        (Definition("wasserstein"), VERTEX, None, "has only jensen_shannon_divergence"),
        (Definition("hellinger", root=True, bins=CATEGORIES), DATABRICKS, None, "has only tv_distance, l_infinity_distance"),
        (Definition("js_distance", base=2.0, root=True, bins=CATEGORIES), DATABRICKS, None, "its base, and whether it is"),
        (BITS, SAGEMAKER, None, "has only categorical_LInfinity_simple"),
        (Definition("linf", bins=Bins()), VERTEX, None, "has only jensen_shannon_divergence"),
    ],
)
def test_what_has_no_formula_is_refused(definition: Definition, dialect: dialects.Dialect, kind: dialects.Kind, reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        dialect.threshold(definition, 0.1, kind=kind)


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
def test_a_metric_of_its_own_keeps_its_number(dialect: dialects.Dialect) -> None:
    for metric in dialect.metrics:
        found = dialect.threshold(metric, 0.25)
        assert (found.metric, found.value, found.alarm, found.how) == (metric.name, 0.25, metric.alarm, "the same number")


@pytest.mark.parametrize(("one", "other"), [(a, b) for a, b in product(ALL, ALL) if a != b], ids=lambda dialect: dialect.name)
def test_no_metric_with_bins_of_numbers_goes_from_one_cloud_to_another(one: dialects.Dialect, other: dialects.Dialect) -> None:
    binned = [metric for metric in one.metrics if metric.binning]
    for metric in binned:
        with pytest.raises(UnsupportedError):
            other.threshold(metric, 0.1)
    assert all(metric.kind == "number" for metric in binned)


@pytest.mark.parametrize("definition", [each for each in DEFAULT if each.bins], ids=lambda each: each.metric)
def test_an_engines_own_bins_of_numbers_are_no_clouds(definition: Definition) -> None:
    for dialect in ALL:
        with pytest.raises(UnsupportedError):
            dialect.threshold(definition, 0.1, kind="number")


@pytest.mark.parametrize(
    ("definition", "value"),
    [(BITS, 1.0), (BITS, -0.1), (BITS, math.nan), (Definition("js", bins=CATEGORIES), 0.7), (Definition("linf", bins=CATEGORIES), 2.0)],
)
def test_a_threshold_that_can_never_tell_anything_is_refused(definition: Definition, value: float) -> None:
    with pytest.raises(UsageError, match="never tells anything"):
        VERTEX.threshold(definition, value)


def test_zero_is_refused_where_the_vendor_takes_it_for_none() -> None:
    assert SAGEMAKER.threshold(Definition("ks"), 0.0).value == 0.0
    with pytest.raises(UnsupportedError, match="takes 0 for not set"):
        AZURE.threshold(BITS, 0)
    with pytest.raises(UnsupportedError, match="no alert is wanted"):
        VERTEX.threshold(BITS, 0.0)


def test_p_values_alarm_below() -> None:
    test = AZURE.metric("TwoSampleKolmogorovSmirnovTest", "number")
    assert AZURE.threshold(test, 0.05).alarm == "below"
    with pytest.raises(UsageError, match="above 0 and below 1"):
        AZURE.threshold(test, 0.0)


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
def test_every_metric_says_its_source_and_every_default_is_a_metric(dialect: dialects.Dialect) -> None:
    assert len({(metric.name, metric.kind) for metric in dialect.metrics}) == len(dialect.metrics)
    assert all(metric.source and (metric.compute is None) == bool(metric.refusal) for metric in dialect.metrics)
    for default in dialect.defaults:
        metric = dialect.metric(default.metric, default.kind)
        assert dialect.threshold(metric, default.threshold).value == default.threshold
        assert default.source


def test_names_that_are_not_known_list_those_that_are() -> None:
    assert dialects.names() == ["azureml", "databricks", "sagemaker", "vertex"]
    with pytest.raises(NotFoundError, match="azureml, databricks"):
        dialects.load("azure")
    with pytest.raises(NotFoundError, match="it has NormalizedWassersteinDistance"):
        AZURE.measure("psi", [1.0], [2.0])


def test_columns_of_every_make_give_one_number() -> None:
    import pandas as pd
    import pyarrow as pa
    from scipy.stats import wasserstein_distance

    first, second = [1.0, 2.0, 2.5, None], [2.0, 3.0]
    makes = [
        first,
        pa.array(first),
        pa.chunked_array([first[:2], first[2:]]),
        np.array(first, dtype=object),
        pd.Series(first),
    ]
    assert {DATABRICKS.measure("wasserstein_distance", make, second) for make in makes} == {wasserstein_distance(first[:3], second)}
    texts = ["a", "b", "b", None]
    counted = [texts, pa.array(texts).dictionary_encode(), {"a": 1, "b": 2, None: 1}, {"a": 1, "b": np.int64(2), "c": 0}]
    assert [DATABRICKS.measure("tv_distance", make, {"b": 3}) for make in counted] == pytest.approx([1 / 3] * 4)
    assert DATABRICKS.measure("tv_distance", [True, False], [True]) == 0.5
    assert DATABRICKS.measure("tv_distance", [1.5, math.nan, 2.5], [1.5], kind="category") == 0.5


@pytest.mark.parametrize(
    ("column", "kind", "reason"),
    [
        (["a", 1], None, "reference: cannot be read as one column"),
        (["a"], "number", "reference: string is no column of numbers"),
        ({"a": 1}, "number", "reference: counts of categories"),
        ({"a": -1}, "category", "the count of 'a' is -1"),
        ({"a": 1.5}, "category", "the count of 'a' is 1.5"),
        ([[1, 2]], "category", "is no column of categories"),
    ],
)
def test_what_is_no_column_is_refused(column: object, kind: dialects.Kind | None, reason: str) -> None:
    metric = "ks_test.statistic" if kind == "number" else "tv_distance"
    with pytest.raises(UsageError, match=reason):
        DATABRICKS.measure(metric, column, [1.0], kind=kind)


def test_the_page_names_every_metric_and_default() -> None:
    page = (Path(__file__).parents[3] / "docs" / "dialects.md").read_text(encoding="utf-8")
    assert not [metric.name for dialect in ALL for metric in dialect.metrics if f"`{metric.name}`" not in page]
    assert not [default for dialect in ALL for default in dialect.defaults if f"`{default.metric}` {default.threshold:g}" not in page]
