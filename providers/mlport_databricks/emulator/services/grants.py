"""Grants on securables of Unity Catalog. Behaviour: databricks/cli libs/testserver/grants.go."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import ApiError, invalid
from mlport_databricks.emulator.storing.grants import EVERYBODY, lineage
from mlport_databricks.emulator.storing.unity import NOUNS

Json = dict[str, Any]
ROOT = "/api/2.1/unity-catalog"
KINDS = {"catalog": "catalog", "schema": "schema", "volume": "volume", "table": "table", "function": "model", "model": "model"}
TYPES = {"catalog": "CATALOG", "schema": "SCHEMA", "volume": "VOLUME", "table": "TABLE", "model": "FUNCTION"}
OWN = {
    "volume": {"READ_VOLUME", "WRITE_VOLUME"},
    "table": {"SELECT", "MODIFY"},
    "model": {"EXECUTE", "CREATE_MODEL_VERSION"},
}
ANY = {"ALL_PRIVILEGES", "APPLY_TAG", "MANAGE", "BROWSE"}
IN_SCHEMA = {
    "USE_SCHEMA",
    "CREATE_MODEL",
    "CREATE_TABLE",
    "CREATE_VOLUME",
    "CREATE_FUNCTION",
    "EXTERNAL_USE_SCHEMA",
    *set().union(*OWN.values()),
}
ALLOWED = {
    **{kind: OWN[kind] | ANY for kind in OWN},
    "schema": IN_SCHEMA | ANY,
    "catalog": IN_SCHEMA | ANY | {"USE_CATALOG", "CREATE_SCHEMA"},
}
"""The privileges that each kind takes; what is granted above holds for all that is in it."""


def handlers(place: Place) -> Mapping[str, Handler]:
    place_of = "{securable_type}/{full_name}"
    return {
        f"GET {ROOT}/permissions/{place_of}": partial(get, place),
        f"PATCH {ROOT}/permissions/{place_of}": partial(update, place),
        f"GET {ROOT}/effective-permissions/{place_of}": partial(effective, place),
    }


def get(place: Place, request: Request) -> Json:
    kind, name = _securable(place, request)
    found = place.grants.of(request.workspace, kind, name)
    only = request.arguments.get("principal")
    assignments = [{"principal": who, "privileges": what} for who, what in found.items() if only in (None, who)]
    return {"privilege_assignments": assignments} if assignments else {}


def update(place: Place, request: Request) -> Json:
    kind, name = _securable(place, request)
    place.grants.require(request.workspace, request.user, "MANAGE", kind, name)
    changes = request.body.get("changes") or []
    for change in changes:
        _check(place, request.workspace, kind, name, change)
    for change in changes:
        place.grants.change(request.workspace, kind, name, change["principal"], change.get("add") or (), change.get("remove") or ())
    return {} if request.body.get("omit_permissions_in_response") else get(place, request)


def effective(place: Place, request: Request) -> Json:
    """What holds here, and where it was granted."""
    kind, name = _securable(place, request)
    only = request.arguments.get("principal")
    found: dict[str, list[Json]] = {}
    for each, above in lineage(kind, name):
        inherited = {} if each == kind else {"inherited_from_type": TYPES[each], "inherited_from_name": above}
        for who, privileges in place.grants.of(request.workspace, each, above).items():
            if only in (None, who):
                found.setdefault(who, []).extend({"privilege": privilege, **inherited} for privilege in privileges)
    return {"privilege_assignments": [{"principal": who, "privileges": privileges} for who, privileges in found.items()]}


def _securable(place: Place, request: Request) -> tuple[str, str]:
    """Kind and full name. Raises ApiError for a type without grants here, and for what is not there."""
    said = str(request.arguments["securable_type"])
    kind = KINDS.get(said.lower())
    if kind is None:
        raise invalid(f"The emulator has no grants on securables of type '{said}'; there are {', '.join(KINDS)}.")
    name = str(request.arguments["full_name"]).lower()
    place.unity.need(request.workspace, kind, name)
    return kind, name


def _check(place: Place, workspace: str, kind: str, name: str, change: Json) -> None:
    principal, add, remove = change.get("principal"), change.get("add") or [], change.get("remove") or []
    if not principal:
        raise invalid("Missing required field: changes.principal")
    if principal != EVERYBODY and not place.principals.is_there(workspace, principal):
        raise ApiError("PRINCIPAL_DOES_NOT_EXIST", f"Could not find principal with name {principal}")
    if set(add) & set(remove):
        raise invalid(f"Duplicate privileges to add and delete for principal {principal}.")
    for privilege in add:
        if privilege not in ALLOWED[kind]:
            raise invalid(f"Privilege {privilege.replace('_', ' ')} is not applicable to this entity [{NOUNS[kind]} '{name}'].")
