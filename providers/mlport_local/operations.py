"""Long mutations of the local provider by their id, from any process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlport.errors import NotFoundError, stamped
from mlport.spi import OperationStatus, State
from mlport_local.config import LocalConfig
from mlport_local.serving import attendance
from mlport_local.serving.endpoint_store import EndpointStore

if TYPE_CHECKING:
    from mlport_local.models import LocalModels


@stamped("local", "operations")
class LocalOperations:
    """Ids begin with what they are about: `endpoint/NAME/...` is a keeper's work, `model/NAME/VERSION` was done at once."""

    def __init__(self, config: LocalConfig, models: LocalModels | None = None) -> None:
        self._config = config
        self._store = EndpointStore(config.layout)
        self._models = models

    def status(self, operation_id: str) -> OperationStatus:
        """Where it is. A keeper that has died is started again by the look. Raises NotFoundError."""
        if operation_id.startswith("model/"):
            return self._registry.operation(operation_id)
        found = self._store.mutation(operation_id)
        if found is None:
            raise NotFoundError(f"there is no operation {operation_id!r}")
        if found.state == "RUNNING":
            attendance.ensure(self._config.layout, found.name)
        state = State(found.state)
        return OperationStatus(state, found.state, found.reason, found.name if state is State.SUCCEEDED else None)

    advance = status

    @property
    def _registry(self) -> LocalModels:
        if self._models is None:
            from mlport_local.models import LocalModels

            self._models = LocalModels(self._config)
        return self._models

    def close(self) -> None:
        self._store.close()
