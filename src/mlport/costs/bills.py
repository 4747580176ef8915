"""Bills in the FOCUS format (FinOps Open Cost and Usage Specification, 1.0 to 1.2), from CSV and Parquet, row by row.

Columns and formats: https://focus.finops.org/focus-specification/v1-2/ (NumericFormat, DateTimeFormat, CurrencyFormat, KeyValueFormat,
NullHandling). What money depends on must be there and right, or the row is refused with file, line and column. Texts may be null
where the specification says they may not: the exports of large providers are known for that, and say so themselves.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Context, Decimal
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Literal

from mlport.costs.catalogue import nearest
from mlport.costs.workload import LARGEST
from mlport.errors import SpecError

Cost = Literal["billed", "effective", "contracted", "list"]
COSTS: tuple[Cost, ...] = ("billed", "effective", "contracted", "list")
CATEGORIES = ("Usage", "Purchase", "Tax", "Credit", "Adjustment")
SUMS = Context(prec=60)
"""Sums of amounts lose nothing, whatever the order of the rows."""
BATCH_ROWS = 10_000
LONGEST_FIELD = 1 << 24  # characters of one CSV field, such as the tags of a resource

_NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_NULLS = ("", "NULL")
"""Null in CSV. FOCUS' own sample data write NULL."""


@dataclass(frozen=True, slots=True)
class Charge:
    """One row of a bill. Costs are in `currency`; None is what the bill does not say.

    `quantity` is the PricingQuantity in `unit`; `tags` holds user's and provider's tags (labels), those without a value as `true`.
    """

    where: str
    """File and line, for messages."""
    provider: str | None
    service: str | None
    service_category: str | None
    sku: str | None
    meter: str | None
    description: str | None
    details: Mapping[str, str]
    """SkuPriceDetails, such as InstanceType."""
    resource: str | None
    region: str | None
    account: str | None
    category: str
    """Usage, Purchase, Tax, Credit or Adjustment."""
    correction: bool
    pricing: str | None
    """Standard, Dynamic (spot), Committed or Other."""
    currency: str
    period: datetime
    """When the billing period began."""
    begin: datetime
    end: datetime
    billed: Decimal
    effective: Decimal
    contracted: Decimal | None
    list: Decimal | None
    quantity: Decimal | None
    unit: str | None
    tags: Mapping[str, str]

    def cost(self, kind: Cost = "billed") -> Decimal:
        """One of its four costs. Raises SpecError where the bill does not say it: unknown is not nothing."""
        found: Decimal | None = getattr(self, kind)
        if found is None:
            raise SpecError(f"{self.where}: {_COST_COLUMNS[kind]} is null", hint="billed and effective costs are always there")
        return found

    def tag(self, name: str) -> str | None:
        """A tag's value; a name without the prefix of its scheme (`user:team`, `scheme/team`) is enough where only one has it."""
        if name in self.tags:
            return self.tags[name]
        found = {key for key in self.tags if key.endswith((f"/{name}", f":{name}"))}
        if len(found) > 1:
            raise SpecError(f"{self.where}: Tags: {' and '.join(sorted(found))} are both {name!r}", hint="give the tag with its prefix")
        return self.tags[found.pop()] if found else None


_COST_COLUMNS: Mapping[Cost, str] = {
    "billed": "BilledCost",
    "effective": "EffectiveCost",
    "contracted": "ContractedCost",
    "list": "ListCost",
}


# ---------------------------------------------------------------- values


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _number(value: Any) -> Decimal | None:
    """NumericFormat: digits, one point, E notation; no sign for positive numbers, no separators, no currency."""
    if value is None or isinstance(value, bool):
        return None if value is None else _refuse("a number")
    if isinstance(value, Decimal):
        found = value
    else:
        text = repr(value) if isinstance(value, float) else str(value)
        if not _NUMBER.fullmatch(text):
            _refuse("a number such as -100.2 or 35.2E-7, without sign, comma or currency")
        found = Decimal(text)
    if not found.is_finite() or abs(found) > LARGEST:
        _refuse(f"a number of at most {LARGEST:g}")
    return found


def _time(value: Any) -> datetime | None:
    """ISO 8601 in UTC; without an offset it is taken as UTC, which FOCUS demands anyway."""
    if value is None or isinstance(value, datetime):
        found: datetime | None = value
    else:
        try:
            found = datetime.fromisoformat(str(value).removesuffix(" UTC"))
        except ValueError:
            _refuse("a time such as 2026-05-01T00:00:00Z")
    return None if found is None else found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _currency(value: Any) -> str | None:
    if value is not None and not _CURRENCY.fullmatch(str(value)):
        _refuse("a currency of three letters such as USD")
    return _text(value)


def _category(value: Any) -> str | None:
    if value is not None and value not in CATEGORIES:
        _refuse(f"one of {', '.join(CATEGORIES)}")
    return _text(value)


