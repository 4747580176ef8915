"""A log that is never larger on disk than it may be, however much is printed.

Programs write straight into the file, so that their output survives the death of all of us; nobody stands in between who
could count. So the supervisor looks at the file's size some times a second and takes the middle out: a hole in the file,
where the file system keeps no blocks. Beginning and end stay, at their old offsets, so that who follows the log by offset
is not disturbed. `log.cut` tells where the hole is. In the time between two looks a log may grow beyond its limit.

Linux only, on file systems that can punch holes (ext4, XFS, Btrfs, tmpfs, ZFS); elsewhere a log is not limited.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from mlport_local.engine.process import LINUX

BLOCK = 4096
INTERVAL = 0.05
"""Seconds between looks: at 1 GB/s, which is what a program can print, 50 MB."""
_PUNCH_HOLE_AND_KEEP_SIZE = 0x03


@dataclass(frozen=True, slots=True)
class Cut:
    """The bytes from `begin` up to `end` were taken out of the log."""

    begin: int
    end: int


def cut_path(log: Path) -> Path:
    """The file beside a log that tells where its hole is."""
    return log.with_name(f"{log.name}.cut")


def cut_of(log: Path) -> Cut | None:
    """Where the hole is, None if nothing was taken out."""
    try:
        return Cut(**json.loads(cut_path(log).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def wanted_cut(size: int, limit: int) -> Cut | None:
    """The hole that brings a log of `size` down to `limit`: a quarter of it stays at the beginning, the rest at the end.

    >>> wanted_cut(1_000_000, 400_000)
    Cut(begin=98304, end=696320)
    """
    begin = limit // 4 // BLOCK * BLOCK
    end = (size - (limit - begin)) // BLOCK * BLOCK
    return Cut(begin, end) if end > begin else None


def trim(log: Path, limit: int) -> bool:
    """Take out of the log what is too much; False where the file system cannot."""
    cut = wanted_cut(log.stat().st_size, limit)
    known = cut_of(log)
    if cut is None or (known and cut.end < known.end + limit // 8):
        return True
    part = cut_path(log).with_suffix(".part")
    part.write_text(json.dumps(asdict(cut)), encoding="utf-8")
    os.replace(part, cut_path(log))
    return _punch(log, cut)


def _punch(log: Path, cut: Cut) -> bool:
    import ctypes

    fallocate = ctypes.CDLL(None, use_errno=True).fallocate
    fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong]
    with log.open("r+b") as stream:
        done: bool = fallocate(stream.fileno(), _PUNCH_HOLE_AND_KEEP_SIZE, cut.begin, cut.end - cut.begin) == 0
    if not done:
        cut_path(log).unlink()
    return done


@contextmanager
def limited(log: Path, limit: int | None) -> Iterator[None]:
    """Keep the log within its limit for as long as the block runs."""
    if limit is None or not LINUX:
        yield
        return
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(log, limit, over), name="log-limit", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _watch(log: Path, limit: int, over: threading.Event) -> None:
    can = True
    while can and not over.wait(INTERVAL):
        can = not log.exists() or trim(log, limit)
    if can and log.exists():
        trim(log, limit)
