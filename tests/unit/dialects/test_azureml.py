"""Azure ML's dialect against what the vendor's own published functions gave for the same columns: data/README.md says how."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import distance

from mlport import dialects, drift
from mlport.drift import Bins, Definition, Norm
from mlport.errors import UnsupportedError
from mlport_azureml.dialect import counts, edges

DIALECT = dialects.load("azureml")
MEASURED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "azureml.json").read_text(encoding="utf-8"))
CASES = [
    pytest.param(kind, case["reference"], case["current"], metric, value, id=f"{metric}, {kind}, {name}")
    for kind, cases in MEASURED.items()
    for name, case in cases.items()
    for metric, value in case["expected"].items()
]
JS, PSI, WASSERSTEIN, KS = (
    "JensenShannonDistance",
    "PopulationStabilityIndex",
    "NormalizedWassersteinDistance",
    "TwoSampleKolmogorovSmirnovTest",
)


@pytest.mark.parametrize(("kind", "reference", "current", "metric", "expected"), CASES)
def test_it_measures_what_the_vendors_own_code_does(
    kind: dialects.Kind, reference: list[Any], current: list[Any], metric: str, expected: float
) -> None:
    close = pytest.approx(expected, rel=1e-8, abs=1e-12)  # Spark's deviation is of one pass: 2e-9 off for values near 1e9
    assert DIALECT.measure(metric, reference, current, kind=kind) == close
    if metric != KS:
        with_gaps = [*reference, None, *([math.nan] if kind == "number" else [])]
        assert DIALECT.measure(metric, with_gaps, current, kind=kind) == close


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's own
def test_the_defaults_are_those_of_the_vendors_sdk() -> None:
    from azure.ai.ml.entities._monitoring.thresholds import DataDriftMetricThreshold

    default = DataDriftMetricThreshold._get_default_thresholds()
    number, category = DIALECT.default("number"), DIALECT.default("category")
    assert number is not None
    assert category is not None
    assert (number.metric, number.threshold) == (WASSERSTEIN, default.numerical.normalized_wasserstein_distance)
    assert (category.metric, category.threshold) == (JS, default.categorical.jensen_shannon_distance)


def test_the_metrics_are_those_that_the_vendors_sdk_takes() -> None:
    from azure.ai.ml._restclient.arm_ml_service import models

    for kind, listed in (("number", models.NumericalDataDriftMetric), ("category", models.CategoricalDataDriftMetric)):
        assert {metric.name for metric in DIALECT.metrics if metric.kind == kind} == {each.value for each in listed}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=50), st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=50))
def test_bins_hold_all_but_what_the_last_edge_loses_by_rounding(first: list[float], second: list[float]) -> None:
    a, b = np.array(first), np.array(second)
    bounds = edges(a, b)
    if not (np.diff(bounds) > 0).all():
        return
    assert len(bounds) in (2, math.ceil(math.log2(min(len(first), len(second))) + 1) + 1)
    for side in (a, b):
        assert counts(side, bounds).sum() == (side <= bounds[-1]).sum()
    if (a <= bounds[-1]).any() and (b <= bounds[-1]).any():
        expected = distance.jensenshannon(counts(a, bounds), counts(b, bounds), base=2)
        assert DIALECT.measure(JS, first, second) == pytest.approx(expected, abs=1e-7)


def test_mlports_engine_gives_the_same_number_where_the_definition_says_so() -> None:
    case = MEASURED["number"]["unequal sizes"]
    definition = Definition("wasserstein_normed", norm=Norm(1, 0.001))
    reading = drift.compare({"x": case["reference"]}, {"x": case["current"]}, metrics=[definition]).column("x")["wasserstein_normed"]
    assert reading.value == pytest.approx(case["expected"][WASSERSTEIN], rel=1e-9)
    assert DIALECT.threshold(reading.definition, 0.1).value == 0.1
    binned = drift.compare(
        {"x": case["reference"]}, {"x": case["current"]}, metrics=[Definition("js_distance", base=2.0, root=True, bins=Bins())]
    )
    assert binned.column("x")["js_distance"].value != pytest.approx(case["expected"][JS], rel=1e-2)


def test_integers_of_few_values_are_categories() -> None:
    few, many = [at % 4 for at in range(100)], list(range(100))
    assert DIALECT.measure("PearsonsChiSquaredTest", few, few) == pytest.approx(1.0)
    assert DIALECT.measure(WASSERSTEIN, many, many) == 0.0
    assert DIALECT.measure(WASSERSTEIN, few, few, kind="number") == 0.0


@pytest.mark.parametrize(
    ("metric", "reference", "current", "reason"),
    [
        (KS, [float(at) for at in range(10_000)], [1.0, 2.0], "10,000 rows or more"),
        (WASSERSTEIN, [1.0], [None, math.nan], "current column has no values"),
        (JS, [], [1.0], "reference column has no values"),
        (JS, [1.0, math.inf], [1.0], "reference column has infinite values"),
        (PSI, [1.7e308], [-1.7e308], "too wide"),
        (PSI, [1.0, 1.0000000000000002], [1.0, 1.0000000000000002], "too narrow"),
        (JS, ["a"], [None], "current column has no values"),
        ("PearsonsChiSquaredTest", ["a"], ["a", "a"], "one and the same category"),
    ],
)
def test_where_the_vendors_job_fails_is_a_refusal(metric: str, reference: list[Any], current: list[Any], reason: str) -> None:
    kind: dialects.Kind = "category" if "a" in reference else "number"
    with pytest.raises(UnsupportedError, match=reason):
        DIALECT.measure(metric, reference, current, kind=kind)
