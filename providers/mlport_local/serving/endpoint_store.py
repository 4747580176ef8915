"""The endpoints of one root and the mutations under way: each change is one durable transaction, one at a time an endpoint."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from mlport.errors import BusyError, ConflictError, NotFoundError
from mlport.faults import fault
from mlport_local.engine.database import Connections, translated, writing
from mlport_local.layout import Layout
from mlport_local.serving.endpoint_state import Desired, Observed

_SCHEMA = """
CREATE TABLE IF NOT EXISTS endpoints (
  name TEXT PRIMARY KEY,
  generation INTEGER NOT NULL,
  desired TEXT NOT NULL,
  observed TEXT NOT NULL DEFAULT '{}',
  created REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS endpoint_operations (
  id TEXT PRIMARY KEY,
  token TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  deployment TEXT,
  state TEXT NOT NULL,
  reason TEXT NOT NULL DEFAULT '',
  created REAL NOT NULL,
  ended REAL
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS endpoint_operations_under_way ON endpoint_operations (name) WHERE state = 'RUNNING';
"""
Change = Callable[[Desired], Desired]
KINDS = ("create", "deploy", "set_traffic", "undeploy", "delete", "rotate_key")
"""The mutations that there are."""


@contextmanager
def durable(connection: sqlite3.Connection, what: str) -> Iterator[None]:
    """A write transaction with the fault points `before-...` and `after-...`."""
    fault(f"before-{what}")
    with writing(connection):
        yield
    fault(f"after-{what}")


@dataclass(frozen=True, slots=True)
class Row:
    """One endpoint as stored. `under_way` is the mutation that is not done, None if there is none."""

    name: str
    generation: int
    desired: Desired
    observed: Observed
    created: float
    under_way: Mutation | None


@dataclass(frozen=True, slots=True)
class Mutation:
    """One mutation of an endpoint. `state` is RUNNING, SUCCEEDED or FAILED."""

    id: str
    token: str
    kind: str
    name: str
    deployment: str | None
    state: str
    reason: str


class EndpointStore:
    """Safe between processes and threads."""

    def __init__(self, layout: Layout) -> None:
        self._connections = Connections(layout)
        self._made = False

    @property
    def _connection(self) -> sqlite3.Connection:
        connection = self._connections.get()
        if not self._made:
            with translated():
                connection.executescript(_SCHEMA)
            self._made = True
        return connection

    def close(self) -> None:
        self._connections.close()

    # -------------------------------------------------------------- reading

    def get(self, name: str) -> Row:
        """Raises NotFoundError."""
        found = self.look(name)
        if found is None:
            raise NotFoundError(f"there is no endpoint {name!r}", hint="`mlport endpoints list` shows those that there are")
        return found

    def look(self, name: str) -> Row | None:
        """The endpoint, None if there is none."""
        rows = self._read("SELECT * FROM endpoints WHERE name = ?", name)
        return self._row(rows[0]) if rows else None

    def refuse_taken(self, name: str) -> None:
        """Raises ConflictError if the endpoint exists, BusyError while it is being deleted."""
        if row := self.look(name):
            if row.desired.deleted:
                raise BusyError(f"endpoint {name!r} is being deleted", provider="local", operation="create")
            raise ConflictError(f"endpoint {name!r} exists", hint="deploy to it, or delete it first")

    def after(self, name: str, count: int) -> list[Row]:
        """The next endpoints after a name, in the order of their names."""
        return [self._row(row) for row in self._read("SELECT * FROM endpoints WHERE name > ? ORDER BY name LIMIT ?", name, count)]

    def mutation(self, mutation_id: str) -> Mutation | None:
        rows = self._read("SELECT * FROM endpoint_operations WHERE id = ?", mutation_id)
        return _mutation(rows[0]) if rows else None

    def find(self, token: str) -> Mutation | None:
        """The mutation that carries this token."""
        rows = self._read("SELECT * FROM endpoint_operations WHERE token = ?", token)
        return _mutation(rows[0]) if rows else None

    def _read(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        connection = self._connection
        with translated():
            return connection.execute(sql, values).fetchall()

    def _row(self, row: sqlite3.Row) -> Row:
        under_way = self._read("SELECT * FROM endpoint_operations WHERE name = ? AND state = 'RUNNING'", row["name"])
        return Row(
            row["name"],
            row["generation"],
            Desired.from_json(json.loads(row["desired"])),
            Observed.from_json(json.loads(row["observed"])),
            row["created"],
            _mutation(under_way[0]) if under_way else None,
        )

    # -------------------------------------------------------------- mutations, by clients

    def create(self, name: str, desired: Desired, *, token: str, deployment: str) -> Mutation:
        """Store a new endpoint. The same token gives the same mutation. Raises ConflictError if the name is taken."""
        connection = self._connection
        with durable(connection, "endpoint-create"):
            if found := self.find(token):
                return found
            self.refuse_taken(name)
            connection.execute(
                "INSERT INTO endpoints (name, generation, desired, created) VALUES (?, 1, ?, ?)", (name, _text(desired), time.time())
            )
            return self._begin(connection, "create", name, token, deployment)

    def change(
        self, name: str, change: Change, *, kind: str, token: str, deployment: str | None = None, etag: str | None = None
    ) -> Mutation:
        """Apply `change` to what is desired. The same token gives the same mutation.

        Raises:
            NotFoundError: there is no such endpoint.
            ConflictError: `etag` is given and is no longer the endpoint's; or what `change` itself raises.
            BusyError: another mutation is under way.
        """
        connection = self._connection
        with durable(connection, f"endpoint-{kind}"):
            if found := self.find(token):
                return found
            row = self.get(name)
            if row.under_way:
                raise BusyError(
                    f"endpoint {name!r}: {row.under_way.kind} is under way", provider="local", operation=kind, native_code=row.under_way.id
                )
            if etag is not None and etag != str(row.generation):
                raise ConflictError(
                    f"endpoint {name!r} changed since you looked: its etag is {row.generation}, not {etag}",
                    hint="look again and decide anew",
                )
            self._put(connection, name, change(row.desired))
            return self._begin(connection, kind, name, token, deployment)

    def note(self, name: str, *, kind: str, token: str) -> Mutation:
        """A mutation for which nothing was to do, for example removing what is absent."""
        connection = self._connection
        with durable(connection, "endpoint-noted"):
            return self.find(token) or self._begin(connection, kind, name, token, None, state="SUCCEEDED")

    @staticmethod
    def _begin(
        connection: sqlite3.Connection, kind: str, name: str, token: str, deployment: str | None, state: str = "RUNNING"
    ) -> Mutation:
        mutation = Mutation(f"endpoint/{name}/{kind}-{secrets.token_hex(4)}", token, kind, name, deployment, state, "")
        now = time.time()
        connection.execute(
            "INSERT INTO endpoint_operations VALUES (?, ?, ?, ?, ?, ?, '', ?, ?)",
            (mutation.id, token, kind, name, deployment, state, now, now if state != "RUNNING" else None),
        )
        return mutation

    @staticmethod
    def _put(connection: sqlite3.Connection, name: str, desired: Desired) -> None:
        connection.execute("UPDATE endpoints SET generation = generation + 1, desired = ? WHERE name = ?", (_text(desired), name))

    # -------------------------------------------------------------- by the keeper

    def observe(self, name: str, observed: Observed) -> None:
        """Store what the keeper saw."""
        connection = self._connection
        with durable(connection, "endpoint-observed"):
            connection.execute("UPDATE endpoints SET observed = ? WHERE name = ?", (json.dumps(observed.to_json()), name))

    def settle(self, name: str, change: Change) -> Row:
        """Change what is desired as the keeper must: the port that it chose, keys that have ended."""
        connection = self._connection
        with durable(connection, "endpoint-port"):
            self._put(connection, name, change(self.get(name).desired))
        return self.get(name)

    def succeed(self, mutation: Mutation) -> None:
        connection = self._connection
        with durable(connection, "endpoint-succeeded"):
            self._end(connection, mutation, "SUCCEEDED", "")

    def fail(self, mutation: Mutation, reason: str) -> None:
        """Take back a deployment that cannot serve. An endpoint that never answered goes with it, and its creation fails once it is gone."""
        connection = self._connection
        with durable(connection, "endpoint-failed"):
            desired = self.get(mutation.name).desired
            if mutation.kind == "create":
                connection.execute("UPDATE endpoint_operations SET reason = ? WHERE id = ?", (reason, mutation.id))
                self._put(connection, mutation.name, replace(desired, deleted=True))
            else:
                self._end(connection, mutation, "FAILED", reason)
                self._put(connection, mutation.name, desired.without(mutation.deployment or ""))

    def remove(self, name: str) -> None:
        """Forget an endpoint of which nothing is left: its deletion has succeeded, or its creation has failed for the reason kept."""
        connection = self._connection
        with durable(connection, "endpoint-removed"):
            connection.execute("DELETE FROM endpoints WHERE name = ?", (name,))
            connection.execute(
                "UPDATE endpoint_operations SET state = iif(reason = '', 'SUCCEEDED', 'FAILED'), ended = ? WHERE name = ? AND state = 'RUNNING'",
                (time.time(), name),
            )

    @staticmethod
    def _end(connection: sqlite3.Connection, mutation: Mutation, state: str, reason: str) -> None:
        connection.execute(
            "UPDATE endpoint_operations SET state = ?, reason = ?, ended = ? WHERE id = ? AND state = 'RUNNING'",
            (state, reason, time.time(), mutation.id),
        )


def _text(desired: Desired) -> str:
    return json.dumps(desired.to_json())


def _mutation(row: sqlite3.Row) -> Mutation:
    return Mutation(row["id"], row["token"], row["kind"], row["name"], row["deployment"], row["state"], row["reason"])
