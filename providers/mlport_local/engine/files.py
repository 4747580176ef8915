"""Files that are there as a whole or not at all, whatever happens. Standard library only."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from mlport.faults import fault


def write_durably(path: Path, content: bytes, step: str) -> None:
    """Write a file that only its owner can read, so that after a crash there is the whole of it or nothing.

    `step` names the write: a test may kill us `before-STEP` and `after-STEP`.
    """
    part = path.with_name(f".{path.name}.{threading.get_native_id()}.part")  # threads write the same file at once, too
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    fault(f"before-{step}")
    os.replace(part, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    fault(f"after-{step}")
