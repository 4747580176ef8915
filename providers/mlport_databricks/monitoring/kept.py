"""What the state has of monitors: who took a name with what, and which windows were asked for. Databricks lists no monitors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from mlport.errors import ConflictError, NotFoundError
from mlport.spi import ABSENT, Json, StateStore

MONITORS, ASKED = "databricks-monitors/", "databricks-measures/"


@dataclass(frozen=True, slots=True)
class Kept:
    """A monitor as it stands in the state. `resolved` is that of its plan; `table_id` is empty until the monitor is made."""

    token: str
    spec: Json
    resolved: Json
    created: str
    table_id: str = ""

    @property
    def view(self) -> str:
        return str(self.resolved["view"])


@dataclass(frozen=True, slots=True)
class Asked:
    """A window that was asked for, by its start in microseconds since 1970, and the refresh that it became; 0 until that is known."""

    start: int
    refresh_id: int = 0


class Book:
    """The monitors of one profile."""

    def __init__(self, state: StateStore) -> None:
        self._state = state

    def find(self, name: str) -> Kept | None:
        found = self._state.get(f"{MONITORS}{name}")
        return Kept(**json.loads(found.value)) if found else None

    def get(self, name: str) -> Kept:
        """Raises NotFoundError."""
        found = self.find(name)
        if found is None:
            raise NotFoundError(f"there is no monitor {name!r} at Databricks that mlport made")
        return found

    def take(self, name: str, wanted: Kept) -> Kept:
        """The monitor of this name and token. Raises ConflictError where the name is another's."""
        try:
            self._state.put(f"{MONITORS}{name}", _dump(asdict(wanted)), expect=ABSENT)
        except ConflictError as error:
            found = self.get(name)
            if found.token != wanted.token:
                raise ConflictError(
                    f"a monitor {name!r} exists already, and is another", hint="choose another name, or delete it first"
                ) from error
            return found
        return wanted

    def made(self, name: str, kept: Kept, table_id: str) -> None:
        self._state.put(f"{MONITORS}{name}", _dump(asdict(replace(kept, table_id=table_id))))

    def forget(self, name: str) -> None:
        """The name last: what is left is found by it."""
        for key, _ in list(self._state.list(f"{ASKED}{name}/")):
            self._state.delete(key)
        self._state.delete(f"{MONITORS}{name}")

    # ---------------------------------------------------------------- windows that were asked for

    def asked(self, name: str) -> Iterator[Asked]:
        return (Asked(**json.loads(found.value)) for _, found in self._state.list(f"{ASKED}{name}/"))

    def ask(self, name: str, token: str, wanted: Asked) -> Asked:
        """What this token asked for; first of all, what is wanted."""
        with suppress(ConflictError):
            self._state.put(f"{ASKED}{name}/{token}", _dump(asdict(wanted)), expect=ABSENT)
        found = self._state.get(f"{ASKED}{name}/{token}")
        return Asked(**json.loads(found.value)) if found else wanted

    def answered(self, name: str, token: str, asked: Asked) -> None:
        self._state.put(f"{ASKED}{name}/{token}", _dump(asdict(asked)))


def _dump(plain: Json) -> bytes:
    return json.dumps(plain).encode()
