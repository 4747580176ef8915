"""How Databricks bills: DBUs of the workspace's tier and kind of work, and on classic compute the cloud's machines beside them.

Rules: https://www.databricks.com/product/pricing and https://docs.databricks.com/aws/en/resources/pricing. A classic node costs its
machine and its DBU rating, the driver like any other; Photon multiplies the rating. Serverless is DBUs alone, machines included.
A served model takes DBUs by its size for as long as it is up. Pure; every number is the catalogue's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import SplitResult

from pydantic import Field

from mlport.costs import demand
from mlport.costs.arithmetic import Number
from mlport.costs.catalogue import Catalogue
from mlport.costs.facts import Fact
from mlport.costs.parts import Batch, Part, Serving, Sweep, Training
from mlport.costs.pricing import Criterion, Note, Settings, known_region
from mlport.costs.quote import Quote
from mlport.costs.records import Line, Refusal
from mlport.costs.services import Services
from mlport.errors import SpecError

if TYPE_CHECKING:
    from mlport.spi import Plan

PRICES = "databricks"
GRANULARITY = 1.0  # seconds, machines and DBUs
LEAST = {"aws": 60.0, "azure": 0.0, "gcp": 60.0}
"""The fewest seconds of a machine that each cloud bills; DBUs are counted for as many, though they have no least.

Sources: https://aws.amazon.com/about-aws/whats-new/2017/10/announcing-amazon-ec2-per-second-billing/ ("a minimum of 60 seconds") and
https://www.itpro.com/cloud/29563/google-cloud-platform-brings-per-second-billing-to-compute ("a one minute minimum").
"""
DISKS = {"aws": "ebs-gp2", "gcp": ""}
"""What kind of disk a node gets, https://databricks.github.io/sdk-js/api/variables/_databricks_sdk-jobs.v2.EbsVolumeType.html: GENERAL_PURPOSE_SSD
is gp2. Nothing says what a boot disk on Google Cloud is."""
LEAST_DISK_GIB = 100  # as running/job_request.py asks for
REPLICA = 4
"""Requests at once of the smallest served model, and what larger ones are multiples of: databricks-sdk, ServedEntityInput.workload_size."""
CLOUDS = (("aws", r"[a-z]{2}(-[a-z]+)+-\d"), ("gcp", r"[a-z]+-[a-z]+\d"), ("azure", r"[a-z]+\d?"))
"""How each cloud writes its regions."""
SERVICES = {
    "aws": Services("aws", "s3-standard", "s3-put-copy-post-list", "s3-get", "ebs-gp3", "other_region", "cloudwatch-logs-ingest"),
    "azure": Services("azure", "blob-hot-lrs", "blob-hot-lrs-write", "blob-hot-read", "", "", "log-analytics-ingest"),
    "gcp": Services("gcp", "gcs-standard", "gcs-class-a", "gcs-class-b", "pd-ssd", "same_continent", "cloud-logging", "cloud-monitoring"),
}


class DatabricksSettings(Settings):
    """What Databricks must be told."""

    cloud: Literal["aws", "azure", "gcp"] | None = None
    """The workspace's cloud; the region tells it."""
    tier: Literal["standard", "premium", "enterprise"] = "premium"
    compute: Literal["classic", "serverless", "all_purpose"] = "classic"
    """What work runs on: clusters of jobs, serverless, or clusters that people share."""
    photon: bool = False
    workers: int = Field(0, ge=0, le=1000)
    """Workers beside the driver of each node's cluster."""
    serverless_dbu_per_hour: float | None = Field(None, gt=0, le=100_000)
    """DBUs that your serverless runs take an hour, as `system.billing.usage` says; no rating is published."""


