"""The registry of Vertex AI: versions whose files lie in the staging folder, with mlport's record in their description.

Decisions: aliases are Vertex AI's, of which `default` is its own and is not shown. Tags are kept in the record, and are
labels, too, where Google's rules let them. The last version of a model goes with the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlport.errors import ConflictError, InvalidRequestError, NotFoundError, ProviderError, SpecError, UnsupportedError, stamped
from mlport.specs import ModelSpec
from mlport.spi import Json, ModelRecord, Operation, Page, Plan, Query, StateStore, VersionRecord
from mlport.transfer import is_url, local_path
from mlport.waiting import delays, wait_until
from mlport_vertex.google.api import VertexApi
from mlport_vertex.labels import labels
from mlport_vertex.names import digest_label, last, model_name, settled, version_number
from mlport_vertex.registry import model_files
from mlport_vertex.registry.model_records import model_record, record_of, version_record
from mlport_vertex.registry.model_request import DIGEST_LABEL, fitting, refuse_reserved, written
from mlport_vertex.sagas import Note, Sagas, Step
from mlport_vertex.serving.endpoint_request import SERVES_LABEL

ALIAS_HINT = "two to 128 letters, digits and hyphens; a lower-case letter first, a lower-case letter or digit last"
NEWEST = "create_time desc"
DELETE_SECONDS = 300.0
LONGEST_RECORD = 8000
"""Characters of a description. Google tells no limit; what is longer is cut out of it, into an object beside the files."""
LOOKS_AT_ONCE = 8


@stamped("vertex", "models")
class VertexModels:
    """The models of one project and region. Safe to use from several threads."""

    def __init__(self, api: VertexApi, state: StateStore) -> None:
        self._api, self._sagas = api, Sagas(api, state)
        self._parent = api.config.parent

    # ---------------------------------------------------------------- registering

    def register(self, plan: Plan, *, token: str) -> Operation:
        """Put the files where the token says, then begin to make the version; the same token makes the same version.

        Raises:
            InputChangedError: the files changed since the plan was made.
        """
        if found := self.find(token):
            return found
        stored, upload = (settled(request.body, token) for request in plan.requests)
        record = record_of(upload["model"])
        files = model_files.store(self._api, stored["from"], record["digest"], stored["to"].rstrip("/"))
        record.update({part: files[part] for part in ("digest", "flavors", "signature")})
        upload["model"]["labels"][DIGEST_LABEL] = digest_label(record["digest"])
        upload["model"]["versionDescription"] = self._described(record, stored["to"].rstrip("/"))
        step = Step("models.upload", self._parent, upload)
        return _operation(self._sagas.begin(Note(token, "model", plan.name, (step,))))

    def _described(self, record: Json, files: str) -> str:
        text = written(record)
        if len(text) <= LONGEST_RECORD:
            return text
        large = {part: record.pop(part) for part in ("lineage", "signature")}
        self._api.objects.put(f"{files}.json", json.dumps(large).encode())
        return written({**record, "more": f"{files}.json"})

    def find(self, token: str) -> Operation | None:
        note = self._sagas.find(token)
        return _operation(note) if note and note.kind == "model" else None

    def facts(self, spec: ModelSpec) -> Json:
        """What a plan asks: whether the model has versions, and which flavors the files have."""
        known = self._look(model_name(self._parent, spec.name)) is not None
        if spec.path.startswith("gs://"):
            content = self._api.objects.get(f"{spec.path.rstrip('/')}/{model_files.DESCRIPTION}")
        else:
            path = local_path(spec.path) / model_files.DESCRIPTION
            content = path.read_bytes() if not is_url(spec.path) and path.is_file() else None
        return {"next_of": known, **model_files.describe(content)}

    # ---------------------------------------------------------------- reading

    def get(self, name: str, version: str) -> VersionRecord:
        return self._record(name, self._version(name, version))

    def _version(self, name: str, version: str) -> Json:
        return self._api.call("models.get", name=model_name(self._parent, name, version_number(name, version)))

    def _look(self, name: str) -> Json | None:
        try:
            return self._api.call("models.get", name=name)
        except NotFoundError:
            return None

    def _record(self, name: str, model: Json) -> VersionRecord:
        return version_record(name, model, self._whole(record_of(model)))

    def _whole(self, record: Json) -> Json:
        """The record with what was too long for the description."""
        if not record.get("more"):
            return record
        content = self._api.objects.get(record["more"])
        return {**record, **(json.loads(content) if content else {})}

    def resolve(self, name: str, alias: str) -> str:
        try:
            return str(self._api.call("models.get", name=model_name(self._parent, name, _checked(alias)))["versionId"])
        except NotFoundError as error:
            raise NotFoundError(f"{name} has no alias {alias!r}", native_code=error.native_code) from error

    def list(self, query: Query, page: str | None = None) -> Page[ModelRecord]:
        """One page of models; the copies that deployments are made of are left out."""
        wanted = [f'labels.{key}="{value}"' for key, value in query.labels.items()]
        if query.name:
            wanted.append(f'model="{query.name}"')
        found = self._api.call(
            "models.list",
            parent=self._parent,
            filter=" AND ".join(wanted) or None,
            orderBy=NEWEST if query.newest_first else "create_time",
            pageSize=query.page_size,
            pageToken=page,
        )
        models = [model for model in found.get("models", ()) if SERVES_LABEL not in model.get("labels", {})]
        with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
            versions = list(pool.map(lambda model: _all_versions(self._api, last(model["name"])), models))
        records = [model_record(model, listed) for model, listed in zip(models, versions, strict=True) if listed]
        return Page(records, found.get("nextPageToken") or None)

    def versions(self, name: str, query: Query, page: str | None = None) -> Page[VersionRecord]:
        """One page of versions, by when they were made. Raises NotFoundError for an unknown model."""
        found = self._api.call(
            "models.listVersions",
            name=model_name(self._parent, name),
            filter=" AND ".join(f'labels.{key}="{value}"' for key, value in query.labels.items()) or None,
            orderBy=NEWEST if query.newest_first else "create_time",
            pageSize=query.page_size,
            pageToken=page,
        )
        return Page([self._record(name, model) for model in found.get("models", ())], found.get("nextPageToken") or None)

    # ---------------------------------------------------------------- changing

    def set_alias(self, name: str, alias: str, version: str) -> None:
        self._merge(name, version_number(name, version), _checked(alias))

    def drop_alias(self, name: str, alias: str) -> None:
        """Take an alias from whichever version has it."""
        found = self._look(model_name(self._parent, name, _checked(alias)))
        if found is not None:
            self._merge(name, str(found["versionId"]), f"-{alias}")

    def _merge(self, name: str, version: str, alias: str) -> None:
        self._api.call("models.mergeVersionAliases", name=model_name(self._parent, name, version), body={"versionAliases": [alias]})

    def tag(self, name: str, version: str, tags: Mapping[str, str | None]) -> None:
        """Change tags. Raises BusyError when somebody else changed the version at the same time."""
        refuse_reserved(tags)
        model = self._version(name, version)
        record = record_of(model)
        before: dict[str, str] = record["tags"] if record else dict(model.get("labels", {}))
        after = {key: value for key, value in {**before, **tags}.items() if value is not None}
        kept = {key: value for key, value in model.get("labels", {}).items() if key not in {*before, *tags}}
        changed = {
            "displayName": model["displayName"],
            "etag": model["etag"],
            "labels": {**fitting(after), **kept} if record else {**kept, **labels(after)},
            **({"versionDescription": written({**record, "tags": after})} if record else {}),
        }
        mask = "labels,versionDescription" if record else "labels"
        self._api.call("models.patch", name=model_name(self._parent, name, version), body=changed, updateMask=mask)

    def approve(self, name: str, version: str, *, approved: bool, reason: str = "") -> None:
        raise UnsupportedError(
            "vertex", [("model.approval", "absent: Vertex AI's registry has no approval; use an alias such as approved")]
        )

    def download(self, name: str, version: str, destination: Path) -> Path:
        uri = self._version(name, version).get("artifactUri")
        if not uri:
            raise NotFoundError(f"{name}:{version} has no files in Cloud Storage")
        return model_files.fetch(self._api, str(uri), destination)

    # ---------------------------------------------------------------- removing

    def delete(self, name: str, version: str) -> None:
        """Remove a version and its files; an absent one is fine. The last one is removed with the model.

        Raises:
            ConflictError: it is deployed.
        """
        model = self._look(model_name(self._parent, name, version)) if version.isdecimal() else None
        if model is None:
            return
        if deployed := model.get("deployedModels"):
            where = ", ".join(sorted({last(each["endpoint"]) for each in deployed}))
            raise ConflictError(f"{name}:{version} is deployed on {where}", hint="undeploy it first")
        others = [str(other["versionId"]) for other in _all_versions(self._api, name) if str(other["versionId"]) != version]
        if others and "default" in model.get("versionAliases", ()):  # Vertex AI deletes no version that has it
            self._merge(name, others[0], "default")
        self._delete(name, version if others else None)
        files = model.get("artifactUri", "")
        if files.startswith(f"{self._api.config.staging}/models/{name}/"):
            self._api.objects.delete_below(files)
            self._api.objects.delete(f"{files}.json")

    def _delete(self, name: str, version: str | None) -> None:
        call = "models.deleteVersion" if version else "models.delete"
        try:
            begun = self._api.call(call, name=model_name(self._parent, name, version))
        except NotFoundError:
            return
        except InvalidRequestError as error:
            raise ConflictError(error.message, native_code=error.native_code) from error
        ended = wait_until(
            lambda: self._api.call("operations.get", name=begun["name"]),
            lambda operation: bool(operation.get("done")),
            pauses=delays(first=0.05, ceiling=2.0),
            timeout=DELETE_SECONDS,
            what=f"the end of model {name}",
        )
        if "error" in ended:
            raise ProviderError(
                f"{name} could not be deleted: {ended['error'].get('message')}", native_code=str(ended["error"].get("code"))
            )


def _all_versions(api: VertexApi, name: str) -> list[Json]:
    """All versions of a model, newest first; none of one that was deleted just now."""
    listed: list[Json] = []
    page: str | None = None
    while True:
        try:
            found = api.call("models.listVersions", name=model_name(api.config.parent, name), orderBy=NEWEST, pageToken=page)
        except NotFoundError:
            return []
        listed += found.get("models", ())
        page = found.get("nextPageToken")
        if not page:
            return listed


def _operation(note: Note) -> Operation:
    return Operation(note.id, "model.register", note.target)


def _checked(alias: str) -> str:
    """aiplatform_v1/types/model.py: `[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]`."""
    import re

    if not re.fullmatch(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]", alias):
        raise SpecError(f"alias {alias!r} is not one that Vertex AI takes", hint=ALIAS_HINT)
    return alias
