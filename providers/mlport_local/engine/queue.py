"""The jobs of one root: every change of a job's state is one durable transaction here, and nowhere else.

A supervisor changes only jobs that carry its identity, so one that was taken for dead and was not can do no harm.
A terminal state never changes. Standard library only.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlport.errors import ConflictError
from mlport_local.engine import process
from mlport_local.engine.database import writing
from mlport_local.engine.process import Identity
from mlport_local.faults import fault

Json = dict[str, Any]
TERMINAL = ("SUCCEEDED", "FAILED", "CANCELLED")
_ACTIVE_SQL = "('STARTING', 'RUNNING', 'CANCELLING')"


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
    plan_digest: str
    plan: Json
    request: Callable[[str], Json]


@dataclass(frozen=True, slots=True)
class Work:
    """A job in a supervisor's hands."""

    id: str
    request: Json
    attempt: int
    retries: int
    runners: tuple[Identity, ...]
    usage: Json


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may run at once. A job that wants more than there is runs alone."""

    max_jobs: int
    cpus: float
    memory_gib: float

    @classmethod
    def of_machine(cls, max_jobs: int) -> Limits:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        return cls(max_jobs, float(os.cpu_count() or 1), memory)


# ---------------------------------------------------------------- submitting


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
    fault("before-insert")
    row = connection.execute(
        "INSERT INTO jobs (id, token, kind, name, state, native_state, retries, cpus, memory_gib, created, labels, plan_digest, request, plan)"
        " VALUES (?, ?, ?, ?, 'QUEUED', 'QUEUED', ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            job_id,
            new.token,
            new.kind,
            new.name,
            new.retries,
            new.cpus,
            new.memory_gib,
            time.time(),
            json.dumps(dict(new.labels)),
            new.plan_digest,
            json.dumps(new.request(job_id)),
            json.dumps(new.plan, default=str),
        ),
    )
    connection.executemany("INSERT INTO job_labels VALUES (?, ?, ?)", [(key, value, row.lastrowid) for key, value in new.labels.items()])
    return job_id


def _free_id(connection: sqlite3.Connection, name: str) -> str:
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    while True:
        candidate = f"{name}-{stamp}-{secrets.token_hex(2)}"
        if not connection.execute("SELECT 1 FROM jobs WHERE id = ?", (candidate,)).fetchone():
            return candidate


# ---------------------------------------------------------------- who looks after what


def living(connection: sqlite3.Connection) -> set[str]:
    """The supervisors that run."""
    return {row[0] for row in connection.execute("SELECT identity FROM supervisors") if process.alive(Identity.parse(row[0]))}


def wants_supervisor(connection: sqlite3.Connection, limits: Limits) -> bool:
    """Whether there is work for one more supervisor: orphaned jobs, or queued ones that fit, beyond those who are coming for it."""
    supervisors = living(connection)
    if len(supervisors) >= limits.max_jobs:
        return False
    looked_after = {row[0] for row in connection.execute(f"SELECT supervisor FROM jobs WHERE state IN {_ACTIVE_SQL}")}  # noqa: S608 - constants
    orphans = len(looked_after - supervisors)
    coming = len(supervisors - looked_after)
    return orphans + len(_fitting(connection, limits, coming + 1)) > coming


def _fitting(connection: sqlite3.Connection, limits: Limits, count: int) -> list[int]:
    """The oldest queued jobs that each fit into what is free now, at most `count`."""
    running, cpus, memory = connection.execute(
        f"SELECT count(*), coalesce(sum(cpus), 0), coalesce(sum(memory_gib), 0) FROM jobs WHERE state IN {_ACTIVE_SQL}"  # noqa: S608 - constants
    ).fetchone()
    if running >= limits.max_jobs:
        return []
    free = (limits.cpus - cpus + 1e-6, limits.memory_gib - memory + 1e-6) if running else (float("inf"), float("inf"))
    rows = connection.execute(
        "SELECT seq FROM jobs WHERE state = 'QUEUED' AND cpus <= ? AND memory_gib <= ? ORDER BY seq LIMIT ?",
        (*free, min(count, limits.max_jobs - running)),
    )
    return [row[0] for row in rows]


def ensure(connection: sqlite3.Connection, limits: Limits, start: Callable[[], int]) -> None:
    """Inside a transaction of the caller's: start a supervisor if one is wanted, and note it.

    It is noted in the transaction that saw the need, and it waits for that transaction to end before it looks for
    work, so no job is left without one: whoever commits later sees the other.
    """
    if wants_supervisor(connection, limits):
        identity = process.identify(start())
        if identity:
            connection.execute("INSERT OR IGNORE INTO supervisors VALUES (?)", (str(identity),))


def reconcile(connection: sqlite3.Connection, limits: Limits, start: Callable[[], int]) -> None:
    """Start a supervisor if work lies about with nobody to do it. Looking changes no job; the supervisor does."""
    if wants_supervisor(connection, limits):
        with writing(connection):
            ensure(connection, limits, start)


# ---------------------------------------------------------------- a supervisor's steps


def claim(connection: sqlite3.Connection, me: Identity, limits: Limits, start: Callable[[], int]) -> tuple[Work, bool] | None:
    """The next job to look after and whether it was another's; None when there is none, and then `me` is signed off."""
    with writing(connection):
        connection.execute("INSERT OR IGNORE INTO supervisors VALUES (?)", (str(me),))
        supervisors = living(connection)
        connection.executemany(
            "DELETE FROM supervisors WHERE identity = ?",
            [(row[0],) for row in connection.execute("SELECT identity FROM supervisors").fetchall() if row[0] not in supervisors],
        )
        seq, adopted = _orphan(connection, supervisors), True
        if seq is None:
            seq, adopted = next(iter(_fitting(connection, limits, 1)), None), False
        if seq is None:
            connection.execute("DELETE FROM supervisors WHERE identity = ?", (str(me),))
            return None
        if adopted:
            connection.execute("UPDATE jobs SET supervisor = ? WHERE seq = ?", (str(me), seq))
        else:
            connection.execute(
                "UPDATE jobs SET supervisor = ?, state = 'STARTING', native_state = 'STARTING', started = ? WHERE seq = ?",
                (str(me), time.time(), seq),
            )
        ensure(connection, limits, start)
        found = connection.execute("SELECT * FROM jobs WHERE seq = ?", (seq,)).fetchone()
    fault("after-claim")
    return _work(found), adopted


