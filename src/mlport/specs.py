"""What you ask for: jobs, models, endpoints, batches, sweeps and schedules, as frozen specs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from math import prod
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
)

from mlport.capabilities import Capability
from mlport.fields import Count, Duration, Identifier, Name, Real, Scalar
from mlport.fields import Spec as Spec


class Compute(Spec):
    """The machine that you need; it is resolved to the cheapest offer that satisfies it."""

    cpus: Real = Field(1, gt=0, le=1024)
    """Virtual CPUs a node."""
    memory_gib: Real = Field(1, gt=0, le=65536)
    """Memory a node, GiB."""
    gpus: Count = Field(0, ge=0, le=64)
    """GPUs a node."""
    gpu: str | None = None
    """The kind of GPU, such as `T4` or `A100-80GB`; any kind if not set."""
    nodes: Count = Field(1, ge=1, le=1024)
    """How many such nodes."""
    disk_gib: Real | None = Field(None, gt=0, le=1_048_576)
    """Scratch disk a node, GiB."""
    spot: bool = False
    """Use interruptible capacity where it is cheaper."""


class JobSpec(Spec):
    """A program to run once: training, or any batch work."""

    name: Name
    source: str | None = None
    """A folder or file that becomes the working directory, packed reproducibly."""
    entrypoint: tuple[str, ...] = Field(min_length=1)
    """The command, such as `["python", "train.py"]`; params are appended as `--key value`."""
    params: dict[str, Scalar] = {}
    """Handed over as `--key value` and as JSON in `MLPORT_PARAMS`."""
    inputs: dict[Identifier, str] = {}
    """Paths or object-store URLs; the program finds each at `MLPORT_INPUT_<NAME>`."""
    outputs: tuple[Identifier, ...] = ()
    """Folders to keep besides `model`; the program writes to `MLPORT_OUTPUT_<NAME>`."""
    requirements: tuple[str, ...] = ()
    """Python requirements; an own environment is built for them and cached. Empty: the provider's default."""
    python: str | None = Field(None, pattern=r"^3\.\d+$")
    """The Python version of that environment; the provider's default if not set."""
    image: str | None = None
    """A container image of your own to run in."""
    env: dict[str, str] = {}
    """Environment variables. Not for secrets: plans show them."""
    secrets: tuple[str, ...] = ()
    """Names of variables taken from your environment at submit; their values are never shown or stored in a plan."""
    compute: Compute = Compute()
    timeout: Duration | None = None
    """The longest that one attempt may run."""
    expected: Duration | None = None
    """How long it is expected to take: budgets count with it, and `mlport cost actual` compares."""
    retries: int = Field(0, ge=0, le=100)
    """How often a failed attempt is run again, with its checkpoints."""
    labels: dict[str, str] = {}
    ttl: Duration | None = None
    """After this age `mlport cleanup` may remove the job."""
    options: dict[str, dict[str, Any]] = {}
    """The one door to what only one provider has: `{"provider": {...}}`, checked by that provider."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """`model`, then the others asked for."""
        return tuple(dict.fromkeys(("model", *self.outputs)))

    def _needs(self) -> Iterator[Capability]:
        from mlport.transfer import is_url

        yield Capability.JOB_RUN
        wanted = {
            Capability.JOB_REQUIREMENTS: bool(self.requirements or self.python),
            Capability.JOB_IMAGE: self.image is not None,
            Capability.JOB_RETRY: self.retries > 0,
            Capability.JOB_TIMEOUT: self.timeout is not None,
            Capability.JOB_GPU: self.compute.gpus > 0,
            Capability.JOB_NODES: self.compute.nodes > 1,
            Capability.JOB_SPOT: self.compute.spot,
            Capability.JOB_SECRETS: bool(self.secrets),
            Capability.JOB_INPUT_OBJECT: any(is_url(uri) for uri in self.inputs.values()),
            Capability.JOB_INPUT_LOCAL: any(not is_url(uri) for uri in self.inputs.values()),
        }
        yield from (capability for capability, is_wanted in wanted.items() if is_wanted)


class ModelRef(Spec):
    """A registered version: `name` and `version`, or `name` and an alias."""

    name: Name
    version: str

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


class Replicas(Spec):
    """How many copies of a deployment run; `min` 0 means scale to zero."""

    min: int = Field(1, ge=0, le=1000)
    max: int = Field(1, ge=1, le=1000)
    target_utilization: float = Field(0.6, gt=0, le=1)
    """The share of each replica's capacity that autoscaling aims at."""

    def _contradiction(self) -> str | None:
        return f"min {self.min} is more than max {self.max}" if self.min > self.max else None


