"""What making an endpoint or a deployment will do, worked out before anything is copied or started."""

from __future__ import annotations

from mlport.errors import SpecError
from mlport.specs import DeploymentSpec, EndpointSpec
from mlport.spi import TOKEN, Facts, Json
from mlport_local.config import LocalConfig


def endpoint_request(spec: EndpointSpec | DeploymentSpec, facts: Facts, config: LocalConfig) -> Json:
    """The body of a creation or a deployment. Pure.

    `facts.model` is the version's record: `name`, `version`, `uri`, `digest`, `flavors`.

    Raises:
        SpecError: a deployment without its endpoint's name, or facts that do not say which version it is.
    """
    if isinstance(spec, EndpointSpec):
        return {
            "endpoint": spec.name,
            "host": config.host,
            "tls": {"certificate": str(config.certificate), "key": str(config.certificate_key)} if config.certificate else None,
            "limits": {
                "body_bytes": config.most_body_mib * 2**20,
                "connections": config.most_connections,
                "head_seconds": config.head_seconds,
                "answer_seconds": config.answer_seconds,
                "silence_seconds": config.silence_seconds,
            },
            "auth": spec.auth or "key",
            "capture_rate": spec.capture.rate if spec.capture else 0.0,
            "labels": dict(facts.labels or spec.labels),
            "deployment": _deployment(spec.deployment, facts),
            "split": {spec.deployment.deployment_name: 100},
            "token": TOKEN,
        }
    if spec.endpoint is None:
        raise SpecError("DeploymentSpec.endpoint: is required", hint="name the endpoint that the deployment goes behind")
    return {"endpoint": spec.endpoint, "deployment": _deployment(spec, facts), "token": TOKEN}


def _deployment(spec: DeploymentSpec, facts: Facts) -> Json:
    model = facts.model or {}
    if not model.get("uri"):
        raise SpecError(f"DeploymentSpec.model: nothing is known of {spec.model}", hint="register the version first")
    return {
        "name": spec.deployment_name,
        "model": model["name"],
        "version": model["version"],
        "uri": model["uri"],
        "digest": model.get("digest"),
        "env": dict(spec.env),
        "runtime": spec.runtime,
        "replicas": 1,
    }
