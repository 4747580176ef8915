"""Tokens that users made. What is kept is their digest."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from mlport.emulation.documents import Documents
from mlport_databricks.emulator.accounts import USERS, User

Json = dict[str, Any]
KIND = "tokens"


class Tokens:
    """Tokens by workspace and user."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def keep(self, workspace: str, user: str, value: str, info: Json) -> None:
        self._documents.insert(KIND, _digest(value), {"digest": _digest(value), "workspace": workspace, "user": user, "info": info})

    def of(self, workspace: str, user: str) -> list[Json]:
        """A user's, newest first."""
        return [body["info"] for _, body in self._documents.list(KIND) if (body["workspace"], body["user"]) == (workspace, user)]

    def delete(self, workspace: str, user: str, token_id: str) -> bool:
        """Whether there was one."""
        for _, body in self._documents.list(KIND):
            if (body["workspace"], body["user"], body["info"]["token_id"]) == (workspace, user, token_id):
                return self._documents.delete(KIND, body["digest"])
        return False

    def holder(self, value: str) -> tuple[str, User] | None:
        """Workspace and user of a token, None for one that is not there or has ended."""
        found = self._documents.get(KIND, _digest(value))
        if found is None or 0 <= found["info"]["expiry_time"] < time.time() * 1000:
            return None
        return found["workspace"], USERS[found["user"]]


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()
