"""The registry: Unity Catalog's models of one schema, with mlport's record in each version's description.

Decisions: a version that is not whole (PENDING_REGISTRATION, FAILED_REGISTRATION) is in no listing. A model stays when its
last version goes, so that a number never means two things. A listing tells neither tags nor aliases: they are looked up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from mlport.errors import ConflictError, NotFoundError, SpecError, UnsupportedError, stamped
from mlport.specs import ModelSpec
from mlport.spi import Json, ModelRecord, Operation, Page, Plan, Query, StateStore, VersionRecord
from mlport.transfer import is_url
from mlport_databricks.names import model_name, settled, version_number, volume_path
from mlport_databricks.notes import Note, Notes
from mlport_databricks.pages import page_of
from mlport_databricks.registry import model_files
from mlport_databricks.registry.model_records import READY, all_tags, model_record, record_of, version_record
from mlport_databricks.registry.model_request import API, DIGEST_TAG, refuse_tags
from mlport_databricks.registry.model_storage import open_storage
from mlport_databricks.registry.registering import Registrations, look_version, versions_of, whole, written
from mlport_databricks.serving.served import endpoints_with
from mlport_databricks.workspace.connection import Connection

T = TypeVar("T")
CATALOG = "/api/2.1/unity-catalog/models"
ALIAS = re.compile(r"[A-Za-z0-9_-]{1,255}")
RESERVED_ALIAS = re.compile(r"latest|v\d+", re.IGNORECASE)
"""mlflow/utils/validation.py: `_validate_model_alias_name`, `_validate_model_alias_name_reserved`."""
LOOKS_AT_ONCE = 8


@stamped("databricks", "models")
class DatabricksModels:
    """The models of one schema. Safe to use from several threads."""

    def __init__(self, connection: Connection, state: StateStore) -> None:
        self._connection, self._state, self._notes = connection, state, Notes(state)
        self._config = connection.config

    # ---------------------------------------------------------------- registering

    def register(self, plan: Plan, *, token: str) -> Operation:
        """Make the version, copy the files into its storage and finalize it; the same token makes the same version.

        Raises:
            InputChangedError: the files changed since the plan was made; SpecError: they are an MLflow model that Unity
                Catalog does not take.
        """
        if found := self.find(token):
            return found
        bodies = {request.path.removeprefix(f"{API}/"): settled(request.body, token) for request in plan.requests}
        files = model_files.source(self._connection, str(plan.spec["path"]))
        declared = model_files.checked(files)
        model = plan.facts.model or {}
        digest = model.get("digest") or model_files.digest_of(files)
        record = {
            "digest": digest,
            "flavors": declared["flavors"],
            "signature": declared["signature"],
            "lineage": model.get("lineage") or {},
            "description": plan.spec.get("description", ""),
            "job": plan.spec.get("job_id"),
            **({} if declared["mlflow"] else {"plain": True}),
        }
        version = bodies["model-versions/create"]
        version["description"] = written(self._state, token, record)
        for tag in version["tags"]:
            tag["value"] = digest if tag["key"] == DIGEST_TAG else tag["value"]
        made = bodies.get("registered-models/create")
        kept = {"digest": digest, **({} if declared["mlflow"] else {"plain": True})}
        change = {
            "model": made or {"name": version["name"]},
            "exists": made is None,
            "version": version,
            "record": kept,
            "path": plan.spec["path"],
        }
        note = Registrations(self._connection, self._state).begin(Note(token, "model", plan.name, change), files)
        return note.operation

    def find(self, token: str) -> Operation | None:
        note = self._notes.find(token)
        return note.operation if note and note.kind == "model" else None

    def facts(self, spec: ModelSpec) -> Json:
        """What a plan asks: whether the model is there, and what its files declare."""
        exists = self._model(model_name(self._config, spec.name)) is not None
        if is_url(spec.path) and volume_path(spec.path) is None:
            return {"exists": exists}  # the plan refuses it
        return {"exists": exists, **model_files.source(self._connection, spec.path).described()}

    # ---------------------------------------------------------------- reading

    def get(self, name: str, version: str) -> VersionRecord:
        return self._record(self._version(name, version))

    def _version(self, name: str, version: str) -> Json:
        found = look_version(self._connection, model_name(self._config, name), version_number(name, version))
        if found is None or found.get("status", READY) != READY:
            raise NotFoundError(f"{name} has no version {version}" + (" that is whole yet" if found else ""))
        return found

    def _record(self, version: Json) -> VersionRecord:
        return version_record(version, whole(self._state, record_of(version)))

    def _model(self, full: str) -> Json | None:
        try:
            found = self._connection.call("GET", f"{API}/registered-models/get", operation="models.get", query={"name": full})
        except NotFoundError:
            return None
        answer: Json = found["registered_model"]
        return answer

    def resolve(self, name: str, alias: str) -> str:
        full = model_name(self._config, name)
        try:
            found = self._connection.call("GET", f"{CATALOG}/{full}/aliases/{_checked(alias)}", operation="models.resolve")
        except NotFoundError as error:
            raise NotFoundError(f"{name} has no alias {alias!r}", native_code=error.native_code) from error
        return str(found["version"])

    def list(self, query: Query, page: str | None = None) -> Page[ModelRecord]:
        """One page of the schema's models; all are listed to sort them, and only those of the page are looked up."""
        found = [model for model in self._listed() if query.name in (None, model["name"])]
        if query.labels:
            has = _each(lambda name: self._with(name, query.labels), [str(model["name"]) for model in found])
            found = [model for model in found if model["name"] in has]
        some, after = page_of(found, _age, newest_first=query.newest_first, size=query.page_size, page=page)
        return Page(_each(self._look_model, [str(model["name"]) for model in some]), after)

    def _with(self, name: str, wanted: Mapping[str, str]) -> str | None:
        model = self._model(model_name(self._config, name))
        return name if model and wanted.items() <= all_tags(model).items() else None

    def _listed(self) -> Iterable[Json]:
        query: dict[str, str | int] = {"catalog_name": self._config.catalog, "schema_name": self._config.schema_, "max_results": 100}
        while True:
            found = self._connection.call("GET", CATALOG, operation="models.list", query=query)
            yield from found.get("registered_models", ())
            if not found.get("next_page_token"):
                return
            query["page_token"] = found["next_page_token"]

    def _look_model(self, name: str) -> ModelRecord | None:
        model = self._model(model_name(self._config, name))
        return model_record(model, self._numbers(name)) if model else None  # None: it went since it was listed

    def _numbers(self, name: str) -> Sequence[str]:
        """The numbers of a model's whole versions, newest first."""
        found = versions_of(self._connection, model_name(self._config, name))
        return sorted((str(version["version"]) for version in found if version.get("status", READY) == READY), key=int, reverse=True)

    def versions(self, name: str, query: Query, page: str | None = None) -> Page[VersionRecord]:
        """One page of versions, by number. Raises NotFoundError for an unknown model."""
        numbers = self._numbers(name)
        if not numbers and self._model(model_name(self._config, name)) is None:
            raise NotFoundError(f"no model named {name!r} in {self._config.namespace}")
        full = model_name(self._config, name)
        if query.labels:
            looked = _each(lambda number: look_version(self._connection, full, number), numbers)
            numbers = [str(version["version"]) for version in looked if query.labels.items() <= all_tags(version).items()]
        some, after = page_of(numbers, lambda number: [int(number)], newest_first=query.newest_first, size=query.page_size, page=page)
        versions = _each(lambda number: look_version(self._connection, full, number), some)
        return Page([self._record(version) for version in versions], after)

    # ---------------------------------------------------------------- changing

    def set_alias(self, name: str, alias: str, version: str) -> None:
        path = f"{CATALOG}/{model_name(self._config, name)}/aliases/{_checked(alias)}"
        body = {"version_num": int(self._version(name, version)["version"])}
        self._connection.call("PUT", path, operation="models.set_alias", body=body, repeatable=True)

    def drop_alias(self, name: str, alias: str) -> None:
        """Take an alias away; an absent one is fine."""
        path = f"{CATALOG}/{model_name(self._config, name)}/aliases/{_checked(alias)}"
        try:
            self._connection.call("DELETE", path, operation="models.drop_alias", repeatable=True)
        except NotFoundError:
            return

    def tag(self, name: str, version: str, tags: Mapping[str, str | None]) -> None:
        """Set and remove tags, one call each."""
        refuse_tags(tags)
        found = self._version(name, version)
        there = all_tags(found)
        which = {"name": str(found["name"]), "version": str(found["version"])}
        for key, value in tags.items():
            if value is not None:
                body = {**which, "key": key, "value": value}
                self._connection.call("POST", f"{API}/model-versions/set-tag", operation="models.tag", body=body, repeatable=True)
            elif key in there:
                body = {**which, "key": key}
                self._connection.call("DELETE", f"{API}/model-versions/delete-tag", operation="models.tag", body=body, repeatable=True)

    def approve(self, name: str, version: str, *, approved: bool, reason: str = "") -> None:
        raise UnsupportedError(
            "databricks", [("model.approval", "absent: Unity Catalog's models have no approval; use an alias such as approved")]
        )

    def download(self, name: str, version: str, destination: Path) -> Path:
        found = self._version(name, version)
        if not found.get("storage_location"):
            raise NotFoundError(f"{name}:{version} has no files in Unity Catalog")
        store = open_storage(self._connection, str(found["name"]), str(found["version"]), str(found["storage_location"]), "READ")
        return model_files.download(store, destination, plain=bool(record_of(found).get("plain")))

    # ---------------------------------------------------------------- removing

    def delete(self, name: str, version: str) -> None:
        """Remove a version and its files; an absent one is fine. The model stays.

        Raises:
            ConflictError: it is served.
        """
        full = model_name(self._config, name)
        if not version.isdecimal() or look_version(self._connection, full, version) is None:
            return
        if where := endpoints_with(self._connection, full, version):
            raise ConflictError(f"{name}:{version} is served by {', '.join(where)}", hint="undeploy it first")
        try:
            self._connection.call("DELETE", f"{CATALOG}/{full}/versions/{version}", operation="models.delete", repeatable=True)
        except NotFoundError:
            return


def _each(look: Callable[[str], T | None], names: Sequence[str]) -> list[T]:
    """What is found for each name, several at a time."""
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
        return [found for found in pool.map(look, names) if found is not None]


def _age(model: Json) -> list[int | str]:
    return [int(model.get("created_at", 0)), str(model["name"])]


def _checked(alias: str) -> str:
    """An alias that Unity Catalog takes. Raises SpecError."""
    if not ALIAS.fullmatch(alias):
        raise SpecError(f"alias {alias!r}: Unity Catalog takes letters, digits, _ and - only", hint="for example champion")
    if RESERVED_ALIAS.fullmatch(alias):
        raise SpecError(f"alias {alias!r}: Unity Catalog keeps latest and names such as v1 for itself", hint="for example champion")
    return alias
