"""Submit, follow, list and end jobs."""

from __future__ import annotations

import json

import pytest

from mlport.cli.jobs import STATES
from mlport.spi import State


@pytest.fixture
def job_file(home):
    folder = home / "train"
    folder.mkdir()
    (folder / "train.py").write_text("print('hello')\n")
    (folder / "rows.csv").write_text("a\n1\n")
    (folder / "job.toml").write_text(
        '[job]\nname = "delays"\nsource = "."\nentrypoint = ["python", "train.py"]\n[job.params]\nmax_depth = 6\n[job.inputs]\nrows = "rows.csv"\n'
    )
    return folder / "job.toml"


def test_submit_prints_the_id_alone_on_standard_output(mlport, job_file):
    ran = mlport("jobs", "submit", str(job_file))
    assert (ran.status, ran.out) == (0, "delays-1\n")
    assert "mlport jobs logs -f delays-1" in ran.err


def test_submit_as_json_is_one_document(mlport, job_file):
    found = mlport("jobs", "submit", str(job_file), "--json", "--key", "monday").json
    assert (found["id"], found["name"], found["state"], found["key"]) == ("delays-1", "delays", "QUEUED", "monday")
    assert found["created"] == "2026-01-02T03:04:05Z"


def test_a_key_starts_a_job_once(mlport, job_file):
    ids = {mlport("jobs", "submit", str(job_file), "--key", "monday", "-q").out for _ in range(3)}
    assert ids == {"delays-1\n"}
    assert mlport("jobs", "submit", str(job_file), "-q").out == "delays-2\n"


def test_a_relative_source_and_input_are_relative_to_the_file(mlport, job_file):
    plan = mlport("jobs", "submit", str(job_file), "--dry-run", "--json").json
    assert plan["spec"]["source"] == str(job_file.parent)
    assert plan["facts"]["inputs"]["rows"]["uri"] == str(job_file.parent / "rows.csv")
    assert mlport("jobs", "list", "--json").json == []


def test_set_replaces_fields(mlport, job_file):
    plan = mlport(
        "jobs",
        "submit",
        str(job_file),
        "--dry-run",
        "--json",
        "--set",
        "params.max_depth=8",
        "--set",
        "compute.cpus=2",
        "--set",
        "params.who=Ada",
    ).json
    assert plan["spec"]["params"] == {"max_depth": 8, "who": "Ada"}
    assert plan["spec"]["compute"]["cpus"] == 2


def test_a_dry_run_shows_needs_and_the_request(mlport, job_file):
    out = mlport("jobs", "submit", str(job_file), "--dry-run").out
    assert "would make the job delays on tiny://" in out
    assert "job.input.local  native: in memory" in out
    assert "request tiny.make POST /things" in out


def test_wait_shows_changes_and_what_was_left(mlport, job_file):
    ran = mlport("jobs", "submit", str(job_file), "--wait")
    assert [line for line in ran.err.splitlines() if line.startswith("job ")] == [
        "job delays-1: QUEUED (waiting)",
        "job delays-1: RUNNING",
        "job delays-1: SUCCEEDED",
    ]
    assert "auc  0.56" in ran.out


def test_follow_prints_the_log_on_standard_output_and_beside_a_json_document(mlport, job_file):
    ran = mlport("jobs", "submit", str(job_file), "--follow")
    assert ran.out.startswith("epoch 1\nepoch 2\ndone\n")
    ran = mlport("jobs", "submit", str(job_file), "--follow", "--json")
    assert ran.json["result"]["metrics"] == {"auc": 0.56}
    assert "epoch 1\n" in ran.err


def test_a_failed_job_is_status_1_with_its_reason_and_the_end_of_its_log(mlport, job_file):
    ran = mlport("jobs", "submit", str(job_file), "--wait", "--set", "params.fail=true", "--json")
    assert ran.status == 1
    assert ran.json["error"] == "JobFailedError"
    assert "ended FAILED: exit code 3" in ran.json["message"]
    assert ran.json["hint"].endswith("epoch 1\nepoch 2\ndone")
    assert "error: job delays-1 ended FAILED: exit code 3" in ran.err


def test_a_followed_log_is_not_printed_again_when_the_job_fails(mlport, job_file):
    ran = mlport("jobs", "submit", str(job_file), "--follow", "--set", "params.fail=true")
    assert ran.status == 1
    assert "epoch 1" not in ran.err


