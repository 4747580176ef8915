"""Sweeps by Vertex AI's tuner on the emulator, over REST and gRPC: trials, their jobs, early ends, cancel, delete, lost answers."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aids.vertex.account import Account
from aids.vertex.place import call, set_faults

import mlport
from mlport.capabilities import Level
from mlport.emulation.server import Ready
from mlport.errors import ConflictError, JobFailedError, NotFoundError, SpecError
from mlport.specs import SweepSpec
from mlport.spi import Query, State, SweepStatus, TrialState
from mlport.waiting import delays, wait_until

Json = dict[str, Any]
Make = Callable[..., SweepSpec]
SECONDS = 90.0
TUNING = "/v1/projects/emulated/locations/us-central1/hyperparameterTuningJobs"
PROGRAM = """
import json, os, pathlib, sys, time
params = json.loads(os.environ["MLPORT_PARAMS"])
pathlib.Path(os.environ["MLPORT_OUTPUT_MODEL"], "params.json").write_text(json.dumps(params))
print("argv", json.dumps(sys.argv[1:]))
with open(os.environ["MLPORT_METRICS"], "a", buffering=1) as metrics:
    for step in (1, 2, 3):
        metrics.write(json.dumps({"name": "score", "value": params.get("x", 1) * step, "step": step}) + "\\n")
        metrics.write(json.dumps({"other": step}) + "\\n")
if params.get("x") == 0:
    sys.exit("x is 0")
while params.get("x", 1) < 0:
    time.sleep(0.02)
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Make:
    """A grid over x of a program whose score is three times x; below 0 it goes on until it is ended, at 0 it fails."""

    def make(params: Json | None = None, **fields: Any) -> SweepSpec:
        source = tmp_path / secrets.token_hex(4)
        source.mkdir()
        (source / "main.py").write_text(PROGRAM)
        job = {"name": "tries", "source": str(source), "entrypoint": ["python", "main.py"], "params": params or {}}
        search = {"space": {"x": [1, 3, 2]}, "metric": "score", "direction": "maximize", "algorithm": "grid", "parallel": 2}
        return SweepSpec.model_validate({"name": "search", "job": job, **search, **fields})

    return make


@pytest.fixture(params=["rest", "grpc"])
def client(account: Account, request: pytest.FixtureRequest) -> mlport.Client:
    return account(transport=request.param)


@pytest.fixture
def undisturbed(emulator: Ready) -> Iterator[Ready]:
    yield emulator
    set_faults(emulator)


def asked(ready: Ready, name: str) -> int:
    """How many tuning jobs of that name there are."""
    status, found = call(ready, "GET", f"{TUNING}?pageSize=100&filter=display_name%3D%22{name}%22")
    assert status == 200
    return len(found.get("hyperparameterTuningJobs", ()))


def test_a_grid_is_run_by_the_vendor_and_each_trial_is_a_job(client: mlport.Client, sweep: Make) -> None:
    seen: list[SweepStatus] = []
    ran = client.sweeps.run(sweep({"depth": 6}, labels={"team": "risk"}), timeout=SECONDS, on_look=seen.append)
    status = ran.status()
    assert (ran.road, status.state, status.native_state) == ("native", State.SUCCEEDED, "JOB_STATE_SUCCEEDED")
    assert sorted((trial.params["x"], trial.state, trial.value) for trial in ran.trials) == [
        (x, TrialState.SUCCEEDED, 3.0 * x) for x in (1, 2, 3)
    ]
    assert [trial.number for trial in ran.trials] == [0, 1, 2]
    assert ran.trials[0].curve[-1][0] == 3
    assert max(look.counts.get("running", 0) for look in seen) <= 2
    best = ran.best
    assert best is not None
    job = ran.job(best)
    assert (job.state, dict(job.metrics), job.result.exit_code) == (State.SUCCEEDED, {"score": 9.0, "other": 3.0}, 0)
    assert job.outputs["model"].endswith(f"/runs/{status.token}/{best.number + 1}/outputs/1/model"), "a folder of its own"
    argv = next(line for line in job.logs() if line.startswith("argv"))
    assert json.loads(argv.removeprefix("argv ")) == ["--depth", "6", "--x", "3"]
    assert (job.lineage["params"], job.lineage["entrypoint"]) == ({"depth": 6, "x": 3}, ["python", "main.py"])
    assert client.models.register("best", from_job=job, key=secrets.token_hex(8)).lineage["params"] == {"depth": 6, "x": 3}
    assert (status.labels["team"], status.planned, status.algorithm, status.metric) == ("risk", 3, "grid", "score")
    assert ran.id in [each.id for each in client.sweeps.list()]
    assert client.sweeps.get(ran.id).status() == status


