"""Secret scopes: values by scope and key, and who may read, write and manage them. The values are kept as they are."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlport.emulation.documents import Exists
from mlport_databricks.emulator.accounts import ADMIN, SECRET_SCOPE, USERS
from mlport_databricks.emulator.protocol.errors import ApiError, missing

if TYPE_CHECKING:
    from mlport_databricks.emulator.place import Place

Json = dict[str, Any]
SCOPES, SECRETS = "secret scopes", "secrets"
READ, WRITE, MANAGE = "READ", "WRITE", "MANAGE"
ORDER = (READ, WRITE, MANAGE)
REFERENCE = re.compile(r"\{\{\s*secrets/([\w.-]+)/([\w.-]+)\s*\}\}")
"""docs.databricks.com/security/secrets/secrets-spark-conf-env-var: the whole value is one reference."""


class Secrets:
    """The scopes of one place. A document of the kind `secret scopes`, named `HOST/SCOPE`, has the levels by principal."""

    def __init__(self, place: Place) -> None:
        self._place, self._documents = place, place.documents

    # ---------------------------------------------------------------- scopes

    def furnish(self, workspace: str) -> None:
        """What every workspace has from the start."""
        if self._documents.get(SCOPES, f"{workspace}/{SECRET_SCOPE}") is None:
            self.create(workspace, SECRET_SCOPE, ADMIN.name, 0)

    def create(self, workspace: str, scope: str, manager: str, made: int) -> None:
        """Raises ApiError for one that is there (databricks/cli libs/testserver/secret_scopes.go)."""
        try:
            self._documents.insert(SCOPES, f"{workspace}/{scope}", {"name": scope, "made": made, "acl": {manager: MANAGE}})
        except Exists as error:
            raise ApiError("RESOURCE_ALREADY_EXISTS", f"Scope {scope} already exists!", status=400) from error

    def scopes(self, workspace: str, user: str) -> list[str]:
        """Those that the user may read, oldest first."""
        found = [body["name"] for _, body in self._documents.list(SCOPES, f"{workspace}/")][::-1]
        return [name for name in found if self.level(workspace, user, name)]

    def delete(self, workspace: str, scope: str) -> None:
        """With what is in it."""
        with self._documents.together():
            self._documents.delete(SCOPES, f"{workspace}/{scope}")
            self._documents.delete_all(SECRETS, f"{workspace}/{scope}/")

    def acl(self, workspace: str, scope: str) -> Mapping[str, str]:
        """Levels by principal. Raises ApiError in words seen in public (Azure/azure-databricks-operator issue 94)."""
        found = self._documents.get(SCOPES, f"{workspace}/{scope}")
        if found is None:
            raise missing(f"Scope {scope} does not exist!")
        acl: Mapping[str, str] = found["acl"]
        return acl

    def set_acl(self, workspace: str, scope: str, principal: str, level: str | None) -> None:
        """None takes it away."""

        def changed(known: Json) -> Json:
            others = {name: each for name, each in known["acl"].items() if name != principal}
            return {**known, "acl": {**others, **({principal: level} if level else {})}}

        self._documents.change(SCOPES, f"{workspace}/{scope}", changed)

    def level(self, workspace: str, user: str, scope: str) -> str:
        """What the user may do, by their name or a group; administrators everything; empty for nothing. Raises ApiError."""
        acl = self.acl(workspace, scope)
        if USERS[user].is_admin:
            return MANAGE
        has = [acl[name] for name in (user, *self._place.principals.groups(workspace, user)) if name in acl]
        return max(has, key=ORDER.index, default="")

    def require(self, workspace: str, user: str, scope: str, level: str) -> None:
        """Raises ApiError; the words are a guess."""
        has = self.level(workspace, user, scope)
        if not has or ORDER.index(has) < ORDER.index(level):
            raise ApiError("PERMISSION_DENIED", f"User {user} does not have {level} permission on scope: {scope}")

    # ---------------------------------------------------------------- values

    def put(self, workspace: str, scope: str, key: str, value: bytes, moment: int) -> None:
        """`moment` is in milliseconds."""
        name, body = f"{workspace}/{scope}/{key}", {"key": key, "value": base64.b64encode(value).decode(), "changed": moment}
        with self._documents.together():
            self._documents.delete(SECRETS, name)
            self._documents.insert(SECRETS, name, body)

    def all(self, workspace: str, scope: str) -> list[Json]:
        """By their keys."""
        return sorted((body for _, body in self._documents.list(SECRETS, f"{workspace}/{scope}/")), key=lambda body: str(body["key"]))

    def get(self, workspace: str, scope: str, key: str) -> str:
        """The value in base64. Raises ApiError in words seen in public (databrickslabs/overwatch issue 721)."""
        self.acl(workspace, scope)
        found = self._documents.get(SECRETS, f"{workspace}/{scope}/{key}")
        if found is None:
            raise missing(f"Secret does not exist with scope: {scope} and key: {key}")
        return str(found["value"])

    def remove(self, workspace: str, scope: str, key: str) -> None:
        self.get(workspace, scope, key)
        self._documents.delete(SECRETS, f"{workspace}/{scope}/{key}")

    def resolved(self, workspace: str, user: str, variables: Mapping[str, str]) -> dict[str, str]:
        """Variables of an environment with the values of the secrets that they name, read as this user. Raises ApiError."""
        found = dict(variables)
        for name, value in variables.items():
            if reference := REFERENCE.fullmatch(value):
                self.require(workspace, user, reference[1], READ)
                found[name] = base64.b64decode(self.get(workspace, reference[1], reference[2])).decode()
        return found
