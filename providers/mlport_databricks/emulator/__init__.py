"""A Databricks on this machine: its own SDK and MLflow reach it unmodified, and it does the work that it is asked for.

`mlport emulate databricks` runs it. docs/emulators-databricks.md says what is there, what is strict and what was guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from mlport.emulation.faults import Faults
    from mlport.emulation.spi import Running


class DatabricksEmulator:
    """What the entry point `mlport.emulators: databricks` names."""

    name = "databricks"
    effects = ("lag", "quota", "preempt", "restart", "idle")

    def open(self, folder: Path, faults: Faults) -> Running:
        from mlport_databricks.emulator.running import DatabricksRunning

        return DatabricksRunning(folder, faults)


EMULATOR = DatabricksEmulator()
