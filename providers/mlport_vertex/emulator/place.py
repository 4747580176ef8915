"""What the services of this emulator share, beside what every emulator has: Google's stores, operations and jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

from mlport.emulation.faults import Faults
from mlport.emulation.place import Place as AnyPlace
from mlport_vertex.emulator.storing.objects import Objects

if TYPE_CHECKING:
    from mlport_vertex.emulator.protocol.long_running import LongRunning
    from mlport_vertex.emulator.storing.tables import Tables
    from mlport_vertex.emulator.working.runs import Runs

PROJECTS, LOCATION = ("emulated", "emulated-other"), "us-central1"
NUMBER = "424242424242"  # of the first project: callers cannot tell it from a real one


class Place(AnyPlace):
    """One emulator's folder, opened."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        super().__init__(folder, faults)
        self.objects = Objects(folder / "storage")
        self.chore(self.objects.sweep_now_and_then)
        self.at_end(self.objects.close)

    @cached_property
    def tables(self) -> Tables:
        """BigQuery's datasets and tables."""
        from mlport_vertex.emulator.storing.tables import Tables

        tables = Tables(self.folder / "tables", self.documents)
        self.at_end(tables.close)
        return tables

    @cached_property
    def operations(self) -> LongRunning:
        """The long-running operations."""
        from mlport_vertex.emulator.protocol.long_running import LongRunning

        return LongRunning(self)

    @cached_property
    def runs(self) -> Runs:
        """The custom jobs at work."""
        from mlport_vertex.emulator.working.runs import Runs

        return Runs(self)

    def end_chores(self) -> None:
        super().end_chores()
        if "operations" in self.__dict__:
            self.operations.close()


def number_of(project: str) -> str:
    """A project's number: 12 digits, the same for the same id.

    >>> number_of("emulated"), number_of("other") == NUMBER
    ('424242424242', False)
    """
    return NUMBER if project == PROJECTS[0] else str(10**11 + crc32(project.encode()) * 97 % (9 * 10**11))


def now() -> str:
    """This moment as Google writes it.

    >>> len(now()) == len("2026-11-23T10:39:12.123456Z")
    True
    """
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
