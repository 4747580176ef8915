"""The provider interface: what mlport asks of a place that trains and serves, and nothing more.

A provider is an object behind the entry point group `mlport.providers`. Importing it loads no vendor code;
`open` does. Everything here is synchronous and never sleeps: the core owns waiting, deadlines, retries, state
and the journal. docs/spi.md says for five providers what each verb becomes.

Rules that the conformance suite holds every provider to:

- `supports` answers for every capability; what is absent is refused at `plan`, before anything is sent.
- `plan` is pure: the same spec, facts and price lists give the same plan; nothing is sent, asked or imported.
- `submit`, `register`, `create` and `deploy` are idempotent by token: the same token, the same thing.
- Success is sticky: a terminal state never changes. What the provider does not know is `State.UNKNOWN`.
- Times are aware and in UTC. Deleting what is absent succeeds. Errors are `mlport.errors`, raised `from` the original.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

from mlport.capabilities import Support, SupportMap

if TYPE_CHECKING:
    import pyarrow as pa

    from mlport.config import Config
    from mlport.fields import Scalar
    from mlport.specs import Spec

Json = dict[str, Any]
T = TypeVar("T")
SPI_VERSION = 1
TOKEN = "${token}"  # noqa: S105 - stands in a plan for the idempotency token, which only submit knows


# ---------------------------------------------------------------- states


class State(StrEnum):
    """Where a job or an operation is. The vendor's own word is kept beside it as `native_state`."""

    QUEUED = "QUEUED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"

    @property
    def terminal(self) -> bool:
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


class ScheduleState(StrEnum):
    """Where a schedule is."""

    CREATING = "CREATING"
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    ENDED = "ENDED"  # past its end; it fires no more
    DELETING = "DELETING"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"


class MonitorState(StrEnum):
    """Where a vendor's monitor is."""

    CREATING = "CREATING"
    ACTIVE = "ACTIVE"
    FAILED = "FAILED"
    DELETING = "DELETING"
    UNKNOWN = "UNKNOWN"


class TrialState(StrEnum):
    """Where a trial of a sweep is. A pruned one was ended early, for it fell behind."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    PRUNED = "PRUNED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class EndpointState(StrEnum):
    """Where an endpoint or a deployment is."""

    CREATING = "CREATING"
    READY = "READY"
    UPDATING = "UPDATING"
    DEGRADED = "DEGRADED"  # it answers, but not all of it is well
    FAILED = "FAILED"
    DELETING = "DELETING"
    UNKNOWN = "UNKNOWN"


# ---------------------------------------------------------------- plans


@dataclass(frozen=True, slots=True)
class InputFact:
    """What an input was when the plan was made. `kind` says what `digest` is: of the content, or a generation."""

    uri: str
    kind: Literal["sha256", "etag", "generation", "unversioned"]
    digest: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What the core found out before planning, so that planning itself needs to look at nothing."""

    bundle: str | None = None  # digest of the packed source
    bundle_bytes: int = 0
    git_commit: str | None = None
    git_dirty: bool | None = None
    inputs: Mapping[str, InputFact] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)  # what everything made from this plan is labelled with
    model: Json | None = None  # of a deployment or batch: the version's record; of a registration: its digest and lineage
    endpoint: Json | None = None  # of a deployment: the endpoint's record, etag included, as it was when planned
    machine: Json | None = None  # what there is to run on, where the provider can know it
    columns: Mapping[str, Literal["number", "category"]] = field(default_factory=dict)  # of a monitor: what its reference's columns are
    price: Json | None = None  # what an hour of it costs by the prices of now: `mlport.costs.at_work.frozen.Frozen.to_json`


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the vendor will get it.

    `${name}` in a path or body stands for what only an earlier answer tells. `after` says what must be true before it
    is sent, where that is more than the success of the request before.
    """

    call: str
    body: Json
    method: str = ""
    path: str = ""
    after: str = ""


PlanKind = Literal["job", "batch", "sweep", "model", "endpoint", "deployment", "schedule", "monitor"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done, exactly, and how each need is met. JSON-like, printable, comparable."""

    provider: str
    target: str
    kind: PlanKind
    name: str
    spec: Json
    facts: Facts
    requests: tuple[Request, ...]
    support: Mapping[str, Support] = field(default_factory=dict)
    resolved: Json = field(default_factory=dict)  # what was chosen: machine, image, interpreter, runtime
    notes: tuple[str, ...] = ()

    def to_json(self) -> Json:
        """The plan as plain data. Raises TypeError when a provider put anything else into it."""
        plain: Json = json.loads(json.dumps(asdict(self)))
        return plain

    @property
    def digest(self) -> str:
        """SHA-256, hex, of the work asked for: target, spec, code and data. Two submits with one key must agree on it."""
        inputs = {name: (fact.uri, fact.kind, fact.digest) for name, fact in self.facts.inputs.items()}
        spec = {name: value for name, value in self.spec.items() if name != "source"}  # the bundle says what it holds
        model = {name: (self.facts.model or {}).get(name) for name in ("name", "version", "digest")}  # not its aliases and tags
        asked = [self.provider, self.target, self.kind, spec, self.facts.bundle, inputs, model]
        return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()


