"""What is to be priced: a workload of training, sweeps, endpoints, batches, storage, egress, monitoring and logging.

A quantity that is not sure may be given as [low, mid, high]: estimates then say P10, P50 and P90, and which of them matters most.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from mlport.fields import Duration, Identifier, Spec
from mlport.specs import Compute, EndpointSpec, JobSpec

LARGEST = 1e15  # nothing that anyone rents or stores is more
Purchase = Literal["on_demand", "spot", "reserved_1y", "reserved_3y"]


class Uncertain(Spec):
    """A quantity between `low` and `high`, most likely `mid`: a triangular distribution."""

    low: float = Field(ge=0, le=LARGEST, allow_inf_nan=False)
    mid: float = Field(ge=0, le=LARGEST, allow_inf_nan=False)
    high: float = Field(ge=0, le=LARGEST, allow_inf_nan=False)

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


Plain = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
Quantity = Annotated[
    Annotated[Plain, Tag("number")] | Annotated[Uncertain, Tag("range")],
    Discriminator(lambda value: "range" if isinstance(value, dict | Uncertain) else "number"),
    BeforeValidator(_uncertain),
]
Criterion = Literal["control", "responsibility", "recovery", "internet", "time_to_start"]
"""What money does not say: who decides, who answers for it, how it comes back, whether it works offline, how soon it begins."""
Weight = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Part(Spec):
    """What all parts have."""

    name: Identifier = ""
    """How lines of it are called; the kind, with a number from the second on, if not set."""


class Training(Part):
    """Training runs, each of `hours` useful hours on the asked nodes."""

    compute: Compute = Compute()
    hours: Quantity
    """Useful hours of one run: what it takes without interruptions on the reference machine (`speed` 1)."""
    runs: Quantity = 1
    """Runs a month."""
    retries: Quantity = 0
    """Expected share of runs that fail and are run again from their last checkpoint, on average half way."""
    warm_up: Quantity = 0
    """Minutes a run that are billed before work begins: installing, staging."""
    checkpoint_every: Duration | None = None
    """Work between two checkpoints; spot: the best interval if not set."""
    checkpoint_takes: Duration = timedelta(minutes=1)
    restart_takes: Duration = timedelta(minutes=5)
    interrupted: Share | None = None
    """Spot: the share of machines that are interrupted within a month; the region's published band if not set."""


class Sweep(Part):
    """Trials of a search, each a training run."""

    compute: Compute = Compute()
    trials: Quantity
    hours: Quantity
    """Useful hours of one trial."""
    parallel: int = Field(1, ge=1)
    runs: Quantity = 1
    """Sweeps a month."""
    warm_up: Quantity = 0
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

    compute: Compute = Compute()
    """One replica."""
    requests_per_second: Demand
    """One rate, or one for each hour of a day or week (UTC, from midnight, weeks from Monday)."""
    latency_ms: Quantity = 100
    """What one request keeps a replica busy for."""
    concurrency: int = Field(1, ge=1)
    """Requests that a replica works on at once."""
    target_utilization: float = Field(0.6, gt=0, le=1)
    min_replicas: int = Field(1, ge=0)
    """0: scale to zero, where the place can."""
    max_replicas: int = Field(100, ge=1)
    serverless: bool = False
    """Pay by request and time instead of by replica, where the place can."""
    request_kb: Quantity = 1
    response_kb: Quantity = 1
    purchase: Purchase = "on_demand"

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas is {self.min_replicas}, more than max_replicas {self.max_replicas}")
        return self


class Batch(Part):
    """Predictions over stored rows."""

    compute: Compute = Compute()
    rows: Quantity
    """Rows of one run."""
    rows_per_second: Quantity
    """What one node scores."""
    runs: Quantity = 1
    """Runs a month."""
    warm_up: Quantity = 0
    """Minutes a run that are billed before work begins."""

    @model_validator(mode="after")
    def _ends(self) -> Self:
        least = self.rows_per_second.low if isinstance(self.rows_per_second, Uncertain) else self.rows_per_second
        if not least:
            raise ValueError("rows_per_second must be more than 0: at 0 a run never ends")
        return self


class Storage(Part):
    """Data at rest."""

    gib: Quantity
    kind: Literal["object", "disk"] = "object"
    writes: Quantity = 0
    """Requests a month that write or list."""
    reads: Quantity = 0
    """Requests a month that read."""


class Egress(Part):
    """Data that leaves the place for the internet, or another region."""

    gib: Quantity
    """GiB a month."""
    to: Literal["internet", "region"] = "internet"


