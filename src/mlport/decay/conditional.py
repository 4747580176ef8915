"""Tests of whether P(y|x) is the same on both sides, which need no model of how: boosted trees, cross-fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mlport.audit.classification import delong
from mlport.audit.records import Measure, absent
from mlport.audit.scored import Floats
from mlport.audit.trials import probabilities
from mlport.decay.support import FOLDS, SCARCE, classifier

APART = SCARCE / (1 + SCARCE)
SMALLEST = 1e-6
FEWEST = 20


@dataclass(frozen=True)
class Labelled:
    """Rows of both sides (`side` 0 the reference, 1 current): features, labels, the probability of being current; 0 `classes` for numbers."""

    features: Floats
    truth: Floats
    side: NDArray[np.int64]
    probability: Floats
    classes: int


@dataclass(frozen=True)
class Fitted:
    """What a model of the reference makes of rows that it was not fitted on: the loss, and the loss that it expects itself."""

    loss: Floats
    expected: Floats


def _model(classes: int, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    if classes:
        return classifier(seed)
    return HistGradientBoostingRegressor(max_iter=60, max_leaf_nodes=15, early_stopping=False, random_state=seed)


def _folds(sides: Labelled, seed: int) -> NDArray[np.int64]:
    """The fold of each row, either side's rows and each class spread evenly."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(sides.side))
    ordered = shuffled[np.lexsort((sides.truth[shuffled] if sides.classes else shuffled * 0, sides.side[shuffled]))]
    found = np.empty(len(ordered), np.int64)
    found[ordered] = np.arange(len(ordered)) % FOLDS
    return found


def _losses(model: Any, features: Floats, truth: Floats, classes: int) -> tuple[Floats, Floats]:
    """Squared error, of which nothing is known before, or log loss and what the probabilities make it on average."""
    if not classes:
        return np.asarray((truth - model.predict(features)) ** 2), np.zeros(len(truth))
    shares = np.clip(probabilities(model, features, classes), SMALLEST, 1)
    shares = shares / shares.sum(1, keepdims=True)
    logs = -np.log(shares)
    return logs[np.arange(len(truth)), truth.astype(int)], np.asarray((shares * logs).sum(1))


def cross_fitted(sides: Labelled, seed: int) -> Fitted:
    """Models of four fifths of the reference judge its other fifth and a fifth of the current rows, so that both are judged alike."""
    fold = _folds(sides, seed)
    loss, expected = np.zeros(len(fold)), np.zeros(len(fold))
    for at in range(FOLDS):
        train, test = (fold != at) & (sides.side == 0), fold == at
        model = _model(sides.classes, seed).fit(sides.features[train], sides.truth[train])
        loss[test], expected[test] = _losses(model, sides.features[test], sides.truth[test], sides.classes)
    return Fitted(loss, expected)


def excess(sides: Labelled, fitted: Fitted, confidence: float) -> tuple[Measure, float]:
    """How much more loss current rows have than reference rows with like features.

    Rows of the reference are weighted by how dense current rows are at their features (H. Shimodaira, J. Stat. Planning and Inference 90
    (2000) 227-244), and of classes the loss that the model itself expects is taken off first: without a change of P(y|x) the difference
    is zero if either the weights or the probabilities are right.
    """
    beyond = fitted.loss - fitted.expected
    odds = np.minimum(sides.probability / np.maximum(1 - sides.probability, 1e-9), SCARCE)
    before, now = sides.side == 0, sides.side == 1
    return _difference(beyond[before], odds[before], beyond[now], confidence, "weighted cross-fitted loss")


