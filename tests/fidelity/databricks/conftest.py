"""The fixtures of every test of the Databricks emulator."""

from aids.databricks.place import emulator, sdk

__all__ = ["emulator", "sdk"]
