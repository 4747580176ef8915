"""Registered models by MLflow's API: what the store behind `databricks-uc` calls (mlflow/store/_unity_catalog/registry/rest_store.py)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import invalid
from mlport_databricks.emulator.services.paging import page
from mlport_databricks.emulator.services.registered_models import may, own
from mlport_databricks.emulator.storing.models import check_tags
from mlport_databricks.emulator.storing.unity import check_full_name

Json = dict[str, Any]
LIFETIME = 3600  # seconds of temporary credentials
_FILTER = re.compile(r"""\s*(name|run_id)\s*=\s*(?:'([^']*)'|"([^"]*)")\s*""")


def handlers(place: Place) -> Mapping[str, Handler]:
    """By the message's name without `Request`."""
    work = {
        "CreateRegisteredModel": create,
        "UpdateRegisteredModel": update,
        "DeleteRegisteredModel": delete,
        "GetRegisteredModel": get,
        "SearchRegisteredModels": search,
        "CreateModelVersion": create_version,
        "UpdateModelVersion": update_version,
        "DeleteModelVersion": delete_version,
        "GetModelVersion": get_version,
        "SearchModelVersions": search_versions,
        "GenerateTemporaryModelVersionCredentials": credentials,
        "GetModelVersionDownloadUri": download_uri,
        "FinalizeModelVersion": finalize,
        "SetRegisteredModelAlias": set_alias,
        "DeleteRegisteredModelAlias": drop_alias,
        "GetModelVersionByAlias": by_alias,
        "SetRegisteredModelTag": tag_model,
        "DeleteRegisteredModelTag": untag_model,
        "SetModelVersionTag": tag_version,
        "DeleteModelVersionTag": untag_version,
        "EmitModelVersionLineage": lambda place, request: {},
        "IsDatabricksSdkModelsArtifactRepositoryEnabled": lambda place, request: {
            "is_databricks_sdk_models_artifact_repository_enabled": False
        },
    }
    return {name: partial(handler, place) for name, handler in work.items()}


# ---------------------------------------------------------------- models


def create(place: Place, request: Request) -> Json:
    given = request.arguments
    tags = _tags(given)
    made = place.models.create(request.workspace, request.user, given["name"], given.get("description"), tags)
    return {"registered_model": _model(made)}


def update(place: Place, request: Request) -> Json:
    name = request.arguments["name"]
    own(place, request, name)
    changed = place.models.change(request.workspace, request.user, name, comment=request.arguments.get("description"))
    if request.arguments.get("new_name"):
        new = str(request.arguments["new_name"])
        if "." in new and new.lower().rpartition(".")[0] != str(changed["full_name"]).rpartition(".")[0]:
            raise invalid("A registered model cannot be moved to another schema.")
        changed = place.models.rename(request.workspace, request.user, name, new.rpartition(".")[2])
    return {"registered_model": _model(changed)}


def delete(place: Place, request: Request) -> Json:
    own(place, request, request.arguments["name"])
    place.models.delete(request.workspace, request.arguments["name"])
    return {}


def get(place: Place, request: Request) -> Json:
    may(place, request, "EXECUTE", request.arguments["name"])
    return {"registered_model": _model(place.models.get(request.workspace, request.arguments["name"]))}


def search(place: Place, request: Request) -> Json:
    found = place.unity.within(request.workspace, "model")
    seen = [each for each in found if place.grants.has(request.workspace, request.user, ("EXECUTE",), "model", each["full_name"])]
    return page("registered_models", [{**_model(each), "tags": [], "aliases": []} for each in seen], request)


# ---------------------------------------------------------------- versions


def create_version(place: Place, request: Request) -> Json:
    given = request.arguments
    may(place, request, "EXECUTE", given["name"])
    place.grants.require(request.workspace, request.user, "CREATE_MODEL_VERSION", "model", given["name"])
    kept = {name: given[name] for name in ("description", "source", "run_id", "run_tracking_server_id", "model_id") if name in given}
    made = place.models.create_version(request.workspace, request.user, given["name"], tags=_tags(given), **kept)
    return {"model_version": _version(place, request, made)}


def update_version(place: Place, request: Request) -> Json:
    name, number = _numbered(place, request, "MANAGE")
    description = request.arguments.get("description", "")
    changed = place.models.change_version(
        request.workspace, request.user, name, number, lambda before: {**before, "description": description}
    )
    return {"model_version": _version(place, request, changed)}


def delete_version(place: Place, request: Request) -> Json:
    name, number = _numbered(place, request, "MANAGE")
    place.models.delete_version(request.workspace, name, number)
    return {}


def get_version(place: Place, request: Request) -> Json:
    name, number = _numbered(place, request, "EXECUTE")
    return {"model_version": _version(place, request, place.models.version(request.workspace, name, number))}


def search_versions(place: Place, request: Request) -> Json:
    """Descriptions, but neither tags nor aliases (docs/spi/databricks.md [10]). A name that is not there is found no version of."""
    match = _FILTER.fullmatch(request.arguments.get("filter", ""))
    if match is None:
        raise invalid("Invalid filter: it must be of the form name='<catalog>.<schema>.<model>' or run_id='<run id>'")
    field, value = match[1], match[2] if match[2] is not None else match[3]
    within = place.unity.within(request.workspace, "model")
    names = [value] if field == "name" else [str(model["full_name"]) for model in within]
    seen = [
        name for name in names if place.grants.has(request.workspace, request.user, ("EXECUTE",), "model", check_full_name("model", name))
    ]
    found = [each for name in seen for each in place.models.versions(request.workspace, name) if field == "name" or each["run_id"] == value]
    bare = [{key: text for key, text in _version(place, request, each).items() if key not in ("tags", "aliases")} for each in found]
    return page("model_versions", bare, request)


