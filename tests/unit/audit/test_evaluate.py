"""Metrics equal scikit-learn's, costs equal brute force, calibration and skill are judged beyond noise, and bad input is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlport import audit
from mlport.audit import classification, decisions
from mlport.errors import SpecError

FAST = settings(deadline=None, derandomize=True, max_examples=25)


@given(st.integers(0, 2**32 - 1), st.integers(8, 200), st.booleans())
@FAST
def test_two_classes_as_scikit_learn_has_them(seed: int, n: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    truth = np.concatenate([[0, 1], rng.integers(0, 2, n)])
    score = np.round(rng.random(n + 2), 1 if ties else 12)
    found = audit.evaluate(truth, score, threshold=0.3, resamples=100)
    predicted = score >= 0.3
    value = {name: measure.value for name, measure in found.metrics.items()}
    assert value["accuracy"] == pytest.approx(metrics.accuracy_score(truth, predicted))
    assert value["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, predicted))
    assert value["average_precision"] == pytest.approx(metrics.average_precision_score(truth, score))
    assert value["roc_auc"] == pytest.approx(metrics.roc_auc_score(truth, score))
    assert value["log_loss"] == pytest.approx(metrics.log_loss(truth, score))
    assert value["brier"] == pytest.approx(metrics.brier_score_loss(truth, score))
    assert (value["mcc"] or 0) == pytest.approx(metrics.matthews_corrcoef(truth, predicted))
    assert found.confusion == tuple(map(tuple, metrics.confusion_matrix(truth, predicted).tolist()))
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(truth, predicted, zero_division=0)
    for at, each in enumerate(found.by_class):
        assert (each.precision.value or 0, each.recall.value, each.f1.value) == pytest.approx((precision[at], recall[at], f1[at]))


@given(st.integers(0, 2**32 - 1), st.integers(3, 6))
@FAST
def test_many_classes_as_scikit_learn_has_them(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"c{at}" for at in range(classes)]
    codes = np.concatenate([np.arange(classes), rng.integers(0, classes, 60)])
    score = rng.dirichlet(np.ones(classes), len(codes))
    truth = np.array(names)[codes]
    found = audit.evaluate(truth, score, resamples=100)
    predicted = np.array(names)[score.argmax(1)]
    value = {name: measure.value for name, measure in found.metrics.items()}
    assert value["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, predicted))
    assert value["mcc"] == pytest.approx(metrics.matthews_corrcoef(truth, predicted))
    assert value["macro_f1"] == pytest.approx(metrics.f1_score(truth, predicted, average="macro"))
    assert value["log_loss"] == pytest.approx(metrics.log_loss(truth, score, labels=names))
    assert value["roc_auc"] == pytest.approx(metrics.roc_auc_score(truth, score, multi_class="ovr"))
    assert value["average_precision"] == pytest.approx(metrics.average_precision_score(np.eye(classes)[codes], score))
    assert found.task == "multiclass"


def test_mcc_as_published() -> None:
    """Eight cats of which six are found, four dogs of which three: TP 6, FN 2, FP 1, TN 3 give 0.478."""
    truth, predicted = [1] * 8 + [0] * 4, [1] * 6 + [0] * 2 + [0] * 3 + [1]
    assert audit.evaluate(truth, predicted).metrics["mcc"].value == pytest.approx(0.478, abs=5e-4)


def test_delong_is_its_own_definition() -> None:
    """By all pairs: the variance of the mean comparison over positives and over negatives."""
    rng = np.random.default_rng(3)
    positive, score = rng.random(80) < 0.4, np.round(rng.random(80), 1)
    above = (score[positive][:, None] > score[~positive]) + 0.5 * (score[positive][:, None] == score[~positive])
    error = np.sqrt(above.mean(1).var(ddof=1) / positive.sum() + above.mean(0).var(ddof=1) / (~positive).sum())
    found = classification.delong(positive, score, 0.95)
    assert found.value == pytest.approx(above.mean())
    assert found.high == pytest.approx(above.mean() + 1.959964 * error)


def test_intervals_cover_as_often_as_they_say() -> None:
    """ROC AUC by the bootstrap and DeLong, average precision by the logit: nine in ten within what 150 samples can tell."""
    rng = np.random.default_rng(0)
    big = rng.random(200_000) < 0.2
    strength = rng.normal(size=len(big)) + big
    area, precision = metrics.roc_auc_score(big, strength), metrics.average_precision_score(big, strength)
    inside = np.zeros(3)
    for at in range(150):
        rows = slice(at * 400, at * 400 + 400)
        found = audit.evaluate(big[rows], strength[rows], scores="ranking", confidence=0.9, resamples=100, seed=at).metrics["roc_auc"]
        delong = classification.delong(big[rows], strength[rows], 0.9)
        logit = classification.average_precision(big[rows], strength[rows], 0.9)
        inside += [(each.low or 0) <= truth <= (each.high or 0) for each, truth in ((found, area), (delong, area), (logit, precision))]
    assert (inside / 150 > 0.82).all(), inside / 150


def test_real_data_by_every_table_and_label() -> None:
    features, truth = load_breast_cancer(return_X_y=True)
    score = cross_val_predict(make_pipeline(StandardScaler(), LogisticRegression()), features, truth, method="predict_proba")
    plain = audit.evaluate(truth, score[:, 1])
    assert plain.metrics["roc_auc"].value == pytest.approx(metrics.roc_auc_score(truth, score[:, 1]))
    assert audit.evaluate(pa.array(truth), pl.Series(score[:, 1])).to_json() == plain.to_json()
    assert audit.evaluate(truth, score).to_json() == plain.to_json()
    assert audit.evaluate(truth.astype(bool), score[:, 1]).metrics == plain.metrics
    named = pl.DataFrame({"good": score[:, 1], "bad": score[:, 0]})
    text = audit.evaluate(np.where(truth == 1, "good", "bad"), named, positive="good")
    assert text.metrics == plain.metrics
    assert json.loads(json.dumps(plain.to_json()))["metrics"]["roc_auc"]["method"].startswith("bootstrap of rows, 400 resamples, seed 0")
    assert "positive class 1 from 0.5 on" in plain.text()
    assert not [finding for finding in plain.findings if finding.severity == "problem"]


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 20), st.floats(0.1, 20))
@FAST
def test_the_cheapest_threshold_is_that_of_brute_force(seed: int, false_alarm: float, missed: float) -> None:
    rng = np.random.default_rng(seed)
    score, truth = np.round(rng.random(50), 1), rng.integers(0, 2, 50)
    matrix = decisions.cost_matrix({"false_positive": false_alarm, "false_negative": missed}, (0, 1))
    cost = {cut: matrix[truth, (score >= cut).astype(int)].sum() for cut in (*score, 1.1)}
    best = decisions.best_threshold(truth, score, matrix)
    assert matrix[truth, (score >= best).astype(int)].sum() == pytest.approx(min(cost.values()))


def test_costs_of_exact_probabilities() -> None:
    """Elkan's threshold is found again, saves beyond noise, and the saving is judged on rows it was not chosen on."""
    rng = np.random.default_rng(1)
    score = rng.beta(0.5, 4, 20_000)
    truth = (rng.random(20_000) < score).astype(int)
    found = audit.evaluate(truth, score, costs={"false_positive": 1, "false_negative": 9}).costs
    assert found is not None
    assert found.if_calibrated == pytest.approx(0.1)
    assert found.cheapest == pytest.approx(0.1, abs=0.03)
    assert found.worthwhile
    three = audit.evaluate(
        np.array(list("abc"))[rng.integers(0, 3, 300)], rng.dirichlet(np.ones(3), 300), costs={("a", "b"): 1.0, ("c", "a"): 5}
    ).costs
    assert three is not None
    assert (three.cheapest, three.always) == (None, "c")


