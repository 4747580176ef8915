"""How the processes of a job are told from all others, wherever they go and whoever of their parents dies.

Two marks are inherited by every child. The first is a variable of the environment, which says all and which a program
may clear. The second is for those: on Linux, a number in a resource limit that limits nothing (real-time processing, of
146 000 years), which survives a cleared environment, a new session, closed descriptors and the death of every ancestor.
"""

from __future__ import annotations

import resource
import zlib
from pathlib import Path

from mlport_local.engine.process.identity import LINUX

FOLDER = "MLPORT_JOB_FOLDER"
"""The variable that marks every process of a job, with the job's folder as its value."""
DETACHED = "MLPORT_DETACHED"
"""The variable that marks what may outlive the job that it was started from: supervisors, keepers of endpoints."""
_LEAST = 1 << 62


def brand(pid: int, folder: Path) -> bool:
    """Mark a process, and whatever it will start, as of the job in `folder`; False where that cannot be done."""
    return _limit(pid, _number(folder))


def unbrand(pid: int) -> None:
    """Take the number away from a process that is to outlive the job that it was started from."""
    _limit(pid, resource.RLIM_INFINITY)


def _limit(pid: int, value: int) -> bool:
    if not LINUX:
        return False
    try:
        hard = resource.prlimit(pid, resource.RLIMIT_RTTIME)[1]
        resource.prlimit(pid, resource.RLIMIT_RTTIME, (value if value != resource.RLIM_INFINITY else hard, hard))
    except (OSError, ValueError):
        return False  # it has gone, or an administrator has set this limit: the variable must do
    return True


def _number(folder: Path) -> int:
    name = str(folder).encode()
    return _LEAST | zlib.crc32(name) << 24 | zlib.crc32(name[::-1]) >> 8  # not hashlib: it takes a supervisor's start 10 ms to load


def folder_mark(folder: Path) -> bytes:
    """The mark of the job in `folder`, as `mark_of` gives it."""
    return f"{FOLDER}={folder}".encode()


def mark_of(pid: int, folder: Path) -> bytes:
    """The mark that a process carries, empty if it has none. Who has only the number of `folder` gets its mark."""
    prefixes = (f"{FOLDER}=".encode(), f"{DETACHED}=".encode())
    found = [entry for entry in environment_of(pid) if entry.startswith(prefixes)]
    if found:
        return max(found)
    number = _number_of(pid)
    return folder_mark(folder) if number == _number(folder) else b"another job's" if number else b""


def _number_of(pid: int) -> int:
    """The job's number that a process carries, 0 if none."""
    try:
        limits = Path(f"/proc/{pid}/limits").read_bytes()
    except OSError:
        return 0
    soft = limits.partition(b"Max realtime timeout")[2].split(maxsplit=1)[:1]
    return int(soft[0]) if soft and soft[0].isdigit() and int(soft[0]) >= _LEAST else 0


def environment_of(pid: int) -> list[bytes]:
    """The environment that a process was started with, as `NAME=value`; empty where we may not look."""
    try:
        if LINUX:
            return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        import psutil

        return [f"{name}={value}".encode() for name, value in psutil.Process(pid).environ().items()]
    except (OSError, ImportError):
        return []
