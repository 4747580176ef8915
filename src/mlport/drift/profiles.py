"""A profile: what is kept of a table to compare others with it, a few kB a column, mergeable, versioned."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from mlport.drift import columns, ingest, kernels, observed
from mlport.drift.cells import Cells
from mlport.drift.columns import MOST_CATEGORIES, Family
from mlport.drift.ingest import Source
from mlport.drift.kernels import Kernel, Version
from mlport.drift.observed import Observed
from mlport.drift.records import plain
from mlport.errors import UsageError

FORMAT = 1
SUFFIX = ".profile"
_SCALARS = ("low", "high", "missing", "rows", "minimum", "maximum", "squares")


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column: its Arrow type in words, the unit of its numbers, and its sketch."""

    type: str
    unit: str
    observed: Observed


@dataclass(frozen=True, slots=True)
class Profile:
    """Sketches of a table's columns. `a | b` is the profile of both tables' rows, in any order of merging."""

    rows: int
    columns: Mapping[str, ColumnProfile]
    ignored: Mapping[str, str]
    """Columns of types that cannot be compared, with the type."""

    def __or__(self, other: Profile) -> Profile:
        if (own := _shape(self)) != (theirs := _shape(other)):
            differing = sorted(set(own.items()) ^ set(theirs.items()))
            raise UsageError(f"profiles of different columns cannot be merged: {', '.join(sorted({name for name, _ in differing}))}")
        merged = {
            name: ColumnProfile(one.type, one.unit, observed.join(one.observed, other.columns[name].observed))
            for name, one in self.columns.items()
        }
        return Profile(self.rows + other.rows, merged, {**self.ignored, **other.ignored})

    def to_json(self) -> dict[str, Any]:
        found = {
            name: {"type": one.type, "unit": one.unit, "family": one.observed.family, **_observed_json(one.observed)}
            for name, one in self.columns.items()
        }
        return {"format": FORMAT, "rows": self.rows, "columns": found, "ignored": dict(self.ignored)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Profile:
        """Raises UsageError: it is no profile, or of a newer version."""
        if found.get("format") != FORMAT:
            raise UsageError(f"the profile has format {found.get('format')!r}; this version of mlport reads {FORMAT}")
        try:
            columns = {name: ColumnProfile(one["type"], one["unit"], _observed_of(one)) for name, one in found["columns"].items()}
            return cls(int(found["rows"]), columns, dict(found["ignored"]))
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise UsageError(f"the profile is damaged: {error!r}") from error

    def to_bytes(self) -> bytes:
        return zlib.compress(json.dumps(self.to_json(), allow_nan=False).encode())

    @classmethod
    def from_bytes(cls, content: bytes) -> Profile:
        """Raises UsageError: it is no profile, or of a newer version."""
        try:
            found = json.loads(zlib.decompress(content))
        except (zlib.error, ValueError) as error:
            raise UsageError("this is no profile of mlport") from error
        if not isinstance(found, Mapping):
            raise UsageError("this is no profile of mlport")
        return cls.from_json(found)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it to a file whose name ends with `.profile`, which `compare` takes like any other."""
        if Path(path).suffix != SUFFIX:
            raise UsageError(f"{str(path)!r} does not end with {SUFFIX!r}")
        Path(path).write_bytes(self.to_bytes())
        return Path(path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Profile:
        try:
            return cls.from_bytes(Path(path).read_bytes())
        except OSError as error:
            raise UsageError(f"the profile {str(path)!r} cannot be read: {error.strerror}") from error
        except UsageError as error:
            raise UsageError(f"{str(path)!r}: {error.message}") from error


def profile(
    data: Any,
    *,
    columns: Sequence[str] | None = None,
    kinds: Mapping[str, str] | None = None,
    threads: int = 2,
    kernel: Version = "auto",
) -> Profile:
    """The profile of a table: a path, an Arrow table, dataset or reader, a pandas or polars frame, a mapping of columns.

    Read once, in batches. A string column with more than 1,000 distinct values keeps only how long they are.

    Args:
        data: The table.
        columns: Only these; all if not given.
        kinds: `category` for a column of numbers that are names, as in `compare`.
        threads: How many columns are worked on at once.
        kernel: `numpy` and `compiled` give the same; see `mlport.drift.kernels`.

    Raises:
        UsageError: it is no table, cannot be read, or lacks a column.

    Example:
        >>> day = profile({"age": [31.0, 42.0, None]})
        >>> week = day | profile({"age": [50.0]})
        >>> week.rows, week.columns["age"].observed.sample.total
        (4, 3.0)
    """
    return of_source(ingest.source(data, "data"), columns, kinds or {}, threads, kernel)


def of_source(source: Source, wanted: Sequence[str] | None, kinds: Mapping[str, str], threads: int, version: Version) -> Profile:
    """The profile of what a source has of the columns wanted."""
    there = source.schema.names
    if wanted is not None and (absent := [name for name in wanted if name not in there and name not in source.mixed]):
        raise UsageError(f"{source.name} has no column {absent[0]!r}: {', '.join(there)}")
    fields = [source.schema.field(name) for name in (there if wanted is None else wanted) if name in there]
    families = {field.name: observed.family_of(field.type, kinds.get(field.name)) for field in fields}
    known = {name: family for name, family in families.items() if family is not None}
    most = {name: None if kinds.get(name) == "category" else MOST_CATEGORIES for name in known}
    sketches = {name: observed.empty(family, _width(source.schema.field(name).type)) for name, family in known.items()}
    rows = 0
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        loops = kernels.choose(version, (source.rows() or 0) * len(known))
        for names in source.parts(list(known) or there[:1]):  # of a table without a column to compare the rows are counted
            rows = 0
            for batch in source.batches(names):
                rows += batch.num_rows
                read = [name for name in names if name in known]
                work = partial(_read, sketches, batch, known, most, loops)
                sketches |= dict(zip(read, pool.map(work, read), strict=True))
    found = {name: ColumnProfile(type_name(field.type), columns.unit(field.type), sketches[name]) for name, field in _named(fields, known)}
    mixed = {name: types for name, types in source.mixed.items() if wanted is None or name in wanted}
    return Profile(rows, found, {**{field.name: str(field.type) for field in fields if field.name not in known}, **mixed})


def _read(
    sketches: Mapping[str, Observed], batch: pa.Table, known: Mapping[str, Family], most: Mapping[str, int | None], loops: Kernel, name: str
) -> Observed:
    return observed.read(sketches[name], batch[name], known[name], loops, most[name])


def type_name(kind: pa.DataType) -> str:
    """A type in words, without how it is encoded."""
    if pa.types.is_dictionary(kind):
        return type_name(kind.value_type)
    return "string" if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) else str(kind)


def _named(fields: Iterable[pa.Field], known: Mapping[str, Family]) -> list[tuple[str, pa.Field]]:
    return [(field.name, field) for field in fields if field.name in known]


def _width(kind: pa.DataType) -> int:
    return int(kind.list_size) if pa.types.is_fixed_size_list(kind) else 0


def _shape(found: Profile) -> dict[str, tuple[str, str]]:
    return {name: (one.observed.family, one.unit) for name, one in found.columns.items()}


def _observed_json(found: Observed) -> dict[str, Any]:
    sample = cast(Cells, found.sample)
    scalars = {name: plain(getattr(sample, name)) for name in _SCALARS}
    mean = plain(sample.mean) if sample.finite else None
    said: dict[str, Any] = {**scalars, "mean": mean, "cells": _packed(sample), "counts": None if found.kept is None else dict(found.kept)}
    if found.sums is not None:
        said |= {"sums": plain(found.sums.tolist()), "vectors": found.vectors}
    return said


def _observed_of(found: Mapping[str, Any]) -> Observed:
    starts, levels, counts, sums = _unpacked(found["cells"])
    scalars: dict[str, Any] = {
        name: float(found[name]) if isinstance(found[name], str) else found[name] for name in _SCALARS
    }  # "inf" is one
    mean = np.nan if found["mean"] is None else float(found["mean"])
    sample = Cells(starts, levels, counts, sums, mean=mean, **scalars)
    vectors = np.array(found["sums"], np.float64) if "sums" in found else None
    return Observed(found["family"], sample, kept=found["counts"], sums=vectors, vectors=float(found.get("vectors", 0.0)))


def _packed(sample: Cells) -> str:
    """Four arrays, little-endian, each as its bytes of one significance after the other, which compress better; in base64."""
    arrays = (
        np.diff(sample.starts, prepend=np.uint64(0)).astype("<u8"),
        sample.levels,
        sample.counts.astype("<i8"),
        sample.sums.astype("<f8"),
    )
    planes = b"".join(np.ascontiguousarray(array.view(np.uint8).reshape(len(array), array.itemsize).T).tobytes() for array in arrays)
    return base64.b64encode(zlib.compress(planes, 9)).decode()


def _unpacked(text: str) -> tuple[Any, Any, Any, Any]:
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    size, over = divmod(planes.size, 25)
    if over:
        raise ValueError(f"{planes.size} bytes of cells are no multiple of 25")

    def array(start: int, width: int, kind: str) -> Any:
        part = planes[start * size : (start + width) * size]
        return np.ascontiguousarray(part.reshape(width, size).T).reshape(-1).view(kind)

    return np.cumsum(array(0, 8, "<u8"), dtype=np.uint64), array(8, 1, "u1"), array(9, 8, "<i8").astype(np.int64), array(17, 8, "<f8")
