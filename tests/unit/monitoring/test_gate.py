"""The gate: the gain with its interval, the bounds, and all that lets nothing pass."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from mlport import Window
from mlport.config import Objective
from mlport.errors import SpecError
from mlport.monitoring.records import Verdict
from mlport.monitoring.specs import Gate, PerformanceSpec
from mlport.monitoring.training import gate

WINDOW = Window(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
TRIALS = 60


def judged(truth: Any, challenger: Any, champion: Any, performance: dict[str, Any] | None = None, **fields: Any) -> Verdict:
    objective = Objective.model_validate(fields.pop("objective", {}))
    spec = PerformanceSpec.model_validate(performance or {})
    return gate.verdict(truth, challenger, champion, Gate.model_validate({"min_rows": 30, **fields}), spec, objective, WINDOW)


def scores(rng: np.random.Generator, truth: Any, skill: float) -> Any:
    """Probabilities that tell the classes apart by so many standard deviations, with errors of their own."""
    return stats.norm.cdf(skill * (truth - 0.5) + rng.normal(size=len(truth)))


# ---------------------------------------------------------------- the gain


@pytest.mark.parametrize(("metric", "decided"), [("roc_auc", False), ("accuracy", True)])
def test_the_interval_of_the_gain_holds_the_true_gain_about_as_often_as_it_says(metric: str, decided: bool) -> None:
    rng = np.random.default_rng(5)

    def drawn(rows: int) -> tuple[Any, Any, Any]:
        truth = (rng.random(rows) < 0.4).astype(int)
        common = rng.normal(size=rows)
        new, old = (stats.norm.cdf(skill * (truth - 0.5) + 0.7 * common + rng.normal(size=rows)) for skill in (1.5, 1.2))
        return (truth, (new > 0.5).astype(int), (old > 0.5).astype(int)) if decided else (truth, new, old)

    truth, new, old = drawn(400_000)
    oracle = metrics.accuracy_score if decided else metrics.roc_auc_score
    true_gain = oracle(truth, new) - oracle(truth, old)
    found = [judged(*drawn(300), metric=metric) for _ in range(TRIALS)]
    covered = sum(one.low <= true_gain <= one.high for one in found if one.low is not None and one.high is not None)
    assert stats.binomtest(covered, TRIALS, 0.95).pvalue > 0.01, covered
    assert covered < TRIALS, "an interval that is never wrong is too wide"
    assert true_gain == pytest.approx(np.mean([one.gain for one in found]), abs=0.01)


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision", "accuracy", "balanced_accuracy", "mcc", "log_loss", "mae", "rmse"])
def test_values_are_those_of_the_metric_and_less_loss_is_gain(metric: str) -> None:
    rng = np.random.default_rng(1)
    truth = (rng.random(500) < 0.4).astype(int)
    new, old = scores(rng, truth, 2.0), scores(rng, truth, 1.0)
    oracle: dict[str, Any] = {
        "roc_auc": metrics.roc_auc_score,
        "average_precision": metrics.average_precision_score,
        "accuracy": lambda y, p: metrics.accuracy_score(y, p >= 0.5),
        "balanced_accuracy": lambda y, p: metrics.balanced_accuracy_score(y, p >= 0.5),
        "mcc": lambda y, p: metrics.matthews_corrcoef(y, p >= 0.5),
        "log_loss": metrics.log_loss,
        "mae": metrics.mean_absolute_error,
        "rmse": metrics.root_mean_squared_error,
    }
    number = {"task": "regression"} if metric in ("mae", "rmse") else {}
    found = judged(truth.astype(float) if number else truth, new, old, number, metric=metric)
    values = [oracle[metric](truth, side) for side in (new, old)]
    assert (found.challenger, found.champion) == pytest.approx(tuple(values))
    loss = metric in ("log_loss", "mae", "rmse")
    assert found.gain == pytest.approx(values[1] - values[0] if loss else values[0] - values[1])
    assert found.gain is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < found.gain < found.high
    assert found.passed
    swapped = judged(truth.astype(float) if number else truth, old, new, number, metric=metric)
    assert (swapped.passed, swapped.gain) == (False, pytest.approx(-found.gain))
    assert swapped.reasons[0].startswith("its gain over the champion is -")


@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([1, 3, 50]))
def test_a_prepared_metric_is_that_of_the_rows_drawn(seed: int, ties: bool, rows: int) -> None:
    rng = np.random.default_rng(seed)
    truth = (np.arange(60) % 3 == 0).astype(int)
    score = np.round(rng.random(60), 1) if ties else rng.random(60)
    from mlport.decay.captured import Answer, judge

    sides = judge(_series(truth), score, Answer())
    drawn = rng.integers(0, 60, rows)
    for name, oracle in (("roc_auc", metrics.roc_auc_score), ("accuracy", lambda y, p: metrics.accuracy_score(y, p >= 0.5))):
        value = gate._sampled(name, sides)(drawn)
        if name == "roc_auc" and len(set(truth[drawn])) < 2:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(oracle(truth[drawn], score[drawn]))


def _series(values: Any) -> Any:
    import pandas as pd

    return pd.Series(values)


# ---------------------------------------------------------------- what must be reached


def test_the_gain_wanted_and_how_sure_it_must_be() -> None:
    rng = np.random.default_rng(2)
    truth = (rng.random(400) < 0.5).astype(int)
    old = scores(rng, truth, 1.5)
    slightly = np.clip(old + 0.04 * (truth - 0.5) + rng.normal(0, 0.1, 400), 0, 1)
    one = judged(truth, slightly, old)
    assert one.gain is not None
    assert one.low is not None
    assert one.low < 0 < one.gain, one
    assert one.passed
    assert judged(truth, slightly, old, sure=True).reasons[0].startswith("its gain is not sure: the 95 % interval begins at -")
    assert judged(truth, slightly, old, least_gain=one.gain + 0.001).reasons == (
        f"its gain over the champion is {one.gain:.4g}, and {one.gain + 0.001:g} is wanted",
    )
    assert not judged(truth, old, slightly).passed
    assert judged(truth, old, slightly, least_gain=-0.2).passed
    assert judged(truth, old, old).passed, "no worse than the champion"
    assert not judged(truth, old, old, sure=True).passed


def test_the_bound_is_the_gates_else_the_objectives_of_that_metric() -> None:
    rng = np.random.default_rng(3)
    truth = (rng.random(300) < 0.5).astype(int)
    new, old = scores(rng, truth, 1.0), scores(rng, truth, 0.5)
    assert (
        judged(truth, new, old, objective={"metric": "roc_auc", "at_least": 0.9})
        .reasons[0]
        .endswith("is below 0.9, which is wanted at least")
    )
    assert judged(truth, new, old, objective={"metric": "roc_auc", "at_least": 0.9}, at_least=0.6).passed
    assert judged(truth, new, old, objective={"metric": "log_loss", "at_most": 0.1}, metric="roc_auc").passed
    loss = judged(truth, new, old, objective={"metric": "log_loss", "at_most": 0.1})
    assert (loss.metric, loss.reasons[0].endswith("is above 0.1, which is wanted at most")) == ("log_loss", True)


# ---------------------------------------------------------------- what lets nothing pass


def test_too_few_rows_one_class_and_rows_without_an_answer() -> None:
    rng = np.random.default_rng(4)
    truth = (rng.random(300) < 0.5).astype(int)
    new, old = scores(rng, truth, 3.0), scores(rng, truth, 0.5)
    few = judged(truth[:29], new[:29], old[:29])
    assert (few.passed, few.rows, few.reasons) == (False, 29, ("29 labelled rows, and 30 are needed",))
    one = judged(np.ones(300, int), new, old)
    assert (one.passed, one.reasons) == (False, ("the metric cannot be computed on these rows",))
    silent = [None if n % 3 == 0 else value for n, value in enumerate(new)]
    less = judged(truth, silent, old)
    assert (less.passed, less.rows, less.reasons) == (False, 200, ("it does not answer 100 rows that the champion does",))
    assert judged(truth, new, [None if n % 3 == 0 else value for n, value in enumerate(old)]).passed
    assert judged([None, *truth[1:]], [None, *new[1:]], old).rows == 299, "a row without a label says nothing"
    assert judged(truth, [None] * 300, old).reasons == ("0 labelled rows, and 30 are needed",)


def test_sides_that_cannot_be_compared() -> None:
    rng = np.random.default_rng(6)
    truth = (rng.random(300) < 0.5).astype(int)
    new = scores(rng, truth, 2.0)
    other = judged(truth, new, (new > 0.5).astype(int))
    assert (other.passed, other.reasons[0]) == (
        False,
        "the champion's predictions have no roc_auc: predictions are labels: there are no scores",
    )
    assert judged(truth, np.column_stack([1 - new, new]).tolist(), new).gain == pytest.approx(0.0)
    with pytest.raises(SpecError, match="metric: 'auc' is none of"):
        judged(truth, new, new, metric="auc")
    with pytest.raises(SpecError, match="cannot be computed"):
        judged(truth, (new > 0.5).astype(int), new, metric="roc_auc")