# ---------------------------------------------------------------- records


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a listing and the token of the next, None on the last."""

    items: Sequence[T]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """What to list. An adapter filters at the vendor where it can and here where it cannot; never silently less."""

    name: str | None = None
    states: frozenset[State] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    newest_first: bool = True
    page_size: int = 100


Cause = Literal["", "exit", "timeout", "preempted", "out of memory", "input changed", "environment", "quota", "lost", "cancelled"]


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What the provider says of a job now.

    `cause` says in one of our words why it ended as it did; `reason` says it for people, and why it waits or is unknown.
    """

    id: str
    name: str
    state: State
    native_state: str
    kind: str = "job"
    cause: Cause = ""
    reason: str = ""
    created: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    attempt: int = 1
    token: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A folder or file that a job left. `digest` is that of `mlport.bundle.tree_digest`, None where unknown."""

    uri: str
    digest: str | None = None
    bytes: int | None = None
    files: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a job used, None where the provider does not say. Seconds and bytes; over all attempts and nodes."""

    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    max_rss_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a job that ended left behind."""

    exit_code: int | None
    metrics: Mapping[str, float] = field(default_factory=dict)  # the last value of each
    outputs: Mapping[str, Artifact] = field(default_factory=dict)
    usage: Usage = Usage()
    resolved: Json = field(default_factory=dict)  # environment as it really was: interpreter, packages, image digest

    @classmethod
    def read(cls, told: Json) -> JobResult:
        """What mlport's runner wrote of a job's end; nothing but that there is no exit code where it wrote nothing."""
        return cls(
            exit_code=told.get("exit_code"),
            metrics=told.get("metrics", {}),
            outputs={name: Artifact(**entry) for name, entry in told.get("outputs", {}).items()},
            usage=Usage(**told.get("usage", {})),
            resolved=told.get("resolved", {}),
        )


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One value that a job logged. `step` is its own, or its number among those of its name, counted from 0."""

    name: str
    value: float
    step: int
    time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of a sweep's job. `number` counts from 0; `value` is the metric's last one; `curve` its (step, value), where known.

    `began` is when it was decided on; where the vendor does not say, when it started, or else when the sweep was made.
    `behind` says why it is to be ended early. `job_id` is that of a job which `Jobs` knows.
    """

    number: int
    params: Mapping[str, Scalar]
    began: datetime
    state: TrialState = TrialState.RUNNING
    job_id: str | None = None
    value: float | None = None
    reason: str = ""
    behind: str = ""
    curve: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class SweepStatus:
    """One look at a sweep. `road` says who chooses and starts its trials: the vendor's tuner, or mlport.

    `planned` is how many trials it runs at most. `trials` are those begun so far, in order; a listing leaves them out.
    """

    id: str
    name: str
    state: State
    native_state: str
    road: Literal["native", "composed"]
    metric: str
    direction: Literal["maximize", "minimize"]
    algorithm: str
    planned: int
    began: datetime
    ended: datetime | None = None
    reason: str = ""
    seed: int | None = None
    token: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    trials: tuple[Trial, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many trials are in each state, without the states that none is in."""
        return {state.value.lower(): count for state in TrialState if (count := sum(trial.state is state for trial in self.trials))}

    @property
    def best(self) -> Trial | None:
        """The trial with the best value so far, the first of equals; pruned ones do not count."""
        sign = 1 if self.direction == "maximize" else -1
        done = [trial for trial in self.trials if trial.state is TrialState.SUCCEEDED and trial.value is not None]
        return max(done, key=lambda trial: sign * (trial.value or 0.0), default=None)


