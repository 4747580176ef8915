"""Secrets of jobs: they reach the program on each kind of compute, are read nowhere else, and are gone when the job has ended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aids.databricks.account import Account
from aids.databricks.jobs import CLUSTER, RUNNABLE, ask
from aids.databricks.place import set_faults

import mlport
from mlport import Job, JobSpec, ScheduleSpec, State
from mlport.capabilities import Capability
from mlport.emulation.server import Ready
from mlport.errors import AmbiguousError, JobFailedError, MlportError, NotFoundError, PermissionDeniedError, SpecError, UnsupportedError
from mlport.waiting import wait_until
from mlport_databricks.emulator.accounts import HOST, PLAIN, SECRET_SCOPE, token_of
from mlport_databricks.in_job import entry
from mlport_databricks.workspace.secret_scope import LARGEST, key_of

ROOT = "/api/2.0/secrets"
SUBMIT = "POST */api/2.2/jobs/runs/submit"
PROGRAM = "import hashlib, os; print('digest', hashlib.sha256(os.environ['WORD'].encode()).hexdigest())"
FAILS_ONCE = """
import os, pathlib, sys
seen = pathlib.Path(os.environ["MLPORT_CHECKPOINT_DIR"], "seen")
print("read", len(os.environ["WORD"]))
again = seen.exists()
seen.write_text("x")
sys.exit(0 if again else 4)
"""


@pytest.fixture(autouse=True)
def no_faults(emulator: Ready) -> Iterator[None]:
    yield
    set_faults(emulator)


@pytest.fixture
def word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The value of the variable WORD; one that JSON writes in another way."""
    value = f'hush "{tmp_path.name}" ü\n{{{{x}}}}'
    monkeypatch.setenv("WORD", value)
    return value


def spec(tmp_path: Path, script: str = PROGRAM, **fields: Any) -> JobSpec:
    name = tmp_path.name.replace("_", "-")[:60]
    return JobSpec.model_validate({"name": name, "entrypoint": ["python", "-c", script], "secrets": ["WORD"], **fields})


def kept(ready: Ready) -> list[str]:
    """The keys in the scope."""
    found = ask(ready, "GET", f"{ROOT}/list?scope={SECRET_SCOPE}")
    return [each["key"] for each in found.get("secrets", ())]


def everything(ready: Ready, job: Job) -> str:
    """All that the workspace shows of a run, and every file of its folder."""
    run = ask(ready, "GET", f"/api/2.2/jobs/runs/get?run_id={job.id}")
    folder = next(ready.folder.glob(f"databricks/files/**/jobs/{job.status().token}"))
    return json.dumps(run, ensure_ascii=False) + "".join(path.read_text() for path in folder.rglob("*") if path.is_file())


@RUNNABLE
@pytest.mark.parametrize("cluster", ["job", "serverless", "existing"])
def test_a_secret_reaches_the_program_on_each_kind_of_compute(
    client: mlport.Client, emulator: Ready, tmp_path: Path, word: str, cluster: str
) -> None:
    if cluster == "existing":
        cluster = ask(emulator, "POST", "/api/2.1/clusters/create", {**CLUSTER, "cluster_name": "there"})["cluster_id"]
    job = client.jobs.submit(spec(tmp_path, options={"databricks": {"cluster": cluster}}), key=tmp_path.name)
    assert kept(emulator) == [key_of(str(job.status().token))]
    job.wait(60)
    assert f"digest {hashlib.sha256(word.encode()).hexdigest()}" in list(job.logs())
    assert kept(emulator) == []
    shown = everything(emulator, job)
    assert "digest" in shown, "the log is among it"
    assert tmp_path.name.replace("_", "-")[:60] in shown
    assert "hush" not in shown


@RUNNABLE
def test_a_later_attempt_reads_it_again(client: mlport.Client, emulator: Ready, tmp_path: Path, word: str) -> None:
    job = client.jobs.submit(spec(tmp_path, FAILS_ONCE, retries=1)).wait(60)
    assert [line for line in job.logs() if line.startswith("read")] == [f"read {len(word)}"] * 2
    assert kept(emulator) == []
    asked = client.session.asked(job.id)  # type: ignore[attr-defined]
    assert asked["spec"]["secrets"] == ["WORD"]
    assert "hush" not in json.dumps(asked, ensure_ascii=False) + everything(emulator, job)


