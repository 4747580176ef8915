"""What passed through an endpoint, second by second: written by the router, summed by whoever asks.

`observed/*.jsonl` holds a line for each second in which something was answered, `observed/until` the time up to which
all is written; an idle router moves it on, too. A line that stands for longer, because the disk was full or a router was
killed, says `from` when. What a killed router had counted lies in `observed/live`, and the next one writes it down.
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mlport.faults import fault
from mlport.spi import Latency, Observation, Observed, Window
from mlport_local.serving.tally import Tallies, bound

KEPT = timedelta(days=31)
LIVE = "live"
LONGEST_SECOND = 2.0  # a line that stands for more says so


class Observer:
    """Writes the tallies once a second, into files of one hour each under `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / LIVE).mkdir(parents=True, exist_ok=True)
        self._until = os.open(folder / "until", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._complete = float(os.pread(self._until, 32, 0) or 0)
        self._hour, self._descriptor = "", -1
        self.tallies = Tallies(folder / LIVE)
        self.tallies.recover(_last_epochs(folder))

    def flush(self, now: float) -> None:
        """Write what was answered up to `now` (seconds since 1970), then that it is complete up to there.

        Raises:
            OSError: nothing was written, and the next flush stands for this one, too.
        """
        seen = {name: tally for name, tally in self.tallies.items() if not tally.is_empty}
        if seen:
            counts = {name: tally.counts() for name, tally in seen.items()}
            line: dict[str, Any] = {"t": math.floor(now * 1000 - 1) / 1000}
            if self._complete and now - self._complete > LONGEST_SECOND:
                line["from"] = self._complete
            line["epochs"] = {name: tally.epoch for name, tally in seen.items()}
            line["deployments"] = {name: [one.requests, one.errors, one.rejected, one.bins] for name, one in counts.items()}
            fault("before-observe-line")
            self._append(json.dumps(line, separators=(",", ":")).encode() + b"\n", datetime.fromtimestamp(now, UTC))
            fault("after-observe-line")
            for tally in seen.values():
                tally.settle()
            fault("after-observe-settle")
        os.pwrite(self._until, b"%017.3f" % now, 0)
        self._complete = now

    def close(self) -> None:
        os.close(self._until)
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def _append(self, line: bytes, now: datetime) -> None:
        """The whole line, or nothing."""
        descriptor = self._file(now)
        size = os.fstat(descriptor).st_size
        if os.write(descriptor, line) < len(line):
            os.ftruncate(descriptor, size)
            raise OSError(errno.ENOSPC, "the disk took only a part of a line")

    def _file(self, now: datetime) -> int:
        hour = f"{now:%Y%m%dT%H}"
        if hour != self._hour:
            opened = os.open(self._folder / f"{hour}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._hour, self._descriptor = hour, opened
            _expire(self._folder, now)
        return self._descriptor


def _last_epochs(folder: Path) -> dict[str, int]:
    """The epochs that the last line names; what a killed router began to write after it is cut off."""
    newest = max(folder.glob("*.jsonl"), default=None)
    if newest is None:
        return {}
    data = newest.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(newest, len(whole))
    lines = whole.splitlines()
    epochs: dict[str, int] = json.loads(lines[-1]).get("epochs", {}) if lines else {}
    return epochs


def _expire(folder: Path, now: datetime) -> None:
    oldest = f"{now - KEPT:%Y%m%dT%H}.jsonl"
    for file in folder.glob("*.jsonl"):
        if file.name < oldest:
            file.unlink(missing_ok=True)


# ------------------------------------------------------------------ from outside


def observation(folder: Path, window: Window) -> Observation:
    """What each deployment did in `window`, as far as it is written.

    A second belongs to the window that it ends in: windows that follow each other count each answer once, and the edges of
    one are exact to a second.
    A line that stands for many seconds, of which only some are in the window, is left out, and the time that the
    observation is complete for is shortened by it.
    """
    sums: dict[str, list[Any]] = {}
    start, end = window.start.timestamp(), window.end.timestamp()
    complete_from, complete_until = start, min(_complete_until(folder), end)
    for line in _lines(folder, window):
        first, last = line.get("from", line["t"]), line["t"]
        if first < start <= last:
            complete_from = max(complete_from, last + 0.001)
        elif first < end <= last:
            complete_until = min(complete_until, first)
        elif start <= last < end:
            _add(sums, line["deployments"])
    return Observation(
        window,
        min(datetime.fromtimestamp(complete_until, UTC), window.end),
        tuple(_observed(name, total) for name, total in sorted(sums.items())),
        datetime.fromtimestamp(complete_from, UTC) if complete_from > start else None,
    )


def _add(sums: dict[str, list[Any]], seen: dict[str, list[Any]]) -> None:
    for name, (requests, errors, rejected, bins) in seen.items():
        total = sums.setdefault(name, [0, 0, 0, Counter()])
        total[0] += requests
        total[1] += errors
        total[2] += rejected
        total[3].update({int(number): count for number, count in bins.items()})


def _observed(name: str, total: list[Any]) -> Observed:
    requests, errors, rejected, bins = total
    numbers = sorted(bins)
    latency = Latency("histogram", [bound(number) for number in numbers], [bins[number] for number in numbers])
    return Observed(name, requests, errors, rejected, latency)


def _complete_until(folder: Path) -> float:
    try:
        return float((folder / "until").read_text(encoding="ascii") or 0)
    except FileNotFoundError:
        return 0.0


def _lines(folder: Path, window: Window) -> Iterator[dict[str, Any]]:
    """The lines of the window's hours, and of the next hour that has any: its first may stand for time in the window."""
    first, last = (f"{time.astimezone(UTC):%Y%m%dT%H}.jsonl" for time in (window.start, window.end))
    files = sorted(file for file in folder.glob("*.jsonl") if file.name >= first)
    within = [file for file in files if file.name <= last]
    for file in files[: len(within) + 1]:
        for text in file.read_bytes().splitlines(keepends=True):
            if text.endswith(b"\n"):
                yield json.loads(text)
