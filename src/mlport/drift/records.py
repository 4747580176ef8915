"""What a comparison gives: readings with their definitions, findings that are no numbers, columns, slices, the whole report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Literal

from mlport.drift.definitions import Definition, Kind
from mlport.errors import NotFoundError

FindingKind = Literal[
    "missing column", "new column", "type changed", "not compared", "range left", "new categories", "vanished categories",
    "infinite values", "all missing", "both missing", "no rows",
]  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """One metric of one column.

    `value` is None where there is none, and `why` says so. `lo` and `hi` are given where the value came of a sketch: the exact value
    lies between them. `threshold` is what was asked for; `beyond` whether the value is above it, None where the interval does not tell.
    """

    definition: Definition
    value: float | None
    lo: float | None = None
    hi: float | None = None
    threshold: float | None = None
    why: str = ""
    test: Callable[[], float] | None = field(default=None, repr=False, compare=False)

    @cached_property
    def p(self) -> float | None:
        """The p-value of its test, computed when asked for; None where there is no test, or the value is not exact."""
        return self.test() if self.test is not None else None

    @property
    def exact(self) -> bool:
        return self.value is not None and self.lo is None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Bounds that contain the exact value, which are the value itself where it is exact."""
        if self.value is None:
            return None
        return (self.value if self.lo is None else self.lo, self.value if self.hi is None else self.hi)

    @property
    def beyond(self) -> bool | None:
        if self.threshold is None or self.interval is None:
            return None
        lo, hi = self.interval
        return True if lo > self.threshold else False if hi <= self.threshold else None

    def to_json(self, *, p_values: bool = True) -> dict[str, Any]:
        """As plain data. An infinite value is the text "inf": JSON has no number for it."""
        said = {"value": self.value, "lo": self.lo, "hi": self.hi, "threshold": self.threshold, "beyond": self.beyond}
        return {
            **{key: plain(value) for key, value in said.items()},
            "p": self.p if p_values else None,
            "why": self.why or None,
            "definition": self.definition.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found besides the metrics, with the words for people and what stood on each side."""

    kind: FindingKind
    column: str
    message: str
    reference: Any = None
    current: Any = None

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "column": self.column,
            "message": self.message,
            "reference": plain(self.reference),
            "current": plain(self.current),
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """One side of a column: rows (sum of the weights, if weighted), the share missing, and of numbers the least, greatest, mean, deviation.

    The last four are of the finite values; of texts they are of lengths in characters, of embeddings of Euclidean norms.
    """

    rows: float
    missing: float | None
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    std: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {name: plain(getattr(self, name)) for name in ("rows", "missing", "minimum", "maximum", "mean", "std")}


@dataclass(frozen=True, slots=True)
class Histogram:
    """What a picture is drawn of: the shares of each bin, the names of categories or the inner edges of the bins."""

    reference: Sequence[float]
    current: Sequence[float]
    edges: Sequence[float] = ()
    names: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "edges": list(self.edges),
            "names": list(self.names),
            "reference": list(self.reference),
            "current": list(self.current),
        }


@dataclass(frozen=True, slots=True)
class ColumnReport:
    """Everything about one column: `column["ks"].value`."""

    name: str
    kind: Kind
    unit: str
    readings: Mapping[str, Reading]
    reference: Summary
    current: Summary
    histogram: Histogram | None = None

    def __getitem__(self, metric: str) -> Reading:
        if metric not in self.readings:
            raise NotFoundError(
                f"column {self.name!r} ({self.kind}) has no reading {metric!r}: {', '.join(self.readings)}",
                hint="metrics differ by the kind of a column; compare(kinds={...}) changes the kind",
            )
        return self.readings[metric]

    def __iter__(self) -> Iterator[str]:
        return iter(self.readings)

    def to_json(self, *, p_values: bool = True) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "unit": self.unit or None,
            "reference": self.reference.to_json(),
            "current": self.current.to_json(),
            "readings": {name: reading.to_json(p_values=p_values) for name, reading in self.readings.items()},
            "histogram": self.histogram.to_json() if self.histogram else None,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """A comparison of two samples: `report.column("age")["ks"].value`; findings; and one report for each slice that was asked for."""

    columns: Mapping[str, ColumnReport]
    findings: Sequence[Finding]
    rows_reference: int
    rows_current: int
    sketched: bool = False
    slices: Mapping[str, Report] = field(default_factory=dict)

    def column(self, name: str) -> ColumnReport:
        """Raises NotFoundError, with the nearest name or why the column was not compared."""
        if name in self.columns:
            return self.columns[name]
        why = [finding.message for finding in self.findings if finding.column == name]
        near = get_close_matches(name, self.columns, 1)
        said = why[0] if why else f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(self.columns)}"
        raise NotFoundError(f"no column {name!r} was compared: {said}")

    @property
    def beyond(self) -> list[tuple[str, Reading]]:
        """The readings above their thresholds, with their columns' names."""
        return [(name, reading) for name, column in self.columns.items() for reading in column.readings.values() if reading.beyond]

    def to_json(self, *, p_values: bool = True) -> dict[str, Any]:
        return {
            "format": 1,
            "rows_reference": self.rows_reference,
            "rows_current": self.rows_current,
            "sketched": self.sketched,
            "columns": [column.to_json(p_values=p_values) for column in self.columns.values()],
            "findings": [finding.to_json() for finding in self.findings],
            "slices": {name: report.to_json(p_values=p_values) for name, report in self.slices.items()},
        }


def plain(value: Any) -> Any:
    """A number that JSON can hold: infinity and NaN become text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
