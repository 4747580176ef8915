"""A Vertex AI on this machine: Google's own SDK reaches it unmodified, and it does the work that it is asked for.

`mlport emulate vertex` runs it. docs/emulators.md says what is there, what is strict and what was guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from mlport.emulation.faults import Faults
    from mlport.emulation.spi import Running


class VertexEmulator:
    """What the entry point `mlport.emulators: vertex` names."""

    name = "vertex"
    effects = ("lag", "empty", "quota", "preempt", "restart")

    def open(self, folder: Path, faults: Faults) -> Running:
        from mlport_vertex.emulator.running import VertexRunning

        return VertexRunning(folder, faults)


EMULATOR = VertexEmulator()
