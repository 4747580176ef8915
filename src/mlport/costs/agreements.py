"""What the rows of a price book have in common, and two of its tables: prices that no list has, and committed spend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mlport.costs.arithmetic import EXACT, Arithmetic, Number
from mlport.costs.catalogue import Catalogue, PriceList
from mlport.costs.currencies import Currency
from mlport.costs.facts import Fact
from mlport.costs.parts import LARGEST
from mlport.costs.records import Line, Price
from mlport.errors import SpecError
from mlport.fields import Count, Real

Percent = Annotated[Decimal, Field(ge=0, le=100, allow_inf_nan=False)]
Amount = Annotated[Decimal, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
EVERYWHERE = "*"
REGULAR = ("on_demand", "serverless")
"""Ways to pay that discounts and commitments change."""


class Row(BaseModel):
    """Base of what a book holds: unknown keys are refused with the nearest valid one."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Dated(Row):
    """What holds from a day, up to and with another."""

    begin: date | None = Field(None, alias="from")
    end: date | None = Field(None, alias="to")
    source: str = Field(min_length=1)
    """The contract, as lines show it."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.begin and self.end and self.end < self.begin:
            raise ValueError(f"to ({self.end}) is before from ({self.begin})")
        return self

    def holds(self, day: date) -> bool:
        """Whether it holds on a day."""
        return (self.begin or day) <= day <= (self.end or day)


# ---------------------------------------------------------------- prices that no list has


class OwnPrice(Row):
    """A price that a list lacks, or that stands in its place: a new machine, another region, a reserved rate, a service.

    A machine that the list knows in another region keeps what it has; of a new one say vcpus, memory_gib and GPUs, so that it is
    chosen by what a workload asks for. Without them it is used where a target's `machines` name it.
    """

    provider: str
    """The price list."""
    service: str = "compute"
    sku: str = Field(min_length=1)
    region: str = EVERYWHERE
    purchase: str = "on_demand"
    unit: str = "hour"
    price: Amount
    tier_from: Amount = Decimal(0)
    """For tiers: the units a month from which it is the price of each one more."""
    currency: Currency = "USD"
    source: str = Field(min_length=1)
    as_of: date
    vcpus: Real = Field(0, ge=0, le=LARGEST)
    memory_gib: Real = Field(0, ge=0, le=LARGEST)
    gpu: str = ""
    gpus: Count = Field(0, ge=0, le=1024)
    gpu_memory_gib: Real = Field(0, ge=0, le=LARGEST)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.gpus > 0) != bool(self.gpu):
            raise ValueError("gpu and gpus go together: which GPU, and how many")
        if self.service == "compute" and self.unit != "hour":
            raise ValueError(f"a machine is paid by the hour (got unit {self.unit!r})")
        return self


def supplied(catalogue: Catalogue, prices: Sequence[OwnPrice]) -> Catalogue:
    """A catalogue with these prices in it. Raises SpecError: a unit that is not the list's."""
    return _Supplied(catalogue, prices) if prices else catalogue


class _Supplied(Catalogue):
    """A catalogue under one's own prices; lists are put together when first asked for."""

    def __init__(self, under: Catalogue, prices: Sequence[OwnPrice]) -> None:
        super().__init__()
        self._under, self._prices = under, prices

    def names(self) -> list[str]:
        return self._under.names()

    def list(self, name: str) -> PriceList:
        if name not in self._lists:
            found = self._under.list(name)
            ours = [price for price in self._prices if price.provider == name]
            self._lists[name] = _merged(found, ours) if ours else found
        return self._lists[name]


def _merged(found: PriceList, ours: Sequence[OwnPrice]) -> PriceList:
    """A list with one's own prices, each in the place of all that the list has for the same thing, free allowances included."""
    like = {(fact.service, fact.sku): fact for fact in found.facts}
    made = [fact for price in ours for fact in _facts(price, found, like.get((price.service, price.sku)))]
    taken = {(fact.service, fact.sku, fact.region, fact.purchase) for fact in made}
    taken |= {(*key[:3], "free_tier") for key in taken if key[3] == "on_demand"}
    kept = [fact for fact in found.facts if (fact.service, fact.sku, fact.region, fact.purchase) not in taken]
    return PriceList(found.version, [*kept, *made])


