"""An endpoint's requests: create with its first deployment, and the whole-configuration update that adds one. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlport.errors import SpecError
from mlport.specs import DeploymentSpec, EndpointSpec
from mlport.spi import Facts, Json, Request
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.labels import labels
from mlport_databricks.names import model_name
from mlport_databricks.options import DatabricksEndpointOptions, options_of
from mlport_databricks.serving import compute

if TYPE_CHECKING:
    from mlport_databricks.plan import Planned

ENDPOINTS = "/api/2.0/serving-endpoints"
CREATE, UPDATE = "serving.ServingEndpointsAPI.create", "serving.ServingEndpointsAPI.update_config"
ENTITIES, ROUTES = "${served_entities}", "${routes}"
MOST_ENTITIES = 10  # databricks-sdk, ServingEndpointsAPI: "at most ten served entities"
RUNTIME = "MLPORT_RUNTIME"
"""The variable of a served entity that keeps the runtime that was asked for: Model Serving builds every image, and forgets why."""
READ_BEFORE = f"{ENTITIES} and {ROUTES} are those there are: the whole configuration is read right before, under a lease, and written"
BUILT = "Model Serving builds the image from the model's requirements: minutes, and up to half an hour until it answers"
LATE = "captured requests are in the table within an hour, as far as Databricks can; what is larger than 1 MiB is not"


def endpoint_plan(config: DatabricksConfig, spec: EndpointSpec, facts: Facts) -> Planned:
    """What makes an EndpointSpec: one request, for an endpoint is made with its first deployment.

    Raises:
        SpecError: no workload type has what is asked for, the model cannot be served, or a share of requests is to be captured.
    """
    options = options_of(DatabricksEndpointOptions, {**spec.options, **spec.deployment.options})
    entity, notes = entity_of(config, spec.deployment, options, facts)
    policy = options.usage_policy_id or config.usage_policy_id
    body = {
        "name": spec.name,
        "config": {
            "name": spec.name,
            "served_entities": [entity],
            "traffic_config": {"routes": [{"served_model_name": entity["name"], "traffic_percentage": 100}]},
        },
        **_capture(config, spec),
        "tags": [{"key": key, "value": value} for key, value in labels(facts.labels).items()],
        **({"budget_policy_id": policy} if policy else {}),
    }
    late = (LATE,) if "ai_gateway" in body else ()
    return "endpoint", spec.name, (Request(CREATE, body, "POST", ENDPOINTS),), _resolved(entity), (*notes, BUILT, *late)


def deployment_plan(config: DatabricksConfig, spec: DeploymentSpec, facts: Facts) -> Planned:
    """What adds a DeploymentSpec to an endpoint, at 0 percent.

    Raises:
        SpecError: as `endpoint_plan`, or the endpoint is not named, or is full.
    """
    if spec.endpoint is None:
        raise SpecError("DeploymentSpec.endpoint: is required", hint="name the endpoint that the deployment goes behind")
    there = (facts.endpoint or {}).get("deployments", ())
    if len(there) >= MOST_ENTITIES:
        raise SpecError(
            f"DeploymentSpec.endpoint: {spec.endpoint} has {len(there)} deployments, and an endpoint takes {MOST_ENTITIES}",
            hint="undeploy one first",
        )
    entity, notes = entity_of(config, spec, options_of(DatabricksEndpointOptions, spec.options), facts)
    body = {
        "served_entities": [ENTITIES, entity],
        "traffic_config": {"routes": [ROUTES, {"served_model_name": entity["name"], "traffic_percentage": 0}]},
    }
    put = Request(UPDATE, body, "PUT", f"{ENDPOINTS}/{spec.endpoint}/config", after="no other update is under way")
    return "deployment", spec.deployment_name, (put,), _resolved(entity), (*notes, READ_BEFORE, BUILT)


def entity_of(
    config: DatabricksConfig, spec: DeploymentSpec, options: DatabricksEndpointOptions, facts: Facts
) -> tuple[Json, tuple[str, ...]]:
    """The served entity of a deployment, and what is to be told of it.

    Raises:
        SpecError: the version is no MLflow model that Python can load, or there is no such workload type.
    """
    model = facts.model or {}
    if not model.get("version"):
        raise SpecError(f"DeploymentSpec.model: nothing is known of {spec.model}", hint="register the version first")
    flavors = model.get("flavors") or ()
    if model.get("lineage") and "python_function" not in flavors:
        raise SpecError(
            f"DeploymentSpec.model: {spec.model} is no MLflow model of flavor python_function (it has {', '.join(flavors) or 'none'}), "
            "which is all that Model Serving serves",
            hint="save it with MLflow, with a signature, and register that",
        )
    env = {**spec.env, **({RUNTIME: spec.runtime} if spec.runtime != "prebuilt" else {})}
    size, notes = compute.served(config, spec, options)
    return {
        "name": spec.deployment_name,
        "entity_name": model_name(config, str(model["name"])),
        "entity_version": str(model["version"]),
        **size,
        **({"environment_vars": env} if env else {}),
    }, notes


def _resolved(entity: Json) -> Json:
    fields = ("workload_type", "workload_size", "min_provisioned_concurrency", "max_provisioned_concurrency")
    return {key: entity[key] for key in fields if key in entity}


def _capture(config: DatabricksConfig, spec: EndpointSpec) -> Json:
    rate = spec.capture.rate if spec.capture else 0.0
    if not rate:
        return {}
    if rate != 1:
        raise SpecError(
            f"EndpointSpec.capture.rate: {rate:g}: AI Gateway's inference tables keep every request", hint="1 for all requests, 0 for none"
        )
    table = {"enabled": True, "catalog_name": config.catalog, "schema_name": config.schema_, "table_name_prefix": prefix_of(spec.name)}
    return {"ai_gateway": {"inference_table_config": table}}


def prefix_of(endpoint: str) -> str:
    """What the name of an endpoint's inference table begins with.

    >>> prefix_of("flight-delays")
    'flight_delays'
    """
    return re.sub(r"[^A-Za-z0-9_]", "_", endpoint)