@dataclass(frozen=True, slots=True)
class LogPage:
    """Whole lines from a cursor on. `after` goes into the next call; `complete` says that no more will come.

    `caught_up` says that these were all that there were when it was read: who does not follow the log stops there, however
    fast the job prints. `pause` is how many seconds to let pass before asking again when there was nothing new.
    """

    lines: Sequence[str]
    after: str
    complete: bool
    pause: float = 0.2
    caught_up: bool = False


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """A registered version. `lineage` is mlport's own record; `approval` is the vendor's."""

    name: str
    version: str
    uri: str
    digest: str | None
    created: datetime | None
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    lineage: Json = field(default_factory=dict)
    signature: Json | None = None
    flavors: tuple[str, ...] = ()
    approval: str | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A registered model: its name and newest version."""

    name: str
    latest_version: str | None
    aliases: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    created: datetime | None = None


@dataclass(frozen=True, slots=True)
class DeploymentRecord:
    """One deployment as the provider sees it; `percent` is its share of the split, `native_name` the vendor's name or id."""

    name: str
    state: EndpointState
    native_state: str
    model: str
    version: str
    percent: int
    runtime: str = "prebuilt"
    replicas: int | None = None
    reason: str = ""
    native_name: str = ""


@dataclass(frozen=True, slots=True)
class EndpointRecord:
    """An endpoint as the provider sees it. `etag` changes whenever it does; `native_name` is the vendor's name or id.

    Where the vendor has no etag, the adapter makes one of what it read, and holds a lease over read and write.
    """

    name: str
    state: EndpointState
    native_state: str
    url: str
    deployments: tuple[DeploymentRecord, ...]
    etag: str
    created: datetime | None = None
    auth: str = "key"
    capture_rate: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    native_name: str = ""

    @property
    def split(self) -> dict[str, int]:
        """The whole split: integer percent by deployment name."""
        return {deployment.name: deployment.percent for deployment in self.deployments}


@dataclass(frozen=True, slots=True)
class ScheduleRecord:
    """A schedule as the provider sees it. `spec` is the ScheduleSpec as plain data; `native_name` the vendor's name or id.

    `next` is when it fires next, None while it is paused, ended, or where the vendor does not say.
    """

    name: str
    state: ScheduleState
    native_state: str
    cron: str
    time_zone: str
    spec: Json
    created: datetime | None = None
    next: datetime | None = None
    last: datetime | None = None
    token: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    native_name: str = ""


@dataclass(frozen=True, slots=True)
class Firing:
    """One start by the clock: `scheduled` for, `fired` at, and the job or the error that it became.

    `merged` is how many earlier firings, missed, this one stands for. Neither job nor error: it was left out, and `reason`
    says why, or it is still under way. Where the vendor makes the job, `scheduled` may be when it did.
    """

    scheduled: datetime
    fired: datetime | None = None
    job_id: str | None = None
    error: str = ""
    merged: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MonitorRecord:
    """A vendor's monitor as the provider sees it; `native_name` is the vendor's name or id, `next` when it measures next, if it says so."""

    name: str
    state: MonitorState
    native_state: str
    created: datetime | None = None
    next: datetime | None = None
    token: str | None = None
    reason: str = ""
    native_name: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """One number of a vendor's monitor. `metric` is the vendor's name of it, `alarm` what the vendor says of it, None where it says nothing."""

    column: str
    metric: str
    value: float | None
    threshold: float | None = None
    alarm: bool | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a vendor's monitor found in one window. `state` is terminal once nothing of it will change; `rows` where the vendor says it."""

    id: str
    window: Window
    state: State
    native_state: str
    measured: tuple[Measured, ...] = ()
    rows: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """A long mutation under way: a handle that survives the process. `id` is the adapter's own.

    It may take several requests with waits between; `Operations.advance` takes the next when the last has ended.
    """

    id: str
    kind: str
    target: str


