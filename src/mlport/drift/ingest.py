"""Any table, as Arrow: files, datasets, readers, pandas, polars, mappings. What cannot be read is an error that names it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mlport.errors import UsageError

BATCH_ROWS = 1 << 18
MOST_COLUMNS = 32
FORMATS = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".gz": "csv", ".tsv": "csv", ".feather": "feather", ".arrow": "ipc", ".ipc": "ipc",
}  # fmt: skip


class Source(Protocol):
    """A table that can be read: whole, or in batches. `again` is False where it can be read once only.

    `mixed` holds columns that are not in the schema because its files have them as types that do not go together, with these in words.
    """

    name: str
    schema: pa.Schema
    again: bool
    mixed: Mapping[str, str]

    def bytes(self) -> int:
        """About how many it takes in memory."""

    def rows(self) -> int | None:
        """None where only reading it would tell."""

    def table(self, columns: Sequence[str] | None = None) -> pa.Table: ...

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]: ...

    def parts(self, columns: Sequence[str]) -> list[list[str]]:
        """The columns as they are best read, some at a time, so that the batches of a wide table are no larger than those of any other."""


class InMemory:
    """A table that is in memory already."""

    again = True
    mixed: Mapping[str, str] = MappingProxyType({})

    def __init__(self, table: pa.Table, name: str) -> None:
        self.name, self._table = name, flat(table, name)
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

    def parts(self, columns: Sequence[str]) -> list[list[str]]:
        return [list(columns)]


class OnDisk:
    """Files that are one table, read through pyarrow's datasets."""

    again = True

    def __init__(self, dataset: ds.Dataset, name: str, mixed: Mapping[str, str] | None = None) -> None:
        self.name, self._dataset, self.mixed = name, dataset, mixed or {}
        self._tops = {leaf: field.name for field in dataset.schema for leaf in flat(pa.schema([field]).empty_table(), name).column_names}
        self.schema = flat(dataset.schema.empty_table(), name).schema

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
        try:
            return flat(self._dataset.to_table(columns=self._of(wanted)), self.name).select(wanted)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self._culprit(wanted), error) from error

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """One batch at a time, none ahead, so that memory does not grow with the file."""
        wanted = list(columns)
        for fragment in self._dataset.get_fragments():
            with readable(self._part(fragment)):
                for batch in _pulled(fragment, self._dataset.schema, self._of(wanted)):
                    if batch.num_rows:
                        yield flat(pa.Table.from_batches([batch]), self.name).select(wanted)

    def parts(self, columns: Sequence[str]) -> list[list[str]]:
        """Of Parquet `MOST_COLUMNS` at a time; other files are read whole whatever is wanted of them."""
        width = MOST_COLUMNS if isinstance(getattr(self._dataset, "format", None), ds.ParquetFileFormat) else max(len(columns), 1)
        return [list(columns[at : at + width]) for at in range(0, len(columns), width)]

    def _culprit(self, wanted: Sequence[str]) -> str:
        """Which of several files cannot be read: what pyarrow says does not always tell."""
        for fragment in self._dataset.get_fragments():
            try:
                for _ in _pulled(fragment, self._dataset.schema, self._of(wanted)):
                    pass
            except (pa.ArrowException, OSError):
                return self._part(fragment)
        return self.name

    def _part(self, fragment: Any) -> str:
        path = str(getattr(fragment, "path", ""))
        return f"{self.name}: {path}" if path and Path(path).name not in self.name else self.name

    def _of(self, wanted: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(self._tops[leaf] for leaf in wanted))


class Once:
    """A record batch reader: it can be read once, and has no rows after that."""

    again = False
    mixed: Mapping[str, str] = MappingProxyType({})

    def __init__(self, reader: pa.RecordBatchReader, name: str) -> None:
        self.name, self._reader = name, reader
        self.schema = flat(reader.schema.empty_table(), name).schema

    def bytes(self) -> int:
        """Nobody knows: it counts as larger than memory."""
        return 1 << 62

    def rows(self) -> None:
        return None

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        with readable(self.name):
            table = flat(self._reader.read_all(), self.name)
        return table if columns is None else table.select(list(columns))

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        with readable(self.name):
            for batch in self._reader:
                yield flat(pa.Table.from_batches([batch]), self.name).select(list(columns))

    def parts(self, columns: Sequence[str]) -> list[list[str]]:
        return [list(columns)]


