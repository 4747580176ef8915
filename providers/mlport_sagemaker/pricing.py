"""How Amazon SageMaker bills: ml.* machines by the second, their volumes, data that endpoints take and give, and S3.

Rules: https://aws.amazon.com/sagemaker/pricing/. Managed spot training has no price list: what is billed is the ml.* price for the
billable seconds, and only a job that has ended says how many those are
(https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training.html). Pure; every number is the catalogue's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult

from pydantic import Field

from mlport.costs import demand
from mlport.costs.catalogue import Catalogue
from mlport.costs.parts import Batch, Part, Serving, Storage, Sweep, Training
from mlport.costs.pricing import Criterion, Note, Settings, known_region
from mlport.costs.quote import Quote
from mlport.costs.records import Line, Refusal
from mlport.costs.services import Services

if TYPE_CHECKING:
    from mlport.costs.demand import Rented

PRICES = "sagemaker"
GRANULARITY = 1.0  # seconds
SERVERLESS_GIB = (1, 2, 3, 4, 5, 6)
"""The memory sizes that there are: https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints.html"""
KIB_A_GIB = 1024 * 1024
SERVICES = Services(
    "aws",
    objects="s3-standard",
    writes="s3-put-copy-post-list",
    reads="s3-get",
    disk="",
    region="other_region",
    logs="cloudwatch-logs-ingest",
)


class SageMakerSettings(Settings):
    """What SageMaker must be told."""

    spot_saving: float | None = Field(None, ge=0, lt=1)
    """The share of training time that managed spot did not bill: 1 - BillableTimeInSeconds / TrainingTimeInSeconds of your own jobs."""
    keep_alive: float = Field(0, ge=0, le=60)
    """Minutes that a warm pool waits after each run, and is paid for."""
    volume_gib: float = Field(30, ge=0, le=65536)
    """The volume of a training whose compute names no disk, GiB; 30 is what the SageMaker Python SDK asks for, 0 is none."""


class SageMakerPricing:
    """The rules of SageMaker."""

    name = "sagemaker"
    settings = SageMakerSettings
    left_out = (
        "tax",
        "free allowances (count them with free_tier = true)",
        "Studio and notebooks",
        "container registry",
        "Savings Plans (put them into the price book, as committed_spend)",
        "support plans",
    )
    notes: Mapping[Criterion, Note] = {
        "control": Note("machines and images are chosen; hosts are not seen"),
        "responsibility": Note("Amazon runs the machines; models, data and access are the customer's"),
        "recovery": Note("managed spot training begins again from its last checkpoint"),
        "internet": Note("nothing works without a connection to the region"),
        "time_to_start": Note(
            "machines are provisioned for each training; a warm pool, which is billed, keeps them",
            "https://docs.aws.amazon.com/sagemaker/latest/dg/train-warm-pools.html",
        ),
    }

    def settings_of(self, config: Any) -> Mapping[str, Any]:
        return {"region": getattr(config, "region", None)}

    def region_of(self, url: SplitResult) -> str | None:
        return url.hostname

    def place(self, settings: Settings, catalogue: Catalogue) -> str:
        return known_region(settings, catalogue.list(PRICES).machine_regions, self.name)

    def price(self, part: Part, quote: Quote) -> Iterator[Line | Refusal]:
        if isinstance(part, Training | Sweep | Batch):
            yield from _work(part, quote)
        elif isinstance(part, Serving):
            yield from _serverless(part, quote) if part.serverless else _endpoint(part, quote)
        elif isinstance(part, Storage) and part.kind == "disk":
            gib = quote.number(part.gib)
            volume = quote.find(PRICES, "storage", "endpoint-ml-storage")
            formula = f"{demand.shown(gib)} GiB x {demand.shown(quote.months)} months"
            yield quote.line(part, "storage", "ML volume", gib * quote.months, "gib_month", volume, formula)
        else:
            yield from SERVICES.price(part, quote)


def _work(part: Training | Sweep | Batch, quote: Quote) -> Iterator[Line | Refusal]:
    """Machines by the billable second, the volumes of training, and warm pools."""
    rented = demand.rent(quote, _regular(part), PRICES, granularity=GRANULARITY)
    if isinstance(rented, Refusal):
        yield rented
        return
    category = demand.CATEGORIES[type(part)]
    if isinstance(part, Batch):
        if part.compute.spot:
            quote.assume(f"{part.name}: on demand, for batch transform has no spot")
        demand.without_disk(quote, part)
        yield rented.line(quote, part, category)
        return
    yield (_managed_spot(rented, part, quote) if part.compute.spot else rented).line(quote, part, category)
    gib = part.compute.disk_gib or _settings(quote).volume_gib
    if gib:
        yield rented.disk(quote, part, category, gib, quote.find(PRICES, "storage", "training-ml-storage"), "training volume")
    minutes = _settings(quote).keep_alive
    if minutes:
        runs = quote.number(part.runs) * (quote.number(part.trials) if isinstance(part, Sweep) else 1) * quote.months
        hours = runs * part.compute.nodes * quote.math.number(minutes) / 60
        formula = f"{demand.shown(runs)} runs x {part.compute.nodes} nodes x {minutes:g} min"
        yield quote.line(part, category, f"warm pool of {rented.fact.sku}", hours, "hour", rented.fact, formula)


def _regular(part: Training | Sweep | Batch) -> Training | Sweep | Batch:
    """A part on demand: what managed spot changes is what is billed, not the machines."""
    return part.model_copy(update={"compute": part.compute.model_copy(update={"spot": False})})


def _managed_spot(rented: Rented, part: Training | Sweep, quote: Quote) -> Rented:
    """The billable hours under managed spot, where the user knows what share it saves; else no price, and the most that it can be."""
    saving = _settings(quote).spot_saving
    if saving is None:
        price = quote.price(rented.fact)
        most = f"; on demand an hour is {price.value:f}, and a billed one is never more" if price else ""
        return rented._replace(unknown=f"managed spot has no price list; say what your own jobs saved as spot_saving{most}")
    quote.assume(f"{part.name}: managed spot does not bill {saving:.0%} of the time, as the target's spot_saving says")
    hours = rented.hours.billed * (1 - quote.math.number(saving))
    return rented._replace(hours=rented.hours._replace(billed=hours, formula=f"{rented.hours.formula} x (1 - {saving:g} not billed)"))


def _endpoint(part: Serving, quote: Quote) -> Iterator[Line | Refusal]:
    """Instances by the hour, whether asked or not: at least one; their volumes, and the data that goes in and out."""
    if part.min_replicas == 0:
        quote.assume(f"{part.name}: one instance always runs, for only inference components scale to zero")
    rented = demand.host(quote, part, PRICES, least=1)
    if isinstance(rented, Refusal):
        yield rented
        return
    yield rented.line(quote, part, "serving")
    if part.compute.disk_gib:
        volume = quote.find(PRICES, "storage", "endpoint-ml-storage")
        yield rented.disk(quote, part, "serving", part.compute.disk_gib, volume, "endpoint volume")
    yield from _data(part, quote)


def _serverless(part: Serving, quote: Quote) -> Iterator[Line | Refusal]:
    """Memory for as long as requests take, and the data that goes in and out."""
    fitting = [gib for gib in SERVERLESS_GIB if gib >= part.compute.memory_gib]
    if part.compute.gpus or not fitting:
        why = "no GPU" if part.compute.gpus else f"at most {SERVERLESS_GIB[-1]} GB of memory"
        yield Refusal(part.name, f"serverless inference has {why}")
        return
    demand.without_disk(quote, part)
    monthly, latency = demand.requests(quote, part), demand.service_time(quote, part)
    quote.achieved(part, predictions=monthly * quote.months)
    quantity = monthly * latency * fitting[0] * quote.months
    formula = (
        f"{demand.shown(monthly)} requests a month x {demand.shown(latency)} s x {fitting[0]} GB x {demand.shown(quote.months)} months"
    )
    fact = quote.find(PRICES, "serving", "serverless-memory") if part.purchase == "on_demand" else None
    unknown = "" if part.purchase == "on_demand" else f"serverless inference is sold on demand; {part.purchase} is no way to pay for it"
    what = f"serverless inference, {fitting[0]} GB"
    yield quote.line(part, "serving", what, quantity, "gib_second", fact, formula, unknown=unknown)
    yield from _data(part, quote)


def _data(part: Serving, quote: Quote) -> Iterator[Line]:
    """What endpoints take in and give out."""
    for way, size in (("in", part.request_kb), ("out", part.response_kb)):
        gib = demand.requests(quote, part) * quote.number(size) / KIB_A_GIB * quote.months
        fact = quote.find(PRICES, "egress", f"endpoint-data-{way}")
        yield quote.line(part, "serving", f"data {way}", gib, "gib", fact, f"requests x {demand.shown(quote.number(size))} KiB")


def _settings(quote: Quote) -> SageMakerSettings:
    found = quote.settings
    return found if isinstance(found, SageMakerSettings) else SageMakerSettings()


PRICING = SageMakerPricing()
