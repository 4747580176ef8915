"""Looking until something is so, or for as long as it must stay so; never sleeping blindly."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from mlport.waiting import delays, wait_until

T = TypeVar("T")
LOOK = 0.05


def eventually(look: Callable[[], T], done: Callable[[T], bool], seconds: float) -> T:
    """What is seen once it is so. Raises DeadlineError when it is not after `seconds`."""
    return wait_until(look, done, pauses=delays(first=LOOK, ceiling=1.0), timeout=seconds, what="what the test waits for")


def steadily(look: Callable[[], T], so: Callable[[T], bool], seconds: float) -> bool:
    """Whether it stays so at every look for `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not so(look()):
            return False
        time.sleep(LOOK)
    return True
