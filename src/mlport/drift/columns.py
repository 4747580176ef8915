"""From Arrow columns to what the metrics take: ordered numbers, counts of categories, lengths of texts, norms of embeddings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlport.drift import ordered
from mlport.drift.kernels import Floats, Kernel
from mlport.drift.ordered import Ordered

Family = Literal["number", "string", "embedding"]
MOST_CATEGORIES = 1_000
"""A string column with more distinct values in the reference is a text: of it the lengths are compared."""
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def family(kind: pa.DataType) -> Family | None:
    """What can be done with a column of this type; None if nothing. A string may turn out as category or text."""
    types = pa.types
    if types.is_dictionary(kind):
        return "string" if family(kind.value_type) == "string" else None
    if types.is_boolean(kind) or types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "string"
    if types.is_fixed_size_list(kind):
        return "embedding" if types.is_floating(kind.value_type) or types.is_integer(kind.value_type) else None
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_temporal(kind):
        return None if types.is_interval(kind) else "number"
    return None


def unit(kind: pa.DataType) -> str:
    """What the numbers of a column of time are in; empty for other numbers."""
    if pa.types.is_date(kind):
        return "days since 1970-01-01"
    if pa.types.is_timestamp(kind):
        return "seconds since 1970-01-01" + (" UTC" if kind.tz else "")
    return "seconds" if pa.types.is_duration(kind) or pa.types.is_time(kind) else ""


@dataclass(frozen=True, slots=True)
class Strings:
    """The distinct values of a column of strings or booleans, the weight of each, and the weight of nulls."""

    values: pa.Array
    weights: Floats
    missing: float
    rows: int
    weighted: bool = False

    @property
    def distinct(self) -> int:
        return len(self.values)

    def counts(self) -> dict[str, float]:
        """The weight of each value, in the order of first occurrence. Booleans are `true` and `false`."""
        return dict(zip(self.values.to_pylist(), self.weights.tolist(), strict=True))

    def lengths(self) -> Ordered:
        """The lengths in characters."""
        sizes = pc.utf8_length(self.values).to_numpy(zero_copy_only=False).astype(np.float64)
        found = ordered.of_weighted(sizes, self.weights, self.rows, counts=not self.weighted)
        return replace(found, missing=self.missing)


@dataclass(frozen=True, slots=True)
class Embedding:
    """The Euclidean norms of vectors, the sum of the vectors, and how many there are."""

    norms: Ordered
    sums: Floats
    vectors: float


def numbers(column: pa.ChunkedArray, kernel: Kernel) -> Ordered:
    """A column of numbers or times. Null and NaN are missing."""
    nulls = column.null_count
    if (floats := raw(column)) is not None:
        return ordered.of_floats(floats, nulls, kernel)
    kept, scale = _numeric(column.drop_null() if nulls else column)
    if pa.types.is_integer(kept.type):
        if kept.type.bit_width < 64:  # counting takes 64 bits
            kept = kept.cast(pa.int64())
        if not pa.types.is_uint64(kept.type):
            return ordered.of_integers(_array(kept), nulls, scale, kernel)
    return ordered.of_floats(_floats(kept) * scale if scale != 1.0 else _floats(kept), nulls, kernel)


def raw(column: pa.ChunkedArray) -> Floats | None:
    """The values of a column of floats, without nulls; None of any other."""
    if not pa.types.is_floating(column.type):
        return None
    return _floats(column.drop_null() if column.null_count else column)


def aligned(column: pa.ChunkedArray) -> Floats:
    """A column of numbers or times as floats, NaN where missing, one for each row."""
    kept, scale = _numeric(column)
    found = _floats(kept)
    return found * scale if scale != 1.0 else found


def strings(column: pa.ChunkedArray, weights: Floats | None = None) -> Strings:
    """The distinct values, as text, and how often each occurs. Numbers are as they are written."""
    if weights is None and not pa.types.is_dictionary(column.type):
        counted = pc.value_counts(column)
        named, found = text(counted.field("values")), counted.field("counts").to_numpy(zero_copy_only=False).astype(np.float64)
        there = named.is_valid().to_numpy(zero_copy_only=False)
        return Strings(named.filter(pa.array(there)), found[there], float(found[~there].sum()), len(column))
    encoded = column if pa.types.is_dictionary(column.type) else text(column).dictionary_encode()
    encoded = encoded.chunk(0) if encoded.num_chunks == 1 else encoded.unify_dictionaries().combine_chunks()
    encoded = encoded if isinstance(encoded, pa.Array) else pa.concat_arrays(encoded.chunks)
    size = len(encoded.dictionary)
    indices = pc.fill_null(encoded.indices.cast(pa.int64()), size) if encoded.null_count else encoded.indices
    sums = np.bincount(indices.to_numpy(zero_copy_only=False), weights, minlength=size + 1).astype(np.float64)
    kept = sums[:-1] > 0
    names = text(encoded.dictionary).filter(pa.array(kept))
    return Strings(names, sums[:-1][kept], float(sums[-1]), len(column), weighted=weights is not None)


def embeddings(column: pa.ChunkedArray, kernel: Kernel, weights: Floats | None = None) -> Embedding:
    """A column of vectors of one length; a vector with a NaN or null in it is missing."""
    size = column.type.list_size
    there = np.ones(len(column), bool)
    if column.null_count:
        there = column.is_valid().to_numpy()
        column = column.drop_null()
    vectors = _floats(pc.list_flatten(column).cast(pa.float64())).reshape(-1, size)
    weight = np.ones(len(vectors)) if weights is None else weights[there]
    norms = np.full(there.size, np.nan)
    norms[there] = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    whole = np.isfinite(norms[there])
    found = ordered.of_floats(norms, 0, kernel) if weights is None else ordered.of_weighted(norms, weights)
    return Embedding(found, weight[whole] @ vectors[whole], float(weight[whole].sum()))


def matrix(column: pa.ChunkedArray) -> Floats:
    """A column of vectors, one row for each; null is a row of NaN."""
    found = np.full((len(column), column.type.list_size), np.nan)
    there = column.is_valid().to_numpy()
    found[there] = _floats(pc.list_flatten(column.drop_null()).cast(pa.float64())).reshape(-1, column.type.list_size)
    return found


def _numeric(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, float]:
    """Integers or floats, and what to multiply them by to have the column's unit."""
    kind = column.type
    if pa.types.is_date(kind):
        return column.cast(pa.date32()).cast(pa.int32()), 1.0
    if pa.types.is_time32(kind):
        return column.cast(pa.int32()), _SECONDS[kind.unit]
    if pa.types.is_temporal(kind):
        return column.cast(pa.int64()), _SECONDS[kind.unit]
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64()), 1.0
    return column, 1.0


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.asarray(_array(column), np.float64)


def _array(column: pa.ChunkedArray) -> Any:
    """One NumPy array, without a copy where the column is one chunk without nulls; null becomes NaN."""
    if isinstance(column, pa.ChunkedArray) and column.num_chunks == 1:
        return column.chunk(0).to_numpy(zero_copy_only=False)
    return column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(zero_copy_only=False)


def text(values: Any) -> Any:
    """Strings as they are, anything else as it is written."""
    plain = values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values
    return plain if pa.types.is_string(plain.type) else plain.cast(pa.string())
