"""A batch of rows as an Arrow table to its predictions as an Arrow array, by the path that the model server would take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlport.batch.inputs import BadRowError
from mlport.capture.tables import ARROW
from mlport.errors import UsageError
from mlport.serving import answers
from mlport.serving.flavors import Model
from mlport.serving.gathering import dtype_of
from mlport.serving.refusals import RefusedError


def kinds_of(model: Model, columns: list[str], where: str) -> dict[str, str]:
    """The columns that the model takes from a file that has these, and MLflow's type of each.

    A model without named columns takes all, in the file's order.

    Raises:
        UsageError: when a column that the model needs is missing.
    """
    signature = model.signature
    if not signature.names:
        return dict.fromkeys(columns, "other")
    if not signature.named:
        if len(columns) < len(signature.names):
            raise UsageError(f"{where}: the model takes {len(signature.names)} columns, and there are {len(columns)}")
        return dict(zip(columns, signature.kinds, strict=False))
    try:
        signature.check_columns([name for name in columns if name in signature.names])
    except RefusedError as refused:
        raise UsageError(f"{where}: {refused.message}", hint=f"its columns are: {', '.join(columns)}") from refused
    return {name: kind for name, kind in zip(signature.names, signature.kinds, strict=True) if name in columns}


def score(model: Model, rows: pa.Table, kinds: dict[str, str], where: str) -> pa.Array:
    """One prediction a row.

    Args:
        where: Names the file and the first row, for errors.

    Raises:
        BadRowError: when a column is of another type, lacks values that it needs, or the model fails.
    """
    columns = {name: _typed(rows.column(name), name, kind, where) for name, kind in kinds.items()}
    try:
        predictions = _predict(model, columns)
    except RefusedError as refused:
        raise BadRowError(f"{where}: {refused.message}") from refused
    except Exception as error:  # the model's own code may raise anything
        raise BadRowError(f"{where}: the model failed: {type(error).__name__}: {error}") from error
    array = _as_arrow(predictions)
    if len(array) != len(rows):
        raise BadRowError(f"{where}: the model gave {len(array)} predictions for {len(rows)} rows")
    return array


def _typed(column: pa.ChunkedArray, name: str, kind: str, where: str) -> pa.ChunkedArray:
    """The column in its declared type; whole numbers may become floats, nothing else changes its meaning."""
    if kind not in ARROW:
        return column
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    target = ARROW[kind]
    if not _may_become(column.type, target):
        raise BadRowError(f"{where}: column {name!r} is {column.type}, and the model takes {kind}")
    if kind in ("long", "integer", "boolean") and column.null_count:
        first = pc.index(pc.is_null(column), True).as_py()
        raise BadRowError(f"{where}: column {name!r} has no value {first} rows further on, and {kind} must have one")
    try:
        return column.cast(target, safe=pa.types.is_integer(target))
    except pa.ArrowInvalid as error:
        raise BadRowError(f"{where}: column {name!r}: {error}") from error


def _may_become(given: pa.DataType, target: pa.DataType) -> bool:
    if given == target or pa.types.is_null(given):
        return True
    if pa.types.is_string(target):
        return bool(pa.types.is_large_string(given) or pa.types.is_string_view(given))
    if pa.types.is_floating(target):
        return bool(pa.types.is_floating(given) or pa.types.is_integer(given) or pa.types.is_decimal(given))
    return bool(pa.types.is_integer(target) and pa.types.is_integer(given))


def _predict(model: Model, columns: dict[str, pa.ChunkedArray]) -> Any:
    if model.path == "ndarray":
        dtype = dtype_of(model.signature)
        return model.call(np.column_stack([column.to_numpy().astype(dtype, copy=False) for column in columns.values()]))
    frame = pa.table(columns).to_pandas()
    if not model.signature.named and model.signature.names:
        frame.columns = range(len(frame.columns))
    return model.call(frame) if model.path == "dataframe" else model.pyfunc.predict(frame)


def _as_arrow(predictions: Any) -> pa.Array:
    """Scalars, lists of values where there are several a row, or structs for a table."""
    if isinstance(predictions, np.ndarray) and predictions.ndim == 1 and predictions.dtype.kind in "biuf":
        return pa.array(predictions)
    if isinstance(predictions, np.ndarray) and predictions.ndim == 2 and predictions.dtype.kind in "biuf":
        rows, width = predictions.shape
        offsets = pa.array(range(0, rows * width + 1, width) if width else [0] * (rows + 1), pa.int32())
        return pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(predictions).reshape(-1)))
    return pa.array(list(answers.plain(predictions)))
