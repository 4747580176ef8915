"""What is to be priced: a workload of parts, and where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from mlport.costs.formulas import HOURS_A_MONTH
from mlport.costs.parts import (
    Batch,
    Demand,
    Egress,
    Hours,
    Item,
    Logging,
    Monitoring,
    Part,
    Serving,
    Share,
    Storage,
    Sweep,
    Training,
    Uncertain,
)
from mlport.costs.pricing import Criterion
from mlport.fields import Count, Real, Spec
from mlport.specs import EndpointSpec, JobSpec

Weight = Annotated[Real, Field(ge=0, le=10, allow_inf_nan=False)]
PLACES: dict[type[Part], str] = {
    Training: "training",
    Sweep: "sweeps",
    Serving: "endpoints",
    Batch: "batches",
    Storage: "storage",
    Egress: "egress",
    Monitoring: "monitoring",
    Logging: "logging",
    Item: "items",
}
"""The field of a workload that holds parts of a kind."""


class Uncertainty(Spec):
    """How sure prices are, and how amounts are sampled. The shares are assumptions of yours; the defaults are ours, and said."""

    spot: Annotated[Share, Field(lt=1)] = 0.25
    """Spot prices may be lower or higher by this share: they move with the market."""
    yearly: Annotated[Share, Field(lt=1)] = 0.05
    """Other prices by this share for each year since their date."""
    samples: Count = Field(10_000, ge=100, le=1_000_000)
    seed: Count = Field(1, ge=0)


class Workload(Spec):
    """Everything to price, and where. Amounts are for `months`."""

    name: str = "workload"
    months: Real = Field(1, gt=0, le=1200)
    hours_a_month: Real = Field(HOURS_A_MONTH, gt=0, le=744)
    """How long a month is: 730 as calculators have it, 720 and 744 as bills of 30 and 31 days."""
    job: JobSpec | None = None
    """Shorthand for a training of this job's compute, for `job_hours`."""
    job_hours: Hours | None = None
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
    items: tuple[Item, ...] = ()
    targets: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """What a target needs to know, by its name: region, tier, cloud, hardware, `speed`; `provider` where the name is not one."""

    uncertainty: Uncertainty = Field(default_factory=Uncertainty)
    weights: dict[Criterion, Weight] = Field(default_factory=dict)
    """What matters to you beside money, 0 to 10."""
    scores: dict[str, dict[Criterion, Weight]] = Field(default_factory=dict)
    """How well a target does there, in your eyes, 0 to 10."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if (self.job is None) != (self.job_hours is None):
            raise ValueError("job and job_hours go together: how long a job takes must be said")
        if not any(True for _ in self.parts()):
            raise ValueError("nothing to price: give training, sweeps, endpoints, batches, storage, egress, monitoring, logging or items")
        for part in self.parts():
            up = part.hours if isinstance(part, Serving) else None
            if up is not None and (up.high if isinstance(up, Uncertain) else up) > self.hours_a_month:
                raise ValueError(f"{part.name}: hours are more than a month has ({self.hours_a_month:g}, hours_a_month)")
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
            run = Training(name=_identifier(self.job.name), compute=self.job.compute, hours=0)
            training = (run.model_copy(update={"hours": self.job_hours}), *training)
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
            "item": self.items,
        }


def _serving(spec: EndpointSpec, demand: Any) -> Serving:
    deployment = spec.deployment
    replicas = {"min_replicas": deployment.replicas.min, "max_replicas": deployment.replicas.max}
    part = Serving(name=_identifier(spec.name), compute=deployment.compute, requests_per_second=0)
    return part.model_copy(update={"requests_per_second": demand, **replicas})


def _identifier(name: str) -> str:
    return name.replace("-", "_")
