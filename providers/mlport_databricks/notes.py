"""Long mutations as notes in the profile's state: Databricks has no operations, so what was begun is found here by its token.

A note is written before the first call. How it ended is written into it, too, so that an outcome never changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mlport.errors import AmbiguousError, ConflictError, MlportError, NotFoundError
from mlport.spi import ABSENT, Json, Operation, OperationStatus, State, StateStore

FOLDER = "databricks/operations"
KINDS = {"model": "model.register", "monitor": "monitor.create", "unmonitor": "monitor.delete"}


@dataclass(frozen=True, slots=True)
class Note:
    """A mutation.

    `change` is what is wanted; `sent` when the call that does it was made last (seconds since 1970, 0: never), `accepted`
    whether it was answered; `desired` the digest of the configuration that it asked for.
    """

    token: str
    kind: str
    target: str
    change: Json = field(default_factory=dict)
    sent: float = 0.0
    accepted: bool = False
    desired: str = ""
    version: str = ""
    ended: str = ""
    reason: str = ""

    @property
    def id(self) -> str:
        """The operation's id: enough to go on with it from any process."""
        return f"{self.kind}/{self.target}/{self.token}"

    @property
    def operation(self) -> Operation:
        return Operation(self.id, KINDS.get(self.kind, self.kind), self.target)

    @property
    def result(self) -> str:
        return self.version or self.target

    def succeeded(self) -> Note:
        return replace(self, ended=State.SUCCEEDED.value, reason="")

    def failed(self, reason: str, state: State = State.FAILED) -> Note:
        return replace(self, ended=state.value, reason=reason)

    def told(self, native: str = "", progress: str = "") -> OperationStatus:
        """How it stands, as everyone sees it."""
        if not self.ended:
            return OperationStatus(State.RUNNING, native or "not sent", self.reason, progress=progress)
        state = State(self.ended)
        return OperationStatus(state, self.ended.lower(), self.reason, result=self.result if state is State.SUCCEEDED else None)


class Notes:
    """The notes of one profile."""

    def __init__(self, state: StateStore) -> None:
        self._state = state

    def find(self, token: str) -> Note | None:
        """The note of a token."""
        found = self._state.get(f"{FOLDER}/{token}")
        return _decoded(found.value) if found else None

    def of(self, operation_id: str) -> Note:
        """The note of an operation. Raises NotFoundError."""
        note = self.find(operation_id.rpartition("/")[2]) if operation_id.count("/") == 2 else None
        if note is None:
            raise NotFoundError(f"there is no operation {operation_id!r}")
        return note

    def keep(self, note: Note) -> Note:
        """Write how far it is. What has ended stays as it ended: that note is given back."""
        key = f"{FOLDER}/{note.token}"
        while True:
            found = self._state.get(key)
            before = _decoded(found.value) if found else None
            if before is not None and before.ended:
                return before
            try:
                self._state.put(key, _encoded(note), expect=found.version if found else ABSENT)
            except ConflictError:
                continue
            return note

    def accepted(self, note: Note) -> Note:
        """Write that its call was answered.

        Raises:
            AmbiguousError: it could not be written; what was asked for is being done, and the note as it was before is gone on with.
        """
        try:
            return self.keep(replace(note, accepted=True))
        except MlportError as error:
            raise AmbiguousError(f"{note.target}: {note.kind} was begun, and that could not be noted: {error.message}") from error

    def begin(self, note: Note, act: Callable[[Note], Note]) -> Note:
        """Write it down and take the first step, unless that was done before.

        Raises:
            MlportError: the step was refused, and nothing is noted; AmbiguousError: it got no answer, and the note stands.
        """
        if earlier := self.find(note.token):
            return earlier
        try:
            self._state.put(f"{FOLDER}/{note.token}", _encoded(note), expect=ABSENT)
        except ConflictError:
            return self.find(note.token) or note
        try:
            return act(note)
        except AmbiguousError:
            raise
        except MlportError:
            self._state.delete(f"{FOLDER}/{note.token}")
            raise


def _encoded(note: Note) -> bytes:
    return json.dumps(asdict(note)).encode()


def _decoded(content: bytes) -> Note:
    found: dict[str, Any] = json.loads(content)
    return Note(**found)
