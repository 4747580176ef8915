"""A bill against what was expected: what agrees, what was billed and not expected, what was expected and not billed, and why.

A difference is split exactly: `(q2 - q1) x p1` is the quantity's part of it, what remains the unit price's (budget variance, as in
any textbook of management accounting). Pure; the bill is read once and never held in memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from mlport import tables
from mlport.costs.arithmetic import EXACT
from mlport.costs.bills.reading import SUMS, Charge, Cost
from mlport.costs.catalogue import ANYWHERE
from mlport.costs.records import CENT, Estimate, plain
from mlport.errors import SpecError

if TYPE_CHECKING:
    from mlport.costs.records import Line

Status = Literal["agrees", "differs", "unpriced", "not billed", "not expected"]
TOLERANCE = Decimal("0.01")
"""A hundredth more or less still agrees, and so does a cent."""
_USED = ("Usage", "Purchase")
_NAME = re.compile(r"[^A-Za-z]")
"""What makes a sku a name; a plain word such as `internet` says too little in a description."""
_PAID = {"spot": "Dynamic", "reserved_1y": "Committed", "reserved_3y": "Committed", "on_demand": "Standard", "serverless": "Standard"}
_UNITS: Mapping[str, tuple[str, int]] = {
    "hour": ("hour", 1),
    "hours": ("hour", 1),
    "minutes": ("hour", 60),
    "seconds": ("hour", 3600),
    "gib": ("gib", 1),
    "gibibyte": ("gib", 1),
    "gib-months": ("gib_month", 1),
    "gibibyte month": ("gib_month", 1),
    "dbus": ("dbu", 1),
    "core-hours": ("core_hour", 1),
    "gib-hours": ("gib_hour", 1),
    "gib-seconds": ("gib_second", 1),
    "1000 requests": ("1k_requests", 1),
    "requests": ("1k_requests", 1000),
}
"""Units of FOCUS bills as units of estimates, and how many make one. GB is not among them: bills mean 10^9 and 2^30 bytes by it."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a bill should hold. `amount` None: it is expected, and nobody knew its price.

    It is found by `sku`, as SkuId, SkuMeter, a value of SkuPriceDetails or (unless it is a plain word) in ChargeDescription, in `region`
    and, if others have the same sku, by `purchase`; or by a `Match` that names it.
    """

    part: str
    what: str
    amount: Decimal | None
    currency: str = "USD"
    quantity: Decimal | None = None
    unit: str = ""
    sku: str = ""
    region: str = ""
    purchase: str = ""
    category: str = ""

    @property
    def unit_price(self) -> Decimal | None:
        """The mean price of one unit."""
        return self.amount / self.quantity if self.amount is not None and self.quantity else None


class Match(BaseModel):
    """Which charges of a bill belong to which expected line, where the sku's name does not tell. Values are patterns (`*`, `?`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    part: str = "*"
    what: str = "*"
    service: str | None = None
    sku: str | None = None
    description: str | None = None
    resource: str | None = None
    region: str | None = None
    category: str | None = None
    tags: dict[str, str] = {}

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.tags and all(getattr(self, name) is None for name in _FIELDS):
            raise ValueError(f"name at least one of {', '.join(_FIELDS)} or tags of the bill")
        return self

    def holds(self, charge: Charge) -> bool:
        """Whether a charge is meant."""
        return all(_like(getattr(charge, name), getattr(self, name)) for name in _FIELDS) and all(
            _like(charge.tag(name), pattern) for name, pattern in self.tags.items()
        )


_FIELDS = ("service", "sku", "description", "resource", "region", "category")


def _like(value: str | None, pattern: str | None) -> bool:
    return pattern is None or (value is not None and fnmatchcase(value.casefold(), pattern.casefold()))


