"""Slices: a planted one is found and named, noise finds none, and the real flights show theirs; groups as Fairlearn has them."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from fairlearn import metrics as fair
from scipy import stats
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.preprocessing import OrdinalEncoder
from threadpoolctl import threadpool_limits

from mlport import audit
from mlport.audit import intervals
from mlport.audit.slices import View, axis, search
from mlport.demo.flights import FEATURES, flights, months
from mlport.errors import SpecError


def columns(rng: np.random.Generator, n: int) -> pd.DataFrame:
    city = rng.choice(["Oslo", "Rome", "Bonn", "Cork", "Nice"], n)
    age = np.where(rng.random(n) < 0.05, np.nan, rng.normal(40, 12, n))
    return pd.DataFrame({"city": city, "age": age, "day": pd.Timestamp("2013-01-01") + pd.to_timedelta(rng.integers(0, 365, n), unit="D")})


def test_a_planted_pair_is_found_and_its_parts_do_not_hide_it() -> None:
    rng = np.random.default_rng(0)
    table = columns(rng, 20_000)
    bad = (table["city"] == "Rome") & table["age"].isna()
    predicted = rng.integers(0, 2, len(table))
    truth = np.where(rng.random(len(table)) < np.where(bad, 0.45, 0.1), 1 - predicted, predicted)
    found = audit.evaluate(truth, predicted, slices=table)
    assert found.search is not None
    worst = next(each for each in found.worst if each.view == "error")
    assert worst.conditions == ("city = 'Rome'", "age is missing")
    assert worst.rows == bad.sum()
    wrong = truth != predicted
    assert worst.value.value == pytest.approx(wrong[bad].mean())
    assert worst.rest == pytest.approx(wrong[~bad].mean())
    table2 = [[wrong[bad].sum(), (~wrong[bad]).sum()], [wrong[~bad].sum(), (~wrong[~bad]).sum()]]
    assert np.log(worst.p) == pytest.approx(np.log(stats.fisher_exact(table2, "greater")[1]), rel=1e-6)
    assert 0 < worst.shrunken < (worst.difference.value or 0)
    assert worst.p <= worst.q
    report = {each.condition: each for each in found.slices["city"]}
    rome = (table["city"] == "Rome").to_numpy()
    assert report["city = 'Rome'"].metrics["accuracy"].value == pytest.approx(1 - wrong[rome].mean())
    assert len(found.slices["age"]) == 5


def test_a_bad_slice_is_not_told_again_with_each_of_its_parts() -> None:
    rng = np.random.default_rng(0)
    table = columns(rng, 20_000)
    predicted = rng.integers(0, 2, len(table))
    truth = np.where(rng.random(len(table)) < np.where(table["city"] == "Rome", 0.4, 0.1), 1 - predicted, predicted)
    found = audit.evaluate(truth, predicted, slices=table)
    assert {each.conditions for each in found.worst} == {("city = 'Rome'",)}


def test_noise_finds_nothing_and_small_slices_are_not_looked_at() -> None:
    """Forty tables without any bad slice: at most a share q of them may show one (families of true hypotheses)."""
    alarms = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        table = columns(rng, 1500)
        predicted = rng.integers(0, 2, len(table))
        truth = np.where(rng.random(len(table)) < 0.15, 1 - predicted, predicted)
        found = audit.evaluate(truth, predicted, slices=table, least_effect=0, resamples=100, seed=seed)
        alarms += bool(found.worst)
        assert found.search is not None
        assert all(each.rows >= 50 for reports in found.slices.values() for each in reports)
    assert alarms <= 5
    few = audit.evaluate([0, 1] * 60, [1, 0] * 3 + [0, 1] * 57, slices={"who": ["x"] * 6 + ["y"] * 114})
    assert few.search is not None
    assert (few.worst, few.search.tested) == ((), 0)
    assert few.search.too_small >= 1


def test_an_effect_too_small_to_matter_is_no_finding_in_a_million_rows() -> None:
    """A fortieth of a standard deviation: significant beyond doubt, and not worth anybody's time."""
    rng = np.random.default_rng(0)
    group = rng.integers(0, 2, 1_000_000)
    loss = rng.normal(size=len(group)) + 0.025 * group
    view = View("mae", "mean loss", loss, np.ones(len(group), bool), False)
    axes = [axis("group", pd.Series(group), 4)]
    settings = {"min_rows": 50, "pairs": False, "rate": 0.05, "confidence": 0.95, "top": 10}
    assert not search(axes, [view], least=0.1, **settings).worst  # type: ignore[arg-type]
    (found,) = search(axes, [view], least=0.0, **settings).worst  # type: ignore[arg-type]
    theirs = stats.ttest_ind(loss[group == 1], loss[group == 0], equal_var=False, alternative="greater")
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-6)
    assert found.effect == pytest.approx(0.025, abs=0.003)


