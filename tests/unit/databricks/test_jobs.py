"""Jobs against the emulated workspace, beyond what every provider is held to: lost answers, each kind of cluster, what is left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aids.databricks.account import Account
from aids.databricks.place import set_faults

import mlport
from mlport import Job, JobSpec, State
from mlport.emulation.server import Ready
from mlport.errors import AmbiguousError, ConflictError, JobFailedError, MlportError, NotFoundError
from mlport.journal import token_for
from mlport.spi import Query
from mlport.waiting import wait_until
from mlport_databricks.emulator.accounts import HOST, PLAIN, token_of
from mlport_databricks.names import job_folder
from mlport_databricks.session import DatabricksSession

SUBMIT = "POST */api/2.2/jobs/runs/submit"
ATTEMPTS = """
import json, os, pathlib, sys
seen = pathlib.Path(os.environ["MLPORT_CHECKPOINT_DIR"], "seen")
count = int(seen.read_text()) if seen.exists() else 0
seen.write_text(str(count + 1))
print("attempt", count + 1)
with open(os.environ["MLPORT_METRICS"], "a") as metrics:
    metrics.write(json.dumps({"count": count + 1}) + "\\n")
pathlib.Path(os.environ["MLPORT_OUTPUT_MODEL"], "file").write_text("kept")
sys.exit(0 if count == 2 else 4)
"""


@pytest.fixture(autouse=True)
def no_faults(emulator: Ready) -> Iterator[None]:
    yield
    set_faults(emulator)


def spec(folder: Path, script: str = "print('hello')", **fields: Any) -> JobSpec:
    source = folder / "source"
    source.mkdir(exist_ok=True)
    (source / "main.py").write_text(script)
    return JobSpec.model_validate(
        {"name": folder.name.replace("_", "-")[:60], "source": str(source), "entrypoint": ["python", "main.py"], **fields}
    )


@pytest.mark.parametrize("fault", [{"effect": "reset", "when": "after"}, {"effect": "error", "status": 503, "when": "before"}])
def test_a_lost_answer_is_asked_for_again_and_gives_the_same_run(
    client: mlport.Client, emulator: Ready, tmp_path: Path, fault: dict[str, Any]
) -> None:
    set_faults(emulator, {"match": SUBMIT, "times": 1, **fault})
    job = client.jobs.submit(spec(tmp_path), key=tmp_path.name)
    job.wait(60)
    name = job.status().name
    assert [status.id for status in client.jobs.list(name=name)] == [job.id]


@pytest.mark.parametrize("status", [429, 403])
def test_a_refusal_after_a_lost_answer_does_not_say_that_nothing_was_done(
    client: mlport.Client, emulator: Ready, tmp_path: Path, status: int
) -> None:
    lost = {"match": SUBMIT, "times": 1, "effect": "reset", "when": "after"}
    hidden = {"match": SUBMIT, "effect": "lag", "seconds": 60}
    set_faults(emulator, lost, {"match": SUBMIT, "skip": 1, "times": 1, "effect": "error", "status": status}, hidden)
    with pytest.raises(AmbiguousError):
        client.jobs.submit(spec(tmp_path), key=tmp_path.name)
    set_faults(emulator)
    job = client.jobs.submit(spec(tmp_path), key=tmp_path.name)
    assert job.wait(60).state is State.SUCCEEDED
    with pytest.raises(ConflictError):
        client.jobs.submit(spec(tmp_path, "print('other')"), key=tmp_path.name)


def test_a_run_whose_answers_were_all_lost_is_found(
    client: mlport.Client, session: DatabricksSession, emulator: Ready, tmp_path: Path
) -> None:
    token = token_for(client.config.target, "job", tmp_path.name)
    assert session.jobs.find(token) is None
    set_faults(emulator, {"match": SUBMIT, "times": 2, "effect": "reset", "when": "after"})
    job = client.jobs.submit(spec(tmp_path), key=tmp_path.name)
    set_faults(emulator)
    assert session.jobs.find(token) == job.id
    job.wait(60)
    assert client.jobs.submit(spec(tmp_path), key=tmp_path.name).id == job.id


@pytest.fixture
def calls(session: DatabricksSession, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every request from now on: verb and path."""
    seen: list[str] = []
    exchange = session.connection.exchange

    def counted(verb: str, path: str, **more: Any) -> Any:
        seen.append(f"{verb} {path}")
        return exchange(verb, path, **more)

    monkeypatch.setattr(session.connection, "exchange", counted)
    return seen


def entries(client: mlport.Client) -> set[str]:
    return {key for key, _ in client.session.state.list("journal/")}