class Monitoring(Part):
    """Metrics and model monitoring."""

    gib: Quantity = 0
    """GiB of metrics written a month."""
    analysed_gib: Quantity = 0
    """GiB of captured requests that drift is looked for in, a month."""


class Logging(Part):
    """Log lines."""

    gib: Quantity
    """GiB written a month."""


PLACES: dict[type[Part], str] = {
    Training: "training",
    Sweep: "sweeps",
    Serving: "endpoints",
    Batch: "batches",
    Storage: "storage",
    Egress: "egress",
    Monitoring: "monitoring",
    Logging: "logging",
}
"""The field of a workload that holds parts of a kind."""


class Uncertainty(Spec):
    """How sure prices are, and how amounts are sampled. The shares are assumptions of yours; the defaults are ours, and said."""

    spot: float = Field(0.25, ge=0, lt=1)
    """Spot prices may be lower or higher by this share: they move with the market."""
    yearly: float = Field(0.05, ge=0, lt=1)
    """Other prices by this share for each year since their date."""
    samples: int = Field(10_000, ge=100, le=1_000_000)
    seed: int = Field(1, ge=0)


class Workload(Spec):
    """Everything to price, and where. Amounts are for `months`."""

    name: str = "workload"
    months: float = Field(1, gt=0, le=1200)
    job: JobSpec | None = None
    """Shorthand for a training of this job's compute, for `job_hours`."""
    job_hours: Quantity | None = None
    endpoint: EndpointSpec | None = None
    """Shorthand for serving on this endpoint's compute and replicas, at `requests_per_second`."""
    requests_per_second: Demand = 0.0
    training: tuple[Training, ...] = ()
    sweeps: tuple[Sweep, ...] = ()
    endpoints: tuple[Serving, ...] = ()
    batches: tuple[Batch, ...] = ()
    storage: tuple[Storage, ...] = ()
    egress: tuple[Egress, ...] = ()
    monitoring: tuple[Monitoring, ...] = ()
    logging: tuple[Logging, ...] = ()
    targets: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """What a target needs to know, by its name: region, tier, cloud, hardware, `speed`; `provider` where the name is not one."""

    uncertainty: Uncertainty = Uncertainty()
    weights: dict[Criterion, Weight] = Field(default_factory=dict)
    """What matters to you beside money, 0 to 10."""
    scores: dict[str, dict[Criterion, Weight]] = Field(default_factory=dict)
    """How well a target does there, in your eyes, 0 to 10."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if (self.job is None) != (self.job_hours is None):
            raise ValueError("job and job_hours go together: how long a job takes must be said")
        if not any(True for _ in self.parts()):
            raise ValueError("nothing to price: give training, sweeps, endpoints, batches, storage, egress, monitoring or logging")
        names = [part.name for part in self.parts()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two parts are called {twice[0]!r}")
        return self

    def alone(self, part: Part) -> Self:
        """The workload with this part only."""
        nothing = {"job": None, "job_hours": None, "endpoint": None, **dict.fromkeys(PLACES.values(), ())}
        return self.model_copy(update={**nothing, PLACES[type(part)]: (part,)})

    def parts(self) -> Iterator[Part]:
        """All parts, each with a name."""
        for kind, parts in self._kinds().items():
            for number, part in enumerate(parts, start=1):
                yield part if part.name else part.model_copy(update={"name": kind if number == 1 else f"{kind}_{number}"})

    def _kinds(self) -> Mapping[str, Sequence[Part]]:
        training, endpoints = self.training, self.endpoints
        if self.job is not None and self.job_hours is not None:
            training = (Training(name=_identifier(self.job.name), compute=self.job.compute, hours=self.job_hours), *training)
        if self.endpoint is not None:
            endpoints = (_serving(self.endpoint, self.requests_per_second), *endpoints)
        return {
            "training": training,
            "sweep": self.sweeps,
            "endpoint": endpoints,
            "batch": self.batches,
            "storage": self.storage,
            "egress": self.egress,
            "monitoring": self.monitoring,
            "logging": self.logging,
        }


def _serving(spec: EndpointSpec, demand: Any) -> Serving:
    deployment = spec.deployment
    return Serving(
        name=_identifier(spec.name),
        compute=deployment.compute,
        requests_per_second=demand,
        min_replicas=deployment.replicas.min,
        max_replicas=deployment.replicas.max,
    )


def _identifier(name: str) -> str:
    return name.replace("-", "_")
