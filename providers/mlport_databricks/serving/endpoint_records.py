"""An endpoint as Databricks tells it, as the record that everyone sees. States: docs/spi/databricks.md, (d)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from mlport.spi import DeploymentRecord, EndpointRecord, EndpointState, Json
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.names import short_name
from mlport_databricks.registry.model_records import moment
from mlport_databricks.serving.configs import digest, split_of
from mlport_databricks.serving.endpoint_request import RUNTIME

OF_ENTITY: Mapping[str, EndpointState] = {
    "DEPLOYMENT_CREATING": EndpointState.CREATING,
    "DEPLOYMENT_RECOVERING": EndpointState.DEGRADED,
    "DEPLOYMENT_READY": EndpointState.READY,
    "DEPLOYMENT_FAILED": EndpointState.FAILED,
    "DEPLOYMENT_ABORTED": EndpointState.FAILED,
}


def endpoint_record(config: DatabricksConfig, endpoint: Json) -> EndpointRecord:
    """The record. Its deployments are those of the configuration that serves; of one that is being made, those that are coming."""
    serving = endpoint.get("config") if (endpoint.get("config") or {}).get("served_entities") else endpoint.get("pending_config")
    state, native = state_of(endpoint)
    split = split_of(serving)
    deployments = tuple(
        deployment_record(entity, split[str(entity["name"])])
        for entity in (serving or {}).get("served_entities", ())
        if "entity_name" in entity
    )
    return EndpointRecord(
        str(endpoint["name"]),
        state,
        native,
        address(config, endpoint),
        deployments,
        etag(endpoint),
        moment(endpoint.get("creation_timestamp")),
        "identity",
        1.0 if table_of(endpoint) else 0.0,
        {str(tag["key"]): str(tag.get("value", "")) for tag in endpoint.get("tags", ())},
        "; ".join(reasons(endpoint)),
        str(endpoint["name"]),
    )


def deployment_record(entity: Json, percent: int) -> DeploymentRecord:
    """A served entity. There are no replicas to tell: docs/spi/databricks.md, (g) 9."""
    told = entity.get("state", {})
    native = str(told.get("deployment", ""))
    state = OF_ENTITY.get(native, EndpointState.UNKNOWN)
    return DeploymentRecord(
        str(entity["name"]),
        state,
        native,
        short_name(str(entity["entity_name"])),
        str(entity.get("entity_version", "")),
        percent,
        str(entity.get("environment_vars", {}).get(RUNTIME, "prebuilt")),
        None,
        "" if state is EndpointState.READY else str(told.get("deployment_state_message", "")),
        str(entity["name"]),
    )


def state_of(endpoint: Json) -> tuple[EndpointState, str]:
    """Where an endpoint is, and the two words that Databricks has for it."""
    told = endpoint.get("state", {})
    ready, update = told.get("ready", ""), told.get("config_update", "")
    native = f"{ready} {update}".strip()
    if update == "IN_PROGRESS":
        if ready == "READY":
            return EndpointState.UPDATING, native
        return (EndpointState.DEGRADED if (endpoint.get("config") or {}).get("served_entities") else EndpointState.CREATING), native
    if update not in ("NOT_UPDATING", "UPDATE_FAILED", "UPDATE_CANCELED"):
        return EndpointState.UNKNOWN, native
    if ready == "READY":
        return EndpointState.READY, native
    return (EndpointState.DEGRADED if update == "NOT_UPDATING" else EndpointState.FAILED), native


def reasons(endpoint: Json) -> list[str]:
    """Why entities are not well, of what serves and of an update that failed."""
    failed = endpoint.get("state", {}).get("config_update") == "UPDATE_FAILED"
    parts = ("config", "pending_config") if failed else ("config",)
    entities = [entity for part in parts for entity in (endpoint.get(part) or {}).get("served_entities", ())]
    told = [entity.get("state", {}) for entity in entities]
    bad = [
        str(each.get("deployment_state_message") or each["deployment"])
        for each in told
        if each.get("deployment", "").endswith(("FAILED", "RECOVERING"))
    ]
    return list(dict.fromkeys(bad))


def address(config: DatabricksConfig, endpoint: Json) -> str:
    """Where predictions are asked for; a route-optimized endpoint has an address of its own."""
    own = endpoint.get("endpoint_url")
    return str(own) if own else f"{config.url}/serving-endpoints/{endpoint['name']}/invocations"


def etag(endpoint: Json) -> str:
    """What changes whenever an endpoint does: Databricks has no such thing, so it is made of the configurations."""
    config, pending = endpoint.get("config") or {}, endpoint.get("pending_config") or {}
    said = f"{config.get('config_version', '')} {digest(config)} {pending.get('config_version', '')} {digest(pending) if pending else ''}"
    return hashlib.sha256(f"{endpoint.get('id', '')} {said}".encode()).hexdigest()[:32]


def table_of(endpoint: Json) -> tuple[str, str, str] | None:
    """Catalog, schema and name of an endpoint's inference table, None where requests are not captured."""
    config = (endpoint.get("ai_gateway") or {}).get("inference_table_config") or {}
    if not config.get("enabled"):
        return None
    return config["catalog_name"], config["schema_name"], f"{config.get('table_name_prefix') or endpoint['name']}_payload"
