"""Users, service principals and groups, as SCIM has them: made, found, changed and deleted by administrators, seen by all.

A principal that is made can be named in grants, permissions and groups; it has no credentials, so that nobody signs in as it. The
groups `users` and `admins` and the emulator's own principals cannot be changed but for their entitlements.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import uuid4

from mlport_databricks.emulator.accounts import USERS
from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.scim import LIST_SCHEMA, ScimError, matches, patched, selected
from mlport_databricks.emulator.storing.principals import NAMES, OWN_IDS, RESOURCES

Json = dict[str, Any]
ROOT = "/api/2.0/preview/scim/v2"
ATTRIBUTES: Mapping[str, Mapping[str, type]] = {
    "Users": {
        "userName": str,
        "displayName": str,
        "name": dict,
        "emails": list,
        "active": bool,
        "externalId": str,
        "entitlements": list,
        "roles": list,
    },
    "ServicePrincipals": {"displayName": str, "active": bool, "externalId": str, "entitlements": list, "roles": list},
    "Groups": {"displayName": str, "externalId": str, "members": list, "entitlements": list, "roles": list},
}
"""What can be changed of each kind."""
ENTITLEMENTS = ("workspace-access", "databricks-sql-access", "workspace-consume", "allow-cluster-create", "allow-instance-pool-create")
"""docs.databricks.com/security/auth/entitlements."""
NOUNS = {"Users": "User", "ServicePrincipals": "Service principal", "Groups": "Group"}


def handlers(place: Place) -> Mapping[str, Handler]:
    found: dict[str, Handler] = {f"GET {ROOT}/Me": partial(me, place)}
    for kind in RESOURCES:
        found |= {
            f"POST {ROOT}/{kind}": partial(create, place, kind),
            f"GET {ROOT}/{kind}": partial(list_of, place, kind),
            f"GET {ROOT}/{kind}/{{id}}": partial(get, place, kind),
            f"PATCH {ROOT}/{kind}/{{id}}": partial(patch, place, kind),
            f"PUT {ROOT}/{kind}/{{id}}": partial(replace, place, kind),
            f"DELETE {ROOT}/{kind}/{{id}}": partial(delete, place, kind),
        }
    return found


def me(place: Place, request: Request) -> Json:
    user = USERS[request.user]
    kind = "ServicePrincipals" if user.secret else "Users"
    found = _shown(place, request, kind, _need(place, request, kind, str(user.id)))
    if kind == "ServicePrincipals":  # the SDK reads a user
        found = {**{name: value for name, value in found.items() if name != "applicationId"}, "userName": user.name}
        found["schemas"] = ["urn:ietf:params:scim:schemas:core:2.0:User"]
    return selected(found, request.arguments.get("attributes"), request.arguments.get("excludedAttributes"))


def create(place: Place, kind: str, request: Request) -> Json:
    _check_admin(request)
    body = dict(request.body)
    name = body.get(NAMES[kind]) or (str(uuid4()) if kind == "ServicePrincipals" else "")
    if not name:
        raise ScimError(400, f"{NOUNS[kind]} needs the attribute {NAMES[kind]}.", "invalidValue")
    if kind == "Users" and "@" not in name:
        raise ScimError(400, f"The user name {name!r} is not an e-mail address.", "invalidValue")
    groups = body.pop("groups", None) or []
    made = {NAMES[kind]: name, **({"active": True} if kind != "Groups" else {}), **_kept(place, request, kind, body)}
    with place.documents.together():
        if place.principals.named(request.workspace, kind, name):
            raise ScimError(409, _taken(kind, name), "uniqueness")
        made["id"] = place.principals.new_id()
        if kind == "Users":
            made.setdefault("displayName", name)
            made.setdefault("emails", [{"type": "work", "value": name, "primary": True}])
        place.principals.keep(request.workspace, kind, made)
        for group in groups:
            found = _need(place, request, "Groups", str(group.get("value")))
            _check_members(found)
            members = [*found.get("members", ()), {"value": made["id"]}]
            place.principals.replace(request.workspace, "Groups", {**found, "members": members})
    return _shown(place, request, kind, _need(place, request, kind, made["id"]))


def list_of(place: Place, kind: str, request: Request) -> Json:
    wanted = request.arguments
    found = [_shown(place, request, kind, each) for each in place.principals.all(request.workspace, kind)]
    if wanted.get("filter"):
        found = [each for each in found if matches(each, wanted["filter"])]
    if wanted.get("sortBy"):
        found.sort(key=lambda each: str(each.get(wanted["sortBy"], "")), reverse=wanted.get("sortOrder") == "descending")
    try:
        start = max(1, int(wanted.get("startIndex", 1)))
    except ValueError as error:
        raise ScimError(400, f"startIndex must be a number, not {wanted['startIndex']}.", "invalidValue") from error
    page = found[start - 1 :][: wanted.get("count", 100)]
    return {
        "schemas": [LIST_SCHEMA],
        "totalResults": len(found),
        "startIndex": start,
        "itemsPerPage": len(page),
        "Resources": [selected(each, wanted.get("attributes"), wanted.get("excludedAttributes")) for each in page],
    }


def get(place: Place, kind: str, request: Request) -> Json:
    wanted = request.arguments
    found = _shown(place, request, kind, _need(place, request, kind, wanted["id"]))
    return selected(found, wanted.get("attributes"), wanted.get("excludedAttributes"))


def patch(place: Place, kind: str, request: Request) -> None:
    _check_admin(request)
    with place.documents.together():
        before = _need(place, request, kind, request.arguments["id"])
        _put(place, kind, request, before, patched(before, request.body.get("Operations") or (), ATTRIBUTES[kind]))


def replace(place: Place, kind: str, request: Request) -> None:
    """What is not given is gone, but for what names it."""
    _check_admin(request)
    with place.documents.together():
        before = _need(place, request, kind, request.arguments["id"])
        fixed = {name: before[name] for name in ("id", "schemas", NAMES[kind], "active") if name in before}
        _put(place, kind, request, before, {**fixed, **request.body})


def delete(place: Place, kind: str, request: Request) -> None:
    _check_admin(request)
    number = _need(place, request, kind, request.arguments["id"])["id"]
    if number in OWN_IDS:
        raise ScimError(403, f"{NOUNS[kind]} {number} is the emulator's own and cannot be deleted.")
    place.principals.delete(request.workspace, kind, number)


# ---------------------------------------------------------------- parts


def _put(place: Place, kind: str, request: Request, before: Json, after: Json) -> None:
    kept = {"id": before["id"], "schemas": before["schemas"], NAMES[kind]: before[NAMES[kind]], **_kept(place, request, kind, after)}
    changed = {name for name in kept.keys() | before.keys() if kept.get(name) != before.get(name)}
    if before["id"] in OWN_IDS and changed - {"entitlements"}:
        if "members" in changed:
            _check_members(before)
        raise ScimError(403, f"{NOUNS[kind]} {before['id']} is the emulator's own: only its entitlements can be changed.")
    other = place.principals.named(request.workspace, kind, kept[NAMES[kind]])
    if other and other["id"] != before["id"]:
        raise ScimError(409, _taken(kind, kept[NAMES[kind]]), "uniqueness")
    place.principals.replace(request.workspace, kind, kept)


def _kept(place: Place, request: Request, kind: str, body: Json) -> Json:
    """What is kept of a resource that was sent. Raises ScimError."""
    kept = {name: body[name] for name in ATTRIBUTES[kind] if body.get(name) is not None}
    if kind == "Groups" and "members" in kept:
        kept["members"] = _members(place, request, kept["members"])
    for each in kept.get("entitlements", ()):
        if each.get("value") not in ENTITLEMENTS:
            raise ScimError(400, f"There is no entitlement {each.get('value')!r}; there are {', '.join(ENTITLEMENTS)}.", "invalidValue")
    return kept


def _members(place: Place, request: Request, given: list[Json]) -> list[Json]:
    """Each once, and there."""
    found = {str(each.get("value")): {"value": str(each.get("value"))} for each in given}
    for number in found:
        if not any(place.principals.get(request.workspace, kind, number) for kind in RESOURCES):
            raise ScimError(404, f"There is no user, service principal or group with the id {number}.")
    return list(found.values())


def _check_members(group: Json) -> None:
    if group["id"] in OWN_IDS:
        raise ScimError(403, f"The emulator cannot change who is in the group {group['displayName']}.")


def _shown(place: Place, request: Request, kind: str, resource: Json) -> Json:
    groups = place.principals.groups_of(request.workspace, resource["id"])
    if kind != "Groups":
        return {**resource, **({"groups": groups} if groups else {})}
    members = place.principals.members(request.workspace, resource)
    shown = {name: value for name, value in resource.items() if name != "members"}
    kinds = {"meta": {"resourceType": "WorkspaceGroup"}}  # those of an account are not there
    return {**shown, **kinds, **({"groups": groups} if groups else {}), **({"members": members} if members else {})}


def _need(place: Place, request: Request, kind: str, number: str) -> Json:
    found = place.principals.get(request.workspace, kind, number)
    if found is None:
        raise ScimError(404, f"{NOUNS[kind]} with id {number} not found.")
    return found


def _taken(kind: str, name: str) -> str:
    """As seen in public (databricks/terraform-provider-databricks: issue 2500, scim/*_test.go)."""
    if kind == "Users":
        return f"User with email {name} already exists in this account."
    return (
        f"Group with name {name} already exists." if kind == "Groups" else f"Service principal with application ID {name} already exists."
    )


def _check_admin(request: Request) -> None:
    if not USERS[request.user].is_admin:
        raise ScimError(403, "Only workspace admins can change users, service principals and groups.")
