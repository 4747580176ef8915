"""Comparing two tables: what stands on each side, which way each column takes, and one report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlport.drift import columns as arrow
from mlport.drift import findings, ingest, kernels, observed, profiles, readings
from mlport.drift.definitions import Bins, Definition, Kind, definitions, of_kind
from mlport.drift.ingest import Source
from mlport.drift.kernels import Floats, Kernel, Version
from mlport.drift.observed import Observed
from mlport.drift.profiles import Profile
from mlport.drift.records import ColumnReport, Finding, Reading, Report
from mlport.errors import UsageError

MEMORY = 256 << 20
"""Bytes of a table up to which it is taken whole and compared exactly."""
MOST_SLICES = 100
Refine = Literal["auto", "always", "never"]
Thresholds = Mapping[str | tuple[str, str], float]
KINDS: tuple[Kind, ...] = ("number", "category", "text", "embedding")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked for, once, for all columns."""

    wanted: tuple[Definition, ...]
    kinds: Mapping[str, str]
    thresholds: Thresholds
    refine: Refine
    weights: str | None
    memory: int
    threads: int
    version: Version


@dataclass(frozen=True, slots=True)
class _Side:
    """One side: the table where it is in memory, else the profile; and where to read it again."""

    table: pa.Table | None
    profile: Profile | None
    source: Source | None
    weights: Floats | None = None

    @property
    def rows(self) -> int:
        return int(self.table.num_rows) if self.table is not None else self.profile.rows if self.profile is not None else 0

    def observe(self, name: str, family: arrow.Family, kernel: Kernel) -> Observed:
        if self.table is not None:
            return observed.observe(self.table[name], family, kernel, self.weights)
        if self.profile is None:
            raise AssertionError(name)
        return self.profile.columns[name].observed

    def exactly(self, name: str, family: arrow.Family, kernel: Kernel) -> Observed:
        """The same column, read again alone."""
        if self.table is not None or self.source is None:
            return self.observe(name, family, kernel)
        return observed.observe(self.source.table([name])[name], family, kernel)

    @property
    def can_be_exact(self) -> bool:
        return self.table is not None or (self.source is not None and self.source.again)


def compare(
    reference: Any,
    current: Any,
    *,
    columns: Sequence[str] | None = None,
    metrics: Sequence[str | Definition] | None = None,
    bins: Bins | None = None,
    kinds: Mapping[str, Kind] | None = None,
    thresholds: Thresholds | None = None,
    refine: Refine = "auto",
    weights: str | None = None,
    by: str | Sequence[str] = (),
    memory: int = MEMORY,
    threads: int = 2,
    kernel: Version = "auto",
) -> Report:
    """How far two samples of the same columns are apart, by every metric that their kinds have.

    Tables of up to `memory` bytes are compared exactly. Larger ones, and profiles, are compared by sketches: each reading is an estimate
    with bounds that contain the exact value, and is computed exactly where a threshold lies between the bounds and the data are at hand.

    Args:
        reference: A path (Parquet, CSV, Arrow; a folder or list of them), an Arrow table, dataset or reader, a pandas or polars frame, a
            mapping of columns, a `Profile` or the path of one.
        current: The same.
        columns: Only these; all of the reference if not given.
        metrics: Names or definitions; all if not given.
        bins: For all metrics of histograms of numbers that are not given as definitions.
        kinds: By column: `category` for numbers that are names, `text` for strings of which the lengths matter, `category` for strings
            with more than 1,000 distinct values.
        thresholds: By metric, or by (column, metric), which stands over it: a reading above it is `beyond`.
        refine: `auto` reads again what a threshold leaves open, `always` everything that is sketched, `never` nothing.
        weights: A column of both tables with the weight of each row, for tables in memory. There are no p-values then.
        by: Columns by whose values the tables are cut into slices, each compared too. For tables in memory.
        memory: Bytes up to which a table is taken whole.
        threads: How many columns are worked on at once.
        kernel: `numpy` and `compiled` give the same numbers; `auto` loads the compiled one for large tables.

    Returns:
        Columns missing, new or of another type are among its findings.

    Raises:
        UsageError: it is no table or cannot be read, or an argument names what is not there.

    Example:
        >>> report = compare({"age": [31.0, 42.0, 58.0]}, {"age": [42.0, 58.0, 63.0]})
        >>> round(report.column("age")["ks"].value, 4), round(report.column("age")["ks"].p, 4)
        (0.3333, 1.0)
    """
    asked = _Asked(definitions(metrics, bins), kinds or {}, thresholds or {}, refine, weights, memory, threads, kernel)
    slices = [by] if isinstance(by, str) else list(by)
    aside = {name for name in (weights, *slices) if name is not None}
    one, two = opened(reference, "the reference"), opened(current, "the current sample")
    schemas = _schema(one), _schema(two)
    names, families, found = findings.of_schemas(*schemas, columns, asked.kinds, aside)
    _check(asked, {name for schema in schemas for name in schema.fields}, families)
    named = {
        name for name, family in families.items() if family == "string" and any(each.fields[name].family == "number" for each in schemas)
    }
    asked = replace(asked, kinds={**asked.kinds, **dict.fromkeys(named, "category")})
    first, second = (_read(side, [*names, *sorted(aside)], asked, bool(slices)) for side in (one, two))
    return _compared(first, second, families, findings.without_rows(found, first.rows, second.rows), asked, slices)


