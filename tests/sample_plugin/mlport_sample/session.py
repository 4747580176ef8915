"""A session: the roles of one folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

from mlport import transfer
from mlport.bundle import file_digest, tree_bytes, tree_digest
from mlport.errors import NotFoundError, stamped
from mlport.scheduling.stored import StoredSchedules
from mlport.specs import Spec
from mlport.spi import EndpointState, Finding, InputFact, Json, OperationStatus, State
from mlport.state.sqlite import SqliteStateStore
from mlport_sample.config import SampleConfig
from mlport_sample.endpoints import SampleEndpoints
from mlport_sample.jobs import SampleJobs
from mlport_sample.models import SampleModels


@stamped("sample", "session")
class SampleSession:
    """Submitting again with the same token does nothing twice, so `find` lags by nothing."""

    find_lag = 0.0

    def __init__(self, config: SampleConfig) -> None:
        self._config = config
        self.jobs = SampleJobs(config)
        self.models = SampleModels(config)
        self.endpoints = SampleEndpoints(config)
        self.operations = SampleOperations(self)
        self.state = SqliteStateStore(config.root / "state.db")
        self.schedules = StoredSchedules(self.state, config.root / "schedules")

    def facts(self, spec: Spec) -> Json:
        return {"host": socket.gethostname()}

    def input(self, uri: str) -> InputFact:
        path = transfer.local_path(uri)
        if not path.exists():
            raise NotFoundError(f"{path} does not exist")
        return InputFact(str(path), "sha256", tree_digest(path) if path.is_dir() else file_digest(path), tree_bytes(path))

    def doctor(self) -> Iterator[Finding]:
        place = next(folder for folder in (self._config.root, *self._config.root.parents) if folder.exists())
        yield Finding("root", os.access(place, os.W_OK), str(self._config.root))

    def close(self) -> None:
        self.state.close()


class SampleOperations:
    """What a mutation made tells how it went, so an operation is only its name: `kind/name[/version]`."""

    def __init__(self, session: SampleSession) -> None:
        self._session = session

    def status(self, operation_id: str) -> OperationStatus:
        kind, name, *rest = operation_id.split("/")
        if kind == "model":
            return OperationStatus(State.SUCCEEDED, "written", result=self._session.models.get(name, rest[0]).version)
        if kind == "gone":
            return OperationStatus(State.SUCCEEDED, "removed", result=name)
        record = self._session.endpoints.get(name)
        return OperationStatus(_STATES.get(record.state, State.RUNNING), record.native_state, result=name)

    advance = status


_STATES = {EndpointState.READY: State.SUCCEEDED, EndpointState.FAILED: State.FAILED}
