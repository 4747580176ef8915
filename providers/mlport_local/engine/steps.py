"""What a supervisor does to its jobs: claim, run, try again, finish. Each is one durable transaction, and nowhere else.

A supervisor changes only jobs that carry its identity, so one that was taken for dead and was not can do no harm.
Standard library only.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from mlport_local.clock import now
from mlport_local.engine.database import writing
from mlport_local.engine.process import Identity
from mlport_local.engine.reservation import ACTIVE, Limits, fitting, reserve
from mlport_local.engine.staffing import ensure, living

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Work:
    """A job in a supervisor's hands. `failures` counts this attempt as one: those that were preempted are none."""

    id: str
    request: Json
    attempt: int
    failures: int
    retries: int
    devices: tuple[int, ...]
    runners: tuple[Identity, ...]
    usage: Json


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of a job while it runs. A job that is no longer ours is cancelled as far as we are concerned."""

    cancelled: bool
    preempted: bool


def claim(connection: sqlite3.Connection, me: Identity, limits: Limits, start: Callable[[], int]) -> tuple[Work, bool] | None:
    """The next job to look after and whether it was another's; None when there is none, and then `me` is signed off."""
    with writing(connection, "claim"):
        connection.execute("INSERT OR IGNORE INTO supervisors VALUES (?)", (str(me),))
        supervisors = living(connection)
        connection.executemany(
            "DELETE FROM supervisors WHERE identity = ?",
            [(row[0],) for row in connection.execute("SELECT identity FROM supervisors").fetchall() if row[0] not in supervisors],
        )
        seq, adopted = _orphan(connection, supervisors), True
        if seq is None:
            seq, adopted = next(iter(fitting(connection, limits, 1)), None), False
        if seq is None:
            connection.execute("DELETE FROM supervisors WHERE identity = ?", (str(me),))
            return None
        if adopted:
            connection.execute("UPDATE jobs SET supervisor = ? WHERE seq = ?", (str(me), seq))
        else:
            reserve(connection, limits, seq)
            connection.execute(
                "UPDATE jobs SET supervisor = ?, state = 'STARTING', native_state = 'STARTING', started = max(?, created) WHERE seq = ?",
                (str(me), now(), seq),
            )
        ensure(connection, limits, start)
        found = connection.execute("SELECT * FROM jobs WHERE seq = ?", (seq,)).fetchone()
    return _work(found), adopted


def _orphan(connection: sqlite3.Connection, supervisors: set[str]) -> int | None:
    rows = connection.execute(f"SELECT seq, supervisor FROM jobs WHERE state IN {ACTIVE} ORDER BY seq")  # noqa: S608 - constants
    return next((row["seq"] for row in rows if row["supervisor"] not in supervisors), None)


def _work(row: sqlite3.Row) -> Work:
    return Work(
        id=row["id"],
        request=json.loads(row["request"]),
        attempt=row["attempt"],
        failures=row["attempt"] - row["preemptions"],
        retries=row["retries"],
        devices=tuple(json.loads(row["devices"])),
        runners=tuple(map(Identity.parse, json.loads(row["runners"]))),
        usage=json.loads(row["usage"]),
    )


def note(connection: sqlite3.Connection, me: Identity, job_id: str, native_state: str) -> None:
    """Say what a starting job is doing."""
    with writing(connection, "note"):
        connection.execute(
            "UPDATE jobs SET native_state = ? WHERE id = ? AND supervisor = ? AND state = 'STARTING'", (native_state, job_id, str(me))
        )


def running(connection: sqlite3.Connection, me: Identity, job_id: str, runners: Iterable[Identity]) -> bool:
    """The job's runners wait at their gates: note them. False when they must not begin: the job was cancelled or taken over."""
    with writing(connection, "running"):
        changed = connection.execute(
            "UPDATE jobs SET state = 'RUNNING', native_state = 'RUNNING', runners = ? WHERE id = ? AND supervisor = ? AND state IN ('STARTING', 'RUNNING')",
            (json.dumps([str(runner) for runner in runners]), job_id, str(me)),
        )
    return changed.rowcount == 1


def next_attempt(connection: sqlite3.Connection, me: Identity, work: Work, usage: Json, reason: str) -> Work | None:
    """Count an attempt that ended and prepare the next; None when the job was cancelled or taken over meanwhile.

    One whose place had been asked back counts as preempted, and uses no retry.
    """
    with writing(connection, "next-attempt"):
        row = connection.execute(
            "UPDATE jobs SET attempt = attempt + 1, preemptions = preemptions + (preempted = attempt), state = 'STARTING',"
            " native_state = iif(preempted = attempt, 'PREEMPTED', 'RETRYING'), runners = '[]', usage = ?, reason = ?"
            " WHERE id = ? AND supervisor = ? AND state IN ('STARTING', 'RUNNING') RETURNING *",
            (json.dumps(usage), f"attempt {work.attempt}: {reason}", work.id, str(me)),
        ).fetchone()
    return _work(row) if row else None


def finish(connection: sqlite3.Connection, me: Identity, job_id: str, *, state: str, cause: str, reason: str, result: Json) -> None:
    """The end, once and for all. The job's place is free again."""
    with writing(connection, "finish"):
        connection.execute(
            "UPDATE jobs SET state = ?, native_state = ?, cause = ?, reason = ?, result = ?, metrics = ?, ended = max(?, coalesce(started, created))"  # noqa: S608 - constants
            f" WHERE id = ? AND supervisor = ? AND state IN {ACTIVE}",
            (state, state, cause, reason, json.dumps(result), len(result.get("metrics", {})), now(), job_id, str(me)),
        )


def asked(connection: sqlite3.Connection, me: Identity, work: Work) -> Asked:
    """What was asked of the job meanwhile."""
    row = connection.execute("SELECT cancelled, supervisor, preempted FROM jobs WHERE id = ?", (work.id,)).fetchone()
    if row is None or row["supervisor"] != str(me):
        return Asked(cancelled=True, preempted=False)
    return Asked(row["cancelled"] is not None, row["preempted"] == work.attempt)


def waits_for_export(connection: sqlite3.Connection) -> bool:
    """Whether a job with metrics has ended and is no tracking run yet."""
    waiting = "SELECT 1 FROM jobs WHERE exported IS NULL AND ended IS NOT NULL AND kind = 'job' AND metrics > 0 LIMIT 1"
    return connection.execute(waiting).fetchone() is not None
