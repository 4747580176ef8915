"""What clients do to the jobs of one root: submit, cancel, preempt, delete. Each is one durable transaction.

A terminal state never changes. What supervisors do stands in `steps.py`. Standard library only.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlport.errors import ConflictError
from mlport_local.clock import now
from mlport_local.engine.database import writing
from mlport_local.engine.process import Identity
from mlport_local.engine.reservation import ACTIVE

Json = dict[str, Any]
TERMINAL = ("SUCCEEDED", "FAILED", "CANCELLED")


@dataclass(frozen=True, slots=True)
class NewJob:
    """What a submit brings. `request(job_id)` is the plan's body with nothing left open."""

    token: str
    kind: str
    name: str
    labels: Mapping[str, str]
    retries: int
    cpus: float
    memory_gib: float
    gpus: int
    plan_digest: str
    plan: Json
    request: Callable[[str], Json]


def insert(connection: sqlite3.Connection, new: NewJob, keep: Callable[[str], None]) -> str:
    """Queue a job inside a transaction of the caller's, or find it by its token; its id.

    `keep(job_id)` is called before the row is written, to store what belongs beside it.

    Raises:
        ConflictError: the token belongs to another plan.
    """
    known = connection.execute("SELECT id, plan_digest FROM jobs WHERE token = ?", (new.token,)).fetchone()
    if known:
        if known["plan_digest"] != new.plan_digest:
            raise ConflictError(
                f"the key of job {known['id']} was used for another plan", hint="choose another key, or submit the same spec"
            )
        return str(known["id"])
    job_id = _free_id(connection, new.name)
    keep(job_id)
    columns = {
        "id": job_id,
        "token": new.token,
        "kind": new.kind,
        "name": new.name,
        "state": "QUEUED",
        "native_state": "QUEUED",
        "retries": new.retries,
        "cpus": new.cpus,
        "memory_gib": new.memory_gib,
        "gpus": new.gpus,
        "created": now(),
        "labels": json.dumps(dict(new.labels)),
        "plan_digest": new.plan_digest,
        "request": json.dumps(new.request(job_id)),
        "plan": json.dumps(new.plan, default=str),
    }
    places = ", ".join("?" * len(columns))
    row = connection.execute(f"INSERT INTO jobs ({', '.join(columns)}) VALUES ({places})", tuple(columns.values()))  # noqa: S608 - constants
    connection.executemany("INSERT INTO job_labels VALUES (?, ?, ?)", [(key, value, row.lastrowid) for key, value in new.labels.items()])
    return job_id


def _free_id(connection: sqlite3.Connection, name: str) -> str:
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now()))
    while True:
        candidate = f"{name}-{stamp}-{secrets.token_hex(2)}"
        if not connection.execute("SELECT 1 FROM jobs WHERE id = ?", (candidate,)).fetchone():
            return candidate


def cancel(connection: sqlite3.Connection, job_id: str) -> Identity | None:
    """Ask for the end: at once for a queued job; otherwise the supervisor to be told, if there is one."""
    with writing(connection, "cancel"):
        asked = now()
        connection.execute(
            "UPDATE jobs SET state = 'CANCELLED', native_state = 'CANCELLED', cause = 'cancelled', reason = 'cancelled before it started',"
            " cancelled = ?1, ended = max(?1, created) WHERE id = ?2 AND state = 'QUEUED'",
            (asked, job_id),
        )
        row = connection.execute(
            "UPDATE jobs SET state = 'CANCELLING', native_state = 'CANCELLING', cancelled = coalesce(cancelled, ?)"  # noqa: S608 - constants
            f" WHERE id = ? AND state IN {ACTIVE} RETURNING supervisor",
            (asked, job_id),
        ).fetchone()
    return _supervisor(row)


def preempt(connection: sqlite3.Connection, job_id: str) -> Identity | None:
    """Ask the attempt that is under way to give its place back; the supervisor to be told, None if there is nothing to preempt."""
    with writing(connection, "preempt"):
        row = connection.execute(
            "UPDATE jobs SET preempted = attempt WHERE id = ? AND state IN ('STARTING', 'RUNNING') RETURNING supervisor", (job_id,)
        ).fetchone()
    return _supervisor(row)


def _supervisor(row: sqlite3.Row | None) -> Identity | None:
    return Identity.parse(row["supervisor"]) if row and row["supervisor"] else None


def delete(connection: sqlite3.Connection, job_id: str) -> None:
    """Forget a job that has ended."""
    with writing(connection, "delete"):
        connection.execute(f"DELETE FROM jobs WHERE id = ? AND state != 'QUEUED' AND state NOT IN {ACTIVE}", (job_id,))  # noqa: S608 - constants