def _orphan(connection: sqlite3.Connection, supervisors: set[str]) -> int | None:
    rows = connection.execute(f"SELECT seq, supervisor FROM jobs WHERE state IN {_ACTIVE_SQL} ORDER BY seq")  # noqa: S608 - constants
    return next((row["seq"] for row in rows if row["supervisor"] not in supervisors), None)


def _work(row: sqlite3.Row) -> Work:
    return Work(
        id=row["id"],
        request=json.loads(row["request"]),
        attempt=row["attempt"],
        retries=row["retries"],
        runners=tuple(map(Identity.parse, json.loads(row["runners"]))),
        usage=json.loads(row["usage"]),
    )


def note(connection: sqlite3.Connection, me: Identity, job_id: str, native_state: str) -> None:
    """Say what a starting job is doing."""
    with writing(connection):
        connection.execute(
            "UPDATE jobs SET native_state = ? WHERE id = ? AND supervisor = ? AND state = 'STARTING'", (native_state, job_id, str(me))
        )


def running(connection: sqlite3.Connection, me: Identity, job_id: str, runners: Iterable[Identity]) -> bool:
    """The job's runners wait at their gates: note them. False when they must not begin: the job was cancelled or taken over."""
    with writing(connection):
        changed = connection.execute(
            "UPDATE jobs SET state = 'RUNNING', native_state = 'RUNNING', runners = ? WHERE id = ? AND supervisor = ? AND state IN ('STARTING', 'RUNNING')",
            (json.dumps([str(runner) for runner in runners]), job_id, str(me)),
        )
    fault("after-running")
    return changed.rowcount == 1


def next_attempt(connection: sqlite3.Connection, me: Identity, work: Work, usage: Json, reason: str) -> Work | None:
    """Count a failed attempt and prepare the next; None when the job was cancelled or taken over meanwhile."""
    with writing(connection):
        row = connection.execute(
            "UPDATE jobs SET attempt = attempt + 1, state = 'STARTING', native_state = 'RETRYING', runners = '[]', usage = ?, reason = ?"
            " WHERE id = ? AND supervisor = ? AND state IN ('STARTING', 'RUNNING') RETURNING *",
            (json.dumps(usage), f"attempt {work.attempt}: {reason}", work.id, str(me)),
        ).fetchone()
    fault("after-next-attempt")
    return _work(row) if row else None


def finish(connection: sqlite3.Connection, me: Identity, job_id: str, *, state: str, cause: str, reason: str, result: Json) -> None:
    """The end, once and for all."""
    fault("before-finish")
    with writing(connection):
        connection.execute(
            "UPDATE jobs SET state = ?, native_state = ?, cause = ?, reason = ?, result = ?, metrics = ?, ended = max(?, coalesce(started, created))"
            " WHERE id = ? AND supervisor = ? AND state IN ('STARTING', 'RUNNING', 'CANCELLING')",
            (state, state, cause, reason, json.dumps(result), len(result.get("metrics", {})), time.time(), job_id, str(me)),
        )
    fault("after-finish")


def is_cancelled(connection: sqlite3.Connection, me: Identity, job_id: str) -> bool:
    """Whether the end was asked for, or the job is no longer ours to go on with."""
    row = connection.execute("SELECT cancelled, supervisor FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return row is None or row["cancelled"] is not None or row["supervisor"] != str(me)


# ---------------------------------------------------------------- asked for by clients


def cancel(connection: sqlite3.Connection, job_id: str) -> Identity | None:
    """Ask for the end: at once for a queued job; otherwise the supervisor to be told, if there is one."""
    with writing(connection):
        now = time.time()
        connection.execute(
            "UPDATE jobs SET state = 'CANCELLED', native_state = 'CANCELLED', cause = 'cancelled', reason = 'cancelled before it started',"
            " cancelled = ?1, ended = max(?1, created) WHERE id = ?2 AND state = 'QUEUED'",
            (now, job_id),
        )
        row = connection.execute(
            "UPDATE jobs SET state = 'CANCELLING', native_state = 'CANCELLING', cancelled = coalesce(cancelled, ?)"
            " WHERE id = ? AND state IN ('STARTING', 'RUNNING', 'CANCELLING') RETURNING supervisor",
            (now, job_id),
        ).fetchone()
    fault("after-cancel")
    return Identity.parse(row["supervisor"]) if row and row["supervisor"] else None


def delete(connection: sqlite3.Connection, job_id: str) -> None:
    """Forget a job that has ended."""
    with writing(connection):
        connection.execute("DELETE FROM jobs WHERE id = ? AND state NOT IN ('QUEUED', 'STARTING', 'RUNNING', 'CANCELLING')", (job_id,))


def waits_for_export(connection: sqlite3.Connection) -> bool:
    """Whether a job with metrics has ended and is no tracking run yet."""
    waiting = "SELECT 1 FROM jobs WHERE exported IS NULL AND ended IS NOT NULL AND kind = 'job' AND metrics > 0 LIMIT 1"
    return connection.execute(waiting).fetchone() is not None