class _Matches(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    match: tuple[Match, ...]


def matches(path: Path) -> tuple[Match, ...]:
    """The `[[match]]` tables of a TOML file. Raises SpecError."""
    return tables.load(path, _Matches, hint='[[match]] part = "data", service = "*Storage*"').match


# ---------------------------------------------------------------- results


@dataclass(frozen=True, slots=True)
class Compared:
    """One line: expected, billed, and the difference with its reason. None is what is not known."""

    status: Status
    part: str
    what: str
    currency: str
    expected: Decimal | None
    billed: Decimal | None
    expected_quantity: Decimal | None = None
    billed_quantity: Decimal | None = None
    unit: str = ""
    by_quantity: Decimal | None = None
    by_price: Decimal | None = None
    reason: str = ""
    charges: int = 0

    @property
    def difference(self) -> Decimal | None:
        """Billed less expected; None where the expected price is not known."""
        if self.status != "not expected" and self.expected is None:
            return None
        return SUMS.subtract(self.billed or Decimal(0), self.expected or Decimal(0))

    def to_json(self) -> dict[str, Any]:
        """As scripts read it."""
        numbers = ("expected", "billed", "difference", "expected_quantity", "billed_quantity", "by_quantity", "by_price")
        texts = {name: getattr(self, name) for name in ("status", "part", "what", "currency", "unit", "reason", "charges")}
        return {**texts, **{name: plain(getattr(self, name)) for name in numbers}}


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """All lines, and both sums of each currency."""

    lines: Sequence[Compared]

    @property
    def sums(self) -> dict[str, tuple[Decimal, Decimal]]:
        """Expected (of what has a price) and billed, by currency."""
        found: dict[str, tuple[Decimal, Decimal]] = {}
        for line in self.lines:
            expected, billed = found.get(line.currency, (Decimal(0), Decimal(0)))
            found[line.currency] = (
                SUMS.add(expected, line.expected or Decimal(0)),
                SUMS.add(billed, line.billed or Decimal(0)),
            )
        return found

    @property
    def agrees(self) -> bool:
        """Whether every line does."""
        return all(line.status == "agrees" for line in self.lines)

    def to_json(self) -> dict[str, Any]:
        """As scripts read it. `at_least` says that an expected line has no price."""
        unpriced = {line.currency for line in self.lines if line.difference is None}
        totals = [
            {
                "currency": name,
                "expected": plain(expected),
                "billed": plain(billed),
                "difference": plain(SUMS.subtract(billed, expected)),
                "at_least": name in unpriced,
            }
            for name, (expected, billed) in self.sums.items()
        ]
        return {"agrees": self.agrees, "totals": totals, "lines": [line.to_json() for line in self.lines]}


# ---------------------------------------------------------------- what is expected


def expectations(estimate: Estimate) -> list[Expected]:
    """The lines of an estimate, those together that a bill has no way to tell apart: the same sku, region, purchase and unit."""
    found: dict[tuple[Any, ...], Expected] = {}
    for line in estimate.lines:
        each = _of_line(line, estimate.currency)
        key = (each.sku, each.region, each.purchase, each.unit, each.currency) if each.sku else (each.part, each.what, each.currency)
        found[key] = _together(found[key], each) if key in found else each
    return list(found.values())


def _of_line(line: Line, currency: str) -> Expected:
    fact = line.fact
    return Expected(
        part=line.part,
        what=line.what,
        amount=line.cost,
        currency=line.price.currency if line.price else currency,
        quantity=line.quantity,
        unit=line.unit,
        sku=fact.sku if fact else "",
        region=fact.region if fact and fact.region not in ANYWHERE else "",
        purchase=fact.purchase if fact else "",
        category=line.category,
    )


def _together(one: Expected, other: Expected) -> Expected:
    known = one.amount is not None and other.amount is not None
    return replace(
        one,
        part=f"{one.part}, {other.part}",
        amount=SUMS.add(one.amount, other.amount) if known else None,  # type: ignore[arg-type] # known says so
        quantity=SUMS.add(one.quantity, other.quantity) if one.quantity is not None and other.quantity is not None else None,
    )


# ---------------------------------------------------------------- matching


@dataclass(slots=True)
class _Billed:
    """What of a bill was found to belong together."""

    what: str
    currency: str
    cost: Decimal = Decimal(0)
    charges: int = 0
    quantities: dict[str | None, Decimal | None] = field(default_factory=dict)
    """By unit; None where a charge has no quantity."""
    paid: set[str] = field(default_factory=set)

    def add(self, charge: Charge, kind: Cost) -> None:
        self.cost = SUMS.add(self.cost, charge.cost(kind))
        self.charges += 1
        self.paid |= {charge.pricing} if charge.pricing else set()
        before = self.quantities.get(charge.unit, Decimal(0))
        known = before is not None and charge.quantity is not None
        self.quantities[charge.unit] = SUMS.add(before, charge.quantity) if known else None  # type: ignore[arg-type] # known says so


class _Finder:
    """Which expected line a charge belongs to."""

    def __init__(self, expected: Sequence[Expected], rules: Sequence[Match]) -> None:
        self._expected, self._rules = expected, rules
        self._words = {each.sku: _word(each.sku) for each in expected if each.sku}
        self._named: dict[tuple[Any, ...], list[int]] = {}

    def find(self, charge: Charge) -> int | None:
        for rule in self._rules:
            if rule.holds(charge):
                return self._ruled(rule, charge)
        if charge.category == "Tax":
            return self._one([at for at, each in enumerate(self._expected) if each.category == "tax"], charge)
        return self._one(self._by_name(charge), charge) if charge.category in _USED else None

    def _ruled(self, rule: Match, charge: Charge) -> int | None:
        named = [at for at, each in enumerate(self._expected) if _any_part(each, rule.part) and fnmatchcase(each.what, rule.what)]
        if not named:
            known = ", ".join(sorted({f"{each.part}: {each.what}" for each in self._expected}))
            raise SpecError(f"match: nothing is expected of part {rule.part!r}, what {rule.what!r}", hint=f"there are: {known}")
        return self._one(named, charge)

    def _by_name(self, charge: Charge) -> list[int]:
        key = (charge.sku, charge.meter, charge.description, charge.region, tuple(charge.details.values()))
        if key not in self._named:
            if len(self._named) > 10_000:
                self._named.clear()
            names = {_folded(text) for text in (charge.sku, charge.meter, *charge.details.values()) if text}
            said = _folded(charge.description or "")
            self._named[key] = [
                at
                for at, each in enumerate(self._expected)
                if each.sku
                and (not each.region or charge.region is None or each.region == charge.region)
                and (_folded(each.sku) in names or (_NAME.search(each.sku) and self._words[each.sku].search(said)))
            ]
        return self._named[key]

    def _one(self, named: Sequence[int], charge: Charge) -> int | None:
        """The one in the bill's currency and, if several are left, of the way it was paid; else the first."""
        fitting = [at for at in named if self._expected[at].currency == charge.currency]
        alike = [at for at in fitting if charge.pricing is not None and _PAID.get(self._expected[at].purchase) == charge.pricing]
        return next(iter(alike or fitting), None)


def _any_part(each: Expected, pattern: str) -> bool:
    return any(fnmatchcase(part, pattern) for part in each.part.split(", "))


def _folded(text: str) -> str:
    return re.sub(r"[\s_]+", " ", text).casefold()


def _word(sku: str) -> re.Pattern[str]:
    """A sku as a whole word: `m5.xlarge` is not in `ml.m5.xlarge`."""
    return re.compile(rf"(?<![\w.-]){re.escape(_folded(sku))}(?![\w-]|\.\w)")


# ---------------------------------------------------------------- the comparison


def reconcile(
    bill: Iterable[Charge],
    expected: Estimate | Iterable[Expected],
    *,
    kind: Cost = "billed",
    rules: Sequence[Match] = (),
    tolerance: Decimal = TOLERANCE,
) -> Reconciliation:
    """A bill against an estimate or a list of expected amounts of the same time.

    Args:
        bill: charges, as `mlport.costs.bills.reading.read` gives them.
        expected: what should have been billed; amounts in one currency are never compared with those in another.
        kind: the cost to compare: what is invoiced (`billed`), or with prepaid commitments spread over their use (`effective`).
        rules: which charges belong to which line, before names are looked at.
        tolerance: share by which a line may differ and still agree.

    Raises:
        SpecError: a row of the bill is wrong, or a rule names a line that is not expected.
    """
    wanted = expectations(expected) if isinstance(expected, Estimate) else list(expected)
    finder = _Finder(wanted, rules)
    billed: dict[int, _Billed] = {}
    others: dict[tuple[str, str], _Billed] = {}
    for charge in bill:
        at = finder.find(charge)
        if at is not None:
            billed.setdefault(at, _Billed(wanted[at].what, charge.currency)).add(charge, kind)
        else:
            what = _what(charge)
            others.setdefault((what, charge.currency), _Billed(what, charge.currency)).add(charge, kind)
    lines = [_line(each, billed.get(at), tolerance) for at, each in enumerate(wanted)]
    return Reconciliation([*lines, *_unexpected(others.values(), {each.currency for each in wanted})])


def _what(charge: Charge) -> str:
    names = [charge.provider, charge.service, charge.description or charge.meter or charge.sku]
    return ", ".join(name for name in (*names, charge.category if charge.category != "Usage" else None) if name)


def _unexpected(found: Iterable[_Billed], currencies: set[str]) -> Iterator[Compared]:
    for each in sorted(found, key=lambda each: (each.currency, -each.cost, each.what)):
        unit, quantity = next(iter(each.quantities.items())) if len(each.quantities) == 1 else (None, None)
        reason = "not expected"
        if each.currency not in currencies and currencies:
            reason = f"in {each.currency}, and all that is expected is in {', '.join(sorted(currencies))}"
        yield Compared(
            "not expected", "", each.what, each.currency, None, each.cost, None, quantity, unit or "", reason=reason, charges=each.charges
        )


def _line(each: Expected, found: _Billed | None, tolerance: Decimal) -> Compared:
    line = Compared("not billed", each.part, each.what, each.currency, each.amount, None, each.quantity, None, each.unit)
    if found is None:
        nothing = each.amount == 0
        return replace(line, status="agrees") if nothing else replace(line, reason="nothing like it is on the bill")
    line = replace(line, billed=found.cost, billed_quantity=_quantity(found, each.unit), charges=found.charges)
    if each.amount is None:
        return replace(line, status="unpriced", reason="nobody knew the price; the bill says what it was")
    difference = SUMS.subtract(found.cost, each.amount)
    line = _split(line, each, difference)
    agrees = abs(difference) <= max(CENT, tolerance * abs(each.amount))
    return replace(line, status="agrees" if agrees else "differs", reason=_reason(line, each, found, tolerance))


def _split(line: Compared, each: Expected, difference: Decimal) -> Compared:
    """The quantity's part and the price's; the two are the difference."""
    price = each.unit_price
    if price is None or line.billed_quantity is None or each.quantity is None:
        return line
    more = SUMS.multiply(SUMS.subtract(line.billed_quantity, each.quantity), price)
    return replace(line, by_quantity=more, by_price=SUMS.subtract(difference, more))


def _quantity(found: _Billed, unit: str) -> Decimal | None:
    """The billed quantity in the estimate's unit; None where a charge has none, or its unit is another."""
    total = Decimal(0)
    for name, quantity in found.quantities.items():
        ours, many = _UNITS.get((name or "").casefold(), (name, 1))
        if quantity is None or ours != unit:
            return None
        total = SUMS.add(total, SUMS.divide(quantity, Decimal(many)))
    return total


def _reason(line: Compared, each: Expected, found: _Billed, tolerance: Decimal) -> str:
    said = []
    if line.by_quantity is None or line.by_price is None or each.amount is None:
        units = ", ".join(sorted(name or "no unit" for name in found.quantities))
        said.append(f"amounts only: the bill counts in {units}, the estimate in {each.unit or 'nothing'}")
    else:
        least = max(CENT, tolerance * abs(each.amount)) / 2  # one of the two is more than half of what is too much
        if abs(line.by_quantity) > least:
            said.append(f"quantity {_percent(line.billed_quantity, each.quantity)}")
        if abs(line.by_price) > least:
            billed = line.billed / line.billed_quantity if line.billed is not None and line.billed_quantity else None
            said.append(f"unit price {_percent(billed, each.unit_price)}")
    wanted = _PAID.get(each.purchase)
    if wanted and found.paid and found.paid != {wanted}:
        said.append(f"paid as {', '.join(sorted(found.paid))}, expected {wanted}")
    return "; ".join(said)


def _percent(value: Decimal | None, expected: Decimal | None) -> str:
    """How much more or less, in words."""
    if value is None or not expected:
        return "differs"
    change = EXACT.number(value / expected - 1) * 100
    return f"{change:+.1f} %"
