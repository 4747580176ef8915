"""Which machines satisfy a Compute, the cheapest first; and where none does, which field nothing satisfies and what comes nearest.

The one rule by which estimates and the adapters' plans choose a machine. Ties: fewer CPUs, less memory, then the name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from mlport.errors import SpecError

if TYPE_CHECKING:
    from mlport.costs.facts import Fact
    from mlport.specs import Compute

Hourly = Callable[["Fact"], Any]
"""What an hour of a machine costs, with what is billed beside it: a number of either arithmetic."""
FIELDS = ("gpu", "gpus", "cpus", "memory_gib")


def lacks(fact: Fact, compute: Compute) -> str:
    """The first of FIELDS that a machine does not satisfy, empty if it satisfies all. Without GPUs asked for, one that has some does not."""
    if compute.gpu and fact.gpu.upper() != compute.gpu.upper():
        return "gpu"
    if fact.gpus < compute.gpus or (fact.gpus and not compute.gpus):
        return "gpus"
    if fact.vcpus < compute.cpus:
        return "cpus"
    return "memory_gib" if fact.memory_gib < compute.memory_gib else ""


def satisfies(fact: Fact, compute: Compute) -> bool:
    """Whether a machine has what a Compute asks for."""
    return not lacks(fact, compute)


def listed(fact: Fact) -> Decimal:
    """The list price."""
    return fact.price


def order(hourly: Hourly = listed) -> Callable[[Fact], tuple[Any, ...]]:
    """Where a machine stands among others, the cheapest first."""
    return lambda fact: (hourly(fact), fact.vcpus, fact.memory_gib, fact.sku)


def machine(fact: Fact) -> str:
    """The machine's name at its provider; what a list writes behind a plus is attached to it."""
    return fact.sku.partition("+")[0]


def described(fact: Fact) -> str:
    """A machine in words."""
    gpus = f", {fact.gpus} {fact.gpu}" if fact.gpus else ""
    return f"{fact.sku} ({fact.vcpus:g} vCPU, {fact.memory_gib:g} GiB{gpus})"


# ---------------------------------------------------------------- where nothing satisfies


def shortage(facts: Iterable[Fact], compute: Compute) -> tuple[str, Fact] | None:
    """The field that no machine satisfies among those that satisfy the fields before it, and the machine that comes nearest in that.

    None if there are no machines, or some satisfies.
    """
    failed = [(FIELDS.index(field) if (field := lacks(fact, compute)) else len(FIELDS), fact) for fact in facts]
    at = max((index for index, _ in failed), default=len(FIELDS))
    if at == len(FIELDS):
        return None
    left = [fact for index, fact in failed if index == at]
    offered = {"gpu": "gpus", "cpus": "vcpus"}.get(FIELDS[at], FIELDS[at])
    return FIELDS[at], min(left, key=lambda fact: (-getattr(fact, offered), *order()(fact)))


def kinds(facts: Iterable[Fact]) -> str:
    """The kinds of GPU that some machines have, in words."""
    return ", ".join(sorted({fact.gpu for fact in facts if fact.gpu})) or "none"


def refusal(facts: Iterable[Fact], compute: Compute, field: str, where: str, advice: str = "") -> SpecError:
    """The error for a Compute, at `field`, that no machine `where` satisfies."""
    facts = [fact for fact in facts if fact.purchase == "on_demand"]
    found = shortage(facts, compute)
    if found is None:
        return SpecError(f"{field}: no machine is known in {where}", hint=advice)
    name, near = found
    wanted = getattr(compute, name)
    if name == "gpu":
        known = f"{field}.gpu: {wanted!r} asked for, and in {where} there are {kinds(facts)}"
        return SpecError(known, hint="choose one of those, or another region")
    return SpecError(
        f"{field}.{name}: {wanted:g} asked for, and no machine known in {where} has that with the rest",
        hint=f"the nearest is {described(near)}{f'; {advice}' if advice else ''}",
    )


# ---------------------------------------------------------------- what a plan tells


class Offer(NamedTuple):
    """A machine that a plan chose, and what an hour of one costs.

    `hourly` is in US dollars, with what is billed `beside` it, in words. `unknown` says why that is not the price of what is asked for,
    where it is not: it then only made the choice.
    """

    fact: Fact
    hourly: Decimal
    beside: str = ""
    unknown: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        """The machine's name at its provider."""
        return machine(self.fact)

    @property
    def gpus(self) -> int:
        """How many GPUs one has."""
        return self.fact.gpus

    @property
    def basis(self) -> str:
        """What the price is one of."""
        fact = self.fact
        beside = f" with {self.beside}" if self.beside else ""
        note = f"; {self.note}" if self.note else ""
        return f"{fact.purchase.replace('_', ' ')}{beside}, {fact.region}, {fact.as_of}{note}"

    def resolved(self, nodes: int, *, spot: bool = False) -> dict[str, Any]:
        """As a plan tells it: the price for all nodes as a decimal's text, None where it is not known."""
        fact, price = self.fact, f"{(self.hourly * nodes).normalize():f}"
        return {
            "machine": self.name,
            "cpus": _whole(fact.vcpus),
            "memory_gib": _whole(fact.memory_gib),
            "gpu": fact.gpu or None,
            "gpus": fact.gpus,
            "nodes": nodes,
            "spot": spot,
            "usd_per_hour": None if self.unknown else price,
            "price_basis": f"{self.unknown}; chosen by {price} {self.basis}" if self.unknown else self.basis,
        }


def offer(facts: Iterable[Fact], hourly: Hourly = listed, *, spot: bool = False) -> Offer | None:
    """The cheapest of some machines, None if there are none: on demand, or on spot where that is asked for, has a price, and is cheaper."""
    found: dict[str, list[Fact]] = {"on_demand": [], "spot": []}
    for fact in facts:
        found.setdefault(fact.purchase, []).append(fact)
    best = min(found["on_demand"], key=order(hourly), default=None)
    if best is None:
        return None
    if spot and not found["spot"]:
        return Offer(best, hourly(best), unknown=f"no spot price of {machine(best)} is known in {best.region}")
    chosen = min(found["spot"], key=order(hourly)) if spot else best
    if spot and hourly(best) <= hourly(chosen):
        return Offer(best, hourly(best), note="no machine on spot is known to be cheaper")
    return Offer(chosen, hourly(chosen))


def _whole(value: float) -> float | int:
    return int(value) if value == int(value) else value
