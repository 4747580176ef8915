"""BigQuery's column types and values: as its API spells them, as Arrow and DuckDB keep them.

https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types. Values come in as JSON (insertAll, parameters) and
go out as the API's rows do: `{"f": [{"v": ...}]}`, every scalar a text.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa

Json = dict[str, Any]
STANDARD = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD", "DECIMAL": "NUMERIC", "BIGDECIMAL": "BIGNUMERIC"}
NUMERIC = pa.decimal128(38, 9)
ARROW: Mapping[str, pa.DataType] = {
    "STRING": pa.string(),
    "BYTES": pa.binary(),
    "INTEGER": pa.int64(),
    "FLOAT": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "TIMESTAMP": pa.timestamp("us", "UTC"),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "DATETIME": pa.timestamp("us"),
    "NUMERIC": NUMERIC,
    "BIGNUMERIC": NUMERIC,  # the embedded engine has no more digits
    "JSON": pa.string(),
}
SQL = {
    "STRING": "VARCHAR", "BYTES": "BLOB", "INTEGER": "BIGINT", "FLOAT": "DOUBLE", "BOOLEAN": "BOOLEAN", "TIMESTAMP": "TIMESTAMPTZ",
    "DATE": "DATE", "TIME": "TIME", "DATETIME": "TIMESTAMP", "NUMERIC": "DECIMAL(38, 9)", "BIGNUMERIC": "DECIMAL(38, 9)", "JSON": "JSON",
}  # fmt: skip
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ValueProblem(Exception):  # noqa: N818 - one of many in an answer
    """A value that a column cannot hold. `location` is the column's name."""

    def __init__(self, location: str, message: str) -> None:
        super().__init__(message)
        self.location, self.message = location, message


def normal(field: Json) -> Json:
    """A column with its type under the API's own name, and its mode.

    Raises ValueError for types that the emulator does not have.
    """
    kind = STANDARD.get(field["type"].upper(), field["type"].upper())
    fields = [normal(each) for each in field.get("fields", [])]
    if kind != "RECORD" and kind not in ARROW:
        raise ValueError(f"Invalid value for type: {field['type']} is not a valid value")
    if kind == "RECORD" and not fields:
        raise ValueError(f"Field {field['name']} is type RECORD but has no schema")
    return {**field, "type": kind, "mode": field.get("mode", "NULLABLE").upper(), **({"fields": fields} if fields else {})}


def arrow_type(field: Json) -> pa.DataType:
    """The Arrow type of a column."""
    kind = pa.struct([(each["name"], arrow_type(each)) for each in field["fields"]]) if field["type"] == "RECORD" else ARROW[field["type"]]
    return pa.list_(kind) if field["mode"] == "REPEATED" else kind


def sql_type(field: Json) -> str:
    """DuckDB's type of a column."""
    kind = SQL.get(field["type"]) or "STRUCT(" + ", ".join(f"{quoted(each['name'])} {sql_type(each)}" for each in field["fields"]) + ")"
    return f"{kind}[]" if field["mode"] == "REPEATED" else kind


def quoted(name: str) -> str:
    """An identifier of SQL.

    >>> quoted('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'


def field_of(name: str, kind: pa.DataType, sql: str) -> Json:
    """The column that an Arrow type of a result is. `sql` is DuckDB's name of it, which alone tells JSON from text."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return {**field_of(name, kind.value_type, sql.removesuffix("[]")), "mode": "REPEATED"}
    if pa.types.is_struct(kind):
        fields = [field_of(each.name, each.type, "") for each in kind]
        return {"name": name, "type": "RECORD", "mode": "NULLABLE", "fields": fields}
    if sql == "JSON":
        return {"name": name, "type": "JSON", "mode": "NULLABLE"}
    return {"name": name, "type": _name_of(kind), "mode": "NULLABLE"}


def _name_of(kind: pa.DataType) -> str:
    tests: Sequence[tuple[Callable[[pa.DataType], bool], str]] = (
        (pa.types.is_boolean, "BOOLEAN"),
        (pa.types.is_integer, "INTEGER"),
        (pa.types.is_floating, "FLOAT"),
        (pa.types.is_date, "DATE"),
        (pa.types.is_time, "TIME"),
        (pa.types.is_binary, "BYTES"),
        (pa.types.is_null, "INTEGER"),  # the type that BigQuery gives a bare NULL
    )
    if pa.types.is_decimal(kind):
        return "INTEGER" if kind.scale == 0 else "NUMERIC"  # sums of whole numbers are HUGEINT in the engine
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP" if kind.tz else "DATETIME"
    return next((name for test, name in tests if test(kind)), "STRING")


# ---------------------------------------------------------------- values coming in


def row_of(fields: Sequence[Json], row: Json, *, ignore_unknown: bool = False, at: str = "") -> Json:
    """A row of JSON as Python values. Raises ValueProblem."""
    known = {field["name"].lower(): field for field in fields}
    if not ignore_unknown:
        for name in row:
            if name.lower() not in known:
                raise ValueProblem(f"{at}{name}", f"no such field: {at}{name}.")
    given = {name.lower(): value for name, value in row.items()}
    return {
        field["name"]: _value(field, given.get(name), f"{at}{field['name']}", ignore_unknown=ignore_unknown)
        for name, field in known.items()
    }  # fmt: skip


