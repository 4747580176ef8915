"""How `mlport emulate vertex` ends: what it runs ends with it where nothing is kept, and goes on for the next one where it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aids.process import Emulated, command, emulating, nothing_runs
from aids.vertex.jobs import create, get, job, pool, printed, until
from aids.vertex.models import BUCKET, MACHINE, ask, classifier, deploy, done, endpoint, put, upload

from mlport.emulation.at_work import processes
from mlport.emulation.server import Ready

WAITS = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(1)); print('begun', flush=True); time.sleep(600)"


def at_work(ready: Ready, *, all_kinds: bool = True) -> tuple[str, str]:
    """A job that runs and an endpoint that answers; then a deployment, a batch and a job that have hardly begun."""
    model = upload(ready, put(ready, "m/model.pkl", classifier()))
    where = endpoint(ready)
    done(ready, deploy(ready, where, model, {"0": 100}))
    running = create(ready, job(pool(WAITS)))["name"]
    until(ready, running, lambda _: printed(ready, running) == ["begun"])
    if all_kinds:
        put(ready, "rows/in.jsonl", b"[1, 0]\n" * 1000)
        batch = {
            "displayName": "batch",
            "model": model,
            "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [f"gs://{BUCKET}/rows/in.jsonl"]}},
            "outputConfig": {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": f"gs://{BUCKET}/scored"}},
            "dedicatedResources": {"machineSpec": MACHINE["machineSpec"], "startingReplicaCount": 1},
        }
        begun = deploy(ready, endpoint(ready), model, {"0": 100})
        create(ready, batch, "batchPredictionJobs")
        create(ready, job(pool(WAITS)))
        until(ready, begun["name"], lambda seen: "deploymentStage" in seen["metadata"])
    return running, where


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.faults_full)])
def test_nothing_is_left_where_nothing_is_kept(tmp_path: Path, number: int) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    log = tmp_path / "log"
    with log.open("w") as errors, subprocess.Popen(command("vertex"), stdout=subprocess.PIPE, stderr=errors, text=True, env=env) as process:
        emulated = Emulated("vertex", tmp_path / "state")
        assert process.stdout is not None
        emulated.said = json.loads(process.stdout.readline())
        folder = Path(emulated.said["ca"]).parents[1]
        at_work(emulated.ready)
        assert len(processes(folder)) > 4
        process.send_signal(number)
        assert process.wait(90) == 0, log.read_text()
    nothing_runs(tmp_path, seconds=1)
    assert not folder.exists()


def test_what_is_kept_goes_on_and_is_found_by_the_next(tmp_path: Path) -> None:
    with emulating("vertex", tmp_path / "state") as emulated:
        running, where = at_work(emulated.ready, all_kinds=False)
        assert emulated.stop() == 0
        assert processes(emulated.folder)
        emulated.start()
        assert get(emulated.ready, running)["state"] == "JOB_STATE_RUNNING"
        told = ask(emulated.ready, "POST", f"/v1/{where}:predict", {"instances": [[1.0, 0.0], [-1.0, 0.0]]})
        assert told["predictions"] == [True, False]
        ask(emulated.ready, "POST", f"/v1/{running}:cancel")
        ended = until(emulated.ready, running, lambda seen: seen["state"] not in ("JOB_STATE_RUNNING", "JOB_STATE_CANCELLING"))
        assert ended["state"] == "JOB_STATE_CANCELLED"


def test_a_program_that_it_runs_is_told_to_end(tmp_path: Path) -> None:
    gate = tmp_path / "begun"
    program = f"import pathlib, time; pathlib.Path({str(gate)!r}).touch(); time.sleep(600)"
    with subprocess.Popen(
        [*command("vertex"), "--", sys.executable, "-c", program], env={**os.environ, "TMPDIR": str(tmp_path)}
    ) as process:
        until = time.monotonic() + 60
        while not gate.exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        process.terminate()
        assert process.wait(30) != 0
    nothing_runs(tmp_path)