@pytest.mark.parametrize("sourced", [True, False])
def test_a_submit_without_a_key_is_one_upload_and_one_call(
    client: mlport.Client, session: DatabricksSession, calls: list[str], tmp_path: Path, *, sourced: bool
) -> None:
    session.jobs.place_program()
    calls.clear()
    before = entries(client)
    wanted = spec(tmp_path) if sourced else JobSpec(name="no-source", entrypoint=("python", "-c", "print('hello')"))
    job = client.jobs.submit(wanted)
    token = str(session.jobs.status(job.id).token)
    place = f"{job_folder(session.config, token)}/{'bundle.tar.gz' if sourced else 'submitted'}"
    assert calls[:2] == [f"PUT /api/2.0/fs/files{place}", "POST /api/2.2/jobs/runs/submit"]
    assert all(call.startswith("GET /api/2.2/jobs/runs/get") for call in calls[2:])
    assert entries(client) == before
    assert session.jobs.find(token) == job.id
    assert list(job.wait(60).logs()) == ["hello"]


def test_a_submit_without_a_key_that_is_not_answered_is_settled_or_tells_its_token(
    client: mlport.Client, session: DatabricksSession, emulator: Ready, tmp_path: Path
) -> None:
    wanted, before = spec(tmp_path), entries(client)
    set_faults(emulator, {"match": SUBMIT, "times": 1, "effect": "reset", "when": "after"})
    settled = client.jobs.submit(wanted)
    lost = {"match": SUBMIT, "times": 2, "effect": "reset", "when": "after"}
    set_faults(emulator, lost, {"match": "GET */jobs/runs/list*", "times": 1, "effect": "error", "status": 503})
    with pytest.raises(AmbiguousError, match=r"token [0-9a-f]{32}") as caught:
        client.jobs.submit(wanted)
    set_faults(emulator)
    token = str(caught.value).partition("(token ")[2][:32]
    found = session.jobs.find(token)
    assert found is not None
    assert {status.id for status in client.jobs.list(name=wanted.name)} == {settled.id, found}
    assert entries(client) == before
    for job_id in (settled.id, found):
        Job(job_id, client).wait(60)


@pytest.mark.parametrize("nodes", [1, 2])
def test_what_must_not_be_in_parameters_reaches_the_program_by_the_volume(
    client: mlport.Client, session: DatabricksSession, account: Account, tmp_path: Path, nodes: int
) -> None:
    params = {"template": "{{job.run_id}} é", "text": "x" * 20_000}
    show = "import json, os; print(json.loads(os.environ['MLPORT_PARAMS']) == json.load(open('wanted.json')))"
    wanted = spec(tmp_path, show, params=params, compute={"nodes": nodes})
    (tmp_path / "source" / "wanted.json").write_text(json.dumps(params))
    job = client.jobs.submit(wanted).wait(90)
    assert [line.rpartition(" ")[2] for line in job.logs()] == ["True"] * nodes
    folder = job_folder(session.config, str(job.status().token))
    assert f"{folder}/manifest.json" in [path for path, _ in session.connection.files.walk(folder)]
    assert account().jobs.get(job.id).lineage["params"] == params


def test_retries_keep_checkpoints_metrics_and_the_log_of_each_attempt(
    client: mlport.Client, session: DatabricksSession, tmp_path: Path
) -> None:
    job = client.jobs.submit(spec(tmp_path, ATTEMPTS, retries=3)).wait(60)
    status = job.status()
    assert (status.state, status.attempt, job.result.exit_code) == (State.SUCCEEDED, 3, 0)
    assert [line for line in job.logs() if line.startswith("attempt")] == ["attempt 1", "attempt 2", "attempt 3"]
    assert [point.value for point in session.jobs.metrics(job.id)] == [1.0, 2.0, 3.0]
    destination = tmp_path / "got"
    session.connection.files.download(job.outputs["model"].removeprefix("dbfs://"), destination)
    assert (destination / "file").read_text() == "kept"
    folder = job_folder(session.config, str(status.token))
    job.delete()
    assert list(session.connection.files.walk(folder)) == []
    with pytest.raises(NotFoundError):
        job.status()


def test_serverless_tells_its_labels_and_kind_from_the_manifest(client: mlport.Client, tmp_path: Path) -> None:
    wanted = spec(tmp_path, labels={"team": "risk"}, options={"databricks": {"cluster": "serverless"}})
    job = client.jobs.submit(wanted).wait(60)
    assert (job.status().labels["team"], job.status().kind) == ("risk", "job")
    assert job.id in [status.id for status in client.jobs.list(labels={"team": "risk"})]
    assert list(job.logs()) == ["hello"]


