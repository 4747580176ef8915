"""Programs that outlive who started them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlport_local.engine.process.marks import DETACHED, FOLDER, unbrand

HANDED_OVER = 3
"""The number under which a detached program finds the descriptor that it was handed."""
DEFAULTED = (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
"""Signals that a program we start must find as usual, whatever we ignore ourselves."""


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
    unbrand(pid)
    threading.Thread(target=_collect, args=(pid,), name=f"collect-{pid}", daemon=True).start()
    return pid


def _collect(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        return  # someone else collected it: a handler of SIGCHLD, or its default set to ignore
