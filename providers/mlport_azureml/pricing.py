"""How Azure Machine Learning bills: the virtual machines that it uses, without a surcharge, and what else of Azure it uses.

Rules: https://azure.microsoft.com/pricing/details/machine-learning/ (no charge beside the machines') and
https://learn.microsoft.com/azure/machine-learning/concept-plan-manage-cost. Pure; every number is the catalogue's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import SplitResult

from mlport.costs import demand
from mlport.costs.catalogue import Catalogue
from mlport.costs.parts import Batch, Part, Serving, Sweep, Training
from mlport.costs.pricing import Criterion, Note, Settings, known_region
from mlport.costs.quote import Quote
from mlport.costs.records import Line, Refusal
from mlport.costs.services import Services

PRICES = "azure"
GRANULARITY = 1.0  # seconds, as virtual machines are
SERVICES = Services(
    PRICES, objects="blob-hot-lrs", writes="blob-hot-lrs-write", reads="blob-hot-read", disk="", region="", logs="log-analytics-ingest"
)


class AzureMlPricing:
    """The rules of Azure Machine Learning."""

    name = "azureml"
    settings = Settings
    left_out = (
        "tax",
        "free allowances (count them with free_tier = true)",
        "disks of the operating system",
        "container registry, key vault, load balancers",
        "virtual network and private endpoints",
        "support plans",
    )
    notes: Mapping[Criterion, Note] = {
        "control": Note("machines, images and networks are chosen; hosts are not seen"),
        "responsibility": Note(
            "Microsoft runs the service; storage, keys and images are in the customer's subscription, and theirs to keep available",
            "https://learn.microsoft.com/azure/machine-learning/how-to-high-availability-machine-learning",
        ),
        "recovery": Note(
            "no automatic failover to another region, and no backup of run history: a second region is the customer's to plan",
            "https://learn.microsoft.com/azure/machine-learning/how-to-high-availability-machine-learning",
        ),
        "internet": Note("nothing works without a connection to the region"),
        "time_to_start": Note("minutes: nodes of a cluster are started for a job"),
    }

    def settings_of(self, config: Any) -> Mapping[str, Any]:
        return {"region": getattr(config, "region", None)}

    def region_of(self, url: SplitResult) -> str | None:
        return None

    def place(self, settings: Settings, catalogue: Catalogue) -> str:
        return known_region(settings, catalogue.list(PRICES).machine_regions, self.name)

    def price(self, part: Part, quote: Quote) -> Iterator[Line | Refusal]:
        if isinstance(part, Training | Sweep | Batch | Serving):
            demand.without_disk(quote, part)
        if isinstance(part, Training | Sweep | Batch):
            rented = demand.rent(quote, part, PRICES, granularity=GRANULARITY, interruptible="low_priority")
            yield rented if isinstance(rented, Refusal) else rented.line(quote, part, demand.CATEGORIES[type(part)])
        elif isinstance(part, Serving):
            yield _endpoint(part, quote)
        else:
            yield from SERVICES.price(part, quote)


def _endpoint(part: Serving, quote: Quote) -> Line | Refusal:
    """Instances of a managed online endpoint by the hour, whether asked or not: at least one."""
    if part.serverless:
        return Refusal(part.name, "Azure ML has no endpoints for models of one's own that are paid by the request")
    if part.min_replicas == 0:
        quote.assume(f"{part.name}: one instance always runs, for managed online endpoints do not scale to zero")
    if part.purchase == "spot":
        quote.assume(f"{part.name}: on demand, for clusters of jobs and batches have low priority machines, and endpoints have not")
        part = part.model_copy(update={"purchase": "on_demand"})
    rented = demand.host(quote, part, PRICES, least=1)
    return rented if isinstance(rented, Refusal) else rented.line(quote, part, "serving")


PRICING = AzureMlPricing()
