"""The fixtures of the tests of the Databricks adapter."""

import sys

from aids.databricks.account import account, classifier
from aids.databricks.place import emulator

from mlport import mlport_node

__all__ = ["account", "classifier", "emulator"]
sys.modules["mlport_node"] = mlport_node  # in a job it lies beside the first program
