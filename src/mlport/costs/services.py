"""What every cloud bills beside machines: data at rest and its requests, traffic, metrics, log lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mlport.costs.demand import shown
from mlport.costs.parts import Egress, Logging, Monitoring, Part, Storage
from mlport.costs.quote import Quote
from mlport.costs.records import Category, Line

REQUESTS = 1000
"""Prices of requests are for so many."""


class Services(NamedTuple):
    """A cloud's price list, and what things are called in it; empty where the list has no such thing."""

    prices: str
    objects: str
    writes: str
    reads: str
    disk: str
    region: str
    logs: str
    metrics: str = ""

    def price(self, part: Part, quote: Quote) -> Iterator[Line]:
        """The lines of a part that needs no machine; none for any other."""
        if isinstance(part, Storage):
            yield from self._at_rest(part, quote)
        elif isinstance(part, Egress):
            what = "internet" if part.to == "internet" else self.region
            yield self._monthly(part, quote, "egress", what, part.gib)
        elif isinstance(part, Logging):
            yield self._monthly(part, quote, "logging", self.logs, part.gib)
        elif isinstance(part, Monitoring):
            if part.gib:
                yield self._monthly(part, quote, "monitoring", self.metrics, part.gib)
            if part.analysed_gib:
                gib = quote.number(part.analysed_gib) * quote.months
                why = "what looking for drift takes depends on the job that does it: give it as a batch"
                yield quote.line(part, "monitoring", "analysis of captured requests", gib, "gib", None, "GiB a month x months", unknown=why)

    def _at_rest(self, part: Storage, quote: Quote) -> Iterator[Line]:
        sku = self.objects if part.kind == "object" else self.disk
        monthly = quote.number(part.gib)
        facts = quote.steps(self.prices, "storage", sku) if sku else ()
        yield quote.tiers(part, "storage", sku or part.kind, monthly, "gib_month", facts, f"{shown(monthly)} GiB x {_months(quote)}")
        for sku, count in ((self.writes, part.writes), (self.reads, part.reads)):
            if part.kind == "object" and count:
                facts, thousands = quote.steps(self.prices, "storage", sku), quote.number(count) / REQUESTS
                yield quote.tiers(
                    part, "storage", sku, thousands, "1k_requests", facts, f"{shown(thousands)} thousand a month x {_months(quote)}"
                )

    def _monthly(self, part: Part, quote: Quote, category: Category, sku: str, gib: object) -> Line:
        monthly = quote.number(gib)
        facts = quote.steps(self.prices, category, sku) if sku else ()
        return quote.tiers(part, category, sku or category, monthly, "gib", facts, f"{shown(monthly)} GiB a month x {_months(quote)}")


def _months(quote: Quote) -> str:
    return f"{shown(quote.months)} months"
