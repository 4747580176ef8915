"""Estimates without labels: right under covariate shift at the rate they state, wrong under concept drift, which their assumptions say."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as peers
from sklearn.isotonic import IsotonicRegression

from mlport.decay import confidences, estimate
from mlport.decay.captured import Answer, judge
from mlport.decay.measures import METRICS, measure
from mlport.errors import SpecError


def classified(n: int, seed: int, *, shift: float = 0.0, drift: float = 0.0) -> pd.DataFrame:
    """A model that is too sure of itself: its scores need calibration. `shift` moves P(x), `drift` changes P(y|x)."""
    rng = np.random.default_rng(seed)
    x, w = rng.normal(shift, 1, n), rng.normal(size=n)
    share = 1 / (1 + np.exp(-((1.5 - drift) * x + w - 0.5)))
    score = 1 / (1 + np.exp(-1.7 * (1.5 * x + w - 0.3)))
    return pd.DataFrame({"x": x, "w": w, "prediction": score, "label": (rng.random(n) < share).astype(int)})


def predicted(n: int, seed: int, *, shift: float = 0.0) -> pd.DataFrame:
    """A regression whose errors grow with x."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 2, n) if not shift else rng.triangular(0, 2, 2, n)
    return pd.DataFrame({"x": x, "prediction": 3 * x, "label": 3 * x + rng.normal(size=n) * (0.5 + x)})


def test_under_covariate_shift_what_labels_give_lies_within_the_interval_as_often_as_stated() -> None:
    names, inside, widths = [name for name, metric in METRICS.items() if "binary" in metric.tasks], [], []
    for seed in range(16):
        past, now = classified(2000, seed), classified(600, seed + 1000, shift=0.5)
        before, after = (judge(each["label"], each["prediction"].to_numpy(), Answer()) for each in (past, now))
        found = confidences.estimated(before, after, names, 0.9, 100, seed)
        truth = {name: measure(name, after, 0.9, 0, 100).value for name in names}
        inside.append([found[name].low <= truth[name] <= found[name].high for name in names])
        widths.append(found["accuracy"].high - found["accuracy"].low)
    assert np.mean(inside) > 0.8
    of_labels_alone = 2 * 1.645 * np.sqrt(0.75 * 0.25 / 600)
    assert of_labels_alone * 0.9 < np.mean(widths) < of_labels_alone * 1.5  # it holds the truth, and not by being wide


def test_a_rare_class_at_the_end_of_the_scores_is_not_lost_in_wide_bins() -> None:
    """Of 2,000 rows 6% are positive, and most of them have the highest scores; bins of 100 rows missed what labels gave nine times of ten."""

    def rare(n: int, seed: int, shift: float) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        logit = 1.5 * rng.normal(shift, 1, n) + rng.normal(size=n) - 4.5
        share = 1 / (1 + np.exp(-logit))
        return pd.DataFrame({"prediction": 1 / (1 + np.exp(-1.7 * (logit + 0.2))), "label": (rng.random(n) < share).astype(int)})

    names, inside, errors = ["recall", "average_precision"], [], []
    for seed in range(16):
        before, after = (
            judge(each["label"], each["prediction"].to_numpy(), Answer()) for each in (rare(2000, seed, 0), rare(3000, seed + 1000, 0.5))
        )
        found = confidences.estimated(before, after, names, 0.9, 100, seed)
        truth = {name: measure(name, after, 0.9, 0, 100).value for name in names}
        inside.append([found[name].low <= truth[name] <= found[name].high for name in names])
        errors.append([found[name].value - truth[name] for name in names])
    assert np.mean(inside) > 0.75
    assert (np.abs(np.mean(errors, axis=0)) < 0.75 * np.std(errors, axis=0)).all()


def test_the_estimate_follows_covariate_shift_and_not_the_reference() -> None:
    past, now = classified(3000, 1), classified(3000, 2, shift=1.0)
    found = estimate(past, now.drop(columns="label"), metrics=["f1", "average_precision"], resamples=100)
    truth = peers.f1_score(now["label"], now["prediction"] >= 0.5)
    assert found.method == "CBPE"
    assert abs(found.metrics["f1"].value - truth) < 0.03 < abs(found.reference["f1"].value - truth)
    assert found.decay["f1"].value == pytest.approx(found.reference["f1"].value - found.metrics["f1"].value)