class DatabricksPricing:
    """The rules of Databricks."""

    name = "databricks"
    settings = DatabricksSettings
    left_out = (
        "tax",
        "free allowances (count them with free_tier = true)",
        "disks of nodes that compute does not ask for",
        "launches of served models that scaled to zero",
        "SQL warehouses",
        "network between zones",
        "sustained use discounts of Google Cloud",
        "support plans",
    )
    notes: Mapping[Criterion, Note] = {
        "control": Note(
            "classic clusters are in one's own cloud account; serverless ones are allocated and managed by Databricks",
            "https://docs.databricks.com/en/compute/serverless.html",
        ),
        "responsibility": Note("Databricks runs the platform; data, access and on classic compute the cloud account are the customer's"),
        "recovery": Note("a failed worker is replaced; work begins again from its last checkpoint"),
        "internet": Note("nothing works without a connection to the workspace"),
        "time_to_start": Note(
            "a classic cluster is started first; serverless compute starts sooner", "https://docs.databricks.com/en/compute/serverless.html"
        ),
    }

    def settings_of(self, config: Any) -> Mapping[str, Any]:
        return {"region": config.region, "cloud": config.cloud, "tier": config.tier}

    def settings_for(self, config: Any, plan: Plan) -> Mapping[str, Any]:
        told = self.settings_of(config)
        if plan.kind in ("endpoint", "deployment"):
            return _of_serving(told, plan)
        options = plan.spec.get("options", {}).get("databricks", {})
        cluster = options.get("cluster", "job")
        if cluster == "serverless":
            return {**told, "compute": "serverless"}
        if cluster != "job":
            raise SpecError(f"it runs on the cluster {cluster}, which is paid for whether it is used or not")
        if options.get("instance_pool_id"):
            raise SpecError(f"the machines of the instance pool {options['instance_pool_id']} are not known here")
        return {**told, "workers": options.get("num_workers", 0), "machines": {"*": plan.resolved["machine"]}}

    def region_of(self, url: SplitResult) -> str | None:
        return None

    def place(self, settings: Settings, catalogue: Catalogue) -> str:
        region = known_region(settings, catalogue.list(PRICES).regions, self.name)
        found = _settings(settings)
        if found.cloud is not None and found.cloud != _cloud_of(region):
            raise SpecError(f"databricks: cloud is {found.cloud!r}, and {region!r} is a region of {_cloud_of(region)!r}")
        kind = _kind(found)
        if not catalogue.list(PRICES).find("dbu", _sku(found.tier, kind), region, _purchase(kind)):
            there = [
                tier
                for tier in ("standard", "premium", "enterprise")
                if catalogue.list(PRICES).tiers("dbu", _sku(tier, kind), region, _purchase(kind))
            ]
            raise SpecError(
                f"databricks: tier: no prices of {found.tier!r} are known in {region}", hint=f"there are: {', '.join(there) or 'none'}"
            )
        return region

    def price(self, part: Part, quote: Quote) -> Iterator[Line | Refusal]:
        if isinstance(part, Serving):
            yield from _endpoint(part, quote)
        elif not isinstance(part, Training | Sweep | Batch):
            yield from SERVICES[_cloud_of(quote.region)].price(part, quote)
        elif _settings(quote.settings).compute == "serverless":
            yield from _serverless(part, quote)
        else:
            yield from _classic(part, quote)


# ---------------------------------------------------------------- work


def _classic(part: demand.Work, quote: Quote) -> Iterator[Line | Refusal]:
    """Nodes of the cloud, each with its DBUs."""
    settings, cloud, prices = _settings(quote.settings), _cloud_of(quote.region), quote.catalogue.list(PRICES)
    where = f"*{cloud}"
    dbu = quote.find(PRICES, "dbu", _sku(settings.tier, _kind(settings)))
    multiplier = prices.find("photon", settings.compute, where) if settings.photon else None
    if dbu is None or (settings.photon and multiplier is None):
        yield Refusal(part.name, f"no price of {_sku(settings.tier, _kind(settings))} is known in {quote.region}")
        return
    times = multiplier.price if multiplier else Decimal(1)

    def rating(fact: Fact) -> Decimal | None:
        found = prices.find("rating", fact.sku, where, gpu=fact.gpu) or prices.find("rating", fact.sku, where)
        return found.price * times if found else None

    def surcharge(fact: Fact) -> Number:
        price = quote.price(dbu)
        return (rating(fact) or 0) * (price.value if price else 0)

    if part.compute.disk_gib and cloud == "azure":
        yield Refusal(part.name, "Databricks on Azure does not let a disk be chosen: ask for a machine that has it")
        return
    rented = demand.rent(
        quote,
        part,
        cloud,
        granularity=GRANULARITY,
        least=LEAST[cloud],
        extra_nodes=part.compute.nodes * settings.workers,
        surcharge=surcharge,
        share=lambda fact: _share(quote, cloud, fact),
        allowed=lambda fact: rating(fact) is not None,
    )
    if isinstance(rented, Refusal):
        named = quote.machine(part)
        yield Refusal(part.name, f"no DBU rating of {named} is known") if named else rented
        return
    category = demand.CATEGORIES[type(part)]
    yield rented.line(quote, part, category)
    rated = rating(rented.fact) or Decimal(0)
    what = f"{rated.normalize():f} DBU an hour" + (f" (Photon x {times.normalize():f})" if settings.photon else "")
    quantity = rented.hours.billed * quote.math.number(rated)
    yield quote.line(part, category, dbu.sku, quantity, "dbu", dbu, f"{what} x ({rented.hours.formula})")
    if part.compute.disk_gib:
        math = quote.math
        gib = math.most(math.number(LEAST_DISK_GIB), math.ceil(math.number(part.compute.disk_gib)))
        disk = DISKS[cloud]
        yield rented.disk(quote, part, category, gib, quote.find(cloud, "storage", disk) if disk else None, disk or "disk of a node")


