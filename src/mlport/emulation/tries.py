"""Work that fails by a defect of the emulator: tried again a few times, and then said to have failed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds before each further try: a disk that is full for a moment fails nothing, and a defect is told within seconds."""
GIVEN_UP = 10.0  # seconds before work is tried again that goes on although it was given up
log = logging.getLogger("mlport.emulation")


class Tries:
    """How often each piece of work failed so far, and when it is tried again. Safe for threads that work on different pieces."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: dict[str, tuple[int, float]] = {}

    def __call__(self, key: str, work: Callable[[], object], give_up: Callable[[], object] = lambda: None) -> None:
        """Do a piece of work unless it failed a moment ago. After the last try `give_up` says that it has failed.

        What fails is logged with its traceback. `give_up` must be able to come again; it returns True where the work of this key
        is another from now on.
        """
        times, earliest = self._failed.get(key, (0, 0.0))
        if self._clock() < earliest:
            return
        try:
            work()
        except Exception:
            is_last = times >= len(PAUSES)
            log.exception("%s failed by a defect of the emulator; %s", key, "it is given up" if is_last else "it is tried again")
            self._failed[key] = (times if is_last else times + 1, self._clock() + (GIVEN_UP if is_last else PAUSES[times]))
            if is_last and give_up() is True:
                del self._failed[key]
        else:
            self._failed.pop(key, None)
