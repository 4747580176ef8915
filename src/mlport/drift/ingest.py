"""Any table, as Arrow: files, datasets, readers, pandas, polars, mappings. What cannot be read is an error that names it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mlport.errors import UsageError

BATCH_ROWS = 1 << 18
FORMATS = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".gz": "csv", ".tsv": "csv", ".feather": "feather", ".arrow": "ipc", ".ipc": "ipc",
}  # fmt: skip


class Source(Protocol):
    """A table that can be read: whole, or in batches. `again` is False where it can be read once only."""

    name: str
    schema: pa.Schema
    again: bool

    def bytes(self) -> int:
        """About how many it takes in memory."""

    def rows(self) -> int | None:
        """None where only reading it would tell."""

    def table(self, columns: Sequence[str] | None = None) -> pa.Table: ...

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]: ...


class InMemory:
    """A table that is in memory already."""

    again = True

    def __init__(self, table: pa.Table, name: str) -> None:
        self.name, self._table = name, flat(table)
        self.schema = self._table.schema

    def bytes(self) -> int:
        return int(self._table.nbytes)

    def rows(self) -> int:
        return int(self._table.num_rows)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        return self._table if columns is None else self._table.select(list(columns))

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        table = self.table(columns)
        for start in range(0, table.num_rows, BATCH_ROWS):
            yield table.slice(start, BATCH_ROWS)


class OnDisk:
    """Files of one schema, read through pyarrow's datasets."""

    again = True

    def __init__(self, dataset: ds.Dataset, name: str) -> None:
        self.name, self._dataset = name, dataset
        self._tops = {leaf: field.name for field in dataset.schema for leaf in flat(pa.schema([field]).empty_table()).column_names}
        self.schema = flat(dataset.schema.empty_table()).schema

    def bytes(self) -> int:
        with readable(self.name):
            return sum(_size(fragment) for fragment in self._dataset.get_fragments())

    def rows(self) -> int | None:
        if not isinstance(getattr(self._dataset, "format", None), ds.ParquetFileFormat):
            return None
        with readable(self.name):
            return int(self._dataset.count_rows())

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        wanted = list(self.schema.names if columns is None else columns)
        with readable(self.name):
            return flat(self._dataset.to_table(columns=self._of(wanted))).select(wanted)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """One batch at a time, none ahead, so that memory does not grow with the file."""
        wanted = list(columns)
        with readable(self.name):
            for fragment in self._dataset.get_fragments():
                for batch in _pulled(fragment, self._dataset.schema, self._of(wanted)):
                    if batch.num_rows:
                        yield flat(pa.Table.from_batches([batch])).select(wanted)

    def _of(self, wanted: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(self._tops[leaf] for leaf in wanted))


class Once:
    """A record batch reader: it can be read once, and has no rows after that."""

    again = False

    def __init__(self, reader: pa.RecordBatchReader, name: str) -> None:
        self.name, self._reader = name, reader
        self.schema = flat(reader.schema.empty_table()).schema

    def bytes(self) -> int:
        """Nobody knows: it counts as larger than memory."""
        return 1 << 62

    def rows(self) -> None:
        return None

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        with readable(self.name):
            table = flat(self._reader.read_all())
        return table if columns is None else table.select(list(columns))

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        with readable(self.name):
            for batch in self._reader:
                yield flat(pa.Table.from_batches([batch])).select(list(columns))


def source(data: Any, name: str) -> Source:
    """Anything that is a table. `name` says what it is for, in errors: the reference, say.

    Raises:
        UsageError: it is no table, there is no such file, or it cannot be read.
    """
    if isinstance(data, str | PathLike) or (
        isinstance(data, list | tuple) and data and all(isinstance(each, str | PathLike) for each in data)
    ):
        return OnDisk(_dataset(data, name), f"{name} ({data})")
    if isinstance(data, pa.Table):
        return InMemory(data, name)
    if isinstance(data, pa.RecordBatch):
        return InMemory(pa.Table.from_batches([data]), name)
    if isinstance(data, ds.Dataset):
        return OnDisk(data, name)
    if isinstance(data, pa.RecordBatchReader):
        return Once(data, name)
    return InMemory(_converted(data, name), name)


