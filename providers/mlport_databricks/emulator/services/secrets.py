"""Secret scopes, secrets and who may use them. Behaviour: databricks/cli libs/testserver/secret*.go; limits and codes: the SDK's text."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from mlport_databricks.emulator.place import Place, now_ms
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import ApiError, invalid, missing
from mlport_databricks.emulator.storing.principals import EVERYBODY
from mlport_databricks.emulator.storing.secrets import MANAGE, READ, WRITE

Json = dict[str, Any]
ROOT = "/api/2.0/secrets"
NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
LARGEST, MOST = 128 * 1024, 1000  # bytes of a value, secrets of a scope


def handlers(place: Place) -> Mapping[str, Handler]:
    work = {
        f"POST {ROOT}/scopes/create": create_scope,
        f"GET {ROOT}/scopes/list": list_scopes,
        f"POST {ROOT}/scopes/delete": delete_scope,
        f"POST {ROOT}/put": put,
        f"GET {ROOT}/get": get,
        f"GET {ROOT}/list": list_secrets,
        f"POST {ROOT}/delete": delete,
        f"POST {ROOT}/acls/put": put_acl,
        f"GET {ROOT}/acls/get": get_acl,
        f"GET {ROOT}/acls/list": list_acls,
        f"POST {ROOT}/acls/delete": delete_acl,
    }
    return {key: partial(handler, place) for key, handler in work.items()}


# ---------------------------------------------------------------- scopes


def create_scope(place: Place, request: Request) -> None:
    body = request.body
    _check_name("scope", body["scope"])
    if body.get("scope_backend_type", "DATABRICKS") != "DATABRICKS" or body.get("backend_azure_keyvault"):
        raise ApiError("NOT_IMPLEMENTED", "The emulator keeps secrets itself: there is no Azure Key Vault.")
    manager = body.get("initial_manage_principal")
    if manager not in (None, EVERYBODY):
        raise invalid(f"initial_manage_principal can only be {EVERYBODY}, not {manager}.")
    place.secrets.create(request.workspace, body["scope"], manager or request.user, now_ms())


def list_scopes(place: Place, request: Request) -> Json:
    names = place.secrets.scopes(request.workspace, request.user)
    return {"scopes": [{"name": name, "backend_type": "DATABRICKS"} for name in names]} if names else {}


def delete_scope(place: Place, request: Request) -> None:
    place.secrets.delete(request.workspace, _scope(place, request, MANAGE))


# ---------------------------------------------------------------- secrets


def put(place: Place, request: Request) -> None:
    scope, body = _scope(place, request, WRITE), request.body
    _check_name("key", body["key"])
    if ("string_value" in body) == ("bytes_value" in body):
        raise ApiError("MALFORMED_REQUEST", "Exactly one of string_value and bytes_value must be given.")
    try:
        value = base64.b64decode(body["bytes_value"], validate=True) if "bytes_value" in body else body["string_value"].encode()
    except binascii.Error as error:
        raise invalid("bytes_value must be base64-encoded") from error
    if len(value) > LARGEST:
        raise invalid(f"The value has {len(value)} bytes; it may have {LARGEST}.")
    known = [each["key"] for each in place.secrets.all(request.workspace, scope)]
    if len(known) >= MOST and body["key"] not in known:
        raise ApiError("RESOURCE_LIMIT_EXCEEDED", f"The scope {scope} has {MOST} secrets already.")
    place.secrets.put(request.workspace, scope, body["key"], value, now_ms())


def get(place: Place, request: Request) -> Json:
    """The SDK's text has it for notebooks alone; the command line and the SDK call it from anywhere."""
    scope, key = _scope(place, request, READ), request.arguments["key"]
    return {"key": key, "value": place.secrets.get(request.workspace, scope, key)}


def list_secrets(place: Place, request: Request) -> Json:
    found = place.secrets.all(request.workspace, _scope(place, request, READ))
    return {"secrets": [{"key": each["key"], "last_updated_timestamp": each["changed"]} for each in found]} if found else {}


def delete(place: Place, request: Request) -> None:
    place.secrets.remove(request.workspace, _scope(place, request, WRITE), request.body["key"])


# ---------------------------------------------------------------- who may use them


def put_acl(place: Place, request: Request) -> None:
    """One that is there is overwritten (databricks/cli libs/testserver/secrets_acls.go)."""
    scope, principal = _scope(place, request, MANAGE), request.body["principal"]
    if not place.principals.is_there(request.workspace, principal):
        raise invalid(f"User or Group {principal} does not exist.")
    place.secrets.set_acl(request.workspace, scope, principal, request.body["permission"])


def get_acl(place: Place, request: Request) -> Json:
    principal = request.arguments["principal"]
    return {"principal": principal, "permission": _acl(place, request, _scope(place, request, MANAGE), principal)}


def list_acls(place: Place, request: Request) -> Json:
    acl = place.secrets.acl(request.workspace, _scope(place, request, MANAGE))
    return {"items": [{"principal": principal, "permission": level} for principal, level in acl.items()]}


def delete_acl(place: Place, request: Request) -> None:
    scope, principal = _scope(place, request, MANAGE), request.body["principal"]
    _acl(place, request, scope, principal)
    place.secrets.set_acl(request.workspace, scope, principal, None)


# ---------------------------------------------------------------- parts


def _scope(place: Place, request: Request, level: str) -> str:
    """The scope that a call is about. Raises ApiError for one that is not there, or that the user may not use so."""
    scope = str(request.given("scope"))
    place.secrets.require(request.workspace, request.user, scope, level)
    return scope


def _acl(place: Place, request: Request, scope: str, principal: str) -> str:
    acl = place.secrets.acl(request.workspace, scope)
    if principal not in acl:
        raise missing(f"ACL for principal {principal} on scope {scope} does not exist!")
    return acl[principal]


def _check_name(what: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise invalid(f"The {what} {name!r} must have 1 to 128 letters, digits, dashes, underscores and periods.")