@dataclass(frozen=True, slots=True)
class OperationStatus:
    """Where an operation is. `result` is what it made: a version, an endpoint's name."""

    state: State
    native_state: str
    reason: str = ""
    result: str | None = None
    progress: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """Predictions in the order of the rows, the id to label them by, and who answered."""

    predictions: Sequence[Any]
    request_id: str
    deployment: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time, `start` <= t < `end`, both aware."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency in seconds, in the form that the provider has.

    `form` says which: `histogram` (upper bounds and counts), `samples` (values), `quantiles` (q, value), `summary`
    (count, mean, minimum, maximum) or `none`.
    """

    form: Literal["samples", "histogram", "quantiles", "summary", "none"]
    values: Sequence[float] = ()  # samples; upper bounds of bins; quantile values; or count, mean, minimum, maximum
    weights: Sequence[float] = ()  # counts of bins, or the quantiles' q; empty otherwise


@dataclass(frozen=True, slots=True)
class Observed:
    """What one deployment did in a window. `errors` are answers of 500 and above, `rejected` those of 400 to 499."""

    deployment: str
    requests: int
    errors: int
    rejected: int
    latency: Latency
    rows: int | None = None  # where the provider counts rows rather than, or beside, requests


@dataclass(frozen=True, slots=True)
class Observation:
    """What an endpoint did between `complete_from` and `complete_until`; nothing outside may be relied on.

    `complete_from` is later than the window's start where the provider remembers only so much.
    """

    window: Window
    complete_until: datetime
    deployments: tuple[Observed, ...]
    complete_from: datetime | None = None


# ---------------------------------------------------------------- roles


class Jobs(Protocol):
    """Programs that run once: jobs and batch scoring alike; the plan's kind tells which."""

    def submit(self, plan: Plan, *, token: str, bundle: Path | None = None, secrets: Mapping[str, str] | None = None) -> str:
        """Start it, or find it started: the same token gives the same id. `bundle` is the packed source."""

    def find(self, token: str, *, since: datetime | None = None) -> str | None:
        """The id of the job that carries this token, None if the provider has none such made after `since`."""

    def status(self, job_id: str) -> JobStatus: ...

    def list(self, query: Query, page: str | None = None) -> Page[JobStatus]: ...

    def result(self, job_id: str) -> JobResult:
        """What an ended job left. Raises ConflictError while it runs."""

    def metrics(self, job_id: str) -> Sequence[MetricPoint]:
        """What the job has logged so far, oldest first. Of a running job only where JOB_METRICS_LIVE is available.

        Where only each metric's last value is kept, that is the one point; [] where nothing can be read yet.
        """

    def logs(self, job_id: str, *, after: str | None = None) -> LogPage:
        """The next whole lines after a cursor; an empty page that is not complete means: ask again later."""

    def cancel(self, job_id: str) -> None:
        """Ask for the end. Nothing happens to a job that has ended. The state tells when it is done."""

    def delete(self, job_id: str) -> None:
        """Remove an ended job and what it left, except what the registry holds. Raises ConflictError while it runs."""


class Sweeps(Protocol):
    """Searches that the vendor's own tuner runs. Only where SWEEP is native; elsewhere mlport runs the trials as jobs.

    `Provider.plan` of a SweepSpec raises UnsupportedError that names each field which the tuner cannot express: the core then
    runs that sweep itself. A trial is a job with an id, which `Jobs` gives status, log, metrics and result of.
    """

    def submit(self, plan: Plan, *, token: str, bundle: Path | None = None, secrets: Mapping[str, str] | None = None) -> str:
        """Start it, or find it started: the same token gives the same id. `bundle` is the packed source of its job."""

    def find(self, token: str, *, since: datetime | None = None) -> str | None:
        """The id of the sweep that carries this token, None if the provider has none such made after `since`."""

    def status(self, sweep_id: str) -> SweepStatus:
        """Where it and its trials are. It has SUCCEEDED only if a trial has. Raises NotFoundError."""

    def list(self, query: Query, page: str | None = None) -> Page[SweepStatus]:
        """Those that the query asks for, without their trials."""

    def cancel(self, sweep_id: str) -> None:
        """Ask for the end of it and of the trials that run. Nothing happens to one that has ended."""

    def delete(self, sweep_id: str) -> None:
        """Remove an ended sweep, its trials' jobs and what they left, except what the registry holds; an absent one is fine.

        Raises ConflictError while it goes on.
        """


class Models(Protocol):
    """The registry: versions, aliases, tags, lineage, approval, files."""

    def register(self, plan: Plan, *, token: str) -> Operation: ...

    def find(self, token: str) -> Operation | None: ...

    def get(self, name: str, version: str) -> VersionRecord: ...

    def resolve(self, name: str, alias: str) -> str:
        """The version that an alias points to. Raises NotFoundError."""

    def list(self, query: Query, page: str | None = None) -> Page[ModelRecord]: ...

    def versions(self, name: str, query: Query, page: str | None = None) -> Page[VersionRecord]: ...

    def set_alias(self, name: str, alias: str, version: str) -> None: ...

    def drop_alias(self, name: str, alias: str) -> None: ...

    def tag(self, name: str, version: str, tags: Mapping[str, str | None]) -> None:
        """Set tags; None removes one."""

    def approve(self, name: str, version: str, *, approved: bool, reason: str = "") -> None: ...

    def download(self, name: str, version: str, destination: Path) -> Path:
        """Copy the version's files under `destination`, which must not exist; the core verifies the digest."""

    def delete(self, name: str, version: str) -> None: ...