@RUNNABLE
def test_who_deletes_a_job_that_nobody_looked_at_removes_its_secrets(
    client: mlport.Client, emulator: Ready, tmp_path: Path, word: str
) -> None:
    job = client.jobs.submit(spec(tmp_path))
    ended = wait_until(
        lambda: ask(emulator, "GET", f"/api/2.2/jobs/runs/get?run_id={job.id}")["state"], lambda seen: "result_state" in seen, timeout=60
    )
    assert ended["result_state"] == "SUCCESS"
    assert len(kept(emulator)) == 1
    client.session.jobs.delete(job.id)
    assert kept(emulator) == []


def test_of_a_refused_submit_nothing_is_left(client: mlport.Client, emulator: Ready, tmp_path: Path, word: str) -> None:
    set_faults(emulator, {"match": SUBMIT, "times": 1, "effect": "error", "status": 403})
    with pytest.raises(PermissionDeniedError):
        client.jobs.submit(spec(tmp_path), key=tmp_path.name)
    assert kept(emulator) == []


@RUNNABLE
def test_what_a_run_may_read_stays_when_a_later_submit_of_it_is_refused(
    client: mlport.Client, emulator: Ready, tmp_path: Path, word: str
) -> None:
    hidden = {"match": SUBMIT, "effect": "lag", "seconds": 60}
    set_faults(emulator, {"match": SUBMIT, "times": 2, "effect": "reset", "when": "after"}, hidden)
    with pytest.raises(AmbiguousError):
        client.jobs.submit(spec(tmp_path), key=tmp_path.name)
    set_faults(emulator, {"match": SUBMIT, "times": 1, "effect": "error", "status": 429}, hidden)
    with pytest.raises(MlportError):
        client.jobs.submit(spec(tmp_path), key=tmp_path.name)
    assert len(kept(emulator)) == 1
    set_faults(emulator)
    assert client.jobs.submit(spec(tmp_path), key=tmp_path.name).wait(60).state is State.SUCCEEDED
    assert kept(emulator) == []


@RUNNABLE
def test_a_run_that_may_not_read_the_scope_says_so(account: Account, emulator: Ready, tmp_path: Path, word: str) -> None:
    job = account(run_as=PLAIN.name).jobs.submit(spec(tmp_path, retries=1))
    with pytest.raises(JobFailedError):
        job.wait(60)
    status = job.status()
    assert status.cause == "environment"
    assert "the secrets cannot be read from mlport" in status.reason
    assert "READ permission on scope" in status.reason
    assert word not in status.reason
    assert kept(emulator) == []


def test_who_may_not_write_the_scope_is_told_before_anything_runs(account: Account, emulator: Ready, tmp_path: Path, word: str) -> None:
    plain = account(token=token_of(HOST, PLAIN))
    with pytest.raises(PermissionDeniedError, match=r"scope: mlport"):
        plain.session.jobs.submit(plain.jobs.plan(spec(tmp_path)), token="t1", secrets={"WORD": word})
    told = {finding.check: finding for finding in plain.session.doctor()}
    assert not told["secret scope mlport"].ok
    assert "WRITE" in told["secret scope mlport"].hint


def test_what_a_scope_does_not_take_is_refused(client: mlport.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORD", "x" * LARGEST)
    with pytest.raises(SpecError, match=r"JobSpec\.secrets: they take 131,084 bytes"):
        client.jobs.submit(spec(tmp_path))


def test_a_profile_without_a_scope_says_what_is_missing(account: Account, tmp_path: Path, word: str) -> None:
    bare = account(secret_scope=None)
    assert "secret_scope" in bare.provider.supports(bare.config)[Capability.JOB_SECRETS].detail
    with pytest.raises(UnsupportedError, match="secret_scope"):
        bare.jobs.submit(spec(tmp_path))
    missing = account(secret_scope="none")
    with pytest.raises(NotFoundError, match="Scope none does not exist"):
        missing.jobs.submit(spec(tmp_path))


def test_a_plan_has_the_place_and_no_value(client: mlport.Client, tmp_path: Path, word: str) -> None:
    plan = client.jobs.plan(spec(tmp_path))
    put = plan.requests[0]
    assert put.body == {"scope": "mlport", "key": "mlport-${token}", "string_value": "${secrets}"}
    assert "hush" not in json.dumps(plan.to_json())


def test_a_schedule_has_nowhere_to_take_them_from(client: mlport.Client, tmp_path: Path, word: str) -> None:
    with pytest.raises(SpecError, match=r"JobSpec\.secrets: Databricks' clock"):
        client.schedules.create(ScheduleSpec(name="nightly", cron="0 3 * * *", job=spec(tmp_path)))


def test_the_program_takes_the_runtimes_own_dbutils_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where its file is run as text: then it is a name of the program."""
    given = object()
    monkeypatch.setattr(entry, "dbutils", given, raising=False)
    assert entry.utilities() is given
