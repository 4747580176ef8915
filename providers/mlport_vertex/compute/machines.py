"""Which machine: the cheapest type that satisfies a Compute by the catalogue's prices, as an estimate chooses it."""

from __future__ import annotations

from typing import Any

from mlport.costs.catalogue import PriceList, default
from mlport.costs.offers import Offer, machine, offer, refusal, satisfies
from mlport.errors import SpecError
from mlport.specs import Compute

Json = dict[str, Any]
PRICES = "vertex"
STANDS_IN = "us-central1"
"""The region whose prices make the choice where those of the region are not known."""
ACCELERATORS = {
    "T4": "NVIDIA_TESLA_T4",
    "V100": "NVIDIA_TESLA_V100",
    "A100": "NVIDIA_TESLA_A100",
    "A100-80GB": "NVIDIA_A100_80GB",
    "L4": "NVIDIA_L4",
    "H100": "NVIDIA_H100_80GB",
    "H200": "NVIDIA_H200_141GB",
    "B200": "NVIDIA_B200",
}


class Machine(Offer):
    """A machine type that was chosen."""

    def spec(self) -> Json:
        """As a MachineSpec."""
        fact = self.fact
        gpu = {"acceleratorType": ACCELERATORS[fact.gpu], "acceleratorCount": fact.gpus} if fact.gpus else {}
        return {"machineType": self.name, **gpu}


def for_training(compute: Compute, location: str, field: str = "JobSpec.compute", machine: str | None = None) -> Machine:
    """The machine of a job's node. `machine` names one instead of the cheapest."""
    return _chosen(compute, location, field, machine, "training")


def for_serving(compute: Compute, location: str, field: str = "DeploymentSpec.compute", machine: str | None = None) -> Machine:
    """The machine of a replica. `machine` names one instead of the cheapest."""
    return _chosen(compute, location, field, machine, "")


def stand_in(location: str) -> str | None:
    """The region whose prices stand in for those of a location, None where they are known."""
    prices = default().list(PRICES)
    return None if prices.of("compute", location) else _region(prices, location)


def _region(prices: PriceList, location: str) -> str:
    known = prices.machine_regions
    return next((region for region in (location, STANDS_IN) if region in known), known[0])


def _chosen(compute: Compute, location: str, field: str, named: str | None, work: str) -> Machine:
    prices = default().list(PRICES)
    region = _region(prices, location)
    offered = prices.machines(region, "" if named else work)
    here = [fact for fact in offered if fact.gpu in ACCELERATORS or not fact.gpus]
    if named and named not in (known := {machine(fact) for fact in here}):
        raise SpecError(
            f"options.vertex.machine: {named!r} is not one of the types known in {location}", hint=f"there are {', '.join(sorted(known))}"
        )
    here = [fact for fact in here if named in (None, machine(fact))]
    found = offer((fact for fact in here if satisfies(fact, compute)), spot=compute.spot and work == "training")
    if found is None:
        raise refusal(here, compute, field, location)
    if region != location:
        found = found._replace(unknown=f"no price of {found.name} is known in {location}")
    return Machine(*found)
