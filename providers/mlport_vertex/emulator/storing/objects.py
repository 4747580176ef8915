"""Buckets and objects kept in a folder: contents as files, everything else in one SQLite file.

What is written appears whole or not at all, with a new generation; reads and listings see it at once, as Cloud Storage
promises (https://cloud.google.com/storage/docs/consistency). Contents are never changed in place, so a download goes on
undisturbed by a later write: files that nothing names any more are swept `KEPT_SECONDS` after.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlport_vertex.emulator.storing.object_records import (
    ANY,
    Bucket,
    Conditions,
    Content,
    Json,
    Listing,
    Object,
    StorageError,
    Stored,
    located,
    no_bucket,
    no_object,
)

FIRST_BUCKETS = ("emulated-mlport", "emulated-other-mlport")  # exist from the start: the emulator's own targets stage there
KEPT_SECONDS = 600.0
SWEEP_SECONDS = 60.0
CHUNK = 1 << 20
LAST = "\U0010ffff"

SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, metageneration INTEGER NOT NULL, created TEXT NOT NULL,
    updated TEXT NOT NULL, fields TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (bucket TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL,
    metageneration INTEGER NOT NULL, file TEXT NOT NULL, size INTEGER NOT NULL, crc32c TEXT NOT NULL, md5 TEXT,
    created TEXT NOT NULL, updated TEXT NOT NULL, fields TEXT NOT NULL, PRIMARY KEY (bucket, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uploads (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clock (id INTEGER PRIMARY KEY CHECK (id = 1), generation INTEGER NOT NULL);
INSERT OR IGNORE INTO clock VALUES (1, 0);
"""


