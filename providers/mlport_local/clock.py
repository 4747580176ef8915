"""The wall clock of the engine. It is shown to people and never decides: order is by number, identity by the kernel's ticks.

`MLPORT_CLOCK=-3600` sets it an hour back, for tests: a clock that jumps must do no harm.
"""

from __future__ import annotations

import os
import time


def now() -> float:
    """Seconds since 1970, UTC."""
    return time.time() + float(os.environ.get("MLPORT_CLOCK", "0"))
