"""How each capability that is absent must be refused: by one UnsupportedError that names it, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

import mlport
from mlport.capabilities import Capability as C
from mlport.errors import UnsupportedError
from mlport.jobs import Job
from mlport.models import ModelVersion
from mlport.specs import BatchSpec, DeploymentSpec, EndpointSpec, JobSpec, ModelRef, ModelSpec, ScheduleSpec, SweepSpec
from mlport.spi import VersionRecord
from mlport.testing.marks import needed
from mlport.testing.targets import Targets

NOBODY = "mlport-suite-nobody"  # nothing of this name exists: a refusal comes before the look
Ask = Callable[[mlport.Client], object]


def _job(**fields: Any) -> Ask:
    spec = JobSpec.model_validate({"name": NOBODY, "entrypoint": ["true"], **fields})
    return lambda client: client.jobs.plan(spec)


def _deployment(**fields: Any) -> Ask:
    return _endpoint(deployment={"model": {"name": NOBODY, "version": "1"}, **fields})


def _endpoint(**fields: Any) -> Ask:
    spec = EndpointSpec.model_validate({"name": NOBODY, "deployment": {"model": {"name": NOBODY, "version": "1"}}, **fields})
    return lambda client: client.endpoints.plan(spec)


def _sweep(**fields: Any) -> Ask:
    search = {"space": {"x": [1]}, "metric": "score", "direction": "maximize", "algorithm": "grid"}
    spec = SweepSpec.model_validate({"name": NOBODY, "job": {"name": NOBODY, "entrypoint": ["true"]}, **search, **fields})
    return lambda client: client.sweeps.plan(spec)


def _schedule(**fields: Any) -> Ask:
    spec = ScheduleSpec.model_validate({"name": NOBODY, "cron": "0 * * * *", "job": {"name": NOBODY, "entrypoint": ["true"]}, **fields})
    return lambda client: client.schedules.plan(spec)


def _submitted(client: mlport.Client) -> Job:
    return Job(NOBODY, client)


def _version(client: mlport.Client) -> ModelVersion:
    return ModelVersion(VersionRecord(NOBODY, "1", "", None, None), client)


def _served(client: mlport.Client) -> mlport.Endpoint:
    return mlport.Endpoint(NOBODY, client)


_REF = ModelRef(name=NOBODY, version="1")
_BATCH = BatchSpec(name=NOBODY, model=_REF, input="rows.csv", output="scored")

REFUSALS: Mapping[C, Ask] = {
    C.JOB_RUN: _job(),
    C.JOB_CANCEL: lambda client: _submitted(client).cancel(),
    C.JOB_LOGS: lambda client: _submitted(client).logs(),
    C.JOB_METRICS: lambda client: _submitted(client).metrics,
    C.JOB_REQUIREMENTS: _job(requirements=["scikit-learn"]),
    C.JOB_IMAGE: _job(image="registry.example/image@sha256:0"),
    C.JOB_INPUT_LOCAL: _job(inputs={"rows": "/rows.csv"}),
    C.JOB_INPUT_OBJECT: _job(inputs={"rows": "s3://nobody/rows.csv"}),
    C.JOB_RETRY: _job(retries=1),
    C.JOB_TIMEOUT: _job(timeout="1h"),
    C.JOB_GPU: _job(compute={"gpus": 1}),
    C.JOB_NODES: _job(compute={"nodes": 2}),
    C.JOB_SPOT: _job(compute={"spot": True}),
    C.JOB_SECRETS: _job(secrets=["PATH"]),
    C.JOB_METRICS_LIVE: _sweep(stopping={}),
    C.SWEEP: _sweep(),
    C.SCHEDULE: _schedule(),
    C.SCHEDULE_JITTER: _schedule(jitter="5m"),
    C.SCHEDULE_LIMIT: _schedule(max_concurrent=1),
    C.SCHEDULE_WINDOW: _schedule(end="2030-01-01T00:00:00+00:00"),
    C.BATCH: lambda client: client.jobs.plan(_BATCH),
    C.MODEL_REGISTER: lambda client: client.models.get(NOBODY),
    C.MODEL_ALIAS: lambda client: client.models.alias(NOBODY, "champion", "1"),
    C.MODEL_TAGS: lambda client: _version(client).tag(stage="test"),
    C.MODEL_APPROVAL: lambda client: _version(client).approve(),
    C.MODEL_LINEAGE: lambda client: client.models.plan(ModelSpec(name=NOBODY, path="s3://nobody/model", job_id=NOBODY)),
    C.MODEL_DOWNLOAD: lambda client: _version(client).download("nowhere"),
    C.ENDPOINT_SERVE: _endpoint(),
    C.ENDPOINT_IMAGE: _deployment(runtime="image", image="registry.example/image@sha256:0"),
    C.ENDPOINT_BUILD: _deployment(runtime="build"),
    C.ENDPOINT_REPLICAS: _deployment(replicas={"min": 2, "max": 2}),
    C.ENDPOINT_AUTOSCALE: _deployment(replicas={"min": 1, "max": 2}),
    C.ENDPOINT_SCALE_TO_ZERO: _deployment(replicas={"min": 0, "max": 1}),
    C.ENDPOINT_GPU: _deployment(compute={"gpus": 1}),
    C.ENDPOINT_SPLIT: lambda client: _served(client).set_traffic({"blue": 50, "green": 50}),
    C.ENDPOINT_IDLE: lambda client: client.endpoints.plan_deployment(NOBODY, DeploymentSpec(model=_REF)),
    C.ENDPOINT_TARGET: lambda client: _served(client).predict([{"x": 1}], deployment="blue"),
    C.ENDPOINT_KEY: _endpoint(auth="key"),
    C.ENDPOINT_IDENTITY: _endpoint(auth="identity"),
    C.ENDPOINT_PUBLIC: _endpoint(auth="none"),
    C.ENDPOINT_CAPTURE: lambda client: _served(client).captured(),
    C.ENDPOINT_OBSERVE: lambda client: _served(client).observe(),
}
"""One way of asking for each."""

UNASKED: Mapping[C, str] = {
    C.JOB_CHECKPOINT: "a program finds MLPORT_CHECKPOINT_DIR or it does not: no field of a spec asks for it",
    C.ENDPOINT_MIRROR: "no verb yet: it comes with rollouts",
    C.ENDPOINT_LATENCY: "an observation without latency says so itself, by its form",
    C.MONITOR: "no noun yet",
    C.STATE_SHARED: "what is so of a profile as a whole: rollouts and monitors will ask it of the map",
}
"""Why nobody asks for these by a verb or a field, so that only the map itself can be asked. Every capability is here or there."""


def refused(client: mlport.Client, capability: C) -> UnsupportedError:
    """Ask for what is absent and give the refusal. Fails where it is done, or refused in other words."""
    ask: Ask = (lambda client: client.require(capability)) if capability in UNASKED else REFUSALS[capability]
    with pytest.raises(UnsupportedError) as caught:
        ask(client)
    if capability.value not in caught.value.gaps:
        pytest.fail(f"{capability.value} is absent, but the refusal names {list(caught.value.gaps)}")
    return caught.value


class Refusal(pytest.Item):
    """Stands in the place of a test whose capability is absent."""

    def __init__(self, *, targets: Targets, capability: C, **rest: Any) -> None:
        super().__init__(**rest)
        self._targets, self._capability = targets, capability

    def runtest(self) -> None:
        client = self._targets.connect()
        if client is None:
            pytest.fail("--profile names no target to test")
        with client:
            refused(client, self._capability)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        return self.path, None, self.name


def with_refusals(targets: Targets, items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The tests, each that needs something absent replaced by a `Refusal`."""
    return [_or_refusal(targets, item) for item in items]


def _or_refusal(targets: Targets, item: pytest.Item) -> pytest.Item:
    gap = next((capability for capability in needed(item) if targets.absent(capability)), None)
    if gap is None or item.parent is None:
        return item
    replaced: Refusal = Refusal.from_parent(item.parent, name=f"{item.name}[refuses {gap.value}]", targets=targets, capability=gap)
    return replaced