def test_under_concept_drift_it_is_wrong_and_says_that_it_cannot_tell() -> None:
    past, now = classified(3000, 1), classified(3000, 2, drift=1.5)
    found = estimate(past, now, metrics="roc_auc", resamples=100)
    truth = peers.roc_auc_score(now["label"], now["prediction"])
    assert found.metrics["roc_auc"].low - truth > 0.05
    said = {each.name: each.status for each in found.assumptions}
    assert said["no concept drift"] == said["the model did not learn from the reference"] == "cannot be checked"
    assert not found.violated
    assert found.judgement("roc_auc", 0.05) == "steady"
    blind = estimate(past, now.drop(columns="label"), metrics="roc_auc", resamples=100)
    assert blind.metrics == found.metrics


def test_expected_metrics_are_those_of_rows_weighted_by_their_probabilities() -> None:
    past, now = classified(1500, 3), classified(400, 4)
    before, after = (judge(each["label"], each["prediction"].to_numpy(), Answer()) for each in (past, now))
    names = [name for name, metric in METRICS.items() if "binary" in metric.tasks]
    found = confidences.estimated(before, after, names, 0.95, 100, 0)
    share = confidences.calibrated(confidences.curves(before), after)[:, 1]
    rows = pd.concat([now.assign(label=1, weight=share), now.assign(label=0, weight=1 - share)])
    label, score, weight = rows["label"], rows["prediction"], rows["weight"]
    hard = score >= 0.5
    given = {"sample_weight": weight}
    assert {name: found[name].value for name in names} == pytest.approx(
        {
            "accuracy": peers.accuracy_score(label, hard, **given),
            "balanced_accuracy": peers.balanced_accuracy_score(label, hard, **given),
            "mcc": peers.matthews_corrcoef(label, hard, **given),
            "macro_f1": peers.f1_score(label, hard, average="macro", **given),
            "precision": peers.precision_score(label, hard, **given),
            "recall": peers.recall_score(label, hard, **given),
            "f1": peers.f1_score(label, hard, **given),
            "roc_auc": peers.roc_auc_score(label, score, **given),
            "average_precision": peers.average_precision_score(label, score, **given),
            "log_loss": peers.log_loss(label, score, **given),
            "brier": peers.brier_score_loss(label, score, **given),
        }
    )


def test_calibration_is_near_scikit_learns_isotonic_regression_of_all_rows() -> None:
    past = classified(4000, 5)
    at = np.linspace(0.05, 0.95, 50)
    own = confidences.curve(past["prediction"].to_numpy(), past["label"].to_numpy() == 1).at(at)
    peer = IsotonicRegression().fit(past["prediction"], past["label"]).predict(at)
    assert np.abs(own - peer).mean() < 0.02
    assert (np.diff(own) >= 0).all()


def test_more_than_two_classes() -> None:
    rng = np.random.default_rng(7)

    def table(n: int, tilt: float) -> pd.DataFrame:
        shares = rng.dirichlet([1, 1, 1 + tilt], n)
        label = (rng.random((n, 1)) > np.cumsum(shares, 1)[:, :2]).sum(1)
        return pd.DataFrame({"x": shares[:, 0], "prediction": list(shares), "label": np.array(["a", "b", "c"])[label]})

    past, now = table(3000, 0), table(1000, 3)
    found = estimate(past, now.drop(columns="label"), classes=["a", "b", "c"], resamples=100)
    right = (np.array(["a", "b", "c"])[np.stack(now["prediction"]).argmax(1)] == now["label"]).mean()
    assert set(found.metrics) == {"accuracy", "balanced_accuracy", "mcc", "macro_f1", "log_loss", "brier"}
    assert found.metrics["accuracy"].low <= right <= found.metrics["accuracy"].high
    reference = judge(past["label"], np.stack(past["prediction"]), Answer(classes=["a", "b", "c"]))
    assert confidences.thresholded(reference, reference) == pytest.approx(found.reference["accuracy"].value, abs=0.001)
    assert 0.5 < found.atc_accuracy < 1