def _facts(price: OwnPrice, found: PriceList, like: Fact | None) -> Iterator[Fact]:
    """One's own price as a fact of each region that it is for: of a machine that is for all, of each that the list has."""
    if like is not None and like.unit != price.unit:
        raise SpecError(
            f"price book: prices: {price.sku}: unit is {price.unit!r}, and {price.provider} has it by {like.unit!r}",
            hint=f"give the price of one {like.unit}",
        )
    about = (price.vcpus, price.memory_gib, price.gpu, price.gpus, price.gpu_memory_gib)
    if like is not None and not any(about):
        about = (like.vcpus, like.memory_gib, like.gpu, like.gpus, like.gpu_memory_gib)
    everywhere = price.region == EVERYWHERE and (price.service == "compute" or like is not None)
    places = found.regions if everywhere else (price.region,)
    for place in places:
        yield Fact(
            price.provider, price.service, price.sku, place, price.purchase, price.unit, price.tier_from, price.price,
            price.currency, price.as_of, price.source, "", *about,
        )  # fmt: skip


# ---------------------------------------------------------------- committed spend


class CommittedSpend(Dated):
    """Money committed for every hour, paid whether used or not, at lower rates for what it covers: savings plans, spend-based CUDs.

    What saves the largest share is covered first, of equals the cheaper; what the commitment does not cover is paid on demand. That is how
    https://docs.aws.amazon.com/savingsplans/latest/userguide/sp-applying.html has it, for the whole horizon at once.
    """

    begin: date = Field(alias="from")
    what: str = "committed spend"
    providers: tuple[str, ...] = Field(min_length=1)
    """The price lists whose prices it covers; `workload` for the prices that a workload's items give themselves."""
    services: tuple[str, ...] = ("compute",)
    """What it covers of them; all if empty."""
    an_hour: Amount
    """Committed, of each hour."""
    currency: Currency = "USD"
    percent: Percent | None = None
    """Off the price on demand, of all that `rates` do not name."""
    rates: Mapping[str, Amount] = {}
    """Committed prices of one unit, by sku or a pattern such as `ml.m5.*`; the first that fits."""

    @model_validator(mode="after")
    def _cheaper(self) -> Self:
        if self.percent is None and not self.rates:
            raise ValueError("give percent, or rates by sku: what it covers is cheaper")
        return self

    def rate(self, line: Line) -> Decimal | None:
        """The committed price of a line's unit, None where the commitment is not for it."""
        fact, price = line.fact, line.price
        if fact is None or price is None or fact.provider not in self.providers or (self.services and fact.service not in self.services):
            return None
        if fact.purchase not in REGULAR or price.currency != self.currency:
            return None
        named = next((rate for sku, rate in self.rates.items() if fnmatchcase(fact.sku, sku)), None)
        if named is not None:
            return named
        return None if self.percent is None else price.value * (100 - self.percent) / 100


def spent(lines: Sequence[Line], before: Sequence[Line], spend: CommittedSpend, hours: Number, math: Arithmetic) -> list[Line] | None:
    """Lines under a commitment of spend over `hours`, and the commitment's own line; None where nothing is covered by it.

    `before` are the same lines as they were before any commitment: what others cover already is not covered again.
    """
    covered = [
        (at, rate) for at, line in enumerate(lines[: len(before)]) if line.cost is not None and (rate := spend.rate(line)) is not None
    ]
    if not covered:
        return None
    found = list(lines)
    left = hours * math.number(spend.an_hour)

    def saving(entry: tuple[int, Decimal]) -> tuple[Decimal, Decimal, int]:
        price = lines[entry[0]].price
        listed = price.value if price is not None else Decimal(0)
        return (entry[1] / listed if listed else Decimal(1), entry[1], entry[0])

    for at, rate in sorted(covered, key=saving):
        line = lines[at]
        at_rate = line.quantity * math.number(rate) * _left(line, before[at], math)
        paid = math.least(at_rate, left)
        left = left - paid
        above = (at_rate - paid) / math.most(at_rate, math.number("1e-30"))
        formula = f"{line.formula}; {spend.what} covers what it can at {rate.normalize():f} ({spend.source}), the rest is on demand"
        found[at] = line._replace(amount=line.cost * above, formula=formula)
    return [*found, _bought(spend, lines[covered[0][0]], hours, math)]


def _left(line: Line, before: Line, math: Arithmetic) -> Number:
    """The share of a line that no other commitment covers."""
    return math.number(1) if line is before else line.cost / math.most(before.cost, math.number("1e-30"))


def _bought(spend: CommittedSpend, like: Line, hours: Number, math: Arithmetic) -> Line:
    price = Price(spend.an_hour, "hour", spend.source, spend.begin, spend.currency, discount="committed", free=not spend.an_hour)
    amount = None if math is EXACT else hours * math.number(spend.an_hour)
    return Line("commitments", like.category, spend.what, hours, "hour", price, "every hour of every month, used or not", amount)
