"""Where a test may make the engine die: `MLPORT_FAULT=after-insert` kills the process there. Without it, nothing happens."""

from __future__ import annotations

import os
import signal


def fault(point: str) -> None:
    """Die here at once, as by `kill -9`, if the environment names this point."""
    if os.environ.get("MLPORT_FAULT") == point:
        os.kill(os.getpid(), signal.SIGKILL)
