"""Models and their versions as they are kept: a document for each model with its aliases, and one for each version.

A document of the kind `models` is `{"name", "createTime", "last", "aliases": {alias: version}}`; of the kind
`modelVersions`, named `MODEL@VERSION`, `{"model": the Model, "operation": what made it}`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlport_vertex.emulator.place import Place, now
from mlport_vertex.emulator.protocol.errors import ApiError, not_found
from mlport_vertex.emulator.protocol.resources import etag, normal

Json = dict[str, Any]
MODELS, VERSIONS, DEPLOYMENTS = "models", "modelVersions", "deployments"
DEFAULT = "default"

# As Vertex AI shows them for models with a container (GoogleCloudPlatform/data-science-on-gcp#154).
OF_CONTAINERS = {
    "supportedDeploymentResourcesTypes": ["DEDICATED_RESOURCES"],
    "supportedInputStorageFormats": ["jsonl", "bigquery", "csv", "tf-record", "tf-record-gzip", "file-list"],
    "supportedOutputStorageFormats": ["jsonl", "bigquery"],
}


class Registry:
    """The models of one place."""

    def __init__(self, place: Place) -> None:
        self._documents = place.documents

    # ---------------------------------------------------------------- reading

    def resolve(self, name: str) -> tuple[str, str]:
        """Model and version id of `.../models/M`, `M@2` or `M@alias`. Raises ApiError (NOT_FOUND)."""
        model, _, wanted = normal(name).partition("@")
        found = self._documents.get(MODELS, model)
        if found is None:
            raise not_found("Model", normal(name))
        version = found["aliases"].get(wanted or DEFAULT, wanted)
        if self._documents.get(VERSIONS, f"{model}@{version}") is None:
            raise not_found("Model", normal(name))
        return model, version

    def get(self, name: str) -> Json:
        """The Model as it is answered. Raises ApiError (NOT_FOUND)."""
        model, version = self.resolve(name)
        found, kept = self._documents.get(MODELS, model), self._documents.get(VERSIONS, f"{model}@{version}")
        if found is None or kept is None:
            raise not_found("Model", normal(name))
        return self._shown(found, kept["model"])

    def default(self, model: Json) -> Json:
        """A model's default version, for lists."""
        return self.get(model["name"])

    def versions(self, name: str) -> Iterator[tuple[int, Json]]:
        """All versions of a model, newest first; their names say which. Raises ApiError (NOT_FOUND)."""
        model = normal(name).partition("@")[0]
        found = self._documents.get(MODELS, model)
        if found is None:
            raise not_found("Model", model)
        for number, kept in self._documents.list(VERSIONS, f"{model}@"):
            shown = self._shown(found, kept["model"])
            yield number, {**shown, "name": f"{model}@{shown['versionId']}"}

    def _shown(self, model: Json, version: Json) -> Json:
        aliases = sorted(alias for alias, held in model["aliases"].items() if held == version["versionId"])
        answered = {**version, **({"versionAliases": aliases} if aliases else {})}
        deployed = self.deployed(model["name"], version["versionId"])
        return {**answered, "etag": etag(answered), **({"deployedModels": deployed} if deployed else {})}

    def deployed(self, model: str, version: str | None = None) -> list[Json]:
        """Where a model, or one version of it, is deployed or being deployed."""
        return [
            {"endpoint": body["endpoint"], "deployedModelId": body["id"]}
            for _, body in self._documents.list(DEPLOYMENTS)
            if body["model"] == model and version in (None, body["version"])
        ]

    # ---------------------------------------------------------------- changing

    def add(self, model: str, body: Json, aliases: list[str], operation: str, *, is_new: bool) -> str:
        """Make a version; its id. Asked again for the same operation, it gives what that made.

        Raises:
            ApiError: ALREADY_EXISTS for a new model that is there, NOT_FOUND for a parent that is not.
        """
        with self._documents.together():
            for _, kept in self._documents.list(VERSIONS, f"{model}@"):
                if kept["operation"] == operation:
                    return str(kept["model"]["versionId"])
            if is_new:
                self._begin(model)
            found = self._documents.change(MODELS, model, lambda before: {**before, "last": before["last"] + 1})
            if found is None:
                raise not_found("Model", model)
            version = str(found["last"])
            moment = now()
            times = {"createTime": found["createTime"], "updateTime": moment, "versionCreateTime": moment, "versionUpdateTime": moment}
            kept = {"model": {**body, "name": model, "versionId": version, **times}, "operation": operation}
            self._documents.insert(VERSIONS, f"{model}@{version}", kept)
            self._point(model, version, [*aliases, *([DEFAULT] if is_new else [])], [])
            return version

    def _begin(self, model: str) -> None:
        if self._documents.get(MODELS, model) is not None:
            raise ApiError("ALREADY_EXISTS", f"The Model already exists: {model}")
        self._documents.insert(MODELS, model, {"name": model, "createTime": now(), "last": 0, "aliases": {}})

    def _point(self, model: str, version: str, aliases: list[str], dropped: list[str]) -> None:
        def change(found: Json) -> Json:
            left = {alias: held for alias, held in found["aliases"].items() if not (alias in dropped and held == version)}
            return {**found, "aliases": {**left, **dict.fromkeys(aliases, version)}}

        self._documents.change(MODELS, model, change)

    def merge_aliases(self, name: str, added: list[str], dropped: list[str]) -> Json:
        """Move aliases to a version, and take others from it."""
        model, version = self.resolve(name)
        self._point(model, version, added, dropped)
        return self.get(f"{model}@{version}")

    def patch(self, name: str, change: Any) -> Json:
        """Give a version what `change` makes of the Model as it is answered."""
        model, version = self.resolve(name)
        with self._documents.together():
            changed = change(self.get(f"{model}@{version}"))
            kept = {key: value for key, value in changed.items() if key not in ("etag", "versionAliases", "deployedModels")}
            moment = now()
            kept.update(updateTime=moment, versionUpdateTime=moment)
            self._documents.change(VERSIONS, f"{model}@{version}", lambda before: {**before, "model": kept})
        return self.get(f"{model}@{version}")

    def remove(self, model: str, version: str | None = None) -> None:
        """Forget a version, or the whole model."""
        with self._documents.together():
            for _, kept in list(self._documents.list(VERSIONS, f"{model}@")):
                held = kept["model"]["versionId"]
                if version in (None, held):
                    self._documents.delete(VERSIONS, f"{model}@{held}")
            if version is None:
                self._documents.delete(MODELS, model)
            else:
                self._documents.change(
                    MODELS,
                    model,
                    lambda found: {**found, "aliases": {key: held for key, held in found["aliases"].items() if held != version}},
                )
