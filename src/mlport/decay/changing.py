"""Which has changed: the features, how frequent labels are, or what the labels are for the same features; with labels on both sides.

The parts are those of F. Maia Polo et al., A unified framework for dataset shift diagnostics, Information Sciences 649 (2023) 119612.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from mlport.audit.intervals import checked_confidence, discoveries
from mlport.audit.records import Finding, Measure, Record, figure, grid
from mlport.audit.scored import Floats
from mlport.audit.tables import frame, is_number, needed
from mlport.decay import conditional
from mlport.decay.captured import plain_labels
from mlport.decay.conditional import Labelled
from mlport.decay.support import FOLDS, NO_FEATURES, Assumption, alone, domains, drawn, encoded, feature_columns
from mlport.errors import SpecError

Shift = Literal["data drift", "label shift", "concept drift"]
LEAST = {"features": 0.05, "labels": 0.02, "loss": 0.05, "window": 0.02, "within": 0.05}
"""The least effects that count, each in its own unit (see `Evidence`)."""
FEW_CLASSES = 20
LEAST_ROWS = 100


@dataclass(frozen=True)
class Evidence(Record):
    """One test: its effect with an interval, its p-value, the same adjusted for their number, and whether it counts.

    Effects: `features` the AUC, less 0.5, of a classifier that tells current rows from the reference's; `labels` the total variation
    distance of the classes' shares, of numbers the Kolmogorov-Smirnov distance; `loss` how much larger the loss of a model of the
    reference is on current rows than it should be, `window` how much less loss a model has that knows which side a row is of, both as a
    share of the reference's loss; `within` that of a classifier within each class, for P(x|y). It `counts` where p is below alpha and the effect is at least `least`.
    """

    test: str
    effect: Measure
    p: float
    adjusted: float
    least: float
    counts: bool


@dataclass(frozen=True)
class Change(Record):
    """What `concept` found: the shifts that the evidence supports, in words why, and what this rests on."""

    supported: tuple[Shift, ...]
    evidence: Mapping[str, Evidence]
    why: tuple[str, ...]
    assumptions: tuple[Assumption, ...]
    rows: tuple[int, int]
    findings: tuple[Finding, ...] = field(default=())

    def text(self) -> str:
        """The whole as text for a terminal."""
        rows = [
            [name, each.test, str(each.effect), f"{each.adjusted:.2g}", figure(each.least), "yes" if each.counts else "no"]
            for name, each in self.evidence.items()
        ]
        head = (
            f"evidence of {', '.join(self.supported)}" if self.supported else "no evidence of a change beyond noise and the least effects"
        )
        table = grid(["of", "", "effect", "adjusted p", "least", "counts"], rows)
        return "\n".join([head, *self.why, *table, *map(str, self.assumptions), *map(str, self.findings)])

    def __str__(self) -> str:
        return self.text()


def concept(
    reference: Any,
    current: Any,
    *,
    label: str = "label",
    features: Sequence[str] | None = None,
    task: Literal["classification", "regression"] | None = None,
    alpha: float = 0.01,
    least: Mapping[str, float] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Change:
    """Test which of P(x), P(y) and P(y|x) differ between two labelled samples, by effect and not by p alone.

    Args:
        reference, current: rows with features and labels, those without a label being left out; of more than 20,000, so many are drawn.
        features: as for `estimate`.
        task: by default regression for numbers with more than 20 values.
        alpha: adjusted p-values (Benjamini and Hochberg) must be below it.
        least: of `features`, `labels`, `loss`, `window`, `within`, the effects from which on a change counts; others stay as in LEAST.

    Returns:
        `supported` holds what the evidence supports. P(y|x) changes by label shift, too: where P(y) and P(x) changed and P(x|y) did not,
        label shift is named and not concept drift.

    Raises:
        SpecError: a column is missing or of another type, a side has fewer than 100 labelled rows, or the reference has one class only.
    """
    checked_confidence(confidence)
    margins = _margins(least, alpha)
    past, now = (_rows(table, label, what, seed) for table, what in ((reference, "reference"), (current, "current")))
    aside = (label, *NO_FEATURES)
    own, other = encoded(feature_columns(past, features, aside), feature_columns(now, features, aside))
    truth, classes, unseen = _truth(past[label], now[label], task)
    found = domains(own, other, confidence, seed)
    sides = Labelled(np.vstack([own, other]), truth, np.repeat([0, 1], [len(own), len(other)]), found.probability, len(classes))
    with alone():
        fitted, gained = conditional.cross_fitted(sides, seed), conditional.gain(sides, confidence, seed)
        within = conditional.within_classes(sides, confidence, seed) if classes else None
    scale = max(float(fitted.loss[sides.side == 0].mean()), 1e-12)
    tests = {
        "features": _features(found.auc, found.probability, sides.side, confidence),
        "labels": _labels(truth, sides.side, len(classes), confidence),
        "loss": _scaled(conditional.excess(sides, fitted, confidence), scale),
        "window": _scaled(gained, scale),
    }
    evidence = _evidence(tests if within is None else {**tests, "within": within}, margins, alpha)
    supported, why = _verdict(evidence)
    return Change(supported, evidence, why, _assumptions(found.probability, sides.side), (len(own), len(other)), _unseen(unseen))


def _margins(least: Mapping[str, float] | None, alpha: float) -> dict[str, float]:
    if not 0 < alpha < 1:
        raise SpecError(f"alpha: {alpha} is not between 0 and 1", hint="such as 0.01")
    for name, value in (least or {}).items():
        if name not in LEAST or isinstance(value, bool | str) or not 0 <= value < math.inf:
            raise SpecError(f"least: {name!r}: {value!r}", hint=f"effects from 0 on, of {', '.join(LEAST)}")
    return {**LEAST, **(least or {})}


def _rows(table: Any, label: str, what: str, seed: int) -> pd.DataFrame:
    data = frame(table, what)
    needed(data.columns, [label], what)
    known = data.assign(**{label: plain_labels(data[label])}).dropna(subset=[label]).reset_index(drop=True)
    if len(known) < LEAST_ROWS:
        raise SpecError(f"{what}: {len(known)} of {len(data):,} rows have a label in {label!r}", hint=f"at least {LEAST_ROWS} are needed")
    return known.iloc[drawn(len(known), seed)].reset_index(drop=True)


def _truth(past: pd.Series[Any], now: pd.Series[Any], task: str | None) -> tuple[Floats, list[Any], int]:
    """Labels of both sides, classes by their number; the classes, none of numbers; and how many current rows are of an unseen class."""
    if task not in (None, "classification", "regression"):
        raise SpecError(f"task: {task!r} is neither 'classification' nor 'regression'")
    if is_number(past) != is_number(now):
        raise SpecError(f"current: its labels are {now.dtype}, and {past.dtype} in the reference")
    if task == "regression" or (task is None and is_number(past) and past.nunique() > FEW_CLASSES):
        if not is_number(past):
            raise SpecError("label: holds no numbers, and regression needs them", hint="task='classification'")
        values = np.concatenate([past.to_numpy(float), now.to_numpy(float)])
        if not np.isfinite(values).all():
            raise SpecError("label: some are infinite")
        return values, [], 0
    known = pd.Index(sorted(past.unique()))
    if len(known) < 2 or past.value_counts().min() < FOLDS:
        raise SpecError(f"reference: labels need two classes with {FOLDS} rows each: {past.value_counts().to_dict()}")
    codes = [known.get_indexer(pd.Index(each)) for each in (past, now)]
    extra = list(dict.fromkeys(now[codes[1] < 0]))
    every = known.append(pd.Index(extra)) if extra else known
    unseen = int((codes[1] < 0).sum())
    return np.concatenate([codes[0], every.get_indexer(pd.Index(now))]).astype(float), list(every), unseen


def _unseen(rows: int) -> tuple[Finding, ...]:
    text = f"{rows:,} current rows are of classes that the reference does not have: that alone is a change of what labels mean"
    return (Finding("unseen classes", "problem", text, evidence={"rows": rows}),) if rows else ()


def _features(auc: Measure, probability: Floats, side: Any, confidence: float) -> tuple[Measure, float]:
    test = stats.mannwhitneyu(probability[side == 1], probability[side == 0], alternative="greater", method="asymptotic")
    if auc.value is None:
        return auc, 1.0
    low, high = (None if end is None else end - 0.5 for end in (auc.low, auc.high))
    return Measure(auc.value - 0.5, low, high, auc.n, f"classifier of both samples, DeLong, {confidence:g}"), float(test.pvalue)


def _labels(truth: Floats, side: Any, classes: int, confidence: float) -> tuple[Measure, float]:
    past, now = truth[side == 0], truth[side == 1]
    if not classes:
        test = stats.ks_2samp(past, now, method="asymp")
        return Measure(float(test.statistic), n=len(now), reason="Kolmogorov-Smirnov: no interval"), float(test.pvalue)
    counts = np.stack([np.bincount(each.astype(int), minlength=classes) for each in (past, now)])
    shares = counts / counts.sum(1, keepdims=True)
    distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
    p = float(stats.chi2_contingency(counts[:, counts.sum(0) > 0], correction=False).pvalue)
    if classes > 2:
        return Measure(distance, n=len(now), reason="total variation of several classes: no interval"), p
    from mlport.audit.intervals import newcombe

    low, high = newcombe(counts[1, 1], counts[1].sum(), counts[0, 1], counts[0].sum(), confidence)
    ends = sorted((abs(float(low)), abs(float(high))))
    return Measure(distance, 0.0 if low < 0 < high else ends[0], ends[1], len(now), f"chi-square; Newcombe, {confidence:g}"), p


def _scaled(test: tuple[Measure, float], scale: float) -> tuple[Measure, float]:
    found, p = test
    value, low, high = (None if each is None else each / scale for each in (found.value, found.low, found.high))
    return Measure(value, low, high, found.n, found.method, found.reason), p


def _evidence(tests: Mapping[str, tuple[Measure, float]], margins: Mapping[str, float], alpha: float) -> dict[str, Evidence]:
    adjusted = discoveries(np.array([p for _, p in tests.values()]))
    found = {}
    for (name, (effect, p)), own in zip(tests.items(), adjusted.tolist(), strict=True):
        size = 0.0 if effect.value is None else abs(effect.value) if name == "loss" else effect.value
        said = {"features": "P(x)", "labels": "P(y)", "loss": "P(y|x): loss", "window": "P(y|x): window as a feature", "within": "P(x|y)"}[
            name
        ]
        found[name] = Evidence(said, effect, p, own, margins[name], own < alpha and size >= margins[name])
    return found


def _verdict(evidence: Mapping[str, Evidence]) -> tuple[tuple[Shift, ...], tuple[str, ...]]:
    features, labels = evidence["features"].counts, evidence["labels"].counts
    changed = evidence["loss"].counts or evidence["window"].counts
    supported: list[Shift] = ["data drift"] if features else []
    why = []
    if labels:
        supported.append("label shift")
        if features and not changed:
            why.append("P(y) moved with the features: P(y|x) shows no change, so the drift of the features explains it")
    if changed and labels and features and "within" in evidence and not evidence["within"].counts:
        why.append("P(y|x) changed as it must by the new shares of the classes: within each class features are as before")
    elif changed:
        supported.append("concept drift")
        why.append("for the same features labels are others than in the reference")
    return tuple(supported), tuple(why)


def _assumptions(probability: Floats, side: Any) -> tuple[Assumption, ...]:
    apart = float((probability[side == 1] > conditional.APART).mean())
    text = f"{apart:.1%} of the current rows lie where the reference has hardly any: there P(y|x) cannot be compared"
    return (
        Assumption("both samples cover the same features", "violated" if apart > 0.05 else "holds", text),
        Assumption(
            "labelled rows are a fair sample",
            "cannot be checked",
            "labels that come sooner for some rows look like a change; see `performance`",
        ),
        Assumption(
            "all that labels depend on is among the features", "cannot be checked", "drift of what is not captured shows as concept drift"
        ),
    )
