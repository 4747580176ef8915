"""Where things lie in a capture folder, and segments as they are found there."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mlport.capture.frames import Frame, Origin, TornError, payloads, unpack
from mlport.capture.spool import SEGMENTS

DATA, DAMAGED = "data", "damaged"
READING = "reading.lock"
"""Held shared by who reads, alone by who removes what a file elsewhere stands for."""
SEGMENTS_KEY = b"mlport.segments"
"""Where a merged file says which segments it stands for."""


@dataclass(frozen=True, slots=True)
class Compact:
    """A Parquet file. `segments` are those that it stands for; `first` and `last` are microseconds since 1970, of its rows."""

    path: Path
    segments: frozenset[str]
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
    """The Parquet files, oldest first, those included that a merged one stands for."""
    return [found for path in sorted((folder / DATA).glob("*.parquet")) if (found := named(path))]


def current(folder: Path) -> list[Compact]:
    """The Parquet files without those that a merged one stands for."""
    found = compacts(folder)
    merged = [each for each in found if len(each.segments) > 1]
    return [each for each in found if not any(each.segments < other.segments for other in merged)]


def named(path: Path) -> Compact | None:
    """What a Parquet file's name says, None for a name that is not ours."""
    parts = path.stem.split("-")
    numbers = parts[2:] if parts[0] == "merged" else parts
    if len(parts) != 4 or not all(part.isdigit() for part in numbers):
        return None
    segments = _merged(path) if parts[0] == "merged" else frozenset({f"{parts[0]}-{parts[1]}"})
    return Compact(path, segments, int(parts[2]), int(parts[3]))


def _merged(path: Path) -> frozenset[str]:
    """The segments that a merged file stands for; none if that cannot be read: then others are not left out for it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path).metadata or {}
        return frozenset(json.loads(metadata[SEGMENTS_KEY]))
    except (pa.ArrowException, OSError, ValueError, KeyError):
        return frozenset()


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


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """While inside, nothing is removed that is said elsewhere."""
    try:
        fd = os.open(folder / READING, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:  # a folder that cannot be written: nothing is removed from it
        yield
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


@contextmanager
def removing(folder: Path) -> Iterator[bool]:
    """Whether things may be removed while inside; not while someone reads."""
    (folder / READING).touch(mode=0o600)
    with lock(folder / READING) as mine:
        yield mine


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
