"""A client that submits, and that a test may kill: `python client.py ORDERS`, where ORDERS is JSON.

    target                the profile's URL
    keys                  what to submit, each once
    real, idle            of the keys from number `real` on the spec has the fields `idle`: those jobs end without a program
    find_lag, sending     seconds: the session's budget for lists that lag (null: its own), and how long a sender may be waited for
    seed                  of the order and the pauses
    out                   the file in which each outcome is written down before anything else happens; read at the start

A line of `out` has `key`, `is`, `at` (seconds since 1970), and with `is`: told: `id`; unknown: `intent`, when the work that
nobody knows of was begun, and `asked`; refused: `error`.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import mlport
import mlport.journal
from mlport import JobSpec
from mlport.errors import AmbiguousError, MlportError, QuotaError
from mlport.journal import token_for

ASKED_AGAIN = 5  # of those that it was told of before it was killed

PROGRAM = """
import json, os, sys
number = int(json.loads(os.environ["MLPORT_PARAMS"])["number"])
with open(os.environ["MLPORT_METRICS"], "a") as metrics:
    metrics.write(json.dumps({"square": number * number}) + "\\n")
"""


def spec(key: str, real: int, idle: dict[str, Any]) -> JobSpec:
    """The job of a key: the same from whichever process."""
    number = int(key.rpartition("-")[2])
    fields = {} if number < real else idle
    return JobSpec.model_validate({"name": "many", "entrypoint": ("python", "-c", PROGRAM), "params": {"number": number}, **fields})


class Submitter:
    """Asks for each key until it is told."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self.client = mlport.connect(orders["target"])
        if orders["find_lag"] is not None:
            self.client.session.find_lag = orders["find_lag"]
        self.find_lag = self.client.session.find_lag
        mlport.journal.SENDING_SECONDS = orders["sending"]
        self.random = random.Random(orders["seed"])
        self.out = Path(orders["out"])
        self.keys, self.real, self.idle = orders["keys"], orders["real"], orders["idle"]

    def run(self) -> None:
        last = {line["key"]: line["is"] for line in lines(self.out)}
        told = {key for key, outcome in last.items() if outcome == "told"}
        again = self.random.sample(sorted(told), min(ASKED_AGAIN, len(told)))
        due = {key: 0.0 for key, outcome in last.items() if outcome != "told"}  # those to be asked again, and when
        fresh = [key for key in self.random.sample(self.keys, len(self.keys)) if key not in last or key in again]
        while fresh or due:
            key = min(due, key=lambda each: due[each]) if due else ""
            if fresh and (not key or due[key] > time.time()):
                key = fresh.pop()
            else:
                time.sleep(max(0.0, due.pop(key) - time.time()))
            pause = self.ask(key)
            if pause is not None:
                due[key] = time.time() + pause
        self.client.close()

    def ask(self, key: str) -> float | None:
        """Submit once; the seconds until it is to be asked again, None once it was told."""
        asked = time.time()
        try:
            job = self.client.jobs.submit(spec(key, self.real, self.idle), key=key)
        except AmbiguousError:
            intent = self.intent(key)
            self.note(key, "unknown", asked=asked, intent=intent)
            return max(0.05, intent + self.find_lag - time.time()) if self.random.random() < 0.7 else 0.3  # patient, or not
        except MlportError as error:
            if not (error.retryable or isinstance(error, QuotaError)):
                raise
            self.note(key, "refused", error=type(error).__name__, code=str(getattr(error, "native_code", "")))
            return self.random.uniform(0.05, 0.5)
        self.note(key, "told", id=job.id)
        return None

    def intent(self, key: str) -> float:
        """When the work of a key was begun that nobody knows the outcome of."""
        while True:
            try:
                entry = self.client.journal.get(token_for(self.client.config.target, "job", key))
            except MlportError as error:
                if not error.retryable:
                    raise
                time.sleep(0.1)
            else:
                assert entry is not None, key
                return entry.at

    def note(self, key: str, outcome: str, **more: Any) -> None:
        with self.out.open("a") as stream:
            stream.write(json.dumps({"key": key, "is": outcome, "at": time.time(), **more}) + "\n")


def lines(path: Path) -> list[dict[str, Any]]:
    """The outcomes written so far; the last line of a killed writer may be torn."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("}\n")]


if __name__ == "__main__":
    Submitter(json.loads(sys.argv[1])).run()
