"""What a batch prediction job reads and writes: instances from Cloud Storage, results and errors back to it.

Conversions are those that aiplatform.v1 describes under BatchPredictionJob.InstanceConfig.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mlport_vertex.emulator.errors import ApiError
from mlport_vertex.emulator.object_records import Object, StorageError
from mlport_vertex.emulator.objects import Objects

Json = dict[str, Any]
FORMATS = ("jsonl", "csv")


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance: what the model gets, and what stands beside its prediction, as `instance` or `key`."""

    sent: Any
    shown: Json


def inputs(objects: Objects, uris: Sequence[str]) -> list[Object]:
    """The objects that the addresses name, wildcards included. Raises ApiError for an address that names nothing."""
    found: dict[str, Object] = {}
    for uri in uris:
        fixed = uri.split("*", 1)[0].split("?", 1)[0]
        try:
            named = [each for each in objects.all(fixed) if each.uri == uri or (fixed != uri and fnmatchcase(each.uri, uri))]
        except StorageError as error:
            raise ApiError("NOT_FOUND", f"{uri}: {error.message}") from error
        if not named:
            raise ApiError("NOT_FOUND", f"No file matches the input URI {uri}.")  # a guess at the words
        found.update((each.uri, each) for each in named)
    return list(found.values())


def instances(path: Path, form: str, config: Json) -> Iterator[Instance]:
    """The instances of one file in its order. Raises ApiError for a line that cannot be read."""
    values = _lines(path) if form == "jsonl" else _rows(path)
    for value in values:
        yield _instance(value, config)


def _lines(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise ApiError("INVALID_ARGUMENT", f"Line {number} is not JSON: {error}") from error


def _rows(path: Path) -> Iterator[Any]:
    """Each row becomes an array; what looks like a number is one. The first line is the header."""
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream)
        next(reader, None)
        yield from ([_number(cell) for cell in row] for row in reader if row)


def _number(cell: str) -> Any:
    try:
        return float(cell)
    except ValueError:
        return cell


def _instance(value: Any, config: Json) -> Instance:
    kind, key = config.get("instanceType", ""), config.get("keyField", "")
    chosen = list(config.get("includedFields", ()))
    left_out = {*config.get("excludedFields", ()), *([key] if key else [])}
    sent = value
    if chosen or left_out or kind in ("array", "object"):
        if not isinstance(value, dict):
            if kind == "array" and isinstance(value, list) and not (chosen or left_out):
                return Instance(value, {"instance": value})
            raise ApiError("INVALID_ARGUMENT", "Each line of the input must be an object, as instance_config asks for fields of it.")
        names = chosen or [name for name in value if name not in left_out]
        sent = {name: value.get(name) for name in names}
        sent = list(sent.values()) if kind == "array" else sent
    return Instance(sent, {"key": value.get(key)} if key else {"instance": value})
