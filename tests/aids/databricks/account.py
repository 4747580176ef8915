"""A client of an emulated Databricks workspace, and models to register there: what the tests of its adapter share.

from aids.databricks.account import account, classifier  # noqa: F401 - fixtures
from aids.databricks.place import emulator
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from aids.accounts import ROWS, TRUTH, Account, accounts
from aids.databricks import models

from mlport.emulation.server import Ready
from mlport_databricks import PROVIDER

__all__ = ["ROWS", "TRUTH", "Account"]


@pytest.fixture(scope="module")
def account(emulator: Ready) -> Iterator[Account]:
    """Opens clients of the emulator's first account."""
    yield from accounts(PROVIDER, emulator.targets["databricks"])


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The MLflow folder of a model that says whether x0 is positive, with a signature of inputs and outputs."""
    return models.classifier(tmp_path_factory.mktemp("models") / "classifier")
