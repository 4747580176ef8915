"""Long mutations by their id, from any process."""

from __future__ import annotations

from mlport.errors import stamped
from mlport.spi import OperationStatus, StateStore
from mlport_databricks.notes import Notes
from mlport_databricks.workspace.connection import Connection


@stamped("databricks", "operations")
class DatabricksOperations:
    """Ids are `KIND/TARGET/TOKEN`; the notes that they stand for are in the profile's state."""

    def __init__(self, connection: Connection, state: StateStore) -> None:
        self._connection, self._state, self._notes = connection, state, Notes(state)

    def status(self, operation_id: str) -> OperationStatus:
        """Where it is. Raises NotFoundError."""
        return self._look(operation_id, may_act=False)

    def advance(self, operation_id: str) -> OperationStatus:
        """Take its next step if one is due. Raises NotFoundError."""
        return self._look(operation_id, may_act=True)

    def _look(self, operation_id: str, *, may_act: bool) -> OperationStatus:
        note = self._notes.of(operation_id)
        if note.ended:
            return note.told()
        if note.kind == "model":
            from mlport_databricks.registry.registering import Registrations

            return Registrations(self._connection, self._state).look(note, may_act=may_act)
        if note.kind in ("monitor", "unmonitor"):
            from mlport_databricks.monitoring.making import Makings

            return Makings(self._connection, self._state).look(note, may_act=may_act)
        from mlport_databricks.serving.changing import Changes

        return Changes(self._connection, self._state).look(note, may_act=may_act)
