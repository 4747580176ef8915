"""Runs that are repaired, and notebooks that are exported from them."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from aids.databricks.jobs import CLUSTER, RUNNABLE, ask, ended, output, printed, put, python, states, submit
from aids.databricks.place import call, error

from mlport.emulation.server import Ready

pytestmark = RUNNABLE
REPAIR = "/api/2.2/jobs/runs/repair"
FIXABLE = """
import pathlib, sys
if not pathlib.Path(sys.argv[1]).exists():
    sys.exit("not fixed")
print("fixed", *sys.argv[2:])
"""


@pytest.fixture
def fixable(emulator: Ready) -> str:
    """A program that fails until the file of its first argument is there."""
    return put(emulator, "/Shared/fixable.py", FIXABLE)


def repaired(ready: Ready, run_id: int, **fields: Any) -> tuple[int, Any]:
    """The repair's id, and the run once it is over."""
    number = int(ask(ready, "POST", REPAIR, {"run_id": run_id, **fields})["repair_id"])
    return number, ended(ready, run_id)


def test_failed_tasks_and_those_behind_them_are_done_again_in_the_same_run(emulator: Ready, fixable: str, tmp_path: Path) -> None:
    fixed = tmp_path / "fixed"
    tasks = [
        python(put(emulator, "/Shared/good.py", "print('good')"), key="good"),
        python(fixable, str(fixed), "{{job.repair_count}}", key="bad", max_retries=1),
        python(fixable, str(fixed), key="behind", depends_on=[{"task_key": "good"}, {"task_key": "bad"}]),
    ]
    run = ended(emulator, submit(emulator, *tasks))
    assert [each[2] for each in states(run)] == ["SUCCESS", "FAILED", "FAILED", "UPSTREAM_FAILED"]
    first, again = repaired(emulator, run["run_id"], rerun_all_failed_tasks=True)
    assert states(again)[1:5] == [("bad", "TERMINATED", "FAILED", "RUN_EXECUTION_ERROR")] * 4  # the repair has retries of its own
    fixed.touch()
    assert error(call(emulator, "POST", REPAIR, {"run_id": run["run_id"], "rerun_tasks": ["bad"]})[1])[1].startswith("The latest repair ID")
    second, whole = repaired(emulator, run["run_id"], rerun_tasks=["bad"], rerun_dependent_tasks=True, latest_repair_id=first)
    assert whole["state"]["result_state"] == "SUCCESS"
    assert [(each["task_key"], each["attempt_number"]) for each in whole["tasks"]] == [
        ("good", 0),
        *(("bad", number) for number in range(5)),
        *(("behind", number) for number in range(3)),
    ]
    assert printed(emulator, whole, 5) == "fixed 2\n"
    history = ask(emulator, "GET", f"/api/2.2/jobs/runs/get?run_id={run['run_id']}&include_history=true")["repair_history"]
    assert [(each["type"], each.get("id"), each["state"]["result_state"]) for each in history] == [
        ("ORIGINAL", None, "FAILED"),
        ("REPAIR", first, "FAILED"),
        ("REPAIR", second, "SUCCESS"),
    ]
    assert history[2]["task_run_ids"] == [whole["tasks"][5]["run_id"], whole["tasks"][8]["run_id"]]


def test_a_canceled_run_of_a_job_goes_on_with_the_jobs_settings_of_today(emulator: Ready, fixable: str, tmp_path: Path) -> None:
    fixed = tmp_path / "fixed"
    fixed.touch()
    waits = put(emulator, "/Shared/waits.py", "import time; time.sleep(600)")
    job = ask(
        emulator, "POST", "/api/2.2/jobs/create", {"name": "j", "tasks": [python(waits)], "parameters": [{"name": "p", "default": "1"}]}
    )
    run_id = ask(emulator, "POST", "/api/2.2/jobs/run-now", job)["run_id"]
    ask(emulator, "POST", "/api/2.2/jobs/runs/cancel", {"run_id": run_id})
    assert ended(emulator, run_id)["state"]["result_state"] == "CANCELED"
    settings = {"tasks": [python(fixable, str(fixed), "{{job.parameters.p}}")]}
    ask(emulator, "POST", "/api/2.2/jobs/update", {**job, "new_settings": settings})
    _, run = repaired(emulator, run_id, rerun_tasks=["main"], job_parameters={"p": "2"})
    assert run["state"]["result_state"] == "SUCCESS"
    assert printed(emulator, run, -1) == "fixed 2\n"


def test_only_the_iterations_that_failed_are_done_again(emulator: Ready, fixable: str, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    each = {"inputs": json.dumps([str(tmp_path / "a"), str(tmp_path / "b")]), "task": python(fixable, "{{input}}", key="one")}
    run = ended(emulator, submit(emulator, {"task_key": "each", "for_each_task": each}))
    assert run["tasks"][0]["for_each_task"]["stats"]["task_run_stats"]["failed_iterations"] == 1
    (tmp_path / "b").touch()
    _, run = repaired(emulator, run["run_id"], rerun_all_failed_tasks=True)
    assert run["state"]["result_state"] == "SUCCESS"
    assert [each["attempt_number"] for each in run["iterations"]] == [0, 0, 1]


def test_a_repair_that_cannot_be_is_told(emulator: Ready) -> None:
    run = ended(emulator, submit(emulator, python(put(emulator, "/Shared/good.py", "print('good')"))))
    for fields, message in (
        ({}, "Exactly one of rerun_tasks"),
        ({"rerun_tasks": ["main"], "rerun_all_failed_tasks": True}, "Exactly one of rerun_tasks"),
        ({"rerun_tasks": ["none"]}, "has no task none"),
        ({"rerun_all_failed_tasks": True}, "has failed"),
    ):
        status, said = call(emulator, "POST", REPAIR, {"run_id": run["run_id"], **fields})
        assert status == 400
        assert message in said["message"]


def test_the_notebook_of_a_run_is_exported_as_it_was(emulator: Ready) -> None:
    source = "# Databricks notebook source\nprint(1)\n\n# COMMAND ----------\n\nprint('<2>')\n"
    path = put(emulator, "/Shared/exported.py", source)
    run = ended(
        emulator, submit(emulator, {"task_key": "n", "notebook_task": {"notebook_path": path}, "new_cluster": CLUSTER}, python(path))
    )
    put(emulator, "/Shared/exported.py", "# Databricks notebook source\nprint(3)")
    export = f"/api/2.2/jobs/runs/export?run_id={run['tasks'][0]['run_id']}"
    assert output(emulator, run["tasks"][0]["run_id"])["metadata"]["state"]["result_state"] == "SUCCESS"
    view = ask(emulator, "GET", export)["views"][0]
    assert (view["name"], view["type"]) == ("exported.py", "NOTEBOOK")
    packed = re.search("__DATABRICKS_NOTEBOOK_MODEL = '([^']+)'", view["content"])
    assert packed is not None
    model = json.loads(unquote(base64.b64decode(packed[1]).decode()))
    assert [each["command"] for each in model["commands"]] == ["print(1)", "print('<2>')"]
    assert ask(emulator, "GET", f"{export}&views_to_export=ALL")["views"] == [view]
    assert ask(emulator, "GET", f"{export}&views_to_export=DASHBOARDS")["views"] == []
    assert "each individual task" in call(emulator, "GET", f"/api/2.2/jobs/runs/export?run_id={run['run_id']}")[1]["message"]