class Objects:
    """All the buckets of one emulator. Safe for threads; each call is a transaction."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "contents"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(folder / "objects.db", check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")  # a killed process loses nothing; a fallen machine may lose the last writes
        self._connection.executescript(SCHEMA)
        self._swept = time.monotonic()
        for name in FIRST_BUCKETS:
            if self.bucket(name) is None:
                self.create_bucket(name)

    @contextmanager
    def _together(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # ---------------------------------------------------------------- buckets

    def bucket(self, name: str) -> Bucket | None:
        """The bucket, None if there is none."""
        with self._lock:
            row = self._connection.execute("SELECT * FROM buckets WHERE name = ?", (name,)).fetchone()
        return _bucket(row) if row else None

    def create_bucket(self, name: str, fields: Json | None = None) -> Bucket:
        """Make one. Raises StorageError: it exists already."""
        moment = _moment()
        with self._together() as connection:
            try:
                connection.execute("INSERT INTO buckets VALUES (?, 1, ?, ?, ?)", (name, moment, moment, json.dumps(fields or {})))
            except sqlite3.IntegrityError as error:
                said = "Your previous request to create the named bucket succeeded and you already own it."
                raise StorageError(409, "conflict", "BucketAlreadyOwnedByYou", said) from error
        return Bucket(name, 1, moment, moment, fields or {})

    def change_bucket(self, name: str, change: Callable[[Json], Json], conditions: Conditions = ANY) -> Bucket:
        """Give a bucket other fields."""
        with self._together() as connection:
            found = self.need_bucket(name)
            conditions.check(found)
            fields = change(found.fields)
            changed = Bucket(name, found.metageneration + 1, found.created, _moment(), fields)
            connection.execute(
                "UPDATE buckets SET metageneration = ?, updated = ?, fields = ? WHERE name = ?",
                (changed.metageneration, changed.updated, json.dumps(fields), name),
            )
        return changed

    def delete_bucket(self, name: str, conditions: Conditions = ANY) -> None:
        """Delete an empty one. Raises StorageError: none such, or not empty."""
        with self._together() as connection:
            conditions.check(self.need_bucket(name))
            if connection.execute("SELECT 1 FROM objects WHERE bucket = ? LIMIT 1", (name,)).fetchone():
                raise StorageError(409, "conflict", "BucketNotEmpty", "The bucket you tried to delete is not empty.")
            connection.execute("DELETE FROM buckets WHERE name = ?", (name,))

    def buckets(self, prefix: str = "") -> Sequence[Bucket]:
        """Those whose names begin so, in order."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT * FROM buckets WHERE name >= ? AND name < ? ORDER BY name", (prefix, prefix + LAST)
            ).fetchall()
        return [_bucket(row) for row in rows]

    def need_bucket(self, name: str) -> Bucket:
        """The bucket. Raises StorageError: 404."""
        if (found := self.bucket(name)) is None:
            raise no_bucket(name)
        return found

    # ---------------------------------------------------------------- objects

    def get(self, bucket: str, name: str = "", *, generation: int | None = None) -> Object | None:
        """The live object, None if there is none (or not of this generation). `bucket` may be a gs:// address that `name` goes on from."""
        bucket, name = located(bucket, name)
        with self._lock:
            row = self._connection.execute("SELECT * FROM objects WHERE bucket = ? AND name = ?", (bucket, name)).fetchone()
        found = self._object(row) if row else None
        return found if found and generation in (None, found.generation) else None

    def need(self, bucket: str, name: str, *, generation: int | None = None) -> Object:
        """The live object. Raises StorageError: 404 for it or for its bucket."""
        found = self.get(bucket, name, generation=generation)
        if found is None:
            self.need_bucket(bucket)
            raise no_object(bucket, name)
        return found

    def put(
        self,
        bucket: str,
        name: str,
        content: Content,
        *,
        if_generation: int | None = None,
        conditions: Conditions | None = None,
        metadata: Mapping[str, str] | None = None,
        fields: Json | None = None,
    ) -> Object:
        """Write an object whole, as a new generation.

        `bucket` may be a gs:// address that `name` goes on from; `metadata` is the caller's own, `fields` are those of the
        JSON API's Object. Raises StorageError: no such bucket, or the object is not as the conditions want it.
        """
        bucket, name = located(bucket, name)
        wanted = conditions or Conditions(generation=if_generation)
        self.need_bucket(bucket)
        wanted.check(self.get(bucket, name))  # early, so that nothing is copied in vain
        chosen = {**(fields or {}), **({"metadata": dict(metadata)} if metadata else {})}
        return self.keep(bucket, name, self.store(content), wanted, chosen)

    def store(self, *contents: Content) -> Stored:
        """Copy contents, one after the other, to a new file of this folder."""
        stored = Stored(uuid.uuid4().hex)
        with (self._folder / stored.file).open("xb") as target:
            for content in contents:
                for chunk in _chunks(content):
                    stored.update(chunk)
                    target.write(chunk)
        return stored

    def append(self, file: str, content: Content) -> int:
        """Write on at the end of a content file, making it if it is not there; its size."""
        with self.file(file).open("ab") as target:
            for chunk in _chunks(content):
                target.write(chunk)
            return target.tell()

    def stored(self, file: str) -> Stored:
        """A content file that is there already, with its digests."""
        stored = Stored(file)
        for chunk in _chunks(self.file(file)):
            stored.update(chunk)
        return stored

    def keep(self, bucket: str, name: str, stored: Stored, conditions: Conditions, fields: Json, *, composed: bool = False) -> Object:
        """Make stored content the live object of this name."""
        moment = _moment()
        with self._together() as connection:
            self.need_bucket(bucket)
            conditions.check(self.get(bucket, name))
            generation = self._tick(connection)
            md5 = None if composed else stored.md5
            row = (bucket, name, generation, 1, stored.file, stored.size, stored.crc32c, md5, moment, moment, json.dumps(fields))
            connection.execute(f"REPLACE INTO objects VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608 - question marks only
        return self._object(row)

    def change(
        self, bucket: str, name: str, change: Callable[[Json], Json], conditions: Conditions = ANY, *, generation: int | None = None
    ) -> Object:
        """Give an object other fields: the same generation, the next metageneration."""
        with self._together() as connection:
            found = self.need(bucket, name, generation=generation)
            conditions.check(found)
            connection.execute(
                "UPDATE objects SET metageneration = ?, updated = ?, fields = ? WHERE bucket = ? AND name = ?",
                (found.metageneration + 1, _moment(), json.dumps(change(found.fields)), bucket, name),
            )
            return self.need(bucket, name)

    def delete(self, bucket: str, name: str, conditions: Conditions = ANY, *, generation: int | None = None) -> None:
        """Raises StorageError: none such, or not as the conditions want it."""
        with self._together() as connection:
            self.need_bucket(bucket)
            conditions.check(self.get(bucket, name))
            self.need(bucket, name, generation=generation)
            connection.execute("DELETE FROM objects WHERE bucket = ? AND name = ?", (bucket, name))

    def _object(self, row: Sequence[Any]) -> Object:
        bucket, name, generation, metageneration, file, size, crc32c, md5, created, updated, fields = row
        path = self._folder / file
        return Object(bucket, name, generation, metageneration, path, size, crc32c, md5, created, updated, json.loads(fields))

    def _tick(self, connection: sqlite3.Connection) -> int:
        """A generation: microseconds since the epoch, as real ones look, and never the same again."""
        row = connection.execute(
            "UPDATE clock SET generation = max(generation + 1, ?) RETURNING generation", (time.time_ns() // 1000,)
        ).fetchone()
        return int(row[0])

    # ---------------------------------------------------------------- listing

    def list(
        self, bucket: str, prefix: str = "", *, delimiter: str = "", after: str = "", start: str = "", end: str = "", most: int = 1000
    ) -> Listing:
        """A page of what begins with `prefix`: after the name or common prefix `after`, from `start` to before `end`."""
        objects: list[Object] = []
        prefixes: list[str] = []
        last = after
        with self._lock:
            self.need_bucket(bucket)
            for at, found in self._entries(bucket, prefix, delimiter, after, start, end):
                if len(objects) + len(prefixes) == most:
                    return Listing(objects, prefixes, last)
                last = at
                if found is None:
                    prefixes.append(at)
                else:
                    objects.append(found)
        return Listing(objects, prefixes)

    def _entries(self, bucket: str, prefix: str, delimiter: str, after: str, start: str, end: str) -> Iterator[tuple[str, Object | None]]:
        """Objects by name, and common prefixes with None; what lies under a common prefix is jumped over."""
        low, strict = max(prefix, start), False
        if after >= low:
            low, strict = (after + LAST if delimiter and after.endswith(delimiter) else after), True
        high = min(prefix + LAST, end) if end else prefix + LAST
        while rows := self._connection.execute(
            f"SELECT * FROM objects WHERE bucket = ? AND name {'>' if strict else '>='} ? AND name < ? ORDER BY name LIMIT 500",  # noqa: S608
            (bucket, low, high),
        ).fetchall():
            for row in rows:
                low, strict = row[1], True
                cut = low.find(delimiter, len(prefix)) if delimiter else -1
                if cut >= 0:
                    common = low[: cut + len(delimiter)]
                    yield common, None
                    low = common + LAST
                    break
                yield low, self._object(row)

    def all(self, uri: str) -> Iterator[Object]:
        """Every object whose address begins with a gs:// address."""
        bucket, prefix = located(uri)
        page = self.list(bucket, prefix)
        yield from page.objects
        while page.next:
            page = self.list(bucket, prefix, after=page.next)
            yield from page.objects

    # ---------------------------------------------------------------- folders

    def download_tree(self, uri: str, folder: Path) -> int:
        """Copy what lies under a gs:// address, or the one object that it names, into a folder; how many files it was."""
        bucket, name = located(uri)
        single = self.get(bucket, name) if name else None
        prefix = f"{name.rstrip('/')}/" if name else ""
        found = (
            [(single.name.rpartition("/")[2], single)]
            if single
            else [(each.name[len(prefix) :], each) for each in self.all(f"gs://{bucket}/{prefix}")]
        )
        files = [(name, each) for name, each in found if name and not name.endswith("/")]
        for relative, each in files:
            target = folder / relative
            if not target.resolve().is_relative_to(folder.resolve()):
                raise ValueError(f"{each.uri}: its name leads out of the folder")
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as stream:
                for chunk in _chunks(each.path):
                    stream.write(chunk)
        return len(files)

    def upload_tree(self, folder: Path, uri: str) -> int:
        """Copy every file under a folder to under a gs:// address; how many it was."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in files:
            self.put(uri, path.relative_to(folder).as_posix(), path)
        return len(files)

    # ---------------------------------------------------------------- unfinished uploads

    def upload(self, id: str) -> Json | None:
        """What is known of an unfinished upload, None if there is none."""
        with self._lock:
            row = self._connection.execute("SELECT body FROM uploads WHERE id = ?", (id,)).fetchone()
        return json.loads(row[0]) if row else None

    def keep_upload(self, id: str, body: Json) -> None:
        """Remember an unfinished upload. Files that it names under `file` or `parts` are not swept."""
        with self._together() as connection:
            connection.execute("REPLACE INTO uploads VALUES (?, ?)", (id, json.dumps(body)))

    def change_upload(self, id: str, change: Callable[[Json], Json]) -> bool:
        """Whether there was one to change."""
        with self._together() as connection:
            found = self.upload(id)
            if found is not None:
                connection.execute("UPDATE uploads SET body = ? WHERE id = ?", (json.dumps(change(found)), id))
            return found is not None

    def drop_upload(self, id: str) -> bool:
        """Whether there was one."""
        with self._together() as connection:
            return connection.execute("DELETE FROM uploads WHERE id = ?", (id,)).rowcount > 0

    def file(self, name: str) -> Path:
        """Where the content file of this name is, or would be."""
        return self._folder / name

    # ---------------------------------------------------------------- sweeping

    def sweep(self, kept: float = KEPT_SECONDS) -> int:
        """Delete content files that nothing names and that are older than `kept` seconds; how many it was."""
        files = {path.name: path for path in self._folder.iterdir() if time.time() - path.stat().st_mtime >= kept}
        with self._lock:
            named = {row[0] for row in self._connection.execute("SELECT file FROM objects")}
            for (body,) in self._connection.execute("SELECT body FROM uploads"):
                named |= _files(json.loads(body))
        unnamed = [path for name, path in files.items() if name not in named]
        for path in unnamed:
            path.unlink(missing_ok=True)
        return len(unnamed)

    def sweep_now_and_then(self) -> None:
        """For a thread of chores: mostly nothing."""
        if time.monotonic() - self._swept >= SWEEP_SECONDS:
            self._swept = time.monotonic()
            self.sweep()


def _bucket(row: Sequence[Any]) -> Bucket:
    name, metageneration, created, updated, fields = row
    return Bucket(name, metageneration, created, updated, json.loads(fields))


def _files(upload: Json) -> set[str]:
    return {name for name in (upload.get("file"), *(part["file"] for part in upload.get("parts", {}).values())) if name}


def _chunks(content: Content) -> Iterator[bytes]:
    """The bytes themselves, a file from its beginning, or what is left of a stream."""
    if isinstance(content, bytes):
        yield content
    elif isinstance(content, Path):
        with content.open("rb") as stream:
            yield from iter(lambda: stream.read(CHUNK), b"")
    else:
        yield from iter(lambda: content.read(CHUNK), b"")


def _moment() -> str:
    """Milliseconds, as the JSON API writes them."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
