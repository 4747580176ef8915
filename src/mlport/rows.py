"""Rows as callers have them, made plain: what NumPy, pandas, dates and decimals become in a request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from mlport.errors import SpecError
from mlport.spi import Json

if TYPE_CHECKING:
    import msgspec


def records(rows: Any) -> list[dict[str, Any]]:
    """Rows as a list of mappings, from such a list, an Arrow table, or a pandas or polars frame.

    Raises:
        SpecError: it is none of these, is empty, or a row is not a mapping.
    """
    if hasattr(rows, "to_pylist"):
        found = rows.to_pylist()
    elif hasattr(rows, "to_dicts"):
        found = rows.to_dicts()
    elif hasattr(rows, "to_dict") and hasattr(rows, "columns"):
        found = rows.to_dict(orient="records")
    elif isinstance(rows, Mapping):
        raise SpecError("predict takes a list of rows, not one mapping", hint="predict([row])")
    elif isinstance(rows, Iterable):
        found = list(rows)
    else:
        raise SpecError(f"predict takes rows, not a {type(rows).__name__}", hint='predict([{"hour": 17, "carrier": "UA"}])')
    if not found:
        raise SpecError("predict needs at least one row")
    for index, row in enumerate(found):
        if not isinstance(row, Mapping):
            raise SpecError(
                f"predict: row {index} is a {type(row).__name__}, not a mapping of column to value",
                hint='predict([{"hour": 17, "carrier": "UA"}])',
            )
    return [dict(row) for row in found]


def encoded(body: Json) -> bytes:
    """A request's body. NumPy's scalars and arrays, dates, times and decimals are taken; NaN and the infinities become null.

    Raises:
        SpecError: a value has no JSON form.
    """
    try:
        return _encoder().encode(body)
    except TypeError as error:
        raise SpecError(f"predict: {error}") from error


@cache
def _encoder() -> msgspec.json.Encoder:
    import msgspec

    return msgspec.json.Encoder(enc_hook=_plain, decimal_format="number")


def _plain(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays, without importing it
        plain = value.tolist()
        return str(value) if isinstance(plain, int) and getattr(value, "dtype", None) is not None and value.dtype.kind in "mM" else plain
    raise TypeError(f"a {type(value).__name__} has no JSON form: {value!r}")
