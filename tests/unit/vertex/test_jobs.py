"""Jobs on the emulator, through the session: what they are given and leave, how they end, and how often they run."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aids.vertex.place import emulator, set_faults  # noqa: F401 - a fixture

from mlport import bundle
from mlport.emulation.server import Ready
from mlport.errors import AmbiguousError, ConflictError, NotFoundError, SpecError
from mlport.specs import JobSpec
from mlport.spi import TOKEN, Facts, JobStatus, Query, State
from mlport_vertex import PROVIDER
from mlport_vertex.config import VertexConfig
from mlport_vertex.session import VertexSession

Run = Callable[..., str]
SECONDS = 60.0


@pytest.fixture(scope="module")
def session(emulator: Ready) -> Iterator[VertexSession]:  # noqa: F811
    opened = VertexSession(VertexConfig.from_url(emulator.targets["vertex"]))
    yield opened
    opened.close()


@pytest.fixture
def run(session: VertexSession, tmp_path: Path) -> Run:
    """Submits a program, and gives its id; `inputs` are looked up as the core does."""

    def submit(program: str, *, token: str = "", inputs: dict[str, str] | None = None, **fields: Any) -> str:
        source = tmp_path / secrets.token_hex(4)
        source.mkdir()
        (source / "main.py").write_text(program)
        packed = bundle.pack(str(source), source.with_suffix(".packed"))
        spec = JobSpec.model_validate(
            {"name": "unit", "source": str(source), "entrypoint": ["python", "main.py"], "inputs": inputs or {}, **fields}
        )
        facts = Facts(
            bundle=packed.digest,
            labels={"mlport": "1", "mlport_token": TOKEN},
            inputs={name: session.input(uri) for name, uri in (inputs or {}).items()},
        )
        plan = PROVIDER.plan(session.config, spec, facts)
        return session.jobs.submit(plan, token=token or secrets.token_hex(16), bundle=packed.path)

    return submit


def ended(session: VertexSession, job: str) -> JobStatus:
    deadline = time.monotonic() + SECONDS
    while not (status := session.jobs.status(job)).state.terminal:
        assert time.monotonic() < deadline, status
        time.sleep(0.05)
    return status


def lines(session: VertexSession, job: str) -> list[str]:
    """The whole log, from cursor to cursor."""
    found: list[str] = []
    after, deadline = None, time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        page = session.jobs.logs(job, after=after)
        found += page.lines
        if page.complete:
            return found
        after = page.after
        time.sleep(0.05)
    raise AssertionError(f"the log of {job} never ended: {found}")


EVERYTHING = """
import json, os, pathlib
print(os.environ["MLPORT_JOB_ID"], os.environ["WORD"], pathlib.Path(os.environ["MLPORT_INPUT_ROWS"]).read_text().strip())
print(sorted(each.name for each in pathlib.Path(os.environ["MLPORT_INPUT_FOLDER"]).iterdir()))
print(pathlib.Path(os.environ["MLPORT_INPUT_OBJECT"]).read_text())
pathlib.Path(os.environ["MLPORT_OUTPUT_MODEL"], "model").write_text("fitted")
with open(os.environ["MLPORT_METRICS"], "a") as metrics:
    metrics.write(json.dumps({"name": "auc", "value": 0.5, "step": 1}) + "\\n" + json.dumps({"auc": 0.75}) + "\\n")
print("  é\u2028, and no end", end="")
"""


def test_a_job_sees_what_it_was_given_and_leaves_what_it_made(session: VertexSession, run: Run, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("1,2\n")
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "x").write_text("x")
    session.api.objects.put(f"{session.config.staging}/given/object.txt", b"an object")
    inputs = {"rows": str(tmp_path / "rows.csv"), "folder": str(tmp_path / "some"), "object": f"{session.config.staging}/given/object.txt"}
    token = secrets.token_hex(16)
    job = run(EVERYTHING, token=token, inputs=inputs, env={"WORD": "$(date) ${x}"})
    status = ended(session, job)
    assert (status.state, status.token, status.kind, status.attempt, status.cause) == (State.SUCCEEDED, token, "job", 1, "")
    assert lines(session, job) == [f"{job} $(date) ${{x}} 1,2", "['x']", "an object", "  é\u2028, and no end"]
    result = session.jobs.result(job)
    assert (result.exit_code, dict(result.metrics)) == (0, {"auc": 0.75})
    assert session.jobs.metrics(job)[0].value == 0.5
    assert session.api.objects.get(f"{result.outputs['model'].uri}/model") == b"fitted"
    assert session.jobs.find(token) == job
    assert [each.id for each in session.jobs.list(Query(labels={"mlport_token": token})).items] == [job]


def test_an_input_that_changed_ends_the_job_before_it_starts(session: VertexSession, run: Run) -> None:
    uri = f"{session.config.staging}/given/{secrets.token_hex(4)}"
    session.api.objects.put(uri, b"as planned")
    fact = session.input(uri)
    session.api.objects.put(uri, b"and changed")
    spec = JobSpec(name="unit", entrypoint=("python", "-c", "print('started')"), inputs={"rows": uri})
    plan = PROVIDER.plan(session.config, spec, Facts(labels={"mlport_token": TOKEN}, inputs={"rows": fact}))
    job = session.jobs.submit(plan, token=secrets.token_hex(16))
    status = ended(session, job)
    assert (status.state, status.cause) == (State.FAILED, "input changed")
    assert "started" not in lines(session, job)


FAILS_ONCE = """
import os, pathlib, sys
place = pathlib.Path(os.environ["MLPORT_CHECKPOINT_DIR"], "seen")
if not place.exists():
    place.write_text("1")
    sys.exit(3)
