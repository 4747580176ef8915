"""The way through MLflow itself: its parsing, its enforcement of the signature, its pyfunc model.

Everything that the strict decoders leave alone comes here, so an unusual request gets MLflow's own answer or refusal.
We are stricter than MLflow where it would guess: rows of unequal length, and unknown columns, are refused.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO, StringIO
from typing import Any

from mlport.serving.refusals import RefusedError
from mlport.serving.signature import NUMBERS, Signature

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of type hints in its own code
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc import scoring_server

_FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")
CSV, JSON, PARQUET = "text/csv", "application/json", "application/vnd.apache.parquet"


@dataclass(frozen=True)
class Pyfunc:
    """An MLflow pyfunc model and its signature; every method is for the worker thread."""

    model: Any
    signature: Signature | None

    def score(self, body: bytes, content_type: str) -> Any:
        """Parse a scoring request and predict.

        Raises:
            RefusedError: 400, naming row and column where they can be known; 415 for another content type.
        """
        if content_type == JSON:
            return self._score_json(body)
        return self.predict(self._table(body, content_type))

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Predict for a frame, array or dict of arrays, with the signature enforced."""
        with _refusals():
            return self.model.predict(data, params=params)

    def _score_json(self, body: bytes) -> Any:
        payload = loads(body)
        if self.signature is not None:
            _check(payload, self.signature)
        try:
            with _refusals():
                parsed = scoring_server._parse_json_data(payload, self.model.metadata, self.model.metadata.get_input_schema())
            return self.predict(parsed.data, parsed.params)
        except RefusedError as refused:
            found = _diagnosis(payload, self.signature) if self.signature else None
            raise RefusedError(refused.status, found or refused.message) from refused

    def _table(self, body: bytes, content_type: str) -> Any:
        schema = self.model.metadata.get_input_schema()
        with _refusals():
            if content_type == CSV:
                frame = scoring_server.parse_csv_input(StringIO(_text(body)), schema)
            else:
                frame = scoring_server.parse_parquet_input(BytesIO(body))
        if self.signature is not None:
            self.signature.check_columns(list(frame.columns))
        if not len(frame):
            raise RefusedError(400, "no rows: the body holds a header and nothing else")
        return frame


@contextmanager
def _refusals() -> Iterator[None]:
    """Turns MLflow's 4xx errors into ours; what the model itself raises passes through."""
    try:
        yield
    except MlflowException as error:
        if error.get_http_status_code() >= 500:
            raise
        raise RefusedError(400, _inner_message(error)) from error


def _inner_message(error: MlflowException) -> str:
    """The reason without the copy of the whole data that MLflow wraps around it."""
    inner = error.__context__
    wrapped = error.message.startswith("Failed to enforce schema of data") and inner is not None
    return str(inner if wrapped else error.message).split("IMPORTANT:")[0].strip()


def loads(body: bytes) -> dict[str, Any]:
    """A JSON object, read as leniently as Python does (NaN is a number). Raises RefusedError (400)."""
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"the body is not JSON: {error}") from error
    if not isinstance(payload, dict):
        raise RefusedError(400, f"the body must be a JSON object with one of {', '.join(_FORMATS)}; it is {_kind(payload)}")
    return payload


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise RefusedError(400, f"the body is not UTF-8: {error.reason} at byte {error.start}") from error


def _check(payload: dict[str, Any], signature: Signature) -> None:
    """Refuse what MLflow would quietly fill or drop: ragged rows, rows without a key, unknown columns, no rows."""
    split, records = payload.get("dataframe_split"), payload.get("dataframe_records", payload.get("instances"))
    if isinstance(split, dict) and isinstance(split.get("data"), list):
        _check_split(split.get("columns"), split["data"], signature)
    elif isinstance(records, list) and records and all(isinstance(record, dict) for record in records):
        for i, record in enumerate(records):
            try:
                signature.check_columns(list(record))
            except RefusedError as refused:
                raise RefusedError(400, f"row {i}: {refused.message}") from None
    elif records == []:
        raise RefusedError(400, "no rows: the list is empty")


def _check_split(columns: Any, rows: list[Any], signature: Signature) -> None:
    if isinstance(columns, list):
        signature.check_columns(columns)
    elif signature.named and signature.declared:
        raise RefusedError(400, "dataframe_split.columns is missing: the model takes named columns")
    width = len(columns) if isinstance(columns, list) else len(signature.names)
    if not rows:
        raise RefusedError(400, "no rows: dataframe_split.data is empty")
    for i, row in enumerate(rows):
        if not isinstance(row, list):
            raise RefusedError(400, f"row {i} of dataframe_split.data must be a list of values; it is {_kind(row)}")
        if len(row) != width:
            raise RefusedError(400, f"row {i} has {len(row)} values, and there are {width} columns")


def _diagnosis(payload: dict[str, Any], signature: Signature) -> str | None:
    """The first value that cannot be what its column is declared to be, None where none is found."""
    kinds = dict(zip(signature.names, signature.kinds, strict=True))
    split = payload.get("dataframe_split")
    if isinstance(split, dict) and isinstance(split.get("data"), list):
        columns = split.get("columns") or signature.names
        rows: Sequence[Any] = [list(zip(columns, row, strict=False)) for row in split["data"] if isinstance(row, list)]
    else:
        records = payload.get("dataframe_records", payload.get("instances"))
        rows = [list(record.items()) for record in records if isinstance(record, dict)] if isinstance(records, list) else []
    wrong = ((i, name, value) for i, row in enumerate(rows) for name, value in row if not _fits(kinds.get(name, "other"), value))
    for i, name, value in wrong:
        return f"row {i}, column {name!r}: {json.dumps(value)[:80]} is not of type {kinds[name]}"
    return None


def _fits(kind: str, value: Any) -> bool:
    if kind not in NUMBERS:
        return True
    if value is None:
        return kind in ("double", "float")
    try:
        number = float(value)
    except (TypeError, ValueError):
        return False
    return kind in ("double", "float") or number == number


def _kind(value: Any) -> str:
    names = {list: "a list", dict: "an object", str: "a text", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
