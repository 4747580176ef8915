"""How good a classifier is on skewed data: metrics with intervals, by class, with the value that costs no skill beside each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from mlport.audit.intervals import affordable, from_confusion, mean, proportion, resampled
from mlport.audit.records import Measure, Record, absent
from mlport.audit.scored import Floats, Scored

NO_LABELS = "predictions are labels: there are no scores"
NO_DECISION = "scores give an order only, and no threshold is named"
NO_PROBABILITY = "scores give an order and no probabilities"


@dataclass(frozen=True)
class ClassReport(Record):
    """One class against the rest. Precision's interval takes how often the class was predicted as given."""

    name: Any
    rows: int
    predicted: int | None
    recall: Measure
    precision: Measure
    f1: Measure
    average_precision: Measure
    average_precision_baseline: float
    roc_auc: Measure


def confusion(truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """How many rows of each class (rows) were predicted as each (columns)."""
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def accuracy(matrix: Floats) -> Floats:
    """The share of right answers; like the others here, for each matrix of a stack."""
    return np.asarray(np.trace(matrix, axis1=1, axis2=2) / matrix.sum((1, 2)))


def recalls(matrix: Floats) -> Floats:
    """Each class's recall, NaN for a class without rows."""
    right = np.diagonal(matrix, axis1=1, axis2=2)
    return _ratio(right, matrix.sum(2))


def balanced_accuracy(matrix: Floats) -> Floats:
    """The mean recall of the classes that have rows."""
    found = recalls(matrix)
    present = np.isfinite(found)
    return np.asarray(np.where(present, found, 0).sum(1) / present.sum(1))


def f1(at: int) -> Callable[[Floats], Floats]:
    """The metric F1 of class number `at`: 2 TP / (2 TP + FP + FN)."""
    return lambda matrix: _ratio(2 * matrix[:, at, at], matrix[:, at].sum(1) + matrix[:, :, at].sum(1))


def macro_f1(matrix: Floats) -> Floats:
    """The mean F1 of the classes that occur as label or prediction."""
    found = np.stack([f1(at)(matrix) for at in range(matrix.shape[1])])
    present = np.isfinite(found)
    return np.asarray(np.where(present, found, 0).sum(0) / present.sum(0))


def matthews(matrix: Floats) -> Floats:
    """Matthews' correlation, for more than two classes by J. Gorodkin, Comput. Biol. Chem. 28 (2004) 367-374; NaN where either side is constant."""
    n, right = matrix.sum((1, 2)), np.trace(matrix, axis1=1, axis2=2)
    true, predicted = matrix.sum(2), matrix.sum(1)
    below = np.sqrt((n**2 - (predicted**2).sum(1)) * (n**2 - (true**2).sum(1)))
    return _ratio(right * n - (true * predicted).sum(1), below)


def _ratio(above: Floats, below: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(below > 0, above / below, np.nan))


class Ranking:
    """One class's scores, sorted once, to give the area under both curves for any resample of the rows."""

    def __init__(self, positive: NDArray[np.bool_], score: Floats) -> None:
        values, group = np.unique(score, return_inverse=True)
        self.groups = len(values)
        self.cell = 2 * (self.groups - 1 - group) + positive  # the highest score first; twice the group, plus one for a positive
        self.n, self.positives = len(positive), int(positive.sum())

    def areas(self, drawn: NDArray[np.int64] | None = None) -> tuple[float, float]:
        """Average precision and ROC AUC of the rows `drawn` (all by default); NaN where they hold one class only."""
        cells = np.bincount(self.cell if drawn is None else self.cell[drawn], minlength=2 * self.groups).reshape(-1, 2).astype(float)
        return areas(cells[:, 1], cells[:, 0])


def areas(positives: Floats, negatives: Floats) -> tuple[float, float]:
    """Average precision and ROC AUC of groups of equal scores, the highest first, that hold so many (or such shares of) rows of each class.

    NaN where one class has none.
    """
    hits, misses = np.cumsum(positives), np.cumsum(negatives)
    if hits[-1] <= 0 or misses[-1] <= 0:
        return (np.nan, np.nan)
    seen = hits + misses
    average = np.sum(positives * np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)) / hits[-1]
    above = np.sum(negatives * (hits - positives / 2))  # each negative is beaten by the positives before it, and half by its equals
    return float(average), float(above / (hits[-1] * misses[-1]))


