"""One side of one column, whole or sketched: what all metrics are computed from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from mlport.drift import cells, columns, ordered
from mlport.drift.cells import Cells
from mlport.drift.columns import MOST_CATEGORIES, Family, Strings
from mlport.drift.kernels import Floats, Kernel
from mlport.drift.ordered import Ordered
from mlport.drift.records import Summary

MANY = 100_000
"""Rows from which on a column beside a sketch is sketched too."""


@dataclass(frozen=True, slots=True)
class Observed:
    """`sample` holds numbers, lengths of strings or norms of embeddings. `strings` or `counts` hold categories.

    `counts` None without `strings`: there were more distinct values than are kept. `sums` and `vectors` are of embeddings.
    """

    family: Family
    sample: Ordered | Cells
    strings: Strings | None = None
    kept: Mapping[str, float] | None = None
    sums: Floats | None = None
    vectors: float = 0.0

    @property
    def missing(self) -> float:
        return self.sample.missing

    @property
    def whole(self) -> float:
        """The weight of all rows, missing ones included."""
        return self.sample.total + self.sample.missing

    @property
    def sketched(self) -> bool:
        return isinstance(self.sample, Cells)

    @property
    def few(self) -> bool:
        """Whether the distinct strings are few enough for categories."""
        return self.strings.distinct <= MOST_CATEGORIES if self.strings is not None else self.kept is not None

    def counts(self) -> Mapping[str, float] | None:
        return self.strings.counts() if self.strings is not None else self.kept

    def summary(self) -> Summary:
        sample = self.sample
        mean, std = sample.moments[0], sample.std()
        return Summary(
            self.whole,
            self.missing / self.whole if self.whole else None,
            sample.minimum,
            sample.maximum,
            mean if math.isfinite(mean) else None,
            std if math.isfinite(std) else None,
        )


def family_of(kind: pa.DataType, wanted: str | None) -> Family | None:
    """What a column is read as: numbers wanted as categories are read as strings."""
    found = columns.family(kind)
    return "string" if found == "number" and wanted == "category" else found


def observe(column: pa.ChunkedArray, family: Family, kernel: Kernel, weights: Floats | None = None) -> Observed:
    """One side of a column that is in memory. `weights` has one for each row."""
    if family == "string":
        found = columns.strings(column, weights)
        return Observed(family, found.lengths(), found)
    if family == "embedding":
        vectors = columns.embeddings(column, kernel, weights)
        return Observed(family, vectors.norms, sums=vectors.sums, vectors=vectors.vectors)
    sample = columns.numbers(column, kernel) if weights is None else ordered.of_weighted(columns.aligned(column), weights)
    return Observed(family, sample)


def like(reference: Observed, column: pa.ChunkedArray, family: Family, kernel: Kernel) -> Observed:
    """A column of many numbers beside a sketch: counted in the sketch's cells rather than sorted, which is as good for quantiles."""
    if family == "number" and len(column) >= MANY and isinstance(reference.sample, Cells) and (values := columns.raw(column)) is not None:
        return Observed(family, cells.like_values(reference.sample, values, column.null_count, kernel))
    return observe(column, family, kernel)


def extend(sketched: Observed, batch: Observed, most: int | None = MOST_CATEGORIES) -> Observed:
    """A sketch and one batch more."""
    if not isinstance(sketched.sample, Cells) or not isinstance(batch.sample, Ordered):
        raise TypeError("a sketch is extended by a batch")
    counts = None
    if sketched.kept is not None and batch.strings is not None and (most is None or batch.strings.distinct <= most):
        counts = _sum(sketched.kept, batch.strings.counts(), most)
    return replace(_vectors(sketched, batch), sample=cells.add(sketched.sample, batch.sample), kept=counts)


def read(sketched: Observed, column: pa.ChunkedArray, family: Family, kernel: Kernel, most: int | None = MOST_CATEGORIES) -> Observed:
    """A sketch and one batch more, which is sorted only if it must be."""
    if family == "number" and isinstance(sketched.sample, Cells) and (values := columns.raw(column)) is not None:
        return replace(sketched, sample=cells.tally(sketched.sample, values, column.null_count, kernel))
    return extend(sketched, observe(column, family, kernel), most)


def join(a: Observed, b: Observed, most: int | None = MOST_CATEGORIES) -> Observed:
    """Two sketches of the same column as one."""
    if not isinstance(a.sample, Cells) or not isinstance(b.sample, Cells):
        raise TypeError("only sketches are joined")
    counts = _sum(a.kept, b.kept, most) if a.kept is not None and b.kept is not None else None
    return replace(_vectors(a, b), sample=cells.merge(a.sample, b.sample), kept=counts)


def _vectors(a: Observed, b: Observed) -> Observed:
    if a.sums is None or b.sums is None:
        return a
    return replace(a, sums=a.sums + b.sums, vectors=a.vectors + b.vectors)


def _sum(a: Mapping[str, float], b: Mapping[str, float], most: int | None) -> Mapping[str, float] | None:
    found = dict(a)
    for value, count in b.items():
        found[value] = found.get(value, 0.0) + count
    return found if most is None or len(found) <= most else None


def empty(family: Family, size: int = 0) -> Observed:
    """The sketch of nothing; `size` is that of an embedding's vectors."""
    sums = np.zeros(size) if family == "embedding" else None
    return Observed(family, cells.EMPTY, kept={} if family == "string" else None, sums=sums)
