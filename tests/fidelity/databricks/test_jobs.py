"""Jobs of the Databricks emulator: their settings, runs on demand, the queue, schedules."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aids.databricks.jobs import CLUSTER, GATE, RUNNABLE, ask, ended, get, printed, put, python, states, until
from aids.databricks.place import PLAIN_TOKEN, call, emulator, error  # noqa: F401 - fixtures

from mlport.emulation.server import Ready

JOBS = "/api/2.2/jobs"


def create(ready: Ready, **settings: Any) -> int:
    return int(ask(ready, "POST", f"{JOBS}/create", settings)["job_id"])


def settings(ready: Ready, job_id: int) -> Any:
    return ask(ready, "GET", f"{JOBS}/get?job_id={job_id}")["settings"]


def test_what_the_server_adds_to_the_settings(emulator: Ready) -> None:  # noqa: F811
    on = [{"task_key": "b"}, {"task_key": "a"}]
    cluster = {name: value for name, value in CLUSTER.items() if name != "aws_attributes"}
    tasks = [python("/x.py", key="a", new_cluster=cluster), python("/x.py", key="b"), python("/x.py", key="c", depends_on=on)]
    found = settings(emulator, create(emulator, name="defaults", tasks=tasks))
    assert (found["format"], found["max_concurrent_runs"], found["timeout_seconds"]) == ("MULTI_TASK", 1, 0)
    assert found["email_notifications"] == {}
    assert found["tasks"][0]["run_if"] == "ALL_SUCCESS"
    assert found["tasks"][0]["new_cluster"]["aws_attributes"]["availability"] == "SPOT_WITH_FALLBACK"
    assert [each["task_key"] for each in found["tasks"][2]["depends_on"]] == ["a", "b"]


def test_update_merges_reset_replaces_and_delete_forgets(emulator: Ready) -> None:  # noqa: F811
    job_id = create(emulator, name="first", tags={"a": "1"}, tasks=[python("/x.py", key="a"), python("/y.py", key="b")])
    change = {"name": "second", "tasks": [python("/z.py", key="b")]}
    ask(emulator, "POST", f"{JOBS}/update", {"job_id": job_id, "new_settings": change, "fields_to_remove": ["tags"]})
    found = settings(emulator, job_id)
    assert found["name"] == "second"
    assert "tags" not in found
    assert [task["spark_python_task"]["python_file"] for task in found["tasks"]] == ["/x.py", "/z.py"]
    ask(emulator, "POST", f"{JOBS}/reset", {"job_id": job_id, "new_settings": {"name": "third"}})
    assert "tasks" not in settings(emulator, job_id)
    ask(emulator, "POST", f"{JOBS}/delete", {"job_id": job_id})
    status, said = call(emulator, "GET", f"{JOBS}/get?job_id={job_id}")
    assert (status, *error(said)) == (400, "INVALID_PARAMETER_VALUE", f"Job {job_id} does not exist.")


def test_lists_by_name_and_by_pages(emulator: Ready) -> None:  # noqa: F811
    made = [create(emulator, name="Same Name", tags={"n": str(number)}) for number in range(3)]
    first = ask(emulator, "GET", f"{JOBS}/list?name=same%20name&limit=2")
    second = ask(emulator, "GET", f"{JOBS}/list?name=same%20name&limit=2&page_token={first['next_page_token']}")
    assert [job["job_id"] for job in (*first["jobs"], *second["jobs"])] == made[::-1]
    assert first["jobs"][0]["settings"]["tags"] == {"n": "2"}
    assert "next_page_token" not in second
    assert "jobs" not in ask(emulator, "GET", f"{JOBS}/list?name=same")


def test_another_user_is_refused(emulator: Ready) -> None:  # noqa: F811
    job_id = create(emulator, name="mine")
    for method, path, body in (
        ("GET", f"get?job_id={job_id}", None),
        ("POST", "run-now", {"job_id": job_id}),
        ("POST", "delete", {"job_id": job_id}),
    ):
        status, said = call(emulator, method, f"{JOBS}/{path}", body, token=PLAIN_TOKEN)
        assert status == 403
        assert error(said)[1].startswith("User plain@emulated.example does not have")
    assert "jobs" not in ask(emulator, "GET", f"{JOBS}/list", token=PLAIN_TOKEN)


@RUNNABLE
def test_run_now_with_parameters_and_a_token(emulator: Ready) -> None:  # noqa: F811
    program = put(emulator, "/Shared/jobs/say.py", "import sys; print(*sys.argv[1:])")
    parameters = [{"name": "day", "default": "monday"}, {"name": "kind", "default": "full"}]
    job_id = create(
        emulator, name="say", parameters=parameters, tasks=[python(program, "{{job.parameters.day}}", "{{job.id}}", "{{kind}}")]
    )
    body = {"job_id": job_id, "job_parameters": {"day": "friday"}, "idempotency_token": "say-1"}
    run_id = ask(emulator, "POST", f"{JOBS}/run-now", body)["run_id"]
    assert ask(emulator, "POST", f"{JOBS}/run-now", body)["run_id"] == run_id
    other = ask(emulator, "POST", f"{JOBS}/run-now", {"job_id": job_id, "python_params": ["x"]})["run_id"]
    run = ended(emulator, run_id)
    assert printed(emulator, run) == f"friday {job_id} full\n"
    assert (run["run_type"], run["trigger"], run["job_id"]) == ("JOB_RUN", "ONE_TIME", job_id)
    assert {"name": "day", "default": "monday", "value": "friday"} in run["job_parameters"]
    assert ended(emulator, other)["state"]["result_state"] in ("SUCCESS", "MAXIMUM_CONCURRENT_RUNS_REACHED")


@RUNNABLE
def test_a_full_job_queues_or_skips(emulator: Ready) -> None:  # noqa: F811
    program = put(emulator, "/Shared/jobs/gate.py", GATE)
    queued = create(emulator, name="queued", queue={"enabled": True}, tasks=[python(program, "/Volumes/main/ml/mlport/gone")])
    full = create(emulator, name="full", tasks=[python(program, "/Volumes/main/ml/mlport/gone")])
    first, second, third = (ask(emulator, "POST", f"{JOBS}/run-now", {"job_id": queued})["run_id"] for _ in range(3))
    only, skipped = (ask(emulator, "POST", f"{JOBS}/run-now", {"job_id": full})["run_id"] for _ in range(2))
    until(emulator, first, lambda run: run["state"]["life_cycle_state"] == "RUNNING")
    waiting = get(emulator, second)
    assert waiting["state"]["life_cycle_state"] == waiting["status"]["state"] == "QUEUED"
    assert waiting["status"]["queue_details"]["code"] == "MAX_CONCURRENT_RUNS_REACHED"
    run = get(emulator, skipped)
    assert (run["state"]["life_cycle_state"], run["state"]["result_state"]) == ("SKIPPED", "MAXIMUM_CONCURRENT_RUNS_REACHED")
    assert run["status"]["termination_details"]["code"] == "MAX_CONCURRENT_RUNS_EXCEEDED"
    ask(emulator, "POST", f"{JOBS}/runs/cancel", {"run_id": third})
    assert ended(emulator, third)["state"]["result_state"] == "CANCELED"
    (emulator.folder / "databricks/files/emulated.cloud.databricks.com/Volumes/main/ml/mlport/gone").touch()
    assert [ended(emulator, run_id)["state"]["result_state"] for run_id in (first, second, only)] == ["SUCCESS"] * 3
    assert get(emulator, second)["queue_duration"] > 0
    assert get(emulator, second)["start_time"] < get(emulator, first)["end_time"]
    again = ask(emulator, "POST", f"{JOBS}/run-now", {"job_id": queued})["run_id"]
    ask(emulator, "POST", f"{JOBS}/runs/cancel-all", {"job_id": queued})
    assert ended(emulator, again)["state"]["result_state"] in ("CANCELED", "SUCCESS")


@RUNNABLE
def test_tasks_share_a_cluster_of_the_job(emulator: Ready) -> None:  # noqa: F811
    program = put(emulator, "/Shared/jobs/hello.py", "print('hello')")
    tasks = [
        python(program, key="a", job_cluster_key="shared"),
        python(program, key="b", job_cluster_key="shared", depends_on=[{"task_key": "a"}]),
    ]
    job_id = create(emulator, name="shared", job_clusters=[{"job_cluster_key": "shared", "new_cluster": CLUSTER}], tasks=tasks)
    run = ended(emulator, ask(emulator, "POST", f"{JOBS}/run-now", {"job_id": job_id})["run_id"])
    assert states(run) == [(key, "TERMINATED", "SUCCESS", "SUCCESS") for key in "ab"]
    (cluster_id,) = {task["cluster_instance"]["cluster_id"] for task in run["tasks"]}
    events = ask(emulator, "POST", "/api/2.1/clusters/events", {"cluster_id": cluster_id, "order": "ASC"})["events"]
    assert [event["type"] for event in events] == ["CREATING", "RUNNING", "TERMINATING"]


ONE = python("/x.py")
ANOTHER = python("/x.py", key="b")
EACH = {"task_key": "e", "for_each_task": {"inputs": "[1]", "task": python("/x.py")}}


def cluster(**changes: Any) -> Any:
    return [python("/x.py", new_cluster={name: value for name, value in {**CLUSTER, **changes}.items() if value is not None})]


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"tasks": []}, "INVALID_PARAMETER_VALUE", "At least one task"),
        ({"tasks": [ONE], "idempotency_token": "x" * 65}, "INVALID_PARAMETER_VALUE", "64 characters"),
        ({"tasks": [ONE], "nmae": "x"}, "INVALID_PARAMETER_VALUE", "unknown field 'nmae'"),
        ({"tasks": [{**ONE, "max_retrys": 1}]}, "INVALID_PARAMETER_VALUE", "unknown field 'tasks[0].max_retrys'"),
        ({"tasks": [{**ONE, "max_retries": "1"}]}, "MALFORMED_REQUEST", "tasks[0].max_retries"),
        ({"tasks": [{**ONE, "run_if": "SOMETIMES"}]}, "MALFORMED_REQUEST", "tasks[0].run_if"),
        ({"tasks": [{**ONE, "max_retries": -2}]}, "INVALID_PARAMETER_VALUE", "max_retries must be at least -1"),
        ({"tasks": [{**ONE, "timeout_seconds": -1}]}, "INVALID_PARAMETER_VALUE", "timeout_seconds"),
        ({"tasks": [python("/a.py", "x" * 10_000)]}, "INVALID_PARAMETER_VALUE", "at most 10000 bytes"),
        ({"tasks": [python("/a.py", "é")]}, "INVALID_PARAMETER_VALUE", "ASCII"),
        ({"tasks": [ONE, ONE]}, "INVALID_PARAMETER_VALUE", "Duplicate task key found: main"),
        ({"tasks": [{**ONE, "task_key": "a b"}]}, "INVALID_PARAMETER_VALUE", "'a b'"),
        ({"tasks": [{"task_key": "a", "new_cluster": CLUSTER}]}, "INVALID_PARAMETER_VALUE", "Exactly one type of task"),
        ({"tasks": [{**ONE, "notebook_task": {"notebook_path": "/x"}}]}, "INVALID_PARAMETER_VALUE", "Exactly one type of task"),
        ({"tasks": [{**ONE, "depends_on": [{"task_key": "z"}]}]}, "INVALID_PARAMETER_VALUE", "depends on z"),
        (
            {"tasks": [{**ONE, "depends_on": [{"task_key": "b"}]}, {**ANOTHER, "depends_on": [{"task_key": "main"}]}]},
            "INVALID_PARAMETER_VALUE",
            "cycle",
        ),
        ({"tasks": [{**ONE, "environment_key": "e"}]}, "INVALID_PARAMETER_VALUE", "runs on a cluster"),
        ({"tasks": [python("/x.py", environment_key="e")]}, "INVALID_PARAMETER_VALUE", "environment e of task main is not defined"),
        (
            {"tasks": [{"task_key": "a", "spark_python_task": {"python_file": "/x.py"}}]},
            "INVALID_PARAMETER_VALUE",
            "An environment is required",
        ),
        ({"tasks": [python("/x.py", existing_cluster_id="nobody")]}, "INVALID_PARAMETER_VALUE", "Cluster nobody does not exist"),
        ({"tasks": [{**ONE, "existing_cluster_id": "a"}]}, "INVALID_PARAMETER_VALUE", "Only one of existing_cluster_id, new_cluster"),
        ({"tasks": [{**ONE, "libraries": [{"jar": "/x.jar"}]}]}, "NOT_IMPLEMENTED", "jar"),
        ({"tasks": [{**ONE, "libraries": [{}]}]}, "INVALID_PARAMETER_VALUE", "Exactly one kind of library"),
        ({"tasks": [{"task_key": "s", "sql_task": {"warehouse_id": "w"}, "new_cluster": CLUSTER}]}, "NOT_IMPLEMENTED", "sql_task"),
        ({"tasks": [{**EACH, "new_cluster": CLUSTER}]}, "INVALID_PARAMETER_VALUE", "nested task"),
        ({"tasks": [{**EACH, "for_each_task": {**EACH["for_each_task"], "concurrency": 101}}]}, "INVALID_PARAMETER_VALUE", "concurrency"),
        ({"tasks": [{**EACH, "for_each_task": {"inputs": "[1]", "task": EACH}}]}, "INVALID_PARAMETER_VALUE", "cannot be nested"),
        ({"tasks": [ONE], "git_source": {"git_url": "u", "git_provider": "gitHub"}}, "NOT_IMPLEMENTED", "git_source"),
        (
            {"tasks": cluster(spark_version="11.3.x-photon-scala2.12")},
            "INVALID_PARAMETER_VALUE",
            "Invalid spark version 11.3.x-photon-scala2.12.",
        ),
        ({"tasks": cluster(node_type_id="m5.huge")}, "INVALID_PARAMETER_VALUE", "Node type m5.huge is not supported."),
        ({"tasks": cluster(node_type_id=None)}, "INVALID_PARAMETER_VALUE", "settings.cluster_spec.new_cluster.node_type_id"),
        (
            {"tasks": cluster(is_single_node=None)},
            "INVALID_PARAMETER_VALUE",
            "Missing required field: settings.cluster_spec.new_cluster.size",
        ),
        ({"tasks": cluster(kind=None)}, "INVALID_PARAMETER_VALUE", "CLASSIC_PREVIEW"),
        ({"tasks": cluster(num_workers=2)}, "INVALID_PARAMETER_VALUE", "is_single_node"),
        (
            {"tasks": cluster(is_single_node=None, autoscale={"min_workers": 2, "max_workers": 2})},
            "INVALID_PARAMETER_VALUE",
            "strictly greater",
        ),
        ({"tasks": cluster(policy_id="nothing")}, "INVALID_PARAMETER_VALUE", "Can't find a cluster policy with id: nothing."),
        ({"tasks": cluster(instance_pool_id="p")}, "INVALID_PARAMETER_VALUE", "cannot be supplied when an instance pool ID is provided"),
        ({"tasks": cluster(aws_attributes={"availability": "CHEAP"})}, "MALFORMED_REQUEST", "availability"),
        ({"tasks": cluster(azure_attributes={"availability": "SPOT_AZURE"})}, "INVALID_PARAMETER_VALUE", "azure_attributes"),
        ({"tasks": cluster(custom_tags={str(number): "x" for number in range(46)})}, "INVALID_PARAMETER_VALUE", "45 custom tags"),
        ({"tasks": [ONE], "run_as": {"user_name": "nobody@emulated.example"}}, "INVALID_PARAMETER_VALUE", "does not exist"),
    ],
    ids=lambda given: str(given)[-40:] if isinstance(given, str) else "",
)
def test_what_is_refused(emulator: Ready, fields: Any, code: str, said: str) -> None:  # noqa: F811
    status, answer = call(emulator, "POST", f"{JOBS}/runs/submit", fields)
    assert status == (501 if code == "NOT_IMPLEMENTED" else 400)
    assert error(answer)[0] == code
    assert said in error(answer)[1], json.dumps(answer)


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ({"quartz_cron_expression": "* * * * *", "timezone_id": "UTC"}, "6 or 7 fields"),
        ({"quartz_cron_expression": "0 0 2 * * *", "timezone_id": "UTC"}, "must be '?'"),
        ({"quartz_cron_expression": "0 0 2 ? * 8", "timezone_id": "UTC"}, "between 1 and 7"),
        ({"quartz_cron_expression": "0 0 25 * * ?", "timezone_id": "UTC"}, "Invalid quartz_cron_expression"),
        ({"quartz_cron_expression": "0 0 2 * * ?", "timezone_id": "Mars/Olympus"}, "Invalid timezone_id 'Mars/Olympus'"),
        ({"timezone_id": "UTC"}, "Missing required field: schedule.quartz_cron_expression"),
    ],
)
def test_a_schedule_that_is_none(emulator: Ready, schedule: Any, said: str) -> None:  # noqa: F811
    status, answer = call(emulator, "POST", f"{JOBS}/create", {"name": "x", "schedule": schedule})
    assert status == 400
    assert said in error(answer)[1]


def test_runs_that_are_not_there_are_told(emulator: Ready) -> None:  # noqa: F811
    for path in ("runs/get?run_id=1", "runs/get-output?run_id=1", "runs/export?run_id=1"):
        assert error(call(emulator, "GET", f"{JOBS}/{path}")[1]) == ("INVALID_PARAMETER_VALUE", "Run 1 does not exist.")
