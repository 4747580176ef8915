"""Processes known for certain: by pid, start time and boot, so that a reused pid is never taken for the old one.

A zombie counts as dead: it has ended, whoever may still have to collect it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

LINUX = sys.platform == "linux"
FOLDER = "MLPORT_JOB_FOLDER"
"""The variable that marks every process of a job, with the job's folder as its value."""
DETACHED = "MLPORT_DETACHED"
"""The variable that marks what may outlive the job that it was started from: supervisors, keepers of endpoints."""
HANDED_OVER = 3
"""The number under which a detached program finds the descriptor that it was handed."""
DEFAULTED = (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
"""Signals that a program we start must find as usual, whatever we ignore ourselves."""
LOOK_AGAIN = 0.02
"""Seconds between looks at a process whose end the kernel does not announce to us."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One process of one boot. `ticks` is its start time as the kernel counts it.

    >>> str(Identity(7, 123, "b007"))
    '7:123:b007'
    >>> Identity.parse("7:123:b007").pid
    7
    """

    pid: int
    ticks: int
    boot: str

    def __str__(self) -> str:
        return f"{self.pid}:{self.ticks}:{self.boot}"

    @classmethod
    def parse(cls, text: str) -> Identity:
        """The inverse of `str`. Raises ValueError."""
        pid, ticks, boot = text.split(":", 2)
        return cls(int(pid), int(ticks), boot)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the process table says of one process."""

    pid: int
    parent: int
    group: int
    session: int
    ticks: int


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Changes with each boot of the machine; empty where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def look(pid: int) -> Seen | None:
    """The process with this pid, None when there is none or it is a zombie."""
    return _look_proc(pid) if LINUX else _look_psutil(pid)


def _look_proc(pid: int) -> Seen | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:  # noqa: PTH123 - on every status call, and three times as fast
            fields = stream.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0] in (b"Z", b"X"):
        return None
    return Seen(pid, int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def _look_psutil(pid: int) -> Seen | None:
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return Seen(pid, process.ppid(), os.getpgid(pid), os.getsid(pid), int(process.create_time() * 1000))
    except (psutil.Error, ProcessLookupError, PermissionError):
        return None


def identify(pid: int) -> Identity | None:
    """Who has this pid now, None when nobody alive does."""
    seen = look(pid)
    return Identity(pid, seen.ticks, boot_id()) if seen else None


def me() -> Identity:
    """This process."""
    found = identify(os.getpid())
    if found is None:
        raise ProcessLookupError(f"pid {os.getpid()} is not in the process table; is /proc mounted?")
    return found


def alive(identity: Identity) -> bool:
    """Whether exactly this process still runs."""
    return identity == identify(identity.pid)


def send(identity: Identity, number: int) -> bool:
    """Send a signal to exactly this process; whether it was there to get it."""
    handle = _open(identity)
    if handle is None:
        return False
    try:
        if handle >= 0:
            signal.pidfd_send_signal(handle, number)
        else:
            os.kill(identity.pid, number)
    except ProcessLookupError:
        return False
    finally:
        _close(handle)
    return True


def _open(identity: Identity) -> int | None:
    """A pidfd of exactly this process; None if it is gone, -1 where there are no pidfds."""
    try:
        handle = os.pidfd_open(identity.pid) if hasattr(os, "pidfd_open") else -1
    except ProcessLookupError:
        return None
    except OSError:
        handle = -1  # a kernel or sandbox without pidfds
    if alive(identity):
        return handle
    _close(handle)
    return None


def _close(handle: int) -> None:
    if handle >= 0:
        os.close(handle)


def wait_any(identities: Iterable[Identity], *, wake: int | None = None, timeout: float | None = None) -> list[Identity]:
    """Wait until one of the processes has ended, `wake` becomes readable, or the time is over; those that have ended.

    They need not be children of this process.
    """
    watched = list(identities)
    handles = {identity: _open(identity) for identity in watched}
    try:
        ended = [identity for identity, handle in handles.items() if handle is None]
        if ended:
            return ended
        unannounced = any(handle == -1 for handle in handles.values())
        poller = select.poll()
        for descriptor in [handle for handle in handles.values() if handle is not None and handle >= 0] + ([] if wake is None else [wake]):
            poller.register(descriptor, select.POLLIN)
        limit = min(LOOK_AGAIN, timeout or LOOK_AGAIN) if unannounced else timeout
        poller.poll(None if limit is None else limit * 1000)
    finally:
        for handle in handles.values():
            _close(-1 if handle is None else handle)
    return [identity for identity in watched if not alive(identity)]


# ---------------------------------------------------------------- starting


def start_detached(command: Sequence[str], env: Mapping[str, str], *, log: Path, hand_over: int | None = None) -> int:
    """Start a program in a session of its own, with nothing of ours but `env`; its output goes to `log`. The pid.

    It survives us and our terminal, and if we are part of a job, its end too. A thread collects it when it ends, so it
    never stays as our zombie. `hand_over` is a descriptor that it gets as its number 3, and no other child of ours does.
    """
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
        *([] if hand_over is None else [(os.POSIX_SPAWN_DUP2, hand_over, HANDED_OVER)]),
    ]
    own = {**env, DETACHED: "1"}
    own.pop(FOLDER, None)
    pid = os.posix_spawn(command[0], list(command), own, file_actions=actions, setsid=True, setsigmask=(), setsigdef=DEFAULTED)
    threading.Thread(target=_collect, args=(pid,), name=f"collect-{pid}", daemon=True).start()
    return pid


def _collect(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        return  # someone else collected it: a handler of SIGCHLD, or its default set to ignore


# ---------------------------------------------------------------- ending


def everyone() -> Iterator[Seen]:
    """All living processes that we may look at."""
    if LINUX:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - a plain list of names is what is wanted
    else:
        import psutil

        pids = psutil.pids()
    yield from (seen for seen in map(look, pids) if seen)


def members(folder: Path, roots: Iterable[Identity], *, children: bool = False) -> list[Identity]:
    """Everyone of the job in `folder`: who carries its mark, the roots' groups and sessions, and all their descendants.

    The mark finds those who left the session and lost their parents. With `children`, our own children count as roots:
    a subreaper's orphans come to it. Other jobs, and what was started detached, are not followed.
    """
    table = {seen.pid: seen for seen in everyone() if seen.pid != os.getpid()}
    mark = f"{FOLDER}={folder}".encode()
    marks = {pid: _mark(pid) for pid in table}
    theirs = {pid: seen for pid, seen in table.items() if marks[pid] in (b"", mark)}
    leaders = {root.pid for root in roots if alive(root)}
    found = {pid for pid, seen in theirs.items() if marks[pid] == mark or pid in leaders or (children and seen.parent == os.getpid())}
    while more := {
        pid for pid, seen in theirs.items() if pid not in found and (seen.parent in found or {seen.group, seen.session} & leaders)
    }:
        found |= more
    return [Identity(pid, table[pid].ticks, boot_id()) for pid in sorted(found)]


def _mark(pid: int) -> bytes:
    """The mark that a process carries, empty if it has none."""
    prefixes = (f"{FOLDER}=".encode(), f"{DETACHED}=".encode())
    found = [entry for entry in environment_of(pid) if entry.startswith(prefixes)]
    return max(found, default=b"")


def environment_of(pid: int) -> list[bytes]:
    """The environment that a process was started with, as `NAME=value`; empty where we may not look."""
    try:
        if LINUX:
            return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        import psutil

        return [f"{name}={value}".encode() for name, value in psutil.Process(pid).environ().items()]
    except (OSError, ImportError):
        return []


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
