"""What changes something at Vertex AI, by name, so that it can be done here or by a process that dies of it.

`python -m aids.vertex.mutator ORDERS` does one thing; ORDERS is JSON: `target`, `transport`, `verb`, `name`, `folder`, and `die_after`,
the call of mlport_vertex.google.calls after whose answer it dies, before anything is noted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from aids import mutations
from aids.mutations import Do, schedule, sweep

import mlport
import mlport.journal
from mlport.scheduling.firing import clerk
from mlport_vertex import PROVIDER, sagas
from mlport_vertex.config import VertexConfig
from mlport_vertex.google import api

LAG = 1.5  # seconds, in the place of those that are budgets for the real lists


def connected(target: str, transport: str) -> mlport.Client:
    """A client that waits less long for lists that lag."""
    mlport.journal.SENDING_SECONDS = 0.3
    sagas.LOOKED_FOR = LAG
    client = mlport.Client(PROVIDER, VertexConfig.from_url(target).model_copy(update={"transport": transport}))
    client.session.find_lag = LAG
    return client


def fire(client: mlport.Client, name: str) -> Any:
    """Start what is due two minutes from now: one run."""
    found: Any = client.session.schedules
    return clerk(client, found, lambda: datetime.now(UTC) + timedelta(minutes=2)).fire(name)


def verbs(client: mlport.Client, name: str, folder: Path) -> dict[str, Do]:
    """What can be done: what can be at every provider's, and what Vertex AI has besides."""
    common = mutations.verbs(client, name, folder)

    def undeploy() -> None:
        client.endpoints.get(name).set_traffic({"blue": 100})
        common["undeploy"]()

    return {
        **common,
        "undeploy": undeploy,
        "tune": lambda: client.sweeps.run(sweep(f"{name}-tuned", native=True), key=f"{name}-tuned"),
        "schedule": lambda: client.schedules.create(schedule(name), key=name),
        "fire": partial(fire, client, name),
    }


def dying(call: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """A VertexApi.call after one of whose answers this process is dead."""

    def replaced(self: Any, method: str, **arguments: Any) -> Any:
        answer = original(self, method, **arguments)
        if method == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    return replaced


def main(orders: dict[str, Any]) -> None:
    api.VertexApi.call = dying(orders["die_after"], api.VertexApi.call)  # type: ignore[method-assign]
    with connected(orders["target"], orders["transport"]) as client:
        verbs(client, orders["name"], Path(orders["folder"]))[orders["verb"]]()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