def _serverless(part: demand.Work, quote: Quote) -> Iterator[Line | Refusal]:
    """DBUs alone, at the rate that the user's own runs take."""
    if part.compute.gpus:
        yield Refusal(part.name, "no prices of serverless GPUs are known: use compute = 'classic'")
        return
    settings = _settings(quote.settings)
    kind, category = _kind(settings), demand.CATEGORIES[type(part)]
    dbu = quote.find(PRICES, "dbu", _sku(settings.tier, kind), _purchase(kind))
    hours = demand.timed(quote, part, granularity=GRANULARITY)
    if part.compute.spot:
        quote.assume(f"{part.name}: serverless has no spot")
    demand.without_disk(quote, part)
    if settings.serverless_dbu_per_hour is None:
        why = "Databricks publishes no DBUs an hour of serverless runs; say what yours take as serverless_dbu_per_hour"
        yield quote.line(part, category, _sku(settings.tier, kind), hours.billed, "hour", None, hours.formula, unknown=why)
        return
    rated = quote.math.number(settings.serverless_dbu_per_hour)
    quote.assume(f"serverless runs take {settings.serverless_dbu_per_hour:g} DBU an hour a node, as the target's settings say")
    formula = f"{settings.serverless_dbu_per_hour:g} DBU an hour x ({hours.formula})"
    yield quote.line(part, category, _sku(settings.tier, kind), hours.billed * rated, "dbu", dbu, formula)


# ---------------------------------------------------------------- serving


def _endpoint(part: Serving, quote: Quote) -> Iterator[Line | Refusal]:
    """DBUs of the smallest size that satisfies a replica, for the hours that replicas are up; none while scaled to zero."""
    settings, cloud = _settings(quote.settings), _cloud_of(quote.region)
    sizes = [fact for fact in quote.catalogue.list(PRICES).of("serving", f"*{cloud}") if _fits(fact, part)]
    if not sizes:
        kinds = sorted({fact.gpu for fact in quote.catalogue.list(PRICES).of("serving", f"*{cloud}") if fact.gpu})
        yield Refusal(
            part.name, f"no size of Model Serving has {part.compute.gpus} x {part.compute.gpu or 'GPU'}; there are {', '.join(kinds)}"
        )
        return
    demand.without_disk(quote, part)
    size = min(sizes, key=lambda fact: (fact.price, fact.sku))
    units = -(-part.concurrency // REPLICA) * REPLICA
    if not size.gpus:
        quote.assume(f"{part.name}: a replica works on {units} requests at once, {size.price.normalize():f} DBU an hour for each")
        if part.compute.cpus > 1 or part.compute.memory_gib > 4:
            quote.assume(f"{part.name}: the DBUs of CPU, with 4 GiB; what CPU_MEDIUM and CPU_LARGE take is not published")
    sized = part if size.gpus else part.model_copy(update={"concurrency": units})
    hours = demand.serving(quote, sized)
    sku = _sku(settings.tier, "SERVERLESS_REAL_TIME_INFERENCE")
    dbu = quote.find(PRICES, "dbu", sku, "serverless") if part.purchase == "on_demand" else None
    unknown = "" if part.purchase == "on_demand" else f"Model Serving is sold on demand; {part.purchase} is no way to pay for it"
    rated = quote.math.number(size.price) * (1 if size.gpus else units)
    quantity = hours.billed * rated
    formula = f"{demand.shown(rated)} DBU an hour x ({hours.formula})"
    yield quote.line(part, "serving", f"{sku}, {size.sku}", quantity, "dbu", dbu, formula, unknown=unknown)


def _fits(size: Fact, part: Serving) -> bool:
    asked = part.compute
    if asked.gpus == 0:
        return size.gpus == 0
    return size.gpus >= asked.gpus and (not asked.gpu or size.gpu.upper() == asked.gpu.upper())


# ---------------------------------------------------------------- names


def _of_serving(told: Mapping[str, Any], plan: Plan) -> Mapping[str, Any]:
    """Of a deployment: what the smaller sizes of CPUs take is published, and what GPUs take by their number and kind."""
    kind = str(plan.resolved.get("workload_type", "CPU"))
    if kind.startswith("CPU_"):
        raise SpecError(f"the DBUs of the workload type {kind} are not published")
    return told


def _settings(settings: Settings) -> DatabricksSettings:
    return settings if isinstance(settings, DatabricksSettings) else DatabricksSettings(region=settings.region)


def _cloud_of(region: str) -> str:
    return next(cloud for cloud, written in CLOUDS if re.fullmatch(written, region))


def _kind(settings: DatabricksSettings) -> str:
    if settings.compute == "serverless":
        return "JOBS_SERVERLESS_COMPUTE"
    return "JOBS_COMPUTE" if settings.compute == "classic" else "ALL_PURPOSE_COMPUTE"


def _sku(tier: str, kind: str) -> str:
    return f"{tier.upper()}_{kind}"


def _purchase(kind: str) -> str:
    return "serverless" if "SERVERLESS" in kind else "on_demand"


def _share(quote: Quote, cloud: str, fact: Fact) -> float | None:
    """The share of such machines that the cloud interrupts within a month, where it says so."""
    prices = quote.catalogue.list(cloud)
    found = prices.find("interruption", fact.sku, quote.region, "spot", fact.gpu) or prices.find(
        "interruption", fact.sku, quote.region, "spot"
    )
    return float(found.price) if found else None


PRICING = DatabricksPricing()
