"""What work on machines of one's own costs: total cost of ownership by line, from a hardware book that the user keeps.

Machines are bought whole, and idle hours are paid for: the workload is charged all of them, or, with `charge = "share"`, the part of
them that it uses at the book's utilisation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult

from pydantic import BeforeValidator

from mlport.costs.arithmetic import Number
from mlport.costs.catalogue import Catalogue
from mlport.costs.demand import shown
from mlport.costs.formulas import HOURS_A_YEAR
from mlport.costs.parts import Egress, Logging, Monitoring, Part, Serving, Storage, Training
from mlport.costs.pricing import Criterion, Note, Settings
from mlport.costs.quote import Quote
from mlport.costs.records import Category, Line, Refusal
from mlport.errors import SpecError
from mlport_local.pricing import ownership
from mlport_local.pricing.capacity import Fleet, Need, fleets, needs
from mlport_local.pricing.hardware import EXAMPLE, HardwareBook, Said, load

_NOTHING: Number = 0  # of either arithmetic


class LocalSettings(Settings):
    """What a target of one's own machines must be told."""

    hardware: Annotated[HardwareBook | None, BeforeValidator(load)] = None
    """The hardware book: the path of a TOML file (from the working directory), or its table."""
    charge: Literal["whole", "share"] = "whole"
    """Whether the workload pays for whole machines and the whole site, or for its share of them."""


class LocalPricing:
    """The rules of ownership."""

    name = "local"
    settings = LocalSettings
    left_out = ("tax", "depreciation by tax law", "the time to buy and install machines", "insurance")
    notes: Mapping[Criterion, Note] = {
        "control": Note("all yours: machines, data, versions and the day of every upgrade"),
        "responsibility": Note("yours, from the power supply to the model; vendors answer for what their contracts say"),
        "recovery": Note("as quick as your spare machines, backups and people; one site is one point of failure"),
        "internet": Note("none for work within the site"),
        "time_to_start": Note("at once on machines that stand there; weeks to months for machines that must be bought"),
    }

    def settings_of(self, config: Any) -> Mapping[str, Any]:
        return {"hardware": str(config.hardware), "charge": "share"} if config.hardware else {}

    def region_of(self, url: SplitResult) -> str | None:
        return None

    def place(self, settings: Settings, catalogue: Catalogue) -> str:
        book = _book(settings)
        if settings.region not in (None, book.name):
            raise SpecError(f"local: region: {settings.region!r} is not the site of the hardware book", hint=f"that is {book.name!r}")
        return book.name

    def price(self, part: Part, quote: Quote) -> Iterator[Line | Refusal]:
        yield from self.price_all([part], quote)

    def price_all(self, parts: Sequence[Part], quote: Quote) -> Iterator[Line | Refusal]:
        """The machines for all parts together, their site, and what is priced by the unit."""
        book = _book(quote.settings)
        share = isinstance(quote.settings, LocalSettings) and quote.settings.charge == "share"
        asked = list(needs(parts, quote, book, lambda machine: ownership.yearly(machine, book)))
        yield from (found for found in asked if isinstance(found, Refusal))
        found = [need for need in asked if isinstance(need, Need)]
        stand = fleets(found, quote, book, share=share)
        if stand:
            _tell(found, stand, quote, book, share=share)
            owned = list(ownership.lines(stand, quote, book, share=share))
            quote.facts.update(_facts(stand, owned, quote))
            yield from owned
        for part in parts:
            yield from _by_unit(part, quote, book)


def _book(settings: Settings) -> HardwareBook:
    if not isinstance(settings, LocalSettings) or settings.hardware is None:
        raise SpecError("local: hardware is required: what your machines and their site cost", hint=f"{EXAMPLE} is one to begin with")
    return settings.hardware


def _tell(found: Sequence[Need], stand: Sequence[Fleet], quote: Quote, book: HardwareBook, *, share: bool) -> None:
    """Say what was taken for granted."""
    for fleet in stand:
        hours = fleet.whole * quote.months * quote.hours_a_month
        busy = fleet.used / quote.math.most(hours, quote.math.number("1e-9"))
        quote.assume(
            f"{fleet.machine.name}: {shown(fleet.whole)} machines, at work {shown(busy * 100)} % of the time; idle hours are paid for"
        )
    if share:
        quote.assume("charged the share of machines and site that the workload uses; somebody else pays for the rest")
    else:
        quote.assume("charged whole machines and the whole site")
    quote.assume(f"capital for {shown(quote.months)} months of the machines' life; before and after they serve something else")
    quote.assume(book.words("utilization", book.utilization))
    quote.assume(book.words("interest", book.interest))
    for part in (need.part for need in found):
        if (isinstance(part, Training) and part.compute.spot) or (isinstance(part, Serving) and part.purchase != "on_demand"):
            quote.assume(f"{part.name}: no purchase options, for one's own machines are neither spot nor reserved")


def _facts(stand: Sequence[Fleet], owned: Sequence[Line], quote: Quote) -> dict[str, Any]:
    """What a break-even needs to know beside the lines: money bound, hours, and cost without capital."""
    price = quote.math.number
    return {
        "capital": sum((fleet.charged * price(fleet.machine.price) for fleet in stand), start=_NOTHING),
        "capacity_hours": sum((fleet.charged for fleet in stand), start=_NOTHING) * HOURS_A_YEAR * quote.months / 12,
        "used_hours": sum((fleet.used for fleet in stand), start=_NOTHING),
        "life_years": min(fleet.machine.years.value for fleet in stand),
        "capital_cost": sum((cost for line in owned if line.category == "capital" and (cost := line.cost) is not None), start=_NOTHING),
        "machines": {fleet.machine.name: fleet.whole for fleet in stand},
    }


def _by_unit(part: Part, quote: Quote, book: HardwareBook) -> Iterator[Line]:
    """Storage, traffic, logs and metrics: at the book's prices by the unit."""
    prices = book.prices
    if isinstance(part, Storage):
        said, field = (prices.object_gib_month, "object_gib_month") if part.kind == "object" else (prices.disk_gib_month, "disk_gib_month")
        yield _unit(part, "storage", f"{part.kind} storage", "gib_month", part.gib, said, field, quote, book)
        if part.writes or part.reads:
            quote.assume(f"{part.name}: requests cost nothing beside the storage itself")
    elif isinstance(part, Egress):
        said, field = (prices.internet_gib, "internet_gib") if part.to == "internet" else (prices.region_gib, "region_gib")
        yield _unit(part, "egress", f"traffic to {part.to}", "gib", part.gib, said, field, quote, book)
    elif isinstance(part, Logging):
        yield _unit(part, "logging", "logs", "gib", part.gib, prices.logging_gib, "logging_gib", quote, book)
    elif isinstance(part, Monitoring):
        yield _unit(part, "monitoring", "metrics", "gib", part.gib, prices.monitoring_gib, "monitoring_gib", quote, book)
        if part.analysed_gib:
            said = prices.analysed_gib
            yield _unit(part, "monitoring", "captured requests analysed", "gib", part.analysed_gib, said, "analysed_gib", quote, book)


def _unit(
    part: Part, category: Category, what: str, unit: str, monthly: Any, said: Said | None, field: str, quote: Quote, book: HardwareBook
) -> Line:
    fact = book.fact(said, category, what, unit) if said is not None else None
    unknown = f"prices.{field} of the hardware book is not given; 0, with its source, where it is free"
    return quote.line(part, category, what, quote.number(monthly) * quote.months, unit, fact, "GiB x months", unknown=unknown)


PRICING = LocalPricing()