TYPED = {
    "whole": {"low": 3, "high": 4},
    "log": {"low": 1e-6, "high": 1e-2, "log": True},
    "step": {"low": 0.1, "high": 0.3, "step": 0.1},
    "even": {"low": 2, "high": 1_000_002, "step": 500_000},
    "mixed": [True, 16, 0.5, "a b", "$HOME"],
}


def test_parameters_reach_the_program_in_the_types_of_the_space(client: mlport.Client, sweep: Make, tmp_path: Path) -> None:
    ran = client.sweeps.run(sweep(space=TYPED, algorithm="random", max_trials=3, parallel=3), timeout=SECONDS)
    for trial in ran.trials:
        model = Path(client.models.register("typed", from_job=ran.job(trial)).download(tmp_path / str(trial.number)))
        given = json.loads((model / "params.json").read_text())
        assert {name: (type(value), value) for name, value in given.items()} == {
            name: (type(value), value) for name, value in trial.params.items()
        }
        assert isinstance(given["whole"], int)
        assert 1e-6 <= given["log"] <= 1e-2
        assert given["step"] in (0.1, 0.2, 0.3)
        assert given["even"] in (2, 500_002, 1_000_002)
        assert isinstance(given["even"], int)
        assert given["mixed"] in TYPED["mixed"]


def test_a_failed_trial_is_told_and_is_never_the_best(client: mlport.Client, sweep: Make) -> None:
    ran = client.sweeps.run(sweep(space={"x": [0, 2]}, direction="minimize"), timeout=SECONDS)
    by_x = {trial.params["x"]: trial for trial in ran.trials}
    assert (by_x[0].state, by_x[2].state, ran.best) == (TrialState.FAILED, TrialState.SUCCEEDED, by_x[2])
    assert "non-zero status of 1" in by_x[0].reason
    assert ran.job(by_x[0]).status().reason


def test_too_many_failures_fail_it_and_so_does_no_success(account: Account, sweep: Make) -> None:
    client = account()
    with pytest.raises(JobFailedError, match="Too many failed trials"):
        client.sweeps.run(sweep(space={"x": [0, -1]}, max_failures=0), timeout=SECONDS)
    ran = client.sweeps.start(sweep(space={"x": [0]}))
    with pytest.raises(JobFailedError, match="no trial succeeded"):
        ran.wait(SECONDS)
    failed = client.session.sweeps.list(Query(states=frozenset({State.FAILED}))).items  # type: ignore[attr-defined]
    assert {ran.id} < {each.id for each in failed}
    assert {each.state for each in failed} == {State.FAILED}
    listed = next(each for each in client.sweeps.list() if each.id == ran.id)
    assert (listed.state, listed.native_state) == (State.FAILED, "JOB_STATE_SUCCEEDED")