def test_run_takes_a_command(mlport, home):
    (home / "train.py").write_text("")
    args = "--param max_depth=8 --param note=a=b --env MODE=fast --memory 512MiB --cpus 2 --timeout 1h30m --retries 0 --label team=ml"
    plan = mlport("jobs", "run", "--dry-run", "--json", *args.split(), "--", "python", "train.py", "--lr", "0.1").json
    spec = plan["spec"]
    assert spec["name"] == "train"
    assert spec["entrypoint"] == ["python", "train.py", "--lr", "0.1"]
    assert spec["params"] == {"max_depth": 8, "note": "a=b"}
    assert (spec["compute"]["cpus"], spec["compute"]["memory_gib"], spec["timeout"]) == (2, 0.5, 5400)
    assert spec["env"] == {"MODE": "fast"}
    assert plan["facts"]["bundle"]
    assert plan["facts"]["labels"]["team"] == "ml"


def test_run_needs_no_double_dash(mlport):
    assert mlport("jobs", "run", "--name", "hello", "echo", "--json").out == "hello-1\n"


def test_run_refuses_a_script_that_is_not_there(mlport, home):
    (home / "train.py").write_text("")
    ran = mlport("jobs", "run", "--source", ".", "--", "python", "tain.py")
    assert ran.status == 2
    assert "did you mean 'train.py'" in ran.err


def test_every_state_can_be_asked_for():
    assert set(STATES) == {state.value for state in State}


def test_list_filters(mlport):
    for name in ("a", "b"):
        mlport("jobs", "run", "--name", name, "true")
    mlport("jobs", "wait", "a-1")
    assert [job["id"] for job in mlport("jobs", "list", "--json").json] == ["b-2", "a-1"]
    assert [job["id"] for job in mlport("jobs", "list", "--state", "succeeded", "--json").json] == ["a-1"]
    assert [job["id"] for job in mlport("jobs", "list", "--name", "b", "--json").json] == ["b-2"]
    text = mlport("jobs", "list", "--limit", "1")
    assert text.out.splitlines()[0].split() == ["id", "name", "state", "created", "ended", "reason"]
    assert len(text.out.splitlines()) == 2
    assert "--limit 0" in text.err
    assert len(mlport("jobs", "list", "--limit", "1", "--json").json) == 1


def test_an_empty_list_says_so_beside_the_output(mlport):
    ran = mlport("jobs", "list")
    assert (ran.status, ran.out, ran.err) == (0, "", "no jobs yet\n")


def test_logs(mlport):
    mlport("jobs", "run", "--name", "a", "true")
    assert mlport("jobs", "logs", "a-1").out == "epoch 1\nepoch 2\ndone\n"
    assert mlport("jobs", "logs", "a-1", "-f").out == "epoch 1\nepoch 2\ndone\n"
    assert mlport("jobs", "logs", "a-1", "--tail", "1").out == "done\n"
    assert [json.loads(line)["line"] for line in mlport("jobs", "logs", "a-1", "--json").out.splitlines()] == ["epoch 1", "epoch 2", "done"]
    assert mlport("jobs", "logs", "a-1", "-f", "--tail", "1").status == 2


def test_cancel_and_delete_may_be_repeated(mlport):
    mlport("jobs", "run", "--name", "a", "--param", "forever=1", "true")
    assert mlport("jobs", "delete", "a-1").status == 2, "it runs"
    for _ in range(2):
        assert mlport("jobs", "cancel", "a-1", "--json").json == {"id": "a-1", "state": "CANCELLED"}
    for _ in range(2):
        assert mlport("jobs", "delete", "a-1").status == 0
    assert mlport("jobs", "get", "a-1").status == 2


def test_wait_gives_up_after_its_timeout(mlport):
    mlport("jobs", "run", "--name", "a", "--param", "forever=1", "true")
    ran = mlport("jobs", "wait", "a-1", "--timeout", "50ms")
    assert ran.status == 1
    assert "it goes on" in ran.err


def test_runs(mlport):
    for depth in ("3", "6"):
        mlport("jobs", "run", "--name", "a", "--param", f"max_depth={depth}", "--wait", "true")
    assert [run["params"]["max_depth"] for run in mlport("runs", "list", "--json").json] == [6, 3]
    comparison = mlport("runs", "compare", "a-1", "a-2", "--json").json
    assert comparison["params"] == {"max_depth": [3, 6]}
    assert comparison["metrics"]["auc"] == [0.53, 0.56]
    assert "metric auc" in mlport("runs", "compare", "a-1", "a-2").out
    assert mlport("runs", "reproduce", "a-1").out == "a-3\n"
