"""Listings of jobs by key, not by offset: a page's cost does not depend on how many jobs there are before it."""

from __future__ import annotations

import heapq
import json
import sqlite3
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from mlport.errors import UsageError
from mlport.spi import JobStatus, Page, Query, State

COLUMNS = "seq, id, token, kind, name, state, native_state, cause, reason, attempt, created, started, ended, labels"
WAITS = "waits for a free place: a job slot, cores, memory or GPUs"


def job_status(row: sqlite3.Row) -> JobStatus:
    """A row of `COLUMNS` as the SPI has it."""
    return JobStatus(
        id=row["id"],
        name=row["name"],
        state=State(row["state"]),
        native_state=row["native_state"],
        kind=row["kind"],
        cause=row["cause"],
        reason=WAITS if row["state"] == State.QUEUED else row["reason"],
        created=utc(row["created"]),
        started=utc(row["started"]),
        ended=utc(row["ended"]),
        attempt=row["attempt"],
        token=row["token"],
        labels=json.loads(row["labels"]),
    )


def utc(seconds: float | None) -> datetime | None:
    """Seconds since 1970 as an aware time."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def page_of_jobs(connection: sqlite3.Connection, query: Query, after: str | None) -> Page[JobStatus]:
    """One page. The token of the next is the last job's place in the order of arrival, so new jobs do not shift pages.

    Raises:
        UsageError: `after` is no token of ours.
    """
    if after is not None and not after.isdigit():
        raise UsageError(f"page token {after!r} is not one of this listing's", hint="start over without a token")
    states: list[State | None] = [*query.states] or [None]
    each = [_rows(connection, query, state, after) for state in states]
    rows = list(_first(_merged(each, query), query.page_size + 1))
    more = len(rows) > query.page_size
    rows = rows[: query.page_size]
    return Page([job_status(row) for row in rows], str(rows[-1]["seq"]) if more else None)


def _rows(connection: sqlite3.Connection, query: Query, state: State | None, after: str | None) -> sqlite3.Cursor:
    """The rows of one state in order: one index serves both the condition and the order."""
    order, beyond = ("DESC", "<") if query.newest_first else ("ASC", ">")
    conditions = {
        "state = ?": state,
        "name = ?": query.name,
        f"seq {beyond} ?": None if after is None else int(after),
    }
    wanted = {condition: value for condition, value in conditions.items() if value is not None}
    labels = ["seq IN (SELECT seq FROM job_labels WHERE key = ? AND value = ?)"] * len(query.labels)
    where = " AND ".join([*wanted, *labels]) or "1"
    values = [*wanted.values(), *(text for pair in query.labels.items() for text in pair), query.page_size + 1]
    return connection.execute(f"SELECT {COLUMNS} FROM jobs WHERE {where} ORDER BY seq {order} LIMIT ?", values)  # noqa: S608 - conditions are our own


def _merged(each: list[sqlite3.Cursor], query: Query) -> Iterable[sqlite3.Row]:
    return heapq.merge(*each, key=lambda row: row["seq"], reverse=query.newest_first)


def _first(rows: Iterable[sqlite3.Row], count: int) -> Iterator[sqlite3.Row]:
    return (row for _, row in zip(range(count), rows, strict=False))
