"""Who there is in a workspace: users, service principals and groups, as SCIM resources, and who is in which group.

A document of the kind `scim Users`, `scim ServicePrincipals` or `scim Groups` is a resource without its `groups`, which follow
from the groups' members. The three principals that can sign in (accounts.py) and the groups `users` and `admins` are there from
the start; those that are made can be named wherever a principal can, but have no credentials.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlport.emulation.documents import Documents
from mlport_databricks.emulator.accounts import USERS, User

Json = dict[str, Any]
SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:"
RESOURCES = {"Users": "User", "ServicePrincipals": "ServicePrincipal", "Groups": "Group"}
NAMES = {"Users": "userName", "ServicePrincipals": "applicationId", "Groups": "displayName"}
EVERYBODY, ADMINS = "users", "admins"
OWN_GROUPS = {EVERYBODY: "7000000000000011", ADMINS: "7000000000000012"}
OWN_IDS = {*OWN_GROUPS.values(), *(str(user.id) for user in USERS.values())}
FIRST_ID = 7_100_000_000_000_000


class Principals:
    """The principals of all workspaces. `kind` is Users, ServicePrincipals or Groups."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def furnish(self, workspace: str) -> None:
        """Those that are there from the start."""
        own = [("ServicePrincipals" if user.secret else "Users", _resource(user)) for user in USERS.values()]
        groups = [("Groups", {"id": number, "displayName": name}) for name, number in OWN_GROUPS.items()]
        for kind, resource in (*own, *groups):
            with self._documents.together():
                if self.get(workspace, kind, resource["id"]) is None:
                    self.keep(workspace, kind, resource)

    def new_id(self) -> str:
        return str(FIRST_ID + self._documents.next_number("principals"))

    def keep(self, workspace: str, kind: str, resource: Json) -> None:
        """A new resource."""
        kept = {**resource, "schemas": [SCHEMA + RESOURCES[kind]]}
        self._documents.insert(f"scim {kind}", f"{workspace}/{resource['id']}", kept)

    def replace(self, workspace: str, kind: str, resource: Json) -> None:
        self._documents.change(f"scim {kind}", f"{workspace}/{resource['id']}", lambda _: resource)

    def delete(self, workspace: str, kind: str, number: str) -> None:
        """With its membership of groups."""
        with self._documents.together():
            self._documents.delete(f"scim {kind}", f"{workspace}/{number}")
            for group in list(self.all(workspace, "Groups")):
                members = [each for each in group.get("members", ()) if each["value"] != number]
                if len(members) < len(group.get("members", ())):
                    self.replace(workspace, "Groups", {**group, "members": members})

    def get(self, workspace: str, kind: str, number: str) -> Json | None:
        return self._documents.get(f"scim {kind}", f"{workspace}/{number}")

    def all(self, workspace: str, kind: str) -> Iterator[Json]:
        """Oldest first."""
        return iter([body for _, body in self._documents.list(f"scim {kind}", f"{workspace}/")][::-1])

    def named(self, workspace: str, kind: str, name: str) -> Json | None:
        """The one with this user name, application id or display name, whatever its case."""
        return next((each for each in self.all(workspace, kind) if str(each.get(NAMES[kind], "")).lower() == name.lower()), None)

    def is_there(self, workspace: str, name: str) -> bool:
        """Whether a principal of any kind has this name."""
        return any(self.named(workspace, kind, name) for kind in RESOURCES)

    def groups(self, workspace: str, user: str) -> set[str]:
        """The names of the groups in which a user or service principal is, by others too."""
        found = self.named(workspace, "Users", user) or self.named(workspace, "ServicePrincipals", user)
        return {str(each["display"]) for each in self.groups_of(workspace, found["id"])} if found else set()

    def groups_of(self, workspace: str, number: str) -> list[Json]:
        """The groups of a principal or a group, as its resource shows them."""
        groups = list(self.all(workspace, "Groups"))
        direct = {group["id"] for group in groups if self._has(group, number)}
        found = set(direct)
        while more := {group["id"] for group in groups if group["id"] not in found and any(self._has(group, each) for each in found)}:
            found |= more
        return [
            {
                "display": group["displayName"],
                "value": group["id"],
                "type": "direct" if group["id"] in direct else "indirect",
                "$ref": f"Groups/{group['id']}",
            }
            for group in groups
            if group["id"] in found
        ]

    def _has(self, group: Json, number: str) -> bool:
        """Everybody is in `users`; who is in `admins` is as the accounts have it."""
        if group["id"] == OWN_GROUPS[EVERYBODY]:
            return number not in OWN_GROUPS.values() and not self._is_group(number)
        if group["id"] == OWN_GROUPS[ADMINS]:
            return any(str(user.id) == number and user.is_admin for user in USERS.values())
        return any(each["value"] == number for each in group.get("members", ()))

    def _is_group(self, number: str) -> bool:
        return any(body["id"] == number for _, body in self._documents.list("scim Groups"))

    def members(self, workspace: str, group: Json) -> list[Json]:
        """As the group's resource shows them."""
        known = {
            each["id"]: (kind, each)
            for kind in RESOURCES
            for each in self.all(workspace, kind)
            if each["id"] != group["id"] and self._has(group, each["id"])
        }
        return [
            {"display": str(each.get("displayName") or each.get(NAMES[kind], "")), "value": number, "$ref": f"{kind}/{number}"}
            for number, (kind, each) in known.items()
        ]


def _resource(user: User) -> Json:
    """RFC 7643, and databricks/cli libs/testserver/fake_workspace.go (TestUser)."""
    if user.secret:
        return {"id": str(user.id), "applicationId": user.name, "displayName": user.display, "active": True}
    return {
        "id": str(user.id),
        "userName": user.name,
        "displayName": user.display,
        "name": {"givenName": user.display},
        "emails": [{"type": "work", "value": user.name, "primary": True}],
        "active": True,
    }
