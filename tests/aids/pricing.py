"""A pricing small enough to compute by hand, with a price list of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from importlib.metadata import EntryPoint
from typing import Any
from urllib.parse import SplitResult

from mlport.costs import demand
from mlport.costs.catalogue import Catalogue, PriceList
from mlport.costs.facts import Fact
from mlport.costs.parts import Egress, Part, Serving, Storage
from mlport.costs.pricing import Note, Settings, known_region
from mlport.costs.quote import Quote
from mlport.costs.records import Line, Refusal

TODAY = date(2026, 11, 23)
MACHINES = {"small": (2.0, 4.0), "big": (8.0, 32.0)}
HOURLY = {
    ("small", "here", "on_demand"): "1.00",
    ("small", "here", "spot"): "0.40",
    ("small", "here", "reserved_1y"): "0.60",
    ("small", "here", "reserved_3y"): "0.35",
    ("big", "here", "on_demand"): "3.00",
    ("small", "there", "on_demand"): "1.50",
    ("big", "there", "on_demand"): "2.00",
}


def catalogue() -> Catalogue:
    """The prices: two machines in two regions, storage here only."""
    facts = [
        Fact("tiny", "compute", sku, region, how, "hour", Decimal(0), Decimal(price), "USD", TODAY, "the test", "", *MACHINES[sku])
        for (sku, region, how), price in HOURLY.items()
    ]
    facts.append(
        Fact(
            "tiny", "storage", "disk", "here", "on_demand", "gib_month", Decimal(0), Decimal("0.02"), "USD", date(2022, 11, 23), "the test"
        )
    )
    found = Catalogue()
    found._lists["tiny"] = PriceList("1", facts)
    return found


class TinyPricing:
    """Machines by the hour, storage by the GiB-month; no egress, and endpoints in one region only."""

    name = "tiny"
    settings = Settings
    left_out = ("tax",)
    notes: Mapping[str, Note] = {"control": Note("all of it", "https://example.org/control")}

    def settings_of(self, config: Any) -> Mapping[str, Any]:
        return {"region": config.location}

    def region_of(self, url: SplitResult) -> str | None:
        return url.hostname

    def place(self, settings: Settings, catalogue: Catalogue) -> str:
        return known_region(settings, catalogue.list("tiny").regions, "tiny")

    def price(self, part: Part, quote: Quote) -> Iterator[Line | Refusal]:
        if isinstance(part, Storage):
            fact = quote.find("tiny", "storage", "disk")
            yield quote.line(part, "storage", "disk", quote.number(part.gib) * quote.months, "gib_month", fact, "GiB x months")
        elif isinstance(part, Egress):
            yield Refusal(part.name, "nothing leaves")
        elif isinstance(part, Serving):
            rented = demand.host(quote, part, "tiny")
            yield rented if isinstance(rented, Refusal) else rented.line(quote, part, "serving")
        else:
            rented = demand.rent(quote, part, "tiny", granularity=1)  # type: ignore[arg-type]
            yield rented if isinstance(rented, Refusal) else rented.line(quote, part, "training")


PRICING = TinyPricing()
POINTS = {"tiny": EntryPoint("tiny", "aids.pricing:PRICING", "mlport.pricing")}
"""As an installed pricing would be found."""
