"""Performance before any labels came: expected from the reference, with what that rests on and whether it holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from mlport.audit.calibration import Calibration
from mlport.audit.intervals import checked_confidence
from mlport.audit.records import Finding, Measure, Record, count, figure, grid
from mlport.audit.scored import Regressed, Scored, scored
from mlport.audit.tables import frame, needed
from mlport.decay import confidences, losses
from mlport.decay.captured import Answer, Columns, judge, plain_labels, predictions
from mlport.decay.measures import METRICS, Judgement, judged, loss, margin_for, measure, metric_for, unfit
from mlport.decay.support import FOLDS, NO_FEATURES, Assumption, Support, drawn, encoded, feature_columns, support
from mlport.errors import SpecError

ENOUGH = (200, 50)
"""Rows of the reference and of the current sample below which an estimate says little."""
RARE = 50
"""Rows of a class in the reference below which intervals are too narrow."""
MISCALIBRATED = 0.05


@dataclass(frozen=True)
class Estimate(Record):
    """What `estimate` found: the metrics that labels of the current rows can be expected to give, if every assumption holds.

    `reference` holds the metrics on the reference by its labels, `decay` how much worse the estimate is, `atc_accuracy` the accuracy that
    another method (average thresholded confidence) expects.
    """

    method: Literal["CBPE", "DLE"]
    task: str
    metrics: Mapping[str, Measure]
    reference: Mapping[str, Measure]
    decay: Mapping[str, Measure]
    atc_accuracy: float | None
    calibration: Calibration | None
    support: Support | None
    assumptions: tuple[Assumption, ...]
    findings: tuple[Finding, ...] = field(default=())

    @property
    def violated(self) -> tuple[Assumption, ...]:
        """The assumptions that are known not to hold: with any, the estimate is not to be relied on."""
        return tuple(each for each in self.assumptions if each.status == "violated")

    def judgement(self, metric: str, margin: float | None = None) -> Judgement | Literal["not to be relied on"]:
        """Whether decay beyond the margin is to be expected (see `performance`)."""
        needed(self.metrics, [metric], "metric")
        if self.violated:
            return "not to be relied on"
        return judged(self.decay[metric], margin_for(metric, self.reference[metric], margin))

    def text(self) -> str:
        """The whole as text for a terminal."""
        rows = [[name, str(self.reference[name]), str(value), str(self.decay[name])] for name, value in self.metrics.items()]
        atc = [] if self.atc_accuracy is None else [f"accuracy by average thresholded confidence: {figure(self.atc_accuracy)}"]
        table = grid(["metric", "reference", "expected", "worse by"], rows)
        return "\n".join(
            [f"estimated without labels by {self.method}", *table, *atc, *map(str, self.assumptions), *map(str, self.findings)]
        )

    def __str__(self) -> str:
        return self.text()


def estimate(
    reference: Any,
    current: Any,
    *,
    metrics: str | Iterable[str] | None = None,
    features: Sequence[str] | None = None,
    task: str | None = None,
    classes: Sequence[Any] | None = None,
    positive: Any = None,
    threshold: float | None = None,
    prediction: str = "prediction",
    label: str = "label",
    confidence: float = 0.95,
    resamples: int = 400,
    seed: int = 0,
) -> Estimate:
    """The performance to expect on `current`, whose labels are not known yet and are not looked at.

    Classification: confidence-based (CBPE), from probabilities that the reference calibrates. Regression: direct loss estimation (DLE).

    Args:
        reference: rows with predictions and labels that the model did not learn from.
        current: rows with predictions.
        metrics: those to estimate; all that the task and the predictions have by default.
        features: the columns that the model sees; by default those within `features` of a captured table, else all that are not named
            here and are no time and no id. The check of the support and DLE need them.
        task, classes, positive, threshold: as for `mlport.audit.evaluate`.

    Returns:
        Metrics with intervals for what the labels will give (not for a long-run mean), and every assumption with what is known of it.
        None can see concept drift: that needs labels (`performance`, `concept`).

    Raises:
        SpecError: a column is missing or of another type, nothing is left, or predictions are labels and not probabilities.
    """
    checked_confidence(confidence)
    names, answer = Columns(prediction=prediction, label=label), Answer(task, classes, positive, threshold)
    past, now = frame(reference, "reference"), frame(current, "current")
    needed(past.columns, [prediction, label], "reference")
    needed(now.columns, [prediction], "current")
    before, known = _before(past, names, answer)
    scores, given = predictions(now[prediction])
    findings = _left_out(known, given)
    if not given.any():
        raise SpecError(f"current: no row has a prediction in {prediction!r}")
    wanted = _wanted(metrics, before)
    seen, reach, more = _reach(past[known], now[given], features, names, confidence, seed)
    assumptions = [*_assumed(reach), _enough(before, int(given.sum()))]
    own = {name: measure(name, before, confidence, seed) for name in wanted}
    if isinstance(before, Scored):
        after = _after(before, scores[given], answer)
        found = confidences.estimated(before, after, wanted, confidence, resamples, seed)
        fit = confidences.on_reference(before, confidence, seed)
        atc = confidences.thresholded(before, after) if answer.threshold is None else None
        assumptions.append(_calibrated(fit))
    else:
        found, fit, atc = _lost(before, seen, scores[given], wanted, confidence, seed), None, None
    decay = {name: loss(name, own[name], found[name]) for name in wanted}
    kind, method = (before.task, "CBPE") if isinstance(before, Scored) else ("regression", "DLE")
    return Estimate(method, kind, found, own, decay, atc, fit, reach, tuple(assumptions), (*findings, *more))  # type: ignore[arg-type]


def _before(past: pd.DataFrame, names: Columns, answer: Answer) -> tuple[Scored | Regressed, Any]:
    """The reference's labelled predictions, and which rows these are."""
    scores, given = predictions(past[names.prediction])
    labels = plain_labels(past[names.label])
    known = given & labels.notna().to_numpy(bool)
    if not known.any():
        raise SpecError(f"reference: no row has both {names.prediction!r} and {names.label!r}", hint="the reference needs labels")
    found = judge(labels[known].reset_index(drop=True), scores[known], answer)
    if isinstance(found, Scored):
        if found.scores is None:
            raise SpecError("prediction: holds labels, and an estimate without labels needs probabilities", hint="capture predict_proba")
        if (np.bincount(found.truth, minlength=len(found.classes)) == 0).any():
            raise SpecError(f"reference: not every class of {list(found.classes)} has rows", hint="a reference with rows of each class")
    elif found.predicted is None:
        raise SpecError("prediction: must be one number a row")
    return found, known


