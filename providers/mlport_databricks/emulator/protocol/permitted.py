"""Who may see and change runs, jobs and clusters: administrators all of them, others what is theirs or what they were given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlport_databricks.emulator.accounts import USERS
from mlport_databricks.emulator.protocol.api import Request
from mlport_databricks.emulator.protocol.errors import ApiError

if TYPE_CHECKING:
    from mlport_databricks.emulator.place import Place

Json = dict[str, Any]
VIEW = "View or Admin or Manage Run or Owner"
NEEDED: Mapping[str, str] = {
    VIEW: "CAN_VIEW",
    "Admin or Manage Run or Owner": "CAN_MANAGE_RUN",
    "Manage": "CAN_MANAGE",
    "Admin or Owner": "CAN_MANAGE",
}
CLUSTER_LEVELS = {"CAN_ATTACH_TO": "Attach", "CAN_RESTART": "Restart", "CAN_MANAGE": "Manage"}


def sees_job(place: Place, request: Request, owner: str, job_id: int) -> bool:
    return place.permissions.allows(request.workspace, request.user, "jobs", job_id, owner, "CAN_VIEW")


def check_job(place: Place, request: Request, owner: str, job_id: int, needed: str = VIEW) -> None:
    """Raises ApiError in the words of databricks/cli libs/testserver/jobs.go."""
    if not place.permissions.allows(request.workspace, request.user, "jobs", job_id, owner, NEEDED[needed]):
        raise ApiError("PERMISSION_DENIED", f"User {request.user} does not have {needed} permissions on job {job_id}")


def check_cluster_creation(request: Request) -> None:
    """Raises ApiError: the entitlement is an administrator's."""
    if not USERS[request.user].is_admin:
        raise ApiError("PERMISSION_DENIED", "You are not authorized to create clusters. Please contact your administrator.")


def sees_cluster(place: Place, request: Request, body: Json) -> bool:
    return place.permissions.allows(
        request.workspace, request.user, "clusters", body["cluster_id"], body["creator_user_name"], "CAN_ATTACH_TO"
    )


def check_cluster(place: Place, request: Request, body: Json, level: str = "CAN_MANAGE") -> None:
    """Raises ApiError; the words are a guess."""
    owner, number = body["creator_user_name"], body["cluster_id"]
    if not place.permissions.allows(request.workspace, request.user, "clusters", number, owner, level):
        raise ApiError("PERMISSION_DENIED", f"User {request.user} does not have {CLUSTER_LEVELS[level]} permissions on cluster {number}")
