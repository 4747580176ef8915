"""From spool to Parquet: a segment becomes one file, and only then goes away; files that are small become one.

The file's name holds the segment's, so whoever finds both knows that they say the same. A compaction that is killed at
any point leaves either the segment, or both, or the file; the next one goes on from there.
"""

from __future__ import annotations

import os
from dataclasses import astuple, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mlport.capture import merging
from mlport.capture.layout import DAMAGED, DATA, compacts, contents, lock, removing, segments, sync
from mlport.capture.spool import SEGMENTS
from mlport.capture.tables import table
from mlport.faults import fault

_LOCK = "compact.lock"


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did. `damaged` segments were moved aside; `lost_bytes` of them are no whole frames.

    `merged` files became part of a larger one.
    """

    files: int = 0
    rows: int = 0
    damaged: int = 0
    lost_bytes: int = 0
    merged: int = 0

    def __add__(self, other: Compacted) -> Compacted:
        return Compacted(*(left + right for left, right in zip(astuple(self), astuple(other), strict=True)))


def compact(folder: Path | str) -> Compacted:
    """Turn every segment that nobody writes any more into Parquet.

    Safe to run at any time, by several processes, and to kill. Nothing is done while another compaction runs.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return Compacted()
    (folder / _LOCK).touch(mode=0o600)
    with lock(folder / _LOCK) as mine:
        if not mine:
            return Compacted()
        (folder / DATA).mkdir(exist_ok=True)
        for leftover in (folder / DATA).glob(".*.tmp"):
            leftover.unlink()
        for unnamed in (folder / SEGMENTS).glob("*.new"):  # of a server that was killed before it wrote anything
            _remove_unless_held(unnamed)
        done = {segment for found in compacts(folder) for segment in found.segments}
        result = sum((_one(folder, path, path.stem in done) for path in segments(folder)), Compacted())
        return result + Compacted(merged=merging.merge(folder))


def _one(folder: Path, segment: Path, done: bool) -> Compacted:
    with lock(segment) as mine:
        if not mine:
            return Compacted()  # its server lives
        found = contents(segment)
        result = Compacted(damaged=int(found.lost > 0), lost_bytes=found.lost)
        if not done and found.origin is not None and found.frames:
            result += Compacted(files=1, rows=_write(folder, segment.stem, table(found.frames, found.origin)))
        with removing(folder) as allowed:  # who reads now may have listed it, and the next compaction comes
            if allowed:
                _put_away(folder, segment, damaged=found.lost > 0)
        return result


def _put_away(folder: Path, segment: Path, *, damaged: bool) -> None:
    fault("before-compact-remove")
    if damaged:
        (folder / DAMAGED).mkdir(exist_ok=True)
        os.replace(segment, folder / DAMAGED / segment.name)
    else:
        segment.unlink()
    fault("after-compact-remove")


def _remove_unless_held(path: Path) -> None:
    try:
        with lock(path) as mine:
            if mine:
                path.unlink()
    except FileNotFoundError:  # it just got its name
        return


def _write(folder: Path, stem: str, rows: pa.Table) -> int:
    """Write durably under a name that appears only when the file is whole."""
    times = rows.column("time").cast(pa.int64())
    target = folder / DATA / f"{stem}-{times[0].as_py()}-{times[-1].as_py()}.parquet"
    unfinished = target.with_name(f".{target.name}.tmp")
    fault("before-compact-write")
    pq.write_table(rows, unfinished, compression="zstd", row_group_size=merging.ROW_GROUP)
    sync(unfinished)
    fault("before-compact-replace")
    os.replace(unfinished, target)
    sync(target.parent)
    fault("after-compact-replace")
    return len(rows)
