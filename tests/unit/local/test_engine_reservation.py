"""Whose turn it is: cores, memory, GPUs, fairness, and places that are asked back."""

import contextlib
import json
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mlport import bundle
from mlport.capabilities import Capability
from mlport.errors import SpecError
from mlport.specs import JobSpec
from mlport.spi import Facts, State
from mlport_local.config import LocalConfig
from mlport_local.engine import process, queue, reservation
from mlport_local.engine.database import connect, writing
from mlport_local.engine.environments import COMPLETE
from mlport_local.engine.log_limit import Cut, trim, wanted_cut
from mlport_local.engine.reservation import Limits
from mlport_local.plan import plan
from mlport_local.support import supports

Engine = Any
WAITS = (
    "import os, time; print('up', os.environ.get('CUDA_VISIBLE_DEVICES'), flush=True)\nwhile not os.path.exists({flag!r}): time.sleep(0.01)"
)
LIMITS = Limits(max_jobs=4, cpus=4, memory_gib=16, gpus=2)


def queued(connection: Any, *wishes: tuple[float, int]) -> list[int]:
    """Queued jobs that want so many cores and GPUs; their numbers."""
    found = []
    for number, (cpus, gpus) in enumerate(wishes):
        row = connection.execute(
            "INSERT INTO jobs (id, token, kind, name, state, native_state, cpus, memory_gib, gpus, created, plan_digest, request, plan)"
            " VALUES (?1, ?1, 'job', 'x', 'QUEUED', 'QUEUED', ?2, 1, ?3, 4e9, '', '{}', '{}')",
            (f"j-{number}-{connection.execute('SELECT count(*) FROM jobs').fetchone()[0]}", cpus, gpus),
        )
        found.append(row.lastrowid)
    return found


def start(connection: Any, limits: Limits = LIMITS) -> int | None:
    """Start whoever's turn it is; its number."""
    with writing(connection):
        seq = next(iter(reservation.fitting(connection, limits, 1)), None)
        if seq is not None:
            reservation.reserve(connection, limits, seq)
            connection.execute("UPDATE jobs SET state = 'RUNNING' WHERE seq = ?", (seq,))
    return seq


def end(connection: Any, seq: int) -> None:
    with writing(connection):
        connection.execute("UPDATE jobs SET state = 'SUCCEEDED', ended = 4e9 WHERE seq = ?", (seq,))


@pytest.fixture
def connection(tmp_path: Path) -> Any:
    with contextlib.closing(connect(LocalConfig(root=tmp_path).layout)) as found:
        yield found


def test_a_large_job_is_passed_only_so_often(connection: Any) -> None:
    first, large = queued(connection, (2, 0), (4, 0))
    assert start(connection) == first
    small = queued(connection, *[(1, 0)] * 20)
    started = []
    while (seq := start(connection)) is not None:
        started.append(seq)
        end(connection, seq)
    assert started == small[: reservation.PATIENCE]
    end(connection, first)
    assert start(connection) == large
    assert start(connection) is None
    end(connection, large)
    assert start(connection) == small[reservation.PATIENCE]


def test_a_large_job_is_passed_only_so_long(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first, large = queued(connection, (2, 0), (4, 0))
    start(connection)
    small = queued(connection, (1, 0), (1, 0))
    assert start(connection) == small[0]
    monkeypatch.setenv("MLPORT_CLOCK", "4e9")
    assert start(connection) is None
    end(connection, small[0])
    end(connection, first)
    assert start(connection) == large


def test_what_cannot_ever_start_holds_up_nobody(connection: Any) -> None:
    never, *small = queued(connection, (1, 3), *[(1, 0)] * 20)
    for seq in small:
        assert start(connection) == seq
        end(connection, seq)
    assert start(connection) is None
    assert connection.execute("SELECT state, passed FROM jobs WHERE seq = ?", (never,)).fetchone()["state"] == "QUEUED"


def test_each_gpu_is_one_jobs_at_a_time(connection: Any) -> None:
    one, two, three = queued(connection, (1, 1), (1, 1), (1, 1))
    assert [start(connection), start(connection), start(connection)] == [one, two, None]
    end(connection, one)
    assert start(connection) == three
    held = connection.execute("SELECT devices FROM jobs ORDER BY seq").fetchall()
    assert [json.loads(row[0]) for row in held] == [[0], [1], [0]]


def test_programs_see_their_own_gpus(make_engine: Any, tmp_path: Path) -> None:
    engine = make_engine(gpus=2, max_jobs=3)
    flag = tmp_path / "flag"
    small = {"cpus": 0.1, "memory_gib": 0.1}
    jobs = [engine.submit(WAITS.format(flag=str(flag)), compute={**small, "gpus": gpus}) for gpus in (1, 0, 1)]
    seen = [engine.wait_for(lambda job=job: engine.log(job))[0] for job in jobs]
    assert (sorted(seen[::2]), seen[1]) == (["up 0", "up 1"], "up ")
    flag.touch()
    assert all(engine.ended(job).state is State.SUCCEEDED for job in jobs)


def test_nodes_share_the_gpus_out(make_engine: Any) -> None:
    engine = make_engine(gpus=2)
    compute = {"cpus": 0.1, "memory_gib": 0.1, "gpus": 1, "nodes": 2}
    status = engine.run("import os; print(os.environ['CUDA_VISIBLE_DEVICES'])", compute=compute)
    assert sorted(engine.log(status.id)) == ["[0] 0", "[1] 1"]


def test_gpus_are_claimed_only_where_there_are_some(tmp_path: Path) -> None:
    assert supports(LocalConfig(root=tmp_path, gpus=1))[Capability.JOB_GPU].available
    assert supports(LocalConfig(root=tmp_path, gpus=0))[Capability.JOB_GPU].detail == "this machine has no GPU"
    spec = JobSpec(name="x", entrypoint=("true",), compute={"gpus": 3})  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=r"compute.gpus: 3 asked for, and this machine has 2"):
        plan(LocalConfig(root=tmp_path, gpus=2), spec, Facts(machine={"gpus": 2, "gpu_names": ["NVIDIA T4"] * 2}))
    other = JobSpec(name="x", entrypoint=("true",), compute={"gpus": 1, "gpu": "A100"})  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=r"compute.gpu: 'A100' asked for, and this machine has NVIDIA T4"):
        plan(LocalConfig(root=tmp_path, gpus=2), other, Facts(machine={"gpus": 2, "gpu_names": ["NVIDIA T4"] * 2}))


