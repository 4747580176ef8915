"""Advice: a remedy that helps is recommended, noise never is, and every gain is paired, corrected and adjusted."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from mlport import audit
from mlport.audit.trials import beyond_noise, compared, threshold
from mlport.errors import SpecError


def skewed(n: int = 1200, seed: int = 0, strength: float = 1.5) -> pd.DataFrame:
    """One row in ten is positive; two numbers tell so in part, and a category does not."""
    rng = np.random.default_rng(seed)
    rare = rng.random(n) < 0.1
    x = rng.normal(size=(n, 2)) + strength * rare[:, None]
    return pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "town": rng.choice(["A", "B"], n), "rare": np.where(rare, "yes", "no")})


def test_a_skewed_task_wants_another_threshold() -> None:
    found = audit.advice(skewed(), "rare", kinds=["threshold", "class weights", "collect"])
    assert (found.metric, found.folds, found.rows) == ("balanced_accuracy", 10, 1200)
    assert {trial.name for trial in found.recommended} == {"another threshold", "balanced class weights"}
    assert found.first is not None
    assert found.first.kind == "threshold"
    for trial in found.recommended:
        assert (trial.gain.low or 0) > 0
        assert trial.q <= 0.05
        assert trial.score == pytest.approx(found.baseline + (trial.gain.value or 0))
        assert "corrected resampled t, 10 folds" in (trial.gain.method or "")
    ends = {each.name: each for each in found.metrics}
    assert (ends["accuracy"].standard_errors or 0) < (ends["average_precision"].standard_errors or 0)
    assert ends["balanced_accuracy"].without_skill == 0.5
    assert [trial.kind for trial in found.trials][-2:] == ["collect", "collect"]
    assert json.dumps(found.to_json(), allow_nan=False)
    assert "first: threshold: another threshold" in found.text()


def test_noise_gets_no_advice() -> None:
    """Labels that no feature tells: whatever was tried, nothing is recommended."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        table = pd.DataFrame({"a": rng.normal(size=300), "b": rng.normal(size=300), "y": rng.random(300) < 0.3})
        found = audit.advice(table, "y", kinds=["threshold", "class weights", "resample"], repeats=1, seed=seed)
        assert not found.recommended
        assert found.first is None
        assert "nothing that was tried helps beyond noise" in found.text()


def test_costs_resampling_and_other_algorithms() -> None:
    table = skewed(600)
    found = audit.advice(
        table,
        "rare",
        positive="yes",
        ignore="town",
        costs={"false_negative": 20, "false_positive": 1},
        kinds=["resample", "algorithm"],
        folds=3,
    )
    names = {trial.name: trial for trial in found.trials}
    assert {
        "SMOTE",
        "random oversampling",
        "random undersampling",
        "gradient boosting",
        "random forest",
        "balanced random forest",
    } <= names.keys()
    assert found.metric == "cost"
    assert found.baseline < 0
    assert names["random oversampling"].recommended
    assert names["random oversampling"].others["log_loss"] < 0, "what resampling does to probabilities is shown"
    refused = audit.advice(table, "rare", kinds=["resample"], metric="roc_auc")
    assert refused.not_tried == {"SMOTE": "it interpolates, and 'town' is a category"}


def test_a_model_of_ones_own_and_three_classes() -> None:
    rng = np.random.default_rng(0)
    label = rng.choice(3, 600, p=[0.85, 0.1, 0.05])
    table = pd.DataFrame({"x": rng.normal(size=600) + label, "y": label, "who": np.arange(600) // 2})
    found = audit.advice(table, "y", model=GaussianNB(), entity="who", kinds=["threshold", "class weights", "collect"])
    assert found.not_tried == {"balanced class weights": "GaussianNB has no parameter class_weight"}
    assert found.model == "GaussianNB"
    assert {trial.name for trial in found.trials} >= {"rows of class 2", "rows of class 1", "rows of every class"}
    assert found.recommended[0].kind == "threshold"


def test_where_to_collect() -> None:
    """In the town where the rule is another one, and rows are few, more of its rows help there; the rest is as good as it gets."""
    rng = np.random.default_rng(0)
    town = rng.choice(["big", "far"], 1500, p=[0.92, 0.08])
    x = rng.normal(size=(1500, 12))
    label = np.where(town == "big", x[:, 0], x[:, 1:].sum(1)) + 0.3 * rng.normal(size=1500) > 0
    table = pd.DataFrame(x, columns=[f"x{at}" for at in range(12)]).assign(town=town, y=label)
    for at in range(12):
        table[f"far{at}"] = table[f"x{at}"] * (town == "far")
    found = audit.advice(table, "y", kinds=["collect"], collect_by="town", repeats=1)
    trials = {trial.name: trial for trial in found.trials}
    far, big = trials["rows where town = 'far'"], trials["rows where town = 'big'"]
    assert far.score < big.score
    assert (far.gain.value or 0) > max(0.02, big.gain.value or 0)
    nowhere = audit.advice(table.head(300), "y", kinds=["collect"], features=["x0"], collect_by="y", repeats=1)
    assert nowhere.not_tried == {"rows by y": "no value has rows of every class in every fold"}


def test_gains_by_the_published_formula() -> None:
    """Nadeau and Bengio's variance: (1/k + n2/n1) s^2, with n2/n1 = 1/4 for five folds."""
    gains = np.array([0.02, 0.05, 0.01, 0.04, 0.03])
    found, p = compared(gains, 1 / 5, 0.95)
    t = gains.mean() / np.sqrt((1 / 5 + 1 / 4) * gains.var(ddof=1))
    assert p == pytest.approx(stats.t.sf(t, 4))
    assert found.low == pytest.approx(gains.mean() - stats.t.ppf(0.975, 4) * gains.mean() / t)
    assert compared(np.zeros(5), 1 / 5, 0.95)[1] == 1


def test_a_gain_needs_both_its_interval_and_its_q() -> None:
    """One of ten tried that looks good by itself is what chance brings."""
    assert beyond_noise(audit.Measure(0.1, 0.02, 0.18), 0.04)
    assert not beyond_noise(audit.Measure(0.1, 0.02, 0.18), 0.2)
    assert not beyond_noise(audit.Measure(0.1, -0.01, 0.21), 0.04)
    assert not beyond_noise(audit.Measure(0.1), 0.04)


def test_thresholds_are_the_best_there_are() -> None:
    scores, labels = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 0, 1, 1])
    for metric in ("balanced_accuracy", "f1", "mcc", "accuracy", "macro_f1"):
        assert 0.2 < threshold(scores, labels, metric, None) <= 0.3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"label": "rar"}, "did you mean 'rare'?"),
        ({"label": "rare", "metric": "speed"}, "metric: 'speed' is none of"),
        ({"label": "rare", "metric": "cost"}, "metric: 'cost' is none of"),
        ({"label": "rare", "kinds": ["luck"]}, "kinds: 'luck' is none of"),
        ({"label": "rare", "folds": 2}, "too few to know noise by"),
        ({"label": "rare", "positive": "maybe"}, "'maybe' is not one of"),
        ({"label": "rare", "features": ["rare"]}, "is one of them"),
        ({"label": "a"}, "advice is for classes"),
        ({"label": "rare", "folds": 90}, "90 folds need 180"),
        ({"label": "rare", "model": LogisticRegression()}, "cannot be learnt"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        audit.advice(skewed(), **arguments)
    assert words in str(caught.value)


def test_one_class_is_refused() -> None:
    with pytest.raises(SpecError, match="one class only"):
        audit.advice({"x": [1.0, 2], "y": [0, 0]}, "y")
