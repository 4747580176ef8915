"""A root with endpoints that really serve, and the certainty that nothing of them is left afterwards: what tests of endpoints share."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from aids.local.engine import words_of

from mlport.bundle import tree_digest
from mlport.specs import DeploymentSpec, EndpointSpec
from mlport.spi import EndpointState, Facts, Operation, OperationStatus, Plan, Request
from mlport_local.config import LocalConfig
from mlport_local.endpoints import LocalEndpoints
from mlport_local.engine import process
from mlport_local.engine.process import Identity
from mlport_local.operations import LocalOperations
from mlport_local.serving import staff
from mlport_local.serving.endpoint_request import endpoint_request
from mlport_local.serving.endpoint_state import Observed
from mlport_local.serving.endpoint_store import EndpointStore

_MLMODEL = """
flavors:
  python_function: {loader_module: mlflow.sklearn, model_path: model.pkl, predict_fn: predict, python_version: 3.11.7, env: {}}
  sklearn: {pickled_model: model.pkl, serialization_format: cloudpickle, sklearn_version: '0', code: null}
mlflow_version: 3.17.2
signature:
  inputs: '[{"type": "double", "name": "a", "required": true}, {"type": "double", "name": "b", "required": true}]'
  outputs: '[{"type": "long", "required": true}]'
"""
ROW = {"a": 1.0, "b": 0.0}


class Place:
    """One root and its endpoints."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.config = LocalConfig(root=root, **settings)
        self.endpoints, self.operations = LocalEndpoints(self.config), LocalOperations(self.config)
        self.store = EndpointStore(self.config.layout)
        self.model = root / "model"
        self.tokens = 0
        if not self.model.exists():
            save_model(self.model)

    def token(self) -> str:
        self.tokens += 1
        return f"token-{self.tokens}"

    def facts(self, version: str, **changed: Any) -> Facts:
        record = {"name": "lr", "version": version, "uri": str(self.model), "digest": tree_digest(self.model), "flavors": ["sklearn"]}
        return Facts(model={**record, **changed})

    def plan(self, spec: EndpointSpec | DeploymentSpec, version: str = "1", **changed: Any) -> Plan:
        facts = self.facts(version, **changed)
        body = endpoint_request(spec, facts, self.config)
        kind = "endpoint" if isinstance(spec, EndpointSpec) else "deployment"
        return Plan("local", self.config.target, kind, body["endpoint"], spec.to_json(), facts, (Request(f"endpoints.{kind}", body),))  # type: ignore[arg-type]

    def endpoint(self, name: str, **fields: Any) -> Plan:
        changed = fields.pop("model", {})
        return self.plan(
            EndpointSpec.model_validate({"name": name, "deployment": {"model": {"name": "lr", "version": "1"}, "name": "blue"}, **fields}),
            **changed,
        )

    def deployment(self, endpoint: str, name: str, **changed: Any) -> Plan:
        return self.plan(
            DeploymentSpec.model_validate({"model": {"name": "lr", "version": "2"}, "name": name, "endpoint": endpoint}), "2", **changed
        )

    def ended(self, operation: Operation) -> OperationStatus:
        return until(lambda: status if (status := self.operations.advance(operation.id)).state.terminal else None, 60)  # type: ignore[no-any-return]

    def done(self, operation: Operation) -> None:
        status = self.ended(operation)
        assert status.state == "SUCCEEDED", status.reason

    def split(self, endpoint: str, **shares: int) -> None:
        self.done(self.endpoints.set_traffic(endpoint, shares, token=self.token()))

    def observed(self, name: str) -> Observed:
        return self.store.get(name).observed

    def settled(self, name: str) -> None:
        until(lambda: self.endpoints.get(name).state is EndpointState.READY, 60)

    def keeper(self, name: str) -> Identity | None:
        """Who keeps an endpoint now."""
        wanted = [b"mlport_local.serving.keeper", str(self.config.root).encode(), name.encode()]
        found = {seen.pid: seen for seen in process.everyone() if words_of(seen.pid)[-3:] == wanted}
        own = [seen for seen in found.values() if seen.parent not in found]  # what a keeper starts has its words until it has its own
        return Identity(own[0].pid, own[0].ticks, process.boot_id()) if own else None

    def close(self) -> None:
        for row in self.store.after("", 100):
            if not row.desired.deleted:
                self.done(self.endpoints.delete(row.name, token=self.token()))
        folders = list((self.config.root / "endpoints").glob("*"))
        until(lambda: not any(self.keeper(folder.name) for folder in folders), 60)
        assert not [identity for folder in folders for identity in staff.marked(folder)]
        assert not [path for folder in folders for path in folder.rglob("*.sock")]
        for role in (self.endpoints, self.operations, self.store):
            role.close()


def save_model(folder: Path, *, broken: bool = False) -> None:
    """An MLflow model folder, written without importing MLflow."""
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(0).normal(size=(60, 2))
    folder.mkdir(parents=True)
    folder.joinpath("MLmodel").write_text(_MLMODEL)
    folder.joinpath("model.pkl").write_bytes(b"not a pickle" if broken else pickle.dumps(LogisticRegression().fit(rows, rows[:, 0] > 0)))


def until(look: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What a look gives as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
    return found
