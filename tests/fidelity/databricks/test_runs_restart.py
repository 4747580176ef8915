"""The emulator killed in the middle of runs and started again: they go on, nothing is done twice, what was due fires."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aids.databricks.jobs import GATE, RUNNABLE, ask, ended, get, output, printed, put, python, submit, until, volume
from aids.databricks.place import call
from aids.process import Emulated, emulating

from mlport.waiting import wait_until

pytestmark = RUNNABLE
COUNTED = f"{GATE}\nopen('/Volumes/main/ml/mlport/counted', 'a').write(sys.argv[2])\n"


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    with emulating("databricks", tmp_path_factory.mktemp("databricks") / "state") as emulated:
        yield emulated


def test_a_killed_emulator_goes_on_with_its_runs_and_does_nothing_twice(emulated: Emulated) -> None:
    ready = emulated.ready
    program = put(ready, "/Shared/counted.py", COUNTED)
    on = [{"task_key": "first"}]
    gate = "/Volumes/main/ml/mlport/open"
    tasks = [python(program, gate, "a", key="first"), python(program, gate, "b", key="second", depends_on=on)]
    run_id = submit(ready, *tasks, idempotency_token="counted")
    until(ready, run_id, lambda run: "begun" in output(ready, run["tasks"][0]["run_id"]).get("logs", ""))
    canceled = submit(ready, python(program, "/never", "x"))
    until(ready, canceled, lambda run: run["tasks"][0]["state"]["life_cycle_state"] == "RUNNING")
    ask(ready, "POST", "/api/2.2/jobs/runs/cancel", {"run_id": canceled})
    emulated.kill()
    volume(emulated.ready, "open").touch()
    emulated.start()
    ready = emulated.ready
    assert submit(ready, *tasks, idempotency_token="counted") == run_id
    run = ended(ready, run_id)
    assert run["state"]["result_state"] == "SUCCESS"
    assert len(run["tasks"]) == 2
    assert volume(emulated.ready, "counted").read_text() == "ab"
    assert printed(ready, run) == "begun\nthrough\n"
    assert ended(ready, canceled)["state"]["result_state"] == "CANCELED"


def test_a_token_is_one_run_over_a_kill(emulated: Emulated) -> None:
    program = put(emulated.ready, "/Shared/once.py", "import sys; open('/Volumes/main/ml/mlport/once', 'a').write(sys.argv[1])")

    def send(number: int) -> Any:
        try:
            tasks = [python(program, "abcd"[number % 4])]
            return call(emulated.ready, "POST", "/api/2.2/jobs/runs/submit", {"tasks": tasks, "idempotency_token": f"once-{number % 4}"})
        except OSError:  # it was killed before it answered
            return None

    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(send, number) for number in range(16)]
        sent[2].result()
        emulated.kill()
        before = [each.result() for each in sent]
    emulated.start()
    after = [send(number) for number in range(4)]
    for number in range(4):
        told = {said["run_id"] for status, said in [after[number], *(each for each in before[number::4] if each)] if status == 200}
        assert len(told) == 1
        assert ended(emulated.ready, told.pop())["state"]["result_state"] == "SUCCESS"
    assert sorted(volume(emulated.ready, "once").read_text()) == ["a", "b", "c", "d"]


def test_a_schedule_fires_again_after_a_kill_and_not_for_what_was_missed(emulated: Emulated) -> None:
    program = put(emulated.ready, "/Shared/tick.py", "print('tick')")
    schedule = {"quartz_cron_expression": "* * * * * ?", "timezone_id": "UTC"}
    job = {"name": "tick", "schedule": schedule, "max_concurrent_runs": 100, "tasks": [python(program)]}
    job_id = ask(emulated.ready, "POST", "/api/2.2/jobs/create", job)["job_id"]
    path = f"/api/2.2/jobs/runs/list?job_id={job_id}"

    def fired() -> list[Any]:
        return list(ask(emulated.ready, "GET", path).get("runs", ()))

    wait_until(fired, bool, timeout=30, what="the first firing")
    emulated.kill()
    emulated.start()
    known = {run["run_id"] for run in fired()}
    wait_until(fired, lambda runs: {run["run_id"] for run in runs} > known, timeout=30, what="another firing")
    ask(
        emulated.ready,
        "POST",
        "/api/2.2/jobs/update",
        {"job_id": job_id, "new_settings": {"schedule": {**schedule, "pause_status": "PAUSED"}}},
    )
    runs = [ended(emulated.ready, run["run_id"]) for run in fired()]
    assert {run["trigger"] for run in runs} == {"PERIODIC"}
    assert {run["state"]["result_state"] for run in runs} == {"SUCCESS"}
    seconds = [run["start_time"] // 1000 for run in runs]
    assert len(set(seconds)) == len(seconds)
    assert get(emulated.ready, runs[0]["run_id"])["schedule"]["quartz_cron_expression"] == "* * * * * ?"
