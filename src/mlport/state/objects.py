"""The StateStore of a team: one object a key, in a bucket that can write on condition.

Every write carries the version that it was decided on (a generation or an ETag, as the store has it), so of two writers
one is refused. A request that was answered too late is sent again by the client below us and then refused by its own
success; so each value holds a nonce and those of the writes before it, and who is refused looks for its own there before
it reports a conflict.

Object stores delete without condition. A conditional delete is therefore a conditional write of a tombstone, which reads
as absent; the object is left for good, so that a version can never come back. An unconditional one does the same.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from mlport.errors import ConflictError, MlportError, NotFoundError, UnavailableError
from mlport.spi import ABSENT, Versioned
from mlport.transfer import translated

if TYPE_CHECKING:
    from obstore.store import ObjectStore

MAGIC = b"mlport-state"  # an object begins with a line: MAGIC, KEPT or GONE, nonces from the newest; then comes the value
KEPT, GONE = b"kept", b"gone"
REMEMBERED = 16  # writes: so many others may come between one and the look at whether it was done
KNOWN = 64  # objects that were written last, whose replacing needs no look before it
READERS = 16  # objects read at once by a listing
SAFE = "!$'()+,;=@~"  # what else a key may hold that every store takes as it is
SUFFIX = ".state"  # so that the keys `a` and `a/b` can both be: some stores keep one of a file and a folder only


@dataclass(frozen=True, slots=True)
class _Found:
    """An object as it was read. `handle` is what the next write names as what it was decided on."""

    nonces: tuple[str, ...]  # of the writes that led to it, from the newest
    value: bytes | None  # None: deleted
    handle: dict[str, str]

    @property
    def version(self) -> str:
        return self.nonces[0]


class ObjectStateStore:
    """Keys under a prefix of one store. Safe for threads and between processes, on any number of machines.

    `store` is an obstore store that can write on condition: those of the three large clouds, and what speaks S3's language
    and takes If-Match. A version is the nonce of the write that made it: it is never used twice.
    """

    def __init__(self, store: ObjectStore, prefix: str = "") -> None:
        self._store, self._prefix = store, f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._written: dict[str, _Found] = {}
        self._lock = Lock()

    def get(self, key: str) -> Versioned | None:
        """The value and its version, None where there is none."""
        found = self._read(self._name(key))
        return Versioned(found.value, found.version) if found and found.value is not None else None

    def list(self, prefix: str) -> Iterator[tuple[str, Versioned]]:
        """Keys that start with `prefix`, in order, each as it is when it is read."""
        keys = sorted(key for key in self._keys(prefix) if key.startswith(prefix))
        with ThreadPoolExecutor(READERS, thread_name_prefix="state") as pool:
            for key, found in zip(keys, pool.map(self.get, keys), strict=True):
                if found is not None:
                    yield key, found

    def put(self, key: str, value: bytes, *, expect: str | None = None) -> str:
        """Store and return the new version. Raises ConflictError where the version is not `expect`."""
        return self._write(key, KEPT, value, expect)

    def delete(self, key: str, *, expect: str | None = None) -> None:
        """Nothing happens where there is none. Raises ConflictError where the version is not `expect`."""
        if expect == ABSENT:
            if (found := self.get(key)) is not None:
                raise _conflict(key, found.version, expect)
        elif expect is not None or self.get(key) is not None:
            self._write(key, GONE, b"", expect)

    def close(self) -> None:
        """Nothing is held open."""

    # ---------------------------------------------------------------- writing

    def _write(self, key: str, mark: bytes, value: bytes, expect: str | None) -> str:
        """Write once what was expected is there; with nothing expected, over whatever is there."""
        nonce, name = uuid.uuid4().hex, self._name(key)
        found = None if expect == ABSENT else self._known(name, expect) or self._read(name)  # an object is not made over another
        while True:
            self._require(key, found, expect)
            content = _content(mark, nonce, found, value)
            if (handle := self._swap(name, content, found.handle if found else None)) is not None:
                if handle:
                    self._remember(name, self._parsed(name, content, handle))
                return nonce
            found = self._read(name)
            if found is not None and nonce in found.nonces:  # refused by our own success, whose answer was lost
                return nonce

    @staticmethod
    def _require(key: str, found: _Found | None, expect: str | None) -> None:
        version = ABSENT if found is None or found.value is None else found.version
        if expect is not None and version != expect:
            raise _conflict(key, version, expect)

    def _known(self, name: str, expect: str | None) -> _Found | None:
        """The object as it was last written from here, if that may be what is expected: it need not be read before it is replaced."""
        with self._lock:
            found = self._written.pop(name, None)
        return found if found and expect in (None, found.version) else None

    def _remember(self, name: str, written: _Found) -> None:
        with self._lock:
            self._written[name] = written
            if len(self._written) > KNOWN:
                del self._written[next(iter(self._written))]

    def _swap(self, name: str, content: bytes, handle: dict[str, str] | None) -> dict[str, str] | None:
        """Write if the object is still what `handle` says (None: not there); its new handle, None if it was not. Raises MlportError."""
        import obstore
        from obstore import exceptions

        mode: Any = "create" if handle is None else handle
        try:
            answer = obstore.put(self._store, name, content, mode=mode, use_multipart=False)
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            return None
        except (exceptions.BaseError, OSError) as error:
            raise self._failed(name, error) from error
        return _handle(answer)

    # ---------------------------------------------------------------- reading

    def _read(self, name: str) -> _Found | None:
        import obstore
        from obstore import exceptions

        try:
            answer = obstore.get(self._store, name)
            content, meta = bytes(answer.bytes()), answer.meta
        except FileNotFoundError:
            return None
        except (exceptions.BaseError, OSError) as error:
            raise self._failed(name, error) from error
        return self._parsed(name, content, _handle(meta))

    @staticmethod
    def _parsed(name: str, content: bytes, handle: dict[str, str]) -> _Found:
        line, newline, value = content.partition(b"\n")
        words = line.split(b" ")
        if len(words) < 3 or words[0] != MAGIC or words[1] not in (KEPT, GONE) or not newline:
            raise UnavailableError(
                f"{name}: this object is none of mlport's state",
                provider="state store",
                hint="point `state` at a folder of its own, where nothing else writes",
            )
        return _Found(tuple(word.decode("ascii", "replace") for word in words[2:]), value if words[1] == KEPT else None, handle)

    def _keys(self, prefix: str) -> Iterator[str]:
        """The keys below the last whole folder of `prefix`: stores list by folders only."""
        import obstore
        from obstore import exceptions

        folder = self._prefix + _encoded(prefix.rpartition("/")[0])
        try:
            for page in obstore.list(self._store, folder or None):
                for item in page:
                    if (path := str(item["path"])).endswith(SUFFIX):
                        yield _decoded(path.removeprefix(self._prefix).removesuffix(SUFFIX))
        except (exceptions.BaseError, OSError) as error:
            raise self._failed(folder, error) from error

    def _name(self, key: str) -> str:
        return f"{self._prefix}{_encoded(key)}{SUFFIX}"

    def _failed(self, name: str, error: Exception) -> MlportError:
        """Ours for the store's own. That the bucket is missing must not read as that there is no such key."""
        ours = translated(f"state {name}", error)
        if isinstance(ours, NotFoundError):
            return UnavailableError(str(ours), provider="state store", native_code=ours.native_code)
        return ours


def _encoded(key: str) -> str:
    """A key as an object's name: what stores treat each in its own way is percent-encoded.

    >>> _encoded("lease/a b/é"), _encoded("x//..")
    ('lease/a%20b/%C3%A9', 'x/%/%2E%2E')
    """
    return (
        "/".join(quote(part, safe=SAFE) if part.strip(".") else part.replace(".", "%2E") or "%" for part in key.split("/")) if key else ""
    )


def _decoded(name: str) -> str:
    return "/".join("" if part == "%" else unquote(part) for part in name.split("/"))


def _handle(answer: Mapping[str, Any]) -> dict[str, str]:
    """What names an object as it is, of what the store told of it."""
    return {part: str(answer[part]) for part in ("e_tag", "version") if answer[part]}


def _content(mark: bytes, nonce: str, before: _Found | None, value: bytes) -> bytes:
    nonces = (nonce, *(before.nonces if before else ()))[:REMEMBERED]
    return b" ".join((MAGIC, mark, *(each.encode() for each in nonces))) + b"\n" + value


def _conflict(key: str, found: str, expect: str) -> ConflictError:
    return ConflictError(f"{key} is at version {found}, not {expect}: someone else changed it", hint="read it again and decide anew")
