"""Registered models by Databricks' own API: /api/2.1/unity-catalog/models."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import ApiError, invalid
from mlport_databricks.emulator.services.paging import page

Json = dict[str, Any]
ROOT = "/api/2.1/unity-catalog/models"
SIGNED = ("created_at", "created_by", "updated_at", "updated_by", "metastore_id")


def handlers(place: Place) -> Mapping[str, Handler]:
    work = {
        f"POST {ROOT}": create,
        f"GET {ROOT}": list_models,
        f"GET {ROOT}/{{full_name}}": get,
        f"PATCH {ROOT}/{{full_name}}": update,
        f"DELETE {ROOT}/{{full_name}}": delete,
        f"GET {ROOT}/{{full_name}}/versions": list_versions,
        f"GET {ROOT}/{{full_name}}/versions/{{version}}": get_version,
        f"PATCH {ROOT}/{{full_name}}/versions/{{version}}": update_version,
        f"DELETE {ROOT}/{{full_name}}/versions/{{version}}": delete_version,
        f"GET {ROOT}/{{full_name}}/aliases/{{alias}}": by_alias,
        f"PUT {ROOT}/{{full_name}}/aliases/{{alias}}": set_alias,
        f"DELETE {ROOT}/{{full_name}}/aliases/{{alias}}": drop_alias,
    }
    return {key: partial(handler, place) for key, handler in work.items()}


def may(place: Place, request: Request, privilege: str, full_name: str) -> None:
    """Raises ApiError unless the model is there and the user has the privilege on it."""
    place.models.get(request.workspace, full_name)
    place.grants.require(request.workspace, request.user, privilege, "model", full_name)


def own(place: Place, request: Request, full_name: str) -> None:
    """Raises ApiError unless the user may change the model."""
    may(place, request, "MANAGE", full_name)


def create(place: Place, request: Request) -> Json:
    body = request.body
    if absent := [name for name in ("catalog_name", "schema_name", "name") if not body.get(name)]:
        raise invalid(f"Missing required field: {absent[0]}")
    if body.get("storage_location"):
        raise invalid("The emulator has managed storage only: storage_location cannot be given.")
    full_name = f"{body['catalog_name']}.{body['schema_name']}.{body['name']}"
    made = place.models.create(request.workspace, request.user, full_name, body.get("comment"), {})
    return model_info(made)


def get(place: Place, request: Request) -> Json:
    name = str(request.arguments["full_name"])
    may(place, request, "EXECUTE", name)
    return model_info(place.models.get(request.workspace, name), aliases=bool(request.arguments.get("include_aliases")))


def list_models(place: Place, request: Request) -> Json:
    """Those in one schema or in all, without those that the user may not use."""
    catalog, schema = request.arguments.get("catalog_name"), request.arguments.get("schema_name")
    if (catalog is None) != (schema is None):
        raise invalid("catalog_name and schema_name must be given together, or neither.")
    if catalog is not None:
        place.unity.need(request.workspace, "schema", f"{catalog}.{schema}")
    found = place.unity.within(request.workspace, "model", f"{catalog}.{schema}" if catalog else "")
    seen = [each for each in found if place.grants.has(request.workspace, request.user, ("EXECUTE", "BROWSE"), "model", each["full_name"])]
    return page("registered_models", [model_info(each) for each in seen], request)


def update(place: Place, request: Request) -> Json:
    name, body = str(request.arguments["full_name"]), request.body
    own(place, request, name)
    if unchangeable := [field for field in body if field not in ("full_name", "comment", "owner", "new_name")]:
        raise invalid(f"{unchangeable[0]} of a registered model cannot be changed.")
    changed = place.models.change(request.workspace, request.user, name, comment=body.get("comment"), owner=body.get("owner"))
    if body.get("new_name"):
        changed = place.models.rename(request.workspace, request.user, name, body["new_name"])
    return model_info(changed)


def delete(place: Place, request: Request) -> None:
    name = str(request.arguments["full_name"])
    own(place, request, name)
    place.models.delete(request.workspace, name)


# ---------------------------------------------------------------- versions


def list_versions(place: Place, request: Request) -> Json:
    name = str(request.arguments["full_name"])
    may(place, request, "EXECUTE", name)
    found = [version_info(place, request.workspace, each) for each in place.models.versions(request.workspace, name)]
    return page("model_versions", found, request)


def get_version(place: Place, request: Request) -> Json:
    found = _version(place, request, "EXECUTE")
    return version_info(place, request.workspace, found, aliases=bool(request.arguments.get("include_aliases")))


def update_version(place: Place, request: Request) -> Json:
    found = _version(place, request, "MANAGE")
    if unchangeable := [field for field in request.body if field not in ("full_name", "version", "comment")]:
        raise invalid(f"{unchangeable[0]} of a model version cannot be changed.")
    comment = request.body.get("comment", "")
    changed = place.models.change_version(
        request.workspace, request.user, found["name"], found["version"], lambda before: {**before, "description": comment}
    )
    return version_info(place, request.workspace, changed)


def delete_version(place: Place, request: Request) -> None:
    found = _version(place, request, "MANAGE")
    place.models.delete_version(request.workspace, found["name"], found["version"])


def _version(place: Place, request: Request, privilege: str) -> Json:
    name = str(request.arguments["full_name"])
    may(place, request, privilege, name)
    return place.models.version(request.workspace, name, request.arguments["version"])


# ---------------------------------------------------------------- aliases


def by_alias(place: Place, request: Request) -> Json:
    name = str(request.arguments["full_name"])
    may(place, request, "EXECUTE", name)
    found = place.models.by_alias(request.workspace, name, str(request.arguments["alias"]))
    return version_info(place, request.workspace, found, aliases=True)


def set_alias(place: Place, request: Request) -> Json:
    name, alias = str(request.arguments["full_name"]), str(request.arguments["alias"])
    own(place, request, name)
    changed = place.models.set_alias(request.workspace, request.user, name, alias, request.body["version_num"])
    return _alias_info(changed, alias, changed["aliases"][alias])


def drop_alias(place: Place, request: Request) -> None:
    name = str(request.arguments["full_name"])
    own(place, request, name)
    if request.arguments["alias"] not in place.models.get(request.workspace, name)["aliases"]:
        raise ApiError(
            "RESOURCE_DOES_NOT_EXIST", f"Alias '{request.arguments['alias']}' does not exist on registered model '{name.lower()}'."
        )
    place.models.drop_alias(request.workspace, request.user, name, str(request.arguments["alias"]))


# ---------------------------------------------------------------- answers


def model_info(model: Json, *, aliases: bool = False) -> Json:
    """A RegisteredModelInfo."""
    plain = ("name", "catalog_name", "schema_name", "full_name", "comment", "owner", "storage_location", *SIGNED)
    said = {name: model[name] for name in plain}
    pointed = [_alias_info(model, alias, number) for alias, number in sorted(model["aliases"].items())]
    return {**said, **({"aliases": pointed} if aliases and pointed else {})}


def _alias_info(model: Json, alias: str, number: int) -> Json:
    where = {"catalog_name": model["catalog_name"], "schema_name": model["schema_name"], "model_name": model["name"]}
    return {"alias_name": alias, "version_num": number, **where}


def version_info(place: Place, workspace: str, version: Json, *, aliases: bool = False) -> Json:
    """A ModelVersionInfo."""
    catalog, schema, name = version["name"].split(".")
    said = {
        "catalog_name": catalog,
        "schema_name": schema,
        "model_name": name,
        "version": version["version"],
        "comment": version["description"],
        "source": version["source"],
        "run_id": version["run_id"],
        "status": version["status"],
        "storage_location": version["storage_location"],
        "id": version["id"],
        **{field: version[field] for field in SIGNED if field in version},
    }
    if not aliases:
        return said
    pointed = place.models.aliases_of(workspace, version)
    model = place.models.get(workspace, version["name"])
    return {**said, "aliases": [_alias_info(model, alias, version["version"]) for alias in pointed]} if pointed else said
