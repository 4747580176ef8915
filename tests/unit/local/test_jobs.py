"""LocalJobs: listings, logs, inputs, bundles, deletion, plans."""

import contextlib
import dataclasses
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest

from mlport import bundle
from mlport.errors import ConflictError, NotFoundError, UsageError
from mlport.specs import BatchSpec, JobSpec
from mlport.spi import TOKEN, Facts, InputFact, LogPage, Query, State
from mlport_local.config import LocalConfig
from mlport_local.engine import logs
from mlport_local.engine.database import connect, writing
from mlport_local.engine.manifest import batch_request, job_request, settled

Engine = Any


def fill(engine: Engine, count: int) -> None:
    """Jobs as if they had been run: named a and b by turns, every tenth failed, owned by turns."""
    with contextlib.closing(connect(engine.layout)) as connection, writing(connection):
        rows = (
            (f"j-{n:06}", f"t-{n}", "ab"[n % 2], "FAILED" if n % 10 == 0 else "SUCCEEDED", 1000.0 + n, json.dumps({"owner": f"o{n % 3}"}))
            for n in range(count)
        )
        connection.executemany(
            "INSERT INTO jobs (id, token, kind, name, state, native_state, cpus, memory_gib, created, ended, labels, plan_digest, request, plan)"
            " VALUES (?1, ?2, 'job', ?3, ?4, ?4, 1, 1, ?5, ?5, ?6, '', '{}', '{}')",
            rows,
        )
        connection.execute("INSERT INTO job_labels SELECT 'owner', json_extract(labels, '$.owner'), seq FROM jobs")


def listed(engine: Engine, query: Query) -> list[str]:
    ids, page = [], None
    while True:
        found = engine.jobs.list(query, page)
        ids += [status.id for status in found.items]
        assert len(found.items) <= query.page_size
        if (page := found.next) is None:
            return ids


@pytest.mark.parametrize("newest_first", [True, False])
def test_every_filter_gives_all_of_its_jobs_in_order(engine: Engine, newest_first: bool) -> None:
    fill(engine, 60)
    cases: list[tuple[Query, range]] = [
        (Query(), range(60)),
        (Query(name="a"), range(0, 60, 2)),
        (Query(states=frozenset({State.FAILED})), range(0, 60, 10)),
        (Query(states=frozenset({State.FAILED, State.SUCCEEDED, State.RUNNING})), range(60)),
        (Query(labels={"owner": "o1"}), range(1, 60, 3)),
        (Query(labels={"owner": "o1"}, name="b"), range(1, 60, 6)),
        (Query(labels={"owner": "nobody"}), range(0)),
    ]
    for query, expected in cases:
        wanted = [f"j-{n:06}" for n in expected]
        found = listed(engine, dataclasses.replace(query, page_size=7, newest_first=newest_first))
        assert found == (wanted[::-1] if newest_first else wanted)


def test_pages_do_not_shift_when_jobs_come(engine: Engine) -> None:
    fill(engine, 10)
    first = engine.jobs.list(Query(page_size=4))
    new = engine.run(["true"]).id
    second = engine.jobs.list(Query(page_size=4), first.next)
    assert [status.id for status in (*first.items, *second.items)] == [f"j-{n:06}" for n in range(9, 1, -1)]
    assert engine.jobs.list(Query(page_size=1)).items[0].id == new


def test_a_strange_page_token_is_refused(engine: Engine) -> None:
    with pytest.raises(UsageError, match="page token 'x'"):
        engine.jobs.list(Query(), "x")


def test_a_listing_of_many_jobs_is_quick(engine: Engine) -> None:
    fill(engine, 20_000)
    for query in (
        Query(),
        Query(name="a"),
        Query(states=frozenset({State.FAILED, State.SUCCEEDED})),
        Query(states=frozenset({State.QUEUED})),
    ):
        began = time.perf_counter()
        engine.jobs.list(query, "10000")
        assert time.perf_counter() - began < 0.5


def test_a_log_is_followed_line_by_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert logs.read_page(log, None, ended=False) == LogPage([], "0", complete=False, caught_up=True)
    log.write_bytes(b"one\ntwo\nthr")
    page = logs.read_page(log, None, ended=False)
    assert (page.lines, page.after, page.complete) == (["one", "two"], "8", False)
    with log.open("ab") as stream:
        stream.write(b"ee\n\n\xff\xfe end")
    page = logs.read_page(log, page.after, ended=True)
    assert (page.lines, page.complete) == (["three", "", "\ufffd\ufffd end"], True)
    assert logs.read_page(log, page.after, ended=True).lines == []


def test_a_page_of_a_log_is_bounded(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"abcd\n" * 10 + b"x" * 100 + b"\nlast")
    lines: list[str] = []
    after, complete = None, False
    while not complete:
        page = logs.read_page(log, after, ended=True, largest=16)
        lines, after, complete = [*lines, *page.lines], page.after, page.complete
        assert sum(map(len, page.lines)) <= 16
    assert lines[:10] == ["abcd"] * 10
    assert "".join(lines[10:]) == "x" * 100 + "last"


def test_a_strange_log_cursor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="log cursor '-1'"):
        logs.read_page(tmp_path / "log", "-1", ended=True)


