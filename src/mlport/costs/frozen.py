"""The price of a job, endpoint or batch as it stood at submit, what it came to by measured hours, and a month's budget.

A frozen price is small and whole: later price lists change nothing about it. What had no price at submit stays a gap: the actual cost is
then "at least". Everything here is pure; times are handed in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from mlport.costs.arithmetic import EXACT
from mlport.costs.catalogue import Catalogue, default
from mlport.costs.estimate import Target, estimate
from mlport.costs.formulas import billed
from mlport.costs.records import CENT, Price, cents, plain
from mlport.costs.workload import LARGEST, Training, Workload
from mlport.errors import ConfigError, SpecError

if TYPE_CHECKING:
    from mlport.costs.quote import Discount
    from mlport.costs.records import Estimate, Line
    from mlport.specs import Compute

FORMAT = 1
Kind = Literal["job", "endpoint", "batch"]
Verdict = Literal["ok", "warn", "refuse"]
WARN_AT = Decimal("0.8")
_HOUR = timedelta(hours=1)
_BUDGET = re.compile(r"(\d+(?:\.\d+)?) ([A-Z]{3})")
_NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class Component:
    """One thing that is paid while it runs: `per_hour` units for each hour of it, at `price` for a unit (None: nobody knew it)."""

    what: str
    unit: str
    per_hour: Decimal
    price: Price | None
    unknown: str = ""
    offer: Mapping[str, str] = field(default_factory=dict)
    """The price list's row: provider, service, sku, region, purchase."""

    @property
    def hourly(self) -> Decimal | None:
        """What an hour of it costs."""
        return None if self.price is None else self.per_hour * self.price.value


@dataclass(frozen=True, slots=True)
class Frozen:
    """The price of one job, endpoint or batch at `at`.

    `versions` are those of the price lists it came from. `granularity` and `least` are the seconds by which a run is billed, and at
    least. `expected_hours` is None where nobody said how long it would take.
    """

    kind: Kind
    place: str
    currency: str
    at: datetime
    components: Sequence[Component]
    versions: Mapping[str, str] = field(default_factory=dict)
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
            **asdict(price),
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


# ---------------------------------------------------------------- freezing


def freeze_work(
    kind: Kind,
    compute: Compute,
    where: Target,
    *,
    at: datetime,
    expected_hours: Decimal | None = None,
    catalogue: Catalogue | None = None,
    discount: Discount | None = None,
    granularity: Decimal = Decimal(1),
    least: Decimal = Decimal(0),
) -> Frozen:
    """The price now of work on some machines: that of one hour of all its nodes, as it is, without what interruptions would add.

    Raises:
        SpecError: the place cannot do it, or needs a setting such as its region.
    """
    prices = catalogue or default()

    def an_hour(of: Compute) -> Estimate:
        part = Training(name=kind, compute=of, hours=1, interrupted=0, checkpoint_every=timedelta(days=365))
        as_it_is = replace(where, settings=where.settings.model_copy(update={"speed": 1.0}))
        return estimate(Workload(name="hour", training=(part,)), as_it_is, catalogue=prices, discount=discount)

    found = an_hour(compute)
    hours = machines = Decimal(1)
    if compute.spot and kind in found.gains:  # what checkpoints add to the hour is taken out again
        hours = found.gains[kind].machine_hours
        machines = an_hour(compute.model_copy(update={"spot": False})).gains[kind].machine_hours
    price = freeze(found, kind=kind, hours=hours, machines=machines, at=at, expected_hours=expected_hours)
    lists = {each.offer["provider"] for each in price.components if each.offer}
    versions = {name: prices.list(name).version for name in sorted(lists)}
    return replace(price, versions=versions, granularity=granularity, least=least)


def freeze(
    estimate: Estimate, *, kind: Kind, hours: Decimal, at: datetime, machines: Decimal = Decimal(1), expected_hours: Decimal | None = None
) -> Frozen:
    """An estimate of `hours` of machines as the frozen price of a thing that runs on as many `machines`: every line by its hour.

    For an endpoint, `hours` are those of one replica. Raises SpecError: hours, a refusal, or a commitment that is paid used or not.
    """
    if hours <= 0 or (expected_hours is not None and not 0 <= expected_hours <= LARGEST):
        raise SpecError(f"frozen price: {hours} hours, {expected_hours} expected: must be more than 0")
    if estimate.refused:
        raise SpecError(f"frozen price: {estimate.target} cannot: {'; '.join(refusal.why for refusal in estimate.refused)}")
    if any(line.part == "commitments" for line in estimate.lines):
        raise SpecError(
            "frozen price: a commitment is paid used or not, and is no price of one job", hint="give the book's discount() alone"
        )
    components = [_by_the_hour(line, hours, machines) for line in estimate.lines if line.quantity or line.price is None]
    return Frozen(kind, estimate.place, estimate.currency, at, components, expected_hours=expected_hours)


def _by_the_hour(line: Line, hours: Decimal, machines: Decimal) -> Component:
    price = line.price
    if price is not None and line.amount is not None and line.amount != line.quantity * price.value:
        price = replace(price, value=line.amount / line.quantity, derived_from="the average over marginal tiers")
    fact = line.fact
    named = ("provider", "service", "sku", "region", "purchase")
    offer = {name: str(getattr(fact, name)) for name in named} if fact else {}
    return Component(line.what, line.unit, line.quantity * machines / hours, price, line.unknown, offer)


# ---------------------------------------------------------------- what it came to


@dataclass(frozen=True, slots=True)
class Actual:
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


