"""Thresholds of a MonitorSpec as Vertex AI's monitor takes them: in its own metrics, one for all numbers and one for all categories.

A threshold in one of mlport's metrics goes over where `mlport_vertex.dialect` has the same number by a formula; anything else is refused
with the reason. https://docs.cloud.google.com/gemini-enterprise-agent-platform/machine-learning/model-monitoring/overview, "Monitoring objectives".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mlport.dialects import Dialect, Kind, Threshold
from mlport.drift.definitions import METRICS, definitions, of_kind
from mlport.errors import SpecError, UnsupportedError, UsageError

Gap = tuple[str, str]
NAMES: Mapping[Kind, str] = {"number": "numbers", "category": "categories"}
PROBE = 0.01  # a threshold that every metric here can have


@dataclass
class Alarms:
    """What is measured of each kind of column that there is, and when it alarms; `notes` say what became of thresholds that were set."""

    metrics: dict[Kind, str] = field(default_factory=dict)
    defaults: dict[Kind, float] = field(default_factory=dict)
    columns: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def alarms(
    dialect: Dialect, columns: Mapping[str, Kind], thresholds: Mapping[str, float], metrics: Sequence[str] | None
) -> tuple[Alarms, list[Gap]]:
    """What a monitor is asked for, and what it cannot do of what is set.

    Raises:
        SpecError: a threshold of a column that is not watched, or one that never tells anything.
    """
    found, gaps = Alarms(), _Gaps()
    kinds = [kind for kind in NAMES if kind in columns.values()]
    for name in metrics or ():
        for kind in kinds:
            for said in gaps.of(f"metrics.{name}", dialect, name, kind, PROBE, alone=len(kinds) == 1):
                _settle(found, gaps, f"metrics.{name}", said)
    for key, value in thresholds.items():
        column, metric = parted(dialect, key, columns)
        for kind in kinds if column is None else [columns[column]]:
            for said in gaps.of(f"thresholds.{key}", dialect, metric, kind, value, alone=column is not None or len(kinds) == 1):
                if _settle(found, gaps, f"thresholds.{key}", said):
                    _set(found, gaps, key, column, said)
    if not gaps.found:
        _fill(dialect, found, gaps, columns)
    return found, gaps.found


def parted(dialect: Dialect, key: str, columns: Mapping[str, Kind]) -> tuple[str | None, str]:
    """Column and metric of `column.metric`, None and the metric of `metric`. A column may have dots of its own.

    Raises:
        SpecError: it is of a column that is not watched.
    """
    if key in METRICS or key in {metric.name for metric in dialect.metrics}:
        return None, key
    column = max((name for name in columns if key.startswith(f"{name}.")), key=len, default=None)
    if column is not None:
        return column, key[len(column) + 1 :]
    if "." not in key:
        return None, key
    raise SpecError(f"MonitorSpec.thresholds.{key}: no column watched is so called", hint=f"watched are {', '.join(sorted(columns))}")


class _Gaps:
    """What cannot be expressed, and why."""

    def __init__(self) -> None:
        self.found: list[Gap] = []

    def of(self, field: str, dialect: Dialect, name: str, kind: Kind, value: float, *, alone: bool) -> Iterator[Threshold]:
        """The threshold in the vendor's words, if there is one. A metric that columns of this kind do not have is a gap only `alone`."""
        try:
            said = next((metric for metric in dialect.metrics if (metric.name, metric.kind) == (name, kind)), None)
            if said is not None:
                yield dialect.threshold(said, value, kind=kind)
                return
            own = of_kind(definitions([name], None), kind) if name in METRICS else []
            if own:
                yield dialect.threshold(own[0], value, kind=kind)
            elif alone or name not in (*METRICS, *(metric.name for metric in dialect.metrics)):
                has = ", ".join(metric.name for metric in dialect.metrics if metric.kind == kind)
                self.found.append((field, f"its monitor has no such metric of {NAMES[kind]}: it has {has}"))
        except UnsupportedError as error:
            why = "; ".join(error.gaps.values())
            self.found.append((field if alone else f"{field} of {NAMES[kind]}", f"{why} ({error.hint})" if error.hint else why))
        except UsageError as error:
            raise SpecError(f"MonitorSpec.{field}: {error.message}", hint=error.hint) from error


def _settle(found: Alarms, gaps: _Gaps, field: str, said: Threshold) -> bool:
    """Whether it can be so: all columns of a kind are held to one metric."""
    first = found.metrics.setdefault(said.kind, said.metric)
    if first != said.metric:
        gaps.found.append((field, f"a monitor holds all {NAMES[said.kind]} to one metric, and another setting asks for {first}"))
    return first == said.metric


def _set(found: Alarms, gaps: _Gaps, key: str, column: str | None, said: Threshold) -> None:
    held: dict[str, float] = found.columns if column is not None else found.defaults  # type: ignore[assignment]
    at = column if column is not None else said.kind
    if at in held:
        of = f"of {column}" if column is not None else f"of {NAMES[said.kind]}"
        gaps.found.append((f"thresholds.{key}", f"another threshold sets {said.metric} {of} already"))
        return
    held[at] = said.value
    if said.how != "the same number" or said.metric != key.rpartition(".")[2]:
        found.notes.append(f"thresholds.{key} is {said.metric} above {said.value:.6g} there: {said.how}")


def _fill(dialect: Dialect, found: Alarms, gaps: _Gaps, columns: Mapping[str, Kind]) -> None:
    """The vendor's default where nothing was set for a kind of columns."""
    for kind in dict.fromkeys(columns.values()):
        default = dialect.default(kind)
        metric = found.metrics.setdefault(kind, default.metric if default else "")
        if kind in found.defaults or all(name in found.columns for name, each in columns.items() if each == kind):
            continue
        if default is None or default.metric != metric:
            gaps.found.append((f"thresholds.{metric}", f"Vertex AI has no default for {NAMES[kind]}: set one"))
            continue
        found.defaults[kind] = default.threshold
        found.notes.append(
            f"{NAMES[kind]} alarm at {metric} above {default.threshold:g}, the default of Google's SDK for Model Monitoring v1: v2 has none"
        )