def test_losses_of_a_regression_are_learnt_and_follow_the_shift() -> None:
    past, now = predicted(2000, 1), predicted(1000, 2, shift=1)
    found = estimate(past, now.drop(columns="label"))
    truth = {
        "mae": peers.mean_absolute_error(now["label"], now["prediction"]),
        "rmse": peers.root_mean_squared_error(now["label"], now["prediction"]),
    }
    assert (found.method, found.task) == ("DLE", "regression")
    for name, value in truth.items():
        assert found.metrics[name].low <= value <= found.metrics[name].high
        assert found.reference[name].value < found.metrics[name].low
    assert found.judgement("mae") == "decayed"


def test_rows_outside_the_references_support_make_it_not_to_be_relied_on() -> None:
    past, now = classified(1000, 1).assign(where="here"), classified(600, 2).assign(where="here")
    far = now.assign(x=np.where(now.index < 100, now["x"] + 20, now["x"]))
    strange = now.assign(where=np.where(now.index < 100, "elsewhere", "here"))
    for table, column in ((far, "x"), (strange, "where")):
        found = estimate(past, table, metrics="accuracy", resamples=100)
        assert found.support.by_column[column] == pytest.approx(1 / 6, abs=0.01)
        assert [each.name for each in found.violated] == ["current rows lie within the reference's support"]
        assert found.judgement("accuracy") == "not to be relied on"
    fine = estimate(past, now, metrics="accuracy", resamples=100)
    assert not fine.violated
    assert fine.support.auc.low < 0.5 + 0.05
    assert json.loads(json.dumps(fine.to_json(), allow_nan=False))["support"]["rows"] == 600
    assert "cannot be checked" in str(fine)


def test_scores_that_cannot_be_calibrated_and_few_rows_are_said() -> None:
    past, now = classified(1000, 1), classified(30, 2)
    upside_down = past.assign(prediction=1 - past["prediction"])
    found = estimate(upside_down[["prediction", "label"]], now[["prediction"]], metrics="accuracy", resamples=100)
    assert {each.name for each in found.violated} >= {"there are enough rows"}
    rare = past[(past["label"] == 0) | (past["label"].cumsum() <= 49)]
    (few,) = estimate(rare, classified(60, 2), metrics="accuracy", resamples=100).violated
    assert (few.name, few.text.rpartition("; ")[0].rpartition("; ")[2]) == ("there are enough rows", "49 rows of the rarest class")
    assert found.support is None
    assert [finding.check for finding in found.findings] == ["features"]


@pytest.mark.parametrize(
    ("past", "now", "options", "said"),
    [
        (lambda t: t.drop(columns="label"), lambda t: t, {}, "reference: there is no column 'label'"),
        (lambda t: t.assign(label=np.nan), lambda t: t, {}, "the reference needs labels"),
        (lambda t: t.assign(label=1), lambda t: t, {}, "not every class"),
        (lambda t: t.assign(prediction=(t["prediction"] > 0.5).astype(int)), lambda t: t, {}, "needs probabilities"),
        (lambda t: t, lambda t: t.assign(prediction=np.nan), {}, "no row has a prediction"),
        (lambda t: t, lambda t: t.assign(prediction="yes"), {}, "another kind"),
        (lambda t: t, lambda t: t.iloc[:0], {}, "no rows"),
        (lambda t: t, lambda t: t.drop(columns="x"), {}, "current: there is no column 'x'"),
        (lambda t: t, lambda t: t.assign(x="high"), {}, "'x'"),
        (lambda t: t, lambda t: t, {"metrics": "mae"}, "the task is binary"),
        (lambda t: t, lambda t: t, {"features": ["z"]}, "features"),
    ],
)
def test_bad_input_is_refused_by_name(past: object, now: object, options: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        estimate(past(classified(300, 1)), now(classified(100, 2)), resamples=100, **options)
