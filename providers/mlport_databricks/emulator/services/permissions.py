"""Permissions of clusters, policies, pools, jobs, notebooks, folders and files. Serving endpoints have theirs in serving.py.

Behaviour: databricks/cli libs/testserver/permissions.go. They are really checked: permitted.py, workspace_files.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from mlport_databricks.emulator.accounts import USERS
from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import ApiError, invalid, missing
from mlport_databricks.emulator.services.cluster_rules import POLICIES, POOLS
from mlport_databricks.emulator.storing.permissions import LEVELS, NAMES, SHARED, entries, of_root
from mlport_databricks.emulator.working.jobs import JOBS

Json = dict[str, Any]
ROOT = "/api/2.0/permissions"
OF_CLUSTERS = {
    "clusters": "cluster_id",
    "cluster-policies": "cluster_policy_id",
    "instance-pools": "instance_pool_id",
    "jobs": "job_id",
}
FILES = ("notebooks", "directories", "files")
ELSEWHERE = (
    "pipelines",
    "repos",
    "authorization",
    "dbsql-dashboards",
    "dashboards",
    "genie",
    "experiments",
    "registered-models",
    "apps",
    "alertsv2",
)
"""Types that Databricks knows and the emulator has not."""


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their paths."""
    found: dict[str, Handler] = {}
    for kind, argument in OF_CLUSTERS.items():
        found |= _of(place, f"{ROOT}/{kind}/{{{argument}}}", kind, argument)
    return found | _of(place, f"{ROOT}/{{request_object_type}}/{{request_object_id}}", "", "request_object_id")


def _of(place: Place, path: str, kind: str, argument: str) -> dict[str, Handler]:
    return {
        f"GET {path}": partial(get, place, kind, argument),
        f"PUT {path}": partial(put, place, kind, argument, keep=False),
        f"PATCH {path}": partial(put, place, kind, argument, keep=True),
        f"GET {path}/permissionLevels": partial(levels, place, kind, argument),
    }


class Thing(NamedTuple):
    """What permissions are of. `shown` are the entries that it has from elsewhere, `is_managed` says whether by the caller."""

    kind: str
    number: str
    owner: str
    shown: list[Json]
    is_managed: bool


def get(place: Place, kind: str, argument: str, request: Request) -> Json:
    return _shown(place, request, _need(place, kind, argument, request))


def put(place: Place, kind: str, argument: str, request: Request, *, keep: bool) -> Json:
    thing = _need(place, kind, argument, request)
    given = request.body.get("access_control_list") or []
    place.permissions.put(request.workspace, thing.kind, thing.number, thing.owner, given, keep=keep)
    return _shown(place, request, thing)


def levels(place: Place, kind: str, argument: str, request: Request) -> Json:
    thing = _need(place, kind, argument, request)
    told = {level: level.removeprefix("IS_").replace("_", " ").capitalize() for level in LEVELS[thing.kind]}
    return {"permission_levels": [{"permission_level": level, "description": text} for level, text in told.items()]}


def _shown(place: Place, request: Request, thing: Thing) -> Json:
    own = entries(place.permissions.given(request.workspace, thing.kind, thing.number, thing.owner))
    root = entries(of_root(thing.kind), f"/{thing.kind if thing.kind not in FILES else 'directories'}/")
    return {
        "object_id": f"/{thing.kind}/{thing.number}",
        "object_type": NAMES[thing.kind],
        "access_control_list": [*own, *thing.shown, *root],
    }


# ---------------------------------------------------------------- what there is


def _need(place: Place, kind: str, argument: str, request: Request) -> Thing:
    """What a call is about, if the user manages it. Raises ApiError."""
    number, kind = str(request.arguments[argument]), kind or str(request.arguments["request_object_type"])
    if kind in ELSEWHERE:
        raise ApiError("NOT_IMPLEMENTED", f"The emulator has no permissions of {kind}.")
    if kind not in LEVELS:
        raise invalid(f"request_object_type is not recognized: {kind}")
    thing = _file(place, request, kind, number) if kind in FILES else _other(place, request, kind, number)
    if not thing.is_managed:
        raise ApiError("PERMISSION_DENIED", f"{request.user} does not have Manage permissions on {NAMES[kind]} {number}.")
    return thing


def _other(place: Place, request: Request, kind: str, number: str) -> Thing:
    """Policies are administrators'. Raises ApiError."""
    owner = _owner(place, request, kind, number)
    if kind == "cluster-policies":
        return Thing(kind, number, owner, [], USERS[request.user].is_admin)
    return Thing(kind, number, owner, [], place.permissions.allows(request.workspace, request.user, kind, number, owner, "CAN_MANAGE"))


def _owner(place: Place, request: Request, kind: str, number: str) -> str:
    """Who created it, empty where nobody owns it. Raises ApiError where it is not."""
    if kind == "clusters":
        return str(place.clusters.need(request.workspace, number)["body"]["creator_user_name"])
    found = place.documents.get(
        {"jobs": JOBS, "cluster-policies": POLICIES, "instance-pools": POOLS}[kind], f"{request.workspace}/{number}"
    )
    if found is None:
        raise missing(f"{NAMES[kind].capitalize()} {number} does not exist.")
    return str(found["creator"]) if kind == "jobs" else ""


def _file(place: Place, request: Request, kind: str, number: str) -> Thing:
    """A file or folder with what it has from the folders above it; a home is its user's."""
    objects = place.workspace_objects
    path = objects.find(request.workspace, number)
    if path is None or not path.exists() or objects.kind(request.workspace, path) != kind:
        raise missing(f"{NAMES[kind].capitalize()} {number} does not exist.")
    root = place.files.root(request.workspace, "/Workspace")
    parts = path.relative_to(root).parts
    handed: list[Json] = []
    for each in place.permissions.above(request.workspace, path):
        own = objects.number(request.workspace, each)
        if own is not None:
            handed += entries(place.permissions.given(request.workspace, "directories", own, ""), f"/directories/{own}")
    if parts[0] == "Shared":
        handed += entries(SHARED, "/directories/")
    owner = parts[1] if parts[0] == "Users" and len(parts) > 1 else ""
    if owner in USERS:  # databricks/cli, directoryHomeOwner: it stays theirs, whatever is set
        named = "service_principal_name" if USERS[owner].secret else "user_name"
        handed += entries({named: {owner: "CAN_MANAGE"}}, "/directories/")
    is_theirs = owner == request.user or parts[0] == "Shared" or USERS[request.user].is_admin
    return Thing(kind, number, "", handed, is_theirs or place.permissions.opens(request.workspace, request.user, path, "CAN_MANAGE"))
