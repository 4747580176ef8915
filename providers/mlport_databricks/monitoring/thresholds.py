"""Thresholds of a monitor in Databricks' metrics: it has none of its own, so they are held to the drift table when that is read. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from mlport.dialects import Kind
from mlport.drift.decisions import DEFAULT
from mlport.drift.definitions import DEFAULT as DEFINITIONS
from mlport.drift.definitions import Definition, definitions, of_kind
from mlport.errors import SpecError, UnsupportedError, UsageError
from mlport.monitoring.specs import MonitorSpec
from mlport.spi import Json
from mlport_databricks.dialect import DIALECT

DELTAS: Mapping[str, tuple[Kind, ...]] = {
    "count_delta": ("number", "category"),
    "avg_delta": ("number",),
    "percent_null_delta": ("number", "category"),
    "percent_zeros_delta": ("number",),
    "percent_distinct_delta": ("number", "category"),
}
"""Differences of two profiles, which are published as such; a threshold is of their absolute value. Percent are from 0 to 100."""
SHORT = {"ks_test": "ks_test.statistic", "chi_squared_test": "chi_squared_test.statistic"}
VENDORS: Mapping[Kind, tuple[str, ...]] = {
    kind: (*(each.name for each in DIALECT.metrics if each.kind == kind), *(name for name, kinds in DELTAS.items() if kind in kinds))
    for kind in ("number", "category")
}
OURS = tuple(definition.metric for definition in DEFINITIONS)
ANY = 0.5  # a threshold that each metric could have
OWN = 'measured_by = "mlport" has no such limits'
Said = tuple[str, float, Literal["above", "below"]]
"""A threshold in one of Databricks' metrics: its name, the value, and on which side of that it alarms."""
PLURAL: Mapping[Kind, str] = {"number": "numbers", "category": "categories"}


@dataclass(frozen=True, slots=True)
class Held:
    """A threshold of one column in one of Databricks' metrics."""

    column: str
    metric: str
    value: float
    alarm: Literal["above", "below"] = "above"

    def crossed(self, value: float) -> bool:
        """Whether a value of the drift table raises an alarm."""
        return value < self.value if self.alarm == "below" else abs(value) > self.value

    def to_json(self) -> Json:
        return asdict(self)


class Gaps(list[tuple[str, str]]):
    """What cannot be expressed, with the reasons, collected."""

    def refuse(self) -> None:
        """Raises UnsupportedError that names each field, if there is any."""
        reasons: dict[str, list[str]] = {}
        for field, why in self:
            reasons.setdefault(f"MonitorSpec.{field}", []).append(why)
        if reasons:
            raise UnsupportedError("databricks", [(field, "; ".join(whys)) for field, whys in reasons.items()], hint=OWN)

    def tried(self, what: str, metric: str, kind: Kind, value: float) -> list[Said]:
        """The threshold in Databricks' metrics; none, and a gap more, where there is none."""
        try:
            return [_translated(metric, kind, value)]
        except UnsupportedError as error:
            self.append((what, f"{PLURAL[kind]}: {next(iter(error.gaps.values()))}"))
        except UsageError as error:
            raise SpecError(f"MonitorSpec.{what}: {error.message}", hint=error.hint) from error
        return []


def held(spec: MonitorSpec, columns: Mapping[str, Kind], gaps: Gaps) -> tuple[Held, ...]:
    """The thresholds of each column; what cannot be expressed is added to `gaps`.

    Names are Databricks' own, or mlport's where one says the same there. A column that no threshold is of is held to those of
    `mlport drift`.

    Raises:
        SpecError: no such metric or column, or a value that never tells anything.
    """
    found: dict[tuple[str, str], Held] = {}
    parted = [(*_parted(key, columns), f"thresholds.{key}", value) for key, value in spec.thresholds.items()]
    for column, metric, what, value in sorted(parted, key=lambda each: each[0] is not None):  # those of one column stand over the others
        fitting = {name: kind for name, kind in columns.items() if (_has(metric, kind) if column is None else name == column)}
        if not fitting:
            of = " or ".join(PLURAL[kind] for kind in PLURAL if _has(metric, kind)) or "other columns"
            gaps.append((what, f"it is of {of}, and none is watched"))
        by_kind = {kind: gaps.tried(what, metric, kind, value) for kind in sorted(set(fitting.values()))}
        for name, kind in fitting.items():
            found |= {(name, own): Held(name, own, said, alarm) for own, said, alarm in by_kind[kind]}
    if not gaps:
        for name in columns.keys() - {each.column for each in found.values()}:
            found |= {(each.column, each.metric): each for each in _usual(name, columns[name], gaps)}
    return tuple(found[key] for key in sorted(found))


