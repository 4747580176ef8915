"""Seeing that an endpoint's keeper is at work, from any process: wake it, or start it.

A lock on the keeper's file tells whether there is one. Whoever finds it free starts a keeper and hands the lock over, so
however many look at once, one is started.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from mlport_local.engine import process
from mlport_local.engine.database import translated
from mlport_local.layout import Layout
from mlport_local.serving import control, staff
from mlport_local.serving.endpoint_state import run_folder

LOCK = "keeper.lock"


def ensure(layout: Layout, name: str) -> None:
    """See that the endpoint's keeper is at work.

    Raises:
        UnavailableError: none is, and none can be started: the disk is full or read-only.
    """
    folder = layout.endpoint(name)
    with translated(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not _started(layout, name, os.O_CREAT):
            control.poke(run_folder(folder) / control.POKE)


def revive(layout: Layout, name: str) -> bool:
    """Start a keeper if the last one died; whether one was started. Where there never was one, nothing is done."""
    try:
        return _started(layout, name, 0)
    except FileNotFoundError:
        return False


def _started(layout: Layout, name: str, flags: int) -> bool:
    folder = layout.endpoint(name)
    lock = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC | flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        command = staff.python("mlport_local.serving.keeper", str(layout.root), name)
        process.start_detached(command, staff.environment(None, {}), log=folder / "logs" / "keeper.log", hand_over=lock)
        return True
    finally:
        os.close(lock)


def holds(folder: Path, lock: int) -> bool:
    """Whether the lock file is still the one that `lock` is open on; if not, the endpoint was removed under its keeper."""
    try:
        return os.path.samestat((folder / LOCK).stat(), os.fstat(lock))
    except FileNotFoundError:
        return False


def remove_files(folder: Path) -> None:
    """Remove everything of an endpoint but what was captured, and the lock: another keeper may be waiting for it."""
    for path in folder.iterdir():
        if path.name not in ("capture", LOCK):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(run_folder(folder), ignore_errors=True)
