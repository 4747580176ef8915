"""What changes something at a provider, by name, and how a program goes about it that must have it done: for tests of every provider."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlport
from mlport import JobSpec, ScheduleSpec, SweepSpec
from mlport.emulation.server import Ready
from mlport.errors import AmbiguousError, MlportError, NotFoundError, QuotaError
from mlport.specs import DeploymentSpec, EndpointSpec, ModelRef

TESTS = Path(__file__).parents[1]
SECONDS = 120.0
LIFE = ("register", "create", "deploy", "set_traffic", "undeploy", "delete")
FAULTS: dict[str, dict[str, Any]] = {
    "cut off before": {"effect": "reset"},
    "cut off after": {"effect": "reset", "when": "after"},
    "503 before": {"effect": "error", "status": 503},
    "503 after": {"effect": "error", "status": 503, "when": "after"},
    "429": {"effect": "error", "status": 429},
    "killed after": {},
}
"""What a call may meet, as the emulators know it; what is killed is the client."""
QUICK = "cut off after"
SPLITS = {"deploy": {"blue": 100, "green": 0}, "set_traffic": {"blue": 40, "green": 60}}
"""The endpoint's traffic after a verb; `{"blue": 100}` after another."""
SERVERS = {"register": 0, "delete": 0, "create": 1, "undeploy": 1}
"""The model servers after a verb; two after another."""
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


def exit_status(program: str, **orders: Any) -> int:
    """Of a provider's mutator, run with these orders as a process of its own."""
    command = [sys.executable, "-m", program, json.dumps({name: str(value) for name, value in orders.items()})]
    return subprocess.run(command, cwd=TESTS, timeout=120, check=False).returncode


def servers(ready: Ready) -> int:
    """Model servers that the emulator runs."""
    with mlport.connect(f"local://{ready.folder / ready.provider / 'containers'}") as engine:
        return sum(not each.state.terminal for each in engine.jobs.list())