def test_a_saving_is_judged_on_rows_that_chose_nothing() -> None:
    """Scores that say nothing: a threshold chosen on the rows it is judged on would always seem to save."""
    savings, worthwhile = [], 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        found = audit.evaluate(
            rng.integers(0, 2, 60), rng.random(60), costs={"false_positive": 1, "false_negative": 1}, resamples=100
        ).costs
        assert found is not None
        savings.append(found.saving.value or 0)
        worthwhile += found.worthwhile
    assert abs(np.mean(savings)) < 0.03
    assert worthwhile <= 6


def test_calibration_and_skill_are_judged_beyond_noise() -> None:
    rng = np.random.default_rng(0)
    off = []
    for seed in range(40):
        score = rng.random(500)
        off.append(audit.evaluate(rng.random(500) < score, score, resamples=100, seed=seed).calibration.is_off)  # type: ignore[union-attr]
    assert sum(off) <= 6
    score = rng.random(3000)
    bent = audit.evaluate(rng.random(3000) < score**2, score)
    assert bent.calibration is not None
    assert bent.calibration.is_off
    assert bent.calibration.bias == pytest.approx(1 / 6, abs=0.03)
    blind = audit.evaluate(rng.random(400) < 0.1, np.full(400, 0.1))
    checks = {finding.check for finding in blind.findings if finding.severity == "problem"}
    assert checks == {"skill", "class"}
    assert {finding.check for finding in blind.findings} >= {"metric"}