print("went on")
"""


def test_a_retry_goes_on_from_the_checkpoint(session: VertexSession, run: Run) -> None:
    job = run(FAILS_ONCE, retries=2)
    status = ended(session, job)
    assert (status.state, status.attempt) == (State.SUCCEEDED, 2)
    assert lines(session, job)[-1] == "went on"
    assert [each for each in session.jobs.list(Query()).items if each.id == job] == [status]


def test_no_restart_of_vertex_ai_runs_the_program_more_often_than_asked(session: VertexSession, run: Run, emulator: Ready) -> None:  # noqa: F811
    set_faults(emulator, {"match": "POST *customJobs", "effect": "restart"})
    try:
        job = run("import os; print('runs', flush=True); raise SystemExit(7)", retries=1)
        status = ended(session, job)
    finally:
        set_faults(emulator)
    assert (status.state, status.cause, status.attempt) == (State.FAILED, "exit", 2)
    assert "7" in status.reason
    assert session.jobs.result(job).exit_code == 7
    assert lines(session, job).count("runs") == 2


def test_a_timeout_fails_the_attempt(session: VertexSession, run: Run) -> None:
    job = run("import time; time.sleep(600)", timeout="500ms")
    status = ended(session, job)
    assert (status.state, status.cause) == (State.FAILED, "timeout")


def test_a_cancelled_job_is_over_for_good(session: VertexSession, run: Run) -> None:
    job = run("import time; print('here', flush=True); time.sleep(600)")
    deadline = time.monotonic() + SECONDS
    while "here" not in session.jobs.logs(job).lines and time.monotonic() < deadline:
        time.sleep(0.05)
    for ask in (session.jobs.result, session.jobs.delete):
        with pytest.raises(ConflictError):
            ask(job)
    session.jobs.cancel(job)
    status = ended(session, job)
    session.jobs.cancel(job)
    assert (status.state, status.cause) == (State.CANCELLED, "cancelled")
    assert session.jobs.status(job) == status
    assert session.jobs.result(job).exit_code != 0
    assert lines(session, job)[0] == "here"
    session.jobs.delete(job)
    session.jobs.delete(job)
    with pytest.raises(NotFoundError):
        session.jobs.status(job)


NODE = """
import os
print("node", os.environ["MLPORT_NODE_RANK"], "of", os.environ["MLPORT_NUM_NODES"], bool(os.environ["MLPORT_MAIN_ADDRESS"]), flush=True)
"""


def test_each_node_knows_its_rank(session: VertexSession, run: Run) -> None:
    job = run(NODE, compute={"nodes": 2})
    assert ended(session, job).state is State.SUCCEEDED
    assert {line for line in lines(session, job) if "node" in line} == {"[0] node 0 of 2 True", "[1] node 1 of 2 True"}


def test_preempted_spot_capacity_goes_on_and_uses_no_retry(session: VertexSession, run: Run, emulator: Ready) -> None:  # noqa: F811
    program = """
import os, pathlib, time
seen = pathlib.Path(os.environ["MLPORT_CHECKPOINT_DIR"], "seen")
if not seen.exists():
    seen.write_text("1")
    print("begun", flush=True)
    time.sleep(600)
print("went on")
"""
    early_and_late = [{"match": "POST *customJobs", "effect": "preempt", "seconds": seconds} for seconds in (2, 12)]
    set_faults(emulator, *early_and_late)  # on a busy machine the first comes before the program has begun
    try:
        job = run(program, compute={"spot": True})
        status = ended(session, job)
    finally:
        set_faults(emulator)
    assert (status.state, status.attempt in (2, 3)) == (State.SUCCEEDED, True), (status, lines(session, job))
    assert lines(session, job)[-1] == "went on"


def test_a_long_manifest_travels_through_the_staging_folder(session: VertexSession, run: Run) -> None:
    job = run("import os; print(len(os.environ['LONG']))", env={"LONG": "x" * 20_000})
    assert ended(session, job).state is State.SUCCEEDED
    assert lines(session, job) == ["20000"]


def test_an_answer_that_was_lost_is_found_by_its_token(session: VertexSession, run: Run, emulator: Ready) -> None:  # noqa: F811
    token = secrets.token_hex(16)
    set_faults(emulator, {"match": "POST *customJobs", "effect": "reset", "when": "after", "times": 1})
    with pytest.raises(AmbiguousError):
        run("", token=token)
    found = session.jobs.find(token)
    assert found is not None
    assert ended(session, found).state is State.SUCCEEDED


@pytest.mark.parametrize("job", ["nobody", "custom/", "custom/x", "batch/1", "../1", "custom/1/../2", ""])
def test_an_id_that_is_none_is_not_found(session: VertexSession, job: str) -> None:
    with pytest.raises(NotFoundError):
        session.jobs.status(job)


def test_a_cursor_that_is_none_is_refused(session: VertexSession, run: Run) -> None:
    job = run("")
    ended(session, job)
    with pytest.raises(SpecError, match="cursor"):
        session.jobs.logs(job, after="7")
