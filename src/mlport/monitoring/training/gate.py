"""The gate: challenger against champion, on the same rows, which neither was trained on; and the objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlport.monitoring.records import Verdict
from mlport.spi import Window

if TYPE_CHECKING:
    from mlport.audit.scored import Regressed, Scored
    from mlport.config import Objective
    from mlport.monitoring.specs import Gate, PerformanceSpec

RESAMPLES = 300
CONFIDENCE = 0.95


def verdict(truth: Any, challenger: Any, champion: Any, gate: Gate, spec: PerformanceSpec, objective: Objective, window: Window) -> Verdict:
    """Whether a challenger passes.

    Its gain is the difference of the metric on the same rows, with the 95 % interval of a bootstrap of those rows (percentiles; B. Efron
    and R. Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3), which keeps them paired.

    Args:
        truth: the labels.
        challenger, champion: predictions, as captured: a value a row, or a list of probabilities.

    Raises:
        SpecError: the metric is none, or does not fit the predictions.
    """
    import numpy as np
    import pandas as pd

    from mlport.decay.captured import Answer, judge, plain_labels, predictions
    from mlport.decay.measures import METRICS, measure, metric_for, unfit

    answer = Answer(spec.task, spec.classes, spec.positive, spec.threshold)
    labels = plain_labels(pd.Series(truth))
    pairs = [predictions(pd.Series(list(side))) for side in (challenger, champion)]
    known = pairs[0][1] & pairs[1][1] & labels.notna().to_numpy(bool)
    rows, silent = int(known.sum()), int((pairs[1][1] & ~pairs[0][1] & labels.notna().to_numpy(bool)).sum())
    wanted = gate.metric or spec.metric or objective.metric
    if rows < gate.min_rows:
        return Verdict(False, wanted or "", rows, window, reasons=(f"{rows:,} labelled rows, and {gate.min_rows:,} are needed",))
    new, old = (judge(labels[known].reset_index(drop=True), scores[known], answer) for scores, _ in pairs)
    name = metric_for(wanted, new)
    if why := unfit(name, old):
        return Verdict(False, name, rows, window, reasons=(f"the champion's predictions have no {name}: {why}",))
    sign = 1.0 if METRICS[name].greater_is_better else -1.0
    values = [measure(name, side, CONFIDENCE, 0).value for side in (new, old)]
    if values[0] is None or values[1] is None:
        return Verdict(False, name, rows, window, values[0], values[1], reasons=("the metric cannot be computed on these rows",))
    gains = _gains(name, new, old, sign, np.random.default_rng(0))
    low, high = (float(each) for each in np.quantile(gains, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])) if len(gains) else (None, None)
    gain = sign * (values[0] - values[1])
    reasons = [*_bounds(name, values[0], gate, objective), *_gain(gain, low, gate)]
    if silent:
        reasons.append(f"it does not answer {silent:,} rows that the champion does")
    return Verdict(not reasons, name, rows, window, values[0], values[1], gain, low, high, tuple(reasons))


def _bounds(name: str, value: float, gate: Gate, objective: Objective) -> list[str]:
    """What the challenger does not reach."""
    at_least, at_most = gate.at_least, gate.at_most
    if at_least is None and at_most is None and objective.metric == name:
        at_least, at_most = objective.at_least, objective.at_most
    found = []
    if at_least is not None and value < at_least:
        found.append(f"{name} {value:.4g} is below {at_least:g}, which is wanted at least")
    if at_most is not None and value > at_most:
        found.append(f"{name} {value:.4g} is above {at_most:g}, which is wanted at most")
    return found


def _gain(gain: float, low: float | None, gate: Gate) -> list[str]:
    if gain < gate.least_gain:
        return [f"its gain over the champion is {gain:.4g}, and {gate.least_gain:g} is wanted"]
    if gate.sure and (low is None or low <= gate.least_gain):
        return [f"its gain is not sure: the 95 % interval begins at {'an unknown value' if low is None else f'{low:.4g}'}"]
    return []


def _gains(name: str, new: Scored | Regressed, old: Scored | Regressed, sign: float, rng: Any) -> list[float]:
    """The gain on samples of the same rows with replacement; samples on which the metric has no value are left out."""
    import numpy as np

    of_new, of_old = _sampled(name, new), _sampled(name, old)
    rows = len(new.truth)
    drawn = (rng.integers(0, rows, rows) for _ in range(RESAMPLES))
    found = (sign * (of_new(sample) - of_old(sample)) for sample in drawn)
    return [each for each in found if np.isfinite(each)]


def _sampled(name: str, found: Scored | Regressed) -> Callable[[Any], float]:
    """The metric of any sample of the rows, NaN where it has none; what can be prepared once is."""
    import numpy as np

    from mlport.audit.classification import Ranking, confusion
    from mlport.decay.captured import part
    from mlport.decay.measures import DECISIONS, measure

    if name in ("average_precision", "roc_auc"):
        ranking = Ranking(found.truth == 1, found.scores)  # type: ignore[union-attr, arg-type]
        at = ("average_precision", "roc_auc").index(name)
        return lambda drawn: ranking.areas(drawn)[at]
    if name in DECISIONS:
        matrix = DECISIONS[name]
        return lambda drawn: float(matrix(confusion(found.truth[drawn], found.predicted[drawn], len(found.classes))[None])[0])  # type: ignore[index, union-attr, arg-type]

    def other(drawn: Any) -> float:
        value = measure(name, part(found, drawn), CONFIDENCE, 0).value
        return np.nan if value is None else value

    return other
