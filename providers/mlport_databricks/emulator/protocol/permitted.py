"""Who may see and change runs, jobs and clusters: administrators all of them, others what is theirs."""

from __future__ import annotations

from mlport_databricks.emulator.accounts import USERS
from mlport_databricks.emulator.protocol.api import Request
from mlport_databricks.emulator.protocol.errors import ApiError


def sees(request: Request, owner: str) -> bool:
    return USERS[request.user].is_admin or owner == request.user


def check_job(request: Request, owner: str, job_id: int, needed: str = "View or Admin or Manage Run or Owner") -> None:
    """Raises ApiError in the words of databricks/cli libs/testserver/jobs.go."""
    if not sees(request, owner):
        raise ApiError("PERMISSION_DENIED", f"User {request.user} does not have {needed} permissions on job {job_id}")


def check_cluster_creation(request: Request) -> None:
    """Raises ApiError: the entitlement is an administrator's."""
    if not USERS[request.user].is_admin:
        raise ApiError("PERMISSION_DENIED", "You are not authorized to create clusters. Please contact your administrator.")


def check_cluster(request: Request, owner: str, cluster_id: str) -> None:
    """Raises ApiError; the words are a guess."""
    if not sees(request, owner):
        raise ApiError("PERMISSION_DENIED", f"User {request.user} does not have Manage permissions on cluster {cluster_id}")