def _correction(value: Any) -> bool:
    if value not in (None, "Correction"):
        _refuse("Correction or null")
    return value is not None


def _pairs(value: Any) -> Mapping[str, str]:
    """KeyValueFormat: a JSON object of plain values; in Parquet also a map, or a list of records with key and value."""
    if value is None:
        return _NO_PAIRS
    if isinstance(value, str):
        return _parsed(value)
    if isinstance(value, Mapping):
        return _plain(list(value.items()))
    return _plain([(item["key"], item["value"]) if isinstance(item, Mapping) else item for item in value])


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Mapping[str, str]:
    try:
        found = json.loads(text, object_pairs_hook=_Object)
    except ValueError:
        found = None
    if not isinstance(found, _Object):
        _refuse("a JSON object of tags or details")
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


class _WrongError(ValueError):
    """A value that does not fit its column; the text says what would."""


def _refuse(wanted: str) -> Any:
    raise _WrongError(wanted)


# ---------------------------------------------------------------- rows


_COLUMNS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "BilledCost": ("billed", _number),
    "EffectiveCost": ("effective", _number),
    "BillingCurrency": ("currency", _currency),
    "ChargeCategory": ("category", _category),
    "BillingPeriodStart": ("period", _time),
    "ChargePeriodStart": ("begin", _time),
    "ChargePeriodEnd": ("end", _time),
    "ProviderName": ("provider", _text),
    "ServiceName": ("service", _text),
    "ContractedCost": ("contracted", _number),
    "ListCost": ("list", _number),
    "PricingQuantity": ("quantity", _number),
    "PricingUnit": ("unit", _text),
    "ChargeClass": ("correction", _correction),
    "ChargeDescription": ("description", _text),
    "PricingCategory": ("pricing", _text),
    "ServiceCategory": ("service_category", _text),
    "SkuId": ("sku", _text),
    "SkuMeter": ("meter", _text),
    "SkuPriceDetails": ("details", _pairs),
    "ResourceId": ("resource", _text),
    "RegionId": ("region", _text),
    "SubAccountId": ("account", _text),
    "Tags": ("tags", _pairs),
}
NEEDED = tuple(list(_COLUMNS)[:9])
"""Columns without which nothing can be said; all are mandatory in FOCUS 1.0, 1.1 and 1.2."""
_NOT_NULL = NEEDED[:7]
_EMPTY = {field: parse(None) for field, parse in _COLUMNS.values()}


def read(*paths: Path) -> Iterator[Charge]:
    """The charges of bills, one after the other; files may be larger than memory.

    Args:
        paths: `.csv`, `.csv.gz` or `.parquet` files.

    Raises:
        SpecError: a file cannot be read or is named twice, a column is missing, or a value is wrong: file, line (in Parquet the row,
            from 1), column, and what would be right.
    """
    twice = {path for path in paths if [each.resolve() for each in paths].count(path.resolve()) > 1}
    if twice:
        raise SpecError(f"{twice.pop()}: is named twice, and would be counted twice")
    for path in paths:
        try:
            yield from _parquet(path) if path.suffix == ".parquet" else _csv(path)
        except FileNotFoundError as error:
            raise SpecError(f"{path}: no such file") from error
        except OSError as error:
            raise SpecError(f"{path}: {error.strerror or error}") from error
        except (UnicodeDecodeError, EOFError, zlib.error) as error:
            raise SpecError(f"{path}: {error}", hint="a bill is CSV in UTF-8 (.csv, .csv.gz) or Parquet (.parquet)") from error


def _csv(path: Path) -> Iterator[Charge]:
    with _opened(path) as stream:
        csv.field_size_limit(LONGEST_FIELD)
        rows = csv.reader(stream, strict=True)
        try:
            header = next(rows, [])
            columns = _columns(header, str(path))
            line = rows.line_num + 1
            for row in rows:
                where, line = f"{path}: line {line}", rows.line_num + 1
                if row and len(row) != len(header):
                    raise SpecError(f"{where}: {len(row)} values, and the first line names {len(header)} columns")
                if row:
                    yield _charge({name: None if row[at] in _NULLS else row[at] for name, at in columns.items()}, where)
        except csv.Error as error:
            raise SpecError(f"{path}: line {rows.line_num}: {error}") from error


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _parquet(path: Path) -> Iterator[Charge]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            columns = _columns(file.schema_arrow.names, str(path))
            number = 0
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(columns)):
                for row in batch.to_pylist():
                    number += 1
                    yield _charge(row, f"{path}: row {number}")
    except pa.ArrowException as error:
        raise SpecError(f"{path}: {error}", hint="a bill is CSV in UTF-8 (.csv, .csv.gz) or Parquet (.parquet)") from error