CHECKPOINTED = """
import os, signal, sys, time
path = os.path.join(os.environ["MLPORT_CHECKPOINT_DIR"], "step")
step = int(open(path).read()) if os.path.exists(path) else 0
def save(*_):
    with open(path, "w") as file: file.write(str(step + 1))
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("from step", step, flush=True)
while step < 2: time.sleep(0.01)
"""


def test_a_preempted_job_goes_on_from_its_checkpoint_and_uses_no_retry(engine: Engine) -> None:
    job_id = engine.submit(CHECKPOINTED, retries=0)
    for step in (0, 1):
        engine.wait_for(lambda step=step: f"from step {step}" in engine.log(job_id))
        engine.jobs.preempt(job_id)
    status = engine.ended(job_id)
    assert (status.state, status.attempt) == (State.SUCCEEDED, 3)
    assert engine.log(job_id)[-3:] == [
        "mlport: CANCELLED: stopped by SIGTERM",
        "--- attempt 2 was preempted; attempt 3 of 3 ---",
        "from step 2",
    ]
    engine.jobs.preempt(job_id)
    assert engine.jobs.status(job_id) == status


def test_a_runner_that_dies_of_its_preemption_was_preempted(engine: Engine) -> None:
    job_id = engine.submit(CHECKPOINTED, retries=0)
    engine.wait_for(lambda: "from step 0" in engine.log(job_id))
    with contextlib.closing(connect(engine.layout)) as connection:
        queue.preempt(connection, job_id)
    for text in json.loads(engine.row(job_id)["runners"]):
        process.send(process.Identity.parse(text), signal.SIGKILL)
    engine.wait_for(lambda: engine.jobs.status(job_id).attempt == 2)


def test_a_failure_after_a_preemption_is_still_a_failure(engine: Engine) -> None:
    job_id = engine.submit(CHECKPOINTED.replace("while step < 2", "if step: raise SystemExit(3)\nwhile step < 2"), retries=0)
    engine.wait_for(lambda: "from step 0" in engine.log(job_id))
    engine.jobs.preempt(job_id)
    status = engine.ended(job_id)
    assert (status.state, status.cause, status.reason, status.attempt) == (State.FAILED, "exit", "exit code 3", 2)


def test_success_leaves_what_was_asked_for_and_no_scratch(engine: Engine, make_engine: Any) -> None:
    program = "import os; open('scratch', 'w'); open(os.environ['MLPORT_OUTPUT_MODEL'] + '/m', 'w')"
    status = engine.run(program)
    attempt = engine.layout.job(status.id) / "attempt-1"
    assert not (attempt / "work").exists()
    assert (attempt / "outputs" / "model" / "m").exists()
    keeper = make_engine(keep_work=True)
    assert (keeper.work(keeper.run(program).id) / "scratch").exists()
    failed = engine.run("open('scratch', 'w'); raise SystemExit(1)")
    assert (engine.work(failed.id) / "scratch").exists()


def test_what_nobody_needs_is_collected(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "train.py").write_text("print('trained')")
    packed = bundle.pack(tmp_path / "source", tmp_path)
    planned = engine.plan(["python", "train.py"], facts=Facts(bundle=packed.digest))
    job_id = engine.jobs.submit(planned, token="t", bundle=packed.path)
    engine.ended(job_id)
    environment = engine.layout.environment("e" * 32)
    environment.mkdir(parents=True)
    (environment / COMPLETE).write_text("{}")
    assert engine.jobs.collect(timedelta(0)).items["environment"] == ("e" * 32,)
    assert engine.layout.bundle(packed.digest).exists()  # the job is still listed
    engine.jobs.delete(job_id)
    assert engine.jobs.collect(timedelta(days=1)).items["bundle"] == ()  # it may be wanted again
    said = engine.jobs.collect(timedelta(0), dry_run=True)
    assert engine.layout.bundle(packed.digest).exists()
    found = engine.jobs.collect(timedelta(0))
    assert (found.items["bundle"], found.bytes > 0, found.failed) == ((packed.digest,), True, ())
    assert found == said
    assert not list((engine.layout.root / "bundles").iterdir())
    assert engine.ended(engine.jobs.submit(planned, token="u", bundle=packed.path)).state is State.SUCCEEDED


def test_the_middle_of_a_log_goes_in_whole_blocks(tmp_path: Path) -> None:
    assert wanted_cut(1000, 4096) is None
    assert wanted_cut(1 << 20, 1 << 16) == Cut(1 << 14, (1 << 20) - (3 << 14))
    log = tmp_path / "log"
    log.write_bytes(b"x" * 1000)
    assert trim(log, 1 << 16)
    assert not (tmp_path / "log.cut").exists()
