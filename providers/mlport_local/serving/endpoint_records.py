"""An endpoint's row as the record that everyone sees."""

from __future__ import annotations

from datetime import UTC, datetime

from mlport.spi import DeploymentRecord, EndpointRecord, EndpointState
from mlport_local.engine import process
from mlport_local.serving.endpoint_state import Process
from mlport_local.serving.endpoint_store import Row

_UNDER_WAY = {"create": EndpointState.CREATING, "delete": EndpointState.DELETING}


def record_of(row: Row) -> EndpointRecord:
    """The record; processes that the row says live are looked at, so that it holds after a reboot, too."""
    deployments = tuple(_deployment(row, name) for name in row.desired.deployments)
    router = row.observed.router
    state, native, reason = _state(row, deployments)
    return EndpointRecord(
        row.name,
        state,
        native,
        row.desired.url,
        deployments,
        str(row.generation),
        datetime.fromtimestamp(row.created, UTC),
        row.desired.auth,
        row.desired.capture_rate,
        dict(row.desired.labels),
        reason or router.reason,
        row.name,
    )


def _state(row: Row, deployments: tuple[DeploymentRecord, ...]) -> tuple[EndpointState, str, str]:
    if row.desired.deleted:
        return EndpointState.DELETING, "delete", row.under_way.reason if row.under_way else ""
    if row.under_way:
        return _UNDER_WAY.get(row.under_way.kind, EndpointState.UPDATING), row.under_way.kind, ""
    serving = [deployment for deployment in deployments if deployment.percent]
    well = [deployment for deployment in serving if deployment.state is EndpointState.READY]
    reason = "; ".join(deployment.reason for deployment in deployments if deployment.reason)
    if not _answers(row.observed.router):
        return EndpointState.FAILED, "router down", reason
    if not well:
        return EndpointState.FAILED, "no worker ready", reason
    if len(well) < len(serving) or any(deployment.state is not EndpointState.READY for deployment in deployments):
        return EndpointState.DEGRADED, "some workers not ready", reason
    return EndpointState.READY, "ready", ""


def _deployment(row: Row, name: str) -> DeploymentRecord:
    deployed, worker = row.desired.deployments[name], row.observed.workers.get(name, Process())
    is_new = row.under_way is not None and row.under_way.deployment == name
    if _answers(worker):
        state, native = EndpointState.READY, "ready"
    elif is_new:
        state, native = EndpointState.CREATING, "loading"
    elif worker.identity and not worker.reason:
        state, native = EndpointState.UPDATING, "starting"
    else:
        state, native = EndpointState.FAILED, f"ended, started again {worker.restarts} times"
    reason = "" if state is EndpointState.READY else worker.reason
    return DeploymentRecord(
        name, state, native, deployed.model, deployed.version, row.desired.split[name], deployed.runtime, 1, reason, name
    )


def _answers(seen: Process) -> bool:
    return seen.ready and seen.identity is not None and process.alive(process.Identity.parse(seen.identity))
