"""What the columns of a FOCUS bill may hold: numbers, times, currencies, categories, and pairs of key and value.

https://focus.finops.org/focus-specification/v1-2/ (NumericFormat, DateTimeFormat, CurrencyFormat, KeyValueFormat).
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from mlport.costs.currencies import CODES, wanted
from mlport.costs.parts import LARGEST

CATEGORIES = ("Usage", "Purchase", "Tax", "Credit", "Adjustment")
_NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?", re.ASCII)
_TIME = "a time such as 2026-05-01T00:00:00Z"
_PAIRS = "a JSON object of tags or details"


def text(value: Any) -> str | None:
    return None if value is None else str(value)


def number(value: Any) -> Decimal | None:
    """NumericFormat: digits, one point, E notation; no sign for positive numbers, no separators, no currency."""
    if value is None or isinstance(value, bool):
        return None if value is None else _refuse("a number")
    if isinstance(value, Decimal):
        found = value
    else:
        told = repr(value) if isinstance(value, float) else str(value)
        if not _NUMBER.fullmatch(told):
            _refuse("a number such as -100.2 or 35.2E-7, without sign, comma or currency")
        found = Decimal(told)
    if not found.is_finite() or abs(found) > LARGEST:
        _refuse(f"a number of at most {LARGEST:g}")
    return found


def time(value: Any) -> datetime | None:
    """ISO 8601 in UTC; without an offset it is taken as UTC, which FOCUS demands anyway."""
    if value is None or isinstance(value, datetime):
        found: datetime | None = value
    else:
        try:
            found = datetime.fromisoformat(str(value).removesuffix(" UTC"))
        except ValueError:
            _refuse(_TIME)
    try:
        return None if found is None else found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError:
        return _refuse(_TIME)  # type: ignore[no-any-return]


def currency(value: Any) -> str | None:
    if value is not None and str(value) not in CODES:
        _refuse(wanted(str(value)))
    return text(value)


def category(value: Any) -> str | None:
    if value is not None and value not in CATEGORIES:
        near = difflib.get_close_matches(str(value), CATEGORIES, n=1)
        _refuse(f"one of {', '.join(CATEGORIES)}{f', did you mean {near[0]}?' if near else ''}")
    return text(value)


def correction(value: Any) -> bool:
    if value not in (None, "Correction"):
        _refuse("Correction or null")
    return value is not None


def pairs(value: Any) -> Mapping[str, str]:
    """KeyValueFormat: a JSON object of plain values; in Parquet also a map, or a list of records with key and value."""
    if value is None:
        return _NO_PAIRS
    if isinstance(value, str):
        return _parsed(value)
    if isinstance(value, Mapping):
        return _plain(list(value.items()))
    return _plain(_records(value))


def _records(value: Any) -> list[tuple[str, Any]]:
    try:
        found = [(item["key"], item["value"]) if isinstance(item, Mapping) else item for item in value]
        return [(str(key), item) for key, item in found]
    except (TypeError, KeyError, ValueError):
        return _refuse(_PAIRS)  # type: ignore[no-any-return]


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Mapping[str, str]:
    try:
        found = json.loads(text, object_pairs_hook=_Object)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, _Object):
        _refuse(_PAIRS)
    return _plain(found)


class _Object(list[tuple[str, Any]]):
    """The members of a JSON object, as they were written."""


def _plain(pairs: Sequence[tuple[str, Any]]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for key, value in pairs:
        if key in found or isinstance(value, list | dict):
            _refuse(f"{key!r} once, with a plain value")
        if value is not None:
            found[key] = {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
    return MappingProxyType(found)


_NO_PAIRS: Mapping[str, str] = MappingProxyType({})


class WrongError(ValueError):
    """A value that does not fit its column; the text says what would."""


def _refuse(right: str) -> Any:
    raise WrongError(right)
