"""What a keeper does on the side: have captured requests compacted, and models removed that nobody serves."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from mlport_local.engine import process
from mlport_local.serving import served_models, staff
from mlport_local.serving.staff import Hand

COMPACT_SECONDS = 120.0  # between looks for captured requests to compact


class Housekeeping:
    """One endpoint's. `used` tells the model folders that deployments are served from, as of now."""

    def __init__(self, folder: Path, used: Callable[[], frozenset[str]]) -> None:
        self._folder, self._used = folder, used
        self.compacting = Hand("capture", folder / "logs" / "capture.log")
        self._next = time.monotonic() + COMPACT_SECONDS

    def see_to(self, now: float) -> None:
        """Start a process that compacts, now and then; it goes when it is done."""
        if self.compacting.identity is not None and not process.alive(self.compacting.identity):
            self.compacting.identity = None
        if self.compacting.identity is not None or now < self._next:
            return
        self._next = now + COMPACT_SECONDS
        self.tidy()
        if any((self._folder / "capture" / "spool").glob("*")):
            self.compacting.start(staff.python("mlport.capture", str(self._folder / "capture")), staff.environment(self._folder, {}), now)

    def tidy(self) -> None:
        """Remove the models of deployments that are gone, and copies that were never finished."""
        served_models.remove_unused(self._folder / "models", self._used)
