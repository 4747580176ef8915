"""Spot machines that Vertex AI takes back, through the adapter: the program is told, goes on from its checkpoint, and no state lies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from aids.vertex.account import Account, account
from aids.vertex.place import emulator, set_faults

from mlport import Compute, JobSpec
from mlport.emulation.server import Ready
from mlport.spi import JobStatus, State

__all__ = ["account", "emulator"]

CREATE = "POST *customJobs"
COUNTS = """
import json, os, pathlib, signal, sys, time
rank, times = int(os.environ["MLPORT_NODE_RANK"]), int(json.loads(os.environ["MLPORT_PARAMS"])["times"])
kept = pathlib.Path(os.environ["MLPORT_CHECKPOINT_DIR"], "taken-back")
before = int(kept.read_text()) if kept.exists() else 0
print("node", rank, "from", before, flush=True)

def taken_back(number, frame):
    if rank == 0:
        kept.write_text(str(before + 1))
    print("node", rank, "taken back", flush=True)
    sys.exit(1)

signal.signal(signal.SIGTERM, taken_back)
if rank == 0 and before == times:
    with open(os.environ["MLPORT_METRICS"], "a") as metrics:
        metrics.write(json.dumps({"taken_back": before}) + "\\n")
    pathlib.Path(os.environ["MLPORT_OUTPUT_MODEL"], "model").write_text("fitted")
else:
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def no_fault_outlives_a_test(emulator: Ready) -> Iterator[None]:
    yield
    set_faults(emulator)


@pytest.mark.parametrize(
    ("nodes", "taken", "transport"),
    [
        pytest.param(2, (8.0,), "rest", id="two nodes"),
        pytest.param(1, (8.0, 18.0), "grpc", id="twice", marks=pytest.mark.faults_full),
        pytest.param(3, (10.0, 22.0), "rest", id="three nodes, twice", marks=pytest.mark.faults_full),
    ],
)
def test_what_is_taken_back_goes_on_from_its_checkpoint(
    emulator: Ready,
    account: Account,
    nodes: int,
    taken: tuple[float, ...],
    transport: str,
) -> None:
    """`taken`: seconds after the start at which the machines go."""
    client = account(transport=transport)
    set_faults(emulator, *({"match": CREATE, "effect": "preempt", "seconds": seconds} for seconds in taken))
    spec = JobSpec(
        name="spot",
        entrypoint=("python", "-c", COUNTS),
        params={"times": len(taken)},
        compute=Compute(cpus=1, memory_gib=2, spot=True, nodes=nodes),
        retries=0,
    )
    seen: list[JobStatus] = []
    job = client.jobs.submit(spec).wait(timeout=120, on_look=seen.append)
    states = [status.state for status in seen]
    assert set(states) <= {State.QUEUED, State.STARTING, State.RUNNING, State.SUCCEEDED}
    assert states == sorted(states, key=[State.QUEUED, State.STARTING, State.RUNNING, State.SUCCEEDED].index)
    attempts = [status.attempt for status in seen]
    assert attempts == sorted(attempts)
    assert (job.status().attempt, dict(job.metrics)) == (1 + len(taken), {"taken_back": float(len(taken))})
    lines = [line.split("] ")[-1] for line in job.logs()]
    for rank in range(nodes):
        begun = [line for line in lines if line.startswith(f"node {rank} from")]
        assert begun == [f"node {rank} from {number if rank == 0 else 0}" for number in range(len(taken) + 1)], lines
        assert lines.count(f"node {rank} taken back") >= len(taken), lines
    assert client.session.input(f"{job.outputs['model']}/model").bytes == len("fitted")
