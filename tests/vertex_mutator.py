"""What changes something at Vertex AI, by name, so that it can be done here or by a process that dies of it.

`python vertex_mutator.py ORDERS` does one thing; ORDERS is JSON: `target`, `transport`, `verb`, `name`, `folder`, and `die_after`,
the call of mlport_vertex.google.calls after whose answer it dies, before anything is noted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import mlport
import mlport.journal
from mlport import JobSpec, ScheduleSpec, SweepSpec
from mlport.errors import AmbiguousError, MlportError, NotFoundError, QuotaError
from mlport.scheduling.firing import clerk
from mlport.specs import DeploymentSpec, EndpointSpec, ModelRef
from mlport_vertex import PROVIDER, sagas
from mlport_vertex.config import VertexConfig
from mlport_vertex.google import api

LAG = 1.5  # seconds, in the place of those that are budgets for the real lists
SECONDS = 120.0
LIFE = ("register", "create", "deploy", "set_traffic", "undeploy", "delete")
SCORE = """
import json, os
with open(os.environ["MLPORT_METRICS"], "a") as metrics:
    metrics.write(json.dumps({"score": float(json.loads(os.environ["MLPORT_PARAMS"])["x"])}) + "\\n")
"""
Do = Callable[[], Any]


def connected(target: str, transport: str) -> mlport.Client:
    """A client that waits less long for lists that lag."""
    mlport.journal.SENDING_SECONDS = 0.3
    sagas.LOOKED_FOR = LAG
    client = mlport.Client(PROVIDER, VertexConfig.from_url(target).model_copy(update={"transport": transport}))
    client.session.find_lag = LAG
    return client


def sweep(name: str, *, native: bool) -> SweepSpec:
    """Two trials: by mlport's own tuner, for a seed is what Vertex AI's cannot have, or by that."""
    job = JobSpec(name=name, entrypoint=("python", "-c", SCORE))
    seed = None if native else 7
    return SweepSpec(
        name=name, job=job, space={"x": [1.0, 2.0]}, metric="score", direction="maximize", algorithm="grid", parallel=2, seed=seed
    )


def schedule(name: str) -> ScheduleSpec:
    return ScheduleSpec(name=name, cron="* * * * *", job=JobSpec(name=name, entrypoint=("python", "-c", "print('fired')")))


def fire(client: mlport.Client, name: str) -> Any:
    """Start what is due two minutes from now: one run."""
    found: Any = client.session.schedules
    return clerk(client, found, lambda: datetime.now(UTC) + timedelta(minutes=2)).fire(name)


def verbs(client: mlport.Client, name: str, folder: Path) -> dict[str, Do]:
    """What can be done, each with keys of its own where it takes one."""

    def deployment(colour: str) -> DeploymentSpec:
        return DeploymentSpec(model=ModelRef(name=name, version="1"), name=colour)

    def undeploy() -> None:
        client.endpoints.get(name).set_traffic({"blue": 100})
        client.endpoints.get(name).undeploy("green")

    def deploy() -> None:
        endpoint = client.endpoints.get(name)
        endpoint.deploy(deployment("green"), key=f"{name}-green")

    spec = EndpointSpec(name=name, deployment=deployment("blue"), capture=None)
    return {
        "register": lambda: client.models.register(name, folder, trust=True, key=name),
        "create": lambda: client.endpoints.create(spec, key=name),
        "deploy": deploy,
        "set_traffic": lambda: client.endpoints.get(name).set_traffic({"blue": 40, "green": 60}),
        "undeploy": undeploy,
        "delete": lambda: client.endpoints.delete(name),
        "sweep": lambda: client.sweeps.run(sweep(name, native=False), key=name),
        "tune": lambda: client.sweeps.run(sweep(f"{name}-tuned", native=True), key=f"{name}-tuned"),
        "schedule": lambda: client.schedules.create(schedule(name), key=name),
        "fire": partial(fire, client, name),
    }


def persist(do: Do) -> list[str]:
    """Do it again until it is done, as a program does that must have it done; the errors that were met."""
    met, until = [], time.monotonic() + SECONDS
    while True:
        try:
            do()
        except MlportError as error:
            if not (error.retryable or isinstance(error, AmbiguousError | QuotaError)) or time.monotonic() > until:
                raise
            met.append(type(error).__name__)
            time.sleep(0.1)
        else:
            return met


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


def gone(look: Do) -> bool:
    """Whether there is no such thing."""
    try:
        look()
    except NotFoundError:
        return True
    return False


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