def test_the_vendors_median_rule_ends_a_trial_early_by_what_it_logged(client: mlport.Client, sweep: Make) -> None:
    ran = client.sweeps.run(sweep(space={"x": [3, -1]}, parallel=1, stopping={}), timeout=SECONDS)
    first, second = ran.trials
    assert (first.state, second.state, second.value) == (TrialState.SUCCEEDED, TrialState.PRUNED, -3.0)
    assert "median" in second.reason
    assert (ran.job(second).state, ran.best) == (State.CANCELLED, first)
    assert [point.value for point in client.session.jobs.metrics(second.job_id or "") if point.name == "score"] == [-1, -2, -3]


def test_cancel_ends_the_trials_that_run_and_delete_removes_them(client: mlport.Client, sweep: Make) -> None:
    ran = client.sweeps.start(sweep(space={"x": [-1, -2, 3]}))
    wait_until(ran.status, lambda seen: len(seen.trials) == 2, pauses=delays(ceiling=0.2), timeout=SECONDS)
    logged = [partial(client.session.jobs.metrics, trial.job_id or "") for trial in ran.trials]
    wait_until(lambda: all(each() for each in logged), bool, pauses=delays(ceiling=0.2), timeout=SECONDS)
    with pytest.raises(ConflictError):
        client.sweeps.delete(ran.id)
    ran.cancel()
    with pytest.raises(JobFailedError, match="CANCELLED"):
        ran.wait(SECONDS)
    trials = ran.trials
    assert [trial.state for trial in trials] == [TrialState.CANCELLED] * 2
    jobs = [ran.job(trial) for trial in trials]
    assert {(job.state, job.status().cause) for job in jobs} == {(State.CANCELLED, "cancelled")}
    assert {job.metrics["score"] for job in jobs} == {-3.0, -6.0}, "their ends were written down: it was no preemption"
    ran.cancel()
    client.sweeps.delete(ran.id)
    client.sweeps.delete(ran.id)
    for look in (lambda: client.sweeps.get(ran.id), lambda: client.jobs.get(jobs[0].id)):
        with pytest.raises(NotFoundError):
            look()


def test_a_key_asks_the_vendor_once_on_whatever_road(account: Account, sweep: Make, emulator: Ready) -> None:
    client, spec, key = account(), sweep(name="once", space={"x": [1]}), secrets.token_hex(8)
    first = client.sweeps.run(spec, key=key, timeout=SECONDS)
    second = account().sweeps.start(spec, key=key)
    assert (second.id, asked(emulator, "once")) == (first.id, 1)
    for other in (spec.model_copy(update={"parallel": 3}), spec.model_copy(update={"seed": 1})):
        with pytest.raises(ConflictError, match=key):
            client.sweeps.start(other, key=key)
    stored = client.sweeps.start(spec.model_copy(update={"seed": 1}), key=f"{key} other")
    assert stored.road == "composed"
    with pytest.raises(ConflictError, match=stored.id):
        client.sweeps.start(spec, key=f"{key} other")
    client.sweeps.delete(first.id)
    assert client.sweeps.start(spec, key=key).id != first.id, "what was deleted may be made anew"


def test_an_answer_that_was_lost_is_found_again(account: Account, sweep: Make, undisturbed: Ready) -> None:
    client, spec, key = account(), sweep(name="lost", space={"x": [1]}), secrets.token_hex(8)
    set_faults(undisturbed, {"match": "POST */hyperparameterTuningJobs", "effect": "reset", "when": "after", "times": 1})
    made = client.sweeps.start(spec, key=key)
    assert made.wait(SECONDS).state is State.SUCCEEDED
    assert asked(undisturbed, "lost") == 1


def test_a_long_manifest_lies_in_the_staging_folder(client: mlport.Client, sweep: Make) -> None:
    ran = client.sweeps.run(sweep({"text": "x" * 9000}, space={"x": [7]}), timeout=SECONDS)
    assert [dict(trial.params) for trial in ran.trials] == [{"x": 7}]
    assert ran.job(ran.trials[0]).status().token == ran.status().token


