"""Bills in the FOCUS format (FinOps Open Cost and Usage Specification, 1.0 to 1.2), from CSV and Parquet, row by row.

Columns and formats: https://focus.finops.org/focus-specification/v1-2/ (NumericFormat, DateTimeFormat, CurrencyFormat, KeyValueFormat,
NullHandling). What money depends on must be there and right, or the row is refused with file, line and column. Texts may be null
where the specification says they may not: the exports of large providers are known for that, and say so themselves.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal
from pathlib import Path
from typing import IO, Any, Literal

from mlport.costs.bills import values
from mlport.costs.catalogue import nearest
from mlport.errors import SpecError

Cost = Literal["billed", "effective", "contracted", "list"]
COSTS: tuple[Cost, ...] = ("billed", "effective", "contracted", "list")
SUMS = Context(prec=60)
"""Sums of amounts lose nothing, whatever the order of the rows."""
BATCH_ROWS = 10_000
LONGEST_FIELD = 1 << 24  # characters of one CSV field or line, such as the tags of a resource
FORMS = "a bill is CSV in UTF-8 (.csv, .csv.gz) or Parquet (.parquet)"
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


# ---------------------------------------------------------------- rows


_COLUMNS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "BilledCost": ("billed", values.number),
    "EffectiveCost": ("effective", values.number),
    "BillingCurrency": ("currency", values.currency),
    "ChargeCategory": ("category", values.category),
    "BillingPeriodStart": ("period", values.time),
    "ChargePeriodStart": ("begin", values.time),
    "ChargePeriodEnd": ("end", values.time),
    "ProviderName": ("provider", values.text),
    "ServiceName": ("service", values.text),
    "ContractedCost": ("contracted", values.number),
    "ListCost": ("list", values.number),
    "PricingQuantity": ("quantity", values.number),
    "PricingUnit": ("unit", values.text),
    "ChargeClass": ("correction", values.correction),
    "ChargeDescription": ("description", values.text),
    "PricingCategory": ("pricing", values.text),
    "ServiceCategory": ("service_category", values.text),
    "SkuId": ("sku", values.text),
    "SkuMeter": ("meter", values.text),
    "SkuPriceDetails": ("details", values.pairs),
    "ResourceId": ("resource", values.text),
    "RegionId": ("region", values.text),
    "SubAccountId": ("account", values.text),
    "Tags": ("tags", values.pairs),
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
        except UnicodeDecodeError as error:
            raise SpecError(f"{path}: {_undecodable(path)}", hint=FORMS) from error
        except (EOFError, zlib.error) as error:
            raise SpecError(f"{path}: {error}", hint=FORMS) from error


def _csv(path: Path) -> Iterator[Charge]:
    with _opened(path) as stream:
        csv.field_size_limit(LONGEST_FIELD)
        rows = csv.reader(_lines(stream, path), strict=True)
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


def _lines(stream: IO[str], path: Path) -> Iterator[str]:
    """Lines of a file that may have none: as much as memory holds is not read for one."""
    while line := stream.readline(LONGEST_FIELD):
        if len(line) == LONGEST_FIELD:
            raise SpecError(f"{path}: a line of more than {LONGEST_FIELD:,} characters", hint=FORMS)
        yield line


def _undecodable(path: Path) -> str:
    """Where a file is not UTF-8."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        for number, line in enumerate(iter(lambda: stream.readline(LONGEST_FIELD), b""), start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return f"line {number}, byte {error.start + 1}: {line[error.start]:#04x} is not UTF-8"
    return "is not UTF-8"


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
        raise SpecError(f"{path}: {error}", hint=FORMS) from error


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
        except values.WrongError as error:
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