class DeploymentSpec(Spec):
    """One version of a model behind an endpoint."""

    model: ModelRef
    name: Name | None = None
    """Your name for it, used in splits; `v<version>` if not set."""
    endpoint: Name | None = None
    """The endpoint that it goes behind, when it is added to one."""
    runtime: Literal["prebuilt", "image", "build"] = "prebuilt"
    """The vendor's own container or no-code path, an image of yours or ours, or one built from the model's requirements."""
    image: str | None = None
    compute: Compute = Compute()
    replicas: Replicas = Replicas()
    env: dict[str, str] = {}
    options: dict[str, dict[str, Any]] = {}

    @property
    def deployment_name(self) -> str:
        return self.name or f"v{self.model.version}".lower()

    def _contradiction(self) -> str | None:
        mismatch = (self.runtime == "image") != (self.image is not None)
        return f"runtime 'image' and the field image go together (got {self.runtime!r} and {self.image!r})" if mismatch else None

    def _needs(self) -> Iterator[Capability]:
        yield Capability.ENDPOINT_SERVE
        wanted = {
            Capability.ENDPOINT_IMAGE: self.runtime == "image",
            Capability.ENDPOINT_BUILD: self.runtime == "build",
            Capability.ENDPOINT_GPU: self.compute.gpus > 0,
            Capability.ENDPOINT_REPLICAS: self.replicas.max > 1,
            Capability.ENDPOINT_AUTOSCALE: self.replicas.min != self.replicas.max,
            Capability.ENDPOINT_SCALE_TO_ZERO: self.replicas.min == 0,
        }
        yield from (capability for capability, is_wanted in wanted.items() if is_wanted)


class Capture(Spec):
    """Keep requests and answers for monitoring."""

    rate: float = Field(1.0, ge=0, le=1)
    """The share of requests kept."""


class EndpointSpec(Spec):
    """An address that answers predictions, with its first deployment."""

    name: Name
    deployment: DeploymentSpec
    auth: Literal["key", "identity", "none"] | None = None
    """What a caller must show: an API key, the vendor's credentials, or nothing. If not set, a key where the provider has keys, else credentials."""
    capture: Capture | None = Capture()
    labels: dict[str, str] = {}
    ttl: Duration | None = None
    options: dict[str, dict[str, Any]] = {}

    def _needs(self) -> Iterator[Capability]:
        yield from self.deployment._needs()
        if self.auth is not None:
            yield {
                "key": Capability.ENDPOINT_KEY,
                "identity": Capability.ENDPOINT_IDENTITY,
                "none": Capability.ENDPOINT_PUBLIC,
            }[self.auth]
        if self.capture and self.capture.rate > 0:
            yield Capability.ENDPOINT_CAPTURE


class BatchSpec(Spec):
    """Score files larger than memory with a registered version."""

    name: Name
    model: ModelRef
    input: str
    """A Parquet, CSV or JSON-lines file, a folder of them, or an object-store URL."""
    output: str
    """A folder or URL that must not exist yet or be empty; one Parquet file for each input file or part."""
    format: Literal["auto", "parquet", "csv", "jsonl"] = "auto"
    keep: tuple[str, ...] = ()
    """Input columns to copy beside the prediction, an identifier for example."""
    batch_rows: int = Field(10_000, ge=1, le=1_000_000)
    """Rows given to the model at a time."""
    compute: Compute = Compute()
    timeout: Duration | None = None
    expected: Duration | None = None
    """How long it is expected to take: budgets count with it, and `mlport cost actual` compares."""
    labels: dict[str, str] = {}
    options: dict[str, dict[str, Any]] = {}

    def _needs(self) -> Iterator[Capability]:
        yield Capability.BATCH
        if self.timeout is not None:
            yield Capability.JOB_TIMEOUT
        if self.compute.nodes > 1:
            yield Capability.JOB_NODES


