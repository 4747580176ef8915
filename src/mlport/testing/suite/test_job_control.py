"""How a job ends other than by itself, and what it can be given: cancel, timeout, retries, nodes, secrets, packages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import mlport
from mlport import Job, JobSpec, State
from mlport.capabilities import Capability as C
from mlport.errors import JobFailedError
from mlport.spi import JobStatus
from mlport.testing import needs, programs
from mlport.testing.waiting import eventually, steadily

pytestmark = needs(C.JOB_RUN)
RunProgram = Callable[..., Job]
QUIET = 0.5  # a program that prints 50 times a second would have been heard


def ticks(job: Job) -> set[str]:
    return {line for line in job.logs() if line.startswith("tick")}


@needs(C.JOB_CANCEL, C.JOB_LOGS)
def test_cancel_ends_the_job_and_all_that_it_started(run: RunProgram, seconds: float) -> None:
    job = run(programs.TICK)
    eventually(lambda: ticks(job), lambda seen: seen == {"tick parent", "tick child"}, seconds)
    job.cancel()
    with pytest.raises(JobFailedError):
        job.wait(seconds)
    assert (job.state, job.status().cause) == (State.CANCELLED, "cancelled")
    heard = len(list(job.logs()))
    assert steadily(lambda: len(list(job.logs())), lambda now: now == heard, QUIET), "it says CANCELLED, but still prints"


@needs(C.JOB_CANCEL)
def test_a_cancelled_job_stays_cancelled_and_has_a_result(run: RunProgram, again: mlport.Client, seconds: float) -> None:
    job = run("import time; time.sleep(600)")
    job.cancel()
    job.cancel()
    with pytest.raises(JobFailedError, match="CANCELLED"):
        job.wait(seconds)
    job.cancel()
    assert again.jobs.get(job.id).state is State.CANCELLED
    assert job.result.exit_code != 0
    job.delete()


DIES_SLOWLY = """
import signal, sys, time
def end(*_):
    time.sleep(0.7)
    sys.exit(1)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
while True:
    time.sleep(0.02)
"""


@needs(C.JOB_CANCEL, C.JOB_LOGS)
def test_what_is_being_cancelled_has_not_ended(run: RunProgram, seconds: float) -> None:
    job = run(DIES_SLOWLY)
    eventually(lambda: list(job.logs()), lambda lines: "ready" in lines, seconds)
    job.cancel()
    seen: list[JobStatus] = []
    with pytest.raises(JobFailedError):
        job.wait(seconds, on_look=seen.append)
    assert (seen[-1].state, seen[-1].cause) == (State.CANCELLED, "cancelled"), "the first state that is an end is the last"
    assert job.status() == seen[-1]


@needs(C.JOB_TIMEOUT)
def test_a_timeout_ends_the_job_as_failed(run: RunProgram, seconds: float) -> None:
    job = run("import time; time.sleep(600)", timeout="500ms")
    with pytest.raises(JobFailedError):
        job.wait(seconds)
    status = job.status()
    assert (status.state, status.cause) == (State.FAILED, "timeout")
    assert status.reason


FAILS_ONCE = """
import os, pathlib, sys
place = pathlib.Path(os.environ["MLPORT_CHECKPOINT_DIR"], "seen")
if not place.exists():
    place.write_text("1")
    sys.exit(1)
print("checkpoint", place.read_text())
"""


@needs(C.JOB_RETRY, C.JOB_CHECKPOINT, C.JOB_LOGS)
def test_a_retry_finds_the_checkpoint(run: RunProgram, seconds: float) -> None:
    job = run(FAILS_ONCE, retries=2).wait(seconds)
    assert job.status().attempt == 2
    assert "checkpoint 1" in list(job.logs())


@needs(C.JOB_RETRY)
def test_retries_come_to_an_end(run: RunProgram, seconds: float) -> None:
    job = run("raise SystemExit(7)", retries=1)
    with pytest.raises(JobFailedError):
        job.wait(seconds)
    assert (job.status().attempt, job.result.exit_code) == (2, 7)


NODE = """
import os
print("node", os.environ["MLPORT_NODE_RANK"], "of", os.environ["MLPORT_NUM_NODES"], "at", bool(os.environ["MLPORT_MAIN_ADDRESS"]), flush=True)
"""


@needs(C.JOB_NODES, C.JOB_LOGS)
def test_each_node_knows_its_rank(run: RunProgram, seconds: float) -> None:
    job = run(NODE, compute={"nodes": 2, "cpus": 0.5, "memory_gib": 0.5}).wait(seconds)
    lines = "\n".join(job.logs())
    assert all(f"node {rank} of 2 at True" in lines for rank in (0, 1)), lines


TELLS_DIGEST = """
import hashlib, os
print("digest", hashlib.sha256(os.environ["SUITE_SECRET"].encode()).hexdigest())
"""


@needs(C.JOB_SECRETS, C.JOB_LOGS)
def test_a_secret_reaches_the_program_and_nothing_else(
    run: RunProgram, client: mlport.Client, unique: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    value = f"secret-{unique}"
    monkeypatch.setenv("SUITE_SECRET", value)
    job = run(TELLS_DIGEST, secrets=["SUITE_SECRET"], key=unique)
    monkeypatch.setenv("SUITE_SECRET", "another")
    job.wait(seconds)
    status, lines = job.status(), list(job.logs())
    assert f"digest {hashlib.sha256(value.encode()).hexdigest()}" in lines
    assert not [line for line in lines if value in line]
    entry = client.journal.get(status.token or "")
    assert entry is not None
    assert value not in json.dumps([entry.plan, str(status), str(job.result), dict(job.lineage)], default=str)
    assert not [key for key, stored in client.session.state.list("") if value.encode() in stored.value]


@needs(C.JOB_REQUIREMENTS, C.JOB_LOGS)
def test_requirements_are_installed_for_the_job_alone(run: RunProgram, tmp_path: Path, unique: str, seconds: float) -> None:
    name = unique.replace("-", "_")
    wheel = programs.wheel(tmp_path, name)
    job = run(f"import {name}; print('value', {name}.VALUE)", requirements=[f"{name} @ {wheel.as_uri()}"]).wait(seconds)
    assert "value 42" in list(job.logs())
    with pytest.raises(JobFailedError):
        run(f"import {name}").wait(seconds)


@needs(C.JOB_REQUIREMENTS)
def test_requirements_that_cannot_be_had_fail_the_job_by_name(client: mlport.Client, unique: str, tmp_path: Path, seconds: float) -> None:
    missing = (tmp_path / "absent-1.0-py3-none-any.whl").as_uri()
    job = client.jobs.submit(JobSpec(name=unique, entrypoint=("python", "-c", "print('started')"), requirements=(f"absent @ {missing}",)))
    with pytest.raises(JobFailedError):
        job.wait(seconds)
    assert job.status().cause == "environment"
    assert "started" not in (list(job.logs()) if job.client.can(C.JOB_LOGS) else [])
