"""The ports of an emulator: those of its last run in a folder, as long as nobody else has them.

What an emulator started goes on without it, and knows only the addresses of then.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

FILE = "ports.json"
T = TypeVar("T")


class Ports:
    """Ports by what listens there, as one run in a folder leaves them to the next."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._known = _read(self._path)

    def last(self, name: str) -> int:
        """The port of the last run; 0, which stands for any that is free, if there is none."""
        return self._known.get(name, 0)

    def keep(self, name: str, port: int) -> int:
        """Remember a port for the next run; the port."""
        if self._known.get(name) != port:
            self._known[name] = port
            unfinished = self._path.with_suffix(".part")
            unfinished.write_text(json.dumps(self._known), encoding="utf-8")
            os.replace(unfinished, self._path)
        return port


async def listening(begin: Callable[[int], Awaitable[T]], last: int) -> T:
    """What `begin` gives with the last run's port, or with any that is free where that one is taken. Raises OSError."""
    try:
        return await begin(last)
    except OSError:
        if not last:
            raise
        return await begin(0)


def _read(path: Path) -> dict[str, int]:
    """What the last run left; nothing if what is there is no such file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): int(port) for name, port in found.items() if 0 < int(port) < 65536}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}
