"""Captured exchanges as an Arrow table: one row for each row that was scored."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from mlport.capture.frames import Frame, Origin
from mlport.capture.ordering import ORDER
from mlport.capture.payloads import UnreadableError, parse

TIME = pa.timestamp("us", tz="UTC")
ARROW = {
    "double": pa.float64(),
    "float": pa.float32(),
    "long": pa.int64(),
    "integer": pa.int32(),
    "boolean": pa.bool_(),
    "string": pa.string(),
}
"""MLflow's types of columns as Arrow's."""
_NUMBERS = (int, float)


def schema(features: pa.StructType, prediction: pa.DataType) -> pa.Schema:
    """The schema of captured data, the same for every provider.

    Args:
        features: The columns of the request; `f0`, `f1`, ... for a tensor without names.
        prediction: A scalar type, or a list where a row's prediction is several values, probabilities for example.

    Returns:
        `provider_id` and `row` identify a row, and labels join by them; `caller_id` is the caller's own. `latency` in
        seconds; `sampling_rate` the share of requests kept; `raw` the request's body where it could not be parsed.
    """
    return pa.schema(
        [
            ("provider_id", pa.string()),
            ("caller_id", pa.string()),
            ("row", pa.int32()),
            ("time", TIME),
            ("endpoint", pa.string()),
            ("deployment", pa.string()),
            ("model_version", pa.string()),
            ("features", features),
            ("prediction", prediction),
            ("status", pa.int16()),
            ("latency", pa.float64()),
            ("sampling_rate", pa.float64()),
            ("raw", pa.binary()),
        ]
    )


@dataclass
class _Block:
    """Rows that have the same columns."""

    frames: list[Frame] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    rows: list[Sequence[Any]] = field(default_factory=list)
    predictions: list[Any] = field(default_factory=list)
    unparsed: set[int] = field(default_factory=set)


def table(frames: Iterable[Frame], origin: Origin) -> pa.Table:
    """The frames as one table of `schema`, in order of time.

    A request that cannot be parsed is one row without features whose `raw` holds its body.
    """
    kinds = {column.name: column.kind for column in origin.columns}
    blocks: dict[tuple[str, ...], _Block] = defaultdict(_Block)
    for frame in frames:
        _add(blocks, frame, origin)
    tables = [_of_block(names, block, kinds, origin) for names, block in blocks.items()]
    if not tables:
        return schema(pa.struct([]), pa.null()).empty_table()
    from mlport.capture.unifying import conform, unify

    together = unify([part.schema for part in tables])
    joined = pa.concat_tables([conform(part, together) for part in tables])
    return joined.sort_by(ORDER)


def _add(blocks: dict[tuple[str, ...], _Block], frame: Frame, origin: Origin) -> None:
    try:
        names, rows, predictions = parse(frame, origin)
    except UnreadableError:
        block = blocks[()]
        block.unparsed.add(len(block.rows))
        rows, predictions = [()], [None]
    else:
        block = blocks[names]
    block.frames.extend([frame] * len(rows))
    block.numbers.extend(range(len(rows)))
    block.rows.extend(rows)
    block.predictions.extend(predictions)


def _of_block(names: tuple[str, ...], block: _Block, kinds: dict[str, str], origin: Origin) -> pa.Table:
    count, frames = len(block.rows), block.frames
    features = _features(names, block, kinds)
    prediction = _predictions(block.predictions)
    columns = [
        pa.array([frame.request_id for frame in frames], pa.string()),
        pa.array([frame.caller_id for frame in frames], pa.string()),
        pa.array(block.numbers, pa.int32()),
        pa.array([frame.time for frame in frames], pa.int64()).cast(TIME),
        pa.array([origin.endpoint] * count, pa.string()),
        pa.array([origin.deployment] * count, pa.string()),
        pa.array([origin.model_version] * count, pa.string()),
        features,
        prediction,
        pa.array([frame.status for frame in frames], pa.int16()),
        pa.array([frame.latency for frame in frames], pa.float64()),
        pa.array([origin.sampling_rate] * count, pa.float64()),
        pa.array([frame.body if i in block.unparsed else None for i, frame in enumerate(frames)], pa.binary()),
    ]
    return pa.Table.from_arrays(columns, schema=schema(features.type, prediction.type))


def _features(names: tuple[str, ...], block: _Block, kinds: dict[str, str]) -> pa.StructArray:
    """A struct of the columns. A model that has a signature gives it; names that are not in it were not used."""
    used = [i for i, name in enumerate(names) if not kinds or name in kinds]
    columns = [_column([row[i] if i < len(row) else None for row in block.rows], kinds.get(names[i]), block.unparsed) for i in used]
    mask = pa.array([i in block.unparsed or not used for i in range(len(block.rows))], pa.bool_())
    fields = [pa.field(names[i], column.type) for i, column in zip(used, columns, strict=True)]
    if not fields:
        return pa.array([None] * len(block.rows), pa.struct([]))
    return pa.StructArray.from_arrays(columns, fields=fields, mask=mask)


def _column(values: list[Any], kind: str | None, unparsed: set[int]) -> pa.Array:
    """Values in the declared type; a value that has none such becomes null, and its row is marked as unparsed."""
    type_ = ARROW.get(kind or "")
    if type_ is None:
        return _inferred(values)
    try:
        return pa.array(values, type_)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([_converted(value, type_, i, unparsed) for i, value in enumerate(values)], type_)


def _converted(value: Any, type_: pa.DataType, index: int, unparsed: set[int]) -> Any:
    """As MLflow converts what JSON cannot say exactly: numbers sent as text, whole numbers sent as 1.0."""
    if value is None:
        return None
    try:
        as_python: Any = str if pa.types.is_string(type_) else float if pa.types.is_floating(type_) else int
        return pa.scalar(as_python(value), type_).as_py()
    except (ValueError, TypeError, OverflowError, pa.ArrowInvalid):
        unparsed.add(index)
        return None


def _predictions(values: list[Any]) -> pa.Array:
    """Predictions as scalars, or as lists of float64; records of one field are that field, others JSON."""
    values = [next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else value for value in values]
    if any(isinstance(value, list) for value in values):
        try:
            return pa.array(values, pa.list_(pa.float64()))
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return pa.array([_as_text(value) for value in values], pa.string())
    return _inferred(values)


def _inferred(values: list[Any]) -> pa.Array:
    if not any(isinstance(value, dict | list) for value in values):
        try:
            return pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            if all(value is None or isinstance(value, _NUMBERS) for value in values):
                return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([_as_text(value) for value in values], pa.string())


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)
