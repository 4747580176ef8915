"""An open Vertex AI profile. Roles are made when first asked for, and what each loads with them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import quote

from mlport import transfer
from mlport.bundle import file_digest, tree_bytes, tree_digest
from mlport.errors import NotFoundError, SpecError
from mlport.spi import Finding, InputFact, Json
from mlport_vertex.config import VertexConfig
from mlport_vertex.google.api import VertexApi
from mlport_vertex.google.objects import split

if TYPE_CHECKING:
    from mlport.specs import Spec
    from mlport.state.objects import ObjectStateStore
    from mlport_vertex.endpoints import VertexEndpoints
    from mlport_vertex.jobs import VertexJobs
    from mlport_vertex.models import VertexModels
    from mlport_vertex.monitors import VertexMonitors
    from mlport_vertex.operations import VertexOperations
    from mlport_vertex.schedules import VertexSchedules
    from mlport_vertex.sweeps import VertexSweeps


class VertexSession:
    """What `open` returns.

    `find_lag` is a budget: Google promises no time within which a new job is listed, and none was measured.
    """

    find_lag = 30.0

    def __init__(self, config: VertexConfig) -> None:
        self.config = config

    @cached_property
    def api(self) -> VertexApi:
        """The way to Google."""
        return VertexApi(self.config)

    @cached_property
    def jobs(self) -> VertexJobs:
        from mlport_vertex.jobs import VertexJobs

        return VertexJobs(self.api)

    @cached_property
    def sweeps(self) -> VertexSweeps:
        from mlport_vertex.sweeps import VertexSweeps

        return VertexSweeps(self.api, self.jobs)

    @cached_property
    def models(self) -> VertexModels:
        from mlport_vertex.models import VertexModels

        return VertexModels(self.api, self.state)

    @cached_property
    def endpoints(self) -> VertexEndpoints:
        from mlport_vertex.endpoints import VertexEndpoints

        return VertexEndpoints(self.api, self.state)

    @cached_property
    def schedules(self) -> VertexSchedules:
        from mlport_vertex.schedules import VertexSchedules

        return VertexSchedules(self.api, self.state)

    @cached_property
    def monitors(self) -> VertexMonitors:
        from mlport_vertex.monitors import VertexMonitors

        return VertexMonitors(self.api, self.state)

    @cached_property
    def operations(self) -> VertexOperations:
        from mlport_vertex.operations import VertexOperations

        return VertexOperations(self.api, self.state)

    @cached_property
    def state(self) -> ObjectStateStore:
        from mlport.state.objects import ObjectStateStore

        bucket, prefix = split(self.config.state)
        return ObjectStateStore(self.api.connection.store(bucket), prefix)

    def facts(self, spec: Spec) -> Json:
        """Of a model whether it has versions and which flavors the files have; of a deployment with which container it is registered.

        So it is of a batch of Vertex AI's own. Machines and their prices are in a table that goes with mlport.
        """
        from mlport.specs import BatchSpec, DeploymentSpec, EndpointSpec, ModelSpec

        if isinstance(spec, ModelSpec):
            return self.models.facts(spec)
        if isinstance(spec, BatchSpec) and spec.options.get("vertex", {}).get("batch") == "native":
            return self.endpoints.facts(DeploymentSpec(model=spec.model))
        return self.endpoints.facts(spec) if isinstance(spec, EndpointSpec | DeploymentSpec) else {}

    def input(self, uri: str) -> InputFact:
        """An object's generation, a web address's or table's ETag, or the digest of what lies on this machine."""
        if uri.startswith("gs://"):
            return self._object(uri)
        if uri.startswith("bq://"):
            return self._table(uri)
        if transfer.is_url(uri):
            return transfer.identify(uri)
        path = transfer.local_path(uri)
        if not path.exists():
            raise NotFoundError(f"{path} does not exist", provider="vertex", operation="input")
        digest = tree_digest(path) if path.is_dir() else file_digest(path)
        return InputFact(str(path), "sha256", digest, tree_bytes(path))

    def _object(self, uri: str) -> InputFact:
        found = self.api.objects.head(uri) if split(uri)[1] else None
        if found is not None:
            return InputFact(uri, "generation", str(found["version"]), found["size"])
        sizes = [size for _, size in self.api.objects.list(uri)]
        if not sizes:
            raise NotFoundError(f"there is no object at {uri}, and none below it", provider="vertex", operation="input")
        return InputFact(uri, "unversioned", "", sum(sizes))

    def _table(self, uri: str) -> InputFact:
        """A table of BigQuery; its etag changes with it."""
        parts = uri.removeprefix("bq://").split(".")
        if len(parts) != 3 or not all(parts):
            raise SpecError(f"{uri!r} is no table", hint="an address of one is bq://PROJECT.DATASET.TABLE")
        project, dataset, table = map(quote, parts)
        url = f"https://bigquery.googleapis.com/bigquery/v2/projects/{project}/datasets/{dataset}/tables/{table}"
        found = self.api.connection.send("GET", url, operation="bigquery.tables.get", repeatable=True)
        return InputFact(uri, "etag", str(found["etag"]), int(found.get("numBytes", 0)))

    def doctor(self) -> Iterator[Finding]:
        from mlport_vertex.doctor import findings

        return findings(self.api)

    def close(self) -> None:
        """Hang up. What is asked for afterwards opens anew."""
        for role in (
            "schedules",
            "monitors",
            "operations",
            "endpoints",
            "models",
            "sweeps",
            "jobs",
            "state",
            "api",
        ):  # each stands on those after it
            opened = self.__dict__.pop(role, None)
            if opened is not None and hasattr(opened, "close"):
                opened.close()
