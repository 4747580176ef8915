"""Tables of Unity Catalog as its API tells of them; they are made by SQL statements and by inference tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import ApiError

Json = dict[str, Any]
PATH = "/api/2.1/unity-catalog/tables"


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their calls."""
    service = TablesService(place)
    return {
        f"GET {PATH}": service.list,
        f"GET {PATH}/{{full_name}}": service.get,
        f"GET {PATH}/{{full_name}}/exists": service.exists,
        f"DELETE {PATH}/{{full_name}}": service.delete,
    }


class TablesService:
    """What the methods do."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def list(self, request: Request) -> Json:
        """Those of a schema that the user may read."""
        schema = f"{request.arguments['catalog_name']}.{request.arguments['schema_name']}"
        self._place.unity.need(request.workspace, "schema", schema)
        found = self._place.unity.within(request.workspace, "table", schema)
        return {"tables": [each for each in found if self._may(request, "SELECT", each["full_name"])]}

    def get(self, request: Request) -> Json:
        full_name = str(request.arguments["full_name"])
        self._place.grants.require(request.workspace, request.user, "SELECT", "table", full_name)
        return self._place.unity.need(request.workspace, "table", full_name)

    def exists(self, request: Request) -> Json:
        full_name = str(request.arguments["full_name"])
        return {
            "table_exists": self._place.unity.get(request.workspace, "table", full_name) is not None
            and self._may(request, "SELECT", full_name)
        }

    def delete(self, request: Request) -> None:
        full_name = str(request.arguments["full_name"]).lower()
        self._place.unity.need(request.workspace, "table", full_name)
        self._place.grants.require(request.workspace, request.user, "MANAGE", "table", full_name)
        self._place.tables.drop(request.workspace, full_name)

    def _may(self, request: Request, privilege: str, full_name: str) -> bool:
        try:
            self._place.grants.require(request.workspace, request.user, privilege, "table", full_name)
        except ApiError:
            return False
        return True
