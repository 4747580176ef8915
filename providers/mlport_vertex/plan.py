"""Plans for Vertex AI: pure, and with the requests as Google gets them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlport.errors import UnsupportedError
from mlport.monitoring.specs import MonitorSpec
from mlport.specs import BatchSpec, DeploymentSpec, EndpointSpec, JobSpec, ModelSpec, ScheduleSpec, Spec, SweepSpec
from mlport.spi import Facts, Plan, Request
from mlport_vertex.config import VertexConfig
from mlport_vertex.running.job_request import Planned, job_plan

Planner = Callable[[VertexConfig, Any, Facts], Planned]


def plan(config: VertexConfig, spec: Spec, facts: Facts) -> Plan:
    """The plan of any spec that is known here.

    Raises:
        SpecError: a machine that there is none of, labels, addresses or options that Vertex AI does not take.
        UnsupportedError: a sweep that its tuner, or a monitor that its monitoring, cannot do as it is asked for; names each field.
    """
    planner = next((planner for kind, planner in _PLANNERS.items() if isinstance(spec, kind)), None)
    if planner is None:
        raise UnsupportedError("vertex", [(type(spec).__name__, "there is no plan for it here")])
    kind, name, requests, resolved, notes = planner(config, spec, facts)
    return Plan("vertex", config.target, kind, name, spec.to_json(), facts, requests, resolved=resolved, notes=notes)


def _batch(config: VertexConfig, spec: BatchSpec, facts: Facts) -> Planned:
    from mlport_vertex.running.batch_request import batch_plan

    return batch_plan(config, spec, facts)


def _model(config: VertexConfig, spec: ModelSpec, facts: Facts) -> Planned:
    from mlport_vertex.registry.model_request import model_plan

    return model_plan(config, spec, facts)


def _endpoint(config: VertexConfig, spec: EndpointSpec, facts: Facts) -> Planned:
    from mlport_vertex.serving.endpoint_request import endpoint_plan

    return endpoint_plan(config, spec, facts)


def _deployment(config: VertexConfig, spec: DeploymentSpec, facts: Facts) -> Planned:
    from mlport_vertex.serving.endpoint_request import deployment_plan

    return deployment_plan(config, spec, facts)


def _sweep(config: VertexConfig, spec: SweepSpec, facts: Facts) -> Planned:
    from mlport_vertex.running.sweep_request import sweep_plan

    return sweep_plan(config, spec, facts)


def _monitor(config: VertexConfig, spec: MonitorSpec, facts: Facts) -> Planned:
    from mlport_vertex.monitoring.monitor_request import monitor_plan

    return monitor_plan(config, spec, facts)


def _schedule(config: VertexConfig, spec: ScheduleSpec, facts: Facts) -> Planned:
    """What is stored for the agent, and what it would start; inputs are those of each firing, and not known yet."""
    work = spec.work
    kind, _, requests, resolved, notes = _PLANNERS[type(work)](config, work, facts)
    body = {**spec.to_json(), "labels": dict(facts.labels), kind: requests[-1].body}
    return "schedule", spec.name, (Request("schedules.put", body, path=f"{config.state}/schedules/{spec.name}"),), resolved, notes


_PLANNERS: Mapping[type[Spec], Planner] = {
    JobSpec: job_plan,
    BatchSpec: _batch,
    SweepSpec: _sweep,
    ModelSpec: _model,
    EndpointSpec: _endpoint,
    DeploymentSpec: _deployment,
    ScheduleSpec: _schedule,
    MonitorSpec: _monitor,
}