class ModelSpec(Spec):
    """A version to register: a folder or URI, or a job's output."""

    name: Name
    path: str
    """The model's folder, or the URI of a job's output."""
    job_id: str | None = None
    """The job that made it; its lineage is carried over."""
    output: str = "model"
    description: str = ""
    tags: dict[str, str] = {}

    def _needs(self) -> Iterator[Capability]:
        yield Capability.MODEL_REGISTER
        if self.tags:
            yield Capability.MODEL_TAGS
        if self.job_id is not None:
            yield Capability.MODEL_LINEAGE


Number = StrictInt | Annotated[StrictFloat, Field(allow_inf_nan=False)]


class Range(Spec):
    """Numbers from `low` to `high`, both included: whole ones if both are whole."""

    low: Number
    high: Number
    log: bool = False
    """Search evenly over orders of magnitude."""
    step: Number | None = None
    """Only `low`, `low + step`, ...; a grid needs it, unless the numbers are whole."""

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def size(self) -> int | None:
        """How many values there are, None if they are too many to count."""
        if self.whole or self.step is not None:
            return int((Decimal(str(self.high)) - Decimal(str(self.low))) // Decimal(str(self.step or 1))) + 1
        return 1 if self.low == self.high else None

    def at(self, index: int) -> int | float:
        """The value at an index, where they can be counted: 0.9, not 0.8999999999999999, is the third step of 0.3."""
        step = self.step or 1
        return self.low + index * int(step) if self.whole else float(Decimal(str(self.low)) + index * Decimal(str(step)))

    def _contradiction(self) -> str | None:
        if self.low > self.high:
            return f"low {self.low} is more than high {self.high}"
        if self.log and (self.low <= 0 or self.step is not None):
            return f"log needs low above 0 and no step (got low {self.low}, step {self.step})"
        if self.step is not None and (self.step <= 0 or (self.whole and not isinstance(self.step, int))):
            return f"step {self.step} must be above 0, and whole where low and high are"
        return None


def parse_choices(value: object) -> object:
    """`{values = [...]}` as the list itself; anything else unchanged."""
    return value["values"] if isinstance(value, dict) and value.keys() == {"values"} else value


def _dimension(value: object) -> str:
    return "range" if isinstance(value, dict | Range) else "choices"


Choices = Annotated[tuple[StrictBool | StrictInt | StrictFloat | StrictStr, ...], Field(min_length=1)]
Dimension = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")], Discriminator(_dimension), BeforeValidator(parse_choices)
]


class Stopping(Spec):
    """End trials early that fall behind, going by the metric that they log while they run.

    `median`: a trial whose best value so far is worse than the median of the others' at that step.
    `halving`: at the steps `min_steps`, times `factor`, times `factor` again, ... only the best 1/`factor` go on.
    """

    rule: Literal["median", "halving"] = "median"
    min_trials: int = Field(4, ge=1)
    """How many others must have got that far before any is ended."""
    min_steps: int = Field(1, ge=1)
    """No trial is ended before this step."""
    factor: int = Field(3, ge=2)
    """Of `halving`: which share goes on."""


