"""What changes something at a provider, by name, and how a program goes about it that must have it done: for tests of every provider."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlport
from mlport import JobSpec, ScheduleSpec, SweepSpec
from mlport.errors import AmbiguousError, MlportError, NotFoundError, QuotaError
from mlport.specs import DeploymentSpec, EndpointSpec, ModelRef

SECONDS = 120.0
LIFE = ("register", "create", "deploy", "set_traffic", "undeploy", "delete")
SCORE = """
import json, os
with open(os.environ["MLPORT_METRICS"], "a") as metrics:
    metrics.write(json.dumps({"score": float(json.loads(os.environ["MLPORT_PARAMS"])["x"])}) + "\\n")
"""
Do = Callable[[], Any]


def sweep(name: str, *, native: bool) -> SweepSpec:
    """Two trials: by mlport's own tuner, for no provider's has a seed, or by the provider's."""
    job = JobSpec(name=name, entrypoint=("python", "-c", SCORE))
    seed = None if native else 7
    return SweepSpec(
        name=name, job=job, space={"x": [1.0, 2.0]}, metric="score", direction="maximize", algorithm="grid", parallel=2, seed=seed
    )


def schedule(name: str, cron: str = "* * * * *") -> ScheduleSpec:
    return ScheduleSpec(name=name, cron=cron, job=JobSpec(name=name, entrypoint=("python", "-c", "print('fired')")))


def verbs(client: mlport.Client, name: str, folder: Path) -> dict[str, Do]:
    """What can be done, each with keys of its own where it takes one."""

    def deployment(colour: str) -> DeploymentSpec:
        (version,) = client.models.versions(name)
        return DeploymentSpec(model=ModelRef(name=name, version=version.version), name=colour)

    def deploy() -> None:
        client.endpoints.get(name).deploy(deployment("green"), key=f"{name}-green")

    return {
        "register": lambda: client.models.register(name, folder, trust=True, key=name),
        "create": lambda: client.endpoints.create(EndpointSpec(name=name, deployment=deployment("blue"), capture=None), key=name),
        "deploy": deploy,
        "set_traffic": lambda: client.endpoints.get(name).set_traffic({"blue": 40, "green": 60}),
        "undeploy": lambda: client.endpoints.get(name).undeploy("green"),
        "delete": lambda: client.endpoints.delete(name),
        "sweep": lambda: client.sweeps.run(sweep(name, native=False), key=name),
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


def gone(look: Do) -> bool:
    """Whether there is no such thing."""
    try:
        look()
    except NotFoundError:
        return True
    return False
