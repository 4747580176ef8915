"""Sweeps, schedules and the agent on one's own machine: real jobs, a real model for batches, and a real agent process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import mlport
from mlport import JobSpec, ScheduleSpec, State, SweepSpec
from mlport.agent import Agent
from mlport.chores import rota
from mlport.spi import MetricPoint, Reconciles
from mlport.sweeping.ledger import TrialState

TRAIN = """
import json, os, sys, time
params = json.loads(os.environ["MLPORT_PARAMS"])
with open(os.environ["MLPORT_METRICS"], "a", buffering=1) as metrics:
    for step in range(1, 4):
        print(json.dumps({"name": "score", "value": params["x"] * step, "step": step, "time": 1772431200 + step}), file=metrics)
while params["x"] < 0 and not os.path.exists(params.get("until", "/")):
    time.sleep(0.01)
"""


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[mlport.Client]:
    monkeypatch.setenv("MLPORT_EXPORT", "0")
    with mlport.connect(f"local://{tmp_path}/root") as found:
        yield found
        for status in found.jobs.list():
            if not status.state.terminal:
                found.jobs.get(status.id).cancel()
        eventually(lambda: all(status.state.terminal for status in found.jobs.list()))


def eventually(condition: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)
    return found


@pytest.fixture
def job(tmp_path: Path) -> JobSpec:
    source = tmp_path / "code"
    source.mkdir()
    (source / "train.py").write_text(TRAIN)
    params = {"x": 1, "until": str(tmp_path / "go")}
    return JobSpec(name="tries", source=str(source), entrypoint=("python", "train.py"), params=params)


def test_metrics_are_read_while_the_job_runs(client: mlport.Client, job: JobSpec, tmp_path: Path) -> None:
    running = client.jobs.submit(job.model_copy(update={"params": {**job.params, "x": -1}}))
    found = eventually(lambda: len(points := client.session.jobs.metrics(running.id)) == 3 and points)
    assert running.state is State.RUNNING
    assert found[-1] == MetricPoint("score", -3.0, 3, datetime(2026, 3, 2, 6, 0, 3, tzinfo=UTC))
    (tmp_path / "go").touch()
    assert list(client.session.jobs.metrics(running.wait(30).id)) == list(found)


def test_a_sweep_with_early_stopping(client: mlport.Client, job: JobSpec) -> None:
    spec = SweepSpec(
        name="best-x",
        job=job,
        space={"x": (5, 4, -7, -8, 6)},
        metric="score",
        direction="maximize",
        algorithm="grid",
        parallel=2,
        stopping={"min_trials": 2, "min_steps": 3},
    )
    sweep = client.sweeps.run(spec, key="k", timeout=60)
    assert sweep.best is not None
    assert sweep.best.params == {"x": 6}
    assert [trial.state for trial in sweep.trials] == [
        TrialState.SUCCEEDED,
        TrialState.SUCCEEDED,
        TrialState.PRUNED,
        TrialState.PRUNED,
        TrialState.SUCCEEDED,
    ]
    assert sweep.job(sweep.trials[2]).state is State.CANCELLED
    assert sweep.job(sweep.best).lineage["params"]["x"] == 6


def test_what_was_fired_is_not_fired_again_by_an_agent_process(client: mlport.Client, job: JobSpec) -> None:
    """The coming minute's firing is made early, by a clock that is ahead; a real process then finds nothing to do."""
    made = client.schedules.create(ScheduleSpec(name="often", job=job, cron="* * * * *"))
    assert made.record.next is not None
    with rota(client, lambda: datetime.now(UTC) + timedelta(minutes=1)) as chores:
        agent = Agent(client.session.state, chores, clock=lambda: datetime.now(UTC) + timedelta(minutes=1))
        assert agent.look()
        agent.leave()
    (firing,) = made.firings()
    assert client.jobs.get(firing.job_id or "").wait(30).state is State.SUCCEEDED
    command = [sys.executable, "-m", "mlport.cli.main", "--profile", client.config.target, "agent", "run"]
    done = subprocess.run([*command, "--once", "--json"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.replace(" ", "").replace("\n", "")) == (0, '{"leads":true}'), done.stderr
    assert len(list(client.jobs.list())) == 1

    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert "leads" in running.stderr.readline()
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0
    with rota(client) as chores:
        assert Agent(client.session.state, chores).look(), "an agent that was told to end gives up the lead"


def test_a_batch_has_a_folder_for_each_firing(client: mlport.Client, tmp_path: Path) -> None:
    import mlflow.sklearn
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    rows = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own
        mlflow.sklearn.save_model(LinearRegression().fit(rows, [2.0, 4.0, 6.0]), tmp_path / "model", pip_requirements=["scikit-learn"])
    rows.to_parquet(tmp_path / "rows.parquet")
    client.models.register("double", tmp_path / "model", trust=True)
    client.models.alias("double", "champion", "1")
    batch = {"name": "score", "model": {"name": "double", "version": "champion"}, "input": str(tmp_path / "rows.parquet")}
    spec = ScheduleSpec.model_validate(
        {"name": "scores", "cron": "0 6 * * *", "batch": {**batch, "output": str(tmp_path / "scored-{time}")}}
    )
    made = client.schedules.create(spec)
    for days in (1, 2):
        with rota(client, lambda days=days: datetime.now(UTC) + timedelta(days=days)) as chores:
            Agent(client.session.state, chores, clock=lambda days=days: datetime.now(UTC) + timedelta(days=days), time_to_live=0.0).look()
    newest, oldest = made.firings()
    for firing in (oldest, newest):
        assert client.jobs.get(firing.job_id or "").wait(120).state is State.SUCCEEDED
        scored = pd.read_parquet(tmp_path / f"scored-{firing.scheduled:%Y%m%dT%H%M%SZ}")
        assert scored["prediction"].round(6).tolist() == [2.0, 4.0, 6.0]


def test_the_agent_brings_back_jobs_that_nobody_looks_after(client: mlport.Client, job: JobSpec, tmp_path: Path) -> None:
    """As after a reboot: the queue holds a job, and no supervisor lives."""
    assert isinstance(client.session, Reconciles)
    first = client.jobs.submit(job.model_copy(update={"params": {**job.params, "x": -1}}))
    eventually(lambda: first.state is State.RUNNING)
    supervisors = [int(pid.name) for pid in Path("/proc").iterdir() if pid.name.isdigit() and _supervises(pid, tmp_path)]
    for pid in supervisors:
        os.kill(pid, signal.SIGKILL)
    (tmp_path / "go").touch()
    with rota(client) as chores:
        Agent(client.session.state, chores).look()
    assert first.wait(30).state is State.SUCCEEDED


def _supervises(process: Path, root: Path) -> bool:
    try:
        return b"supervise.py" in (process / "cmdline").read_bytes() and str(root).encode() in (process / "environ").read_bytes()
    except OSError:
        return False
