"""The price of a workload at one target."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from mlport.costs import items
from mlport.costs.arithmetic import EXACT, Arithmetic, Number
from mlport.costs.catalogue import Catalogue, default, nearest
from mlport.costs.formulas import HOURS_A_MONTH
from mlport.costs.parts import Item, Part
from mlport.costs.pricing import PricesTogether, Pricing, Settings, load, names
from mlport.costs.quote import Discount, Quote, Settles, supplied
from mlport.costs.records import Estimate, Line, Refusal
from mlport.errors import SpecError
from mlport.fields import dotted

if TYPE_CHECKING:
    from pathlib import Path

    from mlport.costs.facts import Fact
    from mlport.costs.workload import Workload

OLD_DAYS = 365


class Target(NamedTuple):
    """Where to price: a name, whose rules, and what they need to know."""

    name: str
    pricing: Pricing
    settings: Settings


def target(workload: Workload, name: str, *, file: Path | None = None) -> Target:
    """A target by a pricing's name, a name in the workload's `targets`, a profile's name (of `file`, the nearest mlport.toml) or a URL.

    What the workload's table of that name says stands over what a profile says. Raises SpecError, ConfigError.
    """
    from mlport import tables

    told = dict(workload.targets.get(name, {}))
    provider = str(told.pop("provider", name))
    found: Mapping[str, Any] = {}
    if provider not in names():
        from mlport.costs.profiles import profile

        provider, found = profile(provider, file)
    pricing = load(provider)
    shared = workload.targets.get(provider, {}) if provider != name else {}
    fields = {**{key: value for key, value in shared.items() if key != "provider"}, **found, **told}
    settings = tables.checked(fields, pricing.settings, lambda place: dotted(("targets", name, *place)))
    parts = [part.name for part in workload.parts()]
    if strange := next((part for part in settings.machines if part not in ("*", *parts)), None):
        raise SpecError(f"targets.{name}.machines.{strange}: the workload has no such part", hint=nearest(strange, ["*", *parts]))
    return Target(name, pricing, settings)


def estimate(
    workload: Workload,
    where: Target | str,
    *,
    catalogue: Catalogue | None = None,
    discount: Discount | None = None,
) -> Estimate:
    """What a workload costs at one target, to the cent, each line with quantity, unit price, formula, source and date.

    `discount` may be a price book (`mlport.costs.book.find` gives the project's): then with commitments, in its currency, with taxes.

    Raises SpecError: a region, tier or quantity that is missing or not known, with the choices.
    """
    at = target(workload, where) if isinstance(where, str) else where
    prices = catalogue or default()
    return priced(workload, at, prices, discount=discount)


def priced(
    workload: Workload,
    at: Target,
    catalogue: Catalogue,
    *,
    math: Arithmetic = EXACT,
    samples: Mapping[int, Number] | None = None,
    discount: Discount | None = None,
    factor: Callable[[Fact], Number] | None = None,
) -> Estimate:
    """The estimate under any arithmetic: one number a line, or one a sample."""
    return of_parts(
        list(workload.parts()),
        at,
        catalogue,
        months=workload.months,
        hours_a_month=workload.hours_a_month,
        math=math,
        samples=samples,
        discount=discount,
        factor=factor,
    )


def of_parts(
    parts: Sequence[Part],
    at: Target,
    catalogue: Catalogue,
    *,
    months: float = 1,
    hours_a_month: float = HOURS_A_MONTH,
    math: Arithmetic = EXACT,
    samples: Mapping[int, Number] | None = None,
    discount: Discount | None = None,
    factor: Callable[[Fact], Number] | None = None,
) -> Estimate:
    """The estimate of parts, each with a name, under any arithmetic; they need no workload around them."""
    prices = supplied(catalogue, discount)
    region = at.pricing.place(at.settings, prices)
    quote = Quote(prices, at.settings, region, math.number(months), math, samples or {}, factor=factor)
    quote.hours_a_month = math.number(hours_a_month)
    if discount is not None:
        quote.discount = discount
    lines: list[Line] = []
    refused: list[Refusal] = []
    for found in _found(parts, at, quote):
        (lines if isinstance(found, Line) else refused).append(found)  # type: ignore[arg-type]
    currencies = {line.price.currency for line in lines if line.price is not None} or {"USD"}
    if len(currencies) > 1 and not isinstance(discount, Settles):
        raise SpecError(f"{at.name}: lines in {' and '.join(sorted(currencies))}", hint="give the price book one currency and a rate")
    before = Estimate(
        target=at.name,
        place=f"{at.pricing.name} {region}".strip(),
        months=quote.months,
        currency=currencies.pop(),
        lines=lines,
        refused=refused,
        useful_hours=quote.useful_hours,
        predictions=quote.predictions,
        gains=quote.gained,
        left_out=(*at.pricing.left_out, *quote.left_out),
        assumptions=tuple(quote.assumed),
        warnings=tuple(_warnings(lines)),
        facts=quote.facts,
        hours=quote.months * quote.hours_a_month,
    )
    return discount.applied(before, math) if isinstance(discount, Settles) else before


def _found(parts: Sequence[Part], at: Target, quote: Quote) -> Iterator[Line | Refusal]:
    """The lines of all parts."""
    own = [part for part in parts if not isinstance(part, Item)]
    if isinstance(at.pricing, PricesTogether):
        yield from at.pricing.price_all(own, quote)
    else:
        for part in own:
            yield from at.pricing.price(part, quote)
    for part in parts:
        if isinstance(part, Item):
            yield from items.lines(part, quote, at.name)


def _warnings(lines: list[Line]) -> list[str]:
    """One line for all old prices."""
    days = [line.price.as_of for line in lines if line.price is not None and line.price.as_of is not None]
    today = datetime.now(UTC).date()
    old = [day for day in days if (today - day).days > OLD_DAYS]
    if not old:
        return []
    return [
        f"{len(old)} of {len(days)} prices are older than a year, the oldest of {min(old)}: `mlport cost prices` says how old each list is"
    ]
