"""Where things lie in a capture folder, and segments as they are found there."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mlport.capture.frames import Frame, Origin, TornError, payloads, unpack
from mlport.capture.spool import SEGMENTS

DATA, DAMAGED = "data", "damaged"


@dataclass(frozen=True, slots=True)
class Compact:
    """A Parquet file by what its name says. `first` and `last` are microseconds since 1970, of its rows."""

    path: Path
    segment: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What a segment holds; `lost` bytes at its end are no whole frames."""

    origin: Origin | None
    frames: list[Frame]
    lost: int


def segments(folder: Path) -> list[Path]:
    """The segments, oldest first."""
    return sorted((folder / SEGMENTS).glob("*.seg"))


def compacts(folder: Path) -> list[Compact]:
    """The Parquet files, oldest first."""
    return [found for path in sorted((folder / DATA).glob("*.parquet")) if (found := named(path))]


def named(path: Path) -> Compact | None:
    """What a Parquet file's name says, None for a name that is not ours."""
    parts = path.stem.split("-")
    if len(parts) != 4 or not all(part.isdigit() for part in parts):
        return None
    return Compact(path, f"{parts[0]}-{parts[1]}", int(parts[2]), int(parts[3]))


def contents(path: Path) -> Contents:
    """Read a segment as far as it is whole."""
    data = path.read_bytes()
    origin: Origin | None = None
    frames: list[Frame] = []
    try:
        for payload in payloads(data):
            if origin is None:
                origin = msgspec.json.decode(payload, type=Origin)
            else:
                frames.append(unpack(payload))
    except TornError as torn:
        return Contents(origin, frames, len(data) - torn.offset)
    return Contents(origin, frames, 0)


@contextmanager
def lock(path: Path) -> Iterator[bool]:
    """Hold the lock of a file that exists while inside; gives False at once when another process has it."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(fd)


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