class Endpoints(Protocol):
    """Addresses that answer, their deployments and split, and what passed through."""

    def create(self, plan: Plan, *, token: str) -> Operation: ...

    def deploy(self, plan: Plan, *, token: str) -> Operation:
        """Add a deployment at 0 percent, or where the provider cannot hold one idle, refuse at plan."""

    def find(self, token: str) -> Operation | None: ...

    def get(self, name: str) -> EndpointRecord: ...

    def list(self, query: Query, page: str | None = None) -> Page[EndpointRecord]: ...

    def headers(self, name: str, *, method: str = "POST", path: str = "", body: bytes | None = None) -> Mapping[str, str]:
        """What a caller must send with this request, credentials included. They may expire: ask again for each call.

        Raises UnsupportedError where requests are signed and no `body` was given.
        """

    def rotate_key(self, name: str, *, token: str) -> str:
        """A new key; the old one stays good for a grace. Only where ENDPOINT_KEY is available."""

    def set_traffic(self, name: str, split: Mapping[str, int], *, token: str, etag: str | None = None) -> Operation:
        """Set the whole split; raises ConflictError when `etag` is given and is no longer the endpoint's."""

    def undeploy(self, name: str, deployment: str, *, token: str) -> Operation: ...

    def delete(self, name: str, *, token: str) -> Operation: ...

    def predict(
        self,
        name: str,
        rows: Sequence[Json],
        *,
        deployment: str | None = None,
        request_id: str | None = None,
        timeout: float = 60.0,
    ) -> Answer: ...

    def captured(self, name: str, window: Window) -> Iterator[pa.RecordBatch]:
        """What was kept, in batches of `mlport.capture.schema`, oldest first."""

    def observe(self, name: str, window: Window) -> Observation: ...


class Schedules(Protocol):
    """Jobs started by the clock. Where the vendor has no clock of its own, `mlport.scheduling.stored` is this role."""

    def create(self, plan: Plan, *, token: str, bundle: Path | None = None) -> str:
        """Begin to make it, or find it made: the same token gives the same schedule; its name. `get` tells when it is there.

        Raises ConflictError when another schedule has that name.
        """

    def find(self, token: str) -> str | None:
        """The name of the schedule that carries this token."""

    def get(self, name: str) -> ScheduleRecord: ...

    def list(self, query: Query, page: str | None = None) -> Page[ScheduleRecord]: ...

    def pause(self, name: str) -> None:
        """Fire no more until `resume`. What runs goes on."""

    def resume(self, name: str) -> None:
        """Fire again, from the next time on: what a pause left out is not caught up."""

    def delete(self, name: str) -> bool:
        """Take the next step of removing it, at most one mutation; True once it is gone. Jobs that it started stay."""

    def firings(self, name: str, page: str | None = None) -> Page[Firing]:
        """What it started, newest first, as far back as the provider remembers."""


class Monitors(Protocol):
    """The vendor's own monitors, which measure drift of captured traffic by the vendor's clock and definitions. Only where MONITOR is native.

    `Provider.plan` of a MonitorSpec raises UnsupportedError that names each threshold which the vendor's monitor cannot express: what a
    threshold here is there, its dialect says. Readings, alerts and retraining are the core's, from `measurements`.
    """

    def create(self, plan: Plan, *, token: str, reference: Path) -> Operation:
        """Begin to make it, or find it made: the same token gives the same monitor. `reference` is a Parquet file of the columns watched.

        Raises ConflictError when another monitor has that name, or the vendor has room for one only.
        """

    def find(self, token: str) -> Operation | None: ...

    def get(self, name: str) -> MonitorRecord: ...

    def measure(self, name: str, window: Window, *, token: str) -> str:
        """Ask for a measurement of this window now, or find it asked for; its id. The vendor may measure other windows, too."""

    def measurements(self, name: str, page: str | None = None) -> Page[Measurement]:
        """What it found, newest window first, as far back as the vendor remembers."""

    def delete(self, name: str, *, token: str) -> Operation:
        """Remove it and all that was made for it; an absent one is fine."""


