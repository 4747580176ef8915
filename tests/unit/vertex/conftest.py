"""The fixtures of the tests of the Vertex AI adapter."""

import sys

from aids.vertex.account import account, classifier, folder
from aids.vertex.models import no_server_left
from aids.vertex.place import emulator

from mlport import mlport_node

__all__ = ["account", "classifier", "emulator", "folder", "no_server_left"]
sys.modules["mlport_node"] = mlport_node  # in a job it lies beside the first program
