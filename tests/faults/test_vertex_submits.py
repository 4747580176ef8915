"""Many submits to Vertex AI under random faults, by clients that are killed: none is doubled, none is lost, none stays unknown."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from vertex_jobs import PARENT
from vertex_place import call
from vertex_submitter import lines

import mlport
from mlport.emulation.faults import FaultFile
from mlport.emulation.server import FAULTS_PATH, Ready, serve
from mlport.journal import token_for
from mlport.spi import State
from mlport_vertex import PROVIDER
from mlport_vertex.config import VertexConfig
from mlport_vertex.emulator import EMULATOR
from mlport_vertex.session import VertexSession

PROGRAM = Path(__file__).parents[1] / "vertex_submitter.py"
TRANSPORTS = ("rest", "grpc")


@dataclass(frozen=True)
class Run:
    """How much, and for how long what is not known may stay so."""

    submits: int
    real: int  # so many run a program
    followed: int  # and the results of so many are waited for
    clients: int
    kills: int
    find_lag: float  # seconds
    sending: float
    seed: int
    seconds: float = field(default=3600.0)

    def faults(self) -> FaultFile:
        """The rules of the emulator: each call meets them by chance."""
        create, find = "POST */customJobs", "GET */customJobs"
        store = {"host": "storage.googleapis.com"}
        rules: Sequence[dict[str, Any]] = (
            {"match": create, "effect": "error", "status": 429, "probability": 0.05},
            {"match": create, "effect": "error", "status": 500, "probability": 0.04},
            {"match": create, "effect": "error", "status": 503, "probability": 0.04},
            {"match": create, "effect": "error", "status": 503, "when": "after", "probability": 0.05},
            {"match": create, "effect": "reset", "probability": 0.05},
            {"match": create, "effect": "reset", "when": "after", "probability": 0.06},
            {"match": create, "effect": "delay", "seconds": 0.5, "probability": 0.1},
            {"match": find, "effect": "lag", "seconds": self.find_lag * 0.6, "probability": 0.5},
            {"match": find, "effect": "error", "status": 503, "probability": 0.05},
            {"match": find, "effect": "error", "status": 429, "probability": 0.05},
            {"match": find, "effect": "reset", "probability": 0.03},
            {**store, "effect": "error", "status": 503, "probability": 0.004},
            {**store, "effect": "reset", "probability": 0.004},
            {**store, "effect": "reset", "when": "after", "probability": 0.004},
        )
        return FaultFile.model_validate({"seed": self.seed, "fault": rules})


QUICK = Run(submits=40, real=6, followed=6, clients=3, kills=3, find_lag=2.5, sending=0.5, seed=20261123, seconds=300)
THOUSAND = Run(submits=1000, real=1000, followed=50, clients=4, kills=24, find_lag=VertexSession.find_lag, sending=10.0, seed=20261124)


class Clients:
    """The processes that submit: each has keys of its own, and shares some with another. At random one is killed and run again."""

    def __init__(self, run: Run, ready: Ready, folder: Path) -> None:
        self.run, self.random, self.kills = run, random.Random(run.seed), 0
        names = [f"key-{number}" for number in range(run.submits)]
        self.orders = [
            {
                "target": ready.targets["vertex"],
                "transport": TRANSPORTS[number % 2],
                "keys": [*names[number :: run.clients], *names[(number + 1) % run.clients :: run.clients][: run.submits // 10]],
                "real": run.real,
                "find_lag": run.find_lag,
                "sending": run.sending,
                "seed": run.seed + number,
                "out": str(folder / f"client-{number}"),
            }
            for number in range(run.clients)
        ]
        self.processes = [self._start(order) for order in self.orders]

    def _start(self, order: dict[str, Any]) -> subprocess.Popen[bytes]:
        order["seed"] += 100
        return subprocess.Popen([sys.executable, PROGRAM, json.dumps(order)])

    def finish(self) -> None:
        """Wait until all were told everything, and kill meanwhile."""
        deadline, told = time.monotonic() + self.run.seconds, 0
        while any(process.poll() is None for process in self.processes):
            assert time.monotonic() < deadline, f"not told within {self.run.seconds} s"
            time.sleep(0.1)
            told = len({line["key"] for order in self.orders for line in lines(Path(order["out"])) if line["is"] == "told"})
            if self.kills < self.run.kills and told >= (self.kills + 1) * self.run.submits // (self.run.kills + 2):
                self._kill()
        assert [process.returncode for process in self.processes] == [0] * self.run.clients
        assert self.kills == self.run.kills

    def _kill(self) -> None:
        number = self.random.choice([number for number, process in enumerate(self.processes) if process.poll() is None])
        self.processes[number].kill()
        self.processes[number].wait()
        self.kills += 1
        self.processes[number] = self._start(self.orders[number])

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def outcomes(self) -> Iterator[dict[str, Any]]:
        for order in self.orders:
            yield from lines(Path(order["out"]))


def made(ready: Ready) -> Iterator[dict[str, Any]]:
    """Every custom job that the emulator has."""
    token = ""
    while True:
        status, page = call(ready, "GET", f"{PARENT}/customJobs?pageSize=100&pageToken={token}")
        assert status == 200, page
        yield from page.get("customJobs", ())
        token = page.get("nextPageToken", "")
        if not token:
            return


def check(run: Run, ready: Ready, outcomes: Sequence[dict[str, Any]], client: mlport.Client) -> None:
    """One job for each key, the one that everybody was told of; nothing unknown for longer than the bound; nothing open."""
    target = client.config.target
    tokens = {token_for(target, "job", f"key-{number}"): f"key-{number}" for number in range(run.submits)}
    jobs = {tokens[job["labels"]["mlport_token"]]: f"custom/{job['name'].rpartition('/')[2]}" for job in made(ready)}
    assert len(list(made(ready))) == len(jobs) == run.submits
    told = {(line["key"], line["id"]) for line in outcomes if line["is"] == "told"}
    assert told == set(jobs.items())
    for line in outcomes:
        if line["is"] == "unknown":  # nobody who asked that long after it was begun was left without an answer
            assert line["asked"] - line["intent"] <= run.find_lag, line
    entries = {key: json.loads(found.value) for key, found in client.session.state.list("journal/")}
    assert {entry["token"]: entry["id"] for entry in entries.values()} == {token: jobs[key] for token, key in tokens.items()}
    for number in range(run.followed):
        job = client.jobs.get(jobs[f"key-{number}"]).wait(timeout=run.seconds)
        assert (job.state, dict(job.metrics)) == (State.SUCCEEDED, {"square": float(number * number)})


def report(run: Run, ready: Ready, outcomes: Sequence[dict[str, Any]], seconds: float) -> str:
    """The figures of a run."""
    _, rules = call(ready, "GET", FAULTS_PATH)
    struck = {
        f"{rule['host'] if rule['match'] == '*' else rule['match']} {rule['effect']}"
        f"{' ' + str(rule['status']) if rule['effect'] == 'error' else ''}{' after' if rule['when'] == 'after' else ''}": rule["done"]
        for rule in rules["fault"]
    }
    first: dict[str, float] = {}
    longest = 0.0
    for line in sorted(outcomes, key=lambda each: float(each["at"])):
        if line["is"] == "unknown":
            first.setdefault(line["key"], line["at"])
        elif line["is"] == "told" and line["key"] in first:
            longest = max(longest, line["at"] - first.pop(line["key"]))
    unknown = [line["key"] for line in outcomes if line["is"] == "unknown"]
    return json.dumps(
        {
            "submits": run.submits,
            "seconds": round(seconds, 1),
            "faults": struck,
            "struck": sum(struck.values()),
            "refused": Counter(line["error"] for line in outcomes if line["is"] == "refused"),
            "unknown": len(unknown),
            "keys unknown": len(set(unknown)),
            "oldest unknown": round(max((line["asked"] - line["intent"] for line in outcomes if line["is"] == "unknown"), default=0.0), 1),
            "longest until told": round(longest, 1),
        },
        indent=1,
    )


@pytest.mark.parametrize("run", [pytest.param(QUICK, id="40"), pytest.param(THOUSAND, id="1000", marks=pytest.mark.faults_full)])
def test_none_is_doubled_and_none_is_lost(run: Run, tmp_path: Path) -> None:
    with serve({"vertex": EMULATOR}, tmp_path / "state", run.faults(), keep=False) as ready:
        clients, began = Clients(run, ready, tmp_path), time.monotonic()
        try:
            clients.finish()
        finally:
            clients.close()
        seconds, outcomes = time.monotonic() - began, list(clients.outcomes())
        print(report(run, ready, outcomes, seconds))
        status, _ = call(ready, "PUT", FAULTS_PATH, {"fault": []})
        assert status == 200
        with mlport.Client(PROVIDER, VertexConfig.from_url(ready.targets["vertex"])) as client:
            check(run, ready, outcomes, client)
