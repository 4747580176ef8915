"""A real provider in one file, in memory: each look at a job moves it one state on. `tiny://world` names one account."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import SplitResult

from mlport.capabilities import Capability, SupportMap, absent, composed, native, total
from mlport.config import Config
from mlport.errors import ConflictError, NotFoundError, UnavailableError
from mlport.scheduling.stored import StoredSchedules
from mlport.specs import Spec
from mlport.spi import (
    Answer,
    Artifact,
    DeploymentRecord,
    EndpointRecord,
    EndpointState,
    Facts,
    Finding,
    InputFact,
    JobResult,
    JobStatus,
    Json,
    Latency,
    LogPage,
    ModelRecord,
    Observation,
    Observed,
    Operation,
    OperationStatus,
    Page,
    Plan,
    Query,
    Request,
    State,
    Usage,
    Versioned,
    VersionRecord,
    Window,
)

if TYPE_CHECKING:
    import pyarrow as pa

COURSE = (State.QUEUED, State.RUNNING, State.SUCCEEDED)
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class World:
    """Everything of one account."""

    jobs: dict[str, JobStatus] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    versions: dict[tuple[str, str], VersionRecord] = field(default_factory=dict)
    aliases: dict[tuple[str, str], str] = field(default_factory=dict)
    endpoints: dict[str, EndpointRecord] = field(default_factory=dict)
    captured: list[dict[str, Any]] = field(default_factory=list)
    operations: dict[str, str] = field(default_factory=dict)
    state: dict[str, Versioned] = field(default_factory=dict)
    key: str = "tiny-key-1"


WORLDS: dict[str, World] = {}


class TinyConfig(Config):
    """A provider in memory, for tests."""

    scheme: ClassVar[str] = "tiny"
    world: str = "default"
    """Which account."""
    down: bool = False
    """Whether it answers nothing."""
    folder: Path = Path("models")
    """Where jobs leave their models."""

    @classmethod
    def fields_of_url(cls, url: SplitResult) -> dict[str, Any]:
        return {"world": url.netloc}

    @property
    def target(self) -> str:
        return f"tiny://{self.world}"


class TinyProvider:
    name, extra, config = "tiny", "tiny", TinyConfig

    def supports(self, config: TinyConfig) -> SupportMap:
        gaps = {Capability.JOB_GPU: absent("no GPU fits in memory"), Capability.JOB_SPOT: absent("there is no market")}
        gaps[Capability.MONITOR] = composed("mlport compares what was captured with the reference")
        return total({capability: gaps.get(capability, native("in memory")) for capability in Capability})

    def plan(self, config: TinyConfig, spec: Spec, facts: Facts) -> Plan:
        kinds: dict[str, Any] = {
            "JobSpec": "job",
            "BatchSpec": "batch",
            "ModelSpec": "model",
            "EndpointSpec": "endpoint",
            "DeploymentSpec": "deployment",
            "ScheduleSpec": "schedule",
        }
        body = spec.to_json()
        name = body.get("name") or body["model"]["name"]
        return Plan("tiny", config.target, kinds[type(spec).__name__], name, body, facts, (Request("tiny.make", body, "POST", "/things"),))

    def open(self, config: TinyConfig) -> TinySession:
        return TinySession(config)


class TinySession:
    find_lag = 0.0

    def __init__(self, config: TinyConfig) -> None:
        self.world = WORLDS.setdefault(config.world, World())
        if config.down:
            raise UnavailableError(f"{config.target} does not answer", provider="tiny")
        self.jobs, self.models, self.endpoints = TinyJobs(self.world, config), TinyModels(self.world), TinyEndpoints(self.world)
        self.operations, self.state = TinyOperations(self.world), TinyStore(self.world)
        self.schedules = StoredSchedules(self.state, Path("schedules"))

    def doctor(self) -> Iterator[Finding]:
        yield Finding("memory", True, "there is some")

    def facts(self, spec: Spec) -> Json:
        return {}

    def input(self, uri: str) -> InputFact:
        path = Path(uri)
        if not path.exists():
            raise NotFoundError(f"{path} does not exist")
        return InputFact(uri, "sha256", hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)

    def close(self) -> None:
        pass


@dataclass
class TinyOperations:
    world: World

    def advance(self, operation_id: str) -> OperationStatus:
        return OperationStatus(State.SUCCEEDED, "done", result=self.world.operations[operation_id])


@dataclass
class TinyStore:
    world: World

    def get(self, key: str) -> Versioned | None:
        return self.world.state.get(key)

    def list(self, prefix: str) -> Iterator[tuple[str, Versioned]]:
        yield from ((key, value) for key, value in sorted(self.world.state.items()) if key.startswith(prefix))

    def put(self, key: str, value: bytes, *, expect: str | None = None) -> str:
        if expect == "absent" and key in self.world.state:
            raise ConflictError(f"{key} is there")
        version = str(len(self.world.state))
        self.world.state[key] = Versioned(value, version)
        return version

    def delete(self, key: str, *, expect: str | None = None) -> None:
        self.world.state.pop(key, None)

    def close(self) -> None:
        pass


@dataclass
class TinyJobs:
    world: World
    config: TinyConfig

    def submit(self, plan: Plan, *, token: str, bundle: Path | None = None, secrets: Mapping[str, str] | None = None) -> str:
        found = self.find(token)
        job_id = found or f"{plan.name}-{len(self.world.jobs) + 1}"
        if not found:
            labels = {name: str(value).replace("${token}", token) for name, value in plan.facts.labels.items()}
            self.world.plans[job_id] = plan
            self.world.jobs[job_id] = JobStatus(
                job_id, plan.name, State.QUEUED, "waiting", kind=plan.kind, created=START, token=token, labels=labels
            )
        return job_id

    def find(self, token: str) -> str | None:
        return next((job.id for job in self.world.jobs.values() if job.token == token), None)

    def status(self, job_id: str) -> JobStatus:
        now = self._get(job_id)
        if not now.state.terminal and "forever" not in self.world.plans[job_id].spec.get("params", {}):
            after = COURSE[COURSE.index(now.state) + 1]
            fails = after is State.SUCCEEDED and self.world.plans[job_id].spec.get("params", {}).get("fail")
            state, reason = (State.FAILED, "exit code 3") if fails else (after, "")
            self.world.jobs[job_id] = replace(now, state=state, native_state=state.lower(), reason=reason, started=START, ended=START)
        return now

    def list(self, query: Query, page: str | None = None) -> Page[JobStatus]:
        def fits(job: JobStatus) -> bool:
            return (
                (query.name in (None, job.name))
                and (not query.states or job.state in query.states)
                and query.labels.items() <= job.labels.items()
            )

        return Page([job for job in reversed(self.world.jobs.values()) if fits(job)])

    def result(self, job_id: str) -> JobResult:
        if not self._get(job_id).state.terminal:
            raise ConflictError(f"job {job_id} runs")
        metrics = {"auc": 0.5 + 0.01 * float(self.world.plans[job_id].spec.get("params", {}).get("max_depth", 0))}
        model = Artifact(str(self.config.folder.absolute()), None)
        return JobResult(3 if self._get(job_id).reason else 0, metrics, {"model": model}, Usage(wall_seconds=1.5))

    def logs(self, job_id: str, *, after: str | None = None) -> LogPage:
        self._get(job_id)
        return LogPage([] if after else ["epoch 1", "epoch 2", "done"], "end", complete=after is not None)

    def cancel(self, job_id: str) -> None:
        if not self._get(job_id).state.terminal:
            self.world.jobs[job_id] = replace(self._get(job_id), state=State.CANCELLED, native_state="cancelled")

    def delete(self, job_id: str) -> None:
        if job_id in self.world.jobs and not self.world.jobs[job_id].state.terminal:
            raise ConflictError(f"job {job_id} runs")
        self.world.jobs.pop(job_id, None)

    def _get(self, job_id: str) -> JobStatus:
        if job_id not in self.world.jobs:
            raise NotFoundError(f"no job {job_id!r}", hint="`mlport jobs list` shows what there is")
        return self.world.jobs[job_id]


@dataclass
class TinyModels:
    world: World

    def register(self, plan: Plan, *, token: str) -> Operation:
        if token not in self.world.operations:
            version = str(1 + sum(name == plan.name for name, _ in self.world.versions))
            model = plan.facts.model or {}
            self.world.versions[plan.name, version] = VersionRecord(
                plan.name, version, plan.spec["path"], model["digest"], START, tags=plan.spec["tags"], lineage=model["lineage"]
            )
            self.world.operations[token] = version
        return Operation(token, "model.register", plan.name)

    def find(self, token: str) -> Operation | None:
        return Operation(token, "model.register", "") if token in self.world.operations else None

    def get(self, name: str, version: str) -> VersionRecord:
        if (name, version) not in self.world.versions:
            raise NotFoundError(f"model {name} has no version {version}")
        return replace(
            self.world.versions[name, version], aliases=tuple(a for (n, a), v in self.world.aliases.items() if (n, v) == (name, version))
        )

    def resolve(self, name: str, alias: str) -> str:
        if (name, alias) not in self.world.aliases:
            raise NotFoundError(f"model {name} has no alias {alias}")
        return self.world.aliases[name, alias]

    def list(self, query: Query, page: str | None = None) -> Page[ModelRecord]:
        newest = dict(self.world.versions.keys())
        return Page(
            [
                ModelRecord(name, version, {a: v for (n, a), v in self.world.aliases.items() if n == name}, created=START)
                for name, version in newest.items()
            ]
        )

    def versions(self, name: str, query: Query, page: str | None = None) -> Page[VersionRecord]:
        return Page([self.get(*key) for key in reversed(self.world.versions) if key[0] == name])

    def set_alias(self, name: str, alias: str, version: str) -> None:
        self.world.aliases[name, alias] = version

    def drop_alias(self, name: str, alias: str) -> None:
        self.world.aliases.pop((name, alias), None)

    def tag(self, name: str, version: str, tags: Mapping[str, str | None]) -> None:
        merged = {**self.get(name, version).tags, **tags}
        self.world.versions[name, version] = replace(self.get(name, version), tags={k: v for k, v in merged.items() if v is not None})

    def approve(self, name: str, version: str, *, approved: bool, reason: str = "") -> None:
        self.world.versions[name, version] = replace(
            self.get(name, version), approval=f"{'approved' if approved else 'rejected'}: {reason}"
        )

    def download(self, name: str, version: str, destination: Path) -> Path:
        return Path(shutil.copytree(self.get(name, version).uri, destination))

    def delete(self, name: str, version: str) -> None:
        self.world.versions.pop((name, version), None)


@dataclass
class TinyEndpoints:
    world: World

    def create(self, plan: Plan, *, token: str) -> Operation:
        if plan.name in self.world.endpoints and token not in self.world.operations:
            raise ConflictError(f"endpoint {plan.name} exists")
        first = self._deployment(plan.spec["deployment"], 100)
        self.world.endpoints[plan.name] = EndpointRecord(
            plan.name,
            EndpointState.READY,
            "up",
            f"http://tiny/{plan.name}",
            (first,),
            "1",
            START,
            plan.spec["auth"],
            labels=plan.facts.labels,
            capture_rate=(plan.spec["capture"] or {"rate": 0.0})["rate"],
        )
        return self._done(token, plan.name)

    def deploy(self, plan: Plan, *, token: str) -> Operation:
        endpoint = self.get(plan.spec["endpoint"])
        self._put(endpoint, (*endpoint.deployments, self._deployment(plan.spec, 0)))
        return self._done(token, endpoint.name)

    def find(self, token: str) -> Operation | None:
        return Operation(token, "endpoint", "") if token in self.world.operations else None

    def get(self, name: str) -> EndpointRecord:
        if name not in self.world.endpoints:
            raise NotFoundError(f"no endpoint named {name!r}", hint="`mlport endpoints list` shows what there is")
        return self.world.endpoints[name]

    def list(self, query: Query, page: str | None = None) -> Page[EndpointRecord]:
        return Page(list(self.world.endpoints.values()))

    def headers(self, name: str) -> Mapping[str, str]:
        return {"authorization": f"Bearer {self.world.key}"}

    def rotate_key(self, name: str, *, token: str) -> None:
        self.world.key = "tiny-key-2"

    def set_traffic(self, name: str, split: Mapping[str, int], *, token: str, etag: str | None = None) -> Operation:
        endpoint = self.get(name)
        self._put(endpoint, tuple(replace(deployment, percent=split[deployment.name]) for deployment in endpoint.deployments))
        return self._done(token, name)

    def undeploy(self, name: str, deployment: str, *, token: str) -> Operation:
        endpoint = self.get(name)
        self._put(endpoint, tuple(kept for kept in endpoint.deployments if kept.name != deployment))
        return self._done(token, name)

    def delete(self, name: str, *, token: str) -> Operation:
        self.world.endpoints.pop(name, None)
        return self._done(token, name)

    def predict(
        self, name: str, rows: Sequence[Json], *, deployment: str | None = None, request_id: str | None = None, timeout: float = 60.0
    ) -> Answer:
        provider_id = f"r{len(self.world.captured)}"
        answers = [sum(value for value in row.values() if isinstance(value, int | float)) for row in rows]
        for index, (row, answer) in enumerate(zip(rows, answers, strict=True)):
            self.world.captured.append(
                {
                    "provider_id": provider_id,
                    "caller_id": request_id,
                    "row": index,
                    "time": datetime.now(UTC),
                    "features": json.dumps(row),
                    "prediction": answer,
                }
            )
        return Answer(answers, provider_id, deployment or self.get(name).deployments[0].name, "1")

    def captured(self, name: str, window: Window) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        yield pa.RecordBatch.from_pylist([row for row in self.world.captured if window.start <= row["time"] < window.end])

    def observe(self, name: str, window: Window) -> Observation:
        seen = Observed(self.get(name).deployments[0].name, len(self.world.captured), 0, 0, Latency("histogram", [0.01, 0.1], [99, 1]))
        return Observation(window, window.end, (seen,))

    def _deployment(self, spec: Json, percent: int) -> DeploymentRecord:
        model = spec["model"]
        return DeploymentRecord(
            spec.get("name") or f"v{model['version']}", EndpointState.READY, "up", model["name"], model["version"], percent
        )

    def _put(self, endpoint: EndpointRecord, deployments: tuple[DeploymentRecord, ...]) -> None:
        self.world.endpoints[endpoint.name] = replace(endpoint, deployments=deployments)

    def _done(self, token: str, name: str) -> Operation:
        self.world.operations[token] = name
        return Operation(token, "endpoint", name)


PROVIDER = TinyProvider()
