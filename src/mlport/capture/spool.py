"""Keeping what was asked and answered, cheaply: one write for a whole batch, before any of its answers is sent.

What the kernel took outlives the process, so a worker that is killed loses nothing that it answered. Segments are
rotated by size and age; the open one is locked, which tells others that its writer lives. Reading and parsing are for
`mlport.capture.compact`.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from mlport.capture.frames import MAGIC, Frame, Origin, pack, seal
from mlport.faults import fault

SEGMENTS = "spool"
_COMPLAIN_EVERY = 60.0  # seconds
_SCALE = float(2**32)


def is_sampled(request_id: str, rate: float) -> bool:
    """Whether this request is among the share `rate` that is kept. The same id, the same answer, in any process.

    >>> is_sampled("a", 1.0), is_sampled("a", 0.0)
    (True, False)
    """
    if rate >= 1.0:
        return True
    return int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=4).digest(), "big") / _SCALE < rate


class Spool:
    """Appends frames to segments under `folder`. A full disk costs the capture, never the answer.

    Args:
        folder: The endpoint's capture folder.
        origin: Said once in each segment.
        most_bytes: Size at which a segment is closed.
        most_seconds: Age at which a segment that holds something is closed, at the next append or `tick`.
    """

    def __init__(
        self,
        folder: Path,
        origin: Origin,
        *,
        most_bytes: int = 16 * 2**20,
        most_seconds: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder / SEGMENTS
        self._head = MAGIC + seal(msgspec.json.encode(origin))
        self._most_bytes, self._most_seconds, self._clock = most_bytes, most_seconds, clock
        self._fd: int | None = None
        self._size, self._opened, self._complained = 0, 0.0, -_COMPLAIN_EVERY
        self.dropped = 0
        self._folder.mkdir(parents=True, exist_ok=True)

    def append(self, frames: Sequence[Frame]) -> bool:
        """Write the frames with one call; False when they could not be kept, which is counted in `dropped`."""
        data = b"".join([pack(frame) for frame in frames])
        try:
            self._write(data)
        except OSError as error:
            self._drop(len(frames), error)
            return False
        return True

    def tick(self) -> None:
        """Close the segment if it is old; to be called now and then while nothing is appended."""
        if self._fd is not None and self._clock() - self._opened >= self._most_seconds:
            self.close()

    def close(self) -> None:
        """Let go of the segment. It is not synced: compaction makes durable what lasts, and a sync would stall answers."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def _write(self, data: bytes) -> None:
        self.tick()
        if self._fd is None:
            self._fd = self._open()
        fault("before-capture-write")
        written = os.write(self._fd, data)
        fault("after-capture-write")
        if written < len(data):
            os.ftruncate(self._fd, self._size)  # half a batch would hide what is appended after it
            raise OSError(errno.ENOSPC, "the disk took only a part of a batch")
        self._size += written
        if self._size >= self._most_bytes:
            self.close()

    def _open(self) -> int:
        """A new segment. It gets its name when it is locked and holds its head, so nobody meets it half made."""
        path = self._folder / f"{time.time_ns():020d}-{os.getpid()}.seg"
        unnamed = path.with_suffix(".new")
        fd = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.write(fd, self._head) < len(self._head):
                raise OSError(errno.ENOSPC, "the disk took only a part of a segment's head")
            os.replace(unnamed, path)
        except OSError:
            os.close(fd)
            unnamed.unlink(missing_ok=True)
            raise
        self._size, self._opened = len(self._head), self._clock()
        return fd

    def _drop(self, count: int, error: OSError) -> None:
        self.dropped += count
        if self._clock() - self._complained >= _COMPLAIN_EVERY:
            self._complained = self._clock()
            print(f"capture: {error}; {self.dropped} requests not kept so far", file=sys.stderr, flush=True)
