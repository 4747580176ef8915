"""Buckets and objects as records, the conditions that they are changed under, and how the emulator's storage refuses."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import google_crc32c

Json = dict[str, Any]


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int = -1, /) -> bytes: ...


Content = bytes | Path | Readable


class StorageError(Exception):
    """A refusal: HTTP status, reason as the JSON API names it, code as the XML API does, and what was wrong."""

    def __init__(self, status: int, reason: str, code: str, message: str, location: str = "") -> None:
        super().__init__(message)
        self.status, self.reason, self.code, self.message, self.location = status, reason, code, message, location


def no_bucket(name: str) -> StorageError:
    return StorageError(404, "notFound", "NoSuchBucket", "The specified bucket does not exist.")


def no_object(bucket: str, name: str) -> StorageError:
    return StorageError(404, "notFound", "NoSuchKey", f"No such object: {bucket}/{name}")


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket. `fields` are those that the caller chose, as the JSON API spells them."""

    name: str
    metageneration: int
    created: str
    updated: str
    fields: Json


@dataclass(frozen=True, slots=True)
class Object:
    """A live object. `path` is a file with its content; `crc32c` and `md5` are base64; a composed object has no `md5`."""

    bucket: str
    name: str
    generation: int
    metageneration: int
    path: Path
    size: int
    crc32c: str
    md5: str | None
    created: str
    updated: str
    fields: Json

    @property
    def uri(self) -> str:
        return f"gs://{self.bucket}/{self.name}"

    def read(self) -> bytes:
        return self.path.read_bytes()


@dataclass(frozen=True, slots=True)
class Conditions:
    """What must be so before anything is done; None asks nothing, generation 0 that there be no such object."""

    generation: int | None = None
    not_generation: int | None = None
    metageneration: int | None = None
    not_metageneration: int | None = None

    def check(self, found: Object | Bucket | None, *, reading: bool = False) -> None:
        """Raises StorageError: 412; 304 where a read would only repeat what the caller has.

        The sentence is the one that Cloud Storage answers with (seen in google-cloud-storage's own tests).
        """
        generation = found.generation if isinstance(found, Object) else 0
        metageneration = found.metageneration if found else 0
        for wanted, has, name in (
            (self.generation, generation, "ifGenerationMatch"),
            (self.metageneration, metageneration, "ifMetagenerationMatch"),
        ):
            if wanted is not None and wanted != has:
                raise _unmet(412, name)
        for unwanted, has, name in (
            (self.not_generation, generation, "ifGenerationNotMatch"),
            (self.not_metageneration, metageneration, "ifMetagenerationNotMatch"),
        ):
            if unwanted is not None and unwanted == has:
                raise _unmet(304 if reading else 412, name)


def _unmet(status: int, location: str) -> StorageError:
    said = "At least one of the pre-conditions you specified did not hold."
    return StorageError(status, "conditionNotMet", "PreconditionFailed", said, location)


ANY = Conditions()


@dataclass(frozen=True, slots=True)
class Listing:
    """One page: objects and common prefixes in order, and where the next page begins, if there is one."""

    objects: Sequence[Object] = ()
    prefixes: Sequence[str] = ()
    next: str = ""


@dataclass(slots=True)
class Stored:
    """A content file that is written and belongs to no object yet."""

    file: str
    size: int = 0
    _crc: Any = field(default_factory=google_crc32c.Checksum)
    _md5: Any = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))

    def update(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._crc.update(chunk)
        self._md5.update(chunk)

    @property
    def crc32c(self) -> str:
        return base64.b64encode(self._crc.digest()).decode()

    @property
    def md5(self) -> str:
        return base64.b64encode(self._md5.digest()).decode()


def located(bucket: str, name: str = "") -> tuple[str, str]:
    """Bucket and name of a bucket's name or a gs:// address, and what follows it.

    >>> located("gs://b/runs/7", "model/MLmodel"), located("b", "x")
    (('b', 'runs/7/model/MLmodel'), ('b', 'x'))
    """
    if not bucket.startswith("gs://"):
        return bucket, name
    found, _, path = bucket[5:].partition("/")
    return found, f"{path.rstrip('/')}/{name}" if path and name else path or name
