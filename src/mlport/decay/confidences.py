"""Performance of a classifier without labels, from what its own probabilities promise once the reference has calibrated them (CBPE).

As NannyML's documentation describes it: each row adds its calibrated probability to the expected confusion matrix; J. Bialek et al., NeurIPS
2025 (arXiv:2401.08348), compare it with others. S. Garg et al., Leveraging unlabeled data to predict
out-of-distribution performance, ICLR 2022, is the average thresholded confidence (ATC).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mlport.audit.calibration import Calibration, calibration
from mlport.audit.classification import areas, columns
from mlport.audit.intervals import affordable, resampled
from mlport.audit.records import Measure
from mlport.audit.scored import Floats, Scored
from mlport.decay.measures import DECISIONS, METRICS

BIN_ROWS = 40
FEWEST_BINS, MOST_BINS = 10, 500


@dataclass(frozen=True)
class Curve:
    """A class's scores on the reference in bins of like size: where each lies, its rows, and how many were of the class."""

    scores: Floats
    rows: NDArray[np.int64]
    hits: NDArray[np.int64]

    def at(self, scores: Floats, rng: np.random.Generator | None = None) -> Floats:
        """The calibrated probability of `scores`, by isotonic regression (B. Zadrozny and C. Elkan, KDD 2002); of rows drawn again with `rng`."""
        from sklearn.isotonic import isotonic_regression

        rows, hits = self.rows, self.hits
        if rng is not None:
            rows = rng.multinomial(rows.sum(), rows / rows.sum())
            hits = rng.binomial(rows, (self.hits + 0.5) / (self.rows + 1))  # Jeffreys' prior: a bin of one class only is not certain
        used = rows > 0
        values = isotonic_regression(hits[used] / rows[used], sample_weight=rows[used].astype(float), y_min=0, y_max=1)
        return np.asarray(np.interp(scores, self.scores[used], values), float)


