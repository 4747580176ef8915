"""Programs of databricks-sdk that run jobs, with nothing but the environment; and programs of the SDK and MLflow inside a run."""

from __future__ import annotations

import json

from aids.databricks.jobs import RUNNABLE, ended, printed, put, python, submit
from aids.databricks.place import Sdk, emulator, sdk  # noqa: F401 - fixtures

from mlport.emulation.server import Ready

pytestmark = RUNNABLE

ONE_TIME = """
    import io, json, time
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service import compute, jobs, workspace

    w = WorkspaceClient()
    me = w.current_user.me().user_name
    w.workspace.upload(f"/Users/{me}/hello.py", io.BytesIO(b"import sys; print('hello', *sys.argv[1:])"), format=workspace.ImportFormat.AUTO, overwrite=True)
    w.workspace.upload(f"/Users/{me}/slow.py", io.BytesIO(b"import time; time.sleep(1000)"), format=workspace.ImportFormat.AUTO, overwrite=True)
    cluster = compute.ClusterSpec(spark_version=w.clusters.select_spark_version(latest=True), node_type_id=w.clusters.select_node_type(), num_workers=0)

    def task(name, *parameters, **fields):
        run = jobs.SparkPythonTask(python_file=f"/Users/{me}/{name}", parameters=list(parameters))
        return jobs.SubmitTask(task_key="main", spark_python_task=run, new_cluster=cluster, **fields)

    seen = []
    slow = w.jobs.submit(run_name="slow", tasks=[task("slow.py")])
    done = w.jobs.submit(run_name="quick", idempotency_token="sdk-1", tasks=[task("hello.py", "{{job.run_id}}")]).result(
        callback=lambda run: seen.append(run.state.life_cycle_state.value))
    output = w.jobs.get_run_output(done.tasks[0].run_id)
    canceled = w.jobs.cancel_run(slow.run_id).result()
    listed = [run.run_id for run in w.jobs.list_runs(run_type=jobs.RunType.SUBMIT_RUN, limit=1, expand_tasks=True)]
    w.jobs.delete_run(canceled.run_id)
    try:
        w.jobs.get_run(canceled.run_id)
    except Exception as error:
        gone = type(error).__name__
    print(json.dumps([output.logs == f"hello {done.run_id}\\n", done.state.result_state.value, canceled.state.result_state.value,
        listed == [done.run_id, slow.run_id], gone, sorted(set(seen) - {"PENDING", "RUNNING", "TERMINATING"})]))
"""

SCHEDULED = """
    import io, json, time
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service import jobs, workspace

    w = WorkspaceClient()
    me = w.current_user.me().user_name
    w.workspace.import_(path=f"/Users/{me}/nb", format=workspace.ImportFormat.SOURCE, language=workspace.Language.PYTHON, overwrite=True,
        content="ZGJ1dGlscy5ub3RlYm9vay5leGl0KGRidXRpbHMud2lkZ2V0cy5nZXQoImRheSIpKQo=")
    task = jobs.Task(task_key="n", notebook_task=jobs.NotebookTask(notebook_path=f"/Users/{me}/nb"))
    every = jobs.CronSchedule(quartz_cron_expression="* * * * * ?", timezone_id="Europe/Berlin")
    job = w.jobs.create(name="mine", tasks=[task], parameters=[jobs.JobParameterDefinition(name="day", default="monday")], max_concurrent_runs=10)
    run = w.jobs.run_now(job.job_id, job_parameters={"day": "friday"}).result()
    value = w.jobs.get_run_output(run.tasks[0].run_id).notebook_output.result
    w.jobs.update(job.job_id, new_settings=jobs.JobSettings(schedule=every))
    while not (fired := [each for each in w.jobs.list_runs(job_id=job.job_id) if each.trigger == jobs.TriggerType.PERIODIC]):
        time.sleep(0.1)
    every.pause_status = jobs.PauseStatus.PAUSED
    w.jobs.update(job.job_id, new_settings=jobs.JobSettings(schedule=every))
    first = w.jobs.wait_get_run_job_terminated_or_skipped(fired[-1].run_id)
    by_name = [each.job_id for each in w.jobs.list(name="mine")]
    w.jobs.delete(job.job_id)
    print(json.dumps([value, w.jobs.get_run_output(first.tasks[0].run_id).notebook_output.result, by_name == [job.job_id], fired[-1].schedule.timezone_id]))
"""

INSIDE = """
import json, mlflow
from databricks.sdk import WorkspaceClient
w = WorkspaceClient()
me = w.current_user.me().user_name
found = mlflow.MlflowClient(tracking_uri="databricks", registry_uri="databricks-uc").search_registered_models()
print(json.dumps([me, [each.name for each in w.schemas.list("main")], len(found), len(list(w.workspace.list("/")))]))
"""


def test_one_time_runs(sdk: Sdk) -> None:  # noqa: F811
    assert json.loads(sdk(ONE_TIME)) == [True, "SUCCESS", "CANCELED", True, "ResourceDoesNotExist", []]


def test_jobs_and_schedules(sdk: Sdk) -> None:  # noqa: F811
    assert json.loads(sdk(SCHEDULED)) == ["friday", "monday", True, "Europe/Berlin"]


def test_the_sdk_and_mlflow_work_inside_a_run(emulator: Ready) -> None:  # noqa: F811
    program = put(emulator, "/Shared/inside.py", INSIDE)
    said = json.loads(printed(emulator, ended(emulator, submit(emulator, python(program)))).splitlines()[-1])
    assert said[0] == "admin@emulated.example"
    assert {"default", "ml"} <= set(said[1])
    assert said[2] == 0
    assert said[3] > 0