def test_numbers_as_scikit_learn_has_them() -> None:
    features, truth = load_diabetes(return_X_y=True)
    predicted = cross_val_predict(LinearRegression(), features, truth)
    found = audit.evaluate(truth, predicted)
    value = {name: measure.value for name, measure in found.metrics.items()}
    assert found.task == "regression"
    assert value["mae"] == pytest.approx(metrics.mean_absolute_error(truth, predicted))
    assert value["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, predicted))
    assert value["r2"] == pytest.approx(metrics.r2_score(truth, predicted))
    assert value["median_absolute_error"] == pytest.approx(metrics.median_absolute_error(truth, predicted))
    levels = {level: predicted + shift for level, shift in ((0.1, -60), (0.5, 0), (0.9, 60))}
    quantiles = audit.evaluate(truth, levels).metrics
    for level, values in levels.items():
        assert quantiles[f"pinball_{level:g}"].value == pytest.approx(metrics.mean_pinball_loss(truth, values, alpha=level))
    assert quantiles["below_0.9"].value == pytest.approx((truth <= predicted + 60).mean())
    assert quantiles["mae"] == found.metrics["mae"]


def test_what_cannot_be_computed_has_a_reason() -> None:
    one = audit.evaluate([0, 0, 0, 0], [0.1, 0.2, 0.6, 0.3])
    assert one.metrics["roc_auc"].value is None
    assert "of another" in str(one.by_class[1].roc_auc)
    assert one.by_class[1].recall.value is None
    assert [finding.severity for finding in one.findings if finding.subject == "1"] == ["problem"]
    labels = audit.evaluate(["a", "b", "a", "b"], ["a", "b", "b", "b"])
    assert labels.metrics["roc_auc"].reason == "predictions are labels: there are no scores"
    ranking = audit.evaluate([0, 1, 0, 1], [-3.0, 7.0, 1.0, 2.0], scores="ranking")
    assert (ranking.metrics["roc_auc"].value, ranking.metrics["accuracy"].value, ranking.calibration) == (1.0, None, None)
    gaps = audit.evaluate([0, 1, None, 1, 0], [0.1, np.nan, 0.5, 0.9, 0.2])
    assert (gaps.rows, dict(gaps.left_out)) == (3, {"without a label": 1, "without a score": 1})
    assert json.dumps(one.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("truth", "score", "arguments", "words"),
    [
        ([], [], {}, "y_true: is empty"),
        ([0, 1], [0.5], {}, "has 1 rows and y_true has 2"),
        ([np.nan, np.nan], [0.5, 0.5], {}, "every label is missing"),
        ([0, 1], [np.nan, np.nan], {}, "y_score: every row is missing"),
        ([0, 1], [-0.5, 1.5], {}, "2 of 2 values are not between 0 and 1"),
        ([0, 1], [0.5, np.inf], {}, "infinite"),
        ([0, 1], ["0", "1"], {}, "of different types: number, str"),
        (["a", "a"], ["a", "a"], {}, "one class only, 'a'"),
        (["a", "b"], [0.1, 0.9], {}, "of which class"),
        (["a", "b"], [0.1, 0.9], {"positive": "c"}, "not one of the two classes"),
        (["a", "b", "c"], [0.1, 0.9, 0.3], {}, "more than two classes"),
        (["a", "b", "c"], [[0.1, 0.9, 0.3]] * 3, {}, "do not sum to 1"),
        (["a", "b", "c"], [[0.5, 0.5, 0, 0]] * 3, {}, "4 columns for 3 classes"),
        (["a", "b", "d"], pd.DataFrame([[0.1, 0.8, 0.1]] * 3, columns=list("abc")), {}, "'d' is none of the classes"),
        ([0.5, 1.5, 2.5], ["x", "y", "z"], {}, "regression needs numbers"),
        ([0.5, 1.5, 2.5], {1.5: [1, 2, 3]}, {}, "1.5 is no quantile"),
        ([0.5, 1.5, 2.5], [1.0, 2, 3], {"costs": {"false_positive": 1}}, "are for classification"),
        ([0, 1], [0.1, 0.9], {"costs": {"false_alarm": 1}}, "'false_alarm' is none of"),
        ([0, 1], [0.1, 0.9], {"costs": {"false_positive": 0}}, "nothing costs anything"),
        ([0, 1], [0.1, 0.9], {"slices": {"hour": [1, 2]}, "by": "houre"}, "did you mean 'hour'?"),
        ([0, 1], [0.1, 0.9], {"slices": {"hour": [1, 2, 3]}}, "slices: has 3 rows"),
        ([0, 1], [0.1, 0.9], {"by": "hour"}, "there are none"),
        ([0, 1], [0.1, 0.9], {"min_rows": 3}, "too few to tell a bad slice from bad luck"),
        ([0, 1], [0.1, 0.9], {"confidence": 95}, "not between 0 and 1"),
        ([0, 1], [0.1, 0.9], {"task": "ranking"}, "none of binary"),
    ],
)
def test_bad_input_is_named(truth: Any, score: Any, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        audit.evaluate(truth, score, **arguments)
    assert words in str(caught.value)
