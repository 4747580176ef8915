"""Kept documents: an emulator's resources as JSON in one SQLite file, so that its state survives a restart.

Every write has a point of `mlport.faults` before and after it, made of the documents' kind: `before-runs`, `after-runs`.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlport.faults import fault

Json = dict[str, Any]

SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    kind TEXT NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS documents_by_number ON documents (kind, number);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


class Exists(Exception):  # noqa: N818 - an answer, not a fault
    """There is one of that kind and name already."""


class Documents:
    """Documents by kind and name, in the order in which they were made. Safe for threads; each call is a transaction."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.executescript(SCHEMA)
        self._depth = 0
        self._written: set[str] = set()  # the kinds of what the transaction under way has written

    @contextmanager
    def together(self) -> Iterator[None]:
        """Everything inside happens, or nothing of it does; nobody else comes between."""
        with self._lock:
            outermost = self._depth == 0
            self._depth += 1
            if outermost:
                self._connection.execute("BEGIN IMMEDIATE")
                self._written = set()
            try:
                yield
            except BaseException:
                if outermost:
                    self._connection.execute("ROLLBACK")
                raise
            else:
                if outermost:
                    self._commit()
            finally:
                self._depth -= 1

    def _commit(self) -> None:
        points = sorted(kind.replace(" ", "-") for kind in self._written)
        for point in points:
            fault(f"before-{point}")
        self._connection.execute("COMMIT")
        for point in points:
            fault(f"after-{point}")

    def next_number(self, counter: str) -> int:
        """1, 2, 3, ... and never the same again."""
        with self.together():
            row = self._connection.execute(
                "INSERT INTO counters VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value", (counter,)
            ).fetchone()
            return int(row[0])

    def insert(self, kind: str, name: str, body: Json) -> None:
        """Keep a new one. Raises Exists."""
        with self.together():
            number = self.next_number(f"documents/{kind}")
            self._written.add(kind)
            try:
                self._connection.execute("INSERT INTO documents VALUES (?, ?, ?, ?)", (kind, name, number, json.dumps(body)))
            except sqlite3.IntegrityError as error:
                raise Exists(name) from error

    def get(self, kind: str, name: str) -> Json | None:
        """The document, None if there is none."""
        with self._lock:
            row = self._connection.execute("SELECT body FROM documents WHERE kind = ? AND name = ?", (kind, name)).fetchone()
        return json.loads(row[0]) if row else None

    def change(self, kind: str, name: str, change: Callable[[Json], Json | None]) -> Json | None:
        """What `change` makes of a document, kept in its place; unchanged if it returns None. None if there is no such document."""
        with self.together():
            found = self.get(kind, name)
            if found is None:
                return None
            changed = change(found)
            if changed is None:
                return found
            self._written.add(kind)
            self._connection.execute("UPDATE documents SET body = ? WHERE kind = ? AND name = ?", (json.dumps(changed), kind, name))
            return changed

    def delete(self, kind: str, name: str) -> bool:
        """Whether there was one."""
        with self.together():
            self._written.add(kind)
            return self._connection.execute("DELETE FROM documents WHERE kind = ? AND name = ?", (kind, name)).rowcount > 0

    def delete_all(self, kind: str, prefix: str) -> None:
        """Delete those whose name begins with `prefix`."""
        with self.together():
            self._written.add(kind)
            self._connection.execute("DELETE FROM documents WHERE kind = ? AND substr(name, 1, ?) = ?", (kind, len(prefix), prefix))

    def list(self, kind: str, prefix: str = "") -> Iterator[tuple[int, Json]]:
        """Number and body of those whose name begins with `prefix`, newest first, as they are now."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT number, body FROM documents WHERE kind = ? AND substr(name, 1, ?) = ? ORDER BY number DESC",
                (kind, len(prefix), prefix),
            ).fetchall()
        return ((number, json.loads(body)) for number, body in rows)

    def close(self) -> None:
        with self._lock:
            self._connection.close()
