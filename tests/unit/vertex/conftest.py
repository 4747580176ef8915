"""The fixtures of the tests of the Vertex AI adapter."""

from vertex_account import account, classifier, folder
from vertex_models import no_server_left
from vertex_place import emulator

__all__ = ["account", "classifier", "emulator", "folder", "no_server_left"]
