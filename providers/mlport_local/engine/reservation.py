"""Who may start now: cores, memory and GPUs are reserved as jobs asked for them, and nobody waits for ever.

The oldest queued job that fits starts first, so a small one may go past a large one. Each time that happens the large one
is `passed`; once that was so `PATIENCE` times, or it has waited `LONGEST_WAIT`, no younger job may start before it: the
machine runs empty until it fits. Standard library only.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from mlport_local.clock import now

ACTIVE = "('STARTING', 'RUNNING', 'CANCELLING')"
"""The states, as SQL, in which a job holds its place."""
PATIENCE = 8
"""How many younger jobs may start while an older one waits."""
LONGEST_WAIT = 600.0
"""Seconds after which a job that was passed at all is passed no more."""
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may run at once. A job that wants more cores or memory than there are runs alone."""

    max_jobs: int
    cpus: float
    memory_gib: float
    gpus: int = 0

    @classmethod
    def of_machine(cls, max_jobs: int, gpus: int) -> Limits:
        """This machine's cores and memory."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        return cls(max_jobs, float(os.cpu_count() or 1), memory, gpus)


@dataclass(frozen=True, slots=True)
class _Free:
    """What no active job holds."""

    jobs: int
    cpus: float
    memory_gib: float
    devices: tuple[int, ...]


def _free(connection: sqlite3.Connection, limits: Limits) -> _Free:
    rows = connection.execute(f"SELECT cpus, memory_gib, devices FROM jobs WHERE state IN {ACTIVE}").fetchall()  # noqa: S608 - constants
    held = {device for row in rows for device in json.loads(row["devices"])}
    devices = tuple(device for device in range(limits.gpus) if device not in held)
    if not rows:
        return _Free(limits.max_jobs, float("inf"), float("inf"), devices)
    cpus = limits.cpus - sum(row["cpus"] for row in rows) + _ROUNDING
    memory = limits.memory_gib - sum(row["memory_gib"] for row in rows) + _ROUNDING
    return _Free(limits.max_jobs - len(rows), cpus, memory, devices)


def fitting(connection: sqlite3.Connection, limits: Limits, count: int) -> list[int]:
    """The oldest queued jobs that may each start into what is free now, at most `count`; their numbers."""
    free = _free(connection, limits)
    wanted = min(count, free.jobs)
    if wanted <= 0:
        return []
    rows = connection.execute(
        "SELECT seq FROM jobs WHERE state = 'QUEUED' AND cpus <= ? AND memory_gib <= ? AND gpus <= ? AND seq <= ? ORDER BY seq LIMIT ?",
        (free.cpus, free.memory_gib, len(free.devices), _last_in_turn(connection, limits), wanted),
    )
    return [row[0] for row in rows]


def _last_in_turn(connection: sqlite3.Connection, limits: Limits) -> float:
    """The number of the oldest job that has been passed often or long enough; those behind it wait. Infinite if there is none.

    One that wants more GPUs than there are, for they were configured away since, holds up nobody.
    """
    row = connection.execute(
        "SELECT min(seq) FROM jobs WHERE state = 'QUEUED' AND passed > 0 AND gpus <= ? AND (passed >= ? OR created <= ?)",
        (limits.gpus, PATIENCE, now() - LONGEST_WAIT),
    ).fetchone()
    return float("inf") if row[0] is None else row[0]


def reserve(connection: sqlite3.Connection, limits: Limits, seq: int) -> None:
    """Give a queued job its GPUs, and note whom it went past. Inside the transaction that starts it."""
    (wanted,) = connection.execute("SELECT gpus FROM jobs WHERE seq = ?", (seq,)).fetchone()
    devices = _free(connection, limits).devices[:wanted]
    connection.execute("UPDATE jobs SET devices = ? WHERE seq = ?", (json.dumps(devices), seq))
    connection.execute("UPDATE jobs SET passed = passed + 1 WHERE state = 'QUEUED' AND seq < ?", (seq,))


def gpu_environment(devices: Sequence[int], rank: int, nodes: int, *, there_are: bool) -> dict[str, str]:
    """What makes one node see its own GPUs and no others. Nothing is said on a machine without any.

    >>> gpu_environment([2, 5], 1, 2, there_are=True)
    {'CUDA_DEVICE_ORDER': 'PCI_BUS_ID', 'CUDA_VISIBLE_DEVICES': '5'}
    """
    if not there_are:
        return {}
    each = len(devices) // nodes
    own = devices[rank * each : (rank + 1) * each]
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(map(str, own))}
