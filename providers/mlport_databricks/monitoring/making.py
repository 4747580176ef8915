"""Making and removing a monitor: a file, a table, a view and the monitor itself. Each step can be taken again, so whoever finds the note goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlport.errors import AmbiguousError, ConflictError, MlportError, NotFoundError
from mlport.spi import Json, OperationStatus, Plan, StateStore
from mlport_databricks.monitoring.kept import Book, Kept
from mlport_databricks.monitoring.monitor_request import (
    CREATED,
    MONITORS,
    PAYLOAD,
    SCHEMA_ID,
    SCHEMAS,
    TABLE_ID,
    TABLES,
    assets_folder,
    baseline_name,
    metric_tables,
    reference_file,
    reference_folder,
)
from mlport_databricks.names import settled
from mlport_databricks.notes import Note, Notes
from mlport_databricks.serving import statements
from mlport_databricks.serving.endpoint_records import table_of
from mlport_databricks.serving.endpoint_request import ENDPOINTS
from mlport_databricks.serving.statements import quoted
from mlport_databricks.workspace.connection import Connection

ACTIVE, PENDING = "DATA_PROFILING_STATUS_ACTIVE", "DATA_PROFILING_STATUS_PENDING"
CREATE, DELETE = "monitors.create", "monitors.delete"
STATEMENT = "/api/2.0/sql/statements"


def note_of(plan: Plan, token: str, reference: Path) -> Note:
    """What is to be made, with everything that making it needs."""
    bodies = [settled(request.body, token) for request in plan.requests if request.path in (STATEMENT, MONITORS)]
    change = {
        "path": str(reference),
        "endpoint": plan.spec["endpoint"],
        "statements": [body["statement"] for body in bodies[:-1]],
        "monitor": bodies[-1],
        "spec": plan.spec,
        "resolved": settled(plan.resolved, token),
    }
    return Note(token, "monitor", plan.name, change)


class Makings:
    """The monitors that are being made and removed."""

    def __init__(self, connection: Connection, state: StateStore, clock: Callable[[], float] = time.time) -> None:
        self._connection, self._notes, self._book, self._clock = connection, Notes(state), Book(state), clock

    def begin(self, note: Note) -> Note:
        """Make it as far as that goes at once, or go on with what was begun.

        Raises:
            ConflictError: another has its name, or the endpoint captures nothing.
        """
        earlier = self._notes.find(note.token)
        if earlier is not None and not earlier.ended and not earlier.accepted:
            return self._act(note)
        return self._notes.begin(note, self._act)

    def remove(self, note: Note) -> Note:
        """Remove all that belongs to a monitor. An absent one is fine."""
        return self._notes.begin(note, self._removed)

    def look(self, note: Note, *, may_act: bool) -> OperationStatus:
        """Where it is; with `may_act`, after its next step."""
        try:
            if note.kind == "unmonitor":
                return (self._removed(note) if may_act else note).told("removing")
            if not note.accepted:
                note = self._forward(note) if may_act else note
                return note.told("accepted" if note.accepted else "")
            return self._seen(note, may_act=may_act)
        except MlportError as error:
            if error.retryable or isinstance(error, AmbiguousError):
                return note.told(progress=error.message)
            if note.kind == "monitor":
                self._clear(note.target, self._kept_of(note))
            return self._notes.keep(note.failed(error.message)).told()

    def _seen(self, note: Note, *, may_act: bool) -> OperationStatus:
        kept = self._kept_of(note)
        monitor = monitor_of(self._connection, kept.table_id) if kept else None
        if kept is None or monitor is None:
            return self._notes.keep(note.failed("it was deleted before it was whole")).told()
        config = monitor["data_profiling_config"]
        status = str(config.get("status", ""))
        if status in (PENDING, "") or not may_act:
            return note.told(status)
        if status == ACTIVE:
            return self._notes.keep(note.succeeded()).told(status)
        self._clear(note.target, kept)
        return self._notes.keep(note.failed(str(config.get("latest_monitor_failure_message") or status))).told(status)

    # ---------------------------------------------------------------- making

    def _act(self, note: Note) -> Note:
        """The first look. What may be better in a moment is left to the next; what was refused is undone."""
        try:
            return self._forward(note)
        except MlportError as error:
            if error.retryable or isinstance(error, AmbiguousError):
                return self._notes.find(note.token) or note
            try:
                self._clear(note.target, self._kept_of(note))
            except MlportError:  # what is left must be found again
                raise AmbiguousError(error.message, native_code=error.native_code) from error
            raise

    def _forward(self, note: Note) -> Note:
        """Every step in order, those that were taken before, too."""
        change, name = note.change, note.target
        created = datetime.now(UTC).isoformat()
        kept = self._book.take(name, Kept(note.token, change["spec"], change["resolved"], created))
        endpoint = self._connection.call("GET", f"{ENDPOINTS}/{change['endpoint']}", operation=CREATE)
        table = table_of(endpoint)
        if table is None:
            raise ConflictError(f"endpoint {change['endpoint']} keeps no requests", hint="create it with capture = {rate = 1.0}")
        self._uploaded(note)
        known = {PAYLOAD: quoted(*table), CREATED: str(int(endpoint.get("creation_timestamp") or 0))}
        for statement in change["statements"]:
            statements.rows(self._connection, _filled(statement, known), {}, operation=CREATE)
        table_id = str(self._connection.call("GET", f"{TABLES}/{kept.view}", operation=CREATE)["table_id"])
        schema = self._connection.call("GET", f"{SCHEMAS}/{self._connection.config.namespace}", operation=CREATE)
        body: Json = json.loads(_filled(json.dumps(change["monitor"]), {TABLE_ID: table_id, SCHEMA_ID: str(schema["schema_id"])}))
        with suppress(ConflictError):  # the view is ours alone, so the monitor that it has is ours
            self._connection.call("POST", MONITORS, operation=CREATE, body=body, repeatable=True)
        self._book.made(name, kept, table_id)
        return self._notes.accepted(replace(note, sent=self._clock()))

    def _uploaded(self, note: Note) -> None:
        """The reference where the warehouse reads it: from this machine, or by who began."""
        file, path = reference_file(self._connection.config, note.token), Path(note.change["path"])
        if path.is_file():
            self._connection.files.put(file, path)
        elif self._connection.files.head(file) is None:
            raise ConflictError(f"monitor {note.target}: who began it left before its reference was uploaded", hint="create it anew")

    def _kept_of(self, note: Note) -> Kept | None:
        """The monitor of its name, if it is this one."""
        kept = self._book.find(note.target)
        return kept if kept and kept.token == note.token else None

    # ---------------------------------------------------------------- removing

    def _removed(self, note: Note) -> Note:
        kept = self._book.find(note.target)
        made = self._notes.find(kept.token) if kept else None
        if made is not None and not made.ended:
            self._notes.keep(made.failed("it was deleted"))
        self._clear(note.target, kept)
        return self._notes.keep(note.succeeded())

    def _clear(self, name: str, kept: Kept | None) -> None:
        """The monitor, what it reads and what it wrote, which Databricks leaves. Its name is free at the end."""
        if kept is None:
            return
        config = self._connection.config
        if table_id := kept.table_id or self._view_id(kept.view):
            self._gone("DELETE", f"{MONITORS}/table/{table_id}")
        self._run(f"DROP VIEW IF EXISTS {quoted(*kept.view.split('.'))}")
        for table in (baseline_name(config, name, kept.token), *metric_tables(kept.view)):
            self._run(f"DROP TABLE IF EXISTS {quoted(*table.split('.'))}")
        self._connection.files.delete_below(reference_folder(config, kept.token))
        path = assets_folder(config, kept.token).removeprefix("/Workspace")
        self._gone("POST", "/api/2.0/workspace/delete", {"path": path, "recursive": True})
        self._book.forget(name)

    def _view_id(self, view: str) -> str:
        with suppress(NotFoundError):
            return str(self._connection.call("GET", f"{TABLES}/{view}", operation=DELETE)["table_id"])
        return ""

    def _gone(self, verb: str, path: str, body: Json | None = None) -> None:
        with suppress(NotFoundError):
            self._connection.call(verb, path, operation=DELETE, body=body, repeatable=True)

    def _run(self, statement: str) -> None:
        statements.rows(self._connection, statement, {}, operation=DELETE)


def monitor_of(connection: Connection, table_id: str) -> Json | None:
    """The monitor as Databricks tells it, None if there is none."""
    try:
        return connection.call("GET", f"{MONITORS}/table/{table_id}", operation="monitors.get")
    except NotFoundError:
        return None


def _filled(text: str, known: dict[str, Any]) -> str:
    for name, value in known.items():
        text = text.replace(name, value)
    return text
