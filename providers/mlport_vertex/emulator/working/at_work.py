"""The processes that work in a folder, by what they were started with."""

from __future__ import annotations

import os
from pathlib import Path


def processes(folder: Path) -> set[int]:
    """Those whose command line or environment names the folder, this one left out. Knows of none where there is no /proc."""
    mark, found = os.fsencode(folder), set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                found.add(int(entry.name))
        except OSError:  # it has ended, or is another user's
            continue
    return found - {os.getpid()}
