"""A job from submit to its end: started once, told truthfully, ended for good."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import mlport
from mlport import Job, JobSpec, State, bundle
from mlport.capabilities import Capability as C
from mlport.errors import ConflictError, JobFailedError, NotFoundError, SpecError, UsageError
from mlport.journal import token_for
from mlport.spi import JobStatus, Plan, Recalls
from mlport.testing import needs, programs
from mlport.testing.targets import Targets
from mlport.testing.waiting import eventually
from mlport.transfer import local_path

pytestmark = needs(C.JOB_RUN)
RunProgram = Callable[..., Job]
CLOCKS = timedelta(seconds=60)  # what the provider's clock may differ from ours; a time zone is more


def test_a_job_sees_what_it_was_given_and_leaves_what_it_made(
    run: RunProgram, seconds: float, tmp_path: Path, client: mlport.Client, targets: Targets
) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").write_text("x")
    local = not targets.absent(C.JOB_INPUT_LOCAL)
    inputs = {"rows": str(tmp_path / "rows.csv"), "folder": str(tmp_path / "folder")} if local else {}
    params = {"depth": 6, "rate": 0.5, "fast": True, "kind": "a b"}
    job = run(programs.EVERYTHING, params=params, inputs=inputs, env={"SUITE_VARIABLE": "çé"}, outputs=["plots"]).wait(seconds)
    assert set(job.outputs) == {"model", "plots"}
    assert job.result.exit_code == 0
    if client.can(C.JOB_METRICS):
        assert dict(job.metrics) == {"loss": 0.5}
    found = {name: artifact for name, artifact in job.result.outputs.items() if artifact.digest is not None}
    for name, artifact in found.items():
        if (lies := local_path(artifact.uri)).exists():
            assert bundle.tree_digest(lies) == artifact.digest, f"the digest of output {name} is that of its files"
            assert (artifact.files, artifact.bytes) in ((None, None), (1, bundle.tree_bytes(lies)))
    lies = local_path(job.outputs["model"]) / "seen.json"
    if lies.exists():
        seen = json.loads(lies.read_text())
        assert seen["params"] == params
        assert seen["argv"] == ["--depth", "6", "--rate", "0.5", "--fast", "true", "--kind", "a b"]
        assert (seen["env"], seen["helper"], seen["job"]) == ("çé", 42, job.id)
        assert not local or (seen["rows"], seen["folder"]) == ("a,b\n1,2\n", ["x"])


def test_times_are_aware_in_utc_and_in_order(run: RunProgram, seconds: float) -> None:
    begun = datetime.now(UTC)
    status = run("").wait(seconds).status()
    assert status.created is not None
    assert status.ended is not None
    times = [begun - CLOCKS, status.created, *([status.started] if status.started else []), status.ended, datetime.now(UTC) + CLOCKS]
    assert all(time.tzinfo is not None and time.utcoffset() == timedelta(0) for time in times)
    assert times == sorted(times)


def test_the_same_key_is_the_same_job(run: RunProgram, unique: str, client: mlport.Client) -> None:
    first = run("", key=unique)
    assert run("", key=unique).id == first.id
    found = client.jobs.find(unique)
    assert found is not None
    assert found.id == first.id
    assert [status.id for status in client.jobs.list(name=unique)] == [first.id]


SUBMIT = """
import sys, mlport
from mlport.specs import JobSpec
with mlport.connect(sys.argv[1]) as client:
    print(client.jobs.submit(JobSpec.model_validate_json(sys.argv[2]), key=sys.argv[3]).id)
