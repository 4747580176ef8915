"""What a source of prices is: a plug-in of the group `mlport.price_sources`, named like the price list that it refreshes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple, Protocol

from mlport.costs.catalogue import nearest
from mlport.costs.refreshing.web import Web
from mlport.errors import SpecError

GROUP = "mlport.price_sources"


class Found(NamedTuple):
    """The price of an hour of a machine, in US dollars, as the source says it; `derived_from` where it had to be computed."""

    sku: str
    region: str
    purchase: str
    price: Decimal
    as_of: date
    source: str
    derived_from: str = ""


class PriceSource(Protocol):
    """One official source of the prices of machines."""

    @property
    def purchases(self) -> frozenset[str]:
        """The ways to pay that it has all prices of: what it does not say of these is no longer sold."""

    def read(self, web: Web, region: str, passed: Counter[str]) -> Iterator[Found]:
        """The prices in a region. Rows that are none of them are counted by the reason in `passed`.

        Raises:
            NotFoundError: it has no such region.
            ProviderError: it did not answer, or not with a price list.
        """


@cache
def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def names() -> list[str]:
    """The price lists that can be refreshed."""
    return sorted(_points())


def load(name: str) -> PriceSource:
    """The source of a price list. Raises SpecError, with the nearest name."""
    point = _points().get(name)
    if point is None:
        raise SpecError(f"there is no source of newer prices for {name!r}", hint=nearest(name, names()))
    source: PriceSource = point.load()
    return source
