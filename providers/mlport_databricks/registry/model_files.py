"""A version's files: from this machine or a volume into the version's storage, and out of it again. They stream: no copy is made here.

Unity Catalog's clients take MLflow models with a signature only. A folder that is no MLflow model is kept inside of one: below
`files/`, beside an `MLmodel` that has no python_function and a signature of any type, which says that nothing is known of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlport.bundle import CHUNK, listing_digest, tree_files
from mlport.errors import InputChangedError, NotFoundError, SpecError, UnavailableError
from mlport.spi import Json
from mlport.transfer import deliver, local_path, translated
from mlport_databricks.names import volume_path
from mlport_databricks.registry.model_request import refuse_signature

if TYPE_CHECKING:
    from obstore.store import ObjectStore

    from mlport_databricks.workspace.connection import Connection

DESCRIPTION, FILES = "MLmodel", "files/"
ENVELOPE = """flavors:
  mlport_files:
    data: files
signature:
  inputs: '[{"type": "any", "required": true}]'
  outputs: '[{"type": "any", "required": true}]'
"""
AT_ONCE = 8 << 20  # bytes: what is smaller goes up in one request


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a model: its path in the model's folder, its `size` in bytes, and a way to read it."""

    path: str
    size: int
    read: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Source:
    """A model's files where they are now."""

    where: str
    entries: tuple[Entry, ...]

    def described(self) -> Json:
        """What the files declare: see `describe`."""
        found = next((entry for entry in self.entries if entry.path == DESCRIPTION), None)
        return describe(b"".join(found.read()) if found else None)


def source(connection: Connection, path: str) -> Source:
    """The files at a path of this machine, or an address in a volume.

    Raises:
        NotFoundError, SpecError: there is no folder with files.
    """
    volume = volume_path(path)
    entries = _of_volume(connection, volume.rstrip("/")) if volume else _of_folder(local_path(path))
    if not entries:
        raise SpecError(f"ModelSpec.path: {path} holds no files", hint="a model's folder holds at least one file")
    return Source(path, tuple(sorted(entries, key=lambda entry: entry.path)))


def _of_folder(folder: Path) -> list[Entry]:
    if not folder.is_dir():
        raise NotFoundError(f"ModelSpec.path: {folder} is not a folder", hint="name the folder that holds the model's files")
    return [Entry(relative, file.stat().st_size, lambda file=file: _chunks(file)) for relative, file in tree_files(folder)]  # type: ignore[misc]


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def _of_volume(connection: Connection, folder: str) -> list[Entry]:
    return [
        Entry(path.removeprefix(f"{folder}/"), size, lambda path=path: connection.files.stream(path))  # type: ignore[misc]
        for path, size in connection.files.walk(folder)
    ]


def describe(content: bytes | None) -> Json:
    """What an MLmodel file declares: `mlflow` (whether there is one), `flavors`, `signature`.

    Raises:
        SpecError: it cannot be read.
    """
    if content is None:
        return {"mlflow": False, "flavors": [], "signature": None}
    import yaml

    try:
        declared = yaml.safe_load(content)
        signature = {part: json.loads(text) for part, text in (declared.get("signature") or {}).items() if text}
        return {"mlflow": True, "flavors": list(declared["flavors"]), "signature": signature or None}
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise SpecError(f"ModelSpec.path: its {DESCRIPTION} cannot be read: {error}", hint="save the model again with MLflow") from error


def checked(files: Source) -> Json:
    """What the files declare. Raises SpecError for an MLflow model that Unity Catalog does not take."""
    declared = files.described()
    if declared["mlflow"]:
        refuse_signature(declared["signature"])
    return declared


def digest_of(files: Source) -> str:
    """The digest of the files as they are: all of them are read."""
    digests = {}
    for entry in files.entries:
        hashed = _Hashed(entry.read())
        for _ in hashed:
            pass
        digests[entry.path] = hashed.digest
    return listing_digest(digests)


def upload(store: ObjectStore, files: Source, *, expect: str | None, plain: bool) -> str:
    """Copy every file to a version's storage; the digest of what was copied.

    Raises:
        InputChangedError: that is not `expect`.
    """
    import obstore

    digests = {}
    for entry in files.entries:
        hashed = _Hashed(entry.read())
        name = f"{FILES}{entry.path}" if plain else entry.path
        try:
            obstore.put(store, name, b"".join(hashed) if entry.size <= AT_ONCE else hashed)
        except (obstore.exceptions.BaseError, OSError) as error:
            raise translated(f"the model's storage, {name}", error) from error
        digests[entry.path] = hashed.digest
    if plain:
        obstore.put(store, DESCRIPTION, ENVELOPE.encode())
    found = listing_digest(digests)
    if expect is not None and found != expect:
        raise InputChangedError(
            f"the model at {files.where} changed since the plan was made: expected {expect}, found {found}", hint="plan and register again"
        )
    return found


class _Hashed:
    """Chunks that are hashed as they pass."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._hash = chunks, hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._hash.update(chunk)
            yield chunk

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


def download(store: ObjectStore, destination: Path, *, plain: bool) -> Path:
    """Copy a version's files to `destination` in one step: all of them or nothing.

    Raises:
        ConflictError: `destination` exists.
        NotFoundError: the files are gone.
    """
    return deliver(destination, lambda folder: _fill(store, folder, FILES if plain else ""))


def _fill(store: ObjectStore, folder: Path, prefix: str) -> None:
    import obstore

    folder.mkdir()
    count = 0
    try:
        for page in obstore.list(store, prefix or None):
            for item in page:
                target = _inside(folder, str(item["path"]).removeprefix(prefix))
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as stream:
                    for chunk in obstore.get(store, item["path"]).stream(min_chunk_size=AT_ONCE):
                        stream.write(chunk)
                count += 1
    except (obstore.exceptions.BaseError, OSError) as error:
        raise translated("the model's storage", error) from error
    if not count:
        raise NotFoundError("the version's files are gone from its storage", hint="register the model again")


def _inside(folder: Path, relative: str) -> Path:
    target = (folder / relative).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise UnavailableError(f"the object name {relative!r} would be written outside {folder}")
    return target