def _columns(header: Sequence[str], where: str) -> Mapping[str, int]:
    """Where the columns that are read stand. Others, of the provider (`x_...`) or of FOCUS, are left alone."""
    missing = [name for name in NEEDED if name not in header]
    if missing:
        near = {name: difflib.get_close_matches(name, header, n=1, cutoff=0.75) for name in missing}
        said = [f"{name} (there is {near[name][0]!r})" if near[name] else name for name in missing]
        raise SpecError(
            f"{where}: line 1: no column {', '.join(said)}",
            hint="a bill has the columns of FOCUS 1.0, 1.1 or 1.2, and in CSV commas between them",
        )
    twice = sorted({name for name in _COLUMNS if list(header).count(name) > 1})
    if twice:
        raise SpecError(f"{where}: line 1: {twice[0]} is there twice")
    return {name: list(header).index(name) for name in _COLUMNS if name in header}


def _charge(row: Mapping[str, Any], where: str) -> Charge:
    """A row as a charge. Raises SpecError that names every wrong column of it."""
    found, wrong = dict(_EMPTY), []
    for column, value in row.items():
        field, parse = _COLUMNS[column]
        try:
            found[field] = parse(value)
        except _WrongError as error:
            wrong.append(f"{column}: {str(value)[:80]!r} is not {error}")
        else:
            if value is None and column in _NOT_NULL:
                wrong.append(f"{column}: is null")
    if not wrong and found["end"] < found["begin"]:
        wrong.append(f"ChargePeriodEnd: {found['end'].isoformat()} is before ChargePeriodStart")
    if wrong:
        raise SpecError(f"{where}: {'; '.join(wrong)}")
    return Charge(where=where, **found)


# ---------------------------------------------------------------- groups


DIMENSIONS: Mapping[str, Callable[[Charge], str | None]] = {
    "provider": lambda charge: charge.provider,
    "service": lambda charge: charge.service,
    "sku": lambda charge: charge.sku,
    "resource": lambda charge: charge.resource,
    "region": lambda charge: charge.region,
    "account": lambda charge: charge.account,
    "category": lambda charge: charge.category,
    "description": lambda charge: charge.description,
    "month": lambda charge: f"{charge.period:%Y-%m}",
}


def dimension(name: str) -> Callable[[Charge], str | None]:
    """What to group by: a name of DIMENSIONS, or `tag:NAME` (`label:NAME` is the same). Raises SpecError with the nearest name."""
    kind, _, tag = name.partition(":")
    if kind in ("tag", "label") and tag:
        return lambda charge: charge.tag(tag)
    if name not in DIMENSIONS:
        raise SpecError(f"a bill cannot be grouped by {name!r}", hint=nearest(name, [*DIMENSIONS, "tag:NAME", "label:NAME"]))
    return DIMENSIONS[name]


@dataclass(slots=True)
class Group:
    """What charges with the same value come to, in one currency. `quantity` is None where units differ or a row has none."""

    key: str | None
    """None: the charges that have no such value."""
    currency: str
    cost: Decimal = Decimal(0)
    charges: int = 0
    quantity: Decimal | None = Decimal(0)
    unit: str | None = None

    def add(self, charge: Charge, kind: Cost) -> None:
        """Count a charge in."""
        self.cost = SUMS.add(self.cost, charge.cost(kind))
        self.unit = charge.unit if self.charges == 0 else self.unit
        self.charges += 1
        if charge.quantity is None or self.quantity is None or charge.unit != self.unit:
            self.quantity = self.unit = None
        else:
            self.quantity = SUMS.add(self.quantity, charge.quantity)

    def to_json(self) -> dict[str, Any]:
        """As scripts read it; amounts are the floats nearest to the decimals."""
        return {
            "key": self.key,
            "currency": self.currency,
            "cost": float(self.cost),
            "charges": self.charges,
            "quantity": None if self.quantity is None else float(self.quantity),
            "unit": self.unit,
        }


def group(charges: Iterable[Charge], by: str, kind: Cost = "billed") -> list[Group]:
    """Charges by a dimension, each currency apart, the largest cost first. See `dimension`."""
    key_of = dimension(by)
    found: dict[tuple[str | None, str], Group] = {}
    for charge in charges:
        key = key_of(charge)
        found.setdefault((key, charge.currency), Group(key, charge.currency)).add(charge, kind)
    return sorted(found.values(), key=lambda each: (each.currency, -each.cost, each.key or ""))


def totals(groups: Iterable[Group]) -> dict[str, Decimal]:
    """The sum of each currency."""
    found: dict[str, Decimal] = {}
    for each in groups:
        found[each.currency] = SUMS.add(found.get(each.currency, Decimal(0)), each.cost)
    return found


def only(charges: Iterable[Charge], wanted: Iterable[tuple[str, str]]) -> Iterator[Charge]:
    """The charges that have these values, such as `("tag:team", "fraud")`; several values of one dimension are alternatives."""
    values: dict[str, set[str]] = {}
    for name, value in wanted:
        values.setdefault(name, set()).add(value)
    tests = [(dimension(name), found) for name, found in values.items()]
    return (charge for charge in charges if all(value_of(charge) in found for value_of, found in tests))
