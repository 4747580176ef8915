"""The rows and predictions inside captured bodies, whichever dialect they were sent in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from mlport.capture.frames import Form, Frame, Origin


class Exchange(NamedTuple):
    """The parsed request and answer of one frame: rows of values in the order of `names`, one prediction a row."""

    names: tuple[str, ...]
    rows: list[Sequence[Any]]
    predictions: list[Any]


class UnreadableError(Exception):
    """The payload has no rows that could be told apart; it is kept as it is."""


def parse(frame: Frame, origin: Origin) -> Exchange:
    """The rows and predictions of a frame.

    Raises:
        UnreadableError: for a request that was refused (status 400 to 499), and one whose form is not known here.
    """
    if 400 <= frame.status < 500:
        raise UnreadableError("it was refused")
    try:
        names, rows = _request(frame, tuple(column.name for column in origin.columns))
        predictions = _answer(frame, len(rows)) if frame.status == 200 else [None] * len(rows)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise UnreadableError(str(error)) from error
    return Exchange(names, rows, predictions)


def _request(frame: Frame, known: tuple[str, ...]) -> tuple[tuple[str, ...], list[Sequence[Any]]]:
    if frame.form == Form.CSV:
        lines = list(csv.reader(io.StringIO(frame.body.decode())))
        return tuple(lines[0]), [[value or None for value in line] for line in lines[1:]]
    if frame.form == Form.OTHER:
        raise ValueError("not a text")
    body = _loads(frame.body)
    if frame.form == Form.TENSORS:
        return _tensors(body["inputs"], known)
    if "dataframe_split" in body:
        split = body["dataframe_split"]
        rows = split["data"]
        return tuple(split.get("columns") or _positions(rows, known)), rows
    rows = body.get("dataframe_records") or body.get("instances") or body.get("inputs")
    if isinstance(rows, dict):
        return tuple(rows), list(zip(*rows.values(), strict=True))
    if isinstance(rows[0], dict):
        names = tuple(dict.fromkeys(name for row in rows for name in row))
        return names, [[row.get(name) for name in names] for row in rows]
    rows = [row if isinstance(row, list) else [row] for row in rows]
    return _positions(rows, known), rows


def _positions(rows: list[Any], known: tuple[str, ...]) -> tuple[str, ...]:
    width = len(rows[0])
    return known if len(known) == width else tuple(f"f{i}" for i in range(width))


def _tensors(inputs: list[dict[str, Any]], known: tuple[str, ...]) -> tuple[tuple[str, ...], list[Sequence[Any]]]:
    first = inputs[0]
    if len(inputs) == 1 and len(first["shape"]) == 2 and (first["shape"][1] > 1 or first["name"] not in known):
        rows = _shaped(first)
        return _positions(rows, known), rows
    return tuple(tensor["name"] for tensor in inputs), list(zip(*(_flat(tensor["data"]) for tensor in inputs), strict=True))


def _answer(frame: Frame, count: int) -> list[Any]:
    body = _loads(frame.answer)
    if frame.form != Form.TENSORS:
        predictions = body["predictions"]
    elif len(body["outputs"]) == 1:
        predictions = _shaped(body["outputs"][0])
    else:
        names = [output["name"] for output in body["outputs"]]
        predictions = [dict(zip(names, values, strict=True)) for values in zip(*map(_shaped, body["outputs"]), strict=True)]
    if not isinstance(predictions, list) or len(predictions) != count:
        raise ValueError(f"the answer is not one prediction for each of {count} rows")
    return predictions


def _shaped(tensor: dict[str, Any]) -> list[Any]:
    """A tensor's values by row: scalars for one dimension, flat lists for more."""
    rows, values = tensor["shape"][0], _flat(tensor["data"])
    if len(tensor["shape"]) == 1:
        return values
    width = len(values) // rows
    return [values[start : start + width] for start in range(0, rows * width, width)]


def _flat(values: list[Any]) -> list[Any]:
    while values and isinstance(values[0], list):
        values = [value for inner in values for value in inner]
    return values


def _loads(data: bytes) -> Any:
    """JSON, as leniently as Python reads it (NaN is a number)."""
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        return json.loads(data)
