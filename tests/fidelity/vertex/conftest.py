"""The fixtures of every test of the Vertex AI emulator."""

from aids.vertex.models import no_server_left
from aids.vertex.place import emulator, sdk

__all__ = ["emulator", "no_server_left", "sdk"]
