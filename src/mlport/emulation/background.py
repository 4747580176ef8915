"""An emulator that starts when it is needed: the profile `NAME-emulated` runs one in the background and finds it again.

It keeps its state in a folder of the user's, is shared by every process that asks for it, and leaves by itself when
nobody has asked it anything for a while. What it was doing goes on: jobs and endpoints are found again at the next start.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mlport.errors import UnavailableError
from mlport.waiting import delays, wait_until

IDLE_SECONDS = 900
START_SECONDS = 90.0
READY, LOG, LOCK = "ready.json", "emulator.log", "lock"


def folder_of(name: str) -> Path:
    """Where the emulator of a profile keeps its state: `$MLPORT_EMULATORS`, else under the user's data directory."""
    chosen = os.environ.get("MLPORT_EMULATORS")
    base = Path(chosen) if chosen else Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "mlport-emulators"
    return base.absolute() / name


def ensure(name: str, folder: Path | None = None) -> dict[str, Any]:
    """What the emulator says of itself when it is ready (`mlport emulate` prints the same); started if it is not running.

    Raises:
        UnavailableError: it did not start; says where its log is.
    """
    folder = folder or folder_of(name)
    if (found := running(folder)) is not None:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(folder):
        return running(folder) or _start(name, folder)


def running(folder: Path) -> dict[str, Any] | None:
    """What the emulator in this folder said when it started, None if none is running there, or none that is ready."""
    try:
        with (folder / LOCK).open(encoding="utf-8") as held:
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _said(folder)
    except OSError:
        return None
    return None


def _said(folder: Path) -> dict[str, Any] | None:
    """What its last line was, if whoever holds the folder wrote it and not one before."""
    try:
        said: dict[str, Any] = json.loads((folder / READY).read_text(encoding="utf-8"))
        holder = (folder / LOCK).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    return said if holder.startswith(f"process {said['pid']} ") else None


def announce(folder: Path, line: str) -> None:
    """Say in the folder how to reach the emulator that runs there."""
    unfinished = folder / f".{READY}"
    unfinished.touch(mode=0o600)
    unfinished.write_text(line, encoding="utf-8")
    os.replace(unfinished, folder / READY)


def stop(folder: Path, seconds: float = 30.0) -> None:
    """End the emulator in this folder, if there is one, and wait until it has let go of it."""
    said = running(folder)
    if said is None:
        return
    with suppress(ProcessLookupError):
        os.kill(int(said["pid"]), signal.SIGTERM)
    wait_until(
        lambda: running(folder), lambda found: found is None, pauses=delays(first=0.02, ceiling=0.5), timeout=seconds, what="the emulator"
    )


def _start(name: str, folder: Path) -> dict[str, Any]:
    with (folder / LOG).open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "mlport.cli.main", "emulate", name, "--state", str(folder), "--idle", str(IDLE_SECONDS)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
    found, _ = wait_until(
        lambda: (running(folder), child.poll()),
        lambda seen: seen != (None, None),
        pauses=delays(first=0.05, ceiling=0.5),
        timeout=START_SECONDS,
        what=f"the {name} emulator",
    )
    if found is None:
        raise UnavailableError(f"the {name} emulator did not start", hint=f"its log says why: {folder / LOG}")
    threading.Thread(target=child.wait, name=f"collect-{child.pid}", daemon=True).start()  # it may end before us, and outlive us
    return found


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Two processes that both need the emulator start one."""
    with (folder / "starting").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
