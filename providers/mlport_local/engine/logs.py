"""Pages of a job's log: whole lines from a byte offset on, past what its limit took out."""

from __future__ import annotations

from pathlib import Path

from mlport.errors import UsageError
from mlport.spi import LogPage
from mlport_local.engine.log_limit import cut_of

LARGEST_PAGE = 1 << 20


def read_page(path: Path, after: str | None, *, ended: bool, largest: int = LARGEST_PAGE) -> LogPage:
    """The next whole lines. `ended` says that nothing more will be written, known before this call.

    A last line without an end is given only then; a line longer than a page comes in pieces. Bytes that are no UTF-8
    are replaced. Where the log's limit took something out, one line says how much.

    Raises:
        UsageError: `after` is no cursor of ours.
    """
    if after is not None and not after.isdigit():
        raise UsageError(f"log cursor {after!r} is not one of ours", hint="start over without a cursor")
    start = int(after or 0)
    cut = cut_of(path)
    if cut and cut.begin <= start < cut.end:
        said = f"--- {cut.end - start:,} bytes were left out here: the log had reached its limit (log_limit_mib) ---"
        return LogPage([said], str(cut.end), complete=False)
    before_cut = cut is not None and start < cut.begin
    wanted = min(largest, cut.begin - start) if cut and before_cut else largest
    data = _read(path, start, wanted)
    if cut_of(path) != cut:  # it was taken out while we read
        return read_page(path, after, ended=ended, largest=largest)
    return _page(data, start, is_all=len(data) < wanted, is_last=ended or before_cut, complete=ended)


def _page(data: bytes, start: int, *, is_all: bool, is_last: bool, complete: bool) -> LogPage:
    """The page that the bytes from `start` on make, `is_all` when they reach to the end of the file."""
    cut = len(data) if is_all and is_last else data.rfind(b"\n") + 1
    if cut == 0 and not is_all:
        cut = len(data)
    text = data[:cut].decode(errors="replace")
    lines = text.removesuffix("\n").split("\n") if text else []
    return LogPage(lines, str(start + cut), complete=complete and is_all, caught_up=is_all)


def _read(path: Path, start: int, count: int) -> bytes:
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            return stream.read(count)
    except FileNotFoundError:
        return b""
