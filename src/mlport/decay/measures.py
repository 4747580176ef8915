"""One metric of rows with labels, with its interval; and how much worse it is than another, as an effect against a margin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mlport.audit import classification, regression
from mlport.audit.intervals import from_confusion, mean, proportion
from mlport.audit.records import Measure, absent
from mlport.audit.scored import Floats, Regressed, Scored
from mlport.errors import SpecError

NO_ROWS = "there are no labelled rows"
SHARE_MARGIN = 0.02
RELATIVE_MARGIN = 0.05
Judgement = Literal["decayed", "steady", "undecided"]


@dataclass(frozen=True)
class Metric:
    """What is known of a metric: whether more is better, whether it has a fixed scale of 0 to 1 (or -1 to 1), and what it is of."""

    greater_is_better: bool
    of: Literal["decision", "score", "probability", "number"]
    tasks: tuple[str, ...]

    @property
    def fixed_scale(self) -> bool:
        return self.greater_is_better


_BINARY, _CLASSES, _NUMBERS = ("binary",), ("binary", "multiclass"), ("regression",)
METRICS = {
    "accuracy": Metric(True, "decision", _CLASSES),
    "balanced_accuracy": Metric(True, "decision", _CLASSES),
    "mcc": Metric(True, "decision", _CLASSES),
    "macro_f1": Metric(True, "decision", _CLASSES),
    "precision": Metric(True, "decision", _BINARY),
    "recall": Metric(True, "decision", _BINARY),
    "f1": Metric(True, "decision", _BINARY),
    "roc_auc": Metric(True, "score", _BINARY),
    "average_precision": Metric(True, "score", _BINARY),
    "log_loss": Metric(False, "probability", _CLASSES),
    "brier": Metric(False, "probability", _CLASSES),
    "mae": Metric(False, "number", _NUMBERS),
    "rmse": Metric(False, "number", _NUMBERS),
}
DECISIONS: dict[str, Callable[[Floats], Floats]] = {
    "accuracy": classification.accuracy,
    "balanced_accuracy": classification.balanced_accuracy,
    "mcc": classification.matthews,
    "macro_f1": classification.macro_f1,
    "precision": lambda matrix: classification.recalls(matrix.transpose(0, 2, 1))[:, 1],
    "recall": lambda matrix: classification.recalls(matrix)[:, 1],
    "f1": classification.f1(1),
}
"""Metrics of a stack of confusion matrices of shape (stack, true, predicted)."""


def metric_for(name: str | None, found: Scored | Regressed) -> str:
    """The metric as asked for, else ROC AUC of two classes' scores, MAE of numbers, balanced accuracy of the rest.

    Raises:
        SpecError: there is no such metric, or the task or the predictions have none such.
    """
    task = found.task if isinstance(found, Scored) else "regression"
    if name is None:
        return (
            "mae" if isinstance(found, Regressed) else "roc_auc" if task == "binary" and found.scores is not None else "balanced_accuracy"
        )
    if name not in METRICS:
        raise SpecError(f"metric: {name!r} is none of {', '.join(METRICS)}")
    if why := unfit(name, found):
        raise SpecError(f"metric: {name!r} cannot be computed: {why}")
    return name


def unfit(name: str, found: Scored | Regressed) -> str | None:
    """Why these predictions have no such metric; None where they have."""
    metric = METRICS[name]
    task = found.task if isinstance(found, Scored) else "regression"
    if task not in metric.tasks:
        return f"the task is {task}, and it is for {' or '.join(metric.tasks)}"
    if isinstance(found, Regressed):
        return None if found.predicted is not None else regression.NO_POINT
    if metric.of == "decision":
        return classification.NO_DECISION if found.predicted is None else None
    if found.scores is None:
        return classification.NO_LABELS
    return classification.NO_PROBABILITY if metric.of == "probability" and not found.probability else None


def measure(name: str, found: Scored | Regressed, confidence: float, seed: int, resamples: int = 1000) -> Measure:
    """The metric of these rows. Intervals: Wilson, DeLong, the logit, Student's t, or the confusion matrix's bootstrap."""
    n = len(found.truth)
    if n == 0:
        return absent(NO_ROWS, 0)
    if isinstance(found, Regressed):
        assert found.predicted is not None  # noqa: S101 - `unfit` has refused it
        return regression.briefly(found.truth, found.predicted, confidence)[name]
    if METRICS[name].of == "decision":
        return _decision(name, found, confidence, resamples, seed)
    assert found.scores is not None  # noqa: S101
    if name == "roc_auc":
        return classification.delong(found.truth == 1, found.scores, confidence)
    if name == "average_precision":
        return classification.average_precision(found.truth == 1, found.scores, confidence)
    return mean(classification.row_log_loss(found) if name == "log_loss" else _row_brier(found), confidence, NO_ROWS)


def _row_brier(found: Scored) -> Floats:
    """Each row's squared error of the probability, for more than two classes summed over them."""
    assert found.scores is not None  # noqa: S101
    if found.scores.ndim == 1:
        return np.asarray((found.scores - found.truth) ** 2)
    return np.asarray(((found.scores - np.eye(len(found.classes))[found.truth]) ** 2).sum(1))