def _compared(
    first: _Side, second: _Side, families: Mapping[str, arrow.Family], found: Sequence[Finding], asked: _Asked, slices: Sequence[str]
) -> Report:
    loops = kernels.choose(asked.version, (first.rows + second.rows) * len(families))
    with ThreadPoolExecutor(max(asked.threads, 1)) as pool:
        both = list(pool.map(lambda name: _column(name, families[name], first, second, asked, loops), families))
    sketched = any(reading.lo is not None for column, _ in both for reading in column.readings.values())
    return Report(
        {column.name: column for column, _ in both},
        [*found, *(finding for _, its in both for finding in its)],
        first.rows,
        second.rows,
        sketched,
        {name: report for by in slices for name, report in _sliced(by, first, second, families, asked)},
    )


def _column(
    name: str, family: arrow.Family, first: _Side, second: _Side, asked: _Asked, kernel: Kernel
) -> tuple[ColumnReport, list[Finding]]:
    a = first.observe(name, family, kernel)
    b = (
        second.observe(name, family, kernel)
        if second.table is None or not a.sketched
        else observed.like(a, second.table[name], family, kernel)
    )
    kind = _kind(name, family, a, asked)
    wanted = of_kind(asked.wanted, kind)
    found = _with_thresholds(name, readings.readings(kind, a, b, wanted, kernel), asked.thresholds)
    sketched = (a.sketched or b.sketched) and first.can_be_exact and second.can_be_exact
    if sketched and (again := [each for each in wanted if _open(found[each.key], asked.refine)]):
        a, b = first.exactly(name, family, kernel), second.exactly(name, family, kernel)
        exact = readings.readings(kind, a, b, again, kernel)
        found = {**found, **_with_thresholds(name, exact, asked.thresholds)}
    report = ColumnReport(name, kind, _unit(first, name), found, a.summary(), b.summary(), readings.histogram(kind, a, b))
    return report, findings.of_column(name, kind, a, b)


def _kind(name: str, family: arrow.Family, reference: Observed, asked: _Asked) -> Kind:
    if family != "string":
        return "embedding" if family == "embedding" else "number"
    if name in asked.kinds:
        return "text" if asked.kinds[name] == "text" else "category"
    return "category" if reference.few else "text"


def _with_thresholds(name: str, found: Mapping[str, Reading], thresholds: Thresholds) -> dict[str, Reading]:
    asked = {key: thresholds.get((name, key), thresholds.get(key)) for key in found}
    return {key: reading if asked[key] is None else replace(reading, threshold=asked[key]) for key, reading in found.items()}


def _open(reading: Reading, refine: Refine) -> bool:
    """Whether a reading of a sketch is to be made exact."""
    if refine == "never" or reading.exact:
        return False
    return refine == "always" or (reading.threshold is not None and reading.beyond is None)


