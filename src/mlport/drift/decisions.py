"""Whether what was measured is an alarm: effect sizes above a threshold by more than noise; p-values only as a gate.

A p-value says how sure a difference is, not how large: of a million rows a shift of a hundredth of a standard deviation is sure, and
no harm. So the size decides. Its threshold must be passed by more than what two samples of these sizes differ by chance, and the test of
the column, where there is one, must agree after the correction for how many columns were looked at.

Sources. Kolmogorov-Smirnov's margin: Smirnov's `sqrt(-ln(alpha / 2) / 2) sqrt((n + m) / (n m))`. Of histograms with k bins, under no
change: PSI is `(1/n + 1/m) chi2(k - 1)` (B. Yurdakul, J. Naranjo, Statistical properties of the population stability index, Journal of
Risk Model Validation 14(4), 2020); Kullback-Leibler half of that, and Jensen-Shannon and the squared Hellinger distance an eighth (each
is a multiple of chi-square to second order: I. Csiszar, P. Shields, Information Theory and Statistics, 2004, section 4); total variation
by Pinsker's inequality from Kullback-Leibler. Correction: Y. Benjamini, Y. Hochberg, J. Royal Statistical Society B 57 (1995).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mlport.drift.definitions import METRICS
from mlport.drift.records import ColumnReport, Finding, Reading, Report, plain
from mlport.errors import UsageError

Status = Literal["drift", "no drift", "unknown"]
Severity = Literal["none", "moderate", "severe"]
DEFAULT: Mapping[str | tuple[str, str], float] = {"ks": 0.1, "js_distance": 0.1, "missing": 0.05}
"""Effect sizes that matter unless said otherwise: of numbers the largest gap of the distribution functions, of categories the
Jensen-Shannon distance (base 2), of both the change of the share that is missing."""
BROKEN = ("missing column", "type changed", "all missing")
"""Findings that are an alarm by themselves: a model that is given such a column cannot answer well."""
UNREAD = ("not compared", "no rows")
"""Findings of what nothing can be said of, which is not the same as no drift."""
BOUNDED = ("ks", "tv", "linf", "hellinger", "js", "js_distance")
"""Metrics that are at most 1."""
TESTS = ("ks", "chi2")
SEVERE = 2.0


@dataclass(frozen=True, slots=True)
class Rule:
    """What is an alarm.

    Args:
        thresholds: Effect sizes by metric, or by (column, metric), which stands over it. `js_distance` at its default is held against
            categories only, where numbers have `ks`.
        noise: The probability that chance alone passes the margin, for each reading; 0 for no margin.
        gate: The false discovery rate for the columns' tests (KS, chi-square), after Benjamini and Hochberg; None for no gate.
        importance: How much the model makes of each column; shares of their sum. Columns that are not named have the mean.
        least_importance: Columns below this share are told and raise no alarm.
    """

    thresholds: Mapping[str | tuple[str, str], float] = field(default_factory=lambda: {**DEFAULT})
    noise: float = 0.05
    gate: float | None = 0.05
    importance: Mapping[str, float] = field(default_factory=dict)
    least_importance: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("noise", self.noise), ("gate", self.gate), ("least_importance", self.least_importance)):
            if value is not None and not 0 <= value < 1:
                raise UsageError(f"{name} is {value}: it must be at least 0 and below 1")
        for key, value in self.thresholds.items():
            if not (value >= 0 and math.isfinite(value)):
                raise UsageError(f"thresholds: {key!r} is {value}: it must be a number that is not negative")
        if any(not (value >= 0 and math.isfinite(value)) for value in self.importance.values()):
            raise UsageError("importance: the values must be numbers that are not negative")


@dataclass(frozen=True, slots=True)
class Effect:
    """One reading held against its threshold. `margin` is what chance may add; it is over when `value - margin` is above the threshold."""

    metric: str
    value: float
    margin: float
    threshold: float

    @property
    def over(self) -> bool:
        return self.value - self.margin > self.threshold

    @property
    def ratio(self) -> float:
        """By how many times the threshold is passed, without what chance may add."""
        if self.threshold == 0:
            return math.inf if self.over else 0.0
        return max(self.value - self.margin, 0.0) / self.threshold

    def to_json(self) -> dict[str, Any]:
        said = {"value": self.value, "margin": self.margin, "threshold": self.threshold, "over": self.over}
        return {"metric": self.metric, **{name: plain(value) for name, value in said.items()}}


@dataclass(frozen=True, slots=True)
class ColumnDecision:
    """What is said of one column, and why."""

    column: str
    status: Status
    severity: Severity
    importance: float
    effects: Sequence[Effect]
    reasons: Sequence[str]
    p: float | None = None
    """Of its test, after the correction for all columns."""

    def to_json(self) -> dict[str, Any]:
        return {
            "column": self.column,
            "status": self.status,
            "severity": self.severity,
            "importance": self.importance,
            "p_adjusted": self.p,
            "effects": [effect.to_json() for effect in self.effects],
            "reasons": list(self.reasons),
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """What is said of all: `drift` if any column that matters has drifted, else `unknown` if one could not be read."""

    columns: Sequence[ColumnDecision]
    rule: Rule

    @property
    def status(self) -> Status:
        said = {each.status for each in self.columns if self._matters(each)}
        return "drift" if "drift" in said else "unknown" if "unknown" in said or not self.columns else "no drift"

    @property
    def severity(self) -> Severity:
        said = {each.severity for each in self.columns if each.status == "drift" and self._matters(each)}
        return "severe" if "severe" in said else "moderate" if said else "none"

    @property
    def drifted(self) -> list[ColumnDecision]:
        """The columns that have, those that matter most first."""
        found = [each for each in self.columns if each.status == "drift"]
        return sorted(found, key=lambda each: (-each.importance * max((effect.ratio for effect in each.effects), default=1.0), each.column))

    @property
    def share(self) -> float:
        """How much of the importance of all columns those that drifted have."""
        total = sum(each.importance for each in self.columns)
        return sum(each.importance for each in self.drifted) / total if total else 0.0

    def _matters(self, each: ColumnDecision) -> bool:
        return each.importance >= self.rule.least_importance

    @property
    def words(self) -> str:
        """One sentence for people."""
        named = ", ".join(each.column for each in self.drifted[:5]) + (" and others" if len(self.drifted) > 5 else "")
        unread = [each.column for each in self.columns if each.status == "unknown"]
        unknown = f"; not known of {', '.join(unread[:5])}" if unread else ""
        if self.status == "drift":
            return f"drift ({self.severity}) in {len(self.drifted)} of {len(self.columns)} columns: {named}{unknown}"
        return f"{'no drift' if self.status == 'no drift' else 'not known'} in {len(self.columns)} columns{unknown}"

    def to_json(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "severity": self.severity,
            "words": self.words,
            "share": self.share,
            "columns": [each.to_json() for each in self.columns],
        }


def decide(report: Report, rule: Rule | None = None) -> Decision:
    """Whether a comparison is an alarm, column by column and as a whole.

    Raises:
        UsageError: the rule names a column or a metric that was not compared.
    """
    asked = rule or Rule()
    _check(asked, report)
    weights = _importance(asked, report)
    adjusted = _adjusted({name: p for name, column in report.columns.items() if (p := _p(column)) is not None}) if asked.gate else {}
    about: dict[str, list[Finding]] = {}
    for finding in report.findings:
        about.setdefault(finding.column, []).append(finding)
    held = {key[0] for key in asked.thresholds if isinstance(key, tuple)}
    names = [*report.columns, *(name for name in about if name not in report.columns and (name in held or _tells(about[name])))]
    rows = report.rows_reference, report.rows_current
    return Decision([_column(name, report, about.get(name, []), rows, asked, weights, adjusted.get(name)) for name in names], asked)


def persistent(history: Sequence[Status], *, k: int = 2, n: int = 3) -> Status:
    """Whether drift lasts: at least `k` of the last `n` windows, newest last. What was not known counts for neither.

    >>> persistent(["no drift", "drift", "drift"]), persistent(["drift", "no drift", "no drift"])
    ('drift', 'no drift')
    >>> persistent(["no drift", "drift", "unknown"])
    'unknown'
    """
    if not 1 <= k <= n:
        raise UsageError(f"persistence: {k} of {n} windows: k must be at least 1 and at most n")
    last = list(history)[-n:]
    drifted, unknown = last.count("drift"), last.count("unknown")
    if drifted >= k:
        return "drift"
    return "unknown" if not last or drifted + unknown >= k else "no drift"


def margin(reading: Reading, n: float, m: float, bins: int, noise: float, missing: float = 0.0) -> float:
    """What a metric of two samples of `n` and `m` rows exceeds by chance with probability `noise`, though nothing has changed.

    `bins` is how many bins or categories both have together, `missing` the share that is missing in both. 0 for metrics that have no
    known distribution: Wasserstein's depends on the column's tails.
    """
    if noise <= 0 or n <= 0 or m <= 0:
        return 0.0
    metric, base = reading.definition.metric, reading.definition.base
    if metric == "ks":
        return math.sqrt(-math.log(noise / 2) / 2 * (1 / n + 1 / m))
    if metric == "missing":
        return _normal(noise) * math.sqrt(max(missing * (1 - missing), 1 / (n + m)) * (1 / n + 1 / m))
    factor = {"psi": 1.0, "kl": 0.5, "js": 0.125, "js_distance": 0.125, "hellinger": 0.125, "tv": 0.5, "linf": 0.5}.get(metric)
    if factor is None or bins < 2:
        return 0.0
    squared = factor * (1 / n + 1 / m) * _chi_square(noise, bins - 1)
    if metric == "tv" or metric == "linf":
        return math.sqrt(squared / 2)
    in_base = squared if metric == "hellinger" else squared / math.log(base or math.e)
    return math.sqrt(in_base) if reading.definition.root else in_base


# ---------------------------------------------------------------- one column


def _column(
    name: str,
    report: Report,
    findings: Sequence[Finding],
    rows: tuple[float, float],
    rule: Rule,
    weights: Mapping[str, float],
    p: float | None,
) -> ColumnDecision:
    importance = weights.get(name, 0.0)
    broken = [finding.message for finding in findings if finding.kind in BROKEN]
    if broken:
        return ColumnDecision(name, "drift", "severe", importance, (), broken)
    unread = [finding.message for finding in findings if finding.kind in UNREAD]
    column = report.columns.get(name)
    if column is None:
        return ColumnDecision(name, "unknown", "none", importance, (), unread or [finding.message for finding in findings])
    effects, unknown = _effects(column, rows, rule)
    over = [effect for effect in effects if effect.over]
    said = [f"{effect.metric} {effect.value:.3g} is above {effect.threshold:g} by more than noise ({effect.margin:.2g})" for effect in over]
    tested = [effect for effect in over if effect.metric != "missing"]
    if over and len(tested) == len(over) and p is not None and rule.gate is not None and p > rule.gate:
        said.append(f"its test does not agree (p {p:.2g} after correction): no alarm")
        over = []
    if over:
        severity: Severity = "severe" if max(effect.ratio for effect in over) >= SEVERE else "moderate"
        return ColumnDecision(name, "drift", severity, importance, effects, said, p)
    if unknown or not effects:
        return ColumnDecision(
            name, "unknown", "none", importance, effects, [*said, *unknown, *unread] or ["no metric could be computed"], p
        )
    return ColumnDecision(name, "no drift", "none", importance, effects, said, p)


def _effects(column: ColumnReport, rows: tuple[float, float], rule: Rule) -> tuple[list[Effect], list[str]]:
    """The readings that have thresholds, and what could not be told of others."""
    n, m = (side.rows * (1 - (side.missing or 0.0)) for side in (column.reference, column.current))
    missing = 1 - (n + m) / sum(rows) if sum(rows) else 0.0
    found, unknown = [], []
    void = column.reference.missing == column.current.missing == 1.0  # what both lack altogether has not changed
    for metric, threshold in _thresholds(column, rule).items():
        reading = column.readings[metric]
        if void and metric != "missing" and "missing" in column.readings:
            continue
        if reading.value is None:
            unknown.append(f"{metric}: {reading.why or 'it has no value'}")
            continue
        sizes = rows if metric == "missing" else (n, m)
        chance = margin(reading, *sizes, bins=_bins(column), noise=rule.noise, missing=missing)
        if metric in BOUNDED and threshold < 1 <= threshold + chance:
            unknown.append(f"{metric}: of {min(sizes):,.15g} rows no change, however large, is told from chance")
            continue
        lo, hi = reading.interval or (reading.value, reading.value)
        if lo - chance <= threshold < hi - chance:
            unknown.append(f"{metric}: between {lo:.4g} and {hi:.4g}, and the threshold with its margin lies between: read the data again")
            continue
        found.append(Effect(metric, reading.value, chance, threshold))
    return found, unknown


def _thresholds(column: ColumnReport, rule: Rule) -> dict[str, float]:
    """Metrics of the column that have a threshold."""
    own = {key[1]: value for key, value in rule.thresholds.items() if isinstance(key, tuple) and key[0] == column.name}
    general = {key: value for key, value in rule.thresholds.items() if isinstance(key, str) and key in column.readings}
    if column.kind != "category" and "ks" in general and general.get("js_distance") == DEFAULT["js_distance"]:
        del general["js_distance"]
    return {**general, **own}


def _bins(column: ColumnReport) -> int:
    return len(column.histogram.reference) if column.histogram is not None else 0


def _p(column: ColumnReport) -> float | None:
    return next((p for metric in TESTS if metric in column.readings and (p := column.readings[metric].p) is not None), None)


def _tells(findings: Sequence[Finding]) -> bool:
    return any(finding.kind in (*BROKEN, *UNREAD) for finding in findings)


# ---------------------------------------------------------------- all columns


def _adjusted(p_values: Mapping[str, float]) -> dict[str, float]:
    """Benjamini and Hochberg's adjusted p-values."""
    from scipy.stats import false_discovery_control

    names = list(p_values)
    return dict(zip(names, map(float, false_discovery_control([p_values[name] for name in names])), strict=True)) if names else {}


