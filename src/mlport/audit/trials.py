"""One way of training, tried on every fold: fitted to the fold's training rows alone, judged on the rows that it left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from threadpoolctl import threadpool_limits

from mlport.audit import classification
from mlport.audit.decisions import best_threshold
from mlport.audit.records import Measure
from mlport.errors import SpecError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Fold = tuple[Ints, Ints]
INNER = 3
Q = 0.05
DECIDED = ("balanced_accuracy", "mcc", "f1", "macro_f1", "accuracy", "cost")
"""Metrics of decisions; the others are of scores, and no threshold changes them."""
Decide = Literal["highest", "theory", "tuned"]
"""By the highest score; as is best by the metric were the scores exact probabilities; or by a threshold chosen on the training rows."""


@dataclass(frozen=True)
class Problem:
    """Rows to learn from: features, labels numbered from 0, the folds, and costs by (true, predicted) if any."""

    features: Any
    labels: Ints
    classes: int
    folds: Sequence[Fold]
    costs: Floats | None
    metric: str


@dataclass(frozen=True)
class Judged:
    """One fold's rows, their scores (a column for each class), and the classes predicted."""

    rows: Ints
    scores: Floats
    predicted: Ints


Training = Callable[[Any, Ints], Any]
"""Makes a fitted model with predict_proba from features and labels."""
Pick = Callable[[Ints], Ints]
"""Some of a fold's training rows, which are given by their numbers."""


def probabilities(fitted: Any, features: Any, classes: int) -> Floats:
    """A column for each class, zero for those that the model has not seen."""
    found = np.zeros((len(features), classes))
    found[:, np.asarray(fitted.classes_, int)] = fitted.predict_proba(features)
    return found


def metrics_of(labels: Ints, scores: Floats, predicted: Ints, costs: Floats | None) -> dict[str, float]:
    """Every metric of one fold, the larger the better: losses and costs are negative."""
    classes = scores.shape[1]
    matrix = classification.confusion(labels, predicted, classes)[None].astype(float)
    found = {"accuracy": classification.accuracy(matrix), "balanced_accuracy": classification.balanced_accuracy(matrix)}
    found |= {"mcc": np.nan_to_num(classification.matthews(matrix)), "macro_f1": classification.macro_f1(matrix)}
    if classes == 2:
        found["f1"] = np.nan_to_num(classification.f1(1)(matrix))
    plain = {name: float(value[0]) for name, value in found.items()}
    areas = [classification.Ranking(labels == at, scores[:, at]).areas() for at in ([1] if classes == 2 else range(classes))]
    plain["average_precision"], plain["roc_auc"] = (float(value) for value in np.nanmean(areas, axis=0))
    small = np.finfo(float).eps
    plain["log_loss"] = float(np.log(np.clip(scores[np.arange(len(labels)), labels], small, 1)).mean())
    if costs is not None:
        plain["cost"] = -float(costs[labels, predicted].mean())
    return plain


def predictions(problem: Problem, train: Training, *, rows: Pick | None = None, decide: Decide = "highest") -> list[Judged]:
    """What is said of each fold's rows. `rows` picks among a fold's training rows; a threshold is chosen on those rows, too."""
    found = []
    for training, judged in problem.folds:
        own = training if rows is None else rows(training)
        with threadpool_limits(1):  # for so few rows threads wait for each other more than they help
            scores = _scores(problem, train, own, judged)
            predicted = _decided(problem, train, training, rows, scores, decide)
        found.append(Judged(judged, scores, np.asarray(predicted, np.int64)))
    return found


def measured(problem: Problem, judged: Sequence[Judged], over: NDArray[np.bool_] | None = None) -> list[dict[str, float]]:
    """The metrics of every fold, of its rows in `over` alone if that is given."""
    found = []
    for fold in judged:
        kept = slice(None) if over is None else over[fold.rows]
        found.append(metrics_of(problem.labels[fold.rows[kept]], fold.scores[kept], fold.predicted[kept], problem.costs))
    return found


