"""Comparing and deciding in one: each column is held to its thresholds, and what a sketch leaves open is read again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from mlport.drift.compare import compare, opened
from mlport.drift.decisions import DEFAULT, Decision, Rule, decide
from mlport.drift.definitions import Definition
from mlport.drift.profiles import Profile
from mlport.drift.records import Report
from mlport.errors import UsageError

Key = str | tuple[str, str]


def thresholds_of(written: Mapping[str, float]) -> dict[Key, float]:
    """Thresholds as people write them, by `metric` or `column.metric`, as `Rule` takes them. A column may have dots of its own.

    Raises:
        UsageError: a key is neither.

    >>> thresholds_of({"ks": 0.1, "user.age.psi": 0.2})
    {'ks': 0.1, ('user.age', 'psi'): 0.2}
    """
    found: dict[Key, float] = {}
    for name, value in written.items():
        column, dot, metric = name.rpartition(".")
        if not metric or (dot and not column):
            raise UsageError(f"thresholds: {name!r} must be a metric, such as ks, or a column and a metric, such as age.ks")
        found[(column, metric) if column else metric] = value
    return found


def judged(reference: Any, current: Any, rule: Rule, *, again: Any = None, **settings: Any) -> tuple[Report, Decision]:
    """Two samples compared, and what is to be said of it.

    A column that none of the rule's thresholds fits is held to the default ones. A column that a sketch leaves undecided is read again,
    exactly, where its data are at hand; where they are not, or no longer what they were, it stays unknown, and its reasons say why.

    Args:
        reference: As for `compare`.
        current: The same.
        rule: Its thresholds may be none: all are the default ones then.
        again: Where to read what `reference` is the stored profile of; without it nothing of a profile is read again.
        settings: Those of `compare`. `metrics` gets those that the decision needs beside the ones that are asked for.

    Raises:
        UsageError: as `compare` and `decide`, or a threshold is of a column whose kind does not have the metric.
    """
    one, two = opened(reference, "the reference"), opened(current, "the current sample")
    if settings.get("metrics") is not None:
        settings = {**settings, "metrics": _needed(settings["metrics"], rule)}
    report = compare(one, two, **settings)
    asked = completed(rule, report)
    decision = decide(report, asked)
    left_open = [each.column for each in decision.columns if each.status == "unknown" and each.column in report.columns]
    source = again if isinstance(one, Profile) else one if one.again else None
    could = source is not None and not isinstance(two, Profile) and two.again and report.rows_reference and report.rows_current
    if not left_open or not could or settings.get("refine") == "never":
        return report, decision
    report, problem = _reread(report, source, two, left_open, settings)
    decision = decide(report, asked)
    return report, _with_reason(decision, left_open, problem) if problem else decision


def completed(rule: Rule, report: Report) -> Rule:
    """The rule with the default thresholds for the columns that none of its own fits.

    Raises:
        UsageError: a threshold names a column whose kind does not have the metric.
    """
    if not rule.thresholds:
        return replace(rule, thresholds=DEFAULT)
    general = {key for key in rule.thresholds if isinstance(key, str)}
    usual: dict[Key, float] = {}
    for name, column in report.columns.items():
        own = [key[1] for key in rule.thresholds if isinstance(key, tuple) and key[0] == name]
        if unfit := [metric for metric in own if metric not in column.readings]:
            raise UsageError(
                f"threshold {name}.{unfit[0]}: columns of kind {column.kind} have no such metric",
                hint=f"this one has {', '.join(column.readings)}",
            )
        if not own and not general & set(column.readings):
            idle = "js_distance" if "ks" in column.readings else ""
            usual |= {(name, key): DEFAULT[key] for key in column.readings if key in DEFAULT and key != idle}
    return replace(rule, thresholds={**rule.thresholds, **usual})


def _needed(metrics: Iterable[str | Definition], rule: Rule) -> list[str | Definition]:
    """The metrics asked for, and those by which it is decided."""
    asked = list(metrics)
    there = {each if isinstance(each, str) else each.key for each in asked}
    needed = [key if isinstance(key, str) else key[1] for key in (*rule.thresholds, *DEFAULT)]
    return [*dict.fromkeys([*asked, *(key for key in needed if key not in there)])]


def _reread(report: Report, source: Any, current: Any, names: list[str], settings: Mapping[str, Any]) -> tuple[Report, str]:
    """The report with the columns as they are exactly, or the same with what was in the way."""
    kinds = {**(settings.get("kinds") or {}), **{name: report.columns[name].kind for name in names}}
    try:
        exact = compare(source, current, **{**settings, "columns": names, "kinds": kinds, "refine": "always", "by": ()})
    except UsageError as error:
        return report, f"it could not be read again: {error.message}"
    if exact.rows_reference != report.rows_reference:
        return report, f"it could not be read again: the reference has {exact.rows_reference:,} rows now and had {report.rows_reference:,}"
    lost = [finding.message for finding in exact.findings if finding.column not in exact.columns]
    return replace(report, columns={**report.columns, **exact.columns}), f"it could not be read again: {lost[0]}" if lost else ""


def _with_reason(decision: Decision, names: list[str], problem: str) -> Decision:
    told = [
        replace(each, reasons=[*each.reasons, problem]) if each.column in names and each.status == "unknown" else each
        for each in decision.columns
    ]
    return replace(decision, columns=told)
