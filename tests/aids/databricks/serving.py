"""Registered models to serve, endpoints by plain calls, and SQL: what tests of serving share."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from aids.databricks import models
from aids.databricks.place import ADMIN_TOKEN, call

import mlport
from mlport.emulation.server import Ready
from mlport_databricks import PROVIDER
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.emulator.accounts import HOSTS
from mlport_databricks.emulator.place import Place

Json = dict[str, Any]
T = TypeVar("T")
PATH = "/api/2.0/serving-endpoints"
WAREHOUSE = Place.warehouse_of(HOSTS[0])
MODEL, BROKEN = "main.ml.constant", "main.ml.broken"


def register(ready: Ready, folder: Path) -> None:
    """Two versions of a model that says 1 and 2 whatever it is asked, and one of a model that cannot be loaded; `folder` is for their files."""
    wanted = [
        (MODEL, models.constant(folder / "1", 1)),
        (MODEL, models.constant(folder / "2", 2)),
        (BROKEN, models.constant(folder / "broken", 1, "nowhere.to.be.found")),
    ]
    with mlport.Client(PROVIDER, DatabricksConfig.from_url(ready.targets["databricks"])) as client:
        for name, path in wanted:
            client.models.register(name.rpartition(".")[2], path, trust=True)


def entity(name: str, version: str = "1", model: str = MODEL, **fields: Any) -> Json:
    return {"name": name, "entity_name": model, "entity_version": version, "workload_size": "Small", **fields}


def routes(**shares: int) -> Json:
    return {"routes": [{"served_model_name": name, "traffic_percentage": share} for name, share in shares.items()]}


def ask(ready: Ready, method: str, path: str, body: Any = None) -> Any:
    """The answer of a call that must succeed."""
    status, said = call(ready, method, path, body)
    assert status == 200, said
    return said


def predict(ready: Ready, name: str, body: Any = None, *, token: str = ADMIN_TOKEN) -> tuple[int, Any]:
    """Status and answer of an endpoint that is asked for one row, or for what is given."""
    path, headers = f"/serving-endpoints/{name}/invocations", {"content-type": "application/json"}
    return call(ready, "POST", path, {"inputs": [[1.0]]} if body is None else body, headers, token=token)


def settled(ready: Ready, name: str, seconds: float = 90) -> Json:
    """The endpoint once it is not updating."""
    return until(
        lambda: found if (found := ask(ready, "GET", f"{PATH}/{name}"))["state"]["config_update"] != "IN_PROGRESS" else None, seconds
    )


def until(look: Callable[[], T | None], seconds: float = 60) -> T:
    """What the look gives as soon as it gives something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)
    return found


def sql(ready: Ready, statement: str, *, token: str = ADMIN_TOKEN, **fields: Any) -> Json:
    """The answer to a statement, of whatever outcome."""
    status, said = call(
        ready, "POST", "/api/2.0/sql/statements", {"statement": statement, "warehouse_id": WAREHOUSE, **fields}, token=token
    )
    assert status == 200, said
    return dict(said)


def rows(ready: Ready, statement: str, **parameters: str) -> list[list[str | None]]:
    """The rows of a statement that must succeed."""
    said = sql(ready, statement, parameters=[{"name": name, "value": value} for name, value in parameters.items()])
    assert said["status"]["state"] == "SUCCEEDED", said
    return list(said["result"].get("data_array", []))
