"""ls and cleanup of sweeps, schedules, and of what the local provider keeps, with real jobs on one's own machine."""

from __future__ import annotations

import pytest

from mlport.errors import UnavailableError

TRAIN = """
import json, os
with open(os.environ["MLPORT_METRICS"], "a") as metrics:
    metrics.write(json.dumps({"auc": json.loads(os.environ["MLPORT_PARAMS"])["depth"]}) + "\\n")
"""
JOB = 'name = "delays"\nsource = "code"\nentrypoint = ["python", "train.py"]\n'
SWEEP = 'name = "depths"\njob = "job.toml"\nmetric = "auc"\ndirection = "maximize"\nalgorithm = "grid"\n[space]\ndepth = [1, 2]\n'
SCHEDULE = 'name = "nightly"\njob = "job.toml"\ncron = "30 2 * * *"\n'


@pytest.fixture
def local(home, monkeypatch):
    monkeypatch.setenv("MLPORT_PROFILE", f"local://{home / 'root'}")
    monkeypatch.setenv("MLPORT_EXPORT", "0")
    (home / "code").mkdir()
    (home / "code" / "train.py").write_text(TRAIN)
    for name, text in {"job": JOB, "sweep": SWEEP, "schedule": SCHEDULE}.items():
        (home / f"{name}.toml").write_text(text)
    return home


def of_kind(rows, kind):
    return [row["id"] for row in rows if row["kind"] == kind]


def test_ls_shows_sweeps_and_schedules_with_owner_and_end(mlport, local):
    sweep = mlport("sweeps", "run", "sweep.toml", "--set", "job.ttl=1h", "--json").json["id"]
    mlport("schedules", "create", "schedule.toml", "--set", "end=2031-01-01T00:00:00", "--set", "time_zone=Europe/Berlin")
    rows = {row["kind"]: row for row in mlport("ls", "--json").json}
    assert set(rows) == {"job", "sweep", "schedule"}
    assert (rows["sweep"]["id"], rows["sweep"]["state"], rows["sweep"]["over"], rows["sweep"]["owner"]) == (sweep, "SUCCEEDED", True, "ada")
    assert rows["sweep"]["expires"] == rows["job"]["expires"] is not None
    assert (rows["schedule"]["id"], rows["schedule"]["over"], rows["schedule"]["owner"]) == ("nightly", False, "ada")
    assert rows["schedule"]["expires"] == "2030-12-31T23:00:00Z"
    mlport("schedules", "delete", "nightly")


def test_cleanup_removes_ended_sweeps_and_schedules_and_leaves_what_goes_on(mlport, local):
    sweep = mlport("sweeps", "run", "sweep.toml", "--json").json["id"]
    waiting = mlport("sweeps", "run", "sweep.toml", "--no-wait", "--json").json["id"]
    mlport("schedules", "create", "schedule.toml")
    mlport("schedules", "create", "schedule.toml", "--set", "name=over", "--set", "end=2020-01-01T00:00:00")

    assert of_kind(mlport("cleanup", "--dry-run", "--json").json, "schedule") == ["over"], "past its end, which is the default"
    ran = mlport("cleanup", "--older-than", "1ms", "--sweeps", "--schedules", "--yes", "--json")
    assert ran.status == 0, ran.err
    assert {(row["kind"], row["id"], row["removed"]) for row in ran.json} == {("sweep", sweep, True), ("schedule", "over", True)}
    assert [row["id"] for row in mlport("sweeps", "list", "--json").json] == [waiting]
    assert [row["name"] for row in mlport("schedules", "list", "--json").json] == ["nightly"]
    assert len(mlport("jobs", "list", "--json").json) == 2, "the jobs that were its trials stay"
    assert of_kind(mlport("cleanup", "--older-than", "1ms", "--yes", "--json").json, "job"), "and go as jobs"


def test_sweeps_are_deleted_by_id_once_they_have_ended(mlport, local):
    sweep = mlport("sweeps", "run", "sweep.toml", "--no-wait", "--json").json["id"]
    refused = mlport("sweeps", "delete", sweep)
    assert (refused.status, "cancel it and wait for its end first" in refused.err) == (2, True)
    assert mlport("sweeps", "cancel", sweep, "--json").json == {"id": sweep, "state": "CANCELLED"}
    assert mlport("sweeps", "delete", sweep, "nobody-1").status == 0
    assert mlport("sweeps", "list", "--json").json == []


def test_cleanup_removes_what_is_kept_and_nobody_uses(mlport, local):
    job = mlport("jobs", "submit", "job.toml", "--set", "params.depth=1", "--wait", "--json").json["id"]
    assert mlport("cleanup", "--unused", "1ms", "--yes").err == "nothing is past its time\n", "a listed job needs its source"
    mlport("jobs", "delete", job)
    assert mlport("cleanup", "--unused", "7d", "--yes").err == "nothing is past its time\n"
    (bundle,) = (local / "root" / "bundles").iterdir()
    (said,) = mlport("cleanup", "--unused", "1ms", "--dry-run", "--json").json
    assert (said["kind"], f"{said['id']}.tar.gz", said["removed"], bundle.exists()) == ("bundle", bundle.name, False, True)
    assert "bundle" in mlport("cleanup", "--unused", "1ms", "--dry-run").out
    (done,) = mlport("cleanup", "--unused", "1ms", "--yes", "--json").json
    assert (done["id"], done["removed"], bundle.exists()) == (said["id"], True, False)


def test_what_could_not_be_removed_is_said(mlport, local, monkeypatch):
    from mlport.schedules import Schedules

    def down(*_):
        raise UnavailableError("it is down")

    mlport("schedules", "create", "schedule.toml", "--set", "end=2020-01-01T00:00:00")
    monkeypatch.setattr(Schedules, "delete", down)
    ran = mlport("cleanup", "--yes")
    assert (ran.status, "schedule nightly stays: it is down" in ran.err, "removed 0" in ran.err) == (1, True, True)


def test_a_provider_that_keeps_nothing_says_so(mlport):
    ran = mlport("cleanup", "--unused", "7d")
    assert (ran.status, "the tiny provider keeps nothing to use again" in ran.err) == (2, True)