def ranked_measures(
    truth: NDArray[np.int64], scores: Floats, confidence: float, resamples: int, seed: int
) -> tuple[list[Measure], list[Measure], Measure, Measure]:
    """For each class its average precision and ROC AUC against the rest, and their means; `scores` are (rows, classes).

    The resamples are the same rows for each class, so that the interval of the mean is right.
    """
    n, classes = scores.shape
    rankings = [Ranking(truth == at, scores[:, at]) for at in range(classes)]
    rounds = affordable(resamples, n * classes)
    rng = np.random.default_rng(seed)
    rows = (np.asarray(rng.integers(n, size=n)) for _ in range(rounds))
    drawn = np.array([[ranking.areas(own) for ranking in rankings] for own in rows])
    exact = np.array([ranking.areas() for ranking in rankings])
    method = f"bootstrap of rows, {rounds} resamples, seed {seed}, {confidence:g}"
    none = "needs rows of the class and of another"
    found = [[resampled(exact[at, area], drawn[:, at, area], n, confidence, method, none) for at in range(classes)] for area in (0, 1)]
    one_class = "some class has no rows"
    average, area = (resampled(exact[:, of].mean(), drawn[:, :, of].mean(1), n, confidence, method, one_class) for of in (0, 1))
    return found[0], found[1], average, area


def delong(positive: NDArray[np.bool_], score: Floats, confidence: float) -> Measure:
    """ROC AUC with the interval of E. R. DeLong et al., Biometrics 44 (1988) 837-845, by midranks (X. Sun and W. Xu, 2014)."""
    m, n = int(positive.sum()), int((~positive).sum())
    if min(m, n) < 2:
        return absent("needs at least two rows of each class", m + n)
    ranks = stats.rankdata(score)
    of_positive = (ranks[positive] - stats.rankdata(score[positive])) / n
    of_negative = 1 - (ranks[~positive] - stats.rankdata(score[~positive])) / m
    area = float(of_positive.mean())
    spread = np.sqrt(of_positive.var(ddof=1) / m + of_negative.var(ddof=1) / n)
    half = float(stats.norm.ppf((1 + confidence) / 2) * spread)
    if half == 0:
        return Measure(area, n=m + n, reason="all pairs are ordered alike: DeLong's interval has no width")
    return Measure(area, max(0.0, area - half), min(1.0, area + half), m + n, f"DeLong, {confidence:g}")


def average_precision(positive: NDArray[np.bool_], score: Floats, confidence: float) -> Measure:
    """Average precision with the logit interval of K. Boyd, K. H. Eng and C. D. Page, ECML PKDD 2013, LNCS 8190, 451-466."""
    ranking = Ranking(positive, score)
    value = ranking.areas()[0]
    if not np.isfinite(value):
        return absent("needs rows of the class and of another", ranking.n)
    if value in (0, 1):
        return Measure(value, n=ranking.n, reason="at 1 the logit interval is not defined")
    half = stats.norm.ppf((1 + confidence) / 2) / np.sqrt(ranking.positives * value * (1 - value))
    low, high = special.expit(special.logit(value) + np.array([-half, half]))
    return Measure(value, float(low), float(high), ranking.n, f"logit, {confidence:g}")


def row_log_loss(scored: Scored) -> Floats:
    """Each row's log loss in nats, probabilities kept off 0 and 1 by the precision of a double, as scikit-learn does."""
    assert scored.scores is not None  # noqa: S101 - the callers know that there are probabilities
    matrix = columns(scored)
    own = matrix[np.arange(len(matrix)), scored.truth] / matrix.sum(1)
    small = np.finfo(float).eps
    return np.asarray(-np.log(np.clip(own, small, 1 - small)), float)


def columns(scored: Scored) -> Floats:
    """The scores with a column for each class: of two, the first's is 1 minus the second's, or for a mere order its negative."""
    assert scored.scores is not None  # noqa: S101
    if scored.scores.ndim == 2:
        return scored.scores
    return np.column_stack([1 - scored.scores if scored.probability else -scored.scores, scored.scores])


def overall(
    scored: Scored, confidence: float, resamples: int, seed: int
) -> tuple[dict[str, Measure], dict[str, float], tuple[ClassReport, ...], NDArray[np.int64] | None]:
    """The metrics, each one's value without skill, a report for each class, and the confusion matrix."""
    classes, n = len(scored.classes), len(scored.truth)
    rows = np.bincount(scored.truth, minlength=classes)
    metrics: dict[str, Measure] = {}
    by_class: dict[str, Measure] = {}
    if scored.predicted is None:
        metrics |= dict.fromkeys(("accuracy", "balanced_accuracy", "mcc", "macro_f1"), absent(NO_DECISION, n))
        matrix = None
    else:
        matrix = confusion(scored.truth, scored.predicted, classes)
        metrics, by_class = _decisions(matrix, confidence, resamples, seed)
    ap, auc = _areas(scored, confidence, resamples, seed, metrics)
    metrics |= _losses(scored, confidence)
    if scored.task == "binary":
        metrics |= {"average_precision": ap[1], "roc_auc": auc[1]}
    shares = rows / n
    reports = tuple(_class_report(scored, at, matrix, by_class, ap[at], auc[at], float(shares[at]), confidence) for at in range(classes))
    without = {"accuracy": float(shares.max()), "balanced_accuracy": 1 / int((rows > 0).sum()), "mcc": 0.0}
    without |= {"roc_auc": 0.5, "average_precision": float(shares[1] if scored.task == "binary" else shares.mean())}
    present = shares[shares > 0]
    without |= {"log_loss": float(-(present * np.log(present)).sum()), "brier": float(_brier_baseline(shares, scored.task))}
    return metrics, without, reports, matrix


