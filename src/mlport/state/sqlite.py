"""The StateStore of one machine: one SQLite file, durable at each write, safe between processes."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from mlport.errors import ConflictError, UnavailableError
from mlport.spi import ABSENT, Versioned

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value BLOB NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clock (id INTEGER PRIMARY KEY CHECK (id = 1), tick INTEGER NOT NULL);
INSERT OR IGNORE INTO clock VALUES (1, 0);
"""
BUSY_SECONDS = 30.0


class SqliteStateStore:
    """Versions come from one counter of the whole file, so a version is never used twice, not even by another key."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._open: deque[sqlite3.Connection] = deque()
        self._lock = threading.Lock()

    @property
    def _connection(self) -> sqlite3.Connection:
        connection, process = getattr(self._local, "opened", (None, 0))
        if connection is None or process != os.getpid():  # SQLite's connections must not be used over a fork
            connection = self._connect()
            self._local.opened = (connection, os.getpid())
        return connection

    def _connect(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA synchronous=FULL")
            if connection.execute("PRAGMA user_version").fetchone()[0] < SCHEMA_VERSION:
                self._create(connection)
        except (sqlite3.Error, OSError) as error:
            raise _unavailable(self._path, error) from error
        with self._lock:
            self._open.append(connection)
        return connection

    def _create(self, connection: sqlite3.Connection) -> None:
        """Make the schema. A lock file keeps first users apart: SQLite does not wait when the journal mode changes."""
        with self._path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")

    def get(self, key: str) -> Versioned | None:
        row = self._run("SELECT value, version FROM state WHERE key = ?", (key,)).fetchone()
        return Versioned(row[0], str(row[1])) if row else None

    def list(self, prefix: str) -> Iterator[tuple[str, Versioned]]:
        last = prefix
        while rows := self._run(
            "SELECT key, value, version FROM state WHERE key >= ? AND key < ? ORDER BY key LIMIT 500",
            (last, f"{prefix}\U0010ffff"),
        ).fetchall():
            for key, value, version in rows:
                yield key, Versioned(value, str(version))
            last = f"{rows[-1][0]}\0"

    def put(self, key: str, value: bytes, *, expect: str | None = None) -> str:
        with self._transaction() as connection:
            self._require(connection, key, expect)
            tick = connection.execute("UPDATE clock SET tick = tick + 1 RETURNING tick").fetchone()[0]
            connection.execute(
                "INSERT INTO state VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version",
                (key, value, tick),
            )
        return str(tick)

    def delete(self, key: str, *, expect: str | None = None) -> None:
        with self._transaction() as connection:
            self._require(connection, key, expect)
            connection.execute("DELETE FROM state WHERE key = ?", (key,))

    def close(self) -> None:
        with self._lock:
            while self._open:
                self._open.pop().close()
        self._local = threading.local()

    @staticmethod
    def _require(connection: sqlite3.Connection, key: str, expect: str | None) -> None:
        if expect is None:
            return
        row = connection.execute("SELECT version FROM state WHERE key = ?", (key,)).fetchone()
        found = str(row[0]) if row else ABSENT
        if found != expect:
            raise ConflictError(f"{key} is at version {found}, not {expect}: someone else changed it", hint="read it again and decide anew")

    def _run(self, sql: str, values: tuple[object, ...]) -> sqlite3.Cursor:
        try:
            return self._connection.execute(sql, values)
        except sqlite3.Error as error:
            raise _unavailable(self._path, error) from error

    def _transaction(self) -> _Transaction:
        return _Transaction(self._connection, self._path)


class _Transaction:
    """BEGIN IMMEDIATE ... COMMIT, rolled back on any error."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self._path = connection, path

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise _unavailable(self._path, error) from error
        return self._connection

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self._connection.execute("ROLLBACK" if error else "COMMIT")
        except sqlite3.Error as failed:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise _unavailable(self._path, failed) from failed
        if isinstance(error, sqlite3.Error):
            raise _unavailable(self._path, error) from error


def _unavailable(path: Path, error: Exception) -> UnavailableError:
    return UnavailableError(
        f"{path}: {error}",
        provider="state store",
        native_code=getattr(error, "sqlite_errorname", type(error).__name__),
        hint="is the disk full, the folder read-only, or another program holding the file?",
    )
