"""Plans for Databricks: pure, and with the requests as Databricks gets them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlport.errors import UnsupportedError
from mlport.specs import BatchSpec, DeploymentSpec, EndpointSpec, JobSpec, ModelSpec, ScheduleSpec, Spec
from mlport.spi import Facts, Json, Plan, PlanKind, Request
from mlport_databricks.config import DatabricksConfig

Planned = tuple[PlanKind, str, tuple[Request, ...], Json, tuple[str, ...]]
Planner = Callable[[DatabricksConfig, Any, Facts], Planned]


def plan(config: DatabricksConfig, spec: Spec, facts: Facts) -> Plan:
    """The plan of any spec that is known here.

    Raises:
        SpecError: a node type that there is none of, labels, addresses or options that Databricks does not take.
        UnsupportedError: what Databricks cannot do as it is asked for; names each field.
    """
    planner = next((planner for kind, planner in _PLANNERS.items() if isinstance(spec, kind)), None) or _of_monitors(spec)
    if planner is None:
        raise UnsupportedError("databricks", [(type(spec).__name__, "there is no plan for it here")])
    kind, name, requests, resolved, notes = planner(config, spec, facts)
    return Plan("databricks", config.target, kind, name, spec.to_json(), facts, requests, resolved=resolved, notes=notes)


def _job(config: DatabricksConfig, spec: JobSpec, facts: Facts) -> Planned:
    from mlport_databricks.running.job_request import job_plan

    return job_plan(config, spec, facts)


def _batch(config: DatabricksConfig, spec: BatchSpec, facts: Facts) -> Planned:
    from mlport_databricks.running.batch_request import batch_plan

    return batch_plan(config, spec, facts)


def _model(config: DatabricksConfig, spec: ModelSpec, facts: Facts) -> Planned:
    from mlport_databricks.registry.model_request import model_plan

    return model_plan(config, spec, facts)


def _endpoint(config: DatabricksConfig, spec: EndpointSpec, facts: Facts) -> Planned:
    from mlport_databricks.serving.endpoint_request import endpoint_plan

    return endpoint_plan(config, spec, facts)


def _deployment(config: DatabricksConfig, spec: DeploymentSpec, facts: Facts) -> Planned:
    from mlport_databricks.serving.endpoint_request import deployment_plan

    return deployment_plan(config, spec, facts)


def _schedule(config: DatabricksConfig, spec: ScheduleSpec, facts: Facts) -> Planned:
    from mlport_databricks.running.schedule_request import schedule_plan

    return schedule_plan(config, spec, facts)


def _of_monitors(spec: Spec) -> Planner | None:
    """That of a monitor, whose spec is loaded with it: most plans are of something else."""
    from mlport.monitoring.specs import MonitorSpec
    from mlport_databricks.monitoring.monitor_request import monitor_plan

    return monitor_plan if isinstance(spec, MonitorSpec) else None


_PLANNERS: Mapping[type[Spec], Planner] = {
    JobSpec: _job,
    BatchSpec: _batch,
    ModelSpec: _model,
    EndpointSpec: _endpoint,
    DeploymentSpec: _deployment,
    ScheduleSpec: _schedule,
}