def flat(table: pa.Table) -> pa.Table:
    """Structs as columns of their own, `outer.inner`.

    Raises:
        UsageError: two columns have one name.
    """
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    if len(set(table.column_names)) < table.num_columns:
        twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
        raise UsageError(f"two columns are called {twice[0]!r}", hint="rename one")
    return table


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn what pyarrow says of a file into an error that names it."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise UsageError(
            f"{name} cannot be read: {str(error).strip()}", hint="is the file whole, and of the format its name says?"
        ) from error


def _dataset(paths: Any, name: str) -> ds.Dataset:
    listed = [Path(each) for each in (paths if isinstance(paths, list | tuple) else [paths])]
    if absent := [path for path in listed if not path.exists()]:
        raise UsageError(f"{name}: there is no file {str(absent[0])!r}")
    kind = _format(listed[0], name)
    files = [str(path) for path in listed] if len(listed) > 1 else str(listed[0])
    with readable(f"{name} ({paths})"):
        found = ds.dataset(files, format=kind, partitioning="hive")
        if kind != "parquet":
            return found
        options = ds.ParquetFragmentScanOptions(pre_buffer=False, use_buffered_stream=True)  # else it holds the whole file
        fast = ds.ParquetFileFormat(
            read_options=ds.ParquetReadOptions(dictionary_columns=_strings(found.schema)), default_fragment_scan_options=options
        )
        return ds.dataset(files, format=fast, partitioning="hive")


def _format(path: Path, name: str) -> Any:
    files = sorted(each for each in path.rglob("*") if each.suffix in FORMATS) if path.is_dir() else [path]
    suffix = files[0].suffix.lower() if files else ""
    if suffix == ".gz":
        suffix = Path(files[0].stem).suffix.lower()
    if suffix not in FORMATS or suffix == ".gz":
        raise UsageError(f"{name}: {str(path)!r} is of no known format", hint=f"known are {', '.join(FORMATS)}")
    if suffix == ".tsv":
        import pyarrow.csv

        return ds.CsvFileFormat(parse_options=pyarrow.csv.ParseOptions(delimiter="\t"))
    return FORMATS[suffix]


def _pulled(fragment: Any, schema: pa.Schema, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The batches of one file. pyarrow's scanner runs ahead of who is slower than it; a Parquet file by itself does not."""
    if isinstance(fragment, ds.ParquetFileFragment):
        file = pq.ParquetFile(fragment.open(), read_dictionary=_strings(schema), pre_buffer=False, buffer_size=1 << 20)
        there = file.schema_arrow
        if all(name in there.names and there.field(name).type == schema.field(name).type for name in columns):
            yield from file.iter_batches(BATCH_ROWS, columns=list(columns))
            return
    scan = fragment.scanner(schema=schema, columns=list(columns), batch_size=BATCH_ROWS, batch_readahead=1)
    yield from scan.to_batches()


def _strings(schema: pa.Schema) -> list[str]:
    """Columns that are read as dictionaries, which count faster."""
    kinds = [(field.name, field.type.value_type if pa.types.is_dictionary(field.type) else field.type) for field in schema]
    return [name for name, kind in kinds if pa.types.is_string(kind) or pa.types.is_large_string(kind)]


def _size(fragment: Any) -> int:
    if isinstance(fragment, ds.ParquetFileFragment):
        return sum(group.total_byte_size for group in fragment.row_groups)
    return Path(fragment.path).stat().st_size


def _converted(data: Any, name: str) -> pa.Table:
    with readable(name):
        if type(data).__module__.partition(".")[0] == "pandas" and hasattr(data, "columns"):
            return pa.Table.from_pandas(data, preserve_index=False)
        if hasattr(data, "collect") and hasattr(data, "collect_schema"):  # a polars query
            data = data.collect()
        if hasattr(data, "__arrow_c_stream__"):
            return pa.table(data)
        if isinstance(data, Mapping):
            return pa.table(dict(data))
    raise UsageError(
        f"{name} is a {type(data).__name__}, which is no table",
        hint="give a path, an Arrow table, dataset or reader, a pandas or polars frame, a mapping of columns, or a Profile",
    )
