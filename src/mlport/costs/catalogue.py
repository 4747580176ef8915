"""The catalogue: price facts by price list, loaded when first asked for, and which offers satisfy a Compute."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlport.costs.facts import SNAPSHOT, Fact, unpack
from mlport.costs.records import Price
from mlport.errors import SpecError

if TYPE_CHECKING:
    from mlport.specs import Compute

FOLDER = "MLPORT_PRICES"
ANYWHERE = ("*", "global")


class PriceList:
    """The facts of one list, indexed."""

    def __init__(self, version: str, facts: Iterable[Fact]) -> None:
        self.version, self.facts = version, tuple(facts)

    @cached_property
    def _by_place(self) -> dict[tuple[str, str], list[Fact]]:
        found: dict[tuple[str, str], list[Fact]] = {}
        for fact in self.facts:
            found.setdefault((fact.service, fact.region), []).append(fact)
        return found

    @cached_property
    def _by_sku(self) -> dict[tuple[str, str, str, str, str], list[Fact]]:
        found: dict[tuple[str, str, str, str, str], list[Fact]] = {}
        for fact in self.facts:
            found.setdefault((fact.service, fact.sku, fact.gpu, fact.region, fact.purchase), []).append(fact)
        return found

    @cached_property
    def regions(self) -> tuple[str, ...]:
        """The regions in which a machine or a service has a price."""
        return tuple(sorted({fact.region for fact in self.facts if fact.region not in ANYWHERE and not fact.region.startswith("*")}))

    @cached_property
    def machine_regions(self) -> tuple[str, ...]:
        """The regions in which a machine has a price."""
        return tuple(sorted({fact.region for fact in self.facts if fact.service == "compute"}))

    def of(self, service: str, region: str) -> Sequence[Fact]:
        """All prices of a service in a region."""
        return self._by_place.get((service, region), ())

    def tiers(self, service: str, sku: str, region: str, purchase: str = "on_demand", gpu: str = "") -> Sequence[Fact]:
        """The prices of one thing, by rising `tier_from`; empty where nobody said any. What holds anywhere stands in for the region's."""
        for place in (region, *ANYWHERE):
            if found := self._by_sku.get((service, sku, gpu, place, purchase)):
                return sorted(found, key=lambda fact: fact.tier_from)
        return ()

    def find(self, service: str, sku: str, region: str, purchase: str = "on_demand", gpu: str = "") -> Fact | None:
        """The one price of a thing, None where nobody said any."""
        found = self.tiers(service, sku, region, purchase, gpu)
        return found[0] if found else None

    def offers(self, compute: Compute, region: str, purchase: str = "on_demand", service: str = "compute") -> list[Fact]:
        """The machines that satisfy a Compute, the cheapest first; ties by fewer CPUs, less memory, then name."""
        fitting = (fact for fact in self.of(service, region) if fact.purchase == purchase and satisfies(fact, compute))
        return sorted(fitting, key=lambda fact: (fact.price, fact.vcpus, fact.memory_gib, fact.sku))


class Catalogue:
    """All price lists: those that go with mlport, or newer ones of `folder` (`$MLPORT_PRICES`, where `refresh` puts them)."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lists: dict[str, PriceList] = {}

    def names(self) -> list[str]:
        """The lists that there are."""
        return sorted({path.stem for place in self._places() for path in place.glob("*.json")})

    def list(self, name: str) -> PriceList:
        """A price list. Raises SpecError, with the nearest name, where there is none."""
        if name not in self._lists:
            files = [path for place in self._places() if (path := place / f"{name}.json").is_file()]
            if not files:
                raise SpecError(f"there is no price list {name!r}", hint=nearest(name, self.names()))
            found = [PriceList(*unpack(path.read_text(encoding="utf-8"))) for path in files]
            self._lists[name] = max(found, key=lambda each: each.version)  # the first of equals: a newer mlport may bring newer ones
        return self._lists[name]

    def _places(self) -> Sequence[Path]:
        return [place for place in (self._folder, SNAPSHOT) if place is not None]


def default() -> Catalogue:
    """The catalogue of this machine: refreshed prices where there are some, else those that go with mlport."""
    return _of(folder())


def forget() -> None:
    """Read the prices anew when they are next asked for: they were refreshed."""
    _of.cache_clear()


def folder() -> Path:
    """Where refreshed prices are kept: `$MLPORT_PRICES`, else below the user's data."""
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return Path(os.environ[FOLDER]) if os.environ.get(FOLDER) else home / "mlport" / "prices"


@cache
def _of(place: Path) -> Catalogue:
    return Catalogue(place if place.is_dir() else None)


def satisfies(fact: Fact, compute: Compute) -> bool:
    """Whether a machine has what a Compute asks for. Without GPUs asked for, one that has some is none."""
    if (fact.gpus > 0) != (compute.gpus > 0):
        return False
    kind = (compute.gpu or "").upper()
    return (
        fact.vcpus >= compute.cpus
        and fact.memory_gib >= compute.memory_gib
        and fact.gpus >= compute.gpus
        and (not kind or fact.gpu.upper() == kind)
    )


def price_of(fact: Fact) -> Price:
    """A fact as the price of a line."""
    return Price(
        value=fact.price,
        unit=fact.unit,
        source=fact.source,
        as_of=fact.as_of,
        currency=fact.currency,
        derived_from=fact.derived_from,
        free=fact.price == Decimal(0),
    )


def nearest(name: str, known: Sequence[str]) -> str:
    """Advice for a name that is not known."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
