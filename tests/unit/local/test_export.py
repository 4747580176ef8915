"""Ended jobs as MLflow runs, each exactly once, whatever was killed on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlport.errors import MlportError
from mlport.specs import ModelSpec
from mlport.spi import Facts, Plan, Request
from mlport_local.config import LocalConfig
from mlport_local.engine import database as engine
from mlport_local.engine import housekeeping
from mlport_local.locks import held
from mlport_local.models import LocalModels
from mlport_local.registry import ended_jobs, export, tracking
from mlport_local.registry.model_request import model_request
from mlport_local.registry.run_content import EndedJob

if TYPE_CHECKING:
    from mlflow.entities import Run

STARTED, ENDED = 1_700_000_000.25, 1_700_000_060.5
SPEC = {"name": "delays", "params": {"max_depth": 6}, "entrypoint": ["python", "train.py"]}
FACTS = {"bundle": "b1", "git_commit": "c1", "git_dirty": True, "inputs": {}}


@pytest.fixture
def config(tmp_path: Path) -> LocalConfig:
    return LocalConfig(root=tmp_path / "root")


@pytest.fixture
def ended(config: LocalConfig) -> Callable[..., str]:
    """Put a job into the engine's table as a supervisor leaves it; its metrics file too."""

    def put(job_id: str = "delays-1", *metrics: dict[str, Any], **columns: Any) -> str:
        file = config.layout.job(job_id) / "metrics.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(line) + "\n" for line in metrics))
        row = {
            "id": job_id,
            "token": job_id,
            "kind": "job",
            "name": "delays",
            "state": "SUCCEEDED",
            "native_state": "",
            "cpus": 1,
            "memory_gib": 1,
        }
        row |= {
            "created": STARTED,
            "started": STARTED,
            "ended": ENDED,
            "plan_digest": "",
            "labels": '{"team": "ops"}',
            "result": '{"exit_code": 0}',
        }
        row |= {"request": json.dumps({"metrics": str(file)}), "plan": json.dumps({"spec": SPEC, "facts": FACTS}), **columns}
        with closing(engine.connect(config.layout)) as connection:
            connection.execute(f"INSERT INTO jobs ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values()))
        return job_id

    return put


def runs(config: LocalConfig, name: str = "delays") -> list[Run]:
    return list(tracking.client(config).search_runs([tracking.experiment_id(config, name)]))


def history(config: LocalConfig, run: Run, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in tracking.client(config).get_metric_history(run.info.run_id, name)]


def test_a_job_becomes_a_run(config: LocalConfig, ended: Callable[..., str]) -> None:
    ended("delays-1", {"auc": 0.5}, {"auc": 0.7, "step": 5}, {"loss": 2})
    done = export.export(config)
    (run,) = runs(config)
    assert done == {"delays-1": run.info.run_id}
    assert ended_jobs.run_of(config.layout, "delays-1") == run.info.run_id
    assert (run.info.status, run.info.start_time, run.info.end_time) == ("FINISHED", int(STARTED * 1000), int(ENDED * 1000))
    assert run.data.params == {"max_depth": "6"}
    assert run.data.metrics == {"auc": 0.7, "loss": 2.0}
    assert history(config, run, "auc") == [(0, 0.5), (5, 0.7)]
    assert {"mlport.job": "delays-1", "mlport.bundle": "b1", "mlport.git_dirty": "true", "team": "ops"}.items() <= run.data.tags.items()
    assert export.export(config) == {}


@pytest.mark.parametrize(("state", "status"), [("FAILED", "FAILED"), ("CANCELLED", "KILLED")])
def test_every_end_is_told(config: LocalConfig, ended: Callable[..., str], state: str, status: str) -> None:
    ended(state=state, reason="exit code 3", started=None, result=None)
    export.export(config)
    (run,) = runs(config)
    assert (run.info.status, run.data.tags["mlport.reason"]) == (status, "exit code 3")


def test_what_runs_or_is_no_job_is_left_alone(config: LocalConfig, ended: Callable[..., str]) -> None:
    assert export.export(config) == {}
    assert not config.root.joinpath("engine.db").exists()
    ended("delays-1", state="RUNNING", ended=None)
    ended("score-1", kind="batch")
    assert export.export(config) == {}
    assert export.run_of(config, "delays-1") is None
    assert export.run_of(config, "unheard-of") is None


@pytest.mark.parametrize("step", ["_log_params_and_tags", "_log_metrics", "_end", "ended_jobs.mark_exported"])
def test_a_killed_export_is_finished_by_the_next(
    config: LocalConfig, ended: Callable[..., str], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    ended("delays-1", {"auc": 0.5}, {"auc": 0.7})
    with monkeypatch.context() as patched:
        patched.setattr(f"mlport_local.registry.export.{step}", killed)
        with pytest.raises(KeyboardInterrupt):
            export.export(config)
    export.export(config)
    (run,) = runs(config)
    assert run.info.status == "FINISHED"
    assert history(config, run, "auc") == [(0, 0.5), (1, 0.7)]


@pytest.mark.parametrize("experiment", ["delays", "of-its-own-choice"])
def test_a_run_of_the_jobs_own_code_is_completed_and_not_doubled(config: LocalConfig, ended: Callable[..., str], experiment: str) -> None:
    client = tracking.client(config)
    own = client.create_run(tracking.experiment_id(config, experiment), tags={"mlport.job": "delays-1"})
    client.log_param(own.info.run_id, "max_depth", "deep")
    client.log_metric(own.info.run_id, "auc", 0.9)
    ended("delays-1", {"auc": 0.7}, {"loss": 2}, state="CANCELLED")
    assert export.export(config) == {"delays-1": own.info.run_id}
    (run,) = {run.info.run_id: run for name in ("delays", experiment) for run in runs(config, name)}.values()
    assert run.data.params == {"max_depth": "deep"}
    assert run.data.metrics == {"auc": 0.9, "loss": 2.0}
    assert (run.info.status, run.data.tags["mlport.bundle"]) == ("KILLED", "b1")


def test_one_jobs_failure_keeps_no_other_back(config: LocalConfig, ended: Callable[..., str]) -> None:
    ended("bad-1", name="x" * 600)
    ended("delays-1")
    done = export.export(config)
    assert isinstance(done["bad-1"], MlportError)
    assert isinstance(done["delays-1"], str)
    assert list(export.export(config)) == ["bad-1"]


def test_more_metrics_than_one_call_takes(config: LocalConfig, ended: Callable[..., str]) -> None:
    ended("delays-1", *({"loss": value} for value in range(2 * export.METRICS_A_CALL + 1)))
    export.export(config)
    (run,) = runs(config)
    assert run.data.metrics == {"loss": 2.0 * export.METRICS_A_CALL}


def test_exports_at_the_same_time_make_one_run_a_job(config: LocalConfig, ended: Callable[..., str]) -> None:
    for number in range(3):
        ended(f"delays-{number}", {"auc": number})
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-W", "ignore", "-m", "mlport_local.registry.export", str(config.root)]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    assert [(process.communicate(timeout=60)[0], process.returncode) for process in running] == [("", 0), ("", 0)]
    assert sorted(run.data.tags["mlport.job"] for run in runs(config)) == ["delays-0", "delays-1", "delays-2"]


def test_who_exports_is_left_alone_and_takes_what_came_meanwhile(config: LocalConfig, ended: Callable[..., str]) -> None:
    ended("delays-1", {"auc": 1})
    with held(config.layout.exporting):
        assert export.drain(config) == {}
    assert list(export.drain(config)) == ["delays-1"]


def test_a_job_that_ends_during_an_export_is_exported_with_it(
    config: LocalConfig, ended: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    once, late = export._once, iter(["delays-2"])

    def with_a_latecomer(config: LocalConfig, job: EndedJob) -> str:
        for job_id in late:
            ended(job_id, {"auc": 2}, seq=1)  # before those that were listed: this pass does not come to it
        return once(config, job)

    monkeypatch.setattr(export, "_once", with_a_latecomer)
    ended("delays-1", {"auc": 1}, seq=5)
    ended("bad-1", name="x" * 600)
    assert export.drain(config).keys() == {"delays-1", "bad-1", "delays-2"}


def test_idle_supervisors_start_one_export_and_not_one_each(
    config: LocalConfig, ended: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    monkeypatch.delenv("MLPORT_EXPORT", raising=False)
    monkeypatch.setattr(housekeeping.process, "start_detached", lambda command, env, log: started.append(command))
    ended("delays-1", {"auc": 1}, metrics=1)
    with closing(engine.connect(config.layout)) as connection:
        with held(config.layout.exporting):
            housekeeping.on_idle(config.layout, connection, Path(), None)
        assert started == []
        housekeeping.on_idle(config.layout, connection, Path(), None)
    assert [command[-2:] for command in started] == [["mlport_local.registry.export", str(config.root)]]


def test_the_program_says_how_to_call_it_and_what_failed(
    config: LocalConfig, ended: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    ended("bad-1", name="x" * 600)
    assert export.main([]) == 2
    assert export.main([str(config.root)]) == 1
    assert "bad-1: " in capsys.readouterr().err


def test_a_version_is_linked_to_the_run_of_its_job(config: LocalConfig, ended: Callable[..., str], tmp_path: Path) -> None:
    ended("delays-1", {"auc": 0.7})
    folder = tmp_path / "made"
    folder.mkdir()
    folder.joinpath("model.bin").write_bytes(b"1")
    spec, facts = ModelSpec(name="delays", path=str(folder), job_id="delays-1"), Facts(model={"lineage": {}})
    plan = Plan("local", config.target, "model", "delays", spec.to_json(), facts, (Request("r", model_request(spec, facts, config)),))
    LocalModels(config).register(plan, token="a" * 32)
    version = tracking.client(config).get_model_version("delays", "1")
    assert version.run_id == ended_jobs.run_of(config.layout, "delays-1")
    assert tracking.client(config).get_run(version.run_id).data.metrics == {"auc": 0.7}
