"""The same commands on one's own machine, with real processes."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SCRIPT = """
import json, os, sys, time
params = json.loads(os.environ["MLPORT_PARAMS"])
print("started", flush=True)
while params.get("until") and not os.path.exists(params["until"]):
    time.sleep(0.02)
with open(os.environ["MLPORT_METRICS"], "a") as metrics:
    metrics.write(json.dumps({"auc": 0.75}) + "\\n")
print("ended")
sys.exit(params.get("status", 0))
"""


@pytest.fixture
def local(home, monkeypatch):
    monkeypatch.setenv("MLPORT_PROFILE", f"local://{home / 'root'}")
    (home / "train.py").write_text(SCRIPT)
    return home


def test_a_job_is_run_followed_and_listed(mlport, local):
    ran = mlport("jobs", "run", "--follow", "--json", "--", "python", "train.py")
    assert ran.status == 0, ran.err
    assert ran.json["result"]["metrics"] == {"auc": 0.75}
    assert "started\nended\n" in ran.err
    job_id = ran.json["id"]
    assert [job["id"] for job in mlport("jobs", "list", "--state", "SUCCEEDED", "--json").json] == [job_id]
    assert mlport("jobs", "logs", job_id).out == "started\nended\n"
    assert mlport("runs", "list", "--json").json[0]["metrics"] == {"auc": 0.75}
    assert mlport("cleanup", "--older-than", "1ms", "--jobs", "--yes", "--json").json[0]["removed"] is True
    assert mlport("jobs", "list", "--json").json == []


def test_a_failing_job_fails_the_command(mlport, local):
    ran = mlport("jobs", "run", "--param", "status=3", "--wait", "--json", "--", "python", "train.py")
    assert (ran.status, ran.json["state"]) == (1, "FAILED")
    assert "exit code 3" in ran.json["message"]
    assert "ended" in ran.json["hint"]


def test_ctrl_c_leaves_the_job_alone(mlport, local, environment):
    command = [sys.executable, "-m", "mlport.cli.main", "jobs", "run", "--param", "until=go", "--follow", "--", "python", "train.py"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "started\n"
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=20)
    assert running.returncode == 130
    assert "goes on" in err
    (job,) = mlport("jobs", "list", "--json").json
    assert job["state"] == "RUNNING"
    assert mlport("jobs", "cancel", job["id"]).status == 0
    assert mlport("jobs", "wait", job["id"]).status == 1
    assert mlport("jobs", "get", job["id"], "--json").json["state"] == "CANCELLED"


def test_doctor_is_well(mlport, local):
    assert {finding["check"] for finding in mlport("doctor", "--json").json} >= {"mlport", "profile", "root", "disk"}
