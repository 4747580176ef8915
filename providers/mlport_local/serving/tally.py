"""What one deployment answered, counted where a kill cannot reach it: in a file mapped into memory.

Latency is kept in bins that are 2 percent wide from 1 microsecond up, so that sums of them lose nothing.
"""

from __future__ import annotations

import math
import mmap
import os
import secrets
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

WIDTH = 1.02
SMALLEST = 1e-6  # seconds
BINS = 1100  # up to 48 minutes; what takes longer is in the last one
_PER_LOG = 1 / math.log(WIDTH)
_log = math.log
_EPOCH, _REQUESTS, _ERRORS, _REJECTED, _FIRST_BIN = range(5)
_LAST = _FIRST_BIN + BINS - 1
_BYTES = 8 * (_LAST + 1)


def bin_of(seconds: float) -> int:
    """The number of the bin that holds a latency; `bound(bin_of(x) - 1) <= x < bound(bin_of(x))`.

    >>> bound(bin_of(0.001) - 1) <= 0.001 < bound(bin_of(0.001))
    True
    """
    return min(int(_log(seconds / SMALLEST) * _PER_LOG), BINS - 1) if seconds > SMALLEST else 0


def bound(number: int) -> float:
    """The upper bound of a bin, seconds."""
    return SMALLEST * WIDTH ** (number + 1)


@dataclass(frozen=True, slots=True)
class Counts:
    """What was answered; `errors` with 500 and above, `rejected` with 400 to 499, `bins` by their numbers."""

    requests: int
    errors: int
    rejected: int
    bins: dict[int, int]


class Tally:
    """Counts since the last `settle`, which numbers them by `epoch`, and in `total` those before.

    Args:
        file: Where they are kept; None, or a disk without room for it, keeps them in this process alone.
    """

    __slots__ = ("_cells", "all_bins", "seconds", "total")

    def __init__(self, file: Path | None = None) -> None:
        self._cells = memoryview(_mapped(file) if file else bytearray(_BYTES)).cast("Q")
        self.total: Counter[str] = Counter()
        self.all_bins: Counter[int] = Counter()
        self.seconds = 0.0  # all latencies together, since the router started
        if self.is_empty and not self.epoch:  # new: no epoch that an earlier deployment of this name was written down with
            self._cells[_EPOCH] = secrets.randbits(32)

    @property
    def epoch(self) -> int:
        return self._cells[_EPOCH]

    @property
    def is_empty(self) -> bool:
        return not self._cells[_REQUESTS]

    def count(self, status: int, seconds: float) -> None:
        """One answer."""
        cells = self._cells
        cells[_REQUESTS] += 1
        if status >= 400:
            cells[_ERRORS if status >= 500 else _REJECTED] += 1
        self.seconds += seconds
        place = int(_log(seconds / SMALLEST) * _PER_LOG) + _FIRST_BIN if seconds > SMALLEST else _FIRST_BIN
        cells[place if place < _LAST else _LAST] += 1  # noqa: FURB136 - a call would take as long as all the rest

    def counts(self) -> Counts:
        """What is not settled yet."""
        cells = self._cells.tolist()
        bins = {number: count for number, count in enumerate(cells[_FIRST_BIN:]) if count}
        return Counts(cells[_REQUESTS], cells[_ERRORS], cells[_REJECTED], bins)

    def settle(self) -> None:
        """Begin the next epoch: what was counted is written elsewhere. The order makes a kill in between harmless."""
        counts = self.counts()
        self.total.update(requests=counts.requests, errors=counts.errors, rejected=counts.rejected)
        self.all_bins.update(counts.bins)
        self._cells[_REQUESTS:] = memoryview(bytes(_BYTES - 8)).cast("Q")
        self._cells[_EPOCH] += 1


def _mapped(file: Path) -> mmap.mmap | bytearray:
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _BYTES)  # a page that the disk has no room for would kill us when it is touched
            return mmap.mmap(descriptor, _BYTES)
        finally:
            os.close(descriptor)
    except OSError:
        return bytearray(_BYTES)


class Tallies(dict[str, Tally]):
    """The tallies of one router by deployment, in files under `folder`."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, name: str) -> Tally:
        tally = self[name] = Tally(self._folder / name if self._folder else None)
        return tally

    def keep(self, names: Collection[str]) -> None:
        """Let go of all others, with file and descriptor, as far as what they counted is settled."""
        for name in [name for name, tally in self.items() if name not in names and tally.is_empty]:
            del self[name]
            if self._folder:
                (self._folder / name).unlink(missing_ok=True)

    def recover(self, written: dict[str, int]) -> None:
        """Take up what a router left that was killed; `written` are the epochs that it wrote down last."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        for file in self._folder.iterdir():
            tally = self[file.name]
            if written.get(file.name) == tally.epoch:
                tally.settle()
            if tally.is_empty:
                tally.total.clear()
                tally.all_bins.clear()
