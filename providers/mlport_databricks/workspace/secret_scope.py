"""The secret scope: what a job is told and nobody else lies there under the job's token, from its submit until its end.

One secret holds all of a job's values, for a scope takes 1,000 (databricks/sdk/service/workspace.py, SecretsAPI.put_secret).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlport.errors import NotFoundError, SpecError
from mlport.spi import TOKEN

if TYPE_CHECKING:
    from mlport_databricks.workspace.connection import Connection

ROOT = "/api/2.0/secrets"
LARGEST = 128 * 1024
"""Bytes of a secret: databricks/sdk/service/workspace.py, SecretsAPI.put_secret."""


def key_of(token: str = TOKEN) -> str:
    """The name of a job's secret in the scope."""
    return f"mlport-{token}"


class SecretScope:
    """One scope of a workspace. Needs WRITE on it; who runs the job needs READ."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection, self._name = connection, name

    def put(self, key: str, values: Mapping[str, str]) -> bool:
        """Keep a job's secrets; whether there were none under this key.

        Raises:
            SpecError: they are too large.
        """
        text = json.dumps(dict(values))
        if len(text.encode()) > LARGEST:
            raise SpecError(
                f"JobSpec.secrets: they take {len(text.encode()):,} bytes together, as JSON; Databricks takes {LARGEST:,}",
                hint="put what is large into a volume, and its key into a secret",
            )
        is_new = key not in self.keys()
        body = {"scope": self._name, "key": key, "string_value": text}
        self._connection.call("POST", f"{ROOT}/put", operation="secrets.put", body=body, repeatable=True)
        return is_new

    def keys(self) -> set[str]:
        """The names of what is there."""
        answer = self._connection.call("GET", f"{ROOT}/list", operation="secrets.list", query={"scope": self._name})
        return {str(each["key"]) for each in answer.get("secrets", ())}

    def delete(self, key: str) -> None:
        """Remove a secret; an absent one is fine."""
        body = {"scope": self._name, "key": key}
        try:
            self._connection.call("POST", f"{ROOT}/delete", operation="secrets.delete", body=body, repeatable=True)
        except NotFoundError:
            return
