"""The emulator killed in the middle of a job and started again on its folder: the job is found, its log is whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aids.vertex.jobs import create, ended, get, job, pool, printed, until

from mlport.emulation.server import Ready

SERVE = """
import json, sys
from pathlib import Path
from mlport.emulation.server import serve
from mlport_vertex.emulator import EMULATOR
with serve({"vertex": EMULATOR}, Path(sys.argv[1])) as ready:
    print(json.dumps(dict(ready.urls)), flush=True)
    sys.stdin.read()
"""
WAITS = """
import pathlib, sys, time
print("begun", flush=True)
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.02)
print("done")
"""


@contextmanager
def emulator_process(folder: Path) -> Iterator[tuple[Ready, subprocess.Popen[str]]]:
    with subprocess.Popen([sys.executable, "-c", SERVE, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        urls = json.loads(process.stdout.readline())
        yield Ready("vertex", urls, {}, "", folder, folder), process
        if process.stdin is not None:
            process.stdin.close()


def test_jobs_go_on_without_the_emulator_and_are_found_by_the_next(tmp_path: Path) -> None:
    gates = [tmp_path / "gate-0", tmp_path / "gate-1"]
    with emulator_process(tmp_path / "state") as (ready, process):
        early, late = (create(ready, job(pool(WAITS, str(gate))))["name"] for gate in gates)
        for name in (early, late):
            until(ready, name, lambda _, name=name: printed(ready, name) == ["begun"])
        unseen = create(ready, job(pool("print('ran')")))["name"]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    gates[0].touch()
    with emulator_process(tmp_path / "state") as (ready, _):
        assert get(ready, late)["state"] == "JOB_STATE_RUNNING"
        assert ended(ready, early)["state"] == "JOB_STATE_SUCCEEDED"
        assert ended(ready, unseen)["state"] == "JOB_STATE_SUCCEEDED"
        gates[1].touch()
        assert ended(ready, late)["state"] == "JOB_STATE_SUCCEEDED"
        assert [printed(ready, name) for name in (early, late, unseen)] == [["begun", "done"], ["begun", "done"], ["ran"]]
