"""Anything that mlport returns as plain data for JSON, or as the text of one cell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any


def record(value: Any) -> dict[str, Any]:
    """The fields of a dataclass, by name, as they are.

    >>> from mlport.spi import Window
    >>> list(record(Window(None, None)))
    ['start', 'end']
    """
    return {field.name: getattr(value, field.name) for field in fields(value)}


def plain(value: Any) -> Any:
    """`value` as JSON knows it: times in ISO form and UTC, durations in seconds, no NaN or infinity (null instead).

    >>> plain({"after": timedelta(minutes=1), "loss": float("nan"), "at": datetime(2026, 1, 2, tzinfo=UTC)})
    {'after': 60.0, 'loss': None, 'at': '2026-01-02T00:00:00Z'}
    """
    match value:
        case Enum():
            return value.value
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case datetime():
            return instant(value)
        case timedelta():
            return value.total_seconds()
        case bytes():
            return value.decode(errors="backslashreplace")
    return _structure(value)


def _structure(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return plain(record(value))
    if hasattr(value, "to_json"):
        return plain(value.to_json())
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays
        return plain(value.tolist())
    return [plain(item) for item in value] if isinstance(value, list | tuple | set | frozenset) else str(value)


def instant(value: datetime) -> str:
    """A time in ISO form and UTC."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def cell(value: Any, *, local: bool = False) -> str:
    """`value` as the text of one cell; times in the reader's own zone with `local`.

    >>> cell({"blue": 90, "green": 10}), cell(0.123456789), cell(None), cell(("a", "b"))
    ('blue=90 green=10', '0.123457', '-', 'a, b')
    """
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case Enum() | str():
            return str(value)
        case float():
            return f"{value:.6g}"
        case datetime():
            return value.astimezone().strftime("%Y-%m-%d %H:%M:%S") if local else instant(value.replace(microsecond=0))
        case timedelta():
            return f"{value.total_seconds():.6g} s"
        case Mapping():
            return " ".join(f"{key}={cell(item, local=local)}" for key, item in value.items()) or "-"
        case tuple() | list():
            return ", ".join(cell(item, local=local) for item in value) or "-"
    return str(value)