def _brier_baseline(shares: Floats, task: str) -> float:
    return float(shares[1] * shares[0] if task == "binary" else 1 - (shares**2).sum())


def _decisions(matrix: NDArray[np.int64], confidence: float, resamples: int, seed: int) -> tuple[dict[str, Measure], dict[str, Measure]]:
    n = int(matrix.sum())
    functions: dict[str, Callable[[Floats], Floats]] = {"balanced_accuracy": balanced_accuracy, "mcc": matthews, "macro_f1": macro_f1}
    functions |= {f"f1:{at}": f1(at) for at in range(len(matrix))}
    found = from_confusion(matrix, functions, confidence, max(resamples, 2000) if len(matrix) <= 20 else resamples, seed)
    if found["mcc"].value is None:
        found["mcc"] = absent("labels or predictions are of one class only", n)
    whole = {"accuracy": proportion(int(np.trace(matrix)), n, confidence, "there are no rows")}
    whole |= {name: found[name] for name in ("balanced_accuracy", "mcc", "macro_f1")}
    return whole, {name: measure for name, measure in found.items() if name.startswith("f1:")}


def _areas(
    scored: Scored, confidence: float, resamples: int, seed: int, metrics: dict[str, Measure]
) -> tuple[list[Measure], list[Measure]]:
    classes, n = len(scored.classes), len(scored.truth)
    if scored.scores is None:
        nothing = [absent(NO_LABELS, n)] * classes
        metrics |= {"average_precision": nothing[0], "roc_auc": nothing[0]}
        return nothing, nothing
    ap, auc, metrics["average_precision"], metrics["roc_auc"] = ranked_measures(scored.truth, columns(scored), confidence, resamples, seed)
    return ap, auc


def _losses(scored: Scored, confidence: float) -> dict[str, Measure]:
    if scored.scores is None or not scored.probability:
        return dict.fromkeys(("log_loss", "brier"), absent(NO_LABELS if scored.scores is None else NO_PROBABILITY, len(scored.truth)))
    if scored.scores.ndim == 1:
        squared = (scored.scores - scored.truth) ** 2
    else:
        squared = ((scored.scores - np.eye(len(scored.classes))[scored.truth]) ** 2).sum(1)
    none = "there are no rows"
    return {"log_loss": mean(row_log_loss(scored), confidence, none), "brier": mean(squared, confidence, none)}


def _class_report(
    scored: Scored,
    at: int,
    matrix: NDArray[np.int64] | None,
    by_class: Mapping[str, Measure],
    ap: Measure,
    auc: Measure,
    share: float,
    confidence: float,
) -> ClassReport:
    rows = int((scored.truth == at).sum())
    if matrix is None:
        nothing = absent(NO_DECISION, rows)
        return ClassReport(scored.classes[at], rows, None, nothing, nothing, nothing, ap, share, auc)
    right, predicted = int(matrix[at, at]), int(matrix[:, at].sum())
    recall = proportion(right, rows, confidence, "no row is of this class")
    precision = proportion(right, predicted, confidence, "this class was never predicted")
    return ClassReport(scored.classes[at], rows, predicted, recall, precision, by_class[f"f1:{at}"], ap, share, auc)


def briefly(scored: Scored, confidence: float, seed: int) -> dict[str, Measure]:
    """The metrics of one slice, with intervals that cost little: Wilson, DeLong, the logit, and the confusion matrix's bootstrap."""
    n = len(scored.truth)
    found: dict[str, Measure] = {}
    if scored.predicted is None:
        found |= dict.fromkeys(("accuracy", "balanced_accuracy", "mcc"), absent(NO_DECISION, n))
    else:
        matrix = confusion(scored.truth, scored.predicted, len(scored.classes))
        found["accuracy"] = proportion(int(np.trace(matrix)), n, confidence, "there are no rows")
        found |= from_confusion(matrix, {"balanced_accuracy": balanced_accuracy, "mcc": matthews}, confidence, 400, seed)
        if scored.task == "binary":
            found["recall"] = proportion(int(matrix[1, 1]), int(matrix[1].sum()), confidence, "no row is of the positive class")
            found["precision"] = proportion(
                int(matrix[1, 1]), int(matrix[:, 1].sum()), confidence, "the positive class was never predicted"
            )
    if scored.task == "binary":
        positive = scored.truth == 1
        nothing = absent(NO_LABELS, n)
        found["average_precision"] = nothing if scored.scores is None else average_precision(positive, scored.scores, confidence)
        found["roc_auc"] = nothing if scored.scores is None else delong(positive, scored.scores, confidence)
    return found
