"""Who looks after what: how many supervisors live, and whether one more is wanted. Standard library only."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from mlport_local.engine import process
from mlport_local.engine.database import writing
from mlport_local.engine.process import Identity
from mlport_local.engine.reservation import ACTIVE, Limits, fitting


def living(connection: sqlite3.Connection) -> set[str]:
    """The supervisors that run."""
    return {row[0] for row in connection.execute("SELECT identity FROM supervisors") if process.alive(Identity.parse(row[0]))}


def wants_supervisor(connection: sqlite3.Connection, limits: Limits) -> bool:
    """Whether there is work for one more supervisor: orphaned jobs, or queued ones that fit, beyond those who are coming for it."""
    supervisors = living(connection)
    if len(supervisors) >= limits.max_jobs:
        return False
    looked_after = {row[0] for row in connection.execute(f"SELECT supervisor FROM jobs WHERE state IN {ACTIVE}")}  # noqa: S608 - constants
    orphans = len(looked_after - supervisors)
    coming = len(supervisors - looked_after)
    return orphans + len(fitting(connection, limits, coming + 1)) > coming


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
        with writing(connection, "reconcile"):
            ensure(connection, limits, start)
