"""What is paid by the unit and is no part of its own kind: any line of a price list, or a price that the workload gives itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

from mlport.costs.arithmetic import Number
from mlport.costs.catalogue import ANYWHERE, PriceList, nearest
from mlport.costs.demand import shown
from mlport.costs.facts import Fact
from mlport.costs.formulas import billed
from mlport.costs.parts import OWN, Item
from mlport.costs.quote import Quote
from mlport.costs.records import Line
from mlport.errors import SpecError


def lines(part: Item, quote: Quote, target: str) -> Iterator[Line]:
    """The line of an item, none where it is not paid at this target; that is then said.

    Raises SpecError: the price list has no such thing, or has it by another unit.
    """
    if part.targets and target not in part.targets:
        quote.left_out[f"{part.name}, which is paid at {', '.join(part.targets)} only"] = None
        return
    facts = _listed(part, quote) if part.provider else _own(part)
    monthly, formula = _quantity(part, quote)
    when = replace(quote, months=quote.math.number(1)) if part.once else quote
    unit = facts[0].unit if facts else _unit(part, quote)
    formula = f"{formula}, once" if part.once else f"{formula} x {shown(quote.months)} months"
    if len(facts) == 1:
        yield quote.line(part, part.category, facts[0].sku, monthly * when.months, unit, facts[0], formula)
    else:
        yield when.tiers(part, part.category, facts[0].sku if facts else part.sku or part.name, monthly, unit, facts, formula)


def _unit(part: Item, quote: Quote) -> str:
    """What a thing that has no price here is counted by, where it has one."""
    return next(
        fact.unit for fact in quote.catalogue.list(str(part.provider)).facts if (fact.service, fact.sku) == (part.service, part.sku)
    )


def _quantity(part: Item, quote: Quote) -> tuple[Number, str]:
    """Units a month, and how they come."""
    units, runs = quote.number(part.quantity), quote.number(part.runs)
    many = "" if part.runs == 1 else f" x {shown(runs)} runs"
    if part.hours is None:
        return units * runs, f"{shown(units)}{many}"
    hours = quote.number(part.hours)
    if part.step_seconds or part.least_seconds:
        hours = billed(quote.math, hours, part.step_seconds or 1, part.least_seconds)
    return units * hours * runs, f"{shown(units)} x {shown(hours)} h{many}"


def _own(part: Item) -> Sequence[Fact]:
    """The item's own price as facts."""
    assert part.unit is not None  # noqa: S101 - the item's own check
    assert part.source is not None  # noqa: S101
    assert part.as_of is not None  # noqa: S101
    steps = part.tiers or ((0.0, part.price or Decimal(0)),)
    name = part.sku or part.name
    return [
        Fact(
            OWN, part.service or part.category, name, part.region or "*", part.purchase, part.unit, Decimal(str(begin)).normalize(), price,
            part.currency, part.as_of, part.source,
        )
        for begin, price in steps
    ]  # fmt: skip


def _listed(part: Item, quote: Quote) -> Sequence[Fact]:
    """The tiers of a thing in a price list, in the item's region or the target's; empty where it has no price there."""
    prices, region = quote.catalogue.list(str(part.provider)), part.region or quote.region
    _require_known(part, prices)
    paid = ["free_tier", part.purchase] if quote.settings.free_tier else [part.purchase]
    found = next((facts for place in (region, *ANYWHERE) for how in paid if (facts := _of(prices, part, place, how))), [])
    if found and found[0].purchase == "free_tier":
        quote.assume("free allowances of the account are counted, as if nothing else used them")
    if found and part.unit not in (None, found[0].unit):
        raise SpecError(f"items: {part.name}: unit is {part.unit!r}, and {part.provider} has {part.sku} by {found[0].unit!r}")
    if len({fact.tier_from for fact in found}) < len(found):
        raise SpecError(f"items: {part.name}: {part.provider} has several prices of {part.sku} in {region}", hint="give its price yourself")
    return found


def _of(prices: PriceList, part: Item, place: str, purchase: str) -> list[Fact]:
    here = (fact for fact in prices.of(str(part.service), place) if fact.sku == part.sku and fact.purchase == purchase)
    return sorted(here, key=lambda fact: fact.tier_from)


def _require_known(part: Item, prices: PriceList) -> None:
    """What the item names must be in the list somewhere. Raises SpecError, with the nearest name."""
    where = f"items: {part.name}"
    services = sorted({fact.service for fact in prices.facts})
    if part.service not in services:
        raise SpecError(f"{where}: service: {part.provider} has no {part.service!r}", hint=nearest(str(part.service), services))
    known = sorted({fact.sku for fact in prices.facts if fact.service == part.service})
    if part.sku not in known:
        raise SpecError(f"{where}: sku: {part.provider} has no {part.sku!r} in {part.service}", hint=nearest(str(part.sku), known))
    if part.region is not None and part.region not in prices.regions:
        raise SpecError(f"{where}: region: {part.provider} has no prices in {part.region!r}", hint=nearest(part.region, prices.regions))
