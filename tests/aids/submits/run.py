"""Many submits to an emulator under random faults, by clients that are killed: what the tests of every provider share."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aids.submits.client import lines

import mlport
from mlport.emulation.faults import FaultFile
from mlport.emulation.server import FAULTS_PATH
from mlport.journal import token_for
from mlport.spi import State

Json = dict[str, Any]
PROGRAM = Path(__file__).with_name("client.py")


@dataclass(frozen=True)
class Run:
    """How much, and for how long what is not known may stay so."""

    submits: int
    real: int  # so many run a program
    followed: int  # and the results of so many are waited for
    clients: int
    kills: int
    sending: float
    seed: int
    find_lag: float | None = None  # seconds; None: the session's own
    restarts: int = 0  # so often the emulator is killed, too
    seconds: float = field(default=3600.0)


@dataclass(frozen=True)
class Emulator:
    """The emulator that is asked."""

    targets: Sequence[str]  # URLs of the profile: the clients take turns
    faults: Sequence[Json]
    call: Callable[[str, str, Any], tuple[int, Any]]  # verb, path and body; the status and the answer
    idle: Json = field(default_factory=dict)  # fields of a JobSpec that ends without a program
    restart: Callable[[], None] = lambda: None  # kill -9, and start it again on its folder


class Clients:
    """The processes that submit: each has keys of its own, and shares some with another. At random one is killed and run again."""

    def __init__(self, run: Run, emulator: Emulator, folder: Path) -> None:
        self.run, self.emulator, self.random = run, emulator, random.Random(run.seed)
        self.kills = self.restarts = 0
        self.struck: Counter[str] = Counter()
        names = [f"key-{number}" for number in range(run.submits)]
        self.orders: list[Json] = [
            {
                "target": emulator.targets[number % len(emulator.targets)],
                "keys": [*names[number :: run.clients], *names[(number + 1) % run.clients :: run.clients][: run.submits // 10]],
                "real": run.real,
                "idle": emulator.idle,
                "find_lag": run.find_lag,
                "sending": run.sending,
                "seed": run.seed + number,
                "out": str(folder / f"client-{number}"),
            }
            for number in range(run.clients)
        ]
        self._set_faults(emulator.faults)
        self.processes = [self._start(order) for order in self.orders]

    def _start(self, order: Json) -> subprocess.Popen[bytes]:
        order["seed"] += 100
        return subprocess.Popen([sys.executable, PROGRAM, json.dumps(order)])

    def finish(self) -> float:
        """Wait until all were told everything, and kill meanwhile; then end the faults. The seconds that it took."""
        run, began = self.run, time.monotonic()
        while any(process.poll() is None for process in self.processes):
            assert time.monotonic() - began < run.seconds, f"not told within {run.seconds} s"
            time.sleep(0.1)
            told = len({line["key"] for line in self.outcomes() if line["is"] == "told"})
            if self.kills < run.kills and told >= (self.kills + 1) * run.submits // (run.kills + 2):
                self._kill()
            if self.restarts < run.restarts and told >= (self.restarts + 1) * run.submits // (run.restarts + 2):
                self._restart()
        seconds = time.monotonic() - began
        assert [process.returncode for process in self.processes] == [0] * run.clients
        assert (self.kills, self.restarts) == (run.kills, run.restarts)
        self._count_struck()
        self._set_faults(())
        return seconds

    def _kill(self) -> None:
        number = self.random.choice([number for number, process in enumerate(self.processes) if process.poll() is None])
        self.processes[number].kill()
        self.processes[number].wait()
        self.kills += 1
        self.processes[number] = self._start(self.orders[number])

    def _restart(self) -> None:
        """The faults that struck between the count and the kill are not known."""
        self._count_struck()
        self.emulator.restart()
        self.restarts += 1
        self._set_faults(self.emulator.faults)

    def _set_faults(self, rules: Sequence[Json]) -> None:
        file = FaultFile.model_validate({"seed": self.run.seed + self.restarts, "fault": rules})
        status, said = self.emulator.call("PUT", FAULTS_PATH, file.model_dump())
        assert status == 200, said

    def _count_struck(self) -> None:
        status, told = self.emulator.call("GET", FAULTS_PATH, None)
        assert status == 200, told
        for rule in told["fault"]:
            self.struck[_name(rule)] += rule["done"]

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def outcomes(self) -> Iterator[Json]:
        for order in self.orders:
            yield from lines(Path(order["out"]))


def _name(rule: Json) -> str:
    """A rule as the report has it.

    >>> _name({"match": "POST *", "host": "*", "effect": "error", "status": 503, "when": "after"})
    'POST * error 503 after'
    """
    where, status = rule["host"] if rule["match"] == "*" else rule["match"], f" {rule['status']}" if rule["effect"] == "error" else ""
    return f"{where} {rule['effect']}{status}{' after' if rule['when'] == 'after' else ''}"


def check(run: Run, jobs: Sequence[tuple[str, str]], outcomes: Sequence[Json], client: mlport.Client) -> None:
    """One job for each key, the one that everybody was told of; no entry of the journal is open.

    `jobs`: token and id of every job that the emulator has.
    """
    tokens = {token_for(client.config.target, "job", f"key-{number}"): f"key-{number}" for number in range(run.submits)}
    made = {tokens[token]: job for token, job in jobs}
    assert len(jobs) == len(made) == run.submits
    assert {(line["key"], line["id"]) for line in outcomes if line["is"] == "told"} == set(made.items())
    entries = [json.loads(found.value) for _, found in client.session.state.list("journal/")]
    assert {entry["token"]: entry["id"] for entry in entries} == {token: made[key] for token, key in tokens.items()}
    for number in range(run.followed):
        job = client.jobs.get(made[f"key-{number}"]).wait(timeout=run.seconds)
        assert (job.state, dict(job.metrics)) == (State.SUCCEEDED, {"square": float(number * number)})


def unknown(outcomes: Sequence[Json]) -> list[Json]:
    """The outcomes of those who were told that it is not known."""
    return [line for line in outcomes if line["is"] == "unknown"]


def report(run: Run, struck: Mapping[str, int], outcomes: Sequence[Json], seconds: float) -> str:
    """The figures of a run."""
    first: dict[str, float] = {}
    longest = 0.0
    for line in sorted(outcomes, key=lambda each: float(each["at"])):
        if line["is"] == "unknown":
            first.setdefault(line["key"], line["at"])
        elif line["is"] == "told" and line["key"] in first:
            longest = max(longest, line["at"] - first.pop(line["key"]))
    return json.dumps(
        {
            "submits": run.submits,
            "seconds": round(seconds, 1),
            "clients killed": run.kills,
            "emulator killed": run.restarts,
            "faults": struck,
            "struck": sum(struck.values()),
            "refused": Counter(line["error"] for line in outcomes if line["is"] == "refused"),
            "unknown": len(unknown(outcomes)),
            "keys unknown": len({line["key"] for line in unknown(outcomes)}),
            "oldest unknown": round(max((line["asked"] - line["intent"] for line in unknown(outcomes)), default=0.0), 1),
            "longest until told": round(longest, 1),
        },
        indent=1,
    )
