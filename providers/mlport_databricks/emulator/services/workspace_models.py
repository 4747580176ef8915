"""The registry of a workspace that was before Unity Catalog: models, versions, comments and webhooks, without files of their own."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

from mlport.emulation.documents import Exists
from mlport_databricks.emulator.place import Place, now_ms
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import ApiError, invalid, missing
from mlport_databricks.emulator.services.paging import page

Json = dict[str, Any]
ROOT = "/api/2.0/mlflow"
MODEL, VERSION, COMMENT, WEBHOOK = "registry/model", "registry/version", "registry/comment", "registry/webhook"


def handlers(place: Place) -> Mapping[str, Handler]:
    work = {
        f"POST {ROOT}/registered-models/create": create_model,
        f"GET {ROOT}/databricks/registered-models/get": get_model,
        f"GET {ROOT}/registered-models/list": list_models,
        f"GET {ROOT}/registered-models/search": list_models,
        f"PATCH {ROOT}/registered-models/update": update_model,
        f"DELETE {ROOT}/registered-models/delete": delete_model,
        f"POST {ROOT}/model-versions/create": create_version,
        f"GET {ROOT}/model-versions/get": get_version,
        f"PATCH {ROOT}/model-versions/update": update_version,
        f"DELETE {ROOT}/model-versions/delete": delete_version,
        f"POST {ROOT}/comments/create": create_comment,
        f"PATCH {ROOT}/comments/update": update_comment,
        f"DELETE {ROOT}/comments/delete": delete_comment,
        f"POST {ROOT}/registry-webhooks/create": create_webhook,
        f"GET {ROOT}/registry-webhooks/list": list_webhooks,
        f"PATCH {ROOT}/registry-webhooks/update": update_webhook,
        f"DELETE {ROOT}/registry-webhooks/delete": delete_webhook,
    }
    return {key: partial(handler, place) for key, handler in work.items()}


# ---------------------------------------------------------------- models


def create_model(place: Place, request: Request) -> Json:
    name = request.body["name"]
    if not name or "/" in name or ":" in name:
        raise invalid(f"Invalid name '{name}': it must not be empty, and not contain '/' or ':'.")
    body = {**_made(request), "name": name, **{field: request.body[field] for field in ("description", "tags") if field in request.body}}
    try:
        place.documents.insert(MODEL, f"{request.workspace}/{name}", body)
    except Exists as error:
        raise ApiError("RESOURCE_ALREADY_EXISTS", f"Registered Model (name={name}) already exists.", status=400) from error
    return {"registered_model": body}


def get_model(place: Place, request: Request) -> Json:
    found = _model(place, request, request.arguments["name"])
    latest = [body for _, body in place.documents.list(VERSION, _of(request, found["name"]))][:1]
    more = {"latest_versions": latest} if latest else {}
    number = uuid.uuid5(uuid.NAMESPACE_URL, f"{request.workspace}/{found['name']}").hex
    return {"registered_model_databricks": {**found, **more, "id": number, "permission_level": "CAN_MANAGE"}}


def list_models(place: Place, request: Request) -> Json:
    if request.arguments.get("filter") or request.arguments.get("order_by"):
        raise invalid("The emulator searches the workspace's registry without filter and order_by only.")
    return page("registered_models", [body for _, body in place.documents.list(MODEL, f"{request.workspace}/")], request)


def update_model(place: Place, request: Request) -> Json:
    name = request.body["name"]
    _model(place, request, name)
    return {"registered_model": _changed(place, MODEL, f"{request.workspace}/{name}", {"description": request.body.get("description", "")})}


def delete_model(place: Place, request: Request) -> None:
    name = request.arguments["name"]
    _model(place, request, name)
    place.documents.delete(MODEL, f"{request.workspace}/{name}")
    place.documents.delete_all(VERSION, _of(request, name))


def _model(place: Place, request: Request, name: str) -> Json:
    found = place.documents.get(MODEL, f"{request.workspace}/{name}")
    if found is None:
        raise missing(f"Registered Model with name={name} not found")
    return found


# ---------------------------------------------------------------- versions


def create_version(place: Place, request: Request) -> Json:
    name = request.body["name"]
    _model(place, request, name)
    number = place.documents.next_number(f"{VERSION}/{_of(request, name)}")
    kept = {field: request.body[field] for field in ("source", "run_id", "run_link", "description", "tags") if field in request.body}
    body = {**_made(request), "name": name, "version": str(number), "current_stage": "None", "status": "READY", **kept}
    place.documents.insert(VERSION, f"{_of(request, name)}{number}", body)
    return {"model_version": body}


def get_version(place: Place, request: Request) -> Json:
    return {"model_version": _version(place, request, request.arguments["name"], request.arguments["version"])}


def update_version(place: Place, request: Request) -> Json:
    name, number = request.body["name"], request.body["version"]
    _version(place, request, name, number)
    changed = {"description": request.body.get("description", "")}
    return {"model_version": _changed(place, VERSION, f"{_of(request, name)}{number}", changed)}


def delete_version(place: Place, request: Request) -> None:
    name, number = request.arguments["name"], request.arguments["version"]
    _version(place, request, name, number)
    place.documents.delete(VERSION, f"{_of(request, name)}{number}")


def _version(place: Place, request: Request, name: str, number: str) -> Json:
    found = place.documents.get(VERSION, f"{_of(request, name)}{number}")
    if found is None:
        raise missing(f"Model Version (name={name}, version={number}) not found")
    return found


# ---------------------------------------------------------------- comments and webhooks


def create_comment(place: Place, request: Request) -> Json:
    _version(place, request, request.body["name"], request.body["version"])
    body = {**_made(request), "id": secrets.token_hex(16), "comment": request.body["comment"]}
    body["available_actions"] = ["EDIT_COMMENT", "DELETE_COMMENT"]
    place.documents.insert(COMMENT, f"{request.workspace}/{body['id']}", body)
    return {"comment": body}


def update_comment(place: Place, request: Request) -> Json:
    return {"comment": _changed(place, COMMENT, f"{request.workspace}/{request.body['id']}", {"comment": request.body["comment"]})}


def delete_comment(place: Place, request: Request) -> None:
    if not place.documents.delete(COMMENT, f"{request.workspace}/{request.arguments['id']}"):
        raise missing(f"Comment with id={request.arguments['id']} not found")


def create_webhook(place: Place, request: Request) -> Json:
    """Kept; nothing is ever sent."""
    body = request.body
    if ("http_url_spec" in body) == ("job_spec" in body):
        raise invalid("Exactly one of http_url_spec and job_spec must be given.")
    made = {**_made(request), "id": secrets.token_hex(16), "status": "ACTIVE", **_told(body)}
    del made["user_id"]
    place.documents.insert(WEBHOOK, f"{request.workspace}/{made['id']}", made)
    return {"webhook": made}


def list_webhooks(place: Place, request: Request) -> Json:
    return page("webhooks", [body for _, body in place.documents.list(WEBHOOK, f"{request.workspace}/")], request)


def update_webhook(place: Place, request: Request) -> Json:
    changed = {name: value for name, value in _told(request.body).items() if name != "id"}
    return {"webhook": _changed(place, WEBHOOK, f"{request.workspace}/{request.body['id']}", changed)}


def delete_webhook(place: Place, request: Request) -> None:
    if not place.documents.delete(WEBHOOK, f"{request.workspace}/{request.arguments['id']}"):
        raise missing(f"Webhook with id={request.arguments['id']} not found")


def _told(body: Json) -> Json:
    """Without the secrets."""
    specs = {"http_url_spec": ("authorization", "secret"), "job_spec": ("access_token",)}
    return {
        name: {key: each for key, each in value.items() if key not in specs[name]} if name in specs else value
        for name, value in body.items()
    }


# ---------------------------------------------------------------- records


def _of(request: Request, name: str) -> str:
    return f"{request.workspace}/{name}/"


def _made(request: Request) -> Json:
    now = now_ms()
    return {"creation_timestamp": now, "last_updated_timestamp": now, "user_id": request.user}


def _changed(place: Place, kind: str, name: str, changed: Json) -> Json:
    found = place.documents.change(kind, name, lambda before: {**before, **changed, "last_updated_timestamp": now_ms()})
    if found is None:
        raise missing(f"{kind.rpartition('/')[2].capitalize()} {name.rpartition('/')[2]} not found")
    return found
