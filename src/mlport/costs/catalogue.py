"""The catalogue: price facts by price list, loaded when first asked for, and which offers satisfy a Compute."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlport.costs.facts import SNAPSHOT, Fact, Packed
from mlport.costs.offers import lacks, order
from mlport.errors import SpecError

if TYPE_CHECKING:
    from mlport.costs.records import Price
    from mlport.specs import Compute

FOLDER = "MLPORT_PRICES"
ANYWHERE = ("*", "global")


class PriceList:
    """The facts of one list, indexed by service and region; those of a packed one are made when they are asked for."""

    def __init__(self, version: str, facts: Iterable[Fact] | Packed) -> None:
        self.version = version
        self._packed = facts if isinstance(facts, Packed) else None
        self._by_place: dict[tuple[str, str], list[Fact]] = {}
        self._by_sku: dict[tuple[str, str], dict[tuple[str, str, str], list[Fact]]] = {}
        if not isinstance(facts, Packed):
            self.facts = tuple(facts)
            for fact in self.facts:
                self._by_place.setdefault((fact.service, fact.region), []).append(fact)

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        """All of them."""
        return tuple(self._packed.facts()) if self._packed else ()

    @cached_property
    def _places(self) -> Collection[tuple[str, str]]:
        return self._rows or self._by_place

    @cached_property
    def _rows(self) -> Mapping[tuple[str, str], Sequence[list[Any]]]:
        return self._packed.places if self._packed else {}

    @cached_property
    def regions(self) -> tuple[str, ...]:
        """The regions in which a machine or a service has a price."""
        return tuple(sorted({region for _, region in self._places if region not in ANYWHERE and not region.startswith("*")}))

    @cached_property
    def machine_regions(self) -> tuple[str, ...]:
        """The regions in which a machine has a price."""
        return tuple(sorted({region for service, region in self._places if service == "compute"}))

    def of(self, service: str, region: str) -> Sequence[Fact]:
        """All prices of a service in a region."""
        place = service, region
        if place not in self._by_place and place in self._rows and self._packed:
            self._by_place[place] = self._packed.facts(self._rows[place])
        return self._by_place.get(place, ())

    def _things(self, service: str, region: str) -> Mapping[tuple[str, str, str], list[Fact]]:
        """The prices of a service in a region, by sku, GPU and purchase."""
        place = service, region
        if place not in self._by_sku:
            found: dict[tuple[str, str, str], list[Fact]] = {}
            for fact in self.of(service, region):
                found.setdefault((fact.sku, fact.gpu, fact.purchase), []).append(fact)
            self._by_sku[place] = found
        return self._by_sku[place]

    def tiers(self, service: str, sku: str, region: str, purchase: str = "on_demand", gpu: str = "") -> Sequence[Fact]:
        """The prices of one thing, by rising `tier_from`; empty where nobody said any. What holds anywhere stands in for the region's."""
        for place in (region, *ANYWHERE):
            if found := self._things(service, place).get((sku, gpu, purchase)):
                return sorted(found, key=lambda fact: fact.tier_from)
        return ()

    def find(self, service: str, sku: str, region: str, purchase: str = "on_demand", gpu: str = "") -> Fact | None:
        """The one price of a thing, None where nobody said any."""
        found = self.tiers(service, sku, region, purchase, gpu)
        return found[0] if found else None

    def machines(self, region: str, work: str = "", service: str = "compute") -> Sequence[Fact]:
        """The machines of a region to choose from for some `work`, such as `training`: without those that the list excludes from it."""
        excluded = {fact.sku for place in (region, *ANYWHERE) for fact in self.of("exclusion", place) if fact.purchase == work}
        here = self.of(service, region)
        return [fact for fact in here if fact.sku not in excluded] if excluded else here

    def offers(self, compute: Compute, region: str, purchase: str = "on_demand", service: str = "compute", work: str = "") -> list[Fact]:
        """The machines that satisfy a Compute, the cheapest first; ties by fewer CPUs, less memory, then name."""
        here = self.machines(region, work, service)
        return sorted((fact for fact in here if fact.purchase == purchase and not lacks(fact, compute)), key=order())


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
            found = [_packed(path) for path in files]
            newest = max(found, key=lambda each: each.version)  # the first of equals: a newer mlport may bring newer ones
            self._lists[name] = PriceList(newest.version, newest)
        return self._lists[name]

    def _places(self) -> Sequence[Path]:
        return [place for place in (self._folder, SNAPSHOT) if place is not None]


def _packed(path: Path) -> Packed:
    try:
        return Packed(path.read_text(encoding="utf-8"))
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise SpecError(
            f"{path}: is no price list: {error}", hint="`mlport cost refresh` makes it anew; without the file, mlport's own prices hold"
        ) from error


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


def price_of(fact: Fact) -> Price:
    """A fact as the price of a line."""
    from mlport.costs.records import Price

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
    import difflib

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
