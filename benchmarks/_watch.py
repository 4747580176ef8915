"""What there is of one root now: its processes by role, with memory and descriptors, and its files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

MIB = 2**20
MARKS = ("MLPORT_ENDPOINT_FOLDER", "MLPORT_JOB_FOLDER")
ROLES = {  # what a command line holds, and whose it is
    "mlport_local.serving.keeper": "keeper",
    "mlport_local.serving.router": "router",
    "mlport.serving": "worker",
    "supervise.py": "supervisor",
    "mlport_runner": "runner",
    "mlport_local.registry.export": "export",
    "mlport.capture": "compactor",
    "agent": "agent",
    "_soak_clients.py": "client",
}


def processes(root: Path) -> Iterator[psutil.Process]:
    """Everyone alive who has to do with a root, by command line or mark; zombies and this process are left out."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE and _concerns(process, str(root)):
                yield process


def _concerns(process: psutil.Process, root: str) -> bool:
    if root in " ".join(process.cmdline()):
        return True
    environment = process.environ()
    return any(environment.get(mark, "").startswith(root) for mark in MARKS) or root in environment.get("MLPORT_SUPERVISOR", "")


def role(process: psutil.Process, root: Path) -> str:
    """What a process is: a keeper, router or worker with its endpoint's name, and a client with its kind."""
    words = process.cmdline()
    found = next((name for part, name in ROLES.items() if any(part in word for word in words)), "program")
    if found == "client":
        return f"{words[2]} client"
    folder = process.environ().get(MARKS[0], "")
    return f"{found} {Path(folder).name}" if folder.startswith(str(root)) else found


def roles(root: Path) -> dict[str, dict[str, float]]:
    """For each role how many processes, the largest resident memory in MiB and the most descriptors; this process is the driver."""
    found: dict[str, dict[str, float]] = {}
    for process in (*processes(root), psutil.Process()):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            name = "driver" if process.pid == os.getpid() else role(process, root)
            held, open_now = process.memory_info().rss / MIB, process.num_fds()
            before = found.get(name, {"processes": 0, "rss_mib": 0.0, "fds": 0})
            found[name] = {
                "processes": before["processes"] + 1,
                "rss_mib": max(before["rss_mib"], held),
                "fds": max(before["fds"], open_now),
            }
    return found


def disk(root: Path) -> dict[str, Any]:
    """Files and MiB under each entry of a root; a database counts with its write-ahead log."""
    parts: dict[str, list[float]] = {}
    for folder, _, names in os.walk(root):
        place = Path(folder).relative_to(root).parts[:1]
        for name in names:
            with suppress(FileNotFoundError):
                part = parts.setdefault(place[0] if place else name.removesuffix("-wal").removesuffix("-shm"), [0, 0.0])
                part[1] += (Path(folder) / name).lstat().st_size / MIB
                part[0] += 1
    return {"files": {name: part[0] for name, part in parts.items()}, "mib": {name: part[1] for name, part in parts.items()}}