def test_what_its_tuner_cannot_express_goes_the_other_road_and_the_plan_says_why(account: Account, sweep: Make) -> None:
    client = account()
    plan = client.sweeps.plan(sweep())
    assert (plan.support["sweep"].level, plan.requests[-1].call.rpartition(".")[0][-24:]) == (Level.NATIVE, "hyperparameterTuningJobs")
    other = client.sweeps.plan(sweep(seed=1, timeout="1h"))
    assert (other.support["sweep"].level, other.requests[-1].call.split(".")[-2]) == (Level.COMPOSED, "customJobs")
    assert "seed: " in other.support["sweep"].detail
    assert "timeout: " in other.support["sweep"].detail
    assert client.explain(sweep(seed=1)).needs["sweep"].level is Level.COMPOSED
    chosen = client.sweeps.plan(sweep(options={"vertex": {"sweep": "composed"}}))
    assert chosen.support["sweep"].level is Level.COMPOSED
    with pytest.raises(SpecError, match=r"SweepSpec.seed: .*\n.*leave those out"):
        client.sweeps.plan(sweep(seed=1, options={"vertex": {"sweep": "native"}}))


def test_the_commands_are_those_of_any_sweep(emulator: Ready, sweep: Make, tmp_path: Path) -> None:
    def mlport_cli(*words: str) -> Any:
        command = [sys.executable, "-m", "mlport.cli.main", "--profile", emulator.targets["vertex"], "sweeps", *words, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    (tmp_path / "sweep.json").write_text(json.dumps(sweep(space={"x": [4]}).to_json()))
    started = mlport_cli("run", "sweep.json", "--no-wait")
    ran = mlport_cli("wait", started["id"])
    assert (ran["id"], ran["state"], ran["road"], ran["trials"]) == (started["id"], "SUCCEEDED", "native", {"succeeded": 1})
    (trial,) = mlport_cli("trials", ran["id"])
    best = mlport_cli("best", ran["id"])
    assert (trial["params"], best["value"], best["job_id"]) == ({"x": 4}, 12.0, trial["job_id"])
    assert mlport_cli("get", ran["id"]) == ran
    assert ran["id"] in [row["id"] for row in mlport_cli("list")]
    assert mlport_cli("cancel", ran["id"])["state"] == "SUCCEEDED"
    assert mlport_cli("delete", ran["id"])["deleted"] == [ran["id"]]
    assert ran["id"] not in [row["id"] for row in mlport_cli("list")]


def test_a_tuning_job_that_mlport_did_not_make_can_be_looked_at(account: Account, emulator: Ready) -> None:
    client = account()
    pool = {"machineSpec": {"machineType": "e2-standard-4"}, "replicaCount": "1"}
    container = {"imageUri": "python:3.11", "command": ["python3", "-c", "pass"]}
    body = {
        "displayName": "theirs",
        "studySpec": {
            "metrics": [{"metricId": "loss", "goal": "MINIMIZE"}],
            "parameters": [{"parameterId": "x", "doubleValueSpec": {"minValue": 0.5, "maxValue": 1}}],
        },
        "maxTrialCount": 1,
        "parallelTrialCount": 1,
        "trialJobSpec": {"workerPoolSpecs": [{**pool, "containerSpec": container}]},
    }
    _, made = call(emulator, "POST", TUNING, body)
    found = client.sweeps.get(f"sweep/{made['name'].rpartition('/')[2]}")
    with pytest.raises(JobFailedError, match="no trial succeeded"):
        found.wait(SECONDS)
    (trial,) = found.trials
    assert (trial.state, 0.5 <= float(trial.params["x"]) <= 1, found.status().token) == (TrialState.FAILED, True, None)
    assert found.id not in [each.id for each in client.sweeps.list()]
    assert found.id in [each.id for each in client.session.sweeps.list(Query(name="theirs", newest_first=False)).items]  # type: ignore[attr-defined]
    with pytest.raises(NotFoundError):
        client.sweeps.get("sweep/1")