def _sliced(by: str, first: _Side, second: _Side, families: Mapping[str, arrow.Family], asked: _Asked) -> list[tuple[str, Report]]:
    """A report for each value of a column that either side has; rows without a value are in none."""
    if first.table is None or second.table is None:
        raise AssertionError(by)
    texts = [arrow.strings(side.table[by]).counts() for side in (first, second) if side.table is not None]
    values = list(dict.fromkeys(value for each in texts for value in each))
    if len(values) > MOST_SLICES:
        raise UsageError(
            f"by: column {by!r} has {len(values):,} values; at most {MOST_SLICES} slices are made", hint="put values together first"
        )
    own = {name: family for name, family in families.items() if name != by}
    found = []
    for value in values:
        one, two = (_slice(side, by, value) for side in (first, second))
        found.append((f"{by}={value}", _compared(one, two, own, (), asked, ())))
    return found


def _slice(side: _Side, by: str, value: str) -> _Side:
    if side.table is None:
        raise AssertionError(by)
    rows = pc.fill_null(pc.equal(arrow.text(side.table[by]), value), False)
    weights = None if side.weights is None else side.weights[rows.to_numpy().astype(bool)]
    return replace(side, table=side.table.filter(rows), source=None, weights=weights)


def opened(data: Any, name: str) -> Profile | Source:
    """What `compare` reads: a table of any form, or a profile. What is opened already stays as it is."""
    if isinstance(data, str | PathLike) and Path(data).suffix == profiles.SUFFIX:
        return Profile.load(data)
    return data if isinstance(data, Profile) else ingest.source(data, name)


def _schema(side: Profile | Source) -> findings.Schema:
    if isinstance(side, Profile):
        known = {name: findings.Field(one.observed.family, one.type, one.unit, True) for name, one in side.columns.items()}
        return findings.Schema("the profile", {**known, **{name: findings.Field(None, kind, "") for name, kind in side.ignored.items()}})
    fields = {
        field.name: findings.Field(arrow.family(field.type), profiles.type_name(field.type), arrow.unit(field.type))
        for field in side.schema
    }
    return findings.Schema(side.name, {**fields, **{name: findings.Field(None, types, "") for name, types in side.mixed.items()}})


def _read(side: Profile | Source, names: Sequence[str], asked: _Asked, slices: bool) -> _Side:
    """A side as it will be compared: whole where it fits into memory."""
    if isinstance(side, Profile):
        _whole_only(asked, slices, "a profile")
        return _Side(None, side, None)
    if side.bytes() <= asked.memory:
        table = side.table(names)
        return _Side(table, None, side, _weights(table, asked.weights, side.name))
    _whole_only(asked, slices, f"{side.name}, which is larger than memory={asked.memory:,} bytes,")
    return _Side(None, profiles.of_source(side, names, asked.kinds, asked.threads, asked.version), side)


def _whole_only(asked: _Asked, slices: bool, what: str) -> None:
    if asked.weights is not None or slices:
        wanted = "weights" if asked.weights is not None else "by"
        raise UsageError(f"{wanted}: {what} cannot be weighted or sliced", hint="give tables that fit into memory, or raise memory=")


def _weights(table: pa.Table, name: str | None, side: str) -> Floats | None:
    if name is None:
        return None
    if arrow.family(table[name].type) != "number":
        raise UsageError(f"weights: column {name!r} of {side} is {table[name].type}, and must be of numbers")
    found = arrow.aligned(table[name])
    if not np.isfinite(found).all() or (found < 0).any():
        raise UsageError(f"weights: column {name!r} of {side} has negative, infinite or missing weights")
    return found


def _unit(side: _Side, name: str) -> str:
    return (
        arrow.unit(side.table[name].type) if side.table is not None else side.profile.columns[name].unit if side.profile is not None else ""
    )


def _check(asked: _Asked, names: set[str], families: Mapping[str, arrow.Family]) -> None:
    for name, kind in asked.kinds.items():
        if kind not in KINDS:
            raise UsageError(f"kinds: {name!r} is {kind!r}; a kind is one of {', '.join(KINDS)}")
        fitting = {"number": ("number",), "string": ("category", "text"), "embedding": ("embedding",)}
        if name in families and kind not in fitting[families[name]]:
            raise UsageError(f"kinds: column {name!r} cannot be {kind!r}; it can be {' or '.join(fitting[families[name]])}")
    keys = {definition.key for definition in asked.wanted}
    for key in asked.thresholds:
        metric = key[1] if isinstance(key, tuple) else key
        if metric not in keys or (isinstance(key, tuple) and key[0] not in names):
            raise UsageError(f"thresholds: there is no {key!r}; metrics are {', '.join(sorted(keys))}")
