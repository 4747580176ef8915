"""The fixtures of the tests of the Databricks adapter."""

import sys

import pytest
from aids.databricks.account import Account, account, classifier
from aids.databricks.place import emulator

import mlport
from mlport import mlport_node
from mlport_databricks.session import DatabricksSession

__all__ = ["account", "classifier", "emulator"]
sys.modules["mlport_node"] = mlport_node  # in a job it lies beside the first program


@pytest.fixture(scope="module")
def client(account: Account) -> mlport.Client:
    return account()


@pytest.fixture
def session(client: mlport.Client) -> DatabricksSession:
    found = client.session
    assert isinstance(found, DatabricksSession)
    return found