def _value(field: Json, value: Any, at: str, *, ignore_unknown: bool) -> Any:
    if field["mode"] == "REPEATED":
        if value is None:
            return []
        if not isinstance(value, list):
            raise ValueProblem(
                at, f"Array specified for non-repeated field: {at}." if value is None else f"This field: {at} is not an array."
            )
        return [
            _value({**field, "mode": "REQUIRED"}, each, f"{at}[{index}]", ignore_unknown=ignore_unknown) for index, each in enumerate(value)
        ]
    if value is None:
        if field["mode"] == "REQUIRED":
            raise ValueProblem(at, f"Missing required field: {at}.")
        return None
    if isinstance(value, list):
        raise ValueProblem(at, f"Array specified for non-repeated field: {at}.")
    if field["type"] == "RECORD":
        if not isinstance(value, dict):
            raise ValueProblem(at, f"This field: {at} is not a record.")
        return row_of(field["fields"], value, ignore_unknown=ignore_unknown, at=f"{at}.")
    return scalar(field["type"], value, at)


def scalar(kind: str, value: Any, at: str) -> Any:
    """One value of a type, from JSON. Raises ValueProblem."""
    if isinstance(value, dict) and kind != "JSON":
        raise ValueProblem(at, f"This field: {at} is not a record.")
    try:
        return PARSERS[kind](value)
    except (ValueError, InvalidOperation, binascii.Error, OverflowError) as error:
        said = f"Cannot convert value to {kind.lower()} (bad value): {value if isinstance(value, str) else json.dumps(value)}"
        raise ValueProblem(at, said) from error


def _integer(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(value)
    whole = int(value)
    if not -(2**63) <= whole < 2**63:
        raise OverflowError(value)
    return whole


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    raise ValueError(value)


def _timestamp(value: Any) -> datetime:
    """Seconds since the epoch, or a text with an offset, a Z, `UTC`, or nothing, which is UTC too."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _from_micros(round(Decimal(str(value)) * 1_000_000))
    text = str(value).strip().removesuffix(" UTC").replace("z", "Z")
    try:
        return _from_micros(round(Decimal(text) * 1_000_000))
    except InvalidOperation:
        found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _from_micros(micros: int) -> datetime:
    seconds, rest = divmod(micros, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


def _numeric(value: Any) -> Decimal:
    if isinstance(value, bool):
        raise ValueError(value)
    found = Decimal(str(value))
    if not found.is_finite() or abs(found) >= Decimal(10) ** 29:
        raise OverflowError(value)
    return found.quantize(Decimal("1e-9")) if abs(found) < Decimal(10) ** 19 else _of_38_digits(found)


def _of_38_digits(found: Decimal) -> Decimal:
    from decimal import Context

    return found.quantize(Decimal("1e-9"), context=Context(prec=38))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _datetime(value: Any) -> datetime:
    found = datetime.fromisoformat(str(value))
    if found.tzinfo is not None:
        raise ValueError(value)
    return found


PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "STRING": _text,
    "BYTES": lambda value: base64.b64decode(str(value).replace("-", "+").replace("_", "/"), validate=True),
    "INTEGER": _integer,
    "FLOAT": lambda value: float(value) if not isinstance(value, bool) else _integer(value),
    "BOOLEAN": _boolean,
    "TIMESTAMP": _timestamp,
    "DATE": lambda value: date.fromisoformat(str(value)),
    "TIME": lambda value: time.fromisoformat(str(value)),
    "DATETIME": _datetime,
    "NUMERIC": _numeric,
    "BIGNUMERIC": _numeric,
    "JSON": lambda value: json.dumps(json.loads(value) if isinstance(value, str) else value),
}


# ---------------------------------------------------------------- values going out


def row_json(fields: Sequence[Json], row: Json, *, whole_micros: bool) -> Json:
    """A row as the API shows it. Timestamps are whole microseconds where the caller asked for it, else seconds."""
    return {"f": [{"v": _shown(field, row[field["name"]], whole_micros)} for field in fields]}


def _shown(field: Json, value: Any, whole_micros: bool) -> Any:
    if field["mode"] == "REPEATED":
        return [{"v": _shown({**field, "mode": "NULLABLE"}, each, whole_micros)} for each in value or []]
    if value is None:
        return None
    if field["type"] == "RECORD":
        return row_json(field["fields"], value, whole_micros=whole_micros)
    if field["type"] == "TIMESTAMP":
        return _shown_timestamp(value, whole_micros)
    return SHOWN.get(field["type"], str)(value)


def _shown_timestamp(value: datetime, whole_micros: bool) -> str:
    since = value - EPOCH
    micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return str(micros) if whole_micros else repr(micros / 1_000_000)


def _shown_float(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return ("Infinity" if value > 0 else "-Infinity") if math.isinf(value) else repr(value)


def _shown_numeric(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


SHOWN: Mapping[str, Callable[[Any], str]] = {
    "BYTES": lambda value: base64.b64encode(value).decode(),
    "BOOLEAN": lambda value: "true" if value else "false",
    "FLOAT": _shown_float,
    "NUMERIC": _shown_numeric,
    "BIGNUMERIC": _shown_numeric,
    "DATETIME": lambda value: value.isoformat(),
    "DATE": lambda value: value.isoformat(),
    "TIME": lambda value: value.isoformat(),
}
