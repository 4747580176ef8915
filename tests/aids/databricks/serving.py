"""Registered models to serve, endpoints by plain calls, and SQL: what tests of serving share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from aids.databricks.place import ADMIN_TOKEN, call, run

from mlport.emulation.server import Ready
from mlport_databricks.emulator.accounts import HOSTS
from mlport_databricks.emulator.place import Place

Json = dict[str, Any]
T = TypeVar("T")
PATH = "/api/2.0/serving-endpoints"
WAREHOUSE = Place.warehouse_of(HOSTS[0])
MODEL, BROKEN = "main.ml.constant", "main.ml.broken"

REGISTER = """
import os, sys, tempfile
from pathlib import Path
import mlflow, numpy as np
from mlflow.models import infer_signature
from sklearn.dummy import DummyRegressor

mlflow.set_registry_uri("databricks-uc")
folder = Path(tempfile.mkdtemp())
signature = infer_signature(np.array([[0.5]]), np.array([1]))
for number in (1, 2):
    model = DummyRegressor(strategy="constant", constant=number).fit([[0.0]], [number])
    mlflow.sklearn.save_model(model, folder / str(number), signature=signature, pip_requirements=["scikit-learn"])
    made = mlflow.register_model(str(folder / str(number)), sys.argv[1])
    assert made.version == str(number), made
described = folder / "1" / "MLmodel"
described.write_text(described.read_text().replace("loader_module: mlflow.sklearn", "loader_module: nowhere.to.be.found"))
mlflow.register_model(str(folder / "1"), sys.argv[2])
"""


def register(ready: Ready) -> None:
    """Two versions of a model that says 1 and 2 whatever it is asked, and one of a model that cannot be loaded; by MLflow's own client."""
    run(ready, REGISTER, MODEL, BROKEN)


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
