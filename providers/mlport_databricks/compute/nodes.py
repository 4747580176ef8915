"""Which node: the cheapest type that satisfies a Compute, the cloud's machine and its DBUs together, as an estimate chooses it."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from mlport.costs.catalogue import default
from mlport.costs.facts import Fact
from mlport.costs.offers import Offer, offer, refusal, satisfies
from mlport.specs import Compute
from mlport_databricks.config import DatabricksConfig

PRICES = "databricks"
WORK = "JOBS_COMPUTE"
STANDS_IN = {"aws": "us-east-1", "azure": "eastus", "gcp": "us-central1"}
"""The region whose prices make the choice where those of the region are not known."""
TIER = "premium"
"""The tier whose prices make the choice where those of the tier are not known."""


class Market:
    """What there is to choose from: the machines of a region that have a DBU rating, and the price of a DBU.

    `unknown` says which of the prices asked for is not known, where others stand in for it.
    """

    def __init__(self, machines: Iterable[Fact], ratings: Iterable[Fact], dbu: Decimal, unknown: str) -> None:
        self._ratings = {(fact.sku, fact.gpu): fact.price for fact in ratings if fact.purchase == "on_demand"}
        self.machines = [fact for fact in machines if self.rating(fact) is not None]
        self.dbu, self.unknown = dbu, unknown

    def rating(self, fact: Fact) -> Decimal | None:
        """DBUs an hour, None where nobody published any."""
        return self._ratings.get((fact.sku, fact.gpu), self._ratings.get((fact.sku, "")))

    def hourly(self, fact: Fact) -> Decimal:
        """US dollars an hour, DBUs included."""
        return fact.price + (self.rating(fact) or 0) * self.dbu

    def cheapest(self, machines: Iterable[Fact], *, spot: bool) -> Offer | None:
        """The cheapest of some machines, None if there are none."""
        found = offer(machines, self.hourly, spot=spot)
        if found is None:
            return None
        rating = self.rating(found.fact) or Decimal(0)
        return found._replace(beside=f"{rating.normalize():f} DBU", unknown=self.unknown or found.unknown)


def market(config: DatabricksConfig) -> Market:
    """What there is in the profile's region; in another where nothing is known of it."""
    prices, cloud = default().list(PRICES), default().list(config.cloud)

    def dbu(tier: str, region: str) -> Fact | None:
        return prices.find("dbu", f"{tier.upper()}_{WORK}", region)

    priced = cloud.of("compute", config.region) and (dbu(config.tier, config.region) or dbu(TIER, config.region))
    region = config.region if priced else STANDS_IN[config.cloud]
    own, other = dbu(config.tier, region), dbu(TIER, region)
    unit = own or other
    unknown = "" if own else f"no DBU price of tier {config.tier} is known in {region}"
    if not priced:
        unknown = f"no prices are known in {config.cloud} {config.region}"
    return Market(cloud.machines(region, "training"), prices.of("rating", f"*{config.cloud}"), unit.price if unit else Decimal(0), unknown)


def for_job(config: DatabricksConfig, compute: Compute, field: str) -> Offer:
    """The cheapest node type that satisfies `compute`. Raises SpecError that names the field which nothing satisfies."""
    here = market(config)
    found = here.cheapest((fact for fact in here.machines if satisfies(fact, compute)), spot=compute.spot)
    if found is None:
        advice = "name a larger one in options.databricks.node_type"
        raise refusal(here.machines, compute, field, f"{config.cloud} {config.region}", advice)
    return found


def named(config: DatabricksConfig, name: str, *, spot: bool = False) -> Offer | None:
    """The node type of that name, None where no price of it is known: Databricks has more than the catalogue."""
    here = market(config)
    return here.cheapest((fact for fact in here.machines if fact.sku == name), spot=spot)


def stand_in(config: DatabricksConfig) -> str:
    """What is to be said of the prices of the profile's region and tier, empty where they are known."""
    return market(config).unknown
