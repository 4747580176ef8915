"""The registry: MLflow's model registry, with files copied in whole and mlport's record in tags.

A version is made in an order that a crash cannot spoil: the files are put where the token says, and only then
is the version created, with the token as a tag. So a version that can be seen is complete, and a registration
that is asked for again with the same token finds what there is and does the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlport.errors import NotFoundError, UnsupportedError, stamped
from mlport.spi import Json, ModelRecord, Operation, OperationStatus, Page, Plan, Query, State, VersionRecord
from mlport_local.config import LocalConfig
from mlport_local.locks import held
from mlport_local.registry import model_files as files
from mlport_local.registry import model_records as records
from mlport_local.registry import tracking
from mlport_local.registry.mlflow_errors import translated
from mlport_local.registry.model_request import refuse_reserved
from mlport_local.registry.model_search import reads

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking._model_registry.client import ModelRegistryClient

NEWEST = "latest"
"""MLflow's reserved alias for the newest version; MLflow itself reads every version of the model to answer it."""


@stamped("local", "models")
class LocalModels:
    """The role `Models` on MLflow: SQLite under the root, or any tracking server. Nothing is opened until first use."""

    def __init__(self, config: LocalConfig) -> None:
        self._config = config
        self._home = config.layout.artifacts / "models"

    @property
    def _mlflow(self) -> MlflowClient:
        return tracking.client(self._config)

    @property
    def _registry(self) -> ModelRegistryClient:
        """The layer under MLflow's client, which before each change reads every version of the model to see if it is a prompt."""
        return self._mlflow._get_registry_client()

    # ------------------------------------------------------------ registering

    def register(self, plan: Plan, *, token: str) -> Operation:
        """Copy the files in and create the version; the same token gives the same version.

        The work is done when this returns. Raises InputChangedError when the files changed since the plan was made.
        """
        body = plan.requests[0].body
        with translated("register"), held(self._config.layout.root / "locks" / f"model-{token}"):
            return self._registered(body["name"], token) or self._register(body, token)

    def _registered(self, name: str, token: str) -> Operation | None:
        """As `find`, which looks through all versions: only where there can be one, for its files are put in place before it."""
        return self.find(token) if tracking.is_server(self._config) or (self._home / name / token).exists() else None

    def _register(self, body: Json, token: str) -> Operation:
        name = body["name"]
        run_id = self._run(body, token)
        with files.staged(body["path"], body["digest"], self._home / name) as (folder, digest):
            signature, flavors = files.describe(folder)
            tags = records.version_tags(body, token, digest, signature, flavors)
            uri = self._keep(folder, name, run_id, token)
        version = self._create(body, uri, run_id, tags, records.labels(body, token))
        return _operation(name, str(version.version))

    def _run(self, body: Json, token: str) -> str | None:
        """The job's run; for a server, which keeps files under a run only, one of the version's own where there is no job."""
        from mlport_local.registry import export

        if body["job"]:
            run_id = export.run_of(self._config, body["job"])
            if run_id:
                return run_id
        return export.own_run(self._config, body["name"], token) if tracking.is_server(self._config) else None

    def _keep(self, folder: Path, name: str, run_id: str | None, token: str) -> str:
        if run_id and tracking.is_server(self._config):
            return files.upload(self._mlflow, folder, run_id, token)
        return files.keep(folder, self._home / name / token)

    def _create(self, body: Json, uri: str, run_id: str | None, tags: dict[str, str], labels: dict[str, str]) -> ModelVersion:
        """Create the version, and the model if it is the first: asking whether it is there reads all its versions."""
        from mlflow.exceptions import MlflowException

        create = partial(self._mlflow.create_model_version, body["name"], uri, run_id, tags, description=body["description"] or None)
        try:
            return create()
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        self._create_model(body["name"], labels)
        return create()

    def _create_model(self, name: str, labels: dict[str, str]) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._mlflow.create_registered_model(name, labels)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def find(self, token: str) -> Operation | None:
        with translated("find"):
            found = reads(self._mlflow).find(records.TOKEN_TAG, token)
        return _operation(*found) if found else None

    def operation(self, operation_id: str) -> OperationStatus:
        """Where a registration is, by the id that `register` gave. Raises NotFoundError for a version that is gone."""
        _, name, version = operation_id.split("/")
        found = self._version(name, version)
        return OperationStatus(State.SUCCEEDED, str(found.status), result=str(found.version))

    # ------------------------------------------------------------ reading

    def get(self, name: str, version: str) -> VersionRecord:
        return records.version_record(self._version(name, version))

    def _version(self, name: str, version: str) -> ModelVersion:
        if not version.isdecimal():
            raise NotFoundError(f"{name} has no version {version!r}", hint="versions are numbers; a name such as champion is an alias")
        with translated("get"):
            return self._mlflow.get_model_version(name, version)

    def resolve(self, name: str, alias: str) -> str:
        if alias == NEWEST:
            return self._newest(name)
        with translated("resolve", INVALID_PARAMETER_VALUE=NotFoundError):
            return str(self._mlflow.get_model_version_by_alias(name, alias).version)

    def _newest(self, name: str) -> str:
        newest = self.versions(name, Query(page_size=1)).items
        if not newest:
            raise NotFoundError(f"{name} has no versions")
        return newest[0].version

    def list(self, query: Query, page: str | None = None) -> Page[ModelRecord]:
        with translated("list"):
            return reads(self._mlflow).models(query, page)

    def versions(self, name: str, query: Query, page: str | None = None) -> Page[VersionRecord]:
        """One page of versions by number; labels are compared with tags. Raises NotFoundError for an unknown model."""
        with translated("versions"):
            return reads(self._mlflow).versions(name, query, page)

    # ------------------------------------------------------------ changing

    def set_alias(self, name: str, alias: str, version: str) -> None:
        self._version(name, version)
        with translated("set_alias"):
            self._registry.set_registered_model_alias(name, alias, version)

    def drop_alias(self, name: str, alias: str) -> None:
        with translated("drop_alias"):
            self._registry.delete_registered_model_alias(name, alias)

    def tag(self, name: str, version: str, tags: Mapping[str, str | None]) -> None:
        refuse_reserved(tags)
        present = self._version(name, version).tags
        with translated("tag"):
            for key, value in tags.items():
                if value is not None:
                    self._registry.set_model_version_tag(name, version, key, value)
                elif key in present:
                    self._registry.delete_model_version_tag(name, version, key)

    def approve(self, name: str, version: str, *, approved: bool, reason: str = "") -> None:
        raise UnsupportedError("local", [("model.approval", "absent: MLflow has no approval; use an alias such as approved")])

    def download(self, name: str, version: str, destination: Path) -> Path:
        found = self._version(name, version)
        with translated("download"):
            return files.fetch(tracking.uri(self._config), self._source(found), destination)

    def _source(self, version: ModelVersion) -> str:
        """Where the files are. A version that mlport did not register may name a run or a logged model instead."""
        if records.is_ours(version):
            return records.uri(version)
        return str(self._mlflow.get_model_version_download_uri(version.name, version.version))

    def delete(self, name: str, version: str) -> None:
        try:
            found = self._version(name, version)
        except NotFoundError:
            return
        with translated("delete"):
            self._registry.delete_model_version(name, version)
            if records.is_ours(found):
                files.drop(found.source, self._home)


def _operation(name: str, version: str) -> Operation:
    return Operation(f"model/{name}/{version}", "model.register", name)
