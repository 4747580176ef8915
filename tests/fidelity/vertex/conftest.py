"""The fixtures of every test of the Vertex AI emulator."""

from vertex_place import emulator, sdk

__all__ = ["emulator", "sdk"]
