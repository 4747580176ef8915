"""Processes known for certain: by pid, start time and boot, so that a reused pid is never taken for the old one.

A zombie counts as dead: it has ended, whoever may still have to collect it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

LINUX = sys.platform == "linux"
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
