"""The fixtures of every test of the Vertex AI emulator."""

from vertex_models import no_server_left
from vertex_place import emulator, sdk

__all__ = ["emulator", "no_server_left", "sdk"]
