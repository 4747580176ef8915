"""Which machine: the cheapest type that satisfies a Compute, by the table's prices; the same for the same asking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlport.errors import SpecError
from mlport.specs import Compute
from mlport_vertex.compute.machine_table import REGIONS, ROWS

Json = dict[str, Any]
BASIS_REGION = "us-central1"
LEAST_TRAINING_CPUS = 4  # Google's list for custom training begins there; not verified for each family
ACCELERATORS = {
    "T4": "NVIDIA_TESLA_T4",
    "V100": "NVIDIA_TESLA_V100",
    "A100": "NVIDIA_TESLA_A100",
    "A100-80GB": "NVIDIA_A100_80GB",
    "L4": "NVIDIA_L4",
    "H100": "NVIDIA_H100_80GB",
}


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine type; `usd` an hour on demand, `region` whose price that is, `as_of` the date of it."""

    name: str
    cpus: int
    memory_gib: float
    gpu: str
    gpus: int
    usd: float
    region: str
    as_of: str

    def spec(self) -> Json:
        """As a MachineSpec."""
        gpu = {"acceleratorType": ACCELERATORS[self.gpu], "acceleratorCount": self.gpus} if self.gpus else {}
        return {"machineType": self.name, **gpu}

    def resolved(self, nodes: int, *, spot: bool = False) -> Json:
        """What a plan tells of it."""
        basis = f"on demand, {self.region}, {self.as_of}"
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


def machines(location: str, least_cpus: int) -> list[Machine]:
    """The types that a region offers as far as it is known, at its prices; where it is not in the table, at those of another."""
    region = location if location in REGIONS else BASIS_REGION
    at = REGIONS.index(region)
    return [
        Machine(name, cpus, memory, gpu, gpus, prices[at] or 0.0, region, as_of)
        for name, cpus, memory, gpu, gpus, as_of, prices in ROWS
        if prices[at] is not None and cpus >= least_cpus
    ]


def for_training(compute: Compute, location: str, field: str = "JobSpec.compute", machine: str | None = None) -> Machine:
    """The machine of a job's node. `machine` names one instead of the cheapest."""
    return _chosen(compute, machines(location, LEAST_TRAINING_CPUS), location, field, machine)


def for_serving(compute: Compute, location: str, field: str = "DeploymentSpec.compute", machine: str | None = None) -> Machine:
    """The machine of a replica. `machine` names one instead of the cheapest."""
    return _chosen(compute, machines(location, 1), location, field, machine)


def _chosen(compute: Compute, offers: Sequence[Machine], location: str, field: str, machine: str | None) -> Machine:
    named = [offer for offer in offers if machine in (None, offer.name)]
    if not named:
        raise SpecError(
            f"options.vertex.machine: {machine!r} is not one of the types known in {location}", hint=f"there are {_listed(offers)}"
        )
    fitting = [offer for offer in named if all(fits(offer) for fits in _tests(compute).values())]
    if not fitting:
        raise _nothing(compute, named, location, field)
    return min(fitting, key=lambda offer: (offer.usd, offer.cpus, offer.name))


def _tests(compute: Compute) -> dict[str, Callable[[Machine], bool]]:
    """What each field asks of a machine."""
    kind = (compute.gpu or "").upper()
    return {
        "gpu": lambda offer: not kind or offer.gpu == kind,
        "gpus": lambda offer: offer.gpus >= compute.gpus if compute.gpus else not offer.gpus,
        "cpus": lambda offer: offer.cpus >= compute.cpus,
        "memory_gib": lambda offer: offer.memory_gib >= compute.memory_gib,
    }


def _nothing(compute: Compute, offers: Sequence[Machine], location: str, field: str) -> SpecError:
    """Which field nothing satisfies, given those before it, and what comes nearest."""
    left = list(offers)
    for name, fits in _tests(compute).items():
        still = [offer for offer in left if fits(offer)]
        if still:
            left = still
            continue
        wanted = getattr(compute, name)
        if name == "gpu":
            kinds = ", ".join(sorted({offer.gpu for offer in offers if offer.gpu})) or "none"
            return SpecError(
                f"{field}.gpu: {wanted!r} asked for, and in {location} there are {kinds}", hint="choose one of those, or another region"
            )
        nearest = max(left, key=lambda offer: (getattr(offer, name), -offer.usd))
        return SpecError(
            f"{field}.{name}: {wanted:g} asked for, and no machine type known in {location} has that with the rest",
            hint=f"the nearest is {nearest}",
        )
    raise AssertionError("every field is satisfied by some machine that is left, so one satisfies all")  # pragma: no cover


def _listed(offers: Sequence[Machine]) -> str:
    return ", ".join(sorted({offer.name for offer in offers}))
