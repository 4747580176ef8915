"""SageMaker's dialect against the worked numbers in Deequ's own test: awslabs/deequ at 0b8cea54, KLL/KLLDistanceTest.scala."""

from __future__ import annotations

import math

import pytest

from mlport import dialects
from mlport.errors import UnsupportedError
from mlport_sagemaker.dialect import robust

DIALECT = dialects.load("sagemaker")
FIVE = {"a": 10, "b": 20, "c": 25, "d": 10, "e": 5}
SIX = {"a": 207, "b": 20, "c": 25, "d": 14, "e": 25, "g": 13}
SIMPLE, ROBUST = "categorical_LInfinity_simple", "categorical_LInfinity_robust"
CHI, P = "categorical_ChiSquared_simple", "categorical_ChiSquared_robust"


def test_numbers() -> None:
    first, second = [1, 2, 3, 4], [2, 3, 4, 5]
    assert DIALECT.measure("numerical_simple", first, second) == 0.25
    assert DIALECT.measure("numerical_robust", first, second) == 0.0


@pytest.mark.parametrize(
    ("metric", "sample", "baseline", "expected"),
    [
        (SIMPLE, FIVE, {"a": 11, "b": 20, "c": 25, "d": 10, "e": 10}, 0.06015037593984962),
        (ROBUST, FIVE, {"a": 11, "b": 20, "c": 25, "d": 10, "e": 10}, 0.0),
        (SIMPLE, FIVE, {"f": 11, "a": 20, "c": 25, "d": 10, "e": 10}, 0.2857142857142857),
        (ROBUST, FIVE, {"f": 11, "a": 20, "c": 25, "d": 10, "e": 10}, 0.0),
        (CHI, SIX, {"a": 223, "b": 20, "c": 25, "d": 12, "e": 13, "f": 15}, 28.175042782458068),
        (P, SIX, {"a": 223, "b": 20, "c": 25, "d": 12, "e": 13, "f": 15}, 3.3640191298478506e-5),
        (
            P,
            {"a": 207, "b": 20, "c": 25, "d": 14, "e": 25},
            {"a": 223, "b": 20, "c": 25, "d": 12, "e": 13},
            0.013227994814265176,
        ),
        (
            CHI,
            {"a": 100, "b": 20, "c": 25, "d": 10, "e": 5, "f": 2},
            {"a": 100, "b": 22, "c": 25, "d": 5, "e": 13, "f": 2},
            8.789790456457125,
        ),
        (CHI, {"a": 100, "b": 40, "c": 30, "d": 10}, {"a": 100, "b": 40, "c": 30, "e": 4}, 0.38754325259515626),
        (CHI, {"a": 100, "b": 4, "c": 3, "d": 27}, {"a": 100, "b": 4, "c": 3, "d": 34}, 1.1507901668129925),
        (
            CHI,
            {"a": 100, "b": 4, "c": 3, "d": 27, "e": 20, "f": 20, "g": 20, "h": 20},
            {"a": 100, "b": 2, "c": 1, "d": 34, "e": 20, "f": 20, "g": 20, "h": 20},
            6.827423492761593,
        ),
        (P, {"a": 30}, {"a": 20, "b": 20}, 4.3204630539861455e-8),
    ],
)
def test_categories(metric: str, sample: dict[str, int], baseline: dict[str, int], expected: float) -> None:
    assert DIALECT.measure(metric, baseline, sample) == pytest.approx(expected, rel=1e-9, abs=1e-14)


@pytest.mark.parametrize(("alpha", "expected"), [(0.003, 0.2726338046550349), (0.1, 0.33774199396969184)])
def test_the_correction_of_another_alpha(alpha: float, expected: float) -> None:
    other = {"a": 22, "b": 20, "c": 25, "d": 12, "e": 13, "f": 15}
    simple = DIALECT.measure(SIMPLE, other, SIX)
    assert robust(simple, sum(SIX.values()), sum(other.values()), alpha) == pytest.approx(expected, abs=1e-14)
    assert robust(simple, 10**12, 10**12) == pytest.approx(simple, abs=1e-5)


@pytest.mark.parametrize(
    ("sample", "baseline"),
    [({"a": 100, "b": 4, "c": 3},) * 2, ({"a": 10, "b": 20}, {"b": 20}), ({"a": 15, "b": 20}, {"c": 20, "d": 20})],
)
def test_where_the_vendor_gives_nan_is_a_refusal(sample: dict[str, int], baseline: dict[str, int]) -> None:
    with pytest.raises(UnsupportedError, match="fewer than two categories are left"):
        DIALECT.measure(P, baseline, sample)


def test_a_side_without_values_is_refused() -> None:
    for metric, kind in (("numerical_robust", "number"), (ROBUST, "category"), (CHI, "category")):
        with pytest.raises(UnsupportedError, match="current column has no values"):
            DIALECT.measure(metric, [1, 2], [None, math.nan] if kind == "number" else [None], kind=kind)
