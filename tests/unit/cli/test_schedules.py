"""Schedules and the agent from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

SCHEDULE = """
[schedule]
name = "nightly"
cron = "30 2 * * *"
time_zone = "Europe/Berlin"
[schedule.job]
name = "delays"
source = "."
entrypoint = ["python", "train.py"]
"""


@pytest.fixture
def schedule_file(home, monkeypatch):
    monkeypatch.setenv("MLPORT_PROFILE", f"local://{home / 'root'}")
    (home / "train.py").write_text("print('hello')\n")
    (home / "nightly.toml").write_text(SCHEDULE)
    return str(home / "nightly.toml")


def test_a_schedule_from_its_file_to_its_end(mlport, schedule_file):
    ran = mlport("schedules", "create", schedule_file)
    assert (ran.status, ran.out) == (0, "nightly\n")
    assert "no agent runs" in ran.err
    assert "agent install --user" in ran.err
    (listed,) = mlport("schedules", "list", "--json").json
    assert (listed["name"], listed["state"], listed["time_zone"]) == ("nightly", "ACTIVE", "Europe/Berlin")
    upcoming = mlport("schedules", "next", "nightly", "--count", "3", "--json").json
    assert upcoming[0]["start"] == listed["next"]
    assert all(" 02:30:00 CE" in row["there"] or " 03:00:00 CEST" in row["there"] for row in upcoming)
    assert mlport("schedules", "pause", "nightly").out == "schedule nightly is paused\n"
    assert mlport("schedules", "get", "nightly", "--json").json["state"] == "PAUSED"
    assert mlport("schedules", "resume", "nightly", "--json").json == {"name": "nightly", "state": "ACTIVE"}
    assert mlport("schedules", "firings", "nightly").err == "it has not fired yet\n"
    assert mlport("schedules", "delete", "nightly", "nobody").status == 0
    gone = mlport("schedules", "get", "nightly")
    assert (gone.status, "no schedule 'nightly'" in gone.err) == (2, True)


def test_a_dry_run_and_a_replaced_field(mlport, schedule_file):
    plan = mlport("schedules", "create", schedule_file, "--set", "jitter=5m", "--set", "job.params.depth=3", "--dry-run", "--json").json
    assert plan["requests"][0]["body"]["jitter"] == 300
    assert plan["requests"][0]["body"]["job"]["params"] == {"depth": 3}
    assert plan["support"]["schedule"]["level"] == "composed"
    assert mlport("schedules", "list", "--json").json == []


def test_explain_knows_sweeps_and_schedules(mlport, schedule_file):
    told = mlport("explain", schedule_file, "--json").json
    assert told["possible"], told


@pytest.mark.parametrize(
    ("field", "words"), [("cron=60 * * * *", "bad minute"), ("time_zone=Europe/Berlni", "no time zone"), ("jitter=1d", "must be less than")]
)
def test_what_is_wrong_is_named(mlport, schedule_file, field, words):
    ran = mlport("schedules", "create", schedule_file, "--set", field)
    assert (ran.status, words in ran.err) == (2, True), ran.err


def test_the_agent_fires_what_is_due_and_says_what_it_does(mlport, schedule_file):
    assert mlport("agent", "status", "--json").json == {"leads": False, "chores": []}
    mlport("schedules", "create", schedule_file, "--set", "cron=* * * * *")
    assert mlport("agent", "run", "--once", "--json").json == {"leads": True}
    word = mlport("agent", "status", "--json").json
    assert {chore["name"] for chore in word["chores"]} == {"jobs and endpoints", "housekeeping", "schedule nightly"}
    assert all(not chore["error"] for chore in word["chores"])


def test_the_unit_is_printed_written_and_removed(mlport, schedule_file, home, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    printed = mlport("agent", "install", "--user", "--print")
    assert printed.status == 0
    assert "KillMode=process" in printed.out
    assert f'"--profile" "local://{home / "root"}" "agent" "run"' in printed.out
    assert not (home / "config").exists()
    written = mlport("agent", "install", "--user", "--json")
    path = written.json["path"]
    assert path.startswith(str(home / "config" / "systemd" / "user" / "mlport-agent-"))
    assert Path(path).read_text() == printed.out
    assert "systemctl --user enable --now" in written.err
    assert mlport("agent", "uninstall", "--user", "--json").json == {"path": path}
    assert mlport("agent", "uninstall", "--user").status == 0
