"""What a batch prediction job reads: instances from files of Cloud Storage, or from a table of BigQuery.

Conversions are those that aiplatform.v1 describes under BatchPredictionJob.InstanceConfig, and, for CSV and BigQuery,
https://cloud.google.com/vertex-ai/docs/predictions/get-batch-predictions#input_data_requirements.
"""

from __future__ import annotations

import base64
import csv
import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeVar, cast
from zlib import error as ZlibError  # noqa: N812 - as exceptions are named

from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.storing.object_records import Object, StorageError
from mlport_vertex.emulator.storing.objects import Objects
from mlport_vertex.emulator.storing.tables import Tables
from mlport_vertex.emulator.working.tf_records import BrokenError, records

Json = dict[str, Any]
T = TypeVar("T")
WILD = re.compile(r"\*\*|\*|\?|\[[^\]]+\]")
TABLE = re.compile(r"bq://([^.:]+(?::[^.]+)?)\.([^.]+)\.([^.]+)")
ROWS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance: what the model gets, and what stands beside its prediction, as `instance` or `key`."""

    sent: Any
    shown: Json


@dataclass(frozen=True, slots=True)
class Unread:
    """A part of the input that gave no instance, and why."""

    shown: Json
    error: ApiError


Read = Iterator[Instance | Unread]


def in_chunks(items: Iterable[T], most: int) -> Iterator[list[T]]:
    """The items, so many at a time.

    >>> list(in_chunks("abc", 2))
    [['a', 'b'], ['c']]
    """
    left = iter(items)
    while chunk := list(islice(left, most)):
        yield chunk


# ---------------------------------------------------------------- where from


def inputs(objects: Objects, uris: Sequence[str]) -> list[Object]:
    """The objects that the addresses name, wildcards included. Raises ApiError for an address that names nothing."""
    found: dict[str, Object] = {}
    for uri in uris:
        fixed, pattern = WILD.split(uri, maxsplit=1)[0], _pattern(uri)
        try:
            named = [each for each in objects.all(fixed) if each.uri == uri or (fixed != uri and pattern.fullmatch(each.uri))]
        except StorageError as error:
            raise ApiError("NOT_FOUND", f"{uri}: {error.message}") from error
        if not named:
            raise ApiError("NOT_FOUND", f"No file matches the input URI {uri}.")  # a guess at the words
        found.update((each.uri, each) for each in named)
    return list(found.values())


def _pattern(uri: str) -> re.Pattern[str]:
    """https://cloud.google.com/storage/docs/wildcards: `*` ends at a slash, `**` does not.

    >>> [bool(_pattern("gs://b/*.csv").fullmatch(each)) for each in ("gs://b/a.csv", "gs://b/a/b.csv")]
    [True, False]
    """
    meaning = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    at, parts = 0, []
    for wild in WILD.finditer(uri):
        parts += [re.escape(uri[at : wild.start()]), meaning.get(wild[0]) or wild[0]]
        at = wild.end()
    return re.compile("".join([*parts, re.escape(uri[at:])]), re.DOTALL)


def table_of(uri: str) -> tuple[str, str, str] | None:
    """Project, dataset and table of `bq://project.dataset.table`, None for anything else."""
    found = TABLE.fullmatch(uri)
    return cast("tuple[str, str, str]", found.groups()) if found else None


# ---------------------------------------------------------------- what is in it


def instances(file: Object, form: str, config: Json, objects: Objects) -> Read:
    """The instances of one file in its order.

    What cannot be read is an Unread: a line, or all that is left of a file that is no text or is cut off.
    """
    try:
        yield from _READERS[form](file.path, config, objects)
    except (UnicodeDecodeError, BrokenError, EOFError, gzip.BadGzipFile, ZlibError) as error:
        yield Unread({"instance": file.uri}, ApiError("INVALID_ARGUMENT", f"{file.uri} cannot be read: {error}"))


def _json_lines(path: Path, config: Json, objects: Objects) -> Read:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            if line.strip():
                yield _json_line(line, config)


def _json_line(line: str, config: Json) -> Instance | Unread:
    try:
        value = json.loads(line)
    except ValueError as error:
        return Unread({"instance": line.rstrip("\n")}, ApiError("INVALID_ARGUMENT", f"The line is not JSON: {error}"))
    return instance(value, config)


def _csv_rows(path: Path, config: Json, objects: Objects) -> Read:
    """Each row becomes an array: what is quoted is text, the rest numbers. The first line is the header."""
    with path.open(encoding="utf-8", newline="") as stream:
        names = next(csv.reader([stream.readline()]), [])
        for line in stream:
            if line.strip():
                yield _csv_row(line, names, config.get("keyField", ""))


def _csv_row(line: str, names: Sequence[str], key: str) -> Instance | Unread:
    try:
        cells = next(csv.reader([line], quoting=csv.QUOTE_NONNUMERIC, strict=True))
        if len(cells) != len(names):
            raise ValueError(f"{len(cells)} values for {len(names)} columns")
    except (ValueError, csv.Error) as error:
        said = f"The line cannot be read: {error}. Strings must be enclosed in double quotation marks."
        return Unread({"instance": line.rstrip("\r\n")}, ApiError("INVALID_ARGUMENT", said))
    if not key:
        return Instance(cells, {"instance": cells})
    if key not in names:
        return Unread({"instance": cells}, ApiError("INVALID_ARGUMENT", f"The input has no field {key}."))
    at = names.index(key)
    return Instance(cells[:at] + cells[at + 1 :], {"key": cells[at]})


def _tf_records(path: Path, config: Json, objects: Objects) -> Read:
    with path.open("rb") as stream:
        yield from _encoded(stream)


def _tf_records_gzip(path: Path, config: Json, objects: Objects) -> Read:
    with gzip.open(path) as stream:
        yield from _encoded(cast("IO[bytes]", stream))


def _encoded(stream: IO[bytes]) -> Read:
    for content in records(stream):
        yield _b64(content)


def _b64(content: bytes) -> Instance:
    sent = {"b64": base64.b64encode(content).decode()}
    return Instance(sent, {"instance": sent})


def _listed_files(path: Path, config: Json, objects: Objects) -> Read:
    """Each line is the address of a file; its content is the instance. That the address stands beside the prediction is a guess."""
    with path.open(encoding="utf-8") as stream:
        for uri in filter(None, map(str.strip, stream)):
            try:
                (file,) = inputs(objects, [uri])
            except (ApiError, ValueError) as error:
                said = error.message if isinstance(error, ApiError) else f"{uri} does not name one file."
                yield Unread({"instance": uri}, ApiError("NOT_FOUND", said))
                continue
            yield Instance(_b64(file.read()).sent, {"instance": uri})


_READERS: Mapping[str, Callable[[Path, Json, Objects], Read]] = {
    "jsonl": _json_lines,
    "csv": _csv_rows,
    "tf-record": _tf_records,
    "tf-record-gzip": _tf_records_gzip,
    "file-list": _listed_files,
}


def rows(tables: Tables, table: tuple[str, str, str], config: Json) -> Read:
    """The rows of a table; arrays unless the job says otherwise."""
    settled = {**config, "instanceType": config.get("instanceType") or "array"}
    for chunk in tables.stream(*table, ROWS_AT_ONCE):
        for row in chunk:
            yield instance({name: _plain(value) for name, value in row.items()}, settled)


def _plain(value: Any) -> Any:
    """A value of a column as JSON: numbers of any kind as numbers, times as texts, bytes as base64."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return value.isoformat(" " if value.tzinfo else "T")
    if isinstance(value, date | time):
        return value.isoformat()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def instance(value: Any, config: Json) -> Instance | Unread:
    """What a line or a row becomes by the job's instanceConfig."""
    kind, key = config.get("instanceType", ""), config.get("keyField", "")
    chosen, left_out = config.get("includedFields", ()), {*config.get("excludedFields", ()), key} - {""}
    if isinstance(value, list) and kind in ("", "array") and not (chosen or left_out):
        return Instance(value, {"instance": value})
    if not isinstance(value, dict):
        if not (kind or chosen or left_out):
            return Instance(value, {"instance": value})
        said = "Each line of the input must be an object, as instance_config asks for fields of it."
        return Unread({"instance": value}, ApiError("INVALID_ARGUMENT", said))
    if missing := [name for name in (*chosen, *([key] if key else [])) if name not in value]:
        return Unread({"instance": value}, ApiError("INVALID_ARGUMENT", f"The input has no field {missing[0]}."))
    sent = {name: value[name] for name in (chosen or (name for name in value if name not in left_out))}
    return Instance(list(sent.values()) if kind == "array" else sent, {"key": value[key]} if key else {"instance": value})
