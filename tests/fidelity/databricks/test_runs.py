"""One-time runs of the Databricks emulator: they really run, and are told in Databricks' states."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from aids.databricks.jobs import (
    CLUSTER,
    GATE,
    RUNNABLE,
    ask,
    ended,
    get,
    output,
    printed,
    put,
    python,
    states,
    submit,
    until,
    volume,
    wheel,
)
from aids.databricks.place import PLAIN_TOKEN, call, emulator, error, set_faults  # noqa: F401 - fixtures

from mlport.emulation.server import Ready

pytestmark = RUNNABLE
ECHO = "import sys; print(*sys.argv[1:])"
SERVERLESS = {"environment_key": "default"}
ENVIRONMENTS = [{"environment_key": "default", "spec": {"environment_version": "4"}}]


@pytest.fixture(scope="module")
def echo(emulator: Ready) -> str:  # noqa: F811
    return put(emulator, "/Shared/tests/echo.py", ECHO)


@pytest.fixture(scope="module")
def gate(emulator: Ready) -> str:  # noqa: F811
    return put(emulator, "/Shared/tests/gate.py", GATE)


def test_a_task_is_run_with_the_parameters_and_the_environment_of_databricks(emulator: Ready, echo: str) -> None:  # noqa: F811
    program = put(
        emulator,
        "/Shared/tests/surroundings.py",
        "import json, os, sys; print(json.dumps([sys.argv[1:], sorted(os.listdir('/')), {k: os.environ.get(k) for k in "
        "('DATABRICKS_RUNTIME_VERSION', 'DATABRICKS_HOST', 'MINE', 'MLPORT_JOB_FOLDER')}]))",
    )
    cluster = {**CLUSTER, "spark_env_vars": {"MINE": "yes"}, "custom_tags": {"team": "ml"}}
    run_id = submit(
        emulator, python(program, "{{job.run_id}}", "{{task.run_id}}", "{{nothing}}", new_cluster=cluster), run_name="surroundings"
    )
    run = ended(emulator, run_id)
    task = run["tasks"][0]
    arguments, root, variables = json.loads(printed(emulator, run))
    assert arguments == [str(run_id), str(task["run_id"]), "{{nothing}}"]
    assert {"Volumes", "Workspace"} <= set(root)
    assert not {"Volumes", "Workspace"} & set(os.listdir("/"))
    assert variables["DATABRICKS_RUNTIME_VERSION"] == "16.4"
    assert variables["MINE"] == "yes"
    assert variables["DATABRICKS_HOST"] == "https://emulated.cloud.databricks.com"
    assert variables["MLPORT_JOB_FOLDER"] is None
    assert run["state"] == {
        "life_cycle_state": "TERMINATED",
        "result_state": "SUCCESS",
        "state_message": "",
        "user_cancelled_or_timedout": False,
    }
    assert run["status"] == {"state": "TERMINATED", "termination_details": {"code": "SUCCESS", "type": "SUCCESS", "message": ""}}
    assert run["start_time"] <= task["start_time"] < task["start_time"] + task["setup_duration"] < task["end_time"] <= run["end_time"]
    made = ask(emulator, "GET", f"/api/2.1/clusters/get?cluster_id={task['cluster_instance']['cluster_id']}")
    assert (made["cluster_source"], made["custom_tags"], made["state"]) == ("JOB", {"team": "ml"}, "TERMINATED")
    assert made["termination_reason"]["code"] == "JOB_FINISHED"
    assert made["default_tags"]["RunName"] == "surroundings"


def test_a_failed_task_is_told_as_databricks_tells_it(emulator: Ready) -> None:  # noqa: F811
    bad = put(emulator, "/Shared/tests/bad.py", "print('so far')\nraise ValueError('no good')")
    run = ended(emulator, submit(emulator, python(bad, max_retries=1)))
    message = "Workload failed, see run output for details"
    assert states(run) == [("main", "TERMINATED", "FAILED", "RUN_EXECUTION_ERROR")] * 2
    assert [task["attempt_number"] for task in run["tasks"]] == [0, 1]
    assert run["state"]["life_cycle_state"] == "INTERNAL_ERROR"
    assert run["state"]["result_state"] == "FAILED"
    assert run["state"]["state_message"] == f"Task main failed with message: {message}."
    assert run["status"]["termination_details"]["type"] == "CLIENT_ERROR"
    left = output(emulator, run["tasks"][1]["run_id"])
    assert left["error"] == "ValueError: no good"
    assert left["error_trace"].startswith("Traceback (most recent call last):")
    assert left["logs"].startswith("so far\n")
    assert left["logs_truncated"] is False
    second = get(emulator, run["tasks"][1]["run_id"])
    assert (second["original_attempt_run_id"], second["trigger"]) == (run["tasks"][0]["run_id"], "RETRY")
    status, said = call(emulator, "GET", f"/api/2.2/jobs/runs/get-output?run_id={run['run_id']}")
    assert status == 400
    assert "multiple tasks is not supported" in said["message"]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("/Workspace/Shared/nothing.py", "Cannot read the python file /Workspace/Shared/nothing.py. Either it does not exist"),
        ("/Volumes/main/ml/mlport/../../x.py", "Cannot read the python file"),
        ("dbfs:/nothing.py", "Cannot read the python file dbfs:/nothing.py."),
        ("s3://emulated-mlport-state/nothing.py", "Cannot read the python file s3://"),
    ],
)
def test_a_file_that_is_not_there(emulator: Ready, file: str, said: str) -> None:  # noqa: F811
    run = ended(emulator, submit(emulator, python(file)))
    assert states(run) == [("main", "INTERNAL_ERROR", "FAILED", "RESOURCE_NOT_FOUND")]
    assert run["tasks"][0]["state"]["state_message"].startswith(said)


def test_cancel_ends_the_whole_tree_and_an_ended_run_keeps_its_outcome(emulator: Ready) -> None:  # noqa: F811
    program = put(
        emulator,
        "/Shared/tests/tree.py",
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'], start_new_session=True)\n"
        "open('/Volumes/main/ml/mlport/pids', 'w').write(f'{os.getpid()} {child.pid}')\nprint('ready', flush=True)\ntime.sleep(1000)",
    )
    run_id = submit(emulator, python(program))
    until(emulator, run_id, lambda run: run["tasks"][0]["state"]["life_cycle_state"] == "RUNNING" and volume(emulator, "pids").exists())
    until(emulator, run_id, lambda run: "ready" in printed(emulator, run))
    ask(emulator, "POST", "/api/2.2/jobs/runs/cancel", {"run_id": run_id})
    ask(emulator, "POST", "/api/2.2/jobs/runs/cancel", {"run_id": run_id})
    run = ended(emulator, run_id)
    assert states(run) == [("main", "TERMINATED", "CANCELED", "USER_CANCELED")]
    assert (run["state"]["result_state"], run["state"]["user_cancelled_or_timedout"]) == ("CANCELED", True)
    assert [pid for pid in volume(emulator, "pids").read_text().split() if Path(f"/proc/{pid}").exists()] == []
    ask(emulator, "POST", "/api/2.2/jobs/runs/cancel", {"run_id": run_id})
    assert get(emulator, run_id) == run


def test_timeouts_of_a_task_and_of_a_run(emulator: Ready, gate: str) -> None:  # noqa: F811
    once = submit(emulator, python(gate, "/never", timeout_seconds=1, max_retries=3))
    twice = submit(emulator, python(gate, "/never", timeout_seconds=1, max_retries=1, retry_on_timeout=True))
    whole = submit(emulator, python(gate, "/never", max_retries=2), timeout_seconds=1)
    assert states(ended(emulator, once)) == [("main", "TERMINATED", "TIMEDOUT", "CANCELED")]
    assert len(ended(emulator, twice)["tasks"]) == 2
    run = ended(emulator, whole)
    assert (run["state"]["life_cycle_state"], run["state"]["result_state"]) == ("TERMINATED", "TIMEDOUT")
    assert states(run) == [("main", "TERMINATED", "TIMEDOUT", "CANCELED")]


def test_tasks_wait_for_what_they_depend_on(emulator: Ready, echo: str) -> None:  # noqa: F811
    bad = put(emulator, "/Shared/tests/exits.py", "raise SystemExit(3)")
    on = lambda *keys: [{"task_key": key} for key in keys]  # noqa: E731
    tasks = [
        python(echo, "a", key="first", **SERVERLESS),
        python(bad, key="second", **SERVERLESS),
        python(echo, "{{tasks.first.result_state}}", key="third", depends_on=on("first"), **SERVERLESS),
        python(echo, key="fourth", depends_on=on("first", "second"), **SERVERLESS),
        python(echo, key="fifth", depends_on=on("fourth"), run_if="ALL_DONE", **SERVERLESS),
        python(echo, key="sixth", depends_on=on("first"), run_if="AT_LEAST_ONE_FAILED", **SERVERLESS),
        python(echo, key="seventh", disabled=True, **SERVERLESS),
    ]
    run = ended(emulator, submit(emulator, *tasks, environments=ENVIRONMENTS))
    found = {key: result for key, _, result, _ in states(run)}
    assert found == {
        "first": "SUCCESS",
        "second": "FAILED",
        "third": "SUCCESS",
        "fourth": "UPSTREAM_FAILED",
        "fifth": "SUCCESS",
        "sixth": "EXCLUDED",
        "seventh": "DISABLED",
    }
    assert printed(emulator, run, 2) == "success\n"
    assert run["state"]["result_state"] == "SUCCESS_WITH_FAILURES"  # its leaf tasks went well
    alone = ended(emulator, submit(emulator, tasks[1], {**tasks[3], "depends_on": on("second")}, environments=ENVIRONMENTS))
    assert alone["state"]["state_message"].endswith("details. This caused all downstream tasks to get skipped.")


def test_a_for_each_task_goes_over_its_inputs(emulator: Ready, gate: str) -> None:  # noqa: F811
    program = put(emulator, "/Shared/tests/each.py", f"{GATE}\nprint(sys.argv[2])\nsys.exit(sys.argv[2] == 'b')")
    nested = python(program, "/Volumes/main/ml/mlport/each", "{{input}}", key="shard", max_retries=1)
    each = {"inputs": '["a", "b", "c"]', "concurrency": 2, "task": nested}
    run_id = submit(emulator, {"task_key": "shards", "for_each_task": each})
    run = until(emulator, run_id, lambda run: [each["state"]["life_cycle_state"] for each in run.get("iterations", ())] == ["RUNNING"] * 2)
    stats = run["tasks"][0]["for_each_task"]["stats"]["task_run_stats"]
    assert (stats["total_iterations"], stats["active_iterations"], stats["scheduled_iterations"]) == (3, 2, 2)
    volume(emulator, "each").touch()
    run = ended(emulator, run_id)
    found = [(each["state"]["result_state"], each["attempt_number"]) for each in run["iterations"]]
    assert found == [("SUCCESS", 0), ("FAILED", 0), ("FAILED", 1), ("SUCCESS", 0)]
    assert output(emulator, run["iterations"][0]["run_id"])["logs"] == "begun\nthrough\na\n"
    assert len({each["cluster_instance"]["cluster_id"] for each in run["iterations"]}) == 4
    assert run["tasks"][0]["state"]["result_state"] == "FAILED"
    assert run["state"]["result_state"] == "FAILED"
    assert get(emulator, run["tasks"][0]["run_id"])["iterations"] == run["iterations"]


def test_a_notebook_has_widgets_cells_and_a_value(emulator: Ready) -> None:  # noqa: F811
    source = (
        "# Databricks notebook source\n# MAGIC %md\n# MAGIC Hello\n\n# COMMAND ----------\n\ndbutils.widgets.text('name', 'nobody')\nx = 41\n\n"
        "# COMMAND ----------\n\n# MAGIC %python\n# MAGIC x += 1\n\n# COMMAND ----------\n\n"
        "dbutils.notebook.exit(f\"{dbutils.widgets.get('name')} {x}\")\n\n# COMMAND ----------\n\nraise ValueError('not reached')\n"
    )
    put(emulator, "/Users/admin@emulated.example/good.py", source)
    put(emulator, "/Users/admin@emulated.example/magic.py", "# Databricks notebook source\n# MAGIC %scala\n# MAGIC val x = 1\n")
    put(emulator, "/Users/admin@emulated.example/plain.py", "x = 1\n")
    task = lambda name, **given: {"task_key": "n", "notebook_task": {"notebook_path": f"/Users/admin@emulated.example/{name}", **given}}  # noqa: E731
    good, default = submit(emulator, task("good", base_parameters={"name": "ada"})), submit(emulator, task("good"))
    magic, plain = submit(emulator, task("magic")), submit(emulator, task("plain.py"))
    left = output(emulator, ended(emulator, good)["tasks"][0]["run_id"])
    assert left["notebook_output"] == {"result": "ada 42", "truncated": False}
    assert "logs" not in left
    assert output(emulator, ended(emulator, default)["tasks"][0]["run_id"])["notebook_output"]["result"] == "nobody 42"
    assert "Python cells only" in output(emulator, ended(emulator, magic)["tasks"][0]["run_id"])["error"]
    assert ended(emulator, plain)["tasks"][0]["state"]["state_message"].startswith("Unable to access the notebook")


def test_libraries_are_installed_and_a_wheel_is_run(emulator: Ready, tmp_path: Path, echo: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("UV_OFFLINE", "1")
    base = "/Volumes/main/ml/mlport/emutiny-1-py3-none-any.whl"
    volume(emulator, "emutiny-1-py3-none-any.whl").write_bytes(wheel(tmp_path, "emutiny", "numpy>=1"))
    task = {"package_name": "emutiny", "entry_point": "say", "parameters": ["one", "{{task.name}}"]}
    classic = {"task_key": "w", "python_wheel_task": task, "new_cluster": CLUSTER, "libraries": [{"whl": base}]}
    named = {**task, "parameters": [], "named_parameters": {"n": "1"}, "entry_point": "main"}
    serverless = {"task_key": "w", "python_wheel_task": named, "environment_key": "own"}
    environments = [{"environment_key": "own", "spec": {"environment_version": "4", "dependencies": [base]}}]
    first, second = submit(emulator, classic), submit(emulator, serverless, environments=environments)
    broken = submit(emulator, python(echo, libraries=[{"pypi": {"package": "no-such-package-of-mlport==1"}}]))
    assert printed(emulator, ended(emulator, first)) == "emutiny one w\n"
    assert printed(emulator, ended(emulator, second)) == "emutiny --n=1\n"
    run = ended(emulator, broken)
    assert states(run) == [("main", "INTERNAL_ERROR", "FAILED", "LIBRARY_INSTALLATION_ERROR")]
    assert "no-such-package-of-mlport" in run["state"]["state_message"]
    assert "not found" in run["state"]["state_message"]


def test_a_token_is_one_run_however_many_send_it(emulator: Ready, echo: str) -> None:  # noqa: F811
    with ThreadPoolExecutor(20) as pool:
        begun = list(
            pool.map(lambda number: submit(emulator, python(echo), idempotency_token=f"token-{number % 10}", run_name="many"), range(40))
        )
    assert len(set(begun)) == 10
    assert begun[:10] == begun[10:20] == begun[20:30] == begun[30:]
    for run_id in set(begun):
        assert ended(emulator, run_id)["state"]["result_state"] == "SUCCESS"
    assert submit(emulator, python(echo), idempotency_token="token-0") == begun[0]
    ask(emulator, "POST", "/api/2.2/jobs/runs/delete", {"run_id": begun[0]})
    status, said = call(emulator, "POST", "/api/2.2/jobs/runs/submit", {"tasks": [python(echo)], "idempotency_token": "token-0"})
    assert status == 400
    assert "has been deleted" in error(said)[1]


def test_lists_are_newest_first_by_pages_and_by_what_is_asked_for(emulator: Ready, gate: str) -> None:  # noqa: F811
    begun = [submit(emulator, python(gate, "/Volumes/main/ml/mlport/listed", **SERVERLESS), environments=ENVIRONMENTS) for _ in range(5)]
    since = get(emulator, begun[0])["start_time"]
    path = f"/api/2.2/jobs/runs/list?run_type=SUBMIT_RUN&start_time_from={since}"
    first = ask(emulator, "GET", f"{path}&limit=3")
    second = ask(emulator, "GET", f"{path}&limit=3&page_token={first['next_page_token']}")
    assert [run["run_id"] for run in (*first["runs"], *second["runs"])] == begun[::-1]
    assert first["has_more"]
    assert not second["has_more"]
    assert "tasks" not in first["runs"][0]
    assert "runs" not in ask(emulator, "GET", f"{path}&run_type=JOB_RUN")
    assert "runs" not in ask(emulator, "GET", f"{path}&completed_only=true")
    assert len(ask(emulator, "GET", f"{path}&active_only=true&expand_tasks=true")["runs"][0]["tasks"]) == 1
    assert "runs" not in ask(emulator, "GET", path, token=PLAIN_TOKEN)  # another's
    status, said = call(emulator, "POST", "/api/2.2/jobs/runs/delete", {"run_id": begun[0]})
    assert (status, said["error_code"]) == (400, "INVALID_STATE")
    volume(emulator, "listed").touch()
    for run_id in begun:
        ended(emulator, run_id)
    assert "runs" not in ask(emulator, "GET", f"{path}&active_only=true")


def test_a_preempted_machine(emulator: Ready, gate: str) -> None:  # noqa: F811
    def spot(availability: str, **fields: Any) -> Any:
        set_faults(emulator, {"match": "POST */runs/submit", "effect": "preempt", "seconds": 0.3})
        return python(
            gate, "/Volumes/main/ml/mlport/listed", new_cluster={**CLUSTER, "aws_attributes": {"availability": availability}}, **fields
        )

    hold = python(gate, "/never", new_cluster={**CLUSTER, "aws_attributes": {"availability": "SPOT"}})
    safe = submit(emulator, spot("ON_DEMAND"))
    lost = submit(emulator, hold)
    back = submit(
        emulator, {**hold, "max_retries": 1, "new_cluster": {**CLUSTER, "aws_attributes": {"availability": "SPOT_WITH_FALLBACK"}}}
    )
    set_faults(emulator)
    assert ended(emulator, safe)["state"]["result_state"] == "SUCCESS"
    run = ended(emulator, lost)
    assert states(run) == [("main", "INTERNAL_ERROR", "FAILED", "CLOUD_FAILURE")]
    assert run["status"]["termination_details"]["type"] == "CLOUD_FAILURE"
    cluster = ask(emulator, "GET", f"/api/2.1/clusters/get?cluster_id={run['tasks'][0]['cluster_instance']['cluster_id']}")
    assert cluster["termination_reason"]["code"] == "SPOT_INSTANCE_TERMINATION"
    again = until(emulator, back, lambda run: [task["state"]["life_cycle_state"] for task in run["tasks"]] == ["INTERNAL_ERROR", "RUNNING"])
    ask(emulator, "POST", "/api/2.2/jobs/runs/cancel", {"run_id": again["run_id"]})
    assert [result for _, _, result, _ in states(ended(emulator, back))] == ["FAILED", "CANCELED"]


def test_lag_hides_a_run_from_lists_only(emulator: Ready, echo: str) -> None:  # noqa: F811
    set_faults(emulator, {"match": "POST */runs/submit", "effect": "lag", "seconds": 600})
    hidden = submit(emulator, python(echo))
    set_faults(emulator)
    assert get(emulator, hidden)["run_id"] == hidden
    assert hidden not in [run["run_id"] for run in ask(emulator, "GET", "/api/2.2/jobs/runs/list").get("runs", ())]
    ended(emulator, hidden)
