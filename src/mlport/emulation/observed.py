"""What the endpoints answered: one short line for each request, from which the metrics are counted when they are asked for.

A line is in its file before the answer leaves, so that a killed emulator has counted what it answered; and it stays when
the model is undeployed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

KEPT = timedelta(days=42)


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer. `at` is in seconds since 1970, latencies are in seconds; `rows` is how many instances it had."""

    at: float
    endpoint: str
    deployed: str
    status: int
    total: float
    model: float
    rows: int


class Observed:
    """The files of one emulator, one for each hour."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self._lock = threading.Lock()
        oldest = _file_name(datetime.now(UTC) - KEPT)
        for file in folder.glob("*.txt"):
            if file.name < oldest:
                file.unlink()

    def note(self, seen: Seen) -> None:
        """Count one answer."""
        line = f"{seen.at:.3f} {seen.endpoint} {seen.deployed} {seen.status} {seen.total:.6f} {seen.model:.6f} {seen.rows}\n"
        file = self._folder / _file_name(datetime.fromtimestamp(seen.at, UTC))
        with self._lock, file.open("a", encoding="ascii") as stream:
            stream.write(line)

    def between(self, start: datetime, end: datetime) -> Iterator[Seen]:
        """What was answered from `start` to before `end`."""
        low, high = start.timestamp(), end.timestamp()
        for file in sorted(self._folder.glob("*.txt")):
            if _file_name(start) <= file.name <= _file_name(end):
                for line in file.read_text("ascii").splitlines(keepends=True):
                    if line.endswith("\n") and low <= (seen := _parsed(line)).at < high:
                        yield seen


def _file_name(moment: datetime) -> str:
    return f"{moment:%Y%m%dT%H}.txt"


def _parsed(line: str) -> Seen:
    at, endpoint, deployed, status, total, model, rows = line.split()
    return Seen(float(at), endpoint, deployed, int(status), float(total), float(model), int(rows))
