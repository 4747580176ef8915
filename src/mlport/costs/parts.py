"""The parts of a workload: training, sweeps, endpoints, batches, storage, egress, monitoring, logging, and what is paid by the unit.

A quantity that is not sure may be given as [low, mid, high]: estimates then say P10, P50 and P90, and which of them matters most.
"""

# no postponed annotations: pydantic would evaluate each as a text of its own, when a first submit asks what it costs
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from mlport.costs.currencies import Currency
from mlport.costs.records import Category
from mlport.fields import Count, Duration, Identifier, Real, Spec
from mlport.specs import Compute

LARGEST = 1e15  # nothing that anyone rents or stores is more
OWN = "workload"
"""What stands for a price list where an item gives its price itself."""
Purchase = Literal["on_demand", "spot", "reserved_1y", "reserved_3y"]


class Uncertain(Spec):
    """A quantity between `low` and `high`, most likely `mid`: a triangular distribution."""

    low: Real = Field(ge=0, le=LARGEST, allow_inf_nan=False)
    mid: Real = Field(ge=0, le=LARGEST, allow_inf_nan=False)
    high: Real = Field(ge=0, le=LARGEST, allow_inf_nan=False)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low <= self.mid <= self.high:
            raise ValueError(f"low, mid and high must not fall (got {self.low:g}, {self.mid:g}, {self.high:g})")
        return self


def _uncertain(value: object) -> object:
    """[low, mid, high] as a table of them."""
    if isinstance(value, list | tuple):
        if len(value) != 3:
            raise ValueError("must be a number, or [low, mid, high]")
        return dict(zip(("low", "mid", "high"), value, strict=True))
    return value


def _most(limit: float, unit: str) -> AfterValidator:
    """Nobody means more of this: a comma was lost, or the unit is another."""

    def check(value: Any) -> Any:
        high = value.high if isinstance(value, Uncertain) else max(value) if isinstance(value, tuple) else value
        if high > limit:
            raise ValueError(f"must be at most {limit:,g} {unit}")
        return value

    return AfterValidator(check)


