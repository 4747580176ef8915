"""What a provider's pricing is: the rules by which its bills come about, as a plug-in of the group `mlport.pricing`.

A pricing is pure: it loads no vendor code, asks nobody, and takes every number from the quote that it is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

from pydantic import Field

from mlport.costs.catalogue import nearest
from mlport.errors import SpecError
from mlport.fields import Spec
from mlport.plugins import installed

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint
    from urllib.parse import SplitResult

    from mlport.costs.catalogue import Catalogue
    from mlport.costs.parts import Part
    from mlport.costs.quote import Quote
    from mlport.costs.records import Line, Refusal
    from mlport.spi import Plan

GROUP = "mlport.pricing"
Criterion = Literal["control", "responsibility", "recovery", "internet", "time_to_start"]
"""What money does not say: who decides, who answers for it, how it comes back, whether it works offline, how soon it begins."""


class Settings(Spec):
    """What a target must be told beside the workload. Each pricing adds its own fields."""

    region: str | None = None
    """The provider's name of it; a target that needs one and has none is an error that lists the choices."""
    speed: float = Field(1.0, gt=0, le=1000)
    """How much quicker its machines do this work than those that the workload's hours were measured on."""
    machines: dict[str, str] = Field(default_factory=dict)
    """Machines to use instead of the cheapest that fit, by the name of the part; `*` for all others."""
    free_tier: bool = False
    """Count the account's monthly free allowances, as if nothing else used them."""


class Note(NamedTuple):
    """What is to be said of a place beside its price; `source` where it is a fact that somebody published."""

    words: str
    source: str = ""


class Pricing(Protocol):
    """One provider's price rules. One may also have `notes: Mapping[Criterion, Note]`: what money does not say, in its words."""

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> type[Settings]: ...

    @property
    def left_out(self) -> Sequence[str]:
        """What a bill may hold and its estimates do not."""

    def settings_of(self, config: Any) -> Mapping[str, Any]:
        """What a profile's configuration says of them: its region, its tier."""

    def region_of(self, url: SplitResult) -> str | None:
        """The region that a target's URL names in its host or path, None where it names none there."""

    def place(self, settings: Settings, catalogue: Catalogue) -> str:
        """A place that its prices are known of, in words such as `europe-west4`. Raises SpecError that lists the choices."""

    def price(self, part: Part, quote: Quote) -> Iterator[Line | Refusal]:
        """The lines of one part of the workload."""


def notes(pricing: Pricing) -> Mapping[Criterion, Note]:
    """What a pricing says beside its prices; empty where it says nothing."""
    found: Mapping[Criterion, Note] = getattr(pricing, "notes", {})
    return found


@runtime_checkable
class PricesWork(Protocol):
    """A pricing that can say more of one job or deployment than its profile says."""

    def settings_for(self, config: Any, plan: Plan) -> Mapping[str, Any]:
        """Those of `settings_of` with what was planned, such as the machine that was chosen.

        Raises SpecError with the reason where such work has no price of its own.
        """


@runtime_checkable
class PricesTogether(Protocol):
    """A pricing whose lines depend on all parts at once, since they share what is paid for, such as machines of one's own."""

    def price_all(self, parts: Sequence[Part], quote: Quote) -> Iterator[Line | Refusal]:
        """The lines of all parts; takes the place of `price` for each."""


def _found() -> Mapping[str, EntryPoint]:
    return installed(GROUP)


def names() -> list[str]:
    """Whose prices there are rules for."""
    return sorted(_found())


def load(name: str) -> Pricing:
    """The pricing of a provider. Raises SpecError, with the nearest name."""
    point = _found().get(name)
    if point is None:
        raise SpecError(f"no prices of {name!r} are known", hint=nearest(name, names()))
    pricing: Pricing = point.load()
    return pricing


def known_region(settings: Settings, regions: Sequence[str], what: str) -> str:
    """The region that a target names. Raises SpecError that lists the choices where it names none, or one without prices."""
    if settings.region is None:
        raise SpecError(f"{what}: region is required", hint=f"prices are known for {', '.join(regions)}")
    if settings.region not in regions:
        near = nearest(settings.region, regions)
        listed = "" if near.startswith("there are") else f" Prices are known for {', '.join(regions)}"
        raise SpecError(f"{what}: region: no prices are known for {settings.region!r}", hint=near + listed)
    return settings.region
