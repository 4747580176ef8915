"""Which endpoints serve a version."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mlport.errors import NotFoundError
from mlport.spi import Json
from mlport_databricks.serving.endpoint_request import ENDPOINTS

if TYPE_CHECKING:
    from mlport_databricks.workspace.connection import Connection

IN_PROGRESS = "IN_PROGRESS"


def endpoints_with(connection: Connection, full_name: str, version: str) -> list[str]:
    """The names of the endpoints that serve a version, or are about to."""
    listed: Iterable[Json] = connection.call("GET", ENDPOINTS, operation="endpoints.list").get("endpoints", ())
    return sorted(
        str(each["name"]) for each in listed if _serves(each, full_name, version) or _will_serve(connection, each, full_name, version)
    )


def _serves(endpoint: Json, full_name: str, version: str, part: str = "config") -> bool:
    entities = (endpoint.get(part) or {}).get("served_entities", ())
    return any((entity.get("entity_name"), str(entity.get("entity_version"))) == (full_name, version) for entity in entities)


def _will_serve(connection: Connection, endpoint: Json, full_name: str, version: str) -> bool:
    """A listing does not tell what is coming."""
    if endpoint.get("state", {}).get("config_update") != IN_PROGRESS:
        return False
    try:
        whole = connection.call("GET", f"{ENDPOINTS}/{endpoint['name']}", operation="endpoints.get")
    except NotFoundError:
        return False
    return _serves(whole, full_name, version, "pending_config")
