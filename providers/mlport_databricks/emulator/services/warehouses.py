"""SQL warehouses. Fields, limits and defaults are those of databricks-sdk 0.156.0, databricks/sdk/service/sql.py."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

from mlport_databricks.emulator.accounts import USERS
from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import ApiError, invalid
from mlport_databricks.emulator.storing.warehouses import Warehouses

Json = dict[str, Any]
PATH = "/api/2.0/sql/warehouses"
SIZES = ("2X-Small", "X-Small", "Small", "Medium", "Large", "X-Large", "2X-Large", "3X-Large", "4X-Large", "5X-Large")


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their calls."""
    service = WarehousesService(place)
    return {
        f"POST {PATH}": service.create,
        f"GET {PATH}": service.list,
        f"GET {PATH}/{{id}}": service.get,
        f"DELETE {PATH}/{{id}}": service.delete,
        f"POST {PATH}/{{id}}/edit": service.edit,
        f"POST {PATH}/{{id}}/start": service.start,
        f"POST {PATH}/{{id}}/stop": service.stop,
    }


class WarehousesService:
    """What the methods do."""

    def __init__(self, place: Place) -> None:
        self._warehouses = Warehouses(place)

    def create(self, request: Request) -> Json:
        _check_admin(request)
        number = uuid.uuid4().hex[:16]
        body = _checked({**request.body, "name": request.body.get("name") or number})
        self._warehouses.create(request.workspace, number, {**body, "creator_name": body.get("creator_name") or request.user})
        return {"id": number}

    def edit(self, request: Request) -> None:
        _check_admin(request)
        body = _checked({key: value for key, value in request.body.items() if key != "id"})
        self._warehouses.change(request.workspace, str(request.arguments["id"]), lambda now: {**now, **body})

    def list(self, request: Request) -> Json:
        return {"warehouses": [_shown(request.workspace, each) for each in self._warehouses.all(request.workspace)]}

    def get(self, request: Request) -> Json:
        return _shown(request.workspace, self._warehouses.need(request.workspace, str(request.arguments["id"])))

    def delete(self, request: Request) -> None:
        _check_admin(request)
        self._warehouses.delete(request.workspace, str(request.arguments["id"]))

    def start(self, request: Request) -> None:
        self._warehouses.use(request.workspace, str(request.arguments["id"]))

    def stop(self, request: Request) -> None:
        self._warehouses.change(request.workspace, str(request.arguments["id"]), lambda now: {**now, "running": False, "used": time.time()})


def _checked(body: Json) -> Json:
    if "name" in body and not 0 < len(body["name"]) < 100:
        raise invalid("SQL warehouse name must have 1 to 99 characters.")
    if "cluster_size" in body and body["cluster_size"] not in SIZES:
        raise invalid(f"cluster_size '{body['cluster_size']}' is not one of {', '.join(SIZES)}.")
    least, most = body.get("min_num_clusters", 1), body.get("max_num_clusters", 1)
    if not 1 <= least <= min(max(most, 1), 30) or not 1 <= most <= 40:
        raise invalid("min_num_clusters must be 1 to 30 and at most max_num_clusters, and max_num_clusters at most 40.")
    minutes = body.get("auto_stop_mins", 0)
    if minutes != 0 and minutes < 10:
        raise invalid("auto_stop_mins must be 0 or at least 10.")
    return body


def _check_admin(request: Request) -> None:
    if not USERS[request.user].is_admin:
        raise ApiError("PERMISSION_DENIED", f"{request.user} is not authorized to manage SQL warehouses.")


def _shown(workspace: str, kept: Json) -> Json:
    fields = {key: value for key, value in kept.items() if key not in ("running", "used")}
    path = f"/sql/1.0/warehouses/{kept['id']}"
    return {
        "max_num_clusters": 1,
        "warehouse_type": "PRO",
        "enable_photon": True,
        "enable_serverless_compute": True,
        **fields,
        "state": "RUNNING" if kept["running"] else "STOPPED",
        "num_clusters": int(kept["running"]),
        "health": {"status": "HEALTHY"},
        "odbc_params": {"hostname": workspace, "path": path, "port": 443, "protocol": "https"},
        "jdbc_url": f"jdbc:spark://{workspace}:443/default;transportMode=http;ssl=1;AuthMech=3;httpPath={path};",
    }
