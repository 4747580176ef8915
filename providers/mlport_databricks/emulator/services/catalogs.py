"""Catalogs, schemas and volumes of Unity Catalog, and the metastore that they are in.

Behaviour: databricks/cli libs/testserver/{catalogs,schemas,volumes}.go.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from typing import Any

from mlport_databricks.emulator.accounts import ADMIN, CATALOG, CLOUD, METASTORE_ID, REGION, UNITY_BUCKET, workspace_id
from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import ApiError, invalid
from mlport_databricks.emulator.services.paging import page
from mlport_databricks.emulator.storing.unity import PARTS, catalog_of, check_name, schema_of, volume_of

Json = dict[str, Any]
ROOT = "/api/2.1/unity-catalog"
USES = {"catalog": "USE_CATALOG", "schema": "USE_SCHEMA", "volume": "READ_VOLUME"}
"""The privilege without which one is not told of a securable."""


def handlers(place: Place) -> Mapping[str, Handler]:
    work: dict[str, Handler] = {
        f"POST {ROOT}/catalogs": partial(create_catalog, place),
        f"POST {ROOT}/schemas": partial(create_schema, place),
        f"POST {ROOT}/volumes": partial(create_volume, place),
        f"GET {ROOT}/current-metastore-assignment": assignment,
        f"GET {ROOT}/metastore_summary": metastore,
    }
    for kind, argument in (("catalog", "name"), ("schema", "full_name"), ("volume", "name")):
        work[f"GET {ROOT}/{kind}s"] = partial(list_of, place, kind)
        one = f"{ROOT}/{kind}s/{{{argument}}}"
        work[f"GET {one}"] = partial(get, place, kind, argument)
        work[f"PATCH {one}"] = partial(update, place, kind, argument)
        work[f"DELETE {one}"] = partial(delete, place, kind, argument)
    return work


def create_catalog(place: Place, request: Request) -> Json:
    body = request.body
    _refuse(body, ("connection_name", "provider_name", "share_name", "storage_root", "managed_encryption_settings"))
    name = check_name(body["name"])
    place.grants.require(request.workspace, request.user, "CREATE_CATALOG", "metastore", METASTORE_ID)
    kept = {field: body[field] for field in ("comment", "properties", "options") if field in body}
    made = place.unity.insert(request.workspace, "catalog", name, request.user, catalog_of(name, **kept))
    default = schema_of(name, "default", comment="Default schema (auto-created)")
    place.unity.insert(request.workspace, "schema", f"{name}.default", request.user, default)
    return made


def create_schema(place: Place, request: Request) -> Json:
    body = request.body
    _refuse(body, ("storage_root",))
    catalog, name = str(body["catalog_name"]), check_name(body["name"])
    place.unity.need(request.workspace, "catalog", catalog)
    place.grants.require(request.workspace, request.user, "CREATE_SCHEMA", "catalog", catalog)
    kept = {field: body[field] for field in ("comment", "properties") if field in body}
    return place.unity.insert(request.workspace, "schema", f"{catalog}.{name}", request.user, schema_of(catalog, name, **kept))


def create_volume(place: Place, request: Request) -> Json:
    body = request.body
    schema, name = f"{body['catalog_name']}.{body['schema_name']}", check_name(body["name"])
    if body["volume_type"] != "MANAGED":
        raise invalid("The emulator has managed volumes only.")
    if body.get("storage_location"):
        raise invalid("CreateVolume storage_location can not be provided.")
    place.unity.need(request.workspace, "schema", schema)
    place.grants.require(request.workspace, request.user, "CREATE_VOLUME", "schema", schema)
    kept = {"comment": body["comment"]} if "comment" in body else {}
    made = place.unity.insert(
        request.workspace, "volume", f"{schema}.{name}", request.user, volume_of(request.workspace, f"{schema}.{name}", **kept)
    )
    place.files.path_of(request.workspace, _folder(made["full_name"])).mkdir(parents=True, exist_ok=True)
    return made


def get(place: Place, kind: str, argument: str, request: Request) -> Json:
    name = str(request.arguments[argument])
    found = place.unity.need(request.workspace, kind, name)
    place.grants.require(request.workspace, request.user, USES[kind], kind, name)
    return found


def list_of(place: Place, kind: str, request: Request) -> Json:
    """Those that the user may use."""
    above = [str(request.arguments[name]) for name in ("catalog_name", "schema_name") if name in request.arguments]
    if above:
        place.unity.need(request.workspace, "schema" if len(above) == 2 else "catalog", ".".join(above))
    found = place.unity.within(request.workspace, kind, ".".join(above))
    seen = [each for each in found if place.grants.has(request.workspace, request.user, (USES[kind], "BROWSE"), kind, each["full_name"])]
    return page(f"{kind}s", seen, request)


def update(place: Place, kind: str, argument: str, request: Request) -> Json:
    name, body = str(request.arguments[argument]).lower(), request.body
    place.unity.need(request.workspace, kind, name)
    place.grants.require(request.workspace, request.user, "MANAGE", kind, name)
    if body.get("new_name"):
        raise invalid("The emulator renames no catalogs, schemas and volumes.")
    _refuse(body, ("custom_max_retention_hours", "managed_encryption_settings"))
    return place.unity.change(request.workspace, kind, name, request.user, lambda found: {**found, **body})


def delete(place: Place, kind: str, argument: str, request: Request) -> None:
    """What is in it must have gone first, or goes too with `force`; a volume's files go with it."""
    name = str(request.arguments[argument]).lower()
    place.unity.need(request.workspace, kind, name)
    place.grants.require(request.workspace, request.user, "MANAGE", kind, name)
    inside = [
        (each, str(found["full_name"]))
        for each in PARTS
        if PARTS[each] > PARTS[kind]
        for found in place.unity.within(request.workspace, each, name)
    ]
    bare = [each for each in inside if each != ("schema", f"{name}.default")]
    if kind != "volume" and bare and not request.arguments.get("force"):
        raise ApiError("INVALID_STATE", f"{kind.capitalize()} '{name}' is not empty. The {kind} has {len(bare)} {bare[0][0]}(s) in it.")
    for each, full_name in sorted(inside if kind != "volume" else [], key=lambda found: -PARTS[found[0]]):
        if each == "model":
            place.models.delete(request.workspace, full_name)
        else:
            place.unity.delete(request.workspace, each, full_name)
    place.unity.delete(request.workspace, kind, name)
    shutil.rmtree(place.files.path_of(request.workspace, _folder(name)), ignore_errors=True)


def _folder(full_name: str) -> str:
    return f"/Volumes/{full_name.replace('.', '/')}"


def _refuse(body: Json, fields: tuple[str, ...]) -> None:
    if found := [field for field in fields if body.get(field)]:
        raise invalid(f"The emulator has no {found[0]}.")


def assignment(request: Request) -> Json:
    return {"workspace_id": workspace_id(request.workspace), "metastore_id": METASTORE_ID, "default_catalog_name": CATALOG}


def metastore(request: Request) -> Json:
    return {
        "metastore_id": METASTORE_ID,
        "name": "emulated",
        "cloud": CLOUD,
        "region": REGION,
        "global_metastore_id": f"{CLOUD}:{REGION}:{METASTORE_ID}",
        "owner": ADMIN.name,
        "privilege_model_version": "1.0",
        "storage_root": f"s3://{UNITY_BUCKET}/{workspace_id(request.workspace)}",
        "external_access_enabled": False,
    }