def _decision(name: str, found: Scored, confidence: float, resamples: int, seed: int) -> Measure:
    assert found.predicted is not None  # noqa: S101
    matrix = classification.confusion(found.truth, found.predicted, len(found.classes))
    if name == "accuracy":
        return proportion(int(np.trace(matrix)), int(matrix.sum()), confidence, NO_ROWS)
    if name == "recall":
        return proportion(int(matrix[1, 1]), int(matrix[1].sum()), confidence, "no row is of the positive class")
    if name == "precision":
        return proportion(int(matrix[1, 1]), int(matrix[:, 1].sum()), confidence, "the positive class was never predicted")
    if name == "balanced_accuracy" and (matrix.sum(1) == 0).any():
        return absent("not every class has labels", int(matrix.sum()))
    return from_confusion(matrix, {name: DECISIONS[name]}, confidence, resamples, seed)[name]


def loss(name: str, reference: Measure, value: Measure) -> Measure:
    """How much worse `value` is than `reference`; negative where it is better.

    The interval is made of both intervals (MOVER: G. Y. Zou and A. Donner, Statistics in Medicine 27 (2008) 1693-1702); a reference
    without one counts as exact.

    >>> print(loss("accuracy", Measure(0.8, 0.78, 0.82), Measure(0.7, 0.67, 0.73)))
    0.1 (0.0639 to 0.136)
    """
    if value.value is None or reference.value is None:
        return absent(value.reason or reference.reason or "it is not known", value.n)
    first, second = (reference, value) if METRICS[name].greater_is_better else (value, reference)
    assert first.value is not None and second.value is not None  # noqa: S101, PT018
    effect = first.value - second.value
    if value.low is None or value.high is None:
        return Measure(effect, n=value.n, reason=value.reason or "it has no interval")
    (low, high), (other_low, other_high) = ((each.low, each.high) for each in (first, second))
    below = np.hypot(0 if low is None else first.value - low, 0 if other_high is None else other_high - second.value)
    above = np.hypot(0 if high is None else high - first.value, 0 if other_low is None else second.value - other_low)
    return Measure(effect, float(effect - below), float(effect + above), value.n, f"MOVER of: {value.method}")


def judged(effect: Measure, margin: float) -> Judgement:
    """`decayed` where the whole interval is worse than the margin, `steady` where all of it is within, else `undecided`."""
    if effect.low is None or effect.high is None:
        return "undecided"
    return "decayed" if effect.low > margin else "steady" if effect.high <= margin else "undecided"


def margin_for(name: str, reference: Measure, margin: float | None) -> float:
    """The margin as asked for; else 0.02 of a metric with a fixed scale, and 5% of the reference's value of a loss."""
    if margin is None:
        return SHARE_MARGIN if METRICS[name].fixed_scale else RELATIVE_MARGIN * abs(reference.value or 0.0)
    if not 0 <= margin < np.inf:
        raise SpecError(f"margin: {margin} is not a number from 0 on", hint="how much worse is still fine, in units of the metric")
    return margin
