"""What was captured in a window, as a table of columns like the reference's; and what of it could not be read.

A window that is larger than memory becomes a profile, batch by batch.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mlport.monitoring.records import Note
from mlport.spi import Window

if TYPE_CHECKING:
    import pyarrow as pa

    from mlport.client import Client

MEMORY = 256 << 20
"""Bytes of features up to which a window is held as a table."""
TOLERATED = 0.01
"""The share of answered requests that may be unreadable before nothing is said of the rest."""
ANSWERED = 400
"""Requests refused with a status from here on never reached the model."""
PREDICTION = "prediction"
IDENTITY = ("provider_id", "row")


@dataclass(frozen=True)
class Taken:
    """A window's rows. `sample` is an Arrow table or, of a window larger than memory, a profile; `rows` those that were answered."""

    sample: Any
    rows: int
    versions: Mapping[str, int]
    notes: tuple[Note, ...]

    @property
    def unread(self) -> bool:
        """Whether a part of it could not be read."""
        return any(note.unread for note in self.notes)


def taken(
    client: Client,
    endpoint: str,
    window: Window,
    columns: Sequence[str],
    kinds: Mapping[str, str],
    *,
    at: datetime | None = None,
    memory: int = MEMORY,
) -> Taken:
    """Read a window.

    Args:
        at: the moment of reading, if rows that are dated later are to be named.
        columns: those to keep; those that requests lack are left out.
        kinds: as for `mlport.drift.profile`.
        memory: bytes up to which the rows are held as they are.
    """
    seen = _Seen(set(columns), dict(kinds), memory, at)
    with listening() as lost:
        for batch in client.session.endpoints.captured(endpoint, window):
            seen.add(batch)
    return seen.taken(lost)


@contextmanager
def listening() -> Iterator[list[Note]]:
    """What the capture could not read while inside, once one is outside again; other warnings go on."""
    from mlport.capture import CaptureWarning

    lost: list[Note] = []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield lost
    for each in said:
        if issubclass(each.category, CaptureWarning):
            lost.append(Note("damaged capture", str(each.message), unread=True))
        else:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)


def rows_of(batches: Iterable[pa.RecordBatch], names: Sequence[str]) -> pa.Table:
    """Some columns of what was captured, without features and bodies, which may be large."""
    import pyarrow as pa

    tables = [pa.Table.from_batches([batch]).select(list(names)) for batch in batches]
    return pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({name: [] for name in names})


def flat(table: pa.Table) -> pa.Table:
    """Captured rows with a column for each feature, and `prediction` as one value where it is a list: the last of two, else the place of the greatest."""
    import pyarrow as pa

    features = table["features"].combine_chunks() if table.num_rows else None
    names = [field.name for field in table.schema.field("features").type] if pa.types.is_struct(table.schema.field("features").type) else []
    columns = {name: features.field(name) for name in names} if features is not None else {}
    rest = [name for name in table.schema.names if name not in ("features", "raw", *names)]
    found = {**columns, **{name: table[name] for name in rest}}
    if PREDICTION in found and PREDICTION not in columns:
        found[PREDICTION] = one_value(found[PREDICTION])
    return pa.table(found)


def one_value(predictions: Any) -> Any:
    """Predictions that are lists as one value each: of two probabilities the second, of more the place of the greatest, of one that one."""
    import numpy as np
    import pyarrow as pa

    kind = predictions.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return predictions
    lists = predictions.to_pylist()
    width = max((len(each) for each in lists if each is not None), default=0)
    if width <= 2:
        return pa.array([each[-1] if each else None for each in lists])
    return pa.array([str(int(np.argmax(each))) if each else None for each in lists])


class _Seen:
    """What was read so far."""

    def __init__(self, columns: set[str], kinds: dict[str, str], memory: int, at: datetime | None) -> None:
        self._columns, self._kinds, self._memory, self._at = columns, kinds, memory, at
        self._tables: list[pa.Table] = []
        self._bytes = 0
        self._profile: Any = None
        self._ids: list[pa.Table] = []
        self._rows = self._rejected = self._unparsed = self._requests = self._lost_requests = self._ahead = 0
        self._versions: Counter[str] = Counter()

    def add(self, batch: pa.RecordBatch) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        table = pa.Table.from_batches([batch])
        answered = pc.fill_null(pc.less(table["status"], ANSWERED), True)
        self._rejected += table.num_rows - _count(answered)
        table = table.filter(answered)
        parsed, first = pc.is_null(table["raw"]), pc.equal(table["row"], 0)
        self._unparsed += table.num_rows - _count(parsed)
        self._requests += _count(first)
        self._lost_requests += _count(pc.and_not(first, parsed))
        if self._at is not None:
            self._ahead += _count(pc.greater(table["time"], pa.scalar(self._at, table["time"].type)))
        table = table.filter(parsed)
        if table.num_rows == 0:
            return
        self._rows += table.num_rows
        counts = pc.value_counts(pc.fill_null(table["model_version"].cast(pa.string()), "?")).to_pylist()
        self._versions.update({each["values"]: each["counts"] for each in counts})
        found = flat(table)
        kept = found.select([name for name in found.schema.names if name in self._columns])
        self._keep(kept, table.select(list(IDENTITY)))

    def _keep(self, table: pa.Table, ids: pa.Table) -> None:
        self._tables.append(table)
        if self._profile is None:
            self._ids.append(ids)
        self._bytes += table.nbytes
        if self._bytes > self._memory:
            self._ids = []
            self._to_profile()

    def _to_profile(self) -> None:
        from mlport.drift import profile

        found = profile(_together(self._tables), kinds=self._kinds)
        self._profile = found if self._profile is None else self._profile | found
        self._tables, self._bytes = [], 0

    def taken(self, notes: list[Note]) -> Taken:
        notes.extend(self._said())
        if self._profile is not None:
            if self._tables:
                self._to_profile()
            return Taken(self._profile, self._rows, dict(self._versions), tuple(notes))
        table, doubled = _once(_together(self._tables), self._ids)
        if doubled:
            notes.append(Note("duplicates", f"{doubled:,} rows were captured twice; each counts once"))
        return Taken(table, self._rows - doubled, dict(self._versions), tuple(notes))

    def _said(self) -> Iterator[Note]:
        if self._unparsed:
            share = max(self._unparsed / (self._rows + self._unparsed), self._lost_requests / max(self._requests, 1))
            text = f"{self._unparsed:,} answered requests ({share:.1%}) could not be taken apart into columns"
            yield Note("unreadable requests", text, unread=share > TOLERATED)
        if self._ahead:
            yield Note("clock skew", f"{self._ahead:,} rows are dated later than the moment of reading: clocks differ")
        if self._rejected:
            yield Note("rejected requests", f"{self._rejected:,} requests were refused or failed, and are not compared")


def _count(mask: Any) -> int:
    import pyarrow.compute as pc

    return int(pc.sum(mask).as_py() or 0)


def _together(tables: Sequence[pa.Table]) -> pa.Table:
    import pyarrow as pa

    return pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})


def _once(table: pa.Table, ids: Sequence[pa.Table]) -> tuple[pa.Table, int]:
    """Each row of a request once, and how many were there again."""
    if not ids:
        return table, 0
    again = _together(ids).to_pandas().duplicated().to_numpy()
    doubled = int(again.sum())
    return (table.filter(~again) if doubled else table), doubled


def once(table: pa.Table) -> pa.Table:
    """Captured rows without those that were captured again."""
    return _once(table, [table.select(list(IDENTITY))])[0]