def curve(scores: Floats, hit: NDArray[np.bool_]) -> Curve:
    """The bins of one class, in which it and the rest weigh the same: where a rare class lies, bins are finer.

    Wide bins are biased: within one the probability changes, and beyond the middle of the last it is taken to stay.
    """
    bins = int(np.clip(len(scores) // BIN_ROWS, FEWEST_BINS, MOST_BINS))
    order = np.argsort(scores, kind="stable")
    mass = np.cumsum(np.where(hit, 0.5 / max(hit.sum(), 1), 0.5 / max((~hit).sum(), 1))[order])
    edges = np.unique(scores[order][np.searchsorted(mass, np.linspace(0, mass[-1], bins + 1)[1:-1])])
    place = np.searchsorted(edges, scores, side="right")
    rows = np.bincount(place)
    used = rows > 0
    centre = np.bincount(place, weights=scores)[used] / rows[used]
    return Curve(centre, rows[used], np.bincount(place, weights=hit)[used].astype(np.int64))


def curves(found: Scored) -> list[Curve]:
    """A curve for each class; of two only that of the positive one."""
    scores = columns(found)
    return [curve(scores[:, at], found.truth == at) for at in _classes(found)]


def _classes(found: Scored) -> Iterable[int]:
    return (1,) if len(found.classes) == 2 else range(len(found.classes))


def calibrated(own: list[Curve], found: Scored, rng: np.random.Generator | None = None) -> Floats:
    """Each row's probability of each class."""
    scores = columns(found)
    parts = [each.at(scores[:, at], rng) for each, at in zip(own, _classes(found), strict=True)]
    if len(parts) == 1:
        return np.column_stack([1 - parts[0], parts[0]])
    together = np.column_stack(parts)
    total = together.sum(1, keepdims=True)
    return np.asarray(np.where(total > 0, together / np.where(total > 0, total, 1), 1 / len(parts)))


def on_reference(reference: Scored, confidence: float, seed: int) -> Calibration:
    """How well calibration does on rows that it was not fitted on: half of the reference by the other, both ways."""
    half = np.random.default_rng(seed).permutation(len(reference.truth)) % 2 == 0
    found = np.zeros((len(half), len(reference.classes)))
    for mask in (half, ~half):
        found[mask] = calibrated(curves(reference.part(~mask)), reference.part(mask))
    scores = found[:, 1] if len(reference.classes) == 2 else found
    made = calibration(replace(reference, scores=scores, probability=True), confidence, seed)
    assert made is not None  # noqa: S101 - there are probabilities
    return made


def estimated(reference: Scored, current: Scored, names: Iterable[str], confidence: float, resamples: int, seed: int) -> dict[str, Measure]:
    """Each metric as expected on `current` (whose `truth` is not looked at), with the interval of what its labels will give.

    The interval is of draws of both what calibration saw (the reference's rows again) and of the labels (from the probabilities).
    """
    own, wanted = curves(reference), list(names)
    n, rounds, rng = len(current.truth), affordable(resamples, len(current.truth)), np.random.default_rng(seed)
    order = _Order(current)
    expected = order.metrics(calibrated(own, current), wanted)
    draws: dict[str, list[float]] = {name: [] for name in wanted}
    for _ in range(rounds):
        each = calibrated(own, current, rng)
        label = (rng.random((n, 1)) > np.cumsum(each, axis=1)[:, :-1]).sum(1)
        for name, value in order.metrics(np.eye(each.shape[1])[label], wanted).items():
            draws[name].append(value)
    method = f"CBPE, {rounds} draws of the reference and of labels, seed {seed}, {confidence:g}"
    return {name: resampled(expected[name], _about(expected[name], np.array(draws[name])), n, confidence, method) for name in wanted}


def _about(centre: float, draws: Floats) -> Floats:
    """The draws moved to have `centre` as their mean: fitting drawn rows makes probabilities more extreme than fitting the rows did."""
    finite = np.isfinite(draws)
    return draws + (centre - draws[finite].mean()) if finite.any() else draws


class _Order:
    """Current predictions, prepared to give any metric for any shares of the classes in each row (rows, classes)."""

    def __init__(self, current: Scored) -> None:
        self.current = current
        if current.scores is not None and current.scores.ndim == 1:
            values, group = np.unique(-current.scores, return_inverse=True)
            self.groups, self.group = len(values), group
        small = np.finfo(float).eps
        self.log = -np.log(np.clip(columns(current), small, 1 - small))

    def metrics(self, shares: Floats, names: list[str]) -> dict[str, float]:
        found: dict[str, float] = {}
        if any(METRICS[name].of == "decision" for name in names):
            assert self.current.predicted is not None  # noqa: S101 - `unfit` has refused it
            predicted = np.eye(shares.shape[1])[self.current.predicted]
            matrix = (shares.T @ predicted)[None]
            found |= {name: float(DECISIONS[name](matrix)[0]) for name in names if METRICS[name].of == "decision"}
        if "roc_auc" in names or "average_precision" in names:
            positives, negatives = (np.bincount(self.group, weights=shares[:, at], minlength=self.groups).astype(float) for at in (1, 0))
            found |= dict(zip(("average_precision", "roc_auc"), areas(positives, negatives), strict=True))
        if "log_loss" in names:
            found["log_loss"] = float((shares * self.log).sum(1).mean())
        if "brier" in names:
            found["brier"] = self._brier(shares)
        return {name: found[name] for name in names}

    def _brier(self, shares: Floats) -> float:
        scores = columns(self.current)
        squared = (scores**2).sum(1)[:, None] - 2 * scores + 1  # the error if the row were of each class
        return float((shares * squared).sum(1).mean() / (2 if shares.shape[1] == 2 else 1))


def thresholded(reference: Scored, current: Scored) -> float:
    """ATC: the share of current rows whose highest score is above the one that a share of the reference equal to its accuracy is above."""
    own, other = (columns(each).max(1) for each in (reference, current))
    wrong = float((columns(reference).argmax(1) != reference.truth).mean())
    return float((other >= np.quantile(own, wrong)).mean())