def source(data: Any, name: str) -> Source:
    """Anything that is a table. `name` says what it is for, in errors: the reference, say.

    Raises:
        UsageError: it is no table, there is no such file, or it cannot be read.
    """
    if isinstance(data, InMemory | OnDisk | Once):
        return data
    if isinstance(data, str | PathLike) or (
        isinstance(data, list | tuple) and data and all(isinstance(each, str | PathLike) for each in data)
    ):
        return _files(data, name)
    if isinstance(data, pa.Table):
        return InMemory(data, name)
    if isinstance(data, pa.RecordBatch):
        return InMemory(pa.Table.from_batches([data]), name)
    if isinstance(data, ds.Dataset):
        return OnDisk(data, name)
    if isinstance(data, pa.RecordBatchReader):
        return Once(data, name)
    return InMemory(_converted(data, name), name)


def flat(table: pa.Table, whose: str) -> pa.Table:
    """Structs as columns of their own, `outer.inner`.

    Raises:
        UsageError: two columns have one name.
    """
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    if len(set(table.column_names)) < table.num_columns:
        raise _doubled(table.column_names, whose)
    return table


def _doubled(names: Sequence[str], whose: str) -> UsageError:
    twice = sorted({name for name in names if names.count(name) > 1})
    return UsageError(f"{whose}: two columns are called {twice[0]!r}", hint="rename one")


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn what pyarrow says of a file into an error that names it."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> UsageError:
    return UsageError(f"{name} cannot be read: {str(error).strip()}", hint="is the file whole, and of the format its name says?")


def _files(paths: Any, name: str) -> OnDisk:
    """Files as one table, whose columns are those of any of them: integers and floats become floats, and what a file lacks is missing."""
    listed = [Path(each) for each in (paths if isinstance(paths, list | tuple) else [paths])]
    if absent := [path for path in listed if not path.exists()]:
        raise UsageError(f"{name}: there is no file {str(absent[0])!r}")
    kind, whose = _format(listed[0], name), f"{name} ({paths})"
    files = [str(path) for path in listed] if len(listed) > 1 else str(listed[0])
    with readable(whose):
        try:
            found = ds.dataset(files, format=kind, partitioning="hive")
        except pa.ArrowInvalid:
            for file in _all(listed) if kind == "parquet" else ():
                with readable(f"{name} ({file})"):
                    _once(pq.read_schema(file).names, f"{name} ({file})")
            raise
        schema, mixed = _united(found)
        if kind != "parquet":
            return OnDisk(ds.dataset(files, schema, format=kind, partitioning="hive"), whose, mixed)
        options = ds.ParquetFragmentScanOptions(pre_buffer=False, use_buffered_stream=True)  # else it holds the whole file
        fast = ds.ParquetFileFormat(
            read_options=ds.ParquetReadOptions(dictionary_columns=_strings(schema)), default_fragment_scan_options=options
        )
        plain = None if schema.equals(found.schema) else schema
        return OnDisk(ds.dataset(files, plain, format=fast, partitioning="hive"), whose, mixed)


def _all(listed: Sequence[Path]) -> list[Path]:
    return [file for path in listed for file in ([path] if path.is_file() else sorted(path.rglob("*.parquet")))]


def _once(names: Sequence[str], whose: str) -> None:
    if len(set(names)) < len(names):
        raise _doubled(names, whose)


def _united(dataset: ds.Dataset) -> tuple[pa.Schema, dict[str, str]]:
    """The schema of all files; and the columns that have none, with the types that do not go together in words."""
    found = [(Path(each.path).name, each.physical_schema) for each in dataset.get_fragments()]
    if all(schema.equals(dataset.schema) for _, schema in found):
        return dataset.schema, {}
    united, mixed = {field.name: field for field in dataset.schema}, dict[str, str]()
    for file, schema in found:
        for field in schema:
            known = united.setdefault(field.name, field)
            try:
                united[field.name] = known if known.equals(field) else _common(known, field)
            except pa.ArrowTypeError:
                mixed.setdefault(field.name, f"{known.type}, and {field.type} in {file}")
    return pa.schema([field for field in united.values() if field.name not in mixed]), mixed


def _common(one: pa.Field, two: pa.Field) -> pa.Field:
    """A field for the values of both; a dictionary is as good as its values. Raises ArrowTypeError: there is none."""
    plain = [pa.field(each.name, each.type.value_type if pa.types.is_dictionary(each.type) else each.type) for each in (one, two)]
    return pa.unify_schemas([pa.schema([each]) for each in plain], promote_options="permissive").field(0)


def _format(path: Path, name: str) -> Any:
    files = sorted(each for each in path.rglob("*") if each.suffix.lower() in FORMATS) if path.is_dir() else [path]
    if not files:
        raise UsageError(f"{name}: there is no table in the folder {str(path)!r}", hint=f"known are {', '.join(FORMATS)}")
    suffix = files[0].suffix.lower()
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
