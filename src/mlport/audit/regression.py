"""How good predictions of a number are: errors with intervals, residuals, and the loss and coverage of predicted quantiles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlport.audit.intervals import affordable, mean, proportion, resampled
from mlport.audit.records import Measure, absent
from mlport.audit.scored import Floats, Regressed

NO_POINT = "only quantiles are predicted, and not the median"
NO_ROWS = "there are no rows"


def pinball(truth: Floats, predicted: Floats, level: float) -> Floats:
    """Each row's quantile (pinball) loss at `level` (R. Koenker and G. Bassett, Econometrica 46 (1978) 33-50)."""
    over = truth - predicted
    return np.maximum(level * over, (level - 1) * over)


def overall(found: Regressed, confidence: float, resamples: int, seed: int) -> tuple[dict[str, Measure], dict[str, float]]:
    """The metrics, and what predicting the labels' mean (MAE: their median) would give."""
    truth, n = found.truth, len(found.truth)
    metrics: dict[str, Measure] = {}
    if found.predicted is None:
        metrics |= dict.fromkeys(("mae", "rmse", "bias", "median_absolute_error", "r2"), absent(NO_POINT, n))
    else:
        residual = truth - found.predicted
        metrics |= {"mae": mean(np.abs(residual), confidence, NO_ROWS), "bias": mean(-residual, confidence, NO_ROWS)}
        metrics |= _resampled(residual, truth, confidence, resamples, seed)
    for level, predicted in found.quantiles.items():
        metrics[f"pinball_{level:g}"] = mean(pinball(truth, predicted, level), confidence, NO_ROWS)
        metrics[f"below_{level:g}"] = proportion(int((truth <= predicted).sum()), n, confidence, NO_ROWS)
    without = {"mae": float(np.abs(truth - np.median(truth)).mean()), "rmse": float(truth.std()), "bias": 0.0, "r2": 0.0}
    without |= {f"pinball_{level:g}": float(pinball(truth, np.quantile(truth, [level]), level).mean()) for level in found.quantiles}
    return metrics, without | {f"below_{level:g}": level for level in found.quantiles}


def _resampled(residual: Floats, truth: Floats, confidence: float, resamples: int, seed: int) -> dict[str, Measure]:
    """RMSE, median absolute error and R squared, from the same resamples of the rows."""
    n = len(truth)
    rng, rounds = np.random.default_rng(seed), affordable(resamples, n)
    drawn = [rng.integers(n, size=n) for _ in range(rounds)]
    method = f"bootstrap of rows, {rounds} resamples, seed {seed}, {confidence:g}"
    functions: dict[str, Callable[[Floats, Floats], float]] = {
        "rmse": lambda error, _: float(np.sqrt(np.mean(error**2))),
        "median_absolute_error": lambda error, _: float(np.median(np.abs(error))),
        "r2": _r2,
    }
    measures = {}
    for name, function in functions.items():
        draws = np.array([function(residual[rows], truth[rows]) for rows in drawn])
        measures[name] = resampled(function(residual, truth), draws, n, confidence, method, "the labels are all the same")
    return measures


def _r2(error: Floats, truth: Floats) -> float:
    spread = float(np.sum((truth - truth.mean()) ** 2))
    return 1 - float(np.sum(error**2)) / spread if spread > 0 else float("nan")


def briefly(truth: Floats, predicted: Floats, confidence: float) -> dict[str, Measure]:
    """The metrics of one slice; a positive bias says that it predicts too much."""
    residual = truth - predicted
    squared = mean(residual**2, confidence, NO_ROWS)
    found = {"mae": mean(np.abs(residual), confidence, NO_ROWS), "bias": mean(-residual, confidence, NO_ROWS)}
    if squared.value is None or squared.low is None or squared.high is None:
        return found | {"rmse": squared}
    value, low, high = (float(np.sqrt(max(0.0, each))) for each in (squared.value, squared.low, squared.high))
    return found | {"rmse": Measure(value, low, high, squared.n, f"root of {squared.method}")}