def _importance(rule: Rule, report: Report) -> dict[str, float]:
    """Shares of all columns; those that the model says nothing of have the mean of the others."""
    names = list(dict.fromkeys([*report.columns, *(finding.column for finding in report.findings)]))
    known = {name: rule.importance[name] for name in names if name in rule.importance}
    mean = sum(known.values()) / len(known) if known else 1.0
    weights = {name: known.get(name, mean) for name in names}
    total = sum(weights.values())
    return {name: weight / total if total else 0.0 for name, weight in weights.items()}


def _check(rule: Rule, report: Report) -> None:
    """Nobody can tell which metrics a column would have that was not compared: what its findings say stands for it."""
    compared = {metric for column in report.columns.values() for metric in column.readings}
    lost = {finding.column for finding in report.findings} - set(report.columns)
    for key in rule.thresholds:
        column, metric = key if isinstance(key, tuple) else (None, key)
        if column is None:
            fits = metric in compared or not compared or rule.thresholds == DEFAULT or bool(lost and metric in METRICS)
        else:
            fits = column in lost or (column in report.columns and metric in report.columns[column].readings)
        if not fits:
            raise UsageError(f"thresholds: {key!r} was not compared", hint=f"metrics: {', '.join(sorted(compared))}")
    if unknown := sorted({*rule.importance} - {*report.columns, *lost}):
        known = sorted({*report.columns, *lost})
        raise UsageError(f"importance: no column {unknown[0]!r} was compared", hint=f"columns: {', '.join(known[:20])}")


def _chi_square(alpha: float, degrees: int) -> float:
    from scipy.special import chdtri

    return float(chdtri(degrees, alpha))


def _normal(alpha: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(1 - alpha / 2))
