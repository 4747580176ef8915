"""Intervals and agreement against published worked examples and SciPy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from mlport import audit
from mlport.audit import annotators, intervals
from mlport.errors import SpecError

NAN = np.nan
KRIPPENDORFF = pd.DataFrame(
    {
        "A": [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        "B": [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        "C": [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        "D": [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    }
)
FLEISS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


@given(n=st.integers(1, 5000), share=st.floats(0, 1), confidence=st.sampled_from([0.8, 0.95, 0.99]))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_wilson_is_scipys(n: int, share: float, confidence: float) -> None:
    hits = round(share * n)
    low, high = intervals.wilson(hits, n, confidence)
    theirs = stats.binomtest(hits, n).proportion_ci(confidence, method="wilson")
    assert (float(low), float(high)) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"), [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)]
)
def test_wilson_is_as_published(hits: int, n: int, low: float, high: float) -> None:
    """R. G. Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3."""
    assert [float(bound) for bound in intervals.wilson(hits, n)] == pytest.approx([low, high], abs=5e-5)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
@settings(deadline=None, derandomize=True, max_examples=40)
def test_discoveries_step_up(p: list[float]) -> None:
    """Benjamini and Hochberg's procedure in its own words: the largest k with p(k) <= k q / m, and all below."""
    ordered = sorted(p)
    for q in (0.05, 0.3):
        ks = [k for k, value in enumerate(ordered, start=1) if value <= k * q / len(p) * (1 + 1e-12)]
        assert int((intervals.discoveries(np.array(p)) <= q * (1 + 1e-9)).sum()) == (max(ks) if ks else 0)


def test_cells_of_a_confusion_matrix_are_drawn_as_its_rows_are() -> None:
    """The multinomial bootstrap's interval is that of drawing rows, by simulation."""
    matrix = np.array([[80, 7], [5, 8]])
    found = intervals.from_confusion(matrix, {"recall": lambda m: m[:, 1, 1] / np.maximum(m[:, 1].sum(1), 1)}, 0.9, 4000, 0)["recall"]
    rows = np.repeat(np.arange(4), matrix.ravel())
    rng = np.random.default_rng(1)
    drawn = [np.bincount(rows[rng.integers(100, size=100)], minlength=4) for _ in range(4000)]
    theirs = np.quantile([cells[3] / max(cells[2] + cells[3], 1) for cells in drawn], [0.05, 0.95])
    assert (found.low, found.high) == pytest.approx(tuple(theirs), abs=0.03)
    assert found.value == pytest.approx(8 / 13)


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)])
def test_alpha_is_as_published(level: str, alpha: float) -> None:
    """K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), the data with missing values."""
    found = audit.agreement(KRIPPENDORFF, level=level, resamples=100)
    assert found.alpha.value == pytest.approx(alpha, abs=5e-4)
    assert found.units == 11
    assert "same number of ratings" in (found.fleiss.reason or "")


def test_fleiss_kappa_is_as_published() -> None:
    """The worked example of fourteen raters and ten subjects, 0.210; and through ratings, not counts."""
    assert annotators.fleiss(np.array(FLEISS, float)) == pytest.approx(0.2099, abs=5e-5)
    ratings = np.array([np.repeat(np.arange(5), row) for row in FLEISS])
    found = audit.agreement(pd.DataFrame(ratings, columns=[f"rater {at}" for at in range(14)]), resamples=100)
    assert found.fleiss.value == pytest.approx(0.2099, abs=5e-5)
    assert found.findings[0].severity == "problem"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=2, max_size=60))
@settings(deadline=None, derandomize=True, max_examples=40)
def test_cohens_kappa_is_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    first, second = (list(side) for side in zip(*pairs, strict=True))
    found = audit.agreement({"one": first, "two": second}, resamples=100)
    (measure,) = found.cohen.values()
    if len({*first, *second}) == 1:
        assert measure.value is None
        assert found.alpha.value is None
    else:
        assert measure.value == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)


def test_cohens_kappa_of_grants() -> None:
    """Fifty proposals, both yes 20, both no 15, apart 5 and 10: 0.4."""
    one, two = ["yes"] * 25 + ["no"] * 25, ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    found = audit.agreement({"one": one, "two": two})
    assert found.cohen["one and two"].value == pytest.approx(0.4)
    assert found.to_json()["cohen"]["one and two"]["n"] == 50


@pytest.mark.parametrize(
    ("ratings", "settings", "words"),
    [
        ({"one": [1, 2]}, {}, "two or more"),
        ({"one": ["a"], "two": ["b"]}, {"level": "ordinal"}, "are numbers"),
        ({"one": [1], "two": [1]}, {"level": "exact"}, "none of nominal"),
        ({"one": [1], "two": [1]}, {"annotators": ["one", "tow"]}, "'two'"),
    ],
)
def test_agreement_refuses(ratings: dict[str, list[object]], settings: dict[str, object], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        audit.agreement(ratings, **settings)  # type: ignore[arg-type]
    assert words in str(caught.value)
