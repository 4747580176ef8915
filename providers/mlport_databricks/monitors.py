"""Monitors that Databricks measures: data profiling over a flat view of what an endpoint captured. docs/spi/databricks.md, (b) and (g) 13.

A name is taken in the state, which lists the monitors, too: Databricks' own list is not implemented. Its tables are what it found.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlport.errors import UnsupportedError, stamped
from mlport.monitoring.specs import MonitorSpec
from mlport.monitoring.windows import aligned, clocked
from mlport.spi import Measurement, MonitorRecord, MonitorState, Operation, Page, Plan, StateStore, Window
from mlport_databricks.monitoring import measurements as telling
from mlport_databricks.monitoring.kept import Asked, Book, Kept
from mlport_databricks.monitoring.making import Makings, monitor_of, note_of
from mlport_databricks.monitoring.monitor_request import LOOK_BACK, MONITORS
from mlport_databricks.notes import Note, Notes
from mlport_databricks.serving.captured import micros

if TYPE_CHECKING:
    from mlport_databricks.workspace.connection import Connection

STATUS = "DATA_PROFILING_STATUS_"
STATES = {
    "ACTIVE": MonitorState.ACTIVE,
    "PENDING": MonitorState.CREATING,
    "DELETE_PENDING": MonitorState.DELETING,
    "ERROR": MonitorState.FAILED,
    "FAILED": MonitorState.FAILED,
    "DELETED": MonitorState.FAILED,
}
MADE_ANEW = "it was deleted by other hands: delete the monitor, and create it again"


@stamped("databricks", "monitors")
class DatabricksMonitors:
    """The role `Monitors`."""

    def __init__(self, connection: Connection, state: StateStore, clock: Callable[[], float] = time.time) -> None:
        self._connection, self._notes, self._book = connection, Notes(state), Book(state)
        self._makings, self._clock = Makings(connection, state, clock), clock

    def create(self, plan: Plan, *, token: str, reference: Path) -> Operation:
        """Begin to make it, or go on: the same token gives the same monitor.

        Raises:
            ConflictError: another monitor has that name, or the endpoint keeps no requests.
        """
        return self._makings.begin(note_of(plan, token, reference)).operation

    def find(self, token: str) -> Operation | None:
        note = self._notes.find(token)
        return note.operation if note and note.kind == "monitor" else None

    def get(self, name: str) -> MonitorRecord:
        kept = self._book.get(name)
        monitor = monitor_of(self._connection, kept.table_id) if kept.table_id else None
        config = (monitor or {}).get("data_profiling_config") or {}
        gone = "DELETED" if kept.table_id else "PENDING"
        native = str(config.get("status", "")).removeprefix(STATUS) if monitor else gone
        return MonitorRecord(
            name,
            STATES.get(native, MonitorState.UNKNOWN),
            native,
            datetime.fromisoformat(kept.created),
            self._next(kept) if native == "ACTIVE" else None,
            kept.token,
            str(config.get("latest_monitor_failure_message") or (MADE_ANEW if native == "DELETED" else "")),
            kept.view,
        )

    def _next(self, kept: Kept) -> datetime | None:
        spec = MonitorSpec.model_validate(kept.spec)
        zone = spec.time_zone if spec.schedule else "UTC"
        return clocked(str(kept.resolved["cron"]), zone, datetime.fromtimestamp(self._clock(), UTC))

    def measure(self, name: str, window: Window, *, token: str) -> str:
        """Ask for a refresh, which measures every window that has new rows; this one's id.

        Raises:
            UnsupportedError: the window is none of the monitor's, or too long ago.
        """
        kept = self._book.get(name)
        spec = MonitorSpec.model_validate(kept.spec)
        if window.start != aligned(window.start, spec.window) or window.end - window.start != spec.window:
            why = f"{window.start} to {window.end}: this monitor has whole windows of {spec.window} from 1970-01-01 UTC on"
            raise UnsupportedError("databricks", [("window", why)])
        if window.end <= datetime.fromisoformat(kept.created) - LOOK_BACK:
            why = f"{window.start}: Databricks looks back {LOOK_BACK.days} days from the monitor's creation"
            raise UnsupportedError("databricks", [("window", why)])
        asked = self._book.ask(name, token, Asked(micros(window.start)))
        if not asked.refresh_id:
            self._book.answered(name, token, replace(asked, refresh_id=self._refresh(kept.table_id)))
        return telling.window_id(window)

    def _refresh(self, table_id: str) -> int:
        """The id of a new refresh. One whose answer was lost is another one, which does no harm."""
        body = {"object_type": "table", "object_id": table_id}
        path = f"{MONITORS}/table/{table_id}/refreshes"
        return int(self._connection.call("POST", path, operation="monitors.measure", body=body, repeatable=True)["refresh_id"])

    def measurements(self, name: str, page: str | None = None) -> Page[Measurement]:
        """Its windows, from the first that it was made for; those of which nothing is known yet are left out."""
        kept = self._book.get(name)
        if not kept.table_id:
            return Page([])
        now = datetime.fromtimestamp(self._clock(), UTC)
        span = telling.span(kept, datetime.fromisoformat(page) if page else None, now)
        refreshed = telling.refreshes(self._connection, kept.table_id)
        found = telling.read(self._connection, kept.view, span)
        told = list(telling.measurements(kept, span, found, refreshed, list(self._book.asked(name))))
        oldest = telling.span(kept, span.start, now)
        return Page(told, span.start.isoformat() if oldest.start < span.start else None)

    def delete(self, name: str, *, token: str) -> Operation:
        """Remove the monitor, its view, baseline and metric tables, and the reference. An absent one is fine."""
        return self._makings.remove(Note(token, "unmonitor", name)).operation
