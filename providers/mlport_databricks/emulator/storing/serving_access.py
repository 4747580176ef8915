"""Who may see, query and manage a serving endpoint.

A document of the kind `servingAccess`, named `HOST/ID`, holds the levels by principal as they were set: `{"user_name": {...},
"group_name": {...}, "service_principal_name": {...}}`. Who created an endpoint manages it, and so do administrators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mlport.emulation.documents import Exists
from mlport_databricks.emulator.accounts import USERS
from mlport_databricks.emulator.protocol.errors import ApiError, invalid
from mlport_databricks.emulator.storing.principals import ADMINS

if TYPE_CHECKING:
    from mlport_databricks.emulator.place import Place

Json = dict[str, Any]
KIND = "servingAccess"
VIEW, QUERY, MANAGE = "CAN_VIEW", "CAN_QUERY", "CAN_MANAGE"
LEVELS: Mapping[str, str] = {MANAGE: "Can Manage", QUERY: "Can Query", VIEW: "Can View"}
ORDER = (VIEW, QUERY, MANAGE)
PRINCIPALS = ("user_name", "group_name", "service_principal_name")


class Access:
    """The levels of one place."""

    def __init__(self, place: Place) -> None:
        self._documents, self._principals = place.documents, place.principals

    def given(self, workspace: str, endpoint: str) -> Mapping[str, Mapping[str, str]]:
        return self._documents.get(KIND, f"{workspace}/{endpoint}") or {}

    def level(self, workspace: str, user: str, endpoint: Json) -> str:
        """The user's level, empty if there is none."""
        if USERS[user].is_admin:
            return MANAGE
        given = self.given(workspace, endpoint["id"])
        levels = [given.get(kind, {}).get(user, "") for kind in ("user_name", "service_principal_name")]
        groups = given.get("group_name")
        levels += [groups.get(group, "") for group in self._principals.groups(workspace, user)] if groups else []
        return max(levels, key=lambda level: ORDER.index(level) if level else -1)

    def require(self, workspace: str, user: str, endpoint: Json, level: str) -> None:
        """Raises ApiError PERMISSION_DENIED; its words are a guess."""
        has = self.level(workspace, user, endpoint)
        if not has or ORDER.index(has) < ORDER.index(level):
            raise ApiError(
                "PERMISSION_DENIED", f"User {user} does not have {LEVELS[level]} permission on serving endpoint '{endpoint['name']}'."
            )

    def put(self, workspace: str, endpoint: str, entries: Sequence[Json], *, keep: bool) -> None:
        """Set the levels of these principals; of the others, too, unless they are to be kept. Raises ApiError."""
        for each in entries:
            named = [key for key in PRINCIPALS if each.get(key)]
            if len(named) != 1 or not each.get("permission_level"):
                raise invalid("access_control_list: each entry must name one user, group or service principal, and a permission_level.")
        with self._documents.together():
            before = self.given(workspace, endpoint) if keep else {}
            found = {kind: dict(before.get(kind, {})) for kind in PRINCIPALS}
            for each in entries:
                kind = next(key for key in PRINCIPALS if each.get(key))
                found[kind][each[kind]] = each["permission_level"]
            self.forget(workspace, endpoint)
            with suppress(Exists):
                self._documents.insert(KIND, f"{workspace}/{endpoint}", found)

    def forget(self, workspace: str, endpoint: str) -> None:
        self._documents.delete(KIND, f"{workspace}/{endpoint}")

    def shown(self, workspace: str, endpoint: str) -> Json:
        """As the permissions API answers."""
        entries = [
            {
                kind: name,
                **({"display_name": name} if kind != "group_name" else {}),
                "all_permissions": [{"permission_level": level, "inherited": False}],
            }
            for kind, levels in self.given(workspace, endpoint).items()
            for name, level in levels.items()
        ]
        inherited = {"permission_level": MANAGE, "inherited": True, "inherited_from_object": ["/serving-endpoints/"]}
        entries.append({"group_name": ADMINS, "all_permissions": [inherited]})
        return {"object_id": f"/serving-endpoints/{endpoint}", "object_type": "serving-endpoint", "access_control_list": entries}
