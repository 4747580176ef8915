"""What to score, with what, and where to put it."""

from __future__ import annotations

import hashlib
import json
import os
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from mlport.errors import SpecError, UsageError
from mlport.fields import Spec

if TYPE_CHECKING:
    from mlport.specs import BatchSpec

Format = Literal["parquet", "csv", "jsonl"]
_FORMATS: dict[str, Format] = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
OWN_COLUMNS = ("file", "row", "prediction")


class Request(Spec):
    """A request file. `${NAME}` in its paths is replaced from the environment."""

    model: Path
    """The MLflow model's folder."""
    input: str
    """A Parquet, CSV or JSON-lines file, a folder of them, or a glob."""
    output: Path
    """A folder that does not exist yet or is empty."""
    format: Literal["auto", "parquet", "csv", "jsonl"] = "auto"
    keep: tuple[str, ...] = ()
    """Input columns to copy beside the prediction; from CSV and JSON lines as text, as it stands there."""
    batch_rows: int = Field(10_000, ge=1, le=1_000_000)
    model_name: str = "model"
    version: str | None = None
    threads: int = Field(1, ge=1)
    shard: int = Field(0, ge=0)
    """Which of `shards` this is: it scores every so-many-th file."""
    shards: int = Field(1, ge=1)

    @field_validator("shard", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        return os.path.expandvars(value) if isinstance(value, str) else value

    def _contradiction(self) -> str | None:
        return f"shard {self.shard} is not one of {self.shards}, counted from 0" if self.shard >= self.shards else None

    @field_validator("model", "input", "output", mode="before")
    @classmethod
    def _expanded(cls, value: object) -> object:
        text = os.path.expandvars(str(value))
        if "://" in text:
            raise ValueError("must be a local path; a job's inputs are staged before it starts")
        if "${" in text:
            raise ValueError("names an environment variable that is not set")
        return text

    @field_validator("keep", mode="after")
    @classmethod
    def _not_ours(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        taken = [name for name in value if name in OWN_COLUMNS]
        if taken:
            raise ValueError(f"the output has a column {taken[0]!r} of its own")
        return value


def asked(spec: BatchSpec) -> dict[str, Any]:
    """The request file of a job that scores what a spec says: what it names is staged by mlport's runner."""
    return {
        "model": "${MLPORT_INPUT_MODEL}",
        "input": "${MLPORT_INPUT_ROWS}",
        "output": "${MLPORT_OUTPUT_PREDICTIONS}",
        "format": spec.format,
        "keep": list(spec.keep),
        "batch_rows": spec.batch_rows,
        "model_name": spec.model.name,
        "version": spec.model.version,
        "threads": max(1, int(spec.compute.cpus)),
    }


def load(path: Path) -> Request:
    """The request in a JSON file. Raises UsageError naming the field."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise SpecError(f"{path}: must hold a JSON object")
    return Request(**content)


def files(request: Request) -> list[tuple[Path, Format]]:
    """The input files in the order of their names, each with its format.

    Raises:
        UsageError: when there are none, or one has a name that tells no format.
    """
    place = Path(request.input)
    if place.is_dir():
        found = [path for path in place.rglob("*") if path.is_file() and not _is_hidden(path.relative_to(place))]
    elif has_magic(request.input) and not place.exists():
        matching = Path(place.anchor).glob(str(place.relative_to(place.anchor)))
        found = [path for path in matching if path.is_file() and not _is_hidden(Path(path.name))]
    else:
        found = [place] if place.is_file() else []
    if not found:
        raise UsageError(f"input {request.input}: no such file, and no folder or glob with files")
    return [(path, _format(path, request)) for path in sorted(found)]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def _format(path: Path, request: Request) -> Format:
    if request.format != "auto":
        return request.format
    if (found := _FORMATS.get(path.suffix.lower())) is None:
        raise UsageError(f"{path}: its name tells no format", hint='set "format" to parquet, csv or jsonl')
    return found


def fingerprint(request: Request, inputs: list[tuple[Path, Format]]) -> str:
    """A digest of all that decides the parts: the request, the model's description, and each input's size and time."""
    described = [request.model_dump_json(), _digest(request.model / "MLmodel")]
    described += [f"{path}\0{path.stat().st_size}\0{path.stat().st_mtime_ns}" for path, _ in inputs]
    return hashlib.sha256("\n".join(described).encode()).hexdigest()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
