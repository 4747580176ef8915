"""Reading what was captured: Parquet and what is not compacted yet, as one stream of one schema."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlport.capture.layout import Compact, compacts, contents, lock, segments
from mlport.capture.tables import TIME, table
from mlport.capture.unifying import conform, unify

_BATCH_ROWS = 64 * 1024


class CaptureWarning(UserWarning):
    """Something captured could not be read and was left out; the message names the file."""


def read(folder: Path | str, start: datetime, end: datetime) -> Iterator[pa.RecordBatch]:
    """What was captured with `start` <= time < `end`, in batches of `mlport.capture.schema`, oldest file first.

    All batches of one call have the same schema: the union of the features, types widened. What was answered before
    the call is there, compacted or not. Files that cannot be read are left out with a `CaptureWarning` each. What is
    not compacted yet is held in memory; the rest streams.

    Args:
        start, end: Aware times.
    """
    if start.tzinfo is None or end.tzinfo is None:
        raise ValueError("start and end must be aware: give them a time zone")
    sources = [source for source in _sources(Path(folder), start, end) if source is not None]
    if not sources:
        return
    together = unify([source.schema for source in sources])
    for source in sources:
        parts = [source] if isinstance(source, pa.Table) else _stream(source)
        for part in parts:
            yield from conform(_within(part, start, end), together).to_batches(max_chunksize=_BATCH_ROWS)


class _File:
    """A Parquet file that was opened once, so that its removal does not matter."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parquet = pq.ParquetFile(path)
        self.schema = self.parquet.schema_arrow


def _sources(folder: Path, start: datetime, end: datetime) -> Iterator[pa.Table | _File | None]:
    """Segments are listed before files: one that is compacted meanwhile is then found as a file."""
    listed = segments(folder)
    files = compacts(folder)
    compacted = {found.segment for found in files}
    first, last = _microseconds(start), _microseconds(end)
    for found in files:
        if found.last >= first and found.first < last:
            yield _opened(found)
    for path in listed:
        if path.stem not in compacted:
            yield _segment(folder, path)


def _opened(found: Compact) -> _File | None:
    try:
        return _File(found.path)
    except FileNotFoundError:
        return None  # expired meanwhile
    except (pa.ArrowException, OSError) as error:
        warnings.warn(f"{found.path} is left out: {error}", CaptureWarning, stacklevel=4)
        return None


def _segment(folder: Path, path: Path) -> pa.Table | _File | None:
    try:
        found = contents(path)
    except FileNotFoundError:  # compacted since it was listed
        return next((_opened(file) for file in compacts(folder) if file.segment == path.stem), None)
    if found.lost and not _is_being_written(path):
        warnings.warn(f"{path}: {found.lost} bytes at its end are left out", CaptureWarning, stacklevel=4)
    return table(found.frames, found.origin) if found.origin and found.frames else None


def _is_being_written(path: Path) -> bool:
    try:
        with lock(path) as mine:
            return not mine
    except FileNotFoundError:  # compacted since it was read
        return False


def _stream(source: _File) -> Iterator[pa.Table]:
    try:
        for batch in source.parquet.iter_batches(batch_size=_BATCH_ROWS):
            yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        warnings.warn(f"{source.path} is left out from a damaged place on: {error}", CaptureWarning, stacklevel=3)


def _within(rows: pa.Table, start: datetime, end: datetime) -> pa.Table:
    time = rows.column("time")
    inside = pc.and_(pc.greater_equal(time, pa.scalar(start, TIME)), pc.less(time, pa.scalar(end, TIME)))
    return rows.filter(inside)


def _microseconds(time: datetime) -> int:
    value: int = pa.scalar(time, TIME).cast(pa.int64()).as_py()
    return value