def test_a_cluster_that_is_not_there_fails_and_says_so(client: mlport.Client, tmp_path: Path) -> None:
    with pytest.raises(MlportError, match="0923-164208-absent9"):
        client.jobs.submit(spec(tmp_path, options={"databricks": {"cluster": "0923-164208-absent9"}})).wait(60)


def test_a_run_that_never_began_tells_what_databricks_kept(client: mlport.Client, session: DatabricksSession, tmp_path: Path) -> None:
    library = {"pypi": {"package": "mlport-no-such-package-anywhere==9"}}
    job = client.jobs.submit(spec(tmp_path, options={"databricks": {"libraries": [library]}}))
    with pytest.raises(JobFailedError):
        job.wait(90)
    status = job.status()
    assert (status.state, status.cause) == (State.FAILED, "environment"), status
    assert status.reason
    page = session.jobs.logs(job.id)
    assert page.complete
    assert not session.jobs.logs(job.id, after=page.after).lines


def test_logs_and_metrics_come_while_it_runs_and_cancel_ends_it(client: mlport.Client, session: DatabricksSession, tmp_path: Path) -> None:
    job = client.jobs.submit(spec(tmp_path, "import time\nprint('begun', flush=True)\ntime.sleep(300)"))
    wait_until(lambda: session.jobs.logs(job.id), lambda page: "begun" in page.lines, timeout=60)
    assert job.state is State.RUNNING
    job.cancel()
    with pytest.raises(JobFailedError, match="CANCELLED"):
        job.wait(60)
    assert job.status().cause == "cancelled"


NODES = """
import os, socket
print("node", os.environ["MLPORT_NODE_RANK"], "of", os.environ["MLPORT_NUM_NODES"], "at", os.environ["MLPORT_MAIN_ADDRESS"], flush=True)
if os.environ["MLPORT_NODE_RANK"] == "1":
    raise SystemExit(5)
"""


def test_several_nodes_meet_and_one_that_fails_fails_the_job(client: mlport.Client, tmp_path: Path) -> None:
    job = client.jobs.submit(spec(tmp_path, NODES, compute={"nodes": 2}))
    with pytest.raises(JobFailedError):
        job.wait(90)
    status = job.status()
    assert (status.state, status.cause, job.result.exit_code) == (State.FAILED, "exit", 5)
    told = sorted(line.rpartition(" at ")[0] for line in job.logs() if " at " in line)
    assert told == ["[0] node 0 of 2", "[1] node 1 of 2"]


def test_a_listing_of_the_oldest_first_is_the_other_turned_round(session: DatabricksSession) -> None:
    def ids(*, newest_first: bool, size: int) -> list[str]:
        found: list[str] = []
        page: str | None = None
        while True:
            answer = session.jobs.list(Query(newest_first=newest_first, page_size=size), page)
            found += [status.id for status in answer.items]
            page = answer.next
            if page is None:
                return found

    newest = ids(newest_first=True, size=100)
    assert len(newest) > 3
    assert ids(newest_first=False, size=2) == newest[::-1]


def test_runs_of_others_are_not_ours(session: DatabricksSession) -> None:
    task = {
        "task_key": "a",
        "spark_python_task": {"python_file": "/Workspace/Shared/absent.py"},
        "existing_cluster_id": "0923-164208-absent9",
    }
    before = {status.id for status in session.jobs.list(Query()).items}
    with suppress(MlportError):  # whether such a run is taken is not what is asked here
        session.connection.call("POST", "/api/2.2/jobs/runs/submit", operation="jobs.submit", body={"run_name": "nightly", "tasks": [task]})
    assert {status.id for status in session.jobs.list(Query()).items} == before


# ---------------------------------------------------------------- doctor


def test_the_doctor_finds_all_well(client: mlport.Client) -> None:
    findings = list(client.session.doctor())
    assert [finding for finding in findings if not finding.ok] == []
    assert {"credentials", "identity", "state", "volume files", "warehouse"} <= {finding.check for finding in findings}


def test_the_doctor_names_what_is_missing(account: Account) -> None:
    plain = account(token=token_of(HOST, PLAIN), warehouse_id="0000000000000000")
    told = {finding.check: finding for finding in plain.session.doctor()}
    assert told["credentials"].ok
    assert not told["volume main.ml.mlport"].ok
    assert "WRITE VOLUME" in told["volume main.ml.mlport"].hint
    assert not told["warehouse"].ok
    assert not told["volume files"].ok
    nobody = account(token="dapi-nobody")
    assert not next(iter(nobody.session.doctor())).ok


def test_a_job_of_another_workspace_is_not_found(client: mlport.Client) -> None:
    with pytest.raises(NotFoundError):
        Job("999999999999999", client).status()
