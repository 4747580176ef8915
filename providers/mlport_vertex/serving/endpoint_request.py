"""An endpoint's requests: endpoints.create and endpoints.deployModel, before them a copy of the model if need be. Pure."""

from __future__ import annotations

import hashlib
import json

from mlport.errors import SpecError
from mlport.specs import DeploymentSpec, EndpointSpec
from mlport.spi import TOKEN, Facts, Json, Request
from mlport_vertex.compute.machines import Machine, for_serving
from mlport_vertex.config import VertexConfig
from mlport_vertex.labels import labels
from mlport_vertex.names import DEPLOYED_ID, endpoint_name, model_name
from mlport_vertex.options import VertexEndpointOptions, options_of
from mlport_vertex.running.job_request import Planned
from mlport_vertex.serving import build_image, containers

SERVES_LABEL = "mlport_serves"
UPLOAD, CREATE, DEPLOY = (
    f"aiplatform.projects.locations.{call}" for call in ("models.upload", "endpoints.create", "endpoints.deployModel")
)
SECONDS = "60s"
CPU, GPU = (f"aiplatform.googleapis.com/prediction/online/{name}" for name in ("cpu/utilization", "accelerator/duty_cycle"))
SETTLES = "Vertex AI routes by a new split within minutes; it asks for 10 to 15 before the old deployment is removed"


def endpoint_plan(config: VertexConfig, spec: EndpointSpec, facts: Facts) -> Planned:
    """What makes an EndpointSpec: two operations, and three where the version is registered with another container.

    Raises:
        SpecError: no machine satisfies what is asked for, or nothing serves the model.
    """
    options = options_of(VertexEndpointOptions, {**spec.options, **spec.deployment.options})
    created = Request(
        CREATE,
        {
            "displayName": spec.name,
            "labels": labels(facts.labels),
            "dedicatedEndpointEnabled": True,
            "clientConnectionConfig": {"inferenceTimeout": SECONDS},
            **_capture(config, spec),
            **({"encryptionSpec": {"kmsKeyName": config.encryption_key}} if config.encryption_key else {}),
        },
        "POST",
        f"/v1/{config.parent}/endpoints?endpointId={spec.name}",
    )
    more, resolved, notes = _deployment(config, spec.name, spec.deployment, options, facts, {"0": 100})
    return "endpoint", spec.name, (created, *more), resolved, notes


def deployment_plan(config: VertexConfig, spec: DeploymentSpec, facts: Facts) -> Planned:
    """What adds a DeploymentSpec to an endpoint, at 0 percent: without a split in the call, there is none for it.

    Raises:
        SpecError: as `endpoint_plan`, or the endpoint is not named, or the two speak different protocols.
    """
    if spec.endpoint is None:
        raise SpecError("DeploymentSpec.endpoint: is required", hint="name the endpoint that the deployment goes behind")
    options = options_of(VertexEndpointOptions, spec.options)
    requests, resolved, notes = _deployment(config, spec.endpoint, spec, options, facts, None)
    return "deployment", spec.deployment_name, requests, resolved, (*notes, SETTLES)


def _capture(config: VertexConfig, spec: EndpointSpec) -> Json:
    """A table that is named must be new, so the token is in its name; with nothing but a project, Vertex AI makes dataset and table."""
    if spec.capture is None or spec.capture.rate == 0:
        return {}
    table = f".{config.capture_dataset}.{spec.name.replace('-', '_')}_{TOKEN}" if config.capture_dataset else ""
    return {
        "predictRequestResponseLoggingConfig": {
            "enabled": True,
            "samplingRate": spec.capture.rate,
            "bigqueryDestination": {"outputUri": f"bq://{config.project}{table}"},
        }
    }


def _deployment(
    config: VertexConfig, endpoint: str, spec: DeploymentSpec, options: VertexEndpointOptions, facts: Facts, split: Json | None
) -> tuple[tuple[Request, ...], Json, tuple[str, ...]]:
    model, looked = facts.model or {}, facts.machine or {}
    if not model.get("uri"):
        raise SpecError(f"DeploymentSpec.model: nothing is known of {spec.model}", hint="register the version first")
    container = containers.of_deployment(config, spec, options, facts)
    machine = for_serving(spec.compute, config.location, machine=options.machine)
    served = f"{model['name']}@{model['version']}"
    copied: tuple[Request, ...] = ()
    building, notes = build_image.requests(config, endpoint, facts) if spec.runtime == "build" else ((), ())
    if not containers.same(container, looked.get("container")):
        copy = copy_name(model, container)
        served, copied = copy, (_copy(config, copy, model, container, facts, after="the image is built" if building else ""),)
        notes = (
            *notes,
            f"the version is registered with another container, so {copy}, a copy of it with this one, is what is deployed",
        )
    body = {"deployedModel": _deployed(config, spec, options, machine, model_name(config.parent, served))}
    deployed = Request(
        DEPLOY,
        {**body, **({"trafficSplit": split} if split else {})},
        "POST",
        f"/v1/{endpoint_name(config.parent, endpoint)}:deployModel",
        after="the operation of the request before has ended",
    )
    resolved = {
        **machine.resolved(spec.replicas.min),
        "image": container["imageUri"],
        "served": served,
        "route": container.get("predictRoute"),
    }
    return (*building, *copied, deployed), resolved, notes


def _deployed(config: VertexConfig, spec: DeploymentSpec, options: VertexEndpointOptions, machine: Machine, model: str) -> Json:
    account = options.service_account or config.serving_account
    return {
        "id": DEPLOYED_ID,
        "displayName": spec.deployment_name,
        "model": model,
        "dedicatedResources": {
            "machineSpec": machine.spec(),
            "minReplicaCount": spec.replicas.min,
            "maxReplicaCount": spec.replicas.max,
            **_autoscaling(spec, machine),
            **({"spot": True} if spec.compute.spot else {}),
        },
        **({"serviceAccount": account} if account else {}),
    }


def _autoscaling(spec: DeploymentSpec, machine: Machine) -> Json:
    if spec.replicas.min == spec.replicas.max:
        return {}
    target = round(spec.replicas.target_utilization * 100)
    return {"autoscalingMetricSpecs": [{"metricName": GPU if machine.gpus else CPU, "target": target}]}


def copy_name(model: Json, container: Json) -> str:
    """The id of a copy of a version for another container: the same for the same two."""
    said = json.dumps([model["name"], model["version"], model["uri"], container], sort_keys=True)
    return f"{model['name'][:46]}-serving-{hashlib.sha256(said.encode()).hexdigest()[:8]}"


def _copy(config: VertexConfig, copy: str, model: Json, container: Json, facts: Facts, after: str) -> Request:
    return Request(
        UPLOAD,
        {
            "modelId": copy,
            "model": {
                "displayName": copy,
                "artifactUri": model["uri"],
                "labels": {**labels(facts.labels), SERVES_LABEL: model["name"]},
                "containerSpec": container,
            },
        },
        "POST",
        f"/v1/{config.parent}/models:upload",
        after=after,
    )
