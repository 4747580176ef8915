"""Reading what was captured: Parquet and what is not compacted yet, as one stream of one schema."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mlport.capture.layout import DAMAGED, Compact, contents, current, lock, reading, segments
from mlport.capture.merging import source_of
from mlport.capture.ordering import Source, in_order
from mlport.capture.tables import TIME, table
from mlport.capture.unifying import conform, unify

_BATCH_ROWS = 64 * 1024


class CaptureWarning(UserWarning):
    """Something captured could not be read and was left out; the message names the file."""


def read(folder: Path | str, start: datetime, end: datetime) -> Iterator[pa.RecordBatch]:
    """What was captured with `start` <= time < `end`, in batches of `mlport.capture.schema`, in order of time.

    All batches of one call have the same schema: the union of the features, types widened. What was answered before
    the call is there, compacted or not. Files that cannot be read are left out with a `CaptureWarning` each, and segments
    that lost a part between these times are named by one, wherever they lie. What is not compacted yet is held in memory;
    the rest streams. While the reading goes on, nothing is removed for having been compacted.

    Args:
        start, end: Aware times.
    """
    if start.tzinfo is None or end.tzinfo is None:
        raise ValueError("start and end must be aware: give them a time zone")
    folder = Path(folder)
    if not folder.is_dir():
        return
    with reading(folder):
        sources = list(_sources(folder, _microseconds(start), _microseconds(end)))
        if not sources:
            return
        together = unify([source.schema for source in sources])
        for part in in_order(sources, lambda part: conform(_within(part, start, end), together)):
            yield from part.to_batches(max_chunksize=_BATCH_ROWS)


def _sources(folder: Path, first: int, last: int) -> Iterator[Source]:
    """Segments are listed before files: one that is compacted meanwhile is then found as a file."""
    listed = segments(folder)
    files = current(folder)
    compacted = {segment for found in files for segment in found.segments}
    for found in files:
        if found.last >= first and found.first < last and (source := _file(found)):
            yield source
    for path in listed:
        if path.stem not in compacted and (source := _segment(path)):
            yield source
    for path in sorted((folder / DAMAGED).glob("*.seg")):  # what is whole of them is in the files above
        damaged = contents(path)
        written = [frame.time for frame in damaged.frames]
        if min(written, default=first) < last and max([*written, path.stat().st_mtime_ns // 1000]) >= first:
            _tell_of_loss(path, damaged.lost)


def _file(found: Compact) -> Source | None:
    try:
        source = source_of(found)
    except (pa.ArrowException, OSError) as error:
        warnings.warn(f"{found.path} is left out: {error}", CaptureWarning, stacklevel=4)
        return None
    return replace(source, tables=lambda: _stream(found.path, source))


def _stream(path: Path, source: Source) -> Iterator[pa.Table]:
    try:
        yield from source.tables()
    except (pa.ArrowException, OSError) as error:
        warnings.warn(f"{path} is left out from a damaged place on: {error}", CaptureWarning, stacklevel=3)


def _segment(path: Path) -> Source | None:
    found = contents(path)
    if found.lost and not _is_being_written(path):
        _tell_of_loss(path, found.lost)
    if found.origin is None or not found.frames:
        return None
    rows = table(found.frames, found.origin)
    times = rows.column("time").cast(pa.int64())
    return Source(rows.schema, times[0].as_py(), times[-1].as_py(), lambda: iter([rows]))


def _tell_of_loss(path: Path, lost: int) -> None:
    warnings.warn(f"{path}: {lost} bytes at its end are left out", CaptureWarning, stacklevel=4)


def _is_being_written(path: Path) -> bool:
    with lock(path) as mine:
        return not mine


def _within(rows: pa.Table, start: datetime, end: datetime) -> pa.Table:
    time = rows.column("time")
    inside = pc.and_(pc.greater_equal(time, pa.scalar(start, TIME)), pc.less(time, pa.scalar(end, TIME)))
    return rows.filter(inside)


def _microseconds(time: datetime) -> int:
    value: int = pa.scalar(time, TIME).cast(pa.int64()).as_py()
    return value