def credentials(place: Place, request: Request) -> Json:
    """Keys for the version's folder: to write only while it waits for its files."""
    operation = request.arguments.get("operation", "MODEL_VERSION_OPERATION_UNSPECIFIED")
    writes = operation == "MODEL_VERSION_OPERATION_READ_WRITE"
    if not writes and operation != "MODEL_VERSION_OPERATION_READ":
        raise invalid(f"Invalid operation: {operation}")
    name, number = _numbered(place, request, "CREATE_MODEL_VERSION" if writes else "EXECUTE")
    found = place.models.version(request.workspace, name, number)
    if writes and found["status"] != "PENDING_REGISTRATION":
        raise invalid(f"Model version '{found['name']}' version {number} is {found['status']}: its files cannot be written any more.")
    return {"credentials": place.credentials_for(found["storage_location"], write=writes, seconds=LIFETIME)}


def download_uri(place: Place, request: Request) -> Json:
    name, number = _numbered(place, request, "EXECUTE")
    return {"artifact_uri": place.models.version(request.workspace, name, number)["storage_location"]}


def finalize(place: Place, request: Request) -> Json:
    name, number = _numbered(place, request, "CREATE_MODEL_VERSION")
    return {"model_version": _version(place, request, place.models.finalize(request.workspace, request.user, name, number))}


def _numbered(place: Place, request: Request, privilege: str) -> tuple[str, str]:
    """Name and number of the version that a request is about. Raises ApiError unless the user may."""
    name, number = request.arguments["name"], request.arguments.get("version")
    if not number:
        raise invalid("Missing required field: version")
    may(place, request, privilege, name)
    return str(name), str(number)


# ---------------------------------------------------------------- aliases and tags


def set_alias(place: Place, request: Request) -> Json:
    name, number = _numbered(place, request, "MANAGE")
    place.models.set_alias(request.workspace, request.user, name, request.arguments.get("alias", ""), number)
    return {}


def drop_alias(place: Place, request: Request) -> Json:
    own(place, request, request.arguments["name"])
    place.models.drop_alias(request.workspace, request.user, request.arguments["name"], request.arguments.get("alias", ""))
    return {}


def by_alias(place: Place, request: Request) -> Json:
    may(place, request, "EXECUTE", request.arguments["name"])
    found = place.models.by_alias(request.workspace, request.arguments["name"], request.arguments.get("alias", ""))
    return {"model_version": _version(place, request, found)}


def tag_model(place: Place, request: Request) -> Json:
    name, key, value = _tag(place, request)
    tags = {**place.models.get(request.workspace, name)["tags"], key: value}
    check_tags(tags)
    place.models.change(request.workspace, request.user, name, tags=tags)
    return {}


def untag_model(place: Place, request: Request) -> Json:
    name, key, _ = _tag(place, request)
    place.models.change(request.workspace, request.user, name, tags=_without(place.models.get(request.workspace, name)["tags"], key))
    return {}


def tag_version(place: Place, request: Request) -> Json:
    name, key, value = _tag(place, request)

    def tagged(before: Json) -> Json:
        tags = {**before["tags"], key: value}
        check_tags(tags)
        return {**before, "tags": tags}

    place.models.change_version(request.workspace, request.user, name, request.arguments.get("version", ""), tagged)
    return {}


def untag_version(place: Place, request: Request) -> Json:
    name, key, _ = _tag(place, request)
    place.models.change_version(
        request.workspace,
        request.user,
        name,
        request.arguments.get("version", ""),
        lambda before: {**before, "tags": _without(before["tags"], key)},
    )
    return {}


def _tag(place: Place, request: Request) -> tuple[str, str, str]:
    given = request.arguments
    may(place, request, "APPLY_TAG", given["name"])
    if not given.get("key"):
        raise invalid("Missing required field: key")
    return str(given["name"]), str(given["key"]), str(given.get("value", ""))


def _without(tags: Json, key: str) -> Json:
    return {name: value for name, value in tags.items() if name != key}


def _tags(given: Mapping[str, Any]) -> dict[str, str]:
    return {str(tag["key"]): str(tag.get("value", "")) for tag in given.get("tags", ())}


# ---------------------------------------------------------------- answers


def _model(model: Json) -> Json:
    return {
        "name": model["full_name"],
        "creation_timestamp": model["created_at"],
        "last_updated_timestamp": model["updated_at"],
        "user_id": model["created_by"],
        "description": model["comment"],
        "aliases": [{"alias": alias, "version": str(number)} for alias, number in sorted(model["aliases"].items())],
        "tags": [{"key": key, "value": value} for key, value in sorted(model["tags"].items())],
    }


def _version(place: Place, request: Request, version: Json) -> Json:
    kept = {name: version[name] for name in ("description", "source", "run_id", "run_tracking_server_id", "model_id") if version.get(name)}
    aliases = place.models.aliases_of(request.workspace, version)
    return {
        "name": version["name"],
        "version": str(version["version"]),
        "creation_timestamp": version["created_at"],
        "last_updated_timestamp": version["updated_at"],
        "user_id": version["created_by"],
        "status": version["status"],
        "status_message": "",
        "storage_location": version["storage_location"],
        **kept,
        "aliases": [{"alias": alias, "version": str(version["version"])} for alias in aliases],
        "tags": [{"key": key, "value": value} for key, value in sorted(version["tags"].items())],
    }
