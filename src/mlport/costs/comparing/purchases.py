"""The best way to pay for each part at a target: on demand, spot, or reserved for one or three years.

Reserved machines are paid for 730 hours a month whether used or not. As many are reserved as cost the least together with what
runs on demand above them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from mlport.costs.arithmetic import EXACT
from mlport.costs.catalogue import price_of
from mlport.costs.demand import running
from mlport.costs.estimate import Target, priced
from mlport.costs.formulas import committed
from mlport.costs.parts import Batch, Part, Serving, Sweep, Training
from mlport.costs.pricing import PricesTogether
from mlport.costs.quote import Quote, Settles, supplied
from mlport.costs.records import Estimate, Line

if TYPE_CHECKING:
    from mlport.costs.catalogue import Catalogue
    from mlport.costs.facts import Fact
    from mlport.costs.parts import Purchase
    from mlport.costs.quote import Discount
    from mlport.costs.records import Price
    from mlport.costs.workload import Workload

RESERVED: dict[Purchase, str] = {"reserved_1y": "1 year", "reserved_3y": "3 years"}


@dataclass(frozen=True, slots=True)
class Option:
    """One way to pay, what the whole part then costs (None if not known or not possible), and how that comes."""

    purchase: Purchase
    cost: Decimal | None
    words: str


@dataclass(frozen=True, slots=True)
class Purchases:
    """The ways to pay for a part at a target; `best` is the cheapest of those with a known cost."""

    target: str
    part: str
    options: Sequence[Option]

    @property
    def best(self) -> Option | None:
        known = [option for option in self.options if option.cost is not None]
        return min(known, key=lambda option: option.cost or Decimal(0), default=None)


def purchases(workload: Workload, at: Target, catalogue: Catalogue, discount: Discount | None = None) -> list[Purchases]:
    """The ways to pay for each part that runs on machines; none where machines are one's own and the parts share them.

    A price book's discounts, currency and taxes count, its commitments do not: they are of all parts together.
    """
    if isinstance(at.pricing, PricesTogether):
        return []
    discount = _of_one_part(discount)
    catalogue = supplied(catalogue, discount)
    parts = [part for part in workload.parts() if isinstance(part, Training | Sweep | Batch | Serving)]
    return [Purchases(at.name, part.name, tuple(_options(workload, part, at, catalogue, discount))) for part in parts]


def _of_one_part(discount: Discount | None) -> Discount | None:
    if discount is None:
        return None
    from mlport.costs.book import PriceBook

    return discount.without_commitments() if isinstance(discount, PriceBook) else discount


def _options(workload: Workload, part: Part, at: Target, catalogue: Catalogue, discount: Discount | None) -> list[Option]:
    seen: dict[int, tuple[Price, Fact]] = {}

    def remember(fact: Fact, price: Price) -> Price:
        found = discount(fact, price) if discount else price
        seen[id(found)] = found, fact
        return found

    regular = priced(workload.alone(_bought(part, "on_demand")), at, catalogue, discount=remember)
    spot = priced(workload.alone(_bought(part, "spot")), at, catalogue, discount=remember)
    rented = [fact for line in spot.lines if (fact := _fact_of(line, seen)) is not None]
    if spot.complete and all(fact.purchase == "on_demand" for fact in rented):
        options = [_whole("on_demand", _settled(regular, discount)), Option("spot", None, _why_not_spot(spot))]
    else:
        options = [_whole("on_demand", _settled(regular, discount)), _whole("spot", _settled(spot, discount))]
    machines = [line for line in regular.lines if _fact_of(line, seen) is not None]
    for purchase in RESERVED:
        if not regular.complete or len(machines) != 1:
            why = "it is not billed by machines of one kind" if regular.complete else options[0].words
            options.append(Option(purchase, None, why))
            continue
        fact = _fact_of(machines[0], seen)
        assert fact is not None  # noqa: S101 - it was chosen so
        bill, words = _reserved(purchase, workload, part, at, catalogue, regular, machines[0], fact)
        options.append(Option(purchase, None if bill is None else _settled(bill, discount).total, words))
    return options


def _settled(found: Estimate, discount: Discount | None) -> Estimate:
    """After the price book's commitments, currency and taxes, where there is one."""
    return discount.applied(found, EXACT) if isinstance(discount, Settles) else found


def _fact_of(line: Line, seen: dict[int, tuple[Price, Fact]]) -> Fact | None:
    """The machine's price that a line stands on, None if it stands on none."""
    fact = seen[id(line.price)][1] if line.price is not None and id(line.price) in seen else None
    return fact if fact is not None and fact.service == "compute" and line.unit == "hour" else None


def _bought(part: Part, purchase: Purchase) -> Part:
    if isinstance(part, Serving):
        return part.model_copy(update={"purchase": purchase})
    assert isinstance(part, Training | Sweep | Batch)  # noqa: S101 - only these run on machines
    return part.model_copy(update={"compute": part.compute.model_copy(update={"spot": purchase == "spot"})})


def _whole(purchase: Purchase, found: Estimate) -> Option:
    if found.refused:
        return Option(purchase, None, found.refused[0].why)
    if found.unpriced:
        return Option(purchase, None, found.unpriced[0].unknown)
    return Option(purchase, found.total, "")


def _why_not_spot(found: Estimate) -> str:
    """Why a part that may run on spot does not."""
    said = [words.partition(": ")[2] or words for words in found.assumptions if "spot" in words]
    return said[0] if said else "not rented on spot here"


def _reserved(
    purchase: Purchase, workload: Workload, part: Part, at: Target, catalogue: Catalogue, regular: Estimate, line: Line, fact: Fact
) -> tuple[Estimate | None, str]:
    """The bill with reserved machines, None without a price of them, and how it comes."""
    rate = catalogue.list(fact.provider).find("compute", fact.sku, fact.region, purchase, fact.gpu)
    if rate is None:
        return None, f"no price of {fact.sku} reserved for {RESERVED[purchase]} is known in {fact.region}"
    assert line.price is not None  # noqa: S101 - a line without a price stands on no fact
    month = EXACT.number(workload.hours_a_month) * EXACT.number(workload.months)
    profile = _profile(workload, part, at, catalogue, line.quantity / month)
    costs = {}
    for machines in sorted(
        {max(count.to_integral_value(way), Decimal(1)) for count in profile for way in ("ROUND_FLOOR", "ROUND_CEILING")}
    ):
        hourly = [committed(EXACT, used, machines, rate.price, line.price.value) for used in profile]
        costs[machines] = sum(hourly, start=Decimal(0)) / len(hourly) * month
    machines = min(costs, key=lambda count: (costs[count], count))
    words = f"{machines:f} x {rate.sku} for {RESERVED[purchase]} at {rate.price:f} an hour, {workload.hours_a_month:g} h a month, the rest on demand"
    reserved = line._replace(quantity=machines * month, price=price_of(rate), amount=costs[machines], formula=words)
    return regular._replace(lines=[reserved if each is line else each for each in regular.lines]), words


def _profile(workload: Workload, part: Part, at: Target, catalogue: Catalogue, mean: Decimal) -> Sequence[Decimal]:
    """Machines in use, in each hour of a day or week where the demand says so; their mean where it does not.

    Work that ends is taken as spread evenly: a reserved machine does it one piece after the other.
    """
    if isinstance(part, Serving):
        quote = Quote(catalogue, at.settings, at.pricing.place(at.settings, catalogue), EXACT.number(workload.months))
        for least in (0, 1):
            counts = running(quote, part, least)
            if abs(sum(counts, start=Decimal(0)) / len(counts) - mean) < Decimal("1e-9"):
                return counts
    return [mean]
