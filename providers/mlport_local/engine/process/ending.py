"""Ending a whole job: finding everyone of it, and not leaving before they are gone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from mlport_local.engine.process.identity import LINUX, LOOK_AGAIN, Identity, Seen, alive, boot_id, look, send, wait_any
from mlport_local.engine.process.marks import folder_mark, mark_of


def everyone() -> Iterator[Seen]:
    """All living processes that we may look at."""
    if LINUX:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - a plain list of names is what is wanted
    else:
        import psutil

        pids = psutil.pids()
    yield from (seen for seen in map(look, pids) if seen)


def members(folder: Path, roots: Iterable[Identity], *, children: bool = False) -> list[Identity]:
    """Everyone of the job in `folder`: who carries its marks, the roots' groups and sessions, and all their descendants.

    The marks find those who left the session and lost their parents. With `children`, our own children count as roots:
    a subreaper's orphans come to it. Other jobs, and what was started detached, are not followed.
    """
    table = {seen.pid: seen for seen in everyone() if seen.pid != os.getpid()}
    mark = folder_mark(folder)
    marks = {pid: mark_of(pid, folder) for pid in table}
    theirs = {pid: seen for pid, seen in table.items() if marks[pid] in (b"", mark)}
    leaders = {root.pid for root in roots if alive(root)}
    found = {pid for pid, seen in theirs.items() if marks[pid] == mark or pid in leaders or (children and seen.parent == os.getpid())}
    while more := {
        pid for pid, seen in theirs.items() if pid not in found and (seen.parent in found or {seen.group, seen.session} & leaders)
    }:
        found |= more
    return [Identity(pid, table[pid].ticks, boot_id()) for pid in sorted(found)]


def end_all(find: Callable[[], list[Identity]], *, grace: float, clock: Callable[[], float] = time.monotonic) -> None:
    """End everyone whom `find` finds: SIGTERM, the grace, then SIGKILL until nobody is found any more."""
    deadline = clock() + grace
    told: set[Identity] = set()
    while left := find():
        late = clock() >= deadline
        for identity in left:
            if late or identity not in told:
                send(identity, signal.SIGKILL if late else signal.SIGTERM)
                told.add(identity)
        wait_any(left, timeout=LOOK_AGAIN)
