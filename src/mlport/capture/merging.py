"""From many small files to few: files of one day and one schema become one, and only then go away.

The new file says which segments it stands for, so whoever finds it beside them knows that they say the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mlport.capture.layout import DATA, SEGMENTS_KEY, Compact, compacts, current, removing, sync
from mlport.capture.ordering import Source, in_order
from mlport.faults import fault

FEWEST = 8  # fewer small files are left as they are
SMALL = 32 * 2**20  # bytes; a larger file is left as it is
ROW_GROUP = 64 * 1024
_DAY = 24 * 3600 * 10**6


def merge(folder: Path) -> int:
    """Merge what is small; how many files became part of another. The caller holds the compaction's lock."""
    merged = sum(len(group) for group in _groups(folder) if _is_written(folder, group))
    remove_covered(folder)
    return merged


def _is_written(folder: Path, group: list[Compact]) -> bool:
    try:
        _write(folder, group)
    except (pa.ArrowException, OSError) as error:  # a damaged file, a full disk: all stays as it is
        print(f"{len(group)} files of {folder} are not merged: {error}", file=sys.stderr, flush=True)
        return False
    return True


def remove_covered(folder: Path) -> None:
    """Remove the files that a merged one stands for, unless someone reads."""
    kept = {found.path for found in current(folder)}
    with removing(folder) as allowed:
        for found in compacts(folder) if allowed else ():
            if found.path not in kept:
                found.path.unlink()
                fault("after-merge-remove")


def _groups(folder: Path) -> Iterator[list[Compact]]:
    """Files of one day and one schema that together are worth a merge; the day that they begin in decides."""
    groups: dict[tuple[int, str], list[Compact]] = defaultdict(list)
    for found in current(folder):
        if found.path.stat().st_size >= SMALL:
            continue
        try:
            schema = pq.read_schema(found.path)
        except (pa.ArrowException, OSError):
            continue  # whoever reads is told of it
        groups[found.first // _DAY, str(schema.remove_metadata())].append(found)
    yield from (group for group in groups.values() if len(group) >= FEWEST)


def _write(folder: Path, group: list[Compact]) -> None:
    segments = sorted(segment for found in group for segment in found.segments)
    name = hashlib.sha256("\n".join(segments).encode()).hexdigest()[:16]
    first, last = min(found.first for found in group), max(found.last for found in group)
    target = folder / DATA / f"merged-{name}-{first}-{last}.parquet"
    unfinished = target.with_name(f".{target.name}.tmp")
    schema = pq.read_schema(group[0].path).with_metadata({SEGMENTS_KEY: json.dumps(segments).encode()})
    with pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
        for table in in_order([source_of(found) for found in group], lambda table: table.replace_schema_metadata(schema.metadata)):
            writer.write_table(table, row_group_size=ROW_GROUP)
    sync(unfinished)
    fault("before-merge-replace")
    os.replace(unfinished, target)
    sync(target.parent)
    fault("after-merge-replace")


def source_of(found: Compact) -> Source:
    """A file as a source. Raises what pyarrow does if it cannot be read."""

    def tables() -> Iterator[pa.Table]:
        with pq.ParquetFile(found.path) as file:
            for batch in file.iter_batches(batch_size=ROW_GROUP):
                yield pa.Table.from_batches([batch]).replace_schema_metadata(None)

    return Source(pq.read_schema(found.path).remove_metadata(), found.first, found.last, tables)
