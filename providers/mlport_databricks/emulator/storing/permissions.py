"""Who may do what with an object of the workspace: levels by principal, set by the permissions API.

A document of the kind `permissions`, named `HOST/TYPE/ID`, holds the levels as they were set: `{"user_name": {...}, "group_name": {...},
"service_principal_name": {...}}`. Until there is one, who created the object owns it. Administrators may do everything; what is set for a
group holds for its members; folders hand down what is set for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlport_databricks.emulator.accounts import USERS
from mlport_databricks.emulator.protocol.errors import ApiError, invalid
from mlport_databricks.emulator.storing.principals import ADMINS, EVERYBODY

if TYPE_CHECKING:
    from mlport_databricks.emulator.place import Place

Json = dict[str, Any]
Levels = Mapping[str, Mapping[str, str]]
KIND = "permissions"
PRINCIPALS: Mapping[str, tuple[str, str]] = {
    "user_name": ("Users", "UserName"),
    "group_name": ("Groups", "GroupName"),
    "service_principal_name": ("ServicePrincipals", "ServicePrincipalName"),
}
FILES = ("CAN_READ", "CAN_RUN", "CAN_EDIT", "CAN_MANAGE")
LEVELS: Mapping[str, Sequence[str]] = {
    "clusters": ("CAN_ATTACH_TO", "CAN_RESTART", "CAN_MANAGE"),
    "cluster-policies": ("CAN_USE",),
    "instance-pools": ("CAN_ATTACH_TO", "CAN_MANAGE"),
    "jobs": ("CAN_VIEW", "CAN_MANAGE_RUN", "CAN_MANAGE", "IS_OWNER"),
    "notebooks": FILES,
    "directories": FILES,
    "files": FILES,
}
"""Lowest first; databricks/terraform-provider-databricks, permissions/permission_definitions.go."""
NAMES = {
    "clusters": "cluster",
    "cluster-policies": "cluster-policy",
    "instance-pools": "instance-pool",
    "jobs": "job",
    "notebooks": "notebook",
    "directories": "directory",
    "files": "file",
}


class Permissions:
    """The levels of one place. `kind` is a key of LEVELS, `owner` who created the object, empty for nobody."""

    def __init__(self, place: Place) -> None:
        self._place, self._documents = place, place.documents

    def given(self, workspace: str, kind: str, number: object, owner: str) -> Levels:
        """What holds for the object itself."""
        found: Levels | None = self._documents.get(KIND, f"{workspace}/{kind}/{number}")
        if found is not None or not owner:
            return found or {}
        named = "service_principal_name" if owner in USERS and USERS[owner].secret else "user_name"
        return {named: {owner: LEVELS[kind][-1]}}

    def level(self, workspace: str, user: str, kind: str, number: object, owner: str) -> str:
        """The highest that the user has, empty for none."""
        if USERS[user].is_admin:
            return LEVELS[kind][-1]
        given = self.given(workspace, kind, number, owner)
        has = [given.get(named, {}).get(user, "") for named in ("user_name", "service_principal_name")]
        has += [given.get("group_name", {}).get(group, "") for group in self._groups(workspace, user, given)]
        return max((level for level in has if level), key=LEVELS[kind].index, default="")

    def _groups(self, workspace: str, user: str, given: Levels) -> set[str]:
        return self._place.principals.groups(workspace, user) if given.get("group_name") else set()

    def allows(self, workspace: str, user: str, kind: str, number: object, owner: str, level: str) -> bool:
        """Whether the user has this level or a higher one."""
        has = self.level(workspace, user, kind, number, owner)
        return bool(has) and LEVELS[kind].index(has) >= LEVELS[kind].index(level)

    def put(self, workspace: str, kind: str, number: object, owner: str, entries: Sequence[Json], *, keep: bool) -> None:
        """Set the levels of these principals; the others keep theirs or lose them. Raises ApiError."""
        with self._documents.together():
            before = self.given(workspace, kind, number, owner) if keep else {}
            found = {named: dict(before.get(named, {})) for named in PRINCIPALS}
            for each in entries:
                named, level = self._checked(workspace, kind, each)
                if level == "IS_OWNER":
                    found = {one: {who: has for who, has in levels.items() if has != "IS_OWNER"} for one, levels in found.items()}
                found[named][each[named]] = level
            owners = [each for each in entries if each.get("permission_level") == "IS_OWNER"]
            kept = [who for levels in found.values() for who, level in levels.items() if level == "IS_OWNER"]
            if kind == "jobs" and (len(owners) > 1 or len(kept) != 1):  # databricks/cli libs/testserver/permissions.go
                raise invalid("The job must have exactly one owner.")
            self.forget(workspace, kind, number)
            self._documents.insert(KIND, f"{workspace}/{kind}/{number}", found)

    def _checked(self, workspace: str, kind: str, entry: Json) -> tuple[str, str]:
        """How an entry names its principal, and the level."""
        named = [key for key in PRINCIPALS if entry.get(key)]
        level = entry.get("permission_level")
        if len(named) != 1 or not level:
            raise invalid("access_control_list: each entry must name one user, group or service principal, and a permission_level.")
        if level not in LEVELS[kind]:
            raise invalid(f"{level} is no permission level of a {NAMES[kind]}; there are {', '.join(LEVELS[kind])}.")
        where, said = PRINCIPALS[named[0]]
        if self._place.principals.named(workspace, where, entry[named[0]]) is None:
            raise ApiError("RESOURCE_DOES_NOT_EXIST", f"Principal: {said}({entry[named[0]]}) does not exist")
        return named[0], level

    def forget(self, workspace: str, kind: str, number: object) -> None:
        """The object is gone."""
        self._documents.delete(KIND, f"{workspace}/{kind}/{number}")

    # ---------------------------------------------------------------- files and folders

    def above(self, workspace: str, path: Path) -> list[Path]:
        """The folders that hand down to a file or folder, nearest first."""
        root = self._place.files.root(workspace, "/Workspace")
        return [each for each in path.parents if each != root and root in each.parents]

    def opens(self, workspace: str, user: str, path: Path, level: str) -> bool:
        """Whether the user was given this level of a file or folder, or of one above it."""
        objects = self._place.workspace_objects
        for each in (path, *self.above(workspace, path)):
            if (number := objects.number(workspace, each)) is not None:
                kind = objects.kind(workspace, each)
                if self.allows(workspace, user, kind, number, "", level):
                    return True
        return False


def entries(given: Levels, inherited: str = "") -> list[Json]:
    """As the permissions API shows levels; `inherited` is the object that hands them down."""
    more = {"inherited_from_object": [inherited]} if inherited else {}
    return [
        {
            named: name,
            **({} if named == "group_name" else {"display_name": name}),
            "all_permissions": [{"permission_level": level, "inherited": bool(inherited), **more}],
        }
        for named, levels in given.items()
        for name, level in levels.items()
    ]


def of_root(kind: str) -> Levels:
    """What everything of a kind has from the workspace itself."""
    return {"group_name": {ADMINS: "CAN_USE" if kind == "cluster-policies" else "CAN_MANAGE"}}


SHARED: Levels = {"group_name": {EVERYBODY: "CAN_MANAGE"}}
"""docs.databricks.com/security/auth/access-control: of the folder /Shared."""
