"""aiplatform: models, their versions and aliases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.protocol.api import Handler, Request
from mlport_vertex.emulator.protocol.discovery import camel, document
from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.protocol.long_running import EMPTY, Work, shown, typed
from mlport_vertex.emulator.protocol.resources import listing, masked, new_id, normal, page, visible
from mlport_vertex.emulator.protocol.rules import check_alias, check_etag, check_model_id, check_resource, invalid
from mlport_vertex.emulator.storing.registry import DEFAULT, MODELS, OF_CONTAINERS, Registry

Json = dict[str, Any]
PREFIX = "aiplatform.projects.locations.models"


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their ids."""
    models = Models(place)
    place.operations.register("models.upload", models.uploaded)
    place.operations.register("models.delete", models.deleted)
    return {
        f"{PREFIX}.upload": models.upload,
        f"{PREFIX}.get": lambda request: models.registry.get(request.name),
        f"{PREFIX}.list": models.list,
        f"{PREFIX}.listVersions": models.list_versions,
        f"{PREFIX}.mergeVersionAliases": models.merge_aliases,
        f"{PREFIX}.patch": models.patch,
        f"{PREFIX}.deleteVersion": models.delete_version,
        f"{PREFIX}.delete": models.delete,
        f"{PREFIX}.copy": models.copy,
        f"{PREFIX}.export": models.export,
    }


