"""What passed through an endpoint, second by second: counted by the router, summed by whoever asks.

Latency is kept in bins that are 2 percent wide from 1 microsecond up, sparse, so that sums of them lose nothing.
`observed/*.jsonl` holds a line for each second in which something was answered, `observed/until` the time up to
which all is written; an idle router moves it on, too. A router that is killed loses at most its last second.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from mlport.spi import Latency, Observation, Observed, Window

WIDTH = 1.02
SMALLEST = 1e-6  # seconds
KEPT = timedelta(days=31)
_PER_LOG = 1 / math.log(WIDTH)
_log = math.log


def bin_of(seconds: float) -> int:
    """The number of the bin that holds a latency; `bound(bin_of(x) - 1) <= x < bound(bin_of(x))`.

    >>> bound(bin_of(0.001) - 1) <= 0.001 < bound(bin_of(0.001))
    True
    """
    return int(_log(seconds / SMALLEST) * _PER_LOG) if seconds > SMALLEST else 0


def bound(number: int) -> float:
    """The upper bound of a bin, seconds."""
    return SMALLEST * WIDTH ** (number + 1)


@dataclass(slots=True)
class Tally:
    """What one deployment answered since the last flush, and since the router started."""

    requests: int = 0
    errors: int = 0
    rejected: int = 0
    bins: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0  # all latencies together
    total: Counter[str] = field(default_factory=Counter)
    all_bins: Counter[int] = field(default_factory=Counter)

    def count(self, status: int, seconds: float) -> None:
        """One answer."""
        self.requests += 1
        if status >= 400:
            if status >= 500:
                self.errors += 1
            else:
                self.rejected += 1
        self.seconds += seconds
        number = int(_log(seconds / SMALLEST) * _PER_LOG) if seconds > SMALLEST else 0
        bins = self.bins
        bins[number] = bins.get(number, 0) + 1

    def take(self) -> list[Any]:
        """What is not yet written, as `[requests, errors, rejected, bins]`; counting starts anew."""
        taken = [self.requests, self.errors, self.rejected, self.bins]
        self.total.update(requests=self.requests, errors=self.errors, rejected=self.rejected)
        self.all_bins.update(self.bins)
        self.requests = self.errors = self.rejected = 0
        self.bins = {}
        return taken


class Observer:
    """Writes the tallies once a second, into files of one hour each under `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._until = os.open(folder / "until", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._hour, self._file = "", None  # type: tuple[str, BinaryIO | None]

    def flush(self, tallies: Mapping[str, Tally], now: float) -> None:
        """Write what was answered up to `now` (seconds since 1970), then that it is complete up to there."""
        seen = {name: tally.take() for name, tally in tallies.items() if tally.requests}
        if seen:
            line = json.dumps({"t": math.floor(now * 1000 - 1) / 1000, "deployments": seen}, separators=(",", ":"))
            stream = self._stream(datetime.fromtimestamp(now, UTC))
            stream.write(line.encode() + b"\n")
            stream.flush()
        os.pwrite(self._until, b"%017.3f" % now, 0)

    def close(self) -> None:
        os.close(self._until)
        if self._file:
            self._file.close()

    def _stream(self, now: datetime) -> BinaryIO:
        hour = f"{now:%Y%m%dT%H}"
        if self._file is None or hour != self._hour:
            if self._file:
                self._file.close()
            self._hour, self._file = hour, (self._folder / f"{hour}.jsonl").open("ab")
            _expire(self._folder, now)
        return self._file


def _expire(folder: Path, now: datetime) -> None:
    oldest = f"{now - KEPT:%Y%m%dT%H}.jsonl"
    for file in folder.glob("*.jsonl"):
        if file.name < oldest:
            file.unlink(missing_ok=True)


def observation(folder: Path, window: Window) -> Observation:
    """What each deployment did in `window`, as far as it is written."""
    sums: dict[str, list[Any]] = {}
    for line in _lines(folder, window):
        for name, (requests, errors, rejected, bins) in line["deployments"].items():
            total = sums.setdefault(name, [0, 0, 0, Counter()])
            total[0] += requests
            total[1] += errors
            total[2] += rejected
            total[3].update({int(number): count for number, count in bins.items()})
    return Observation(
        window, min(_complete_until(folder), window.end), tuple(_observed(name, total) for name, total in sorted(sums.items()))
    )


def _observed(name: str, total: list[Any]) -> Observed:
    requests, errors, rejected, bins = total
    numbers = sorted(bins)
    latency = Latency("histogram", [bound(number) for number in numbers], [bins[number] for number in numbers])
    return Observed(name, requests, errors, rejected, latency)


def _complete_until(folder: Path) -> datetime:
    try:
        return datetime.fromtimestamp(float((folder / "until").read_text(encoding="ascii") or 0), UTC)
    except FileNotFoundError:
        return datetime.fromtimestamp(0, UTC)


def _lines(folder: Path, window: Window) -> Iterator[dict[str, Any]]:
    first, last = (f"{time.astimezone(UTC):%Y%m%dT%H}.jsonl" for time in (window.start, window.end))
    start, end = window.start.timestamp(), window.end.timestamp()
    for file in sorted(folder.glob("*.jsonl")):
        if not first <= file.name <= last:
            continue
        for text in file.read_bytes().splitlines(keepends=True):
            if text.endswith(b"\n"):
                line = json.loads(text)
                if start <= line["t"] < end:
                    yield line
