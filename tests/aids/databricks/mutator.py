"""What changes something at Databricks, by name, so that it can be done here or by a process that dies of it.

`python -m aids.databricks.mutator ORDERS` does one thing; ORDERS is JSON: `target`, `verb`, `name`, `folder`, and `die_after`, the
operation of a call (mlport_databricks.workspace.connection) after whose answer it dies, before anything is noted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aids import mutations
from aids.mutations import Do

import mlport
from mlport_databricks.registry import registering
from mlport_databricks.serving import changing
from mlport_databricks.workspace.connection import Connection

NEVER = "30 6 1 1 *"
LEASE = 3.0  # seconds, in the place of those after which one who died is taken for dead
LOOKED_FOR = 1.0


def connected(target: str) -> mlport.Client:
    """A client that waits less long for the dead, and for searches that lag."""
    changing.LEASE_SECONDS = registering.LEASE_SECONDS = LEASE
    registering.LOOKED_FOR = LOOKED_FOR
    return mlport.connect(target)


def verbs(client: mlport.Client, name: str, folder: Path) -> dict[str, Do]:
    """What can be done: what can be at every provider's, and a schedule."""
    schedule = mutations.schedule(name, NEVER)
    return {**mutations.verbs(client, name, folder), "schedule": lambda: client.schedules.create(schedule, key=name)}


def after(wanted: str, act: Do, original: Callable[..., Any]) -> Callable[..., Any]:
    """A Connection.call that acts when an operation is answered for the first time."""
    acted = False

    def replaced(*arguments: Any, operation: str, **options: Any) -> Any:
        nonlocal acted
        answer = original(*arguments, operation=operation, **options)
        if operation == wanted and not acted:
            acted = True
            act()
        return answer

    return replaced


def main(orders: dict[str, Any]) -> None:
    Connection.call = after(orders["die_after"], lambda: os.kill(os.getpid(), signal.SIGKILL), Connection.call)  # type: ignore[method-assign]
    with connected(orders["target"]) as client:
        verbs(client, orders["name"], Path(orders["folder"]))[orders["verb"]]()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