Plain = Annotated[Real, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
Money = Annotated[Decimal, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
Quantity = Annotated[
    Annotated[Plain, Tag("number")] | Annotated[Uncertain, Tag("range")],
    Discriminator(lambda value: "range" if isinstance(value, dict | Uncertain) else "number"),
    BeforeValidator(_uncertain),
]
Gib = Annotated[Quantity, _most(1e12, "GiB")]
Hours = Annotated[Quantity, _most(876_000, "hours, a century")]
Minutes = Annotated[Quantity, _most(44_640, "minutes, a month")]
Runs = Annotated[Quantity, _most(1e9, "a month")]
Many = Annotated[Count, Field(ge=1, le=1_000_000)]


def _counted(compute: Compute) -> Compute:
    if compute.gpu and not compute.gpus:
        raise ValueError(f"gpu is {compute.gpu!r} and gpus 0: say how many, or leave gpu out")
    return compute


Machine = Annotated[Compute, AfterValidator(_counted)]
_share = _most(1, "(it is a share: 5 % is 0.05)")
Share = Annotated[Real, Field(ge=0, allow_inf_nan=False), _share]


class Part(Spec):
    """What all parts have."""

    name: Identifier = ""
    """How lines of it are called; the kind, with a number from the second on, if not set."""


class Training(Part):
    """Training runs, each of `hours` useful hours on the asked nodes."""

    compute: Machine = Compute()
    hours: Hours
    """Useful hours of one run: what it takes without interruptions on the reference machine (`speed` 1)."""
    runs: Runs = 1
    """Runs a month."""
    retries: Annotated[Quantity, _share] = 0
    """Expected share of runs that fail and are run again from their last checkpoint, on average half way."""
    warm_up: Minutes = 0
    """Minutes a run that are billed before work begins: installing, staging."""
    checkpoint_every: Duration | None = None
    """Work between two checkpoints; spot: the best interval if not set."""
    checkpoint_takes: Duration = timedelta(minutes=1)
    restart_takes: Duration = timedelta(minutes=5)
    interrupted: Share | None = None
    """Spot: the share of machines that are interrupted within a month; the region's published band if not set."""


class Sweep(Part):
    """Trials of a search, each a training run."""

    compute: Machine = Compute()
    trials: Annotated[Quantity, _most(1e9, "trials")]
    hours: Hours
    """Useful hours of one trial."""
    parallel: Many = 1
    runs: Runs = 1
    """Sweeps a month."""
    warm_up: Minutes = 0
    """Minutes a trial that are billed before work begins."""


def _demand(value: object) -> object:
    if isinstance(value, list | tuple) and len(value) in (24, 168):
        return tuple(value)
    if isinstance(value, list | tuple) and len(value) != 3:
        raise ValueError("must be one rate, [low, mid, high], 24 rates (the hours of a day) or 168 (those of a week)")
    return _uncertain(value)


def _kind_of_demand(value: object) -> str:
    if isinstance(value, tuple):
        return "hours"
    return "range" if isinstance(value, dict | Uncertain) else "number"


Demand = Annotated[
    Annotated[Plain, Tag("number")] | Annotated[Uncertain, Tag("range")] | Annotated[tuple[Plain, ...], Tag("hours")],
    Discriminator(_kind_of_demand),
    BeforeValidator(_demand),
]


class Serving(Part):
    """An endpoint that answers requests all month."""

    compute: Machine = Compute()
    """One replica."""
    requests_per_second: Demand | None = None
    """One rate, or one for each hour of a day or week (UTC, from midnight, weeks from Monday)."""
    requests: Quantity | None = None
    """Requests a month instead of a rate, spread evenly over the hours that it is up."""
    hours: Annotated[Quantity, _most(744, "hours a month")] | None = None
    """Hours a month that it is up, deleted in all others; all of them if not set."""
    latency_ms: Annotated[Quantity, _most(86_400_000, "ms, a day")] = 100
    """What one request keeps a replica busy for."""
    concurrency: Many = 1
    """Requests that a replica works on at once."""
    target_utilization: Annotated[Real, Field(gt=0), _share] = 0.6
    min_replicas: Count = Field(1, ge=0, le=1_000_000)
    """0: scale to zero, where the place can."""
    max_replicas: Many = 100
    serverless: bool = False
    """Pay by request and time instead of by replica, where the place can."""
    request_kb: Annotated[Quantity, _most(1e9, "kB")] = 1
    response_kb: Annotated[Quantity, _most(1e9, "kB")] = 1
    purchase: Purchase = "on_demand"

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas is {self.min_replicas}, more than max_replicas {self.max_replicas}")
        if (self.requests_per_second is None) == (self.requests is None):
            raise ValueError("give either requests_per_second or requests (a month); 0 where nobody asks it")
        if self.hours is not None and isinstance(self.requests_per_second, tuple):
            raise ValueError("hours and a rate for each hour contradict each other: give one rate, or a rate of 0 for the hours without")
        return self


class Batch(Part):
    """Predictions over stored rows."""

    compute: Machine = Compute()
    rows: Quantity
    """Rows of one run."""
    rows_per_second: Annotated[Quantity, _most(1e12, "rows a second")]
    """What one node scores."""
    runs: Runs = 1
    """Runs a month."""
    warm_up: Minutes = 0
    """Minutes a run that are billed before work begins."""

    @model_validator(mode="after")
    def _ends(self) -> Self:
        least = self.rows_per_second.low if isinstance(self.rows_per_second, Uncertain) else self.rows_per_second
        if not least:
            raise ValueError("rows_per_second must be more than 0: at 0 a run never ends")
        return self


class Storage(Part):
    """Data at rest."""

    gib: Gib
    kind: Literal["object", "disk"] = "object"
    writes: Quantity = 0
    """Requests a month that write or list."""
    reads: Quantity = 0
    """Requests a month that read."""


class Egress(Part):
    """Data that leaves the place for the internet, or another region."""

    gib: Gib
    """GiB a month."""
    to: Literal["internet", "region"] = "internet"


class Monitoring(Part):
    """Metrics and model monitoring."""

    gib: Gib = 0
    """GiB of metrics written a month."""
    analysed_gib: Gib = 0
    """GiB of captured requests that drift is looked for in, a month."""


class Logging(Part):
    """Log lines."""

    gib: Gib
    """GiB written a month."""


class Item(Part):
    """Anything else that is paid by the unit: at a price list's price, or at one that is given here with its source and day.

    `quantity` units for `hours` in each of `runs` a month: 4 cores for 10 hours are 40 core hours.
    """

    quantity: Quantity
    """Units; a month, unless `once`."""
    hours: Hours | None = None
    """For what is paid by the hour: hours that the units are had, in each run."""
    runs: Runs = 1
    """How often a month."""
    step_seconds: Real = Field(0, ge=0, le=86400)
    """The hours of each run are rounded up to so many seconds."""
    least_seconds: Real = Field(0, ge=0, le=86400)
    """The fewest seconds that are billed of each run."""
    once: bool = False
    """Paid once, not each month."""
    provider: str | None = None
    """The price list, such as those that `mlport cost prices` lists; then with `service` and `sku`."""
    service: str | None = None
    sku: str | None = None
    region: str | None = None
    """The target's if not set."""
    purchase: str = "on_demand"
    unit: str | None = None
    price: Money | None = None
    """Of one `unit`, in `currency`."""
    tiers: tuple[tuple[Plain, Money], ...] = ()
    """Instead of one price: (from so many units a month, price of each of them), the first from 0."""
    currency: Currency = "USD"
    source: str | None = None
    as_of: date | None = None
    category: Category = "platform"
    """The kind of line."""
    targets: tuple[str, ...] = ()
    """The targets that it is paid at, by their names; all if empty."""

    @model_validator(mode="after")
    def _priced(self) -> Self:
        own, listed = self.price is not None or bool(self.tiers), self.provider is not None
        if own == listed or (self.price is not None and self.tiers):
            raise ValueError("give either price, or tiers, or the provider whose price list has it")
        if listed and (self.service is None or self.sku is None):
            raise ValueError("a price of a list needs its service and sku, as `mlport cost prices` shows them")
        if own and (self.unit is None or self.source is None or self.as_of is None):
            raise ValueError("a price of your own needs its unit, source and as_of (the day it was said)")
        if self.tiers and (self.tiers[0][0] != 0 or list(self.tiers) != sorted(self.tiers, key=lambda tier: tier[0])):
            raise ValueError("tiers begin at 0 and rise")
        if self.hours is None and (self.step_seconds or self.least_seconds):
            raise ValueError("step_seconds and least_seconds are of hours, and there are none")
        return self
