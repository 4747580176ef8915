"""How Vertex AI bills: machines of its own price list (Compute Engine plus a management charge), disks, storage and traffic of Google Cloud.

Rules: https://cloud.google.com/vertex-ai/pricing, custom-trained models: "No minimum usage duration for Training and Prediction.
Instead, usage is charged in 30 second increments"; a deployed model is paid for though nobody asks it, and does not scale to zero;
a batch prediction by its node hours. On spot machines: https://cloud.google.com/vertex-ai/docs/predictions/use-spot-vms.
Pure; every number is the catalogue's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult

from pydantic import Field

from mlport.costs import demand
from mlport.costs.catalogue import Catalogue
from mlport.costs.parts import Batch, Part, Serving, Sweep, Training
from mlport.costs.pricing import Criterion, Note, Settings, known_region
from mlport.costs.quote import Quote
from mlport.costs.records import Category, Line, Refusal
from mlport.costs.services import Services

if TYPE_CHECKING:
    from mlport.costs.demand import Rented
    from mlport.spi import Plan

PRICES = "vertex"
GRANULARITY = 30.0  # seconds
SERVICES = Services(
    "gcp",
    objects="gcs-standard",
    writes="gcs-class-a",
    reads="gcs-class-b",
    disk="pd-ssd",
    region="same_continent",
    logs="cloud-logging",
    metrics="cloud-monitoring",
)


class VertexSettings(Settings):
    """What Vertex AI must be told."""

    itemized: bool = False
    """Machines by the parts that Google bills them by, cores, memory and accelerators, where their prices are known."""
    boot_disk_gib: float = Field(100, ge=0, le=65536)
    """The pd-ssd of a training whose compute names no disk, GiB; 100 is the default of a worker pool's DiskSpec, 0 is none."""


class VertexPricing:
    """The rules of Vertex AI."""

    name = "vertex"
    settings = VertexSettings
    left_out = (
        "tax",
        "free allowances (count them with free_tier = true)",
        "boot disks of endpoints",
        "Artifact Registry",
        "BigQuery",
        "network between zones",
        "support contracts",
    )
    notes: Mapping[Criterion, Note] = {
        "control": Note("machines and images are chosen; hosts are not seen"),
        "responsibility": Note("Google runs the machines; models, data and access are the customer's"),
        "recovery": Note(
            "99.9 % a month promised for training and batches, 99.5 % for models of one's own on two nodes or more, else credits",
            "https://cloud.google.com/vertex-ai/sla",
        ),
        "internet": Note("nothing works without a connection to the region"),
        "time_to_start": Note(
            "machines are made for each job; a persistent resource, billed while it runs, keeps them and shortens that",
            "https://cloud.google.com/vertex-ai/docs/training/persistent-resource-overview",
        ),
    }

    def settings_of(self, config: Any) -> Mapping[str, Any]:
        return {"region": config.location}

    def settings_for(self, config: Any, plan: Plan) -> Mapping[str, Any]:
        return {**self.settings_of(config), "machines": {"*": plan.resolved["machine"]}}

    def region_of(self, url: SplitResult) -> str | None:
        return url.path.strip("/") or None

    def place(self, settings: Settings, catalogue: Catalogue) -> str:
        return known_region(settings, catalogue.list(PRICES).machine_regions, self.name)

    def price(self, part: Part, quote: Quote) -> Iterator[Line | Refusal]:
        if isinstance(part, Training | Sweep | Batch):
            yield from _work(part, quote)
        elif isinstance(part, Serving):
            yield from _endpoint(part, quote)
        else:
            yield from SERVICES.price(part, quote)


def _work(part: Training | Sweep | Batch, quote: Quote) -> Iterator[Line | Refusal]:
    """Machines for as long as they are there, and the boot disks of training's; batch predictions have no disk to choose."""
    rented = demand.rent(quote, part, PRICES, granularity=GRANULARITY)
    if isinstance(rented, Refusal):
        yield rented
        return
    category = demand.CATEGORIES[type(part)]
    yield from _machines(rented, part, quote, category)
    if isinstance(part, Batch):
        demand.without_disk(quote, part)
    else:
        settings = quote.settings
        gib = part.compute.disk_gib or (settings.boot_disk_gib if isinstance(settings, VertexSettings) else 0)
        if gib:
            yield rented.disk(quote, part, category, gib, quote.find(PRICES, "storage", "training-pd-ssd"), "boot disk (pd-ssd)")


def _endpoint(part: Serving, quote: Quote) -> Iterator[Line | Refusal]:
    """Replicas by the hour, whether asked or not: at least one."""
    if part.serverless:
        yield Refusal(part.name, "Vertex AI has no serverless endpoints for models of one's own")
        return
    demand.without_disk(quote, part)
    if part.min_replicas == 0:
        quote.assume(f"{part.name}: one replica always runs, for Vertex AI does not scale to zero")
    rented = demand.host(quote, part, PRICES, least=1)
    if isinstance(rented, Refusal):
        yield rented
    else:
        yield from _machines(rented, part, quote, "serving")


def _machines(rented: Rented, part: demand.Work | Serving, quote: Quote, category: Category) -> Iterator[Line]:
    """The line of the machines, or one for each of the parts that they are billed by."""
    machine = rented.fact
    family = machine.sku.partition("+")[0].rpartition("-")[0]
    counts = {"core": machine.vcpus, "memory": machine.memory_gib, **({"gpu": machine.gpus} if machine.gpus else {})}
    found = {name: quote.find(PRICES, "component", f"{family}-{name}", gpu=machine.gpu if name == "gpu" else "") for name in counts}
    itemized = isinstance(quote.settings, VertexSettings) and quote.settings.itemized
    if not itemized or rented.unknown or machine.purchase != "on_demand" or None in found.values():
        yield rented.line(quote, part, category)
        return
    for name, count in counts.items():
        quantity = rented.hours.billed * quote.math.number(count)
        formula = f"{count:g} of each {machine.sku} x ({rented.hours.formula})"
        fact = found[name]
        yield quote.line(part, category, f"{family}-{name}", quantity, fact.unit if fact else "", fact, formula)


PRICING = VertexPricing()
