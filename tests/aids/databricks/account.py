"""A client of an emulated Databricks workspace, and models to register there: what the tests of its adapter share.

from aids.databricks.account import account, classifier  # noqa: F401 - fixtures
from aids.databricks.place import emulator
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aids.databricks import models

import mlport
from mlport.emulation.server import Ready
from mlport.errors import MlportError
from mlport_databricks import PROVIDER
from mlport_databricks.config import DatabricksConfig

ROWS = [{"x0": -2.0, "x1": 0.0}, {"x1": 0.0, "x0": 2.0}]
TRUTH = [0, 1]
Account = Callable[..., mlport.Client]


@pytest.fixture(scope="module")
def account(emulator: Ready) -> Iterator[Account]:
    """Opens clients of the emulator's first workspace, `account(warehouse_id=None)`; the endpoints that are left are removed."""
    opened: list[mlport.Client] = []

    def make(**fields: Any) -> mlport.Client:
        config = DatabricksConfig.from_url(emulator.targets["databricks"]).model_copy(update=fields)
        opened.append(mlport.Client(PROVIDER, config))
        return opened[-1]

    yield make
    for client in opened[:1]:
        with suppress(MlportError):  # a module that never came so far as to have endpoints
            for record in list(client.endpoints.list()):
                client.endpoints.delete(record.name)
    for client in opened:
        client.close()


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The MLflow folder of a model that says whether x0 is positive, with a signature of inputs and outputs."""
    return models.classifier(tmp_path_factory.mktemp("models") / "classifier")
