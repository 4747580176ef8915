"""Change tests on data simulated with one change at a time; the real flights of a year."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from mlport.decay import concept, estimate, performance
from mlport.errors import SpecError


def rows(n: int, seed: int, *, shift: float = 0.0, turned: bool = False) -> pd.DataFrame:
    """`shift` moves P(x) alone; `turned` turns the sign of a feature in P(y|x) alone."""
    rng = np.random.default_rng(seed)
    x, w = rng.normal(shift, 1, n), rng.normal(size=n)
    share = 1 / (1 + np.exp(-(1.5 * x + (-2 if turned else 2) * w)))
    return pd.DataFrame({"x": x, "w": w, "label": np.where(rng.random(n) < share, "yes", "no")})


def by_class(n: int, seed: int, share: float) -> pd.DataFrame:
    """Label shift: P(x|y) stays, P(y) is `share`."""
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < share).astype(int)
    return pd.DataFrame({"x": rng.normal(label * 2.0, 1), "w": rng.normal(label * 1.0, 1), "label": label})


def test_no_change_supports_nothing() -> None:
    found = concept(rows(800, 1), rows(800, 2))
    assert found.supported == ()
    assert not any(each.counts for each in found.evidence.values())
    assert "no evidence of a change" in str(found)


def test_features_that_move_are_data_drift_and_no_concept_drift() -> None:
    past, now = rows(1200, 1), rows(1200, 2, shift=0.6)
    found = concept(past, now)
    assert found.supported == ("data drift", "label shift")
    assert "explains it" in found.why[0]
    table = pd.crosstab(np.repeat([0, 1], 1200), pd.concat([past, now])["label"].to_numpy())
    assert found.evidence["labels"].p == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue)
    shares = table.to_numpy() / 1200
    assert found.evidence["labels"].effect.value == pytest.approx(abs(shares[0, 1] - shares[1, 1]))


def test_labels_that_mean_something_else_are_concept_drift_and_no_data_drift() -> None:
    found = concept(rows(1000, 1), rows(1000, 2, turned=True))
    assert found.supported == ("concept drift",)
    assert found.evidence["loss"].counts
    assert found.evidence["window"].counts
    said = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert said["supported"] == ["concept drift"]
    assert {each.status for each in found.assumptions} == {"holds", "cannot be checked"}


def test_other_shares_of_the_classes_are_label_shift() -> None:
    found = concept(by_class(1500, 1, 0.5), by_class(1500, 2, 0.15))
    assert found.supported == ("data drift", "label shift")


def test_numbers_as_labels() -> None:
    def numbers(seed: int, slope: float) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        x = rng.normal(size=700)
        return pd.DataFrame({"x": x, "label": slope * x + rng.normal(size=700)})

    found = concept(numbers(1, 2), numbers(2, -2))
    assert found.supported == ("concept drift",)
    assert found.evidence["labels"].effect.value == pytest.approx(stats.ks_2samp(numbers(1, 2)["label"], numbers(2, -2)["label"]).statistic)


@pytest.mark.parametrize(
    ("past", "now", "options", "said"),
    [
        (lambda t: t.iloc[:50], lambda t: t, {}, "reference: 50 of 50"),
        (lambda t: t, lambda t: t.assign(label=None), {}, "current: 0 of 150"),
        (lambda t: t.assign(label="yes"), lambda t: t, {}, "two classes"),
        (lambda t: t, lambda t: t.assign(label=1), {}, "its labels are"),
        (lambda t: t, lambda t: t.drop(columns="w"), {}, "no column 'w'"),
        (lambda t: t, lambda t: t, {"features": []}, "features"),
        (lambda t: t, lambda t: t, {"least": {"window": -1}}, "least"),
        (lambda t: t, lambda t: t, {"alpha": 1}, "alpha"),
        (lambda t: t, lambda t: t, {"task": "regression"}, "no numbers"),
    ],
)
def test_bad_input_is_refused_by_name(past: object, now: object, options: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        concept(past(rows(150, 1)), now(rows(150, 2)), **options)


def test_on_the_real_flights_mays_performance_is_that_of_its_labels_and_its_estimate_is_near() -> None:
    flights = pytest.importorskip("mlport.demo.flights")
    table = flights.flights().drop(columns="month").assign(month=lambda t: t["time_hour"].dt.month)
    table = table[table["month"] <= 5].iloc[::6].reset_index(drop=True)
    columns = ["hour", "weekday", "distance", *flights.WEATHER]
    early = table["month"] <= 3
    model = HistGradientBoostingClassifier(max_iter=40, early_stopping=False, random_state=0).fit(
        table[early][columns], table[early]["late"]
    )
    table["prediction"] = model.predict_proba(table[columns])[:, 1]
    past, now = (table[table["month"] == month].reset_index(drop=True) for month in (4, 5))
    truth = roc_auc_score(now["late"], now["prediction"])
    came = now["time_hour"] + pd.Timedelta("6h")
    known = now.assign(labelled_at=came)
    found = performance(known, time="time_hour", label="late", reference=past, every="365d")
    assert found.windows[-1].value.value == pytest.approx(truth, abs=1e-12)
    assert found.delays.quantiles[0.5] == 6 * 3600
    expected = estimate(
        past[[*columns, "prediction", "late"]], now[[*columns, "prediction"]], label="late", metrics="roc_auc", resamples=100
    )
    assert expected.metrics["roc_auc"].value == pytest.approx(truth, abs=0.06)
    assert expected.support.auc.value > 0.8  # April's weather is not May's
