"""The price of one job, endpoint or batch as it stood at submit, and what it came to by measured hours.

A frozen price is small and whole: later price lists change nothing about it. What had no price at submit stays a gap: the actual cost is
then "at least". Everything here is pure; times are handed in. `mlport.costs.at_work.freezing` makes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Self, get_args

from mlport.costs.arithmetic import EXACT
from mlport.costs.formulas import billed
from mlport.costs.records import CENT, Price, plain
from mlport.errors import SpecError

FORMAT = 1
Kind = Literal["job", "endpoint", "batch"]
_NOTHING = Decimal(0)


class Component(NamedTuple):
    """One thing that is paid while it runs: `per_hour` units for each hour of it, at `price` for a unit (None: nobody knew it)."""

    what: str
    unit: str
    per_hour: Decimal
    price: Price | None
    unknown: str = ""
    offer: Mapping[str, str] = MappingProxyType({})
    """The price list's row: provider, service, sku, region, purchase."""

    @property
    def hourly(self) -> Decimal | None:
        """What an hour of it costs."""
        return None if self.price is None else self.per_hour * self.price.value


class Frozen(NamedTuple):
    """The price of one job, endpoint or batch at `at`.

    `versions` are those of the price lists it came from. `granularity` and `least` are the seconds by which a run is billed, and at
    least. `expected_hours` is None where nobody said how long it would take.
    """

    kind: Kind
    place: str
    currency: str
    at: datetime
    components: Sequence[Component]
    versions: Mapping[str, str] = MappingProxyType({})
    expected_hours: Decimal | None = None
    granularity: Decimal = Decimal(1)
    least: Decimal = Decimal(0)

    @property
    def hourly(self) -> Decimal:
        """What an hour costs, of all that has a price."""
        return sum((each.hourly for each in self.components if each.hourly is not None), start=_NOTHING)

    @property
    def unknown(self) -> list[str]:
        """What has no price; the costs are then lower bounds."""
        return [f"{each.what}: {each.unknown}" for each in self.components if each.price is None]

    @property
    def expected(self) -> Decimal | None:
        """What it was expected to cost; None without expected hours."""
        return None if self.expected_hours is None else self.hourly * self.billed(self.expected_hours)

    def billed(self, hours: Decimal) -> Decimal:
        """The hours of one run as they are billed."""
        found: Decimal = billed(EXACT, hours, float(self.granularity), float(self.least))
        return found

    def to_json(self) -> dict[str, Any]:
        """A record to keep. Decimals are texts, so that nothing is lost."""
        return {
            "format": FORMAT,
            "kind": self.kind,
            "place": self.place,
            "currency": self.currency,
            "at": self.at.isoformat(),
            "versions": dict(self.versions),
            "expected_hours": _digits(self.expected_hours),
            "granularity": _digits(self.granularity),
            "least": _digits(self.least),
            "components": [_component_json(each) for each in self.components],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The record read back. Raises SpecError if it is not one that this mlport reads."""
        if record.get("format") != FORMAT:
            raise SpecError(f"frozen price: format {record.get('format')!r}, and this mlport reads {FORMAT}", hint="upgrade mlport")
        try:
            if record["kind"] not in get_args(Kind):
                raise ValueError(record["kind"])
            return cls(
                kind=record["kind"],
                place=record["place"],
                currency=record["currency"],
                at=datetime.fromisoformat(record["at"]),
                components=[_component(each) for each in record["components"]],
                versions=dict(record["versions"]),
                expected_hours=_decimal(record["expected_hours"]),
                granularity=Decimal(record["granularity"]),
                least=Decimal(record["least"]),
            )
        except (KeyError, TypeError, ValueError, InvalidOperation) as error:
            raise SpecError(f"frozen price: {type(error).__name__}: {error}", hint="the record was not written by mlport") from error


def unpriced(kind: Kind, place: str, why: str, at: datetime) -> Frozen:
    """The record of work that nobody has a price of, and why: a gap, and not nothing."""
    return Frozen(kind, place, "USD", at, [Component("machines", "hour", Decimal(1), None, why)])


def _digits(value: Decimal | None) -> str | None:
    return None if value is None else format(value, "f")


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _component_json(each: Component) -> dict[str, Any]:
    price = each.price
    return {
        "what": each.what,
        "unit": each.unit,
        "per_hour": _digits(each.per_hour),
        "offer": dict(each.offer),
        "unknown": each.unknown,
        "price": None
        if price is None
        else {
            **price._asdict(),
            "value": _digits(price.value),
            "listed": _digits(price.listed),
            "as_of": price.as_of and price.as_of.isoformat(),
        },
    }


def _component(record: Mapping[str, Any]) -> Component:
    told = record["price"]
    price = None
    if told is not None:
        as_of = date.fromisoformat(told["as_of"]) if told["as_of"] else None
        price = Price(**{**told, "value": Decimal(told["value"]), "listed": _decimal(told["listed"]), "as_of": as_of})
    return Component(record["what"], record["unit"], Decimal(record["per_hour"]), price, record["unknown"], dict(record["offer"]))


# ---------------------------------------------------------------- what it came to


class Actual(NamedTuple):
    """What a thing cost by its measured hours, at its frozen price, beside what was expected."""

    frozen: Frozen
    hours: Decimal
    """As measured."""
    billed_hours: Decimal
    total: Decimal
    reasons: Sequence[str]
    """Why it is not what was expected, and what is not in it."""

    @property
    def difference(self) -> Decimal | None:
        """Actual less expected; None where nothing was expected."""
        return None if self.frozen.expected is None else self.total - self.frozen.expected

    def to_json(self) -> dict[str, Any]:
        """As scripts read it, with a line for each component."""
        lines = [
            {
                "what": each.what,
                "quantity": plain(each.per_hour * self.billed_hours),
                "unit": each.unit,
                "unit_price": plain(each.price.value) if each.price else None,
                "free": bool(each.price and each.price.free),
                "amount": None if each.hourly is None else plain(each.hourly * self.billed_hours),
                "source": each.price.source if each.price else None,
                "as_of": each.price.as_of.isoformat() if each.price and each.price.as_of else None,
                "unknown": each.unknown or None,
            }
            for each in self.frozen.components
        ]
        return {
            "kind": self.frozen.kind,
            "place": self.frozen.place,
            "currency": self.frozen.currency,
            "hours": plain(self.hours),
            "billed_hours": plain(self.billed_hours),
            "actual": plain(self.total),
            "at_least": bool(self.frozen.unknown),
            "expected": plain(self.frozen.expected),
            "difference": plain(self.difference),
            "reasons": list(self.reasons),
            "lines": lines,
        }


def actual(frozen: Frozen, spans: Iterable[timedelta], known: Iterable[str] = (), *, over: bool = True) -> Actual:
    """What it came to. `spans` are the times it ran, one an attempt or a replica: each is rounded up as it is billed.

    Args:
        known: further reasons why it is not what was expected.
        over: whether it has ended, so that its hours can be held against those expected.

    Raises:
        SpecError: a time is negative.
    """
    hours = [hours_of(span) for span in spans]
    if any(each < 0 for each in hours):
        raise SpecError(f"measured hours: {min(hours):f}: must be 0 or more", hint="it ended before it began: are the clocks right?")
    measured = sum(hours, start=_NOTHING)
    paid = sum((frozen.billed(each) for each in hours), start=_NOTHING)
    return Actual(frozen, measured, paid, frozen.hourly * paid, [*_reasons(frozen, hours, measured, paid, over=over), *known])


def hours_of(span: timedelta) -> Decimal:
    """Exactly: a timedelta holds whole microseconds."""
    return Decimal(span // timedelta(microseconds=1)) / 3_600_000_000


def _reasons(frozen: Frozen, hours: Sequence[Decimal], measured: Decimal, paid: Decimal, *, over: bool) -> Iterable[str]:
    wanted = frozen.expected_hours
    if wanted is None:
        if frozen.kind != "endpoint":
            yield "nobody said how long it would take"
    elif over and frozen.hourly * abs(measured - wanted) > CENT:
        share = f" ({(measured / wanted - 1) * 100:+.0f} %)" if wanted else ""
        yield f"ran {_lasting(measured)}, expected {_lasting(wanted)}{share}"
    if len(hours) > 1:
        yield f"{len(hours)} runs or replicas, each billed apart"
    if frozen.hourly * (paid - measured) > CENT:
        yield f"billed {_lasting(paid)} for {_lasting(measured)}: steps of {frozen.granularity:f} s, at least {frozen.least:f} s"
    yield from (f"not in it: {text}" for text in frozen.unknown)


def _lasting(hours: Decimal) -> str:
    """Hours in words; short ones in minutes or seconds."""
    if hours >= 1 or not hours:
        return f"{hours:.4g} h"
    return f"{hours * 60:.4g} min" if hours * 60 >= 1 else f"{hours * 3600:.3g} s"
