"""The processes that work in a folder, by what they were started with."""

from __future__ import annotations

import os
from pathlib import Path


def processes(folder: Path) -> set[int]:
    """Those whose command line or environment names the folder, this one left out; another user's are not seen."""
    import psutil

    mark, found = str(folder), set()
    for process in psutil.process_iter():
        try:
            if any(mark in word for word in (*process.cmdline(), *process.environ().values())):
                found.add(process.pid)
        except (psutil.Error, OSError):  # it has ended, or is another user's
            continue
    return found - {os.getpid()}
