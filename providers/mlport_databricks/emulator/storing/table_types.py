"""Types and values of tables: the engine's (DuckDB), Databricks SQL's, and the texts of a statement's result.

Names are those of databricks-sdk 0.156.0, databricks/sdk/service/sql.py, ColumnInfoTypeName. That a TIMESTAMP comes as
2026-11-23T10:00:00.000Z, that values inside an array, map or struct are texts again, and binary is Base64, are guesses.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

Json = dict[str, Any]
# The engine's id -> name in a result's schema, SQL's own name
PLAIN: Mapping[str, tuple[str, str]] = {
    "boolean": ("BOOLEAN", "BOOLEAN"),
    "tinyint": ("BYTE", "TINYINT"),
    "smallint": ("SHORT", "SMALLINT"),
    "integer": ("INT", "INT"),
    "bigint": ("LONG", "BIGINT"),
    "hugeint": ("LONG", "BIGINT"),  # the engine's sum of a BIGINT, which is a BIGINT in Databricks SQL
    "utinyint": ("SHORT", "SMALLINT"),
    "usmallint": ("INT", "INT"),
    "uinteger": ("LONG", "BIGINT"),
    "ubigint": ("LONG", "BIGINT"),
    "float": ("FLOAT", "FLOAT"),
    "double": ("DOUBLE", "DOUBLE"),
    "varchar": ("STRING", "STRING"),
    "json": ("STRING", "STRING"),
    "uuid": ("STRING", "STRING"),
    "blob": ("BINARY", "BINARY"),
    "date": ("DATE", "DATE"),
    "time": ("STRING", "STRING"),
    "timestamp with time zone": ("TIMESTAMP", "TIMESTAMP"),
    "timestamp": ("TIMESTAMP", "TIMESTAMP_NTZ"),
    "timestamp_ns": ("TIMESTAMP", "TIMESTAMP_NTZ"),
    "timestamp_ms": ("TIMESTAMP", "TIMESTAMP_NTZ"),
    "timestamp_s": ("TIMESTAMP", "TIMESTAMP_NTZ"),
    "interval": ("INTERVAL", "INTERVAL DAY TO SECOND"),
    "sqlnull": ("NULL", "VOID"),
    '"null"': ("NULL", "VOID"),
    "null": ("NULL", "VOID"),
}


def column(name: str, position: int, kind: Any) -> Json:
    """A column of a result; `kind` is the engine's type."""
    name_of, text = named(kind)
    found: Json = {"name": name, "position": position, "type_name": name_of, "type_text": text}
    if name_of == "DECIMAL":
        found |= {f"type_{key}": value for key, value in kind.children if key in ("precision", "scale")}
    if name_of == "INTERVAL":
        found["type_interval_type"] = "DAY TO SECOND"
    return found


def named(kind: Any) -> tuple[str, str]:
    """Name and SQL of one of the engine's types. Raises ValueError for one that Databricks has not."""
    what = str(kind.id)
    if what == "decimal":
        digits = dict(kind.children)
        return "DECIMAL", f"DECIMAL({digits['precision']},{digits['scale']})"
    if what in ("list", "array"):
        return "ARRAY", f"ARRAY<{named(kind.children[0][1])[1]}>"
    if what == "map":
        key, value = (named(inner)[1] for _, inner in kind.children)
        return "MAP", f"MAP<{key}, {value}>"
    if what == "struct":
        return "STRUCT", f"STRUCT<{', '.join(f'{name}: {named(inner)[1]}' for name, inner in kind.children)}>"
    found = PLAIN.get(what) or PLAIN.get(str(kind).lower())
    if found is None:
        raise ValueError(f"{kind} is no type of Databricks SQL")
    return found


def text_of(value: Any) -> str | None:
    """A value of a result.

    >>> text_of(True), text_of(1e20), text_of(Decimal("1.50")), text_of([1, None])
    ('true', '1.0E20', '1.50', '["1",null]')
    """
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple | dict) and not hasattr(value, "nanoseconds"):
        inner = {str(key): text_of(each) for key, each in value.items()} if isinstance(value, dict) else [text_of(each) for each in value]
        return json.dumps(inner, separators=(",", ":"))
    return _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        moment = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return moment.isoformat(timespec="milliseconds") + ("Z" if value.tzinfo else "")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return _interval(value) if hasattr(value, "nanoseconds") else str(value)


def _interval(value: Any) -> str:
    seconds = value.nanoseconds / 1e9
    return f"{30 * value.months + value.days} {int(seconds // 3600):02d}:{int(seconds // 60 % 60):02d}:{seconds % 60:012.9f}"


def _float(value: float) -> str:
    """As Java writes a Double."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value and not 1e-3 <= abs(value) < 1e7:
        digits, _, exponent = f"{Decimal(repr(value)):E}".partition("E")
        digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
        return f"{digits if '.' in digits else digits + '.0'}E{int(exponent)}"
    return repr(value)
