"""Input files as a stream of Arrow tables of a steady size, with the columns that the model takes typed as it takes them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from mlport.batch.request import Format
from mlport.capture.tables import ARROW
from mlport.errors import MlportError, UsageError

_BLOCK = 4 * 2**20  # bytes of CSV read at a time
_CSV_PROBLEM = re.compile(r"(?:In CSV column #(\d+): )?(?:CSV parse error: )?Row #(\d+): (.*)", re.DOTALL)


class BadRowError(MlportError):
    """A row cannot be read or scored. The message names file, line or row, and column."""


def columns_of(path: Path, format: Format) -> list[str]:
    """The names of a file's columns; of JSON lines, those of the first. Raises UsageError for an unreadable file."""
    try:
        if format == "parquet":
            return list(pq.read_schema(path).names)
        if format == "csv":
            with path.open(encoding="utf-8-sig", newline="") as lines:
                return next(csv.reader(lines))
        with path.open("rb") as lines:
            return list(_object(path, 1, lines.readline()))
    except StopIteration:
        raise UsageError(f"{path}: is empty") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as {format}: {error}") from error


def tables(path: Path, format: Format, kinds: dict[str, str], keep: tuple[str, ...], rows: int) -> Iterator[pa.Table]:
    """The file's rows in order, at most `rows` at a time.

    Args:
        kinds: The columns for the model and MLflow's type of each.
        keep: Further columns, as they are.

    Raises:
        BadRowError: for a row that cannot be read as the types say.
    """
    reader = {"parquet": _parquet, "csv": _csv, "jsonl": _jsonl}[format]
    return _ahead(_steady(reader(path, kinds, keep, rows), rows))


def _ahead(parts: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same; a thread reads the next while one is worked on."""
    with ThreadPoolExecutor(1, "read") as reader:
        following = reader.submit(next, parts, None)
        while (part := following.result()) is not None:
            following = reader.submit(next, parts, None)
            yield part


def _parquet(path: Path, kinds: dict[str, str], keep: tuple[str, ...], rows: int) -> Iterator[pa.Table]:
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(rows, columns=list(dict.fromkeys((*kinds, *keep)))):
                yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        raise BadRowError(f"{path}: cannot be read on: {error}") from error


def _csv(path: Path, kinds: dict[str, str], keep: tuple[str, ...], rows: int) -> Iterator[pa.Table]:
    types = {name: pa.string() for name in keep} | {name: ARROW[kind] for name, kind in kinds.items() if kind in ARROW}
    convert = pacsv.ConvertOptions(column_types=types, include_columns=list(dict.fromkeys((*kinds, *keep))), strings_can_be_null=True)
    try:
        with pacsv.open_csv(path, read_options=pacsv.ReadOptions(block_size=_BLOCK, use_threads=False), convert_options=convert) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])
    except pa.ArrowException as error:
        raise BadRowError(_located(path, str(error))) from error


def _located(path: Path, message: str) -> str:
    """`file:line: column 'x': what` from Arrow's words; its row numbers count the header, as lines do."""
    problem = _CSV_PROBLEM.fullmatch(message)
    if problem is None:
        return f"{path}: {message}"
    column, line, what = problem.groups()
    names = columns_of(path, "csv") if column else []
    return f"{path}:{line}: " + (f"column {names[int(column)]!r}: " if column else "") + what


def _jsonl(path: Path, kinds: dict[str, str], keep: tuple[str, ...], rows: int) -> Iterator[pa.Table]:
    with path.open("rb") as lines:
        numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
        while some := list(islice(numbered, rows)):
            objects = [_object(path, number, line) for number, line in some]
            arrays = {name: _json_column(path, [n for n, _ in some], objects, name, kind) for name, kind in kinds.items()}
            texts = {name: pa.array([_text(row.get(name)) for row in objects], pa.string()) for name in keep if name not in kinds}
            yield pa.table({**arrays, **texts})


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        raise BadRowError(f"{path}:{number}: not JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadRowError(f"{path}:{number}: each line must be a JSON object")
    return found


def _json_column(path: Path, numbers: list[int], objects: list[dict[str, Any]], name: str, kind: str) -> pa.Array:
    values = [row.get(name) for row in objects]
    for number, row in zip(numbers, objects, strict=True):
        if name not in row:
            raise BadRowError(f"{path}:{number}: column {name!r} is missing")
    try:
        return pa.array(values, ARROW.get(kind))
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        for number, value in zip(numbers, values, strict=True):
            _check_alone(f"{path}:{number}", name, kind, value)
        raise


def _check_alone(where: str, name: str, kind: str, value: Any) -> None:
    try:
        pa.array([value], ARROW.get(kind))
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise BadRowError(f"{where}: column {name!r}: {value!r} is not of type {kind}") from error


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()


def _steady(parts: Iterator[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows, `rows` at a time but for the last."""
    waiting: list[pa.Table] = []
    count = 0
    for part in parts:
        waiting.append(part)
        count += len(part)
        if count >= rows:
            together = pa.concat_tables(waiting)
            whole = count - count % rows
            yield from (together.slice(start, rows) for start in range(0, whole, rows))
            waiting, count = [together.slice(whole)], count - whole
    if count:
        yield pa.concat_tables(waiting)
