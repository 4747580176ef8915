"""The embedded engine's database: one SQLite file a root, durable at each commit, shared by any number of processes.

Jobs are kept in `queue.py`; other rooms keep tables of their own in the same file and make them in `connect`'s schema
or by `CREATE TABLE IF NOT EXISTS` inside `writing`. Standard library only: supervisors start without site-packages.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mlport.errors import ConfigError, UnavailableError
from mlport.faults import fault
from mlport_local.layout import Layout

SCHEMA_VERSION = 2
BUSY_SECONDS = float(os.environ.get("MLPORT_BUSY_SECONDS", "30"))
"""How long to wait for another writer. A write takes milliseconds: who holds the file for longer is no engine."""
_NEW_IN_2 = (
    "gpus INTEGER NOT NULL DEFAULT 0",
    "devices TEXT NOT NULL DEFAULT '[]'",
    "passed INTEGER NOT NULL DEFAULT 0",
    "preempted INTEGER NOT NULL DEFAULT 0",
    "preemptions INTEGER NOT NULL DEFAULT 0",
)
_UPGRADES = {1: " ".join(f"ALTER TABLE jobs ADD COLUMN {column};" for column in _NEW_IN_2)}
"""What makes a database of one version one of the next."""


def connect(layout: Layout) -> sqlite3.Connection:
    """A connection for the calling thread, in autocommit; the database is made if absent. Close it after use.

    Raises:
        UnavailableError: the disk is full or read-only, or the file is damaged.
        ConfigError: a newer mlport made the database.
    """
    with translated(layout.engine), ExitStack() as failed:
        connection = _open(layout.engine)
        failed.callback(connection.close)
        version = _prepare(connection)
        if version < SCHEMA_VERSION:
            _create(connection, layout)
        elif version > SCHEMA_VERSION:
            raise ConfigError(
                f"{layout.engine} has schema {version}, and this mlport knows {SCHEMA_VERSION}",
                hint="upgrade mlport, or choose another root",
            )
        failed.pop_all()
        return connection


def _open(path: Path) -> sqlite3.Connection:
    if _is_frozen(path):
        return sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True, isolation_level=None, check_same_thread=False)
    try:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    except sqlite3.OperationalError:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    return connection


def _is_frozen(path: Path) -> bool:
    """Whether nobody can be writing: the disk is read-only. Only then may SQLite read without its lock files."""
    return path.exists() and bool(os.statvfs(path).f_flag & os.ST_RDONLY) and not path.with_name(f"{path.name}-wal").exists()


def _prepare(connection: sqlite3.Connection) -> int:
    """Settle what holds for each connection; the schema's version."""
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _create(connection: sqlite3.Connection, layout: Layout) -> None:
    """Make the schema. A lock file keeps first users apart: SQLite does not wait when the journal mode changes."""
    with layout.engine.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        connection.execute("PRAGMA journal_mode = WAL")
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        schema = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
        upgrades = " ".join(_UPGRADES[older] for older in range(version, SCHEMA_VERSION) if version)
        connection.executescript(f"BEGIN IMMEDIATE; {upgrades} {schema} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")


@contextmanager
def writing(connection: sqlite3.Connection, step: str = "") -> Iterator[None]:
    """A write transaction: all of it is durable afterwards, or none if it raises. Waits for other writers.

    `step` names it: a test may kill us `before-STEP` is durable, or right `after-STEP`.

    Raises:
        UnavailableError: as `connect`.
    """
    with translated():
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            fault(f"before-{step}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    fault(f"after-{step}")


@contextmanager
def translated(path: Path | None = None) -> Iterator[None]:
    """SQLite's errors as ours; with a path, those of the file system too."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if path is None and isinstance(error, OSError):
            raise
        raise UnavailableError(
            f"{path or 'engine.db'}: {error}",
            provider="local",
            native_code=getattr(error, "sqlite_errorname", type(error).__name__),
            hint="is the disk full, the folder read-only, or another program holding the file?",
        ) from error


class Connections:
    """One connection for each thread of this process, opened when first asked for and closed with the thread."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._local = threading.local()
        self._all: weakref.WeakSet[_Owned] = weakref.WeakSet()

    def get(self) -> sqlite3.Connection:
        """This thread's connection. A forked child gets its own: SQLite's must not cross a fork."""
        owned: _Owned | None = getattr(self._local, "owned", None)
        if owned is None or owned.pid != os.getpid():
            owned = self._local.owned = _Owned(connect(self._layout))
            self._all.add(owned)
        return owned.connection

    def close(self) -> None:
        """Close them all."""
        for owned in list(self._all):
            owned.connection.close()
        self._local = threading.local()


class _Owned:
    """A connection that is closed when its thread's storage goes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection, self.pid = connection, os.getpid()

    def __del__(self) -> None:
        if self.pid == os.getpid():
            self.connection.close()