def tried(problem: Problem, train: Training) -> list[dict[str, float]]:
    """The metrics of every fold, deciding by the highest score."""
    return measured(problem, predictions(problem, train))


def _scores(problem: Problem, train: Training, own: Ints, judged: Ints) -> Floats:
    """What a model fitted to the rows `own` gives the rows `judged`. Raises SpecError where it cannot learn from the features."""
    try:
        fitted = train(problem.features.iloc[own], problem.labels[own])
        return probabilities(fitted, problem.features.iloc[judged], problem.classes)
    except (ValueError, TypeError, AttributeError) as error:
        hint = "numbers without gaps suit every classifier; without `model` features are encoded"
        raise SpecError(f"model: the features cannot be learnt: {error}", hint=hint) from error


def _decided(problem: Problem, train: Training, training: Ints, rows: Pick | None, scores: Floats, decide: Decide) -> Any:
    metric, labels = problem.metric, problem.labels[training]
    if decide == "highest" or metric not in DECIDED or metric == "accuracy":
        return scores.argmax(1)
    if problem.classes > 2 or (decide == "theory" and metric in ("cost", "balanced_accuracy")):
        if metric == "cost" and problem.costs is not None:
            return (scores @ problem.costs).argmin(1)
        return (scores / np.maximum(np.bincount(labels, minlength=problem.classes) / len(labels), 1e-12)).argmax(1)
    from sklearn.model_selection import StratifiedKFold

    inner = np.empty(len(training))
    for rest, held in StratifiedKFold(INNER, shuffle=True, random_state=0).split(training, labels):
        own = training[rest] if rows is None else rows(training[rest])
        inner[held] = _scores(problem, train, own, training[held])[:, 1]
    return (scores[:, 1] >= threshold(inner, labels, metric, problem.costs)).astype(int)


def threshold(scores: Floats, labels: Ints, metric: str, costs: Floats | None) -> float:
    """The threshold on these scores that is best by `metric`: exactly for costs, else of two hundred quantiles."""
    if metric == "cost" and costs is not None:
        return best_threshold(labels, scores, costs)
    options = np.unique(np.quantile(scores, np.linspace(0, 1, 201)))
    matrices = np.stack([classification.confusion(labels, (scores >= cut).astype(np.int64), 2) for cut in options]).astype(float)
    functions: Mapping[str, Callable[[Floats], Floats]] = {
        "balanced_accuracy": classification.balanced_accuracy,
        "accuracy": classification.accuracy,
        "mcc": classification.matthews,
        "f1": classification.f1(1),
        "macro_f1": classification.macro_f1,
    }
    return float(options[int(np.nan_to_num(functions[metric](matrices), nan=-1).argmax())])


def compared(differences: Floats, share_held_out: float, confidence: float) -> tuple[Measure, float]:
    """The mean of a fold-by-fold gain, and the one-sided p-value that there is none.

    Folds share training rows, so their variance is corrected: (1/k + n2/n1) s^2 (C. Nadeau and Y. Bengio, Machine Learning 52
    (2003) 239-281; for repeated cross-validation R. Bouckaert and E. Frank, 2004).
    """
    k = len(differences)
    centre = float(differences.mean())
    error = float(np.sqrt((1 / k + share_held_out / (1 - share_held_out)) * differences.var(ddof=1)))
    half = float(stats.t.ppf((1 + confidence) / 2, k - 1)) * error
    p = float(stats.t.sf(centre / error, k - 1)) if error > 0 else (0.0 if centre > 0 else 1.0)
    return Measure(centre, centre - half, centre + half, k, f"corrected resampled t, {k} folds, {confidence:g}"), p


def beyond_noise(gain: Measure, q: float) -> bool:
    """Whether a gain may be recommended: adjusted for how many were tried, and with an interval above zero."""
    return q <= Q and gain.low is not None and gain.low > 0
