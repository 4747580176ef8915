"""Many sources, each in order of time, as one stream in order of time; in memory is only what overlaps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

ORDER = [("time", "ascending"), ("provider_id", "ascending"), ("row", "ascending")]


@dataclass(frozen=True, slots=True)
class Source:
    """Rows between `first` and `last` (microseconds since 1970); `tables` reads them, each table after the one before."""

    schema: pa.Schema
    first: int
    last: int
    tables: Callable[[], Iterator[pa.Table]]


class _Stream:
    """A source that is being read. `table` is what of it is not given out yet, None at its end."""

    def __init__(self, source: Source) -> None:
        self._tables = source.tables()
        self.table: pa.Table | None = None
        self._advance()

    @property
    def last(self) -> int:
        return _microseconds(self.table.column("time")[-1]) if self.table else 0

    def take(self, horizon: int) -> pa.Table | None:
        """Give out the rows up to `horizon`."""
        if self.table is None:
            return None
        times = self.table.column("time").cast(pa.int64())
        count = pc.sum(pc.less_equal(times, horizon)).as_py() or 0
        taken, left = self.table.slice(0, count), self.table.slice(count)
        self.table = left if len(left) else None
        if self.table is None:
            self._advance()
        return taken

    def _advance(self) -> None:
        self.table = next((table for table in self._tables if len(table)), None)


def in_order(sources: Iterable[Source], adapt: Callable[[pa.Table], pa.Table]) -> Iterator[pa.Table]:
    """The rows of all sources in order of time. `adapt` brings each source's tables to one schema."""
    waiting = sorted(sources, key=lambda source: source.first, reverse=True)
    reading: list[_Stream] = []
    while waiting or reading:
        horizon = min((stream.last for stream in reading), default=waiting[-1].first if waiting else 0)
        while waiting and waiting[-1].first <= horizon:
            stream = _Stream(waiting.pop())
            if stream.table is not None:
                reading.append(stream)
                horizon = min(stream.last for stream in reading)
        parts = [adapt(part) for stream in reading if (part := stream.take(horizon)) is not None and len(part)]
        if parts:
            yield parts[0] if len(parts) == 1 else pa.concat_tables(parts).sort_by(ORDER)
        reading = [stream for stream in reading if stream.table is not None]


def _microseconds(time: pa.Scalar) -> int:
    value: int = time.cast(pa.int64()).as_py()
    return value
