"""Whether a classifier treats groups alike: Fairlearn's MetricFrame, with intervals, and without groups too small to judge."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlport.audit.intervals import checked_confidence, newcombe, proportion
from mlport.audit.records import Measure, Record, absent, grid
from mlport.audit.scored import column, same_length, scored
from mlport.audit.tables import frame, require
from mlport.errors import SpecError

LEAST_ROWS = 20
RATES = ("selection_rate", "true_positive_rate", "false_positive_rate", "accuracy")


@dataclass(frozen=True)
class Fairness(Record):
    """Rates by group. `difference` is the largest minus the smallest of the groups judged, `ratio` the smallest over the largest.

    The difference of `selection_rate` is demographic parity's; of true and false positive rates the larger is that of equalized odds.
    """

    positive: Any
    groups: Mapping[str, int]
    too_small: Mapping[str, int]
    rates: Mapping[str, Mapping[str, Measure]]
    difference: Mapping[str, Measure]
    ratio: Mapping[str, float | None]
    equalized_odds_difference: Measure

    def text(self) -> str:
        """For a terminal."""
        rows = [[name, f"{rows:,}", *(str(self.rates[rate][name]) for rate in RATES)] for name, rows in self.groups.items()]
        lines = grid(["group", "rows", *RATES], [*rows, ["difference", "", *(str(self.difference[rate]) for rate in RATES)]])
        left = [f"not judged, with too few rows: {', '.join(f'{name} ({rows})' for name, rows in self.too_small.items())}"]
        return "\n".join(lines + (left if self.too_small else []))

    def __str__(self) -> str:
        return self.text()


def fairness(
    y_true: Any,
    y_pred: Any,
    groups: Any,
    *,
    positive: Any = None,
    threshold: float = 0.5,
    min_rows: int = 50,
    confidence: float = 0.95,
) -> Fairness:
    """Compare groups by Fairlearn: how often the positive class is predicted, rightly and wrongly, and how often the answer is right.

    Args:
        y_pred: predicted labels, or the probability of `positive`, which is predicted from `threshold` on.
        groups: each row's group, or a table whose columns' combinations are the groups; rows without one are of the group "missing".
        min_rows: smaller groups are named and not compared; at least 20.

    Raises:
        SpecError: lengths differ, fewer than two groups are large enough, or the labels are not of two classes.
    """
    require("fairlearn", "the comparison of groups")
    checked_confidence(confidence)
    if min_rows < LEAST_ROWS:
        raise SpecError(f"min_rows: {min_rows} is too few to compare groups", hint=f"at least {LEAST_ROWS}")
    truth = column(y_true, "y_true")
    every = _names(groups)
    same_length(truth, every, "groups")
    found = scored(truth, y_pred, "binary", None, positive, threshold, "probability")
    assert found.predicted is not None  # noqa: S101 - there is a threshold
    names = every[found.kept]
    counts = {str(name): int((names == name).sum()) for name in sorted(set(names.tolist()))}
    judged = [name for name, rows in counts.items() if rows >= min_rows]
    if len(judged) < 2:
        raise SpecError(f"groups: {len(judged)} have {min_rows} rows or more, and a comparison needs two", hint=f"rows: {counts}")
    inside = np.isin(names, judged)
    labels, predicted, names = found.truth[inside], found.predicted[inside], names[inside]
    rates = {rate: {name: _rate(rate, labels[names == name], predicted[names == name], confidence) for name in judged} for rate in RATES}
    exact, ratios = _compared(labels, predicted, names, rates)
    differences = {rate: _difference(exact.get(rate), rates[rate], confidence) for rate in RATES}
    of_odds = [differences["true_positive_rate"], differences["false_positive_rate"]]
    odds = (
        max(of_odds, key=lambda each: each.value or 0)
        if all(each.value is not None for each in of_odds)
        else absent("a group lacks a class")
    )
    small = {name: rows for name, rows in counts.items() if rows < min_rows}
    return Fairness(found.classes[1], {name: counts[name] for name in judged}, small, rates, differences, ratios, odds)


def _names(groups: Any) -> Any:
    """Each row's group as text."""
    if (
        getattr(groups, "ndim", 1) == 1
        and not hasattr(groups, "columns")
        and not hasattr(groups, "column_names")
        and not isinstance(groups, Mapping)
    ):
        return column(groups, "groups").astype(object).map(str, na_action="ignore").fillna("missing").to_numpy(object)
    table = frame(groups, "groups")
    parts = [
        table[name].astype(object).map(str, na_action="ignore").fillna("missing").map(f"{name} = {{}}".format) for name in table.columns
    ]
    return np.array([" and ".join(row) for row in zip(*parts, strict=True)], object)


def _rate(rate: str, labels: Any, predicted: Any, confidence: float) -> Measure:
    over = {"true_positive_rate": labels == 1, "false_positive_rate": labels == 0}.get(rate, np.ones(len(labels), bool))
    hit = labels == predicted if rate == "accuracy" else predicted == 1
    return proportion(int((hit & over).sum()), int(over.sum()), confidence, "the group has no such rows")


def _compared(
    labels: Any, predicted: Any, names: Any, rates: Mapping[str, Mapping[str, Measure]]
) -> tuple[dict[str, float], dict[str, float | None]]:
    """MetricFrame's differences and ratios of the rates that every group has."""
    from fairlearn import metrics as fair
    from sklearn.metrics import accuracy_score

    functions = {rate: accuracy_score if rate == "accuracy" else getattr(fair, rate) for rate in RATES}
    known = {rate: function for rate, function in functions.items() if all(each.value is not None for each in rates[rate].values())}
    made = fair.MetricFrame(metrics=known, y_true=labels, y_pred=predicted, sensitive_features=names)
    exact, ratio = made.difference(), made.ratio()
    ratios = {rate: float(ratio[rate]) if rate in known and np.isfinite(ratio[rate]) else None for rate in RATES}
    return {rate: float(exact[rate]) for rate in known}, ratios


def _difference(value: float | None, groups: Mapping[str, Measure], confidence: float) -> Measure:
    """The largest difference of two groups, with bounds that hold for all pairs at once (Newcombe's, by Bonferroni).

    A bootstrap of the largest minus the smallest is biased upwards: noise alone makes some group the best.
    """
    if value is None:
        return absent("a group has no rows that the rate is of")
    pairs = list(itertools.combinations(groups.values(), 2))
    of_pair = 1 - (1 - confidence) / len(pairs)
    bounds = [newcombe(_hits(one), one.n, _hits(two), two.n, of_pair) for one, two in pairs]
    low = max(max(float(low), -float(high)) for low, high in bounds)
    high = max(max(float(high), -float(low)) for low, high in bounds)
    return Measure(
        value, max(0.0, low), high, sum(each.n or 0 for each in groups.values()), f"Newcombe for {len(pairs)} pairs, {confidence:g}"
    )


def _hits(rate: Measure) -> float:
    return (rate.value or 0) * (rate.n or 0)