class Models:
    """What the methods do."""

    def __init__(self, place: Place) -> None:
        self.place, self.registry = place, Registry(place)

    # ---------------------------------------------------------------- making

    def upload(self, request: Request) -> Json:
        """Begin to make a version; the operation stands under the model that it will be of."""
        body = request.body
        model, aliases = dict(body["model"]), list(body["model"].get("versionAliases", []))
        check_resource("model", model)
        _check_content(model)
        for alias in aliases:
            check_alias(alias)
        source = {"modelSourceInfo": {"sourceType": "CUSTOM"}, **(OF_CONTAINERS if model.get("containerSpec") else {})}
        return self._begin(request, {**model, **source}, aliases)

    def copy(self, request: Request) -> Json:
        """Begin to copy the default version, or the one that the source's name says."""
        source = self.registry.get(request.body["sourceModel"])
        origin = {"originalModelInfo": {"model": source["name"]}, "modelSourceInfo": {**source["modelSourceInfo"], "copy": True}}
        content = {key: value for key, value in source.items() if key not in ("deployedModels", "versionAliases", "etag")}
        return self._begin(request, {**content, **origin}, [], message="CopyModel")

    def _begin(self, request: Request, model: Json, aliases: list[str], message: str = "UploadModel") -> Json:
        chosen, parent = request.body.get("modelId"), request.body.get("parentModel")
        if chosen and parent:
            raise invalid("model_id", "Only one of model_id and parent_model can be set.")
        if chosen:
            check_model_id(chosen)
        if parent:
            name, _ = self.registry.resolve(parent.partition("@")[0])
        else:
            name = f"{normal(request.parent)}/models/{chosen or new_id(self.place)}"
        if not parent and self.place.documents.get(MODELS, name) is not None:
            raise ApiError("ALREADY_EXISTS", f"The Model already exists: {name}")
        content = {key: value for key, value in model.items() if key not in ("name", "etag", "versionAliases")}
        arguments = {"model": content, "aliases": aliases, "is_new": not parent, "message": message}
        return shown(self.place.operations.begin(name, f"{message}OperationMetadata", "models.upload", arguments), request)

    def uploaded(self, work: Work) -> Json:
        given = work.args
        version = self.registry.add(work.resource, given["model"], given["aliases"], work.operation, is_new=given["is_new"])
        return typed(f"{given['message']}Response", {"model": work.resource, "modelVersionId": version})

    # ---------------------------------------------------------------- looking

    def list(self, request: Request) -> Any:
        return listing(self.place, request, MODELS, "models", self.registry.default)

    def list_versions(self, request: Request) -> Any:
        """A version that the fault "lag" hides is judged by when it was made, not by when its model was."""
        found = dict(self.registry.versions(request.name))
        made = ((number, {"createTime": body["versionCreateTime"]}) for number, body in found.items())
        return page(request, "models", ((number, found[number]) for number, _ in visible(request, made)))

    # ---------------------------------------------------------------- changing

    def merge_aliases(self, request: Request) -> Json:
        """`-alias` removes; what is both added and removed is left as it is, as the description says."""
        said = list(request.body["versionAliases"])
        dropped, added = {alias[1:] for alias in said if alias.startswith("-")}, {alias for alias in said if not alias.startswith("-")}
        for alias in dropped | added:
            check_alias(alias)
        if DEFAULT in dropped - added:
            raise invalid("version_aliases", "The default version alias cannot be removed; add it to another version to move it.")
        return self.registry.merge_aliases(request.name, sorted(added - dropped), sorted(dropped - added))

    def patch(self, request: Request) -> Json:
        mask, sent = str(request.arguments.get("updateMask", "")), request.body
        _check_mask(mask)
        check_resource("model", sent)

        def change(there_is: Json) -> Json:
            check_etag("Model", sent.get("etag"), there_is["etag"])
            return masked(there_is, mask, sent)

        return self.registry.patch(request.name, change)

    def export(self, request: Request) -> Json:
        self.registry.get(request.name)
        raise ApiError("FAILED_PRECONDITION", f"The Model {normal(request.name)} does not support export.")

    # ---------------------------------------------------------------- removing

    def delete_version(self, request: Request) -> Json:
        model, _, wanted = normal(request.name).partition("@")
        if not wanted.isdigit():
            raise invalid("name", "The version ID must be explicitly included, such as models/{model}@1234.")
        _, version = self.registry.resolve(request.name)
        if len(list(self.registry.versions(model))) == 1:
            raise ApiError(
                "FAILED_PRECONDITION", f"Deleting the only version in the Model {model} is not allowed. Use DeleteModel instead."
            )
        if DEFAULT in self.registry.get(f"{model}@{version}").get("versionAliases", []):
            raise ApiError("FAILED_PRECONDITION", f"The default version {version} of the Model {model} cannot be deleted.")
        self._refuse_deployed(model, version)
        return self._delete(request, model, version)

    def delete(self, request: Request) -> Json:
        model, _ = self.registry.resolve(normal(request.name).partition("@")[0])
        self._refuse_deployed(model, None)
        return self._delete(request, model, None)

    def _delete(self, request: Request, model: str, version: str | None) -> Json:
        return shown(self.place.operations.begin(model, "DeleteOperationMetadata", "models.delete", {"version": version}), request)

    def deleted(self, work: Work) -> Json:
        self._refuse_deployed(work.resource, work.args["version"])
        self.registry.remove(work.resource, work.args["version"])
        return EMPTY

    def _refuse_deployed(self, model: str, version: str | None) -> None:
        """The sentence is BigQuery ML's report of Vertex AI's."""
        if deployed := self.registry.deployed(model, version):
            where = ", ".join(sorted({each["endpoint"] for each in deployed}))
            name = f"{model}@{version}" if version else model
            raise ApiError(
                "FAILED_PRECONDITION",
                f'The Model "{name}" is deployed or being deployed at the following Endpoint(s): {where}. '
                "Please undeploy the model before retry.",
            )


def _check_content(model: Json) -> None:
    uri, container = model.get("artifactUri", ""), model.get("containerSpec", {})
    if uri and not uri.startswith("gs://"):
        raise invalid("model.artifact_uri", f"It must be a Cloud Storage URI that begins with gs://, not {uri}.")
    for field in ("predictRoute", "healthRoute"):
        if container.get(field) and not container[field].startswith("/"):
            raise invalid(f"model.container_spec.{'predict' if 'predict' in field else 'health'}_route", "It must begin with a slash.")
    if len(container.get("env", [])) > 100:
        raise invalid("model.container_spec.env", "At most 100 environment variables can be specified.")


def _check_mask(mask: str) -> None:
    """A mask is required, and may name what can be changed only. The description marks what cannot."""
    properties = document("aiplatform.v1").schemas["GoogleCloudAiplatformV1Model"]["properties"]
    for path in mask.split(",") if mask else [""]:
        field = camel(path.partition(".")[0])
        described = str(properties.get(field, {}).get("description", ""))
        if field not in properties and field != "*":
            raise invalid("update_mask", f"Invalid field mask: {mask!r}.")
        if described.startswith(("Immutable.", "Output only.", "Identifier.")) or field in ("versionAliases", "containerSpec"):
            raise invalid("update_mask", f"The field {path} cannot be updated.")
