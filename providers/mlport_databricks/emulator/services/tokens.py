"""Personal access tokens that a user makes: a call with one is that user's until it ends or is deleted."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import partial
from typing import Any

from mlport_databricks.emulator.place import Place, now_ms
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import missing

Json = dict[str, Any]


def handlers(place: Place) -> Mapping[str, Handler]:
    return {
        "POST /api/2.0/token/create": partial(create, place),
        "GET /api/2.0/token/list": partial(list_tokens, place),
        "POST /api/2.0/token/delete": partial(delete, place),
    }


def create(place: Place, request: Request) -> Json:
    value, now, lifetime = f"dapi{secrets.token_hex(16)}", now_ms(), request.body.get("lifetime_seconds")
    info = {
        "token_id": secrets.token_hex(32),
        "comment": request.body.get("comment", ""),
        "creation_time": now,
        "expiry_time": now + 1000 * lifetime if lifetime else -1,
    }
    place.tokens.keep(request.workspace, request.user, value, info)
    return {"token_value": value, "token_info": info}


def list_tokens(place: Place, request: Request) -> Json:
    return {"token_infos": place.tokens.of(request.workspace, request.user)}


def delete(place: Place, request: Request) -> None:
    if not place.tokens.delete(request.workspace, request.user, request.body["token_id"]):
        raise missing(f"Token with ID {request.body['token_id']} does not exist!")
