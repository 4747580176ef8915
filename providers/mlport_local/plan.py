"""Plans of the local provider: pure, and checked against the machine that the facts describe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlport.errors import SpecError, UnsupportedError
from mlport.specs import BatchSpec, Compute, DeploymentSpec, EndpointSpec, JobSpec, ModelSpec, ScheduleSpec, Spec
from mlport.spi import Facts, Plan, PlanKind, Request
from mlport_local.advice import advice
from mlport_local.config import LocalConfig

Planner = Callable[[LocalConfig, Any, Facts], tuple[PlanKind, str, Request, dict[str, Any]]]


def plan(config: LocalConfig, spec: Spec, facts: Facts) -> Plan:
    """The plan of any spec that the local provider knows.

    Raises:
        SpecError: more cores or memory than the machine has, an unknown command, options of this provider.
    """
    planner = next((planner for kind, planner in _PLANNERS.items() if isinstance(spec, kind)), None)
    if planner is None:
        raise UnsupportedError("local", [(type(spec).__name__, "the local provider has no plan for it")])
    _refuse_options(spec)
    kind, name, request, resolved = planner(config, spec, facts)
    return Plan("local", config.target, kind, name, spec.to_json(), facts, (request,), resolved=resolved, notes=tuple(advice(config, spec)))


def _job(config: LocalConfig, spec: JobSpec, facts: Facts) -> tuple[PlanKind, str, Request, dict[str, Any]]:
    from mlport_local.engine.manifest import job_request
    from mlport_local.registry.tracking import environment

    _fits("JobSpec", spec.compute, facts, nodes=spec.compute.nodes)
    _has_command(spec, facts)
    body = job_request(spec, facts, config)
    body["env"] = {**environment(config, spec.name), **_threads(spec.compute), **body["env"]}
    return "job", spec.name, Request("engine.submit", body), _machine(spec.compute, facts)


def _batch(config: LocalConfig, spec: BatchSpec, facts: Facts) -> tuple[PlanKind, str, Request, dict[str, Any]]:
    from mlport_local.engine.manifest import batch_request

    _fits("BatchSpec", spec.compute, facts, nodes=1)
    return "batch", spec.name, Request("engine.submit", batch_request(spec, facts, config)), _machine(spec.compute, facts)


def _model(config: LocalConfig, spec: ModelSpec, facts: Facts) -> tuple[PlanKind, str, Request, dict[str, Any]]:
    from mlport_local.registry.model_request import model_request

    return "model", spec.name, Request("registry.create_version", model_request(spec, facts, config)), {}


def _endpoint(config: LocalConfig, spec: EndpointSpec, facts: Facts) -> tuple[PlanKind, str, Request, dict[str, Any]]:
    from mlport_local.serving.endpoint_request import endpoint_request

    _servable(spec.deployment, facts)
    return (
        "endpoint",
        spec.name,
        Request("endpoints.create", endpoint_request(spec, facts, config)),
        _machine(spec.deployment.compute, facts),
    )


def _deployment(config: LocalConfig, spec: DeploymentSpec, facts: Facts) -> tuple[PlanKind, str, Request, dict[str, Any]]:
    from mlport_local.serving.endpoint_request import endpoint_request

    _servable(spec, facts)
    return (
        "deployment",
        spec.deployment_name,
        Request("endpoints.deploy", endpoint_request(spec, facts, config)),
        _machine(spec.compute, facts),
    )


def _schedule(config: LocalConfig, spec: ScheduleSpec, facts: Facts) -> tuple[PlanKind, str, Request, dict[str, Any]]:
    """What is stored for the agent, and what it would start; inputs are those of each firing, and not known yet."""
    work = spec.work
    kind, _, request, resolved = _PLANNERS[type(work)](config, work, facts)
    body = {**spec.to_json(), "labels": dict(facts.labels), kind: request.body}
    return "schedule", spec.name, Request("schedules.create", body), resolved


_PLANNERS: Mapping[type[Spec], Planner] = {
    JobSpec: _job,
    BatchSpec: _batch,
    ModelSpec: _model,
    EndpointSpec: _endpoint,
    DeploymentSpec: _deployment,
    ScheduleSpec: _schedule,
}


def _threads(compute: Compute) -> dict[str, str]:
    """As many threads for the numerical libraries as cores were asked for, or every job would take all of the machine's."""
    return {"OMP_NUM_THREADS": str(max(1, int(compute.cpus)))}


def _machine(compute: Compute, facts: Facts) -> dict[str, Any]:
    machine = facts.machine or {}
    return {"machine": machine.get("host"), "cpus": compute.cpus, "memory_gib": compute.memory_gib, "nodes": compute.nodes}


def _fits(where: str, compute: Compute, facts: Facts, *, nodes: int) -> None:
    machine = facts.machine or {}
    wanted = {"cpus": compute.cpus * nodes, "memory_gib": compute.memory_gib * nodes, "gpus": compute.gpus * nodes}
    for field, amount in wanted.items():
        if (there_is := machine.get(field)) is not None and amount > there_is:
            raise SpecError(
                f"{where}.compute.{field}: {amount:g} asked for{f' over {nodes} nodes' if nodes > 1 else ''}, and this machine has {there_is:g}",
                hint=f"ask for at most {there_is / nodes:g}, or choose a profile with larger machines",
            )
    names = machine.get("gpu_names", [])
    if compute.gpu and names and not all(compute.gpu.lower() in name.lower() for name in names):
        raise SpecError(
            f"{where}.compute.gpu: {compute.gpu!r} asked for, and this machine has {', '.join(sorted(set(names)))}",
            hint="leave compute.gpu out to take what there is",
        )


def _has_command(spec: JobSpec, facts: Facts) -> None:
    commands = (facts.machine or {}).get("commands", {})
    program = spec.entrypoint[0]
    if program in commands and commands[program] is None:
        raise SpecError(
            f"JobSpec.entrypoint: no program {program!r} on this machine's PATH", hint='for a Python script write ["python", "script.py"]'
        )


def _servable(spec: DeploymentSpec, facts: Facts) -> None:
    _fits("DeploymentSpec", spec.compute, facts, nodes=1)
    flavors = (facts.model or {}).get("flavors", ())
    if not flavors:
        raise SpecError(
            f"DeploymentSpec.model: {spec.model} is not an MLflow model folder, and runtime 'prebuilt' can serve no other",
            hint="log it with mlflow.<flavor>.save_model, or use a profile that serves images",
        )


def _refuse_options(spec: Spec) -> None:
    if options := getattr(spec, "options", {}).get("local"):
        raise SpecError(f"{type(spec).__name__}.options.local: the local provider has no options of its own, got {sorted(options)}")
