"""Who may do what in Unity Catalog: privileges on securables, which hold for all that is in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from mlport_databricks.emulator.accounts import USERS
from mlport_databricks.emulator.protocol.errors import ApiError
from mlport_databricks.emulator.storing.unity import NOUNS, PARTS

if TYPE_CHECKING:
    from mlport_databricks.emulator.place import Place

EVERYBODY = "account users"


class Grants:
    """Privileges by securable and principal; those of a group are its members'. An administrator and an owner may do everything.

    `kind` is catalog, schema, volume, table or model; a privilege is spelt as in the API, such as USE_CATALOG or EXECUTE.
    """

    def __init__(self, place: Place) -> None:
        self._place, self._documents = place, place.documents

    def require(self, workspace: str, user: str, privilege: str, kind: str, full_name: str) -> None:
        """Raises ApiError PERMISSION_DENIED unless the user has the privilege and the use of catalog and schema.

        What is not there is not looked for here: a privilege on it can only come from above.
        """
        if USERS[user].is_admin:
            return
        if kind == "metastore":  # no privilege on it is ever granted here
            raise ApiError("PERMISSION_DENIED", f"User does not have {privilege.replace('_', ' ')} on Metastore '{full_name}'.")
        name = full_name.lower()
        for above, used in (("catalog", "USE_CATALOG"), ("schema", "USE_SCHEMA")):
            part = ".".join(name.split(".")[: PARTS[above]])
            if PARTS[above] < PARTS[kind] and not self.has(workspace, user, (used,), above, part):
                raise denied(used, above, part)
        if not self.has(workspace, user, (privilege,), kind, name):
            raise denied(privilege, kind, name)

    def has(self, workspace: str, user: str, privileges: Iterable[str], kind: str, full_name: str) -> bool:
        """Whether the user has one of the privileges, or all of them, on the securable or on what it is in; or owns one of them."""
        wanted = {*privileges, "ALL_PRIVILEGES"}
        if USERS[user].is_admin:
            return True
        who = {user, EVERYBODY, *self._place.principals.groups(workspace, user)}
        for each, name in lineage(kind, full_name):
            given = self.of(workspace, each, name)
            if any(wanted & set(given.get(principal, ())) for principal in who):
                return True
            if (self._place.unity.get(workspace, each, name) or {}).get("owner") in who - {EVERYBODY}:
                return True
        return False

    def of(self, workspace: str, kind: str, full_name: str) -> Mapping[str, list[str]]:
        """What was granted on this securable itself: privileges by principal."""
        return self._documents.get("grants", _key(workspace, kind, full_name)) or {}

    def change(
        self, workspace: str, kind: str, full_name: str, principal: str, add: Iterable[str] = (), remove: Iterable[str] = ()
    ) -> None:
        """Grant and revoke at once."""
        with self._documents.together():
            found = dict(self.of(workspace, kind, full_name))
            found[principal] = sorted({*found.get(principal, ()), *add} - set(remove))
            kept = {name: privileges for name, privileges in found.items() if privileges}
            key = _key(workspace, kind, full_name)
            self._documents.delete("grants", key)
            if kept:
                self._documents.insert("grants", key, kept)

    def forget(self, workspace: str, kind: str, full_name: str) -> None:
        self._documents.delete("grants", _key(workspace, kind, full_name))


def lineage(kind: str, full_name: str) -> list[tuple[str, str]]:
    """A securable and what it is in.

    >>> lineage("model", "Main.ml.churn")
    [('model', 'main.ml.churn'), ('schema', 'main.ml'), ('catalog', 'main')]
    """
    parts = full_name.lower().split(".")
    above = [("schema", ".".join(parts[:2]))] if PARTS[kind] > 2 else []
    return [(kind, full_name.lower()), *above, *([("catalog", parts[0])] if PARTS[kind] > 1 else [])]


def denied(privilege: str, kind: str, full_name: str) -> ApiError:
    """Seen in many reports, such as "User does not have USE SCHEMA on Schema 'main.x'."."""
    return ApiError("PERMISSION_DENIED", f"User does not have {privilege.replace('_', ' ')} on {NOUNS[kind]} '{full_name}'.")


def _key(workspace: str, kind: str, full_name: str) -> str:
    return f"{workspace}/{kind}/{full_name.lower()}"