def test_logs_are_read_while_the_job_runs(engine: Engine) -> None:
    job_id = engine.submit("import time; print('first'); time.sleep(600)")
    engine.wait_for(lambda: engine.log(job_id) == ["first"])
    assert not engine.jobs.logs(job_id).complete
    engine.jobs.cancel(job_id)
    engine.ended(job_id)
    assert engine.jobs.logs(job_id).complete


def test_a_bundle_is_kept_and_run(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "train.py").write_text("print('trained')")
    packed = bundle.pack(tmp_path / "source", tmp_path)
    plan = engine.plan(["python", "train.py"], facts=Facts(bundle=packed.digest))
    job_id = engine.jobs.submit(plan, token="t", bundle=packed.path)
    packed.path.unlink()
    assert engine.ended(job_id).state is State.SUCCEEDED
    assert engine.log(job_id) == ["trained"]
    assert engine.layout.bundle(packed.digest).stat().st_mode & 0o777 == 0o600


def test_an_input_that_changed_since_the_plan_fails_the_job(engine: Engine, tmp_path: Path) -> None:
    data = tmp_path / "x.csv"
    data.write_text("1")
    facts = Facts(inputs={"x": InputFact(str(data), "sha256", hashlib.sha256(b"1").hexdigest(), 1)})
    program = "import os; print(os.environ['MLPORT_INPUT_X'])"
    assert engine.ended(engine.jobs.submit(engine.plan(program, facts=facts), token="a")).state is State.SUCCEEDED
    data.write_text("2")
    status = engine.ended(engine.jobs.submit(engine.plan(program, facts=facts), token="b"))
    assert (status.state, status.cause) == (State.FAILED, "input changed")


def test_a_result_comes_only_at_the_end_and_deletion_too(engine: Engine) -> None:
    job_id = engine.submit("import time; time.sleep(600)")
    for call in (engine.jobs.result, engine.jobs.delete):
        with pytest.raises(ConflictError):
            call(job_id)
    engine.jobs.cancel(job_id)
    engine.ended(job_id)
    engine.jobs.delete(job_id)
    engine.jobs.delete(job_id)
    assert not engine.layout.job(job_id).exists()
    assert not engine.jobs.list(Query()).items


def test_an_ended_job_never_changes(engine: Engine) -> None:
    status = engine.run(["true"])
    engine.jobs.cancel(status.id)
    assert engine.jobs.status(status.id) == status
    assert engine.jobs.list(Query()).items == [status]


def test_a_jobs_request_is_plain_and_complete() -> None:
    config = LocalConfig(root=Path("/r"), python="/usr/bin/python3", wheelhouse=Path("/w"), offline=True)
    spec = JobSpec(
        name="delays",
        entrypoint=["python", "train.py"],
        params={"a": 1},
        requirements=["x"],
        timeout="1h",
        retries=2,
        secrets=["KEY"],
        outputs=["report"],
    )
    facts = Facts(bundle="b" * 64, inputs={"x": InputFact("/x", "sha256", "d", 1)}, labels={"mlport_token": TOKEN})
    assert job_request(spec, facts, config) == {
        "name": "delays",
        "token": TOKEN,
        "labels": {"mlport_token": TOKEN},
        "cpus": 1,
        "memory_gib": 1,
        "gpus": 0,
        "nodes": 1,
        "timeout": 3600.0,
        "grace": 10,
        "interpreter": "/usr/bin/python3",
        "wheelhouse": "/w",
        "offline": True,
        "log_limit": 256 << 20,
        "keep_work": False,
        "entrypoint": ["python", "train.py"],
        "source_digest": "b" * 64,
        "params": {"a": 1},
        "env": {},
        "secrets": ["KEY"],
        "inputs": {"x": {"uri": "/x", "kind": "sha256", "digest": "d", "bytes": 1}},
        "outputs": {"model": {}, "report": {}},
        "requirements": ["x"],
        "python": None,
        "retries": 2,
    }


def test_a_batch_is_a_job_with_a_request_file(tmp_path: Path) -> None:
    spec = BatchSpec(name="score", model={"name": "delays", "version": "3"}, input="/in", output="/out", keep=["id"])
    body = batch_request(
        spec, Facts(model={"uri": "/m", "digest": "d"}, inputs={"rows": InputFact("/in", "sha256", "e", 2)}), LocalConfig(root=tmp_path)
    )
    assert body["entrypoint"] == ["python", "-m", "mlport.batch", "request.json"]
    assert body["outputs"] == {"predictions": {"path": "/out"}}
    assert body["inputs"]["model"] == {"uri": "/m", "kind": "sha256", "digest": "d"}
    assert body["files"]["request.json"]["input"] == "${MLPORT_INPUT_ROWS}"


def test_what_only_submit_knows_is_filled_in() -> None:
    assert settled({"a": ["${job}", {"b": "x-${token}"}], "n": 1}, "j-1", "t") == {"a": ["j-1", {"b": "x-t"}], "n": 1}


def test_a_bundle_that_is_nowhere_is_told(engine: Engine) -> None:
    with pytest.raises(NotFoundError, match="neither given nor under"):
        engine.jobs.submit(engine.plan(["true"], facts=Facts(bundle="b" * 64)), token="t")
