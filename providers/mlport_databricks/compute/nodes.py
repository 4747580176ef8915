"""Which node: the cheapest type that satisfies a Compute, DBU and the cloud's machine together; the same for the same asking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlport.errors import SpecError
from mlport.specs import Compute
from mlport.spi import Json
from mlport_databricks.compute.node_table import DBU_USD, REGIONS, ROWS
from mlport_databricks.config import DatabricksConfig


@dataclass(frozen=True, slots=True)
class Node:
    """A node type; `usd` an hour on demand of a job's cluster, DBU included, `region` whose price that is, `as_of` the date of it."""

    name: str
    cpus: int
    memory_gib: float
    gpu: str
    gpus: int
    dbu: float
    usd: float
    region: str
    as_of: str

    def resolved(self, nodes: int, *, spot: bool) -> Json:
        """What a plan tells of it."""
        basis = f"on demand with {self.dbu:g} DBU, {self.region}, {self.as_of}"
        return {
            "machine": self.name,
            "cpus": self.cpus,
            "memory_gib": self.memory_gib,
            "gpu": self.gpu or None,
            "gpus": self.gpus,
            "nodes": nodes,
            "spot": spot,
            "usd_per_hour": round(self.usd * nodes, 6),
            "price_basis": f"{basis}; spot prices are not known" if spot else basis,
        }

    def __str__(self) -> str:
        gpus = f", {self.gpus} {self.gpu}" if self.gpus else ""
        return f"{self.name} ({self.cpus} vCPU, {self.memory_gib:g} GiB{gpus})"


def nodes(config: DatabricksConfig) -> list[Node]:
    """The node types of the profile's cloud that its region offers, as far as it is known; else at the prices of another region."""
    regions = REGIONS[config.cloud]
    at = regions.index(config.region) if config.region in regions else 0
    rate = DBU_USD.get((config.cloud, config.tier)) or DBU_USD[config.cloud, "premium"]
    return [
        Node(name, cpus, memory, gpu, gpus, dbu, round(usd + dbu * rate[at], 6), regions[at], as_of)
        for cloud, name, cpus, memory, gpu, gpus, dbu, as_of, prices in ROWS
        if cloud == config.cloud and (usd := prices[at]) is not None
    ]


def for_job(config: DatabricksConfig, compute: Compute, field: str) -> Node:
    """The cheapest node type that satisfies `compute`. Raises SpecError that names the field which nothing satisfies."""
    offers = nodes(config)
    fitting = [offer for offer in offers if all(fits(offer) for fits in _tests(compute).values())]
    if not fitting:
        raise _nothing(compute, offers, config, field)
    return min(fitting, key=lambda offer: (offer.usd, offer.cpus, offer.name))


def named(config: DatabricksConfig, name: str) -> Node | None:
    """The node type of that name, None where the table does not have it: Databricks has more than the table."""
    return next((offer for offer in nodes(config) if offer.name == name), None)


def _tests(compute: Compute) -> dict[str, Callable[[Node], bool]]:
    """What each field asks of a node."""
    kind = (compute.gpu or "").upper()
    return {
        "gpu": lambda offer: not kind or offer.gpu == kind,
        "gpus": lambda offer: offer.gpus >= compute.gpus if compute.gpus else not offer.gpus,
        "cpus": lambda offer: offer.cpus >= compute.cpus,
        "memory_gib": lambda offer: offer.memory_gib >= compute.memory_gib,
    }


def _nothing(compute: Compute, offers: Sequence[Node], config: DatabricksConfig, field: str) -> SpecError:
    """Which field nothing satisfies, given those before it, and what comes nearest."""
    left, where = list(offers), f"{config.cloud} {config.region}"
    for name, fits in _tests(compute).items():
        still = [offer for offer in left if fits(offer)]
        if still:
            left = still
            continue
        wanted = getattr(compute, name)
        if name == "gpu":
            kinds = ", ".join(sorted({offer.gpu for offer in offers if offer.gpu})) or "none"
            return SpecError(f"{field}.gpu: {wanted!r} asked for, and in {where} there are {kinds}", hint="choose one of those")
        nearest = max(left, key=lambda offer: (getattr(offer, name), -offer.usd))
        return SpecError(
            f"{field}.{name}: {wanted:g} asked for, and no node type known in {where} has that with the rest",
            hint=f"the nearest is {nearest}; name a larger one in options.databricks.node_type",
        )
    raise AssertionError("every field is satisfied by some node that is left, so one satisfies all")  # pragma: no cover
