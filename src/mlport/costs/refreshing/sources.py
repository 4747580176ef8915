"""What a source of prices is: a plug-in of the group `mlport.price_sources`, named like the price list that it refreshes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import NamedTuple, Protocol

from mlport.costs.catalogue import nearest
from mlport.costs.facts import Fact
from mlport.costs.refreshing.web import Web
from mlport.errors import ConfigError, SpecError
from mlport.plugins import installed

GROUP = "mlport.price_sources"


class Found(NamedTuple):
    """A price as the source says it; `derived_from` where it had to be computed. Of a machine, by the hour, if nothing else is said."""

    sku: str
    region: str
    purchase: str
    price: Decimal
    as_of: date
    source: str
    derived_from: str = ""
    service: str = "compute"
    unit: str = "hour"
    tier_from: Decimal = Decimal(0)
    gpu: str = ""
    """As the list in force names it, where things of one sku differ by it."""
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class Access:
    """What a source may need of whoever asks: a profile of mlport.toml, or the environment. Secrets are read when needed, and not kept."""

    profile: str | None = None
    config: Path | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)


@dataclass
class Request:
    """What a source is asked: the prices of these regions."""

    regions: Sequence[str]
    in_force: Sequence[Fact]
    """The list as it is: what a source composes prices for is described there."""
    web: Web
    access: Access = field(default_factory=Access)
    progress: Callable[[str], None] = lambda text: None
    passed: Counter[str] = field(default_factory=Counter)
    """Rows of the source that are no price for this list, by the reason."""
    left: dict[Fact, str] = field(default_factory=dict)
    """Prices that stay, for the source turned out not to speak of them, with the reason."""

    def each(self) -> Iterator[str]:
        """The regions one after the other, with progress."""
        for number, region in enumerate(self.regions, start=1):
            where = f"{region} ({number} of {len(self.regions)})"
            self.progress(where)
            self.web.progress = lambda text, where=where: self.progress(f"{where}: {text}")  # type: ignore[misc]
            yield region

    def leave(self, facts: Iterable[Fact], reason: str) -> None:
        """Let prices stay as they are: the source says nothing of them, rather than that they are gone."""
        self.left.update(dict.fromkeys(facts, reason))


class PriceSource(Protocol):
    """One official source of prices."""

    @property
    def needs(self) -> str:
        """What it needs of whoever asks, in one line, such as the environment variable of a key; empty if nothing."""

    def lacks(self, access: Access) -> ConfigError | None:
        """Why it cannot be asked: what is missing, and as its hint how to get it. Nothing is contacted."""

    def speaks_of(self, fact: Fact) -> bool:
        """Whether it has all prices of this kind: what it does not say of these is no longer sold, unless it `leave`s them."""

    def read(self, request: Request) -> Iterator[Found]:
        """The prices in the regions.

        Raises:
            NotFoundError: it has no such region.
            ConfigError: what it lacks.
            ProviderError: it did not answer, or not with a price list.
        """


def _points() -> Mapping[str, EntryPoint]:
    return installed(GROUP)


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
