"""Sweeps from the command line, with real jobs on one's own machine."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

TRAIN = """
import json, os, time
params = json.loads(os.environ["MLPORT_PARAMS"])
with open(os.environ["MLPORT_METRICS"], "a") as metrics:
    metrics.write(json.dumps({"auc": params["depth"] / 10}) + "\\n")
while params.get("until") and not os.path.exists(params["until"]):
    time.sleep(0.02)
"""
JOB = 'name = "delays"\nsource = "code"\nentrypoint = ["python", "train.py"]\n'
SWEEP = """
name = "depths"
job = "job.toml"
metric = "auc"
direction = "maximize"
algorithm = "grid"
parallel = 2
[space]
depth = [2, 6, 4]
"""


@pytest.fixture
def sweep_file(home, monkeypatch):
    monkeypatch.setenv("MLPORT_PROFILE", f"local://{home / 'root'}")
    monkeypatch.setenv("MLPORT_EXPORT", "0")
    (home / "train" / "code").mkdir(parents=True)
    (home / "train" / "code" / "train.py").write_text(TRAIN)
    (home / "train" / "job.toml").write_text(JOB)
    (home / "train" / "sweep.toml").write_text(SWEEP)
    return str(home / "train" / "sweep.toml")


def test_a_sweep_from_its_file_to_its_best_trial(mlport, sweep_file):
    ran = mlport("sweeps", "run", sweep_file, "--json")
    assert ran.status == 0, ran.err
    found = ran.json
    assert (found["state"], found["trials"], found["best"]["params"]) == ("SUCCEEDED", {"succeeded": 3}, {"depth": 6})
    assert "3 of 3 trials" in ran.err
    (listed,) = mlport("sweeps", "list", "--json").json
    assert (listed["id"], listed["best"]) == (found["id"], 0.6)
    trials = mlport("sweeps", "trials", found["id"], "--json").json
    assert [trial["params"]["depth"] for trial in trials] == [2, 6, 4]
    best = mlport("sweeps", "best", found["id"], "--json").json
    assert best["job_id"] == trials[1]["job_id"]
    assert mlport("jobs", "get", best["job_id"], "--json").json["labels"]["mlport_sweep"] == found["id"]
    assert "0.6" in mlport("sweeps", "get", found["id"]).out


def test_fields_of_the_file_and_of_its_job_are_replaced(mlport, sweep_file):
    plan = mlport("sweeps", "run", sweep_file, "--set", "space.depth=[1]", "--set", "job.params.seed=3", "--dry-run", "--json").json
    assert plan["kind"] == "sweep"
    assert plan["spec"]["space"] == {"depth": [1]}
    assert plan["spec"]["job"]["params"] == {"seed": 3}
    assert mlport("sweeps", "list", "--json").json == []


def test_a_key_starts_a_sweep_once(mlport, sweep_file):
    first, second = (mlport("sweeps", "run", sweep_file, "--key", "k", "--json").json["id"] for _ in range(2))
    assert first == second
    assert len(mlport("jobs", "list", "--json").json) == 3


def test_interrupted_it_says_how_to_go_on_and_goes_on(mlport, sweep_file, environment, home):
    command = [sys.executable, "-m", "mlport.cli.main", "sweeps", "run", sweep_file, "--set", "job.params.until=go"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True) as running:
        assert running.stderr is not None
        while "running=2" not in running.stderr.readline():
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=20)
    assert running.returncode == 130
    (found,) = mlport("sweeps", "list", "--json").json
    assert f"mlport sweeps wait {found['id']}" in err
    assert found["state"] == "RUNNING"
    assert mlport("sweeps", "cancel", found["id"]).status == 0
    ended = mlport("sweeps", "wait", found["id"], "--timeout", "30s")
    assert ended.status == 1
    assert "CANCELLED" in ended.err
    assert {job["state"] for job in mlport("jobs", "list", "--json").json} == {"CANCELLED"}


def test_stored_only_it_waits_for_somebody(mlport, sweep_file):
    ran = mlport("sweeps", "run", sweep_file, "--no-wait")
    sweep_id = ran.out.strip()
    assert f"mlport sweeps wait {sweep_id}" in ran.err
    missing = mlport("sweeps", "best", sweep_id)
    assert (missing.status, "no trial" in missing.err) == (2, True)
    assert mlport("sweeps", "wait", sweep_id).status == 0
    assert mlport("sweeps", "best", sweep_id, "--json").json["value"] == 0.6


def test_a_sweep_that_fails_fails_the_command(mlport, sweep_file):
    ran = mlport("sweeps", "run", sweep_file, "--set", "metric=f1", "--set", "space.depth=[1]")
    assert ran.status == 1
    assert "no trial succeeded" in ran.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SWEEP.replace('algorithm = "grid"', 'algorithm = "bayesian"'), "max_trials is required"),
        (SWEEP.replace("depth = [2, 6, 4]", "depth = {low = 1, hihg = 3}"), "did you mean 'high'"),
        (SWEEP.replace('"job.toml"', '"jbo.toml"'), "jbo.toml: No such file"),
        (JOB, "describes a job"),
    ],
)
def test_what_is_wrong_is_named(mlport, sweep_file, home, text, words):
    (home / "train" / "sweep.toml").write_text(text)
    ran = mlport("sweeps", "run", sweep_file)
    assert ran.status == 2
    assert words in ran.err
