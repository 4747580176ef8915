"""An open Databricks profile. Roles are made when first asked for, and what each loads with them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from mlport import transfer
from mlport.bundle import file_digest, tree_bytes, tree_digest
from mlport.errors import NotFoundError
from mlport.spi import Finding, InputFact, Json
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.names import volume_path
from mlport_databricks.workspace.connection import Connection

if TYPE_CHECKING:
    from mlport.specs import Spec
    from mlport.state.objects import ObjectStateStore
    from mlport_databricks.endpoints import DatabricksEndpoints
    from mlport_databricks.jobs import DatabricksJobs
    from mlport_databricks.models import DatabricksModels
    from mlport_databricks.monitors import DatabricksMonitors
    from mlport_databricks.operations import DatabricksOperations
    from mlport_databricks.schedules import DatabricksSchedules


class DatabricksSession:
    """What `open` returns. A submit is idempotent by token at the vendor's, so nothing must be waited for: `find_lag` is 0.

    Its jobs keep what was asked for (`asked`), so one without a key leaves no entry in the journal.
    """

    find_lag = 0.0

    def __init__(self, config: DatabricksConfig) -> None:
        self.config = config

    @cached_property
    def connection(self) -> Connection:
        """The way to the workspace."""
        return Connection(self.config)

    @cached_property
    def jobs(self) -> DatabricksJobs:
        from mlport_databricks.jobs import DatabricksJobs

        return DatabricksJobs(self.connection, lambda: self.models)

    @cached_property
    def models(self) -> DatabricksModels:
        from mlport_databricks.models import DatabricksModels

        return DatabricksModels(self.connection, self.state)

    @cached_property
    def endpoints(self) -> DatabricksEndpoints:
        from mlport_databricks.endpoints import DatabricksEndpoints

        return DatabricksEndpoints(self.connection, self.state)

    @cached_property
    def schedules(self) -> DatabricksSchedules:
        from mlport_databricks.schedules import DatabricksSchedules

        return DatabricksSchedules(self.connection, self.state, self.jobs)

    @cached_property
    def monitors(self) -> DatabricksMonitors:
        from mlport_databricks.monitors import DatabricksMonitors

        return DatabricksMonitors(self.connection, self.state)

    @cached_property
    def operations(self) -> DatabricksOperations:
        from mlport_databricks.operations import DatabricksOperations

        return DatabricksOperations(self.connection, self.state)

    @cached_property
    def state(self) -> ObjectStateStore:
        from mlport.state.objects import ObjectStateStore
        from mlport_databricks.workspace.buckets import state_store

        store, prefix = state_store(self.config)
        return ObjectStateStore(store, prefix)

    def facts(self, spec: Spec) -> Json:
        """Of a model and of a deployment what is there already. Node types are in a table that goes with mlport."""
        from mlport.specs import DeploymentSpec, EndpointSpec, ModelSpec

        if isinstance(spec, ModelSpec):
            return self.models.facts(spec)
        return self.endpoints.facts(spec) if isinstance(spec, EndpointSpec | DeploymentSpec) else {}

    def input(self, uri: str) -> InputFact:
        """What lies in a volume by its size and time, a web address's ETag, or the digest of what lies on this machine."""
        if place := volume_path(uri):
            return self.connection.files.identify(place)
        if transfer.is_url(uri):
            return transfer.identify(uri)
        path = transfer.local_path(uri)
        if not path.exists():
            raise NotFoundError(f"{path} does not exist", provider="databricks", operation="input")
        digest = tree_digest(path) if path.is_dir() else file_digest(path)
        return InputFact(str(path), "sha256", digest, tree_bytes(path))

    def asked(self, job_id: str) -> Json | None:
        """How a job was asked for: its manifest tells."""
        return self.jobs.asked(job_id)

    def doctor(self) -> Iterator[Finding]:
        from mlport_databricks.doctor import findings

        return findings(self)

    def close(self) -> None:
        """Hang up. What is asked for afterwards opens anew."""
        for role in (
            "monitors",
            "schedules",
            "operations",
            "endpoints",
            "models",
            "jobs",
            "state",
            "connection",
        ):  # each stands on those after it
            opened = self.__dict__.pop(role, None)
            if opened is not None and hasattr(opened, "close"):
                opened.close()
