"""The example of several nodes: real processes that meet, the same result on any number of them, and resuming."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aids.local.engine import Engine, engine

from mlport import bundle
from mlport.spi import Facts, State

__all__ = ["engine"]
REPO = Path(__file__).parents[2]
EXAMPLE = REPO / "examples" / "distributed"


def train(engine: Engine, folder: Path, nodes: int, **fields: Any) -> str:
    folder.mkdir()
    packed = bundle.pack(EXAMPLE / "train", folder)
    compute = {"nodes": nodes, "cpus": 0.2, "memory_gib": 0.1}
    params = {"rows": 2000, **fields.pop("params", {})}
    plan = engine.plan(["python", "train.py"], facts=Facts(bundle=packed.digest), compute=compute, params=params, **fields)
    return engine.jobs.submit(plan, token=folder.name, bundle=packed.path)


def weights(engine: Engine, job_id: str) -> np.ndarray[Any, Any]:
    status = engine.ended(job_id, 60)
    assert status.state is State.SUCCEEDED, (status, engine.log(job_id))
    found: np.ndarray[Any, Any] = np.load(Path(engine.jobs.result(job_id).outputs["model"].uri) / "weights.npy")
    return found


@pytest.mark.parametrize("nodes", [2, 3])
def test_any_number_of_ranks_gives_the_same_weights(engine: Engine, tmp_path: Path, nodes: int) -> None:
    alone, together = train(engine, tmp_path / "alone", 1), train(engine, tmp_path / "together", nodes)
    np.testing.assert_allclose(weights(engine, together), weights(engine, alone), rtol=1e-9)
    log = engine.log(together)
    assert {line for line in log if "rows" in line} == {
        f"[{rank}] rank {rank} of {nodes} has {len(range(rank, 2000, nodes))} of 2000 rows" for rank in range(nodes)
    }
    assert engine.jobs.result(together).metrics.keys() == {"loss", "error"}


def test_a_preempted_group_goes_on_from_its_checkpoint(engine: Engine, tmp_path: Path) -> None:
    params = {"epochs": 200}
    whole = train(engine, tmp_path / "whole", 2, params=params)
    interrupted = train(engine, tmp_path / "interrupted", 2, params=params)
    state = engine.layout.job(interrupted) / "checkpoint" / "state.npy"
    engine.wait_for(state.exists)
    engine.jobs.preempt(interrupted)
    np.testing.assert_array_equal(weights(engine, interrupted), weights(engine, whole))


def test_a_rank_that_dies_ends_the_others(engine: Engine, tmp_path: Path) -> None:
    job_id = train(engine, tmp_path / "job", 2, params={"features": 0 - 1})
    status = engine.ended(job_id)
    assert (status.state, engine.members(job_id)) == (State.FAILED, [])


def test_as_its_page_says(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("MLPORT_")}
    env.update(
        MLPORT_ROOT=str(tmp_path / "root"), HOME=str(tmp_path), PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    command = ["mlport", "jobs", "submit", "job.toml", "--wait"]
    done = subprocess.run(command, cwd=EXAMPLE, env=env, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
