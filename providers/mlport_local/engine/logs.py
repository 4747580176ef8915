"""Pages of a job's log: whole lines from a byte offset on."""

from __future__ import annotations

from pathlib import Path

from mlport.errors import UsageError
from mlport.spi import LogPage

LARGEST_PAGE = 1 << 20


def read_page(path: Path, after: str | None, *, ended: bool, largest: int = LARGEST_PAGE) -> LogPage:
    """The next whole lines. `ended` says that nothing more will be written, known before this call.

    A last line without an end is given only then; a line longer than a page comes in pieces. Bytes that are no UTF-8
    are replaced.

    Raises:
        UsageError: `after` is no cursor of ours.
    """
    if after is not None and not after.isdigit():
        raise UsageError(f"log cursor {after!r} is not one of ours", hint="start over without a cursor")
    start = int(after or 0)
    data = _read(path, start, largest)
    is_all = len(data) < largest
    cut = len(data) if is_all and ended else data.rfind(b"\n") + 1
    if cut == 0 and not is_all:
        cut = len(data)
    text = data[:cut].decode(errors="replace")
    lines = text.removesuffix("\n").split("\n") if text else []
    return LogPage(lines, str(start + cut), complete=ended and is_all)


def _read(path: Path, start: int, count: int) -> bytes:
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            return stream.read(count)
    except FileNotFoundError:
        return b""
