"""Plans: what would be written, worked out from the spec and the facts alone."""

from __future__ import annotations

from mlport.errors import SpecError, UnsupportedError
from mlport.specs import DeploymentSpec, EndpointSpec, JobSpec, ModelSpec, ScheduleSpec, Spec
from mlport.spi import TOKEN, Facts, Json, Plan, PlanKind, Request
from mlport_sample.config import SampleConfig


def plan(config: SampleConfig, spec: Spec, facts: Facts) -> Plan:
    """The plan of any spec that this provider knows. Raises SpecError for options, which it has none of."""
    if options := getattr(spec, "options", {}).get("sample"):
        raise SpecError(f"{type(spec).__name__}.options.sample: there are none, got {sorted(options)}")
    kind, name, request = _request(spec, facts)
    return Plan("sample", config.target, kind, name, spec.to_json(), facts, (request,))


def _request(spec: Spec, facts: Facts) -> tuple[PlanKind, str, Request]:
    match spec:
        case JobSpec():
            return "job", spec.name, Request("write", _manifest(spec, facts), path=f"jobs/{spec.name}-{TOKEN}")
        case ModelSpec():
            model = facts.model or {}
            body = {
                "path": spec.path,
                "digest": model.get("digest"),
                "lineage": model.get("lineage", {}),
                "tags": spec.tags,
                "description": spec.description,
            }
            return "model", spec.name, Request("write", body, path=f"models/{spec.name}/{TOKEN}")
        case EndpointSpec():
            body = {"deployment": _deployment(spec.deployment, facts), "labels": dict(facts.labels)}
            return "endpoint", spec.name, Request("write", body, path=f"endpoints/{spec.name}")
        case ScheduleSpec(job=JobSpec() as job):
            body = {"cron": spec.cron, "time_zone": spec.time_zone, "job": _manifest(job, facts)}
            return "schedule", spec.name, Request("write", body, path=f"schedules/{spec.name}")
        case DeploymentSpec():
            return (
                "deployment",
                spec.deployment_name,
                Request("write", {"deployment": _deployment(spec, facts)}, path=f"endpoints/{spec.endpoint}"),
            )
    raise UnsupportedError("sample", [(type(spec).__name__, "the sample provider has no plan for it")])


def _deployment(spec: DeploymentSpec, facts: Facts) -> Json:
    return {"name": spec.deployment_name, "model": spec.model.name, "version": spec.model.version, "uri": (facts.model or {})["uri"]}


def _manifest(spec: JobSpec, facts: Facts) -> Json:
    """What `mlport_runner.py` reads; the session adds the paths."""
    return {
        "version": 1,
        "name": spec.name,
        "source_digest": facts.bundle,
        "entrypoint": list(spec.entrypoint),
        "params": spec.params,
        "env": spec.env,
        "inputs": {
            name: {"uri": fact.uri, "kind": fact.kind, "digest": fact.digest, "bytes": fact.bytes} for name, fact in facts.inputs.items()
        },
        "outputs": {name: {} for name in spec.output_names},
        "timeout": spec.timeout.total_seconds() if spec.timeout else None,
        "grace": 2,
        "labels": dict(facts.labels),
    }
