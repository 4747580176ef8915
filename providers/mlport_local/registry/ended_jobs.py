"""Jobs that ended, as export reads them from the engine's table and marks them there."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from mlport.spi import State
from mlport_local.engine import database as engine
from mlport_local.layout import Layout
from mlport_local.registry.run_content import EndedJob

_WAITING = "SELECT * FROM jobs WHERE exported IS NULL AND ended IS NOT NULL AND kind = 'job' AND seq > ? AND id = ifnull(?, id) ORDER BY seq LIMIT 1"


def waiting(layout: Layout, job_id: str | None = None) -> Iterator[EndedJob]:
    """Jobs that ended and are not exported, oldest first: all, or the one named. One at a time: a row holds a whole plan."""
    if not layout.engine.exists():
        return
    last = 0
    with closing(engine.connect(layout)) as connection:
        while row := connection.execute(_WAITING, (last, job_id)).fetchone():
            last = row["seq"]
            yield _ended(row)


def run_of(layout: Layout, job_id: str) -> str | None:
    """The run that a job was exported to; None if it was not, or if there is no such job here."""
    if not layout.engine.exists():
        return None
    with closing(engine.connect(layout)) as connection:
        row = connection.execute("SELECT exported FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return str(row["exported"]) if row and row["exported"] else None


def mark_exported(layout: Layout, job_id: str, run_id: str) -> None:
    """Remember the run that a job became."""
    with closing(engine.connect(layout)) as connection, engine.writing(connection):
        connection.execute("UPDATE jobs SET exported = ? WHERE id = ?", (run_id, job_id))


def _ended(row: sqlite3.Row) -> EndedJob:
    plan, request, result = (json.loads(row[column] or "{}") for column in ("plan", "request", "result"))
    ended = datetime.fromtimestamp(row["ended"], UTC)
    return EndedJob(
        id=row["id"],
        name=row["name"],
        state=State(row["state"]),
        reason=row["reason"],
        started=ended if row["started"] is None else datetime.fromtimestamp(row["started"], UTC),
        ended=ended,
        spec=plan["spec"],
        facts=plan["facts"],
        labels=json.loads(row["labels"]),
        metrics=Path(request["metrics"]) if request.get("metrics") else None,
        exit_code=result.get("exit_code"),
    )