def shown(spec: MonitorSpec, columns: Mapping[str, Kind], gaps: Gaps) -> tuple[str, ...] | None:
    """Those of Databricks' metrics that are asked for; None for all."""
    if spec.metrics is None:
        return None
    found: set[str] = set()
    for name in spec.metrics:
        metric = SHORT.get(name, name)
        _known(metric, f"metrics: {name!r}")
        kinds = [kind for kind in sorted(set(columns.values())) if _has(metric, kind)]
        found |= {own for kind in kinds for own, _, _ in gaps.tried(f"metrics.{name}", metric, kind, ANY)}
    return tuple(sorted(found))


def _usual(column: str, kind: Kind, gaps: Gaps) -> Iterator[Held]:
    """The thresholds of `mlport drift`, for a column that has no other."""
    for metric in ("ks", "missing") if kind == "number" else ("js_distance", "missing"):
        what, value = f"thresholds of {column}", DEFAULT[metric]
        try:
            own, said, alarm = _of_ours(metric, kind, value)
        except UnsupportedError as error:
            usual = f"mlport's own is {metric} {value:g}, of which {next(iter(error.gaps.values()))}"
            gaps.append((what, f"none is set, and {usual}; set one, such as {column}.tv_distance"))
            return
        yield Held(column, own, said, alarm)


def _parted(key: str, columns: Mapping[str, Kind]) -> tuple[str | None, str]:
    """Column, if one is named, and metric. Both may have dots."""
    names = sorted({*VENDORS["number"], *VENDORS["category"], *SHORT, *OURS}, key=len, reverse=True)
    if key in names:
        return None, SHORT.get(key, key)
    for name in names:
        if key.endswith(f".{name}"):
            column = key.removesuffix(f".{name}")
            if column not in columns:
                raise SpecError(f"MonitorSpec.thresholds: {key!r}: no column {column!r} is watched; they are {', '.join(columns)}")
            return column, SHORT.get(name, name)
    raise _unknown(f"thresholds: {key!r}")


def _known(metric: str, what: str) -> None:
    if metric not in {*VENDORS["number"], *VENDORS["category"], *OURS}:
        raise _unknown(what)


def _unknown(what: str) -> SpecError:
    theirs = dict.fromkeys((*VENDORS["number"], *VENDORS["category"]))
    return SpecError(f"MonitorSpec.{what} is no metric", hint=f"Databricks has {', '.join(theirs)}; mlport {', '.join(OURS)}")


def _has(metric: str, kind: Kind) -> bool:
    if metric in VENDORS["number"] or metric in VENDORS["category"]:
        return metric in VENDORS[kind]
    return Definition(metric).fits(kind)


def _translated(metric: str, kind: Kind, value: float) -> Said:
    if metric in DELTAS and kind in DELTAS[metric]:
        return metric, value, "above"
    if metric in VENDORS[kind]:
        said = DIALECT.threshold(DIALECT.metric(metric, kind), value)
        return said.metric, said.value, said.alarm
    other: Kind = "category" if kind == "number" else "number"
    if metric in VENDORS[other]:
        raise UnsupportedError(DIALECT.name, [(metric, f"it is of {PLURAL[other]} only; {PLURAL[kind]} have {', '.join(VENDORS[kind])}")])
    return _of_ours(metric, kind, value)


def _of_ours(metric: str, kind: Kind, value: float) -> Said:
    """One of mlport's thresholds: the dialect says what it is there. The rate of missing values is a share here, and percent there."""
    if metric == "missing":
        return "percent_null_delta", 100 * value, "above"
    fitting: Sequence[Definition] = of_kind(definitions([metric], None), kind)
    if not fitting:
        raise UnsupportedError(DIALECT.name, [(metric, f"{PLURAL[kind]} have no such metric")])
    said = DIALECT.threshold(fitting[0], value, kind=kind)
    return said.metric, said.value, said.alarm