def _wanted(metrics: str | Iterable[str] | None, before: Scored | Regressed) -> list[str]:
    if metrics is None:
        return [name for name in METRICS if unfit(name, before) is None]
    return [metric_for(name, before) for name in ([metrics] if isinstance(metrics, str) else metrics)]


def _left_out(known: Any, given: Any) -> list[Finding]:
    missing = {
        "rows of the reference without a label or a prediction": int((~known).sum()),
        "current rows without one": int((~given).sum()),
    }
    return [
        Finding("left out", "note", f"{rows:,} {what} were left out", evidence={"rows": rows}) for what, rows in missing.items() if rows
    ]


def _after(before: Scored, scores: Any, answer: Answer) -> Scored:
    """The current predictions, read as the reference's are; the labels are not known and stand for nothing."""
    unknown = pd.Series([before.classes[0]] * len(scores))
    if np.ndim(scores) != (2 if before.task == "multiclass" else np.ndim(scores)) or np.asarray(scores).dtype.kind not in "fiu":
        raise SpecError("current: its predictions are of another kind than the reference's")
    classes = before.classes if np.ndim(scores) == 1 or answer.classes is None else answer.classes
    made = scored(unknown, np.asarray(scores, float), before.task, classes, answer.positive, answer.threshold, answer.scores)
    return replace(made, threshold=before.threshold)


def _lost(before: Regressed, seen: Any, scores: Any, wanted: list[str], confidence: float, seed: int) -> dict[str, Measure]:
    if np.ndim(scores) != 1 or np.asarray(scores).dtype.kind not in "fiu" or not np.isfinite(np.asarray(scores, float)).all():
        raise SpecError("current: its predictions must be one finite number a row")
    assert before.predicted is not None  # noqa: S101 - `_before` has refused it
    own, other = seen
    rows = drawn(len(own), seed)
    if len(rows) < 2 * losses.FOLDS:
        raise SpecError(f"reference: {len(rows)} labelled rows are too few to learn losses from", hint=f"at least {2 * losses.FOLDS}")
    first = np.column_stack([own[rows], before.predicted[rows]])
    second = np.column_stack([other, np.asarray(scores, float)])
    return losses.estimated(first, before.truth[rows], before.predicted[rows], second, wanted, confidence, seed)


def _reach(
    past: pd.DataFrame, now: pd.DataFrame, wanted: Sequence[str] | None, names: Columns, confidence: float, seed: int
) -> tuple[Any, Support | None, list[Finding]]:
    """Both sides' features as matrices, whether the current rows are within the reference's support, and what was found on the way."""
    aside = (*names.all, *NO_FEATURES)
    own, other = feature_columns(past, wanted, aside), feature_columns(now, wanted, aside)
    matrices = encoded(own, other)
    if own.shape[1] == 0:
        return matrices, None, [Finding("features", "warning", "there are no feature columns: the support cannot be checked")]
    if min(len(own), len(other)) < 2 * FOLDS:
        return matrices, None, [Finding("features", "warning", "there are too few rows to check the support")]
    return matrices, support(own, other, confidence, seed), []


def _assumed(reach: Support | None) -> list[Assumption]:
    drift = "labels for the same features must be as likely as in the reference; without labels no method can tell"
    unseen = "a model that learnt from the reference's rows looks better on them than it is"
    where = Assumption("current rows lie within the reference's support", "cannot be checked", "there are no features to look at")
    return [
        Assumption("no concept drift", "cannot be checked", drift),
        Assumption("the model did not learn from the reference", "cannot be checked", unseen),
        where if reach is None else reach.assumption(),
    ]


def _enough(before: Scored | Regressed, current: int) -> Assumption:
    holds = len(before.truth) >= ENOUGH[0] and current >= ENOUGH[1]
    text = f"{count(len(before.truth), 'row')} of the reference and {current:,} current; at least {ENOUGH[0]} and {ENOUGH[1]}"
    if isinstance(before, Scored):
        fewest = int(np.bincount(before.truth, minlength=len(before.classes)).min())
        holds = holds and fewest >= RARE
        text += f"; {count(fewest, 'row')} of the rarest class; at least {RARE}"
    return Assumption("there are enough rows", "holds" if holds else "violated", text)


def _calibrated(fit: Calibration) -> Assumption:
    off = fit.is_off and fit.ece > MISCALIBRATED
    text = f"error {figure(fit.ece)} on rows of the reference that calibration did not see; by chance up to {figure(fit.by_chance)}"
    return Assumption("probabilities can be calibrated on the reference", "violated" if off else "holds", text)
