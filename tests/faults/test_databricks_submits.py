"""1,000 submits to Databricks under random faults, by clients that are killed, and by an emulator that is: none is doubled, none is lost.

Databricks makes one run of one token, so there is no time for which a submit has to stay unknown: who asks is left without an answer
only where none of the two requests of that very ask was answered, and no look found the run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aids.databricks.jobs import RUNNABLE
from aids.databricks.place import call
from aids.process import emulating
from aids.submits.run import Clients, Emulator, Run, check, report, unknown

import mlport
from mlport.emulation.server import Ready
from mlport_databricks.names import of_run_name

pytestmark = RUNNABLE
SUBMIT, LIST = "POST */jobs/runs/submit", "GET */jobs/runs/list*"
STORE, FILES, WORKSPACE = {"host": "*s3*.amazonaws.com"}, {"match": "* */fs/files/*"}, {"match": "* /api/2.0/workspace/*"}
LAG = 2.0  # seconds for which a run may be in no list
FAULTS: tuple[dict[str, Any], ...] = (
    {"match": SUBMIT, "effect": "error", "status": 429, "probability": 0.06},
    {"match": SUBMIT, "effect": "error", "status": 500, "probability": 0.06},
    {"match": SUBMIT, "effect": "error", "status": 500, "when": "after", "probability": 0.06},
    {"match": SUBMIT, "effect": "error", "status": 503, "probability": 0.06},
    {"match": SUBMIT, "effect": "error", "status": 503, "when": "after", "probability": 0.06},
    {"match": SUBMIT, "effect": "reset", "probability": 0.06},
    {"match": SUBMIT, "effect": "reset", "when": "after", "probability": 0.08},
    {"match": SUBMIT, "effect": "delay", "seconds": 0.5, "probability": 0.1},
    {"match": SUBMIT, "effect": "lag", "seconds": LAG, "probability": 0.7},
    {"match": LIST, "effect": "error", "status": 429, "probability": 0.1},
    {"match": LIST, "effect": "error", "status": 503, "probability": 0.1},
    {"match": LIST, "effect": "reset", "probability": 0.05},
    {**FILES, "effect": "error", "status": 429, "probability": 0.01},
    {**FILES, "effect": "error", "status": 503, "probability": 0.01},
    {**FILES, "effect": "error", "status": 500, "when": "after", "probability": 0.01},
    {**FILES, "effect": "reset", "probability": 0.01},
    {**FILES, "effect": "reset", "when": "after", "probability": 0.01},
    {**WORKSPACE, "effect": "error", "status": 503, "probability": 0.05},
    {**WORKSPACE, "effect": "reset", "when": "after", "probability": 0.05},
    {**STORE, "effect": "error", "status": 503, "probability": 0.004},
    {**STORE, "effect": "reset", "probability": 0.004},
    {**STORE, "effect": "reset", "when": "after", "probability": 0.004},
)
QUICK = Run(submits=40, real=40, followed=4, clients=3, kills=3, sending=0.5, seed=20261125, seconds=300)
THOUSAND = Run(submits=1000, real=1000, followed=50, clients=4, kills=24, restarts=6, sending=10.0, seed=20261126)


def made(ready: Ready) -> Iterator[tuple[str, str]]:
    """Token and id of every run that the emulator has."""
    page = ""
    while True:
        status, said = call(ready, "GET", f"/api/2.2/jobs/runs/list?limit=25{page}")
        assert status == 200, said
        for run in said.get("runs", ()):
            named = of_run_name(run["run_name"])
            assert named is not None, run
            yield named[1], str(run["run_id"])
        if not said["has_more"]:
            return
        page = f"&page_token={said['next_page_token']}"


@pytest.mark.parametrize("run", [pytest.param(QUICK, id="40"), pytest.param(THOUSAND, id="1000", marks=pytest.mark.faults_full)])
def test_none_is_doubled_and_none_is_lost(run: Run, tmp_path: Path) -> None:
    """Nor does anybody have to wait until it is known: each who was told so had both requests of that ask struck."""
    with emulating("databricks", tmp_path / "state") as emulated:

        def restart() -> None:
            emulated.kill()
            emulated.start()

        target = emulated.ready.targets["databricks"]
        emulator = Emulator([target], FAULTS, lambda *asked: call(emulated.ready, *asked), restart=restart)
        clients = Clients(run, emulator, tmp_path)
        try:
            seconds = clients.finish()
        finally:
            clients.close()
        outcomes = list(clients.outcomes())
        print(report(run, clients.struck, outcomes, seconds))
        assert emulated.ready.targets["databricks"] == target
        time.sleep(max(0.0, max(line["at"] for line in outcomes) + LAG - time.time()))  # what is there is listed from now on
        with mlport.connect(target) as client:
            check(run, list(made(emulated.ready)), outcomes, client)
    struck = sum(count for rule, count in clients.struck.items() if rule.startswith(SUBMIT) and ("error" in rule or "reset" in rule))
    cut = 2 * run.clients * run.restarts  # requests that a kill may have left without an answer
    assert 2 * len(unknown(outcomes)) <= struck + cut
