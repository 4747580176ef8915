"""Long mutations by their id, from any process."""

from __future__ import annotations

from mlport.errors import NotFoundError, stamped
from mlport.spi import OperationStatus, State, StateStore
from mlport_vertex.google.api import VertexApi
from mlport_vertex.sagas import Sagas

DONE = "done"
"""How the id of a mutation begins that was done when it returned."""


@stamped("vertex", "operations")
class VertexOperations:
    """Ids are `KIND/TARGET/TOKEN`; the notes that they stand for are in the profile's state."""

    def __init__(self, api: VertexApi, state: StateStore) -> None:
        self._sagas = Sagas(api, state)

    def status(self, operation_id: str) -> OperationStatus:
        """Where it is. Raises NotFoundError."""
        if done := _at_once(operation_id):
            return done
        return self._sagas.status(_token(operation_id))

    def advance(self, operation_id: str) -> OperationStatus:
        """Take its next step if one is due. Raises NotFoundError."""
        if done := _at_once(operation_id):
            return done
        return self._sagas.advance(_token(operation_id))


def _at_once(operation_id: str) -> OperationStatus | None:
    kind, _, rest = operation_id.partition("/")
    return OperationStatus(State.SUCCEEDED, DONE, result=rest.partition("/")[0]) if kind == DONE else None


def _token(operation_id: str) -> str:
    if operation_id.count("/") != 2:
        raise NotFoundError(f"there is no operation {operation_id!r}")
    return operation_id.rpartition("/")[2]