def actual(frozen: Frozen, spans: Iterable[timedelta]) -> Actual:
    """What it came to. `spans` are the times it ran, one an attempt or a replica: each is rounded up as it is billed.

    Raises SpecError: a time is negative.
    """
    hours = [_hours(span) for span in spans]
    if any(each < 0 for each in hours):
        raise SpecError(f"measured hours: {min(hours):f}: must be 0 or more", hint="it ended before it began: are the clocks right?")
    measured = sum(hours, start=_NOTHING)
    paid = sum((frozen.billed(each) for each in hours), start=_NOTHING)
    return Actual(frozen, measured, paid, frozen.hourly * paid, list(_reasons(frozen, hours, measured, paid)))


def _hours(span: timedelta) -> Decimal:
    """Exactly: a timedelta holds whole microseconds."""
    return Decimal(span // timedelta(microseconds=1)) / 3_600_000_000


def _reasons(frozen: Frozen, hours: Sequence[Decimal], measured: Decimal, paid: Decimal) -> Iterable[str]:
    wanted = frozen.expected_hours
    if wanted is None:
        yield "nobody said how long it would take"
    elif frozen.hourly * abs(measured - wanted) > CENT:
        share = f" ({(measured / wanted - 1) * 100:+.0f} %)" if wanted else ""
        yield f"ran {measured:.4g} h, expected {wanted:.4g} h{share}"
    if len(hours) > 1:
        yield f"{len(hours)} runs or replicas, each billed apart"
    if frozen.hourly * (paid - measured) > CENT:
        yield f"billed {paid:.4g} h for {measured:.4g} h: steps of {frozen.granularity:f} s, at least {frozen.least:f} s"
    yield from (f"not in it: {text}" for text in frozen.unknown)


# ---------------------------------------------------------------- budgets


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent in a calendar month (UTC)."""

    amount: Decimal
    currency: str

    def __str__(self) -> str:
        return f"{cents(self.amount):,} {self.currency}"


def budget(text: str, where: str = "monthly_budget") -> Budget:
    """A budget as it stands in mlport.toml. Raises ConfigError, which names `where`.

    >>> str(budget("400 USD"))
    '400.00 USD'
    """
    found = _BUDGET.fullmatch(text.strip())
    if not found or Decimal(found[1]) > LARGEST:
        raise ConfigError(f"{where}: {text!r} is not an amount and a currency", hint='such as "400 USD" or "1250.50 EUR"')
    return Budget(Decimal(found[1]), found[2])


@dataclass(frozen=True, slots=True)
class Run:
    """Something with a frozen price that ran, or runs still (`ended` None). Times have their zone."""

    frozen: Frozen
    began: datetime
    ended: datetime | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """What a month came to so far, by currency; `unknown` is what is not in it."""

    amounts: Mapping[str, Decimal]
    unknown: Sequence[str] = ()


def spent(runs: Iterable[Run], now: datetime) -> Spent:
    """What this month's hours of all runs come to at their frozen prices. Of a run that began earlier, this month's share."""
    first = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    amounts: dict[str, Decimal] = {}
    unknown: dict[str, None] = {}
    for run in runs:
        until = min(run.ended or now, now)
        if run.ended is not None and run.ended < run.began:
            unknown[f"a {run.frozen.kind} that ended before it began ({run.began.isoformat()})"] = None
        inside = until - max(run.began, first)
        if inside <= timedelta(0):
            continue
        whole = actual(run.frozen, [until - run.began])
        share = _hours(inside) / whole.hours
        amounts[run.frozen.currency] = amounts.get(run.frozen.currency, _NOTHING) + whole.total * share
        unknown.update(dict.fromkeys(run.frozen.unknown))
    return Spent(amounts, list(unknown))


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a submit fits into the budget, and why. `at_least` says that something in it has no price."""

    verdict: Verdict
    words: str
    budget: Budget
    spent: Decimal
    planned: Decimal | None
    at_least: bool = False

    def to_json(self) -> dict[str, Any]:
        """As scripts read it."""
        return {
            "verdict": self.verdict,
            "words": self.words,
            "budget": plain(self.budget.amount),
            "currency": self.budget.currency,
            "spent": plain(self.spent),
            "planned": plain(self.planned),
            "at_least": self.at_least,
        }


def decide(
    limit: Budget, so_far: Spent, planned: Frozen | None = None, *, over: Verdict = "refuse", warn_at: Decimal = WARN_AT
) -> Decision:
    """Whether `planned` still fits into the month's budget.

    Over the budget the verdict is `over` (refuse, or warn). It warns from `warn_at` of the budget on, and wherever the sum is not known
    to be whole: an unknown price, no expected hours, or amounts in another currency, which nobody has converted.
    """
    done = so_far.amounts.get(limit.currency, _NOTHING)
    gaps = [*so_far.unknown]
    gaps += [f"{cents(amount):,} {name} spent" for name, amount in so_far.amounts.items() if name != limit.currency]
    cost: Decimal | None = _NOTHING
    if planned is not None:
        gaps += planned.unknown
        cost = planned.expected if planned.currency == limit.currency else None
        if cost is None:
            gaps.append("nobody said how long it would take" if planned.expected is None else f"it is priced in {planned.currency}")
    total = done + (cost or _NOTHING)
    plan = "" if planned is None else f" and {'an unknown amount' if cost is None else f'{cents(cost):,}'} planned"
    words = f"{cents(done):,} spent this month{plan}, of {limit}"
    words += f"; not in it: {'; '.join(dict.fromkeys(gaps))}" if gaps else ""
    verdict: Verdict = "ok"
    if total > limit.amount:
        verdict = over
    elif gaps or total > warn_at * limit.amount:
        verdict = "warn"
    return Decision(verdict, words, limit, done, cost, bool(gaps))
