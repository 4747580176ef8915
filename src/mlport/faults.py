"""Where a test may make a process of ours die, as by `kill -9`. Without `MLPORT_FAULT`, nothing happens.

`MLPORT_FAULT=after-copy` kills whoever gets there. `MLPORT_FAULT=@FILE` kills the first who gets to the point that the
file names, and takes the file away: one death, at a time of the test's choosing. A file with `after-copy 3` lets two pass
there first, of one process. Each durable write has a name, and the
points before and after it are made of that name, so that no write can be added without them.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "MLPORT_FAULT"


def fault(point: str) -> None:
    """Die here at once if the environment asks for it."""
    wanted = os.environ.get(VARIABLE)
    if wanted and (wanted == point or (wanted.startswith("@") and _is_due(wanted[1:], point))):
        os.kill(os.getpid(), signal.SIGKILL)


def _is_due(file: str, point: str) -> bool:
    """Whether the file names this point, and we are the one to die of it: only one process can take the file away."""
    try:
        with open(file, encoding="utf-8") as stream:  # noqa: PTH123 - processes that must start fast load os alone
            wanted, _, times = stream.read().strip().partition(" ")
        if wanted != point:
            return False
        if times and int(times) > 1:
            with open(f"{file}.part", "w", encoding="utf-8") as stream:  # noqa: PTH123
                stream.write(f"{point} {int(times) - 1}")
            os.replace(f"{file}.part", file)
            return False
        os.unlink(file)  # noqa: PTH108
    except FileNotFoundError:
        return False
    return True
