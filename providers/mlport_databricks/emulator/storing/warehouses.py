"""SQL warehouses: what they are called and how large they are; the engine that stands for all of them is always there.

A document of the kind `warehouses`, named `HOST/ID`, holds the fields that the API takes, `id`, `creator_name`, `running` and
`used` (when it was last asked, in seconds since 1970).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mlport.emulation.documents import Exists
from mlport_databricks.emulator.accounts import ADMIN, HOSTS
from mlport_databricks.emulator.protocol.errors import ApiError, missing

if TYPE_CHECKING:
    from mlport_databricks.emulator.place import Place

Json = dict[str, Any]
KIND = "warehouses"
AUTO_STOP_MINUTES = 120  # databricks-sdk 0.156.0, databricks/sdk/service/sql.py, CreateWarehouseRequest


class Warehouses:
    """The warehouses of one place."""

    def __init__(self, place: Place) -> None:
        self._documents = place.documents
        for host in HOSTS:
            first = {"name": "Serverless Starter Warehouse", "cluster_size": "Small", "creator_name": ADMIN.name}
            self._insert(host, place.warehouse_of(host), first)

    def _insert(self, workspace: str, number: str, body: Json) -> None:
        kept = {"auto_stop_mins": AUTO_STOP_MINUTES, "min_num_clusters": 1, **body}
        with suppress(Exists):
            self._documents.insert(KIND, f"{workspace}/{number}", {**kept, "id": number, "running": True, "used": time.time()})

    def create(self, workspace: str, number: str, body: Json) -> None:
        """Keep a new one, which runs. Raises ApiError: there is one of that name."""
        with self._documents.together():
            if any(each["name"] == body["name"] for each in self.all(workspace)):
                raise ApiError("INVALID_PARAMETER_VALUE", f"SQL warehouse with name `{body['name']}` already exists")
            self._insert(workspace, number, body)

    def need(self, workspace: str, number: str) -> Json:
        """One, with `running` as it is now: it stops by itself when nobody asked it for long. Raises ApiError."""
        found = self._documents.get(KIND, f"{workspace}/{number}")
        if found is None:
            raise missing(f"SQL warehouse {number} does not exist.")
        return _now(found)

    def all(self, workspace: str) -> Iterator[Json]:
        return (_now(body) for _, body in self._documents.list(KIND, f"{workspace}/"))

    def change(self, workspace: str, number: str, change: Callable[[Json], Json]) -> None:
        """Raises ApiError: there is none."""
        self.need(workspace, number)
        self._documents.change(KIND, f"{workspace}/{number}", change)

    def use(self, workspace: str, number: str) -> None:
        """A statement is sent to it, which starts it where it is stopped. Raises ApiError: there is none."""
        self.change(workspace, number, lambda now: {**now, "running": True, "used": time.time()})

    def delete(self, workspace: str, number: str) -> None:
        """Raises ApiError: there is none."""
        self.need(workspace, number)
        self._documents.delete(KIND, f"{workspace}/{number}")


def _now(body: Json) -> Json:
    idle = time.time() - body["used"]
    return {**body, "running": body["running"] and not (body["auto_stop_mins"] and idle > 60 * body["auto_stop_mins"])}
