"""Monitors from the command line: on a small provider whose capture is filled with a season that changes."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

DAY = timedelta(days=1)
SEASON = [(600, 0), (600, 0), (600, 20), (10, 0)]
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
MONITOR = """
[monitor]
name = "season"
endpoint = "late"
reference = "data/winter.parquet"
start = "4d"
delay = "1s"
alerts = [{ to = "log" }]
watch = ["drift"]
"""


def weather(count: int, shift: float, seed: int) -> list[dict]:
    chance = random.Random(seed)
    return [{"temp": chance.gauss(40 + shift, 10), "wind": chance.gauss(10, 3)} for _ in range(count)]


def fill(world, days) -> None:
    """What was asked for on each day, the last one yesterday: how many rows, and how much warmer."""
    world.captured.clear()
    for day, (count, shift) in enumerate(days):
        at = TODAY - (len(days) - day) * DAY + timedelta(hours=3)
        kept = {"caller_id": None, "row": 0, "time": at, "endpoint": "late", "deployment": "v1", "model_version": "1", "prediction": 0.5}
        kept |= {"status": 200, "latency": 0.01, "sampling_rate": 1.0, "raw": None}
        world.captured += [
            {"provider_id": f"r{day}-{place}", "features": row, **kept} for place, row in enumerate(weather(count, shift, 2 + day))
        ]


@pytest.fixture
def world(home, mlport, model):
    """An endpoint that was asked for four days: two as in the reference, one that is warmer, one that brought too little."""
    from tiny_provider import WORLDS

    assert mlport("models", "register", "delays", str(model), "--trust").status == 0
    assert mlport("endpoints", "create", "late", "delays:1").status == 0
    (home / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(weather(3000, 0, 1)), home / "data" / "winter.parquet")
    world = WORLDS[home.name]
    fill(world, SEASON)
    (home / "monitor.toml").write_text(MONITOR)
    return world


@pytest.fixture
def season(mlport, world):
    """The monitor, made and run once."""
    assert mlport("monitors", "create", "monitor.toml").status == 0
    assert mlport("monitors", "run", "season").status == 3
    return "season"


def test_a_monitor_from_its_file_to_its_end(mlport, world):
    ran = mlport("monitors", "create", "monitor.toml")
    assert (ran.status, ran.out) == (0, "season\n")
    assert "no agent runs, so no window is read yet" in ran.err
    assert mlport("monitors", "readings", "season").err == "no window has been read yet\n"
    assert mlport("monitors", "create", "monitor.toml").status == 0, "asked again, it is there"
    ran = mlport("monitors", "run", "season", "--json")
    assert ran.status == 3
    (done,) = ran.json
    assert (done["monitor"], done["error"]) == ("season", None)
    assert [each["drift"] for each in done["readings"]] == ["unknown", "drift", "no drift", "no drift"]
    assert "monitor season: " in ran.err
    again = mlport("monitors", "run", "--all")
    assert (again.status, again.out) == (0, "")
    assert again.err.endswith("nothing was due\n")
    listed = mlport("monitors", "list", "--json").json
    assert [(each["name"], each["endpoint"], each["road"], each["drift"]) for each in listed] == [("season", "late", "composed", "unknown")]
    assert ("monitor", "season") in [(each["kind"], each["id"]) for each in mlport("ls", "--json").json]
    assert mlport("monitors", "delete", "season", "nobody").out == "deleted season, nobody\n"
    gone = mlport("monitors", "get", "season")
    assert (gone.status, "no monitor 'season'" in gone.err) == (2, True)


def test_what_was_found_is_listed_and_shown(mlport, season):
    ran = mlport("monitors", "readings", season)
    assert [line.split()[1:5] for line in ran.out.splitlines()[1:]] == [
        ["10", "unknown", "none", "10"], ["600", "drift", "severe", "temp"], ["600", "no", "drift", "none"], ["600", "no", "drift", "none"],
    ]  # fmt: skip
    whole = mlport("monitors", "readings", season, "--json", "--limit", "2").json[1]
    assert {each["name"]: each["status"] for each in whole["columns"]} == {"temp": "drift", "wind": "no drift"}
    assert whole["told"][0]["to"].startswith("log")
    shown = mlport("monitors", "get", season, "--json").json
    assert shown["last"]["drift"] == "unknown"
    assert shown["spec"]["reference"].endswith("/data/winter.parquet")
    assert mlport("monitors", "retrainings", season).err == "it has trained nothing yet\n"
    refused = mlport("monitors", "retrain", season)
    assert refused.status == 2
    assert "no policy of retraining" in refused.err


def test_a_report_is_written(mlport, season, home):
    ran = mlport("monitors", "report", season, "--out", "season.html")
    assert ran.status == 0
    assert "the newest that is known" in ran.out
    text = (home / "season.html").read_text()
    assert "Drift by column and window" in text
    assert "The newest window against the reference" in text
    for name, words in (("season.txt", "must end with .html"), ("nowhere/season.html", "there is no folder")):
        refused = mlport("monitors", "report", season, "--out", name)
        assert (refused.status, words in refused.err) == (2, True)


def test_the_status_of_a_run_says_what_was_found(mlport, world, monkeypatch):
    """All well: 0. Something not known, or a window that cannot be read: 1. Drift: 3, whatever is not known besides."""
    import tiny_provider

    from mlport.errors import UnavailableError

    def made(name, start):
        assert mlport("monitors", "create", "monitor.toml", "--set", f"name={name}", "--set", f"start={start}").status == 0
        return name

    assert mlport("monitors", "run", made("short", "1d")).status == 1
    assert mlport("monitors", "run", made("both", "2d")).status == 3
    fill(world, [(600, 0)] * 4)
    assert mlport("monitors", "run", made("calm", "4d")).status == 0
    world.captured.append({**world.captured[-1], "time": None})
    unread = mlport("monitors", "run", made("damaged", "1d"), "--json")
    assert unread.status == 1
    assert unread.json[0]["readings"][0]["drift"] == "unknown"
    world.captured.pop()
    made("later", "1d")
    captured = tiny_provider.TinyEndpoints.captured
    calls = []

    def flaky(self, name, window):
        calls.append(name)
        if len(calls) == 1:
            raise UnavailableError("the capture does not answer")
        return captured(self, name, window)

    monkeypatch.setattr(tiny_provider.TinyEndpoints, "captured", flaky)
    made("next", "1d")
    done = mlport("monitors", "run", "later", "next", "--json")
    assert done.status == 1
    assert [(each["error"] or {}).get("error") for each in done.json] == ["UnavailableError", None]
    assert [len(each["readings"]) for each in done.json] == [0, 1]
    assert mlport("monitors", "run", "later").status == 0, "what could not be read for now is read the next time"


def test_decay_that_labels_tell_of_later_is_found_by_the_run_in_which_they_came(mlport, world, home):
    labels = home / "data" / "labels.parquet"
    pq.write_table(pa.table({"request_id": ["of another month"], "row": [0], "label": [5.0]}), labels)
    fields = [
        'watch=["decay"]',
        f"labels_from={labels}",
        "performance.metric=mae",
        "performance.task=regression",
        "performance.reference=1.0",
    ]
    made = mlport("monitors", "create", "monitor.toml", *(word for field in fields for word in ("--set", field)))
    assert made.status == 0, made.err
    first = mlport("monitors", "run", "season", "--json")
    assert (first.status, {each["performance"]["status"] for each in first.json[0]["readings"]}) == (0, {"not known yet"})
    asked = [each["provider_id"] for each in world.captured if each["provider_id"].startswith("r1-")]
    pq.write_table(pa.table({"request_id": asked, "row": [0] * len(asked), "label": [5.0] * len(asked)}), labels)
    later = mlport("monitors", "run", "season")
    assert later.status == 3, later.err
    (line,) = later.out.splitlines()[1:]
    assert line.split()[1:] == [f"{TODAY - 3 * DAY:%Y-%m-%dT%H:%M:%SZ}", "-", "not", "watched", "none", "-", "decayed", "mae", "4.5", "-"]
    assert mlport("monitors", "run", "season").status == 0, "told once"
    for each in world.captured:
        del each["caller_id"]
    pq.write_table(pa.table({"request_id": asked[:9], "row": [0] * 9, "label": [6.0] * 9}), labels)
    defect = mlport("monitors", "run", "--all", "--json")
    assert (defect.status, defect.json[0]["error"]["error"]) == (1, "KeyError")


def test_a_dry_run_sends_nothing_and_explain_knows_monitors(mlport, world):
    plan = mlport("monitors", "create", "monitor.toml", "--dry-run", "--set", "window=12h", "--json").json
    assert (plan["kind"], plan["name"], plan["spec"]["window"]) == ("monitor", "season", 43200)
    assert plan["resolved"]["columns"] == {"temp": "number", "wind": "number"}
    assert mlport("monitors", "list", "--json").json == []
    assert mlport("explain", "monitor.toml", "--json").json["possible"]


def test_paths_and_a_jobs_file_are_beside_the_monitors(home):
    from mlport.cli import specfile

    (home / "deep" / "work").mkdir(parents=True)
    (home / "deep" / "work" / "job.toml").write_text('name = "train"\nentrypoint = ["python", "train.py"]\nsource = "."\n')
    (home / "deep" / "m.toml").write_text(
        'endpoint = "e"\nreference = "r.parquet"\nlabels_from = "s3://b/labels"\n[retrain]\njob = "work/job.toml"\ncooldown = "2d"\n'
    )
    spec = specfile.load(str(home / "deep" / "m.toml"))
    assert (spec.reference, spec.labels_from) == (str(home / "deep" / "r.parquet"), "s3://b/labels")
    assert spec.retrain.job.source == str(home / "deep" / "work")
    assert spec.retrain.cooldown == 2 * DAY
    spec = specfile.load(str(home / "deep" / "m.toml"), kinds=("monitor",), sets=[("retrain.job.source", "/else"), ("window", "7d")])
    assert (spec.retrain.job.source, spec.window) == ("/else", 7 * DAY)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("create", "monitor.toml", "--set", "windw=1d"), "did you mean 'window'"),
        (("create", "monitor.toml", "--set", "persistence=[3, 2]"), "k must be at least 1 and at most n"),
        (("create", "monitor.toml", "--set", "endpoint=nobody"), "no endpoint named 'nobody'"),
        (("run",), "name the monitors to run, or say --all"),
        (("run", "--all", "season"), "name the monitors to run, or say --all"),
        (("run", "nobody"), "no monitor 'nobody'"),
        (("report", "nobody", "--out", "x.html"), "no monitor 'nobody'"),
    ],
)
def test_what_is_wrong_is_named(mlport, world, arguments, words):
    ran = mlport("monitors", *arguments)
    assert (ran.status, words in ran.err) == (2, True), ran.err
