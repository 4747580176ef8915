"""1,000 submits to Vertex AI under random faults, by clients that are killed: none is doubled, none is lost, none stays unknown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aids.submits.run import Clients, Emulator, Run, check, report, unknown
from aids.vertex.jobs import PARENT
from aids.vertex.place import call

import mlport
from mlport.emulation.server import Ready, serve
from mlport_vertex.emulator import EMULATOR
from mlport_vertex.session import VertexSession

QUICK = Run(submits=40, real=6, followed=6, clients=3, kills=3, find_lag=2.5, sending=0.5, seed=20261123, seconds=300)
THOUSAND = Run(submits=1000, real=1000, followed=50, clients=4, kills=24, sending=10.0, seed=20261124)


def faults(find_lag: float) -> list[dict[str, Any]]:
    """The rules of the emulator: each call meets them by chance."""
    create, find = "POST */customJobs", "GET */customJobs"
    store = {"host": "storage.googleapis.com"}
    return [
        {"match": create, "effect": "error", "status": 429, "probability": 0.05},
        {"match": create, "effect": "error", "status": 500, "probability": 0.04},
        {"match": create, "effect": "error", "status": 503, "probability": 0.04},
        {"match": create, "effect": "error", "status": 503, "when": "after", "probability": 0.05},
        {"match": create, "effect": "reset", "probability": 0.05},
        {"match": create, "effect": "reset", "when": "after", "probability": 0.06},
        {"match": create, "effect": "delay", "seconds": 0.5, "probability": 0.1},
        {"match": find, "effect": "lag", "seconds": find_lag * 0.6, "probability": 0.5},
        {"match": find, "effect": "error", "status": 503, "probability": 0.05},
        {"match": find, "effect": "error", "status": 429, "probability": 0.05},
        {"match": find, "effect": "reset", "probability": 0.03},
        {**store, "effect": "error", "status": 503, "probability": 0.004},
        {**store, "effect": "reset", "probability": 0.004},
        {**store, "effect": "reset", "when": "after", "probability": 0.004},
    ]


def made(ready: Ready) -> Iterator[tuple[str, str]]:
    """Token and id of every custom job that the emulator has."""
    token = ""
    while True:
        status, page = call(ready, "GET", f"{PARENT}/customJobs?pageSize=100&pageToken={token}")
        assert status == 200, page
        for job in page.get("customJobs", ()):
            yield job["labels"]["mlport_token"], f"custom/{job['name'].rpartition('/')[2]}"
        token = page.get("nextPageToken", "")
        if not token:
            return


@pytest.mark.parametrize("run", [pytest.param(QUICK, id="40"), pytest.param(THOUSAND, id="1000", marks=pytest.mark.faults_full)])
def test_none_is_doubled_and_none_is_lost(run: Run, tmp_path: Path) -> None:
    """Nor is anything unknown for longer than the bound to whoever asks."""
    bound = run.find_lag or VertexSession.find_lag
    with serve({"vertex": EMULATOR}, tmp_path / "state", keep=False) as ready:
        targets = [f"{ready.targets['vertex']}&transport={transport}" for transport in ("rest", "grpc")]
        emulator = Emulator(targets, faults(bound), lambda *asked: call(ready, *asked), {"image": "nobody/has/this:1"})
        clients = Clients(run, emulator, tmp_path)
        try:
            seconds = clients.finish()
        finally:
            clients.close()
        outcomes = list(clients.outcomes())
        print(report(run, clients.struck, outcomes, seconds))
        with mlport.connect(ready.targets["vertex"]) as client:
            check(run, list(made(ready)), outcomes, client)
    for line in unknown(outcomes):  # nobody who asked that long after it was begun was left without an answer
        assert line["asked"] - line["intent"] <= bound, line
