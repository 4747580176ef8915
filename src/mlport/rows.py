"""Rows as callers have them, made plain: what NumPy, pandas, dates and decimals become in a request."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from mlport.errors import SpecError
from mlport.spi import Json

if TYPE_CHECKING:
    import msgspec


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
