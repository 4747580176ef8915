"""Tables of fields in files, TOML or JSON, as people write them: read within a bound, and checked with the line of what is wrong."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mlport.errors import SpecError
from mlport.fields import Place, describe_problems, dotted

if TYPE_CHECKING:
    from pydantic import BaseModel

    Model = TypeVar("Model", bound=BaseModel)
LARGEST = 16 << 20
"""Bytes; nobody writes more by hand."""
_HEADER = re.compile(r"\s*(\[\[?)\s*([\w.\"' -]+?)\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"\s*([\w\"'-]+(?:\s*\.\s*[\w\"'-]+)*)\s*=")


@dataclass(frozen=True, slots=True)
class Written:
    """What a file holds, and its text. Numbers with a point are Decimals where that was asked for."""

    path: Path
    text: str
    table: dict[str, Any]

    def say(self, place: Place) -> str:
        """Where a field stands: file, line (in TOML), and its path."""
        line = line_of(self.text, place) if self.path.suffix != ".json" else None
        return ": ".join(filter(None, (str(self.path), f"line {line}" if line else "", dotted(place))))


def read(path: Path, *, decimals: bool = False, hint: str | None = None) -> Written:
    """The table that a file holds: JSON if it is named `.json`, else TOML. Raises SpecError with file, line and column."""
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror}", hint=hint or f"looked from {Path.cwd()}") from error
    if len(content) > LARGEST:
        raise SpecError(f"{path}: is larger than {LARGEST >> 20} MiB", hint="is it the file that you mean?")
    text = _text(path, content)
    try:
        table = _json(text, decimals) if path.suffix == ".json" else tomllib.loads(text, parse_float=Decimal if decimals else float)
    except RecursionError as error:
        raise SpecError(f"{path}: tables within tables, deeper than can be read") from error
    except ValueError as error:
        raise SpecError(f"{path}: {error}", hint="it is read as TOML, or as JSON if its name ends in .json") from error
    if not isinstance(table, dict):
        raise SpecError(f"{path}: holds a {type(table).__name__}, not a table of fields")
    return Written(path, text, table)


def load(path: Path, model: type[Model], *, hint: str | None = None, missing: str | None = None) -> Model:
    """A file's table as a model, with numbers as they are written.

    Raises SpecError with file, line and field. `hint`: of what right would be; `missing`: where there is no such file.
    """
    written = read(path, decimals=True, hint=missing)
    return checked(written.table, model, written.say, hint=hint)


def checked(table: Mapping[str, Any], model: type[Model], say: Callable[[Place], str], *, hint: str | None = None) -> Model:
    """A table as a model. Raises SpecError, with a field's place as `say` has it."""
    from pydantic import ValidationError

    try:
        return model.model_validate(dict(table))
    except ValidationError as error:
        raise SpecError(describe_problems(error, model, table, say), hint=hint) from error
    except SpecError as error:  # of a spec
        if not isinstance(error.__cause__, ValidationError) or error.__cause__.title != model.__name__:
            raise  # of another file that the table names
        raise SpecError(describe_problems(error.__cause__, model, table, say), hint=hint) from error.__cause__


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise SpecError(
            f"{path}: line {line}, byte {column}: {content[error.start]:#04x} is not UTF-8", hint="save the file as UTF-8"
        ) from error


def _json(text: str, decimals: bool) -> Any:
    return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number, parse_float=Decimal if decimals else float)


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is there twice in one table")
        found[name] = value
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


# ---------------------------------------------------------------- lines


def line_of(text: str, place: Place) -> int | None:
    """The line of a TOML text in which a field, or else the table nearest around it, is written; None where none is found."""
    best, found = 0, None
    for number, path in _places(text):
        table = path[:-1] if isinstance(path[-1], int) and path[:-1] == place else path  # the first of an array of tables
        if len(table) > best and table == place[: len(table)]:
            best, found = len(table), number
    return found


def _places(text: str) -> Iterator[tuple[int, Place]]:
    """Each header and each key at a line's beginning, with the whole path to it."""
    here: Place = ()
    counts: dict[Place, int] = {}
    inside = ""
    for number, line in enumerate(text.splitlines(), start=1):
        was_inside = inside
        inside = _still_open(line, inside)
        if was_inside:
            continue
        if header := _HEADER.fullmatch(line):
            here = _resolved(_parts(header[2]), counts, header[1] == "[[")
            yield number, here
        elif key := _KEY.match(line):
            yield number, (*here, *_parts(key[1]))


def _resolved(parts: list[str], counts: dict[Place, int], another: bool) -> Place:
    """A header's path with the number of each array's element: the last one, or a new one."""
    path: Place = ()
    for at, part in enumerate(parts):
        path = (*path, part)
        if another and at == len(parts) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def _parts(text: str) -> list[str]:
    return [part.strip().strip("\"'") for part in text.split(".")]


_TOKENS = re.compile(r"\"\"\"|'''|\"(?:\\.|[^\"\\])*\"|'[^']*'|[\[\]{}#]")


def _still_open(line: str, inside: str) -> str:
    """What a line leaves open: the quotes of a text of several lines, or one bracket for each array and table in it."""
    at = 0
    while token := _TOKENS.search(line, at):
        mark, at = token[0], token.end()
        if inside in ('"""', "'''"):
            inside = "" if mark == inside else inside
        elif mark in ('"""', "'''") and not inside:
            inside = mark
        elif mark == "#":
            break
        elif mark in "[{":
            inside += "["
        elif mark in "]}":
            inside = inside[:-1]
    return inside