@pytest.fixture(scope="module")
def delays() -> pd.DataFrame:
    """Real flights of June, with the lateness that a model of January to March expects."""
    table = flights()
    train, new = months(table, 1, 3).sample(20_000, random_state=0), months(table, 6, 6).sample(12_000, random_state=0)
    text = ["carrier", "origin", "dest"]
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1).fit(train[text])
    both = [part[FEATURES].assign(**dict(zip(text, encoder.transform(part[text]).T, strict=True))) for part in (train, new)]
    with threadpool_limits(1):
        model = HistGradientBoostingClassifier(max_iter=40, random_state=0).fit(both[0], train["late"])
    return new.assign(score=model.predict_proba(both[1])[:, 1])


def test_the_real_flights_of_june(delays: pd.DataFrame) -> None:
    """The model of winter misses June's late flights, and where it errs most is a matter of hours and weather that can be checked."""
    found = audit.evaluate(delays["late"], delays["score"], slices=delays, by=["carrier", "origin", "hour", "visib", "precip"])
    assert found.search is not None
    assert found.worst
    for each in found.worst:
        assert min(each.rows, each.value.n or 0) >= 50
        assert each.q <= 0.05
        assert (each.difference.low or 0) > 0
    errors = [each for each in found.worst if each.view == "error"]
    wrong = (delays["score"] >= 0.5) != delays["late"]
    assert all((each.value.value or 0) > wrong.mean() for each in errors)
    later = [each for each in errors if any("hour" in condition for condition in each.conditions)]
    assert later, "delays add up over the day: evenings are harder"
    assert found.calibration is not None
    assert found.calibration.bias < -0.02
    assert {"EV", "UA"} <= {each.condition.split("'")[1] for each in found.slices["carrier"]}
    assert "worst of" in found.text()


def test_regression_slices_and_bias() -> None:
    rng = np.random.default_rng(0)
    table = columns(rng, 5000)
    truth = rng.normal(size=5000) + np.where(table["city"] == "Cork", 1.0, 0)
    found = audit.evaluate(truth, np.zeros(5000), slices=table, by="city", task="regression")
    assert [(each.conditions, each.view) for each in found.worst[:2]] == [(("city = 'Cork'",), "too low"), (("city = 'Cork'",), "mae")]
    cork = next(each for each in found.slices["city"] if "Cork" in each.condition)
    assert cork.metrics["bias"].value == pytest.approx(-1, abs=0.1)
    assert (cork.metrics["rmse"].low or 0) < np.sqrt(2) < (cork.metrics["rmse"].high or 0)


def test_groups_are_fairlearns_with_bounds_for_all_pairs(delays: pd.DataFrame) -> None:
    found = audit.fairness(delays["late"], delays["score"], delays["origin"], threshold=0.25)
    late, origin, score = delays["late"], delays["origin"], delays["score"] >= 0.25
    assert found.difference["selection_rate"].value == pytest.approx(
        fair.demographic_parity_difference(late, score, sensitive_features=origin)
    )
    assert found.equalized_odds_difference.value == pytest.approx(fair.equalized_odds_difference(late, score, sensitive_features=origin))
    assert found.ratio["selection_rate"] == pytest.approx(fair.demographic_parity_ratio(late, score, sensitive_features=origin))
    gap = found.difference["selection_rate"]
    assert 0 < (gap.low or 0) < (gap.value or 0) < (gap.high or 0)
    rates = [(int((score & (origin == name)).sum()), int((origin == name).sum())) for name in sorted(origin.unique())]
    bounds = [intervals.newcombe(*one, *two, 1 - 0.05 / 3) for one, two in itertools.permutations(rates, 2)]
    assert (gap.low, gap.high) == pytest.approx((max(float(low) for low, _ in bounds), max(float(high) for _, high in bounds)))
    mixed = audit.fairness([0, 1] * 60, [0, 1] * 60, {"sex": ["f", "m"] * 55 + [None] * 10})
    assert mixed.too_small == {"sex = missing": 10}
    assert mixed.difference["true_positive_rate"].value is None
    assert "not judged" in mixed.text()
    with pytest.raises(SpecError, match="comparison needs two"):
        audit.fairness([0, 1] * 30, [0, 1] * 30, ["a"] * 59 + ["b"])