class Operations(Protocol):
    """Long mutations by their id, from any process. A mutation may be done when it returns: its first look says so."""

    def status(self, operation_id: str) -> OperationStatus:
        """Where it is; changes nothing."""

    def advance(self, operation_id: str) -> OperationStatus:
        """Take its next step if one is due, at most one mutation, and say where it is. The same as `status` where the vendor does it all."""


@dataclass(frozen=True, slots=True)
class Versioned:
    """A stored value and the version that a compare-and-swap must name."""

    value: bytes
    version: str


ABSENT = "absent"  # the expected version of a key that must not exist yet


class StateStore(Protocol):
    """Small shared state with compare-and-swap: journals, rollouts, monitors, leases. Keys are `/`-separated."""

    def get(self, key: str) -> Versioned | None: ...

    def list(self, prefix: str) -> Iterator[tuple[str, Versioned]]:
        """Keys that start with `prefix`, in order."""

    def put(self, key: str, value: bytes, *, expect: str | None = None) -> str:
        """Store and return the new version. `expect` is a version or ABSENT; ConflictError if it is not so."""

    def delete(self, key: str, *, expect: str | None = None) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `doctor`: what was looked at, whether it is well, and what to do if not."""

    check: str
    ok: bool
    detail: str
    hint: str = ""


class Session(Protocol):
    """A provider with its SDK loaded and its credentials in hand.

    `find_lag` is how many seconds after a submit began `find` may still miss what was made; within it an ambiguous
    submit is UNKNOWN and nothing is sent again. 0 where the provider itself makes submits idempotent.
    """

    find_lag: float

    @property
    def jobs(self) -> Jobs: ...

    @property
    def models(self) -> Models: ...

    @property
    def endpoints(self) -> Endpoints: ...

    @property
    def schedules(self) -> Schedules:
        """Raises UnsupportedError where SCHEDULE is absent."""

    @property
    def operations(self) -> Operations: ...

    @property
    def state(self) -> StateStore: ...

    def doctor(self) -> Iterator[Finding]: ...

    def facts(self, spec: Spec) -> Json:
        """What the provider must look up before planning this spec: its machine, its offers. {} where nothing."""

    def input(self, uri: str) -> InputFact:
        """The identity of an input that the provider will read. Raises NotFoundError when it is not there."""

    def close(self) -> None: ...


@runtime_checkable
class Tunes(Protocol):
    """A session of a place that has a tuner of its own: just where SWEEP is native."""

    @property
    def sweeps(self) -> Sweeps: ...


@runtime_checkable
class Watches(Protocol):
    """A session of a place that has monitors of its own: just where MONITOR is native."""

    @property
    def monitors(self) -> Monitors: ...


@runtime_checkable
class Recalls(Protocol):
    """A session whose jobs and batches themselves keep how they were asked for. With a `find_lag` of 0, a submit without a key then needs no entry in the journal."""

    def asked(self, job_id: str) -> Json | None:
        """`kind`, `spec` and `facts` of the plan that a job was submitted with, as plain data; without any secret's value.

        Of the facts there are at least bundle, git_commit, git_dirty, inputs and price. None for a job that was not submitted by
        mlport. Raises NotFoundError.
        """


@runtime_checkable
class Reconciles(Protocol):
    """A session whose work must be looked after by someone, for example after a reboot. `mlport agent` calls it again and again."""

    def reconcile(self) -> None:
        """See that everything that should run does. Never waits, and does nothing when all is well."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What was kept to be used again and is removed, or would be: names by kind, bytes in all, and paths that could not be removed."""

    items: Mapping[str, Sequence[str]]
    bytes: int
    failed: Sequence[str] = ()


@runtime_checkable
class Collects(Protocol):
    """A session that keeps things to use again, such as packed sources and environments. `mlport cleanup --unused` calls it."""

    def collect(self, unused_for: timedelta, *, dry_run: bool = False) -> Collected:
        """Remove what nothing needs and nobody has used for that long; with `dry_run` only say what that is.

        Everything removed is made again when it is needed.
        """


@runtime_checkable
class Provider(Protocol):
    """The object behind an entry point of the group `mlport.providers`."""

    @property
    def name(self) -> str: ...

    @property
    def extra(self) -> str: ...

    @property
    def config(self) -> type[Config]: ...

    def supports(self, config: Any) -> SupportMap: ...

    def plan(self, config: Any, spec: Spec, facts: Facts) -> Plan: ...

    def open(self, config: Any) -> Session: ...