def within_classes(sides: Labelled, confidence: float, seed: int) -> tuple[Measure, float]:
    """Whether P(x|y) differs: the mean AUC, less 0.5, of a classifier that tells both sides apart within each class, cross-fitted.

    Where P(y) changed and P(x|y) did not, Bayes' rule gives the new P(y|x), and nothing but label shift is there.
    """
    label, side = sides.truth.astype(int), sides.side
    counts = np.stack([np.bincount(label[side == at], minlength=sides.classes) for at in (0, 1)])
    classes = np.flatnonzero(counts.min(0) >= FEWEST)
    if not len(classes):
        return absent(f"no class has {FEWEST} rows on both sides", len(side)), 1.0
    rows = np.flatnonzero(np.isin(label, classes))
    weight = 1 / counts[side[rows], label[rows]]
    weight, fold, told = weight / weight.mean(), _folds(sides, seed)[rows], np.column_stack([sides.features, label])[rows]
    found = np.zeros(len(rows))
    for at in range(FOLDS):
        train, test = fold != at, fold == at
        found[test] = classifier(seed).fit(told[train], side[rows][train], weight[train]).predict_proba(told[test])[:, 1]
    z = float(stats.norm.ppf((1 + confidence) / 2))
    areas = [delong(side[rows][own] == 1, found[own], confidence) for own in (label[rows] == each for each in classes)]
    known = [
        (each.value - 0.5, (each.high - each.low) / 2 / z)
        for each in areas
        if each.value is not None and each.low is not None and each.high is not None
    ]
    if not known:
        return absent("both sides are told apart without error or not at all", len(rows)), 1.0
    value = float(np.mean([each for each, _ in known]))
    spread = max(float(np.sqrt(sum(each**2 for _, each in known))) / len(known), 1e-12)
    return Measure(value, value - z * spread, value + z * spread, len(rows), f"DeLong within classes, {confidence:g}"), float(
        stats.norm.sf(value / spread)
    )


def _difference(past: Floats, weight: Floats, now: Floats, confidence: float, what: str) -> tuple[Measure, float]:
    total = weight.sum()
    centre = float((weight * past).sum() / total)
    variance = float((weight**2 * (past - centre) ** 2).sum() / total**2 + now.var(ddof=1) / len(now))
    value, spread = float(now.mean()) - centre, max(float(np.sqrt(variance)), 1e-12)
    half = float(stats.norm.ppf((1 + confidence) / 2)) * spread
    return Measure(value, value - half, value + half, len(now), f"{what}, {confidence:g}"), float(2 * stats.norm.sf(abs(value) / spread))


def gain(sides: Labelled, confidence: float, seed: int) -> tuple[Measure, float]:
    """How much less loss a model has on held-out rows that is told the side of each row, than one told a side drawn from P(side|x).

    The second knows what the side says of the features and nothing of the label, so without a change of P(y|x) both are alike
    (conditional randomisation: E. Candes et al., J. R. Stat. Soc. B 80 (2018) 551-577); gains by rows left out of training as in J. Lei et
    al., JASA 113 (2018) 1094-1111. One-sided. The error is that of rows and of folds
    (C. Nadeau and Y. Bengio, Machine Learning 52 (2003) 239-281) together, which is too large rather than too small.
    """
    share = float((sides.side == 1).mean())
    odds = sides.probability / np.maximum(1 - sides.probability, 1e-9) * share / (1 - share)
    false = (np.random.default_rng(seed).random(len(odds)) < odds / (1 + odds)).astype(float)
    fold = _folds(sides, seed + 1)
    found = np.zeros(len(fold))
    for at in range(FOLDS):
        train, test = fold != at, fold == at
        for sign, told in ((-1, sides.side.astype(float)), (1, false)):
            both = np.column_stack([sides.features, told])
            model = _model(sides.classes, seed).fit(both[train], sides.truth[train])
            found[test] += sign * _losses(model, both[test], sides.truth[test], sides.classes)[0]
    value = float(found.mean())
    means = np.array([found[fold == at].mean() for at in range(FOLDS)])
    of_folds = means.var(ddof=1) * (1 / FOLDS + 1 / (FOLDS - 1))
    spread = max(float(np.sqrt(of_folds + found.var(ddof=1) / len(found))), 1e-12)
    half = float(stats.norm.ppf((1 + confidence) / 2)) * spread
    return Measure(value, value - half, value + half, len(found), f"conditional randomisation, {confidence:g}"), float(
        stats.norm.sf(value / spread)
    )
