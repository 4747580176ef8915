"""Performance of a regression without labels: a second model learns on the reference how far off the first will be (DLE).

Direct loss estimation as NannyML's documentation describes it: boosted trees predict each row's loss from its features and its prediction.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from mlport.audit.records import Measure
from mlport.audit.scored import Floats
from mlport.decay.support import alone

FOLDS = 10
GROUPS = 20


def estimated(
    features: Floats, truth: Floats, predicted: Floats, current: Floats, names: list[str], confidence: float, seed: int
) -> dict[str, Measure]:
    """MAE and RMSE to expect of `current` rows. Matrices hold features and, as their last column, the prediction."""
    error = truth - predicted
    found = {}
    for name in names:
        with alone():
            mean, spread = _mean_loss(features, np.abs(error) if name == "mae" else error**2, current, seed)
        half = float(stats.t.ppf((1 + confidence) / 2, FOLDS - 1)) * spread
        ends = (max(mean, 0.0), max(mean - half, 0.0), mean + half)
        value, low, high = ends if name == "mae" else tuple(float(np.sqrt(each)) for each in ends)
        found[name] = Measure(value, low, high, len(current), f"DLE, {FOLDS} folds, seed {seed}, {confidence:g}")
    return found


def _mean_loss(features: Floats, loss: Floats, current: Floats, seed: int) -> tuple[float, float]:
    """The mean loss to expect of the current rows, and its standard error: of the labels to come, and of what was learnt.

    The first is of the losses' spread about their prediction, among reference rows with a like prediction; the second the delete-a-group
    jackknife of the folds' models.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.model_selection import KFold

    held, means, rows = np.zeros(len(loss)), [], np.zeros(len(current))
    for train, test in KFold(FOLDS, shuffle=True, random_state=seed).split(features):
        model = HistGradientBoostingRegressor(max_iter=60, max_leaf_nodes=15, early_stopping=False, random_state=seed)
        model.fit(features[train], loss[train])
        held[test], own = model.predict(features[test]), model.predict(current)
        means.append(own.mean())
        rows += own / FOLDS
    edges = np.unique(np.quantile(held, np.linspace(0, 1, GROUPS + 1)[1:-1]))
    place = np.searchsorted(edges, held, side="right")
    count = np.maximum(np.bincount(place, minlength=len(edges) + 1), 1)
    bias = np.bincount(place, weights=loss - held, minlength=len(edges) + 1) / count
    variance = np.bincount(place, weights=(loss - held - bias[place]) ** 2, minlength=len(edges) + 1) / count
    at = np.searchsorted(edges, rows, side="right")
    learnt = (FOLDS - 1) / FOLDS * float(np.sum((np.array(means) - np.mean(means)) ** 2))
    corrected = float((rows + bias[at]).mean())
    share = np.bincount(at, minlength=len(edges) + 1) / len(at)
    of_bias = float(np.sum(share**2 * variance / count))
    return corrected, float(np.sqrt(variance[at].sum() / len(rows) ** 2 + learnt + of_bias))
