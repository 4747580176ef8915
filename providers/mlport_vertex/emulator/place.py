"""What the services of one emulator share: documents, faults, the engine that does the work, and a thread for chores."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import mlport
from mlport.emulation.documents import Documents
from mlport.emulation.faults import Faults

NUMBER = "424242424242"  # every project's number: callers cannot tell it from a real one
CHORE_SECONDS = 0.1
log = logging.getLogger("mlport.emulation")


class Place:
    """One emulator's folder, opened."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.faults = folder, faults
        self.documents = Documents(folder / "documents.db")
        self.url = ""  # where it answers, once it does
        self._chores: list[Callable[[], None]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chores", daemon=True)

    @cached_property
    def engine(self) -> mlport.Client:
        """The local provider under this folder: it runs what the emulator is asked to run."""
        return mlport.connect(f"local://{self.folder / 'engine'}")

    def chore(self, work: Callable[[], None]) -> None:
        """Call this again and again in the background. It must be quick, and able to go on after a restart."""
        self._chores.append(work)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(CHORE_SECONDS):
            for work in self._chores:
                try:
                    work()
                except Exception:
                    log.exception("a chore of the emulator failed; it is tried again")

    def close(self) -> None:
        """Stop the chores, and let go of the files."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        if "engine" in self.__dict__:
            self.engine.close()
        self.documents.close()


def now() -> str:
    """This moment as Google writes it.

    >>> len(now()) == len("2026-11-23T10:39:12.123456Z")
    True
    """
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