"""


def test_the_same_key_from_several_processes_is_one_job(
    spec_of: Callable[..., JobSpec], client: mlport.Client, targets: Targets, unique: str, seconds: float
) -> None:
    words = [sys.executable, "-c", SUBMIT, str(targets.target(0)), spec_of("").model_dump_json(), unique]
    racing = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = {process.communicate(timeout=seconds)[0].strip() for process in racing}
    assert [process.returncode for process in racing] == [0, 0, 0]
    assert [status.id for status in client.jobs.list(name=unique)] == list(told)
    Job(told.pop(), client).wait(seconds)


def test_the_same_key_for_other_work_is_a_conflict(run: RunProgram, unique: str) -> None:
    run("", key=unique)
    for other in ({"params": {"a": 1}}, {"env": {"A": "b"}}):
        with pytest.raises(ConflictError):
            run("", key=unique, **other)
    with pytest.raises(ConflictError):
        run("print(1)", key=unique)


def test_the_provider_itself_does_a_token_once(
    spec_of: Callable[..., JobSpec], client: mlport.Client, unique: str, tmp_path: Path, seconds: float
) -> None:
    """Below the journal: what the core relies on when it asks again after an answer was lost."""
    spec = spec_of("")
    plan, token = client.jobs.plan(spec), token_for(client.config.target, "job", unique)
    packed = bundle.pack(str(spec.source), tmp_path / "bundle").path
    jobs = client.session.jobs
    assert jobs.find(token) is None
    first = jobs.submit(plan, token=token, bundle=packed)
    if client.session.find_lag == 0:
        assert jobs.submit(plan, token=token, bundle=packed) == first, "find_lag 0 says that sending again is safe"
    assert eventually(lambda: jobs.find(token), lambda found: found is not None, client.session.find_lag + 1) == first
    Job(first, client).wait(seconds)
    assert (jobs.find(token), jobs.status(first).token) == (first, token)
    assert [status.id for status in client.jobs.list(name=unique)] == [first]


def test_a_job_without_a_key_tells_another_client_how_it_was_asked_for(
    run: RunProgram, spec_of: Callable[..., JobSpec], again: mlport.Client, tmp_path: Path, seconds: float
) -> None:
    """From the journal, or where the job keeps it itself, from the job."""
    asked: dict[str, Any] = {"params": {"depth": 6, "say": "{{é}}"}, "env": {"SUITE_VARIABLE": "b"}}
    job = run("import os; print(os.environ['MLPORT_PARAMS'])", **asked).wait(seconds)
    spec = spec_of("import os; print(os.environ['MLPORT_PARAMS'])", **asked)
    packed = bundle.pack(str(spec.source), tmp_path / "bundle").digest
    found = again.jobs.get(job.id).lineage
    assert found == dict(job.lineage)
    assert (found["params"], found["entrypoint"], found["bundle"]) == (asked["params"], ["python", "main.py"], packed)
    repeated = again.runs.reproduce(job.id).wait(seconds)
    assert repeated.id != job.id
    assert {name: repeated.lineage[name] for name in ("name", "params", "bundle")} == {
        name: found[name] for name in ("name", "params", "bundle")
    }
    spec_of("print('changed')")
    with pytest.raises(ConflictError):
        again.runs.reproduce(job.id)


class KilledError(BaseException):
    """The process dies here: nothing may catch it."""


@pytest.mark.parametrize("sent", [False, True])
def test_a_submit_without_a_key_that_was_killed_leaves_its_job_or_nothing(
    spec_of: Callable[..., JobSpec],
    client: mlport.Client,
    again: mlport.Client,
    unique: str,
    seconds: float,
    monkeypatch: pytest.MonkeyPatch,
    *,
    sent: bool,
) -> None:
    jobs, before = again.session.jobs, {key for key, _ in client.session.state.list("journal/")}
    submit = jobs.submit

    def killed(plan: Plan, **more: Any) -> str:
        if sent:
            submit(plan, **more)
        raise KilledError

    monkeypatch.setattr(jobs, "submit", killed)
    with pytest.raises(KilledError):
        again.jobs.submit(spec_of("", params={"depth": 6}))
    made = eventually(lambda: list(client.jobs.list(name=unique)), lambda found: len(found) == sent, seconds)
    for status in made:
        assert Job(status.id, client).wait(seconds).lineage["params"] == {"depth": 6}
    entries = [json.loads(found.value) for key, found in client.session.state.list("journal/") if key not in before]
    assert {entry["id"] for entry in entries if entry["plan"]["name"] == unique} <= {None}, "nobody was told of an id"
    if isinstance(client.session, Recalls) and client.session.find_lag == 0:
        assert not [entry for entry in entries if entry["plan"]["name"] == unique]


def test_success_is_sticky(run: RunProgram, client: mlport.Client, again: mlport.Client, seconds: float) -> None:
    seen: list[JobStatus] = []
    job = run("").wait(seconds, on_look=seen.append)
    ended = job.status()
    assert [status.state.terminal for status in seen] == [False] * (len(seen) - 1) + [True]
    if client.can(C.JOB_CANCEL):
        job.cancel()
    for _ in range(3):
        assert job.status() == ended
    assert again.jobs.get(job.id).status() == ended
    assert again.jobs.get(job.id).result == job.result


def test_a_failure_says_why(run: RunProgram, seconds: float) -> None:
    job = run("import sys; print('the last words'); sys.exit(3)")
    with pytest.raises(JobFailedError) as caught:
        job.wait(seconds)
    status = job.status()
    assert (status.state, status.cause, job.result.exit_code, caught.value.state) == (State.FAILED, "exit", 3, "FAILED")
    assert "3" in status.reason
    assert job.status() == status


def test_a_program_that_does_not_exist_is_named(client: mlport.Client, unique: str, seconds: float) -> None:
    spec = JobSpec(name=unique, entrypoint=("mlport-suite-no-such-program",))
    with pytest.raises((SpecError, JobFailedError), match="mlport-suite-no-such-program"):
        client.jobs.submit(spec).wait(seconds)


@needs(C.JOB_INPUT_LOCAL)
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_an_input_that_changed_since_the_plan_ends_the_job_before_it_starts(
    client: mlport.Client, unique: str, tmp_path: Path, seconds: float, kind: str
) -> None:
    place = tmp_path / "rows"
    file = place if kind == "file" else place / "part"
    file.parent.mkdir(exist_ok=True)
    file.write_text("as planned")
    plan = client.jobs.plan(JobSpec(name=unique, entrypoint=("python", "-c", "print('started')"), inputs={"rows": str(place)}))
    file.write_text("and changed")
    job = Job(client.session.jobs.submit(plan, token=token_for("", "job", None)), client)
    with pytest.raises(JobFailedError, match="rows"):
        job.wait(seconds)
    assert (job.status().state, job.status().cause) == (State.FAILED, "input changed")
    assert "started" not in (list(job.logs()) if client.can(C.JOB_LOGS) else [])


def test_a_running_job_has_no_result_and_stays(run: RunProgram, client: mlport.Client) -> None:
    job = run("import time; time.sleep(600)")
    for ask in (lambda: client.session.jobs.result(job.id), job.delete):
        with pytest.raises(ConflictError):
            ask()
    assert not job.state.terminal


def test_a_deleted_job_is_gone_and_deleting_the_absent_is_fine(run: RunProgram, client: mlport.Client, seconds: float) -> None:
    job = run("").wait(seconds)
    job.delete()
    job.delete()
    with pytest.raises(NotFoundError):
        client.jobs.get(job.id)


@pytest.mark.parametrize("name", ["../../etc", "a/b", "", "%2e%2e"])
def test_an_id_that_is_none_is_not_found(client: mlport.Client, name: str) -> None:
    with pytest.raises(UsageError):
        client.session.jobs.status(name)