class SweepSpec(Spec):
    """Many runs of one job with different parameters, in search of the best value of a metric."""

    name: Name
    job: JobSpec
    """What each trial runs; its own `params` are kept beside those searched."""
    space: dict[str, Dimension] = Field(min_length=1)
    """For each parameter a range `{low, high, log?, step?}` or a list of choices."""
    metric: str = Field(min_length=1)
    """The metric to go by, as the job logs it to `MLPORT_METRICS`; its last value counts."""
    direction: Literal["maximize", "minimize"]
    algorithm: Literal["grid", "random", "bayesian"] = "bayesian"
    max_trials: int | None = Field(None, ge=1, le=10_000)
    """How many trials at most; a grid is run whole if not set, the others need it."""
    parallel: int = Field(1, ge=1, le=1000)
    """How many trials at a time."""
    stopping: Stopping | None = None
    """End trials early that fall behind; none are if not set."""
    seed: int | None = Field(None, ge=0, lt=2**32)
    """Makes the search repeatable, as far as trials end in the same order."""
    timeout: Duration | None = None
    """The longest that the whole sweep may take; what runs then is cancelled."""
    max_failures: int = Field(3, ge=0)
    """With more failed trials than this the sweep fails."""
    labels: dict[str, str] = {}
    options: dict[str, dict[str, Any]] = {}
    """Of the search itself, where a provider has a tuner of its own; those of the trials stand in `job`."""

    @property
    def size(self) -> int | None:
        """How many different trials there are, None if they are too many to count."""
        sizes = [each.size if isinstance(each, Range) else len(set(map(repr, each))) for each in self.space.values()]
        return None if None in sizes else prod(size for size in sizes if size is not None)

    @property
    def trials(self) -> int:
        """How many trials it runs at most."""
        return min(number for number in (self.max_trials, self.size) if number is not None)

    def _contradiction(self) -> str | None:
        if self.algorithm == "grid" and self.size is None:
            endless = [name for name, each in self.space.items() if isinstance(each, Range) and each.size is None]
            return f"a grid over {', '.join(endless)} has no end: give a step, or a list of values"
        if self.algorithm != "grid" and self.max_trials is None:
            return f"max_trials is required for a {self.algorithm} search"
        if self.algorithm == "grid" and self.trials > 10_000:
            return f"the grid has {self.size} trials; set max_trials, or take larger steps"
        return None

    def _needs(self) -> Iterator[Capability]:
        yield Capability.SWEEP
        yield Capability.JOB_METRICS
        yield Capability.JOB_CANCEL
        yield from self.job._needs()
        if self.stopping is not None:
            yield Capability.JOB_METRICS_LIVE


class ScheduleSpec(Spec):
    """Start a job or a batch by the clock. The code is kept as it is now; inputs are read anew at each firing."""

    name: Name
    cron: str
    """Minute, hour, day of the month, month, day of the week: `30 6 * * 1-5`."""
    time_zone: str = "UTC"
    """The clock that `cron` goes by, such as `Europe/Berlin`."""
    job: JobSpec | None = None
    batch: BatchSpec | None = None
    """Its `output` must hold `{time}`, which becomes the firing's time, for each needs a folder of its own."""
    jitter: Duration | None = None
    """Start later by up to this much, each firing by an amount of its own, so that not all start at once."""
    start: datetime | None = None
    """No firing before this; on the clock of `time_zone` if it names no zone itself."""
    end: datetime | None = None
    """No firing from this on."""
    catch_up: Literal["once", "none"] = "once"
    """What becomes of firings missed while nobody was there to start them: one run for all of them, or nothing."""
    max_concurrent: int | None = Field(None, ge=1)
    """How many of its runs may go on at once; a firing that finds no place counts as missed."""
    paused: bool = False
    """Made, but not started before it is resumed."""
    labels: dict[str, str] = {}
    options: dict[str, dict[str, Any]] = {}

    @property
    def work(self) -> JobSpec | BatchSpec:
        """What it starts."""
        found = self.job or self.batch
        assert found is not None  # noqa: S101 - validated
        return found

    def _contradiction(self) -> str | None:
        from mlport.scheduling.cron import Cron

        if (self.job is None) == (self.batch is None):
            return "exactly one of job and batch is to be given"
        if self.batch is not None and "{time}" not in self.batch.output:
            return f"batch.output {self.batch.output!r} must hold {{time}}: each firing needs a folder of its own"
        try:
            cron = Cron.parse(self.cron, self.time_zone)
        except ValueError as error:
            return f"cron and time_zone: {error}"
        if self.start and self.end and cron.moment(self.start) >= cron.moment(self.end):
            return f"start {self.start} is not before end {self.end}"
        if self.jitter and self.jitter >= (gap := cron.shortest_gap()):
            return f"jitter {self.jitter} must be less than the {gap} between two firings"
        return None

    def _needs(self) -> Iterator[Capability]:
        yield Capability.SCHEDULE
        yield from self.work._needs()
        if self.jitter is not None:
            yield Capability.SCHEDULE_JITTER
        if self.max_concurrent is not None:
            yield Capability.SCHEDULE_LIMIT
        if self.start is not None or self.end is not None:
            yield Capability.SCHEDULE_WINDOW
