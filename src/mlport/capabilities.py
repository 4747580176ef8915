"""What a provider can do, said once: the same map drives run time, the tests and the README's matrix.

A provider's `supports(config)` answers for every `Capability`; a spec's `requires()` lists what it needs;
`check` compares the two and raises one error that names every gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from mlport.errors import UnsupportedError


class Capability(StrEnum):
    """One thing that a user can ask for. The text beside each is what the matrix and the errors print."""

    description: str

    def __new__(cls, value: str, description: str) -> Capability:
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        return member

    JOB_RUN = "job.run", "run a program as a job"
    JOB_CANCEL = "job.cancel", "stop a job and everything that it started"
    JOB_LOGS = "job.logs", "read a job's output while it runs and afterwards"
    JOB_REQUIREMENTS = "job.requirements", "install Python packages for one job"
    JOB_IMAGE = "job.image", "run a job in a container image of your own"
    JOB_INPUT_LOCAL = "job.input.local", "use a file or folder of this machine as an input"
    JOB_INPUT_OBJECT = "job.input.object", "use an object-store URL as an input"
    JOB_CHECKPOINT = "job.checkpoint", "keep checkpoints over a retry or a preemption"
    JOB_RETRY = "job.retry", "run a failed job again"
    JOB_TIMEOUT = "job.timeout", "end a job that runs too long"
    JOB_GPU = "job.gpu", "give a job GPUs"
    JOB_NODES = "job.nodes", "run one job on several nodes"
    JOB_SPOT = "job.spot", "run a job on spot capacity"
    JOB_METRICS = "job.metrics", "read the metrics that a job logged"
    JOB_METRICS_LIVE = "job.metrics.live", "read the metrics that a job logs while it runs"
    JOB_SECRETS = "job.secrets", "hand a job secrets that no plan, log or listing shows"
    SWEEP = "sweep", "search hyper-parameters"
    SCHEDULE = "schedule", "start jobs by the clock"
    SCHEDULE_JITTER = "schedule.jitter", "spread a schedule's starts"
    SCHEDULE_LIMIT = "schedule.limit", "keep a schedule's runs from piling up"
    SCHEDULE_WINDOW = "schedule.window", "begin and end a schedule at given times"
    BATCH = "batch", "score files larger than memory"
    MODEL_REGISTER = "model.register", "register a version of a model"
    MODEL_ALIAS = "model.alias", "point a name such as champion at a version"
    MODEL_TAGS = "model.tags", "label a version"
    MODEL_APPROVAL = "model.approval", "approve or reject a version in the vendor's own workflow"
    MODEL_LINEAGE = "model.lineage", "find the job, code and data that made a version"
    MODEL_DOWNLOAD = "model.download", "fetch a version's files, verified by digest"
    ENDPOINT_SERVE = "endpoint.serve", "answer predictions at an address"
    ENDPOINT_IMAGE = "endpoint.image", "serve from a container image of your own"
    ENDPOINT_BUILD = "endpoint.build", "build the serving image from the model's requirements"
    ENDPOINT_REPLICAS = "endpoint.replicas", "run several replicas of a deployment"
    ENDPOINT_AUTOSCALE = "endpoint.autoscale", "follow the load between a minimum and a maximum of replicas"
    ENDPOINT_SCALE_TO_ZERO = "endpoint.scale-to-zero", "run nothing while nobody calls"
    ENDPOINT_GPU = "endpoint.gpu", "give a deployment GPUs"
    ENDPOINT_SPLIT = "endpoint.split", "split traffic over deployments by integer percent"
    ENDPOINT_IDLE = "endpoint.idle", "hold a deployment that gets no traffic"
    ENDPOINT_TARGET = "endpoint.target", "send one request to one named deployment"
    ENDPOINT_MIRROR = "endpoint.mirror", "copy a share of requests to a deployment that never answers"
    ENDPOINT_KEY = "endpoint.key", "ask callers for an API key"
    ENDPOINT_IDENTITY = "endpoint.identity", "ask callers for the vendor's own credentials"
    ENDPOINT_PUBLIC = "endpoint.public", "answer anyone who reaches the address"
    ENDPOINT_CAPTURE = "endpoint.capture", "keep requests and answers"
    ENDPOINT_OBSERVE = "endpoint.observe", "count requests and errors of each deployment"
    ENDPOINT_LATENCY = "endpoint.latency", "measure the latency of each deployment"
    MONITOR = "monitor", "watch an endpoint for drift and decay"
    STATE_SHARED = "state.shared", "share state between machines and people"


class Level(StrEnum):
    """How a capability is met."""

    NATIVE = "native"  # the vendor does it
    COMPOSED = "composed"  # mlport builds it from what the vendor has
    NOT_YET = "not yet"  # possible, not built
    ABSENT = "absent"  # the vendor cannot


@dataclass(frozen=True, slots=True)
class Support:
    """How one provider meets one capability, and the reason or the recipe."""

    level: Level
    detail: str = ""

    @property
    def available(self) -> bool:
        return self.level in (Level.NATIVE, Level.COMPOSED)


def native(detail: str = "") -> Support:
    """The vendor does it."""
    return Support(Level.NATIVE, detail)


def composed(how: str) -> Support:
    """Mlport does it with what the vendor has; `how` is printed in the plan."""
    return Support(Level.COMPOSED, how)


def not_yet(why: str) -> Support:
    """It could be done and is not built; refused with `why`."""
    return Support(Level.NOT_YET, why)


def absent(why: str) -> Support:
    """It cannot be done there; refused with `why`."""
    return Support(Level.ABSENT, why)


SupportMap = Mapping[Capability, Support]


def total(supports: SupportMap) -> SupportMap:
    """`supports` itself, once every capability is known to be in it (ValueError names those that are not)."""
    missing = [capability.value for capability in Capability if capability not in supports]
    if missing:
        raise ValueError(f"a provider must answer for every capability; missing: {', '.join(missing)}")
    return supports


def check(provider: str, supports: SupportMap, required: Iterable[Capability]) -> dict[str, Support]:
    """How each required capability is met, by its name.

    Raises:
        UnsupportedError: naming every gap at once, with its reason.
    """
    needed = {capability.value: supports[capability] for capability in sorted(required)}
    gaps = [(name, f"{s.level}: {s.detail}") for name, s in needed.items() if not s.available]
    if gaps:
        raise UnsupportedError(provider, gaps)
    return needed
