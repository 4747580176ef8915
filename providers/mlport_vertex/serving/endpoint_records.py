"""An endpoint as Vertex AI tells it, as the record that everyone sees."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from mlport.spi import DeploymentRecord, EndpointRecord, EndpointState, Json
from mlport_vertex.config import VertexConfig
from mlport_vertex.names import last
from mlport_vertex.serving.deployed import Deployed

PREDICT = ":predict"


def endpoint_record(config: VertexConfig, endpoint: Json, known: Mapping[str, Deployed]) -> EndpointRecord:
    """The record. An endpoint without deployments is being made, or is empty: which, its operation tells."""
    split = endpoint.get("trafficSplit", {})
    deployments = tuple(_deployment(each, known[each["id"]], int(split.get(each["id"], 0))) for each in endpoint.get("deployedModels", ()))
    state, native = _state(deployments)
    return EndpointRecord(
        last(endpoint["name"]),
        state,
        native,
        address(config, endpoint),
        deployments,
        str(endpoint.get("etag", "")),
        datetime.fromisoformat(endpoint["createTime"]) if "createTime" in endpoint else None,
        "identity",
        capture_rate(endpoint),
        dict(endpoint.get("labels", {})),
        "; ".join(deployment.reason for deployment in deployments if deployment.reason),
        str(endpoint["name"]),
    )


def address(config: VertexConfig, endpoint: Json) -> str:
    """Where `:predict` is asked; an endpoint with a host of its own is not answered for by the region's."""
    return f"https://{endpoint.get('dedicatedEndpointDns') or config.host}/v1/{endpoint['name']}{PREDICT}"


def capture_rate(endpoint: Json) -> float:
    """The share of requests that is kept."""
    logging = endpoint.get("predictRequestResponseLoggingConfig", {})
    return float(logging.get("samplingRate", 0.0)) if logging.get("enabled") else 0.0


def _deployment(told: Json, known: Deployed, percent: int) -> DeploymentRecord:
    """Vertex AI has no state of a deployment: it is there, and so many of its replicas answer."""
    status = told.get("status", {})
    ready, wanted = status.get("availableReplicaCount"), told.get("dedicatedResources", {}).get("minReplicaCount", 1)
    if ready is None or ready >= wanted:
        state, native = EndpointState.READY, "deployed" if ready is None else f"{ready} of {wanted} replicas"
    else:
        state = EndpointState.DEGRADED if ready else EndpointState.UPDATING
        native = f"{ready} of {wanted} replicas"
    message = "" if state is EndpointState.READY else str(status.get("message", ""))
    return DeploymentRecord(
        known.name,
        state,
        native,
        known.model,
        known.version,
        percent,
        known.runtime,
        ready if ready is not None else wanted,
        message,
        told["id"],
    )


def _state(deployments: tuple[DeploymentRecord, ...]) -> tuple[EndpointState, str]:
    if not deployments:
        return EndpointState.CREATING, "no deployed models"
    serving = [deployment for deployment in deployments if deployment.percent]
    if all(deployment.state is EndpointState.READY for deployment in deployments):
        return EndpointState.READY, "deployed" if serving else "no traffic split"
    if any(deployment.state is not EndpointState.UPDATING for deployment in serving):
        return EndpointState.DEGRADED, "some replicas do not answer"
    return EndpointState.UPDATING, "no replica of what has traffic answers"
