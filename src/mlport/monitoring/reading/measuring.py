"""Whether a window has drifted: mlport's own comparison with the reference, or what the provider's monitor found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlport.drift.decisions import ColumnDecision, Decision, Rule, Status, persistent
from mlport.errors import NotFoundError, SpecError, UsageError
from mlport.monitoring.reading.taking import Taken, taken
from mlport.monitoring.records import Column, Drift, Effect, Note, Reading
from mlport.spi import Measured, Measurement, State, Window

if TYPE_CHECKING:
    from mlport.client import Client
    from mlport.drift import Profile, Report
    from mlport.monitoring.reading.references import Reference
    from mlport.monitoring.specs import MonitorSpec
    from mlport.monitoring.stored import Book, Stored

SAID = ("new column", "missing column", "type changed")
"""Findings that are told beside the columns' own words."""


def measure(client: Client, book: Book, monitor: Stored, window: Window, at: datetime) -> Reading:
    """Read a window and hold it against the reference."""
    spec = monitor.spec
    found = taken(client, spec.endpoint, window, list(monitor.columns), spec.kinds, at=at)
    if found.rows < spec.min_rows:
        return _unknown(monitor, window, at, found, f"{found.rows:,} rows, and {spec.min_rows:,} are needed")
    try:
        report, decision = compare(book, monitor, found)
    except UsageError as error:
        return _unknown(monitor, window, at, found, f"it cannot be compared: {error}")
    drifted = decision.drifted
    drift: Drift = decision.status
    words = decision.words
    if drift == "no drift" and found.unread:
        drift, words = "unknown", f"a part could not be read, so that what was is not all: {words}"
    notes = [*found.notes, *(Note(each.kind, each.message, each.column) for each in report.findings if each.kind in SAID)]
    return Reading(
        monitor.name,
        window,
        at,
        drift,
        drift,
        decision.severity,
        words,
        found.rows,
        tuple(_column(each) for each in (*drifted, *(one for one in decision.columns if one not in drifted))),
        tuple(notes),
        found.versions,
    )


def compare(book: Book, monitor: Stored, found: Taken) -> tuple[Report, Decision]:
    """The comparison of a window with the reference, which is read again where the profile leaves something open and it still is there."""
    return _held(monitor.spec, monitor.columns, book.reference(monitor), found.sample, _again(monitor))


def rehearse(spec: MonitorSpec, reference: Reference) -> None:
    """Hold the reference against itself, so that what cannot work fails before the first window.

    Raises:
        SpecError: there is no such metric, threshold or column.
    """
    try:
        _held(spec, reference.columns, reference.profile, reference.profile, None)
    except UsageError as error:
        raise SpecError(f"MonitorSpec.{error.message}", hint=error.hint) from error


def _held(spec: MonitorSpec, columns: Iterable[str], reference: Profile, current: Any, again: Any) -> tuple[Report, Decision]:
    from mlport.drift.judging import judged

    metrics = None if spec.metrics is None else list(spec.metrics)
    settings = {"columns": list(columns), "metrics": metrics, "kinds": dict(spec.kinds)}
    return judged(reference, current, rule_of(spec), again=again, **settings)


def rule_of(spec: MonitorSpec) -> Rule:
    """What is an alarm, as `mlport.drift` has it.

    Raises:
        UsageError: a threshold names neither a metric nor a column and a metric.
    """
    from mlport.drift.judging import thresholds_of

    return Rule(thresholds_of(spec.thresholds), spec.noise, spec.gate or None, dict(spec.importance), spec.least_importance)


def lasting(reading: Drift, earlier: Sequence[Drift], k: int, n: int) -> Drift:
    """Whether drift lasts: k of the last n windows, `earlier` newest first."""
    if reading == "not watched":
        return reading
    history: list[Status] = [each for each in (*reversed(earlier[: n - 1]), reading) if each != "not watched"]
    return persistent(history, k=k, n=n)


def of_provider(monitor: Stored, found: Measurement, at: datetime, by: str) -> Reading:
    """What the provider's monitor found, as a reading."""
    if found.state is not State.SUCCEEDED:
        words = found.reason or f"its measurement ended {found.native_state}"
        return Reading(monitor.name, found.window, at, "unknown", "unknown", words=words, rows=found.rows, by=by, error=words)
    columns = tuple(
        _measured(name, [each for each in found.measured if each.column == name])
        for name in dict.fromkeys(e.column for e in found.measured)
    )
    drifted = [each.name for each in columns if each.status == "drift"]
    unknown = [each.name for each in columns if each.status == "unknown"]
    missing = sorted(set(monitor.columns) - {each.name for each in columns}) if columns else []
    if drifted:
        drift: Drift = "drift"
        words = f"drift in {len(drifted)} of {len(columns)} columns: {', '.join(drifted[:5])}"
    elif unknown or missing or not columns:
        drift, words = "unknown", f"not known of {', '.join([*unknown, *missing][:5]) or 'any column'}"
        words = "nothing was captured" if found.rows == 0 else words
    else:
        drift, words = "no drift", f"no drift in {len(columns)} columns"
    notes = tuple(Note("not measured", f"{name}: the provider's monitor says nothing of it", name) for name in missing)
    return Reading(
        monitor.name, found.window, at, drift, drift, "moderate" if drifted else "none", words, found.rows, columns, notes, by=by
    )


def _measured(name: str, said: Sequence[Measured]) -> Column:
    effects = tuple(Effect(each.metric, each.value, each.threshold, None, bool(each.alarm)) for each in said)
    if any(each.alarm for each in said):
        known = [each for each in effects if each.over and each.value is not None and each.threshold is not None]
        reasons = tuple(f"{each.metric} {each.value:.3g} is beyond {each.threshold:g}" for each in known)
        return Column(name, "drift", "moderate", effects=effects, reasons=reasons)
    if all(each.alarm is None for each in said):
        return Column(name, "unknown", effects=effects, reasons=tuple(each.reason for each in said if each.reason))
    return Column(name, "no drift", effects=effects)


def _column(found: ColumnDecision) -> Column:
    effects = tuple(Effect(each.metric, each.value, each.threshold, each.margin, each.over) for each in found.effects)
    return Column(found.column, found.status, found.severity, found.importance, effects, tuple(found.reasons), found.p)


def _unknown(monitor: Stored, window: Window, at: datetime, found: Taken, why: str) -> Reading:
    words = "nothing was captured" if found.rows == 0 and not found.notes else why
    return Reading(monitor.name, window, at, "unknown", "unknown", words=words, rows=found.rows, notes=found.notes, versions=found.versions)


def _again(monitor: Stored) -> Any:
    """The reference itself, if it is a file here that has not changed since."""
    from mlport.monitoring.reading.references import identity

    uri = monitor.reference["uri"]
    try:
        return uri if identity(Path(uri)) == monitor.reference["identity"] else None
    except (NotFoundError, OSError):
        return None
