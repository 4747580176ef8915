"""Published bills as workloads: one part a line, each on the machine that the bill names, at the prices that it says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from mlport.costs.book import checked
from mlport.costs.catalogue import Catalogue, PriceList
from mlport.costs.estimate import estimate
from mlport.costs.facts import Fact
from mlport.costs.records import Estimate, cents
from mlport.costs.workload import Workload

SHIPPED = Catalogue()
"""The prices that go with mlport, whatever this machine has refreshed."""


def bill(
    where: str,
    parts: Mapping[str, Any],
    *,
    months: float = 1,
    catalogue: Catalogue = SHIPPED,
    book: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Estimate:
    """What parts cost at a target with these settings, and under this price book."""
    workload = Workload.model_validate({"months": months, **parts, "targets": {where: settings}})
    return estimate(workload, where, catalogue=catalogue, discount=None if book is None else checked(book, "book.toml"))


def hosted(where: str, machine: str, hours: float, **settings: Any) -> Decimal:
    """One replica of a machine for some hours."""
    found = bill(
        where,
        {"endpoints": [{"requests_per_second": 0, "request_kb": 0, "response_kb": 0}]},
        months=hours / 730,
        machines={"*": machine},
        **settings,
    )
    return total(found)


def total(found: Estimate) -> Decimal:
    """To the cent, of an estimate in which everything has a price."""
    assert found.complete, ([refusal.why for refusal in found.refused], [line.unknown for line in found.unpriced])
    return cents(found.total)


def of(found: Estimate, unit: str) -> Decimal:
    """What the lines of one unit come to, each rounded to the cent as on a bill."""
    return sum((cents(line.cost) for line in found.lines if line.unit == unit and line.cost is not None), start=Decimal(0))


def prices(provider: str, source: str, rows: Iterable[tuple[str, str, str, str, str]]) -> Catalogue:
    """The shipped prices, but one list that holds (service, sku, region, unit, price) of a published example alone."""
    found = Catalogue()
    facts = [
        Fact(provider, service, sku, region, "on_demand", unit, Decimal(0), Decimal(price), "USD", date(2026, 11, 23), source, "", 1.0, 1.0)
        for service, sku, region, unit, price in rows
    ]
    found._lists[provider] = PriceList("example", facts)
    return found
