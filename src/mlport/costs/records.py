"""What an estimate is made of: unit prices with their sources, lines, and the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from mlport.costs.arithmetic import Number

if TYPE_CHECKING:
    from mlport.costs.facts import Fact

Category = Literal[
    "training", "sweep", "serving", "batch", "storage", "egress", "monitoring", "logging", "platform",
    "capital", "power", "space", "maintenance", "staff", "software", "network", "security", "upkeep", "downtime", "tax",
]  # fmt: skip
CENT = Decimal("0.01")
_LARGE = Context(prec=80)
"""However large an amount, its cents can be shown."""
_NOTHING: Number = 0  # of either arithmetic


class Price(NamedTuple):
    """A unit price: `value` of `currency` for one `unit`, from where and of which day.

    `derived_from` says how it was computed where no list has it. `free` is the one way to be 0, and needs a source. `listed` is
    the list price before a discount of the price book, whose words are `discount`.
    """

    value: Decimal
    unit: str
    source: str
    as_of: date | None
    currency: str = "USD"
    derived_from: str = ""
    free: bool = False
    listed: Decimal | None = None
    discount: str = ""


class Line(NamedTuple):
    """One position: quantity times unit price, for the whole horizon.

    `price` None means that nobody here knows it: the total is then "at least". `amount` is given where it is not simply the
    product (tiers, commitments); `formula` says in words and numbers how quantity and amount came about. `fact` is the list price that it
    is billed by, where there is one: what commitments are matched with.
    """

    part: str
    category: Category
    what: str
    quantity: Number
    unit: str
    price: Price | None
    formula: str
    amount: Number | None = None
    unknown: str = ""
    fact: Fact | None = None

    @property
    def cost(self) -> Number | None:
        """What it comes to, None if unpriced."""
        if self.price is None:
            return None
        return self.amount if self.amount is not None else self.quantity * self.price.value

    def to_json(self, target: str) -> dict[str, Any]:
        """As scripts read it: `unit_price` null when unpriced, 0 only with `free: true`."""
        price = self.price
        return {
            "target": target,
            "part": self.part,
            "category": self.category,
            "what": self.what,
            "quantity": plain(self.quantity),
            "unit": self.unit,
            "unit_price": plain(price.value) if price else None,
            "free": bool(price and price.free),
            "amount": plain(self.cost),
            "currency": price.currency if price else None,
            "formula": self.formula,
            "source": price.source if price else None,
            "as_of": price.as_of.isoformat() if price and price.as_of else None,
            "derived_from": price.derived_from or None if price else None,
            "list_price": plain(price.listed) if price else None,
            "discount": price.discount or None if price else None,
            "unknown": self.unknown or None,
        }


class Gain(NamedTuple):
    """What a part gives over the horizon, and the machine hours that it takes."""

    useful_hours: Number
    predictions: Number
    machine_hours: Number


class Refusal(NamedTuple):
    """A part of the workload that a target cannot do at all, and why."""

    part: str
    why: str


class Estimate(NamedTuple):
    """What a workload costs at one target over `months`.

    `useful_hours` and `predictions` are what it gives for that, for $/useful hour and $/1,000 predictions; `left_out` what is not
    counted, `assumptions` what was taken for granted, `warnings` what should be looked at.
    """

    target: str
    place: str
    months: Number
    currency: str
    lines: Sequence[Line]
    refused: Sequence[Refusal] = ()
    useful_hours: Number = 0
    predictions: Number = 0
    left_out: Sequence[str] = ()
    assumptions: Sequence[str] = ()
    warnings: Sequence[str] = ()
    gains: Mapping[str, Gain] = MappingProxyType({})
    """By part."""
    facts: Mapping[str, Any] = MappingProxyType({})
    hours: Number = 0
    """Of the horizon: the months' hours."""

    @property
    def total(self) -> Number:
        """The sum of all that has a price."""
        return sum((line.cost for line in self.lines if line.cost is not None), start=_NOTHING)

    @property
    def unpriced(self) -> list[Line]:
        return [line for line in self.lines if line.price is None]

    @property
    def at_least(self) -> bool:
        """Whether the total is only a lower bound, for a line has no price."""
        return bool(self.unpriced)

    @property
    def complete(self) -> bool:
        """Whether everything asked for can be done there and is priced."""
        return not self.refused and not self.at_least

    def by_category(self) -> dict[str, Number]:
        """Sums of what is priced, in the order of the lines."""
        sums: dict[str, Number] = {}
        for line in self.lines:
            if line.cost is not None:
                sums[line.category] = sums.get(line.category, _NOTHING) + line.cost
        return sums


def cents(amount: Decimal) -> Decimal:
    """An amount as it is shown: half a cent up."""
    return amount.quantize(CENT, ROUND_HALF_UP, _LARGE)


def plain(value: Any) -> float | None:
    """A number for JSON, where there are only floats: the one nearest to the decimal."""
    return None if value is None else float(value)
