"""One program of ours with the calls of the SDK's published examples, with nothing but the environment.

Which examples: databricks/databricks-sdk-py, examples/workspace/{jobs,model_registry,workspace}; the examples themselves run by
`make samples` from a checkout. What other tests here show of the SDK (one-time runs, schedules, volumes, serving, MLflow with
Unity Catalog) is not here.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from aids.databricks.jobs import RUNNABLE
from aids.databricks.place import Sdk

pytestmark = RUNNABLE

PROGRAM = """
    import base64, io, json, os, time
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.errors import NotFound
    from databricks.sdk.service import jobs, ml, workspace

    w, told = WorkspaceClient(), {}
    home = f"/Users/{w.current_user.me().user_name}"

    def gone(look):
        try:
            look()
        except NotFound:
            return True

    # examples/workspace/workspace
    notebook = f"{home}/sdk-{time.time_ns()}"
    source = "# Databricks notebook source\\nprint('{}')\\ndbutils.notebook.exit(dbutils.widgets.get('who'))"
    content = base64.b64encode(source.format("first").encode()).decode()
    w.workspace.import_(path=notebook, format=workspace.ImportFormat.SOURCE, language=workspace.Language.PYTHON, content=content, overwrite=True)
    content = base64.b64encode(source.format("second").encode()).decode()
    w.workspace.import_(path=notebook, format=workspace.ImportFormat.SOURCE, language=workspace.Language.PYTHON, content=content, overwrite=True)
    found = w.workspace.get_status(notebook)
    exported = base64.b64decode(w.workspace.export(notebook, format=workspace.ExportFormat.SOURCE).content).decode()
    with w.workspace.download(notebook) as stream:
        downloaded = stream.read().decode()
    script = f"{home}/sdk-{time.time_ns()}.py"
    w.workspace.upload(script, io.BytesIO(b"print(1)"), format=workspace.ImportFormat.AUTO)
    with w.workspace.download(script) as stream:
        plain = stream.read().decode()
    told["workspace"] = [found.object_type.value, found.language.value, exported == source.format("second"), downloaded == exported, plain,
        {each.path for each in w.workspace.list(os.path.dirname(notebook))} >= {notebook, script}]
    w.workspace.delete(script)
    told["workspace"].append(gone(lambda: w.workspace.get_status(script)))

    # examples/workspace/jobs
    task = lambda key, **fields: jobs.Task(task_key=key, description="test", timeout_seconds=0,
        notebook_task=jobs.NotebookTask(notebook_path=notebook, base_parameters=fields))
    job = w.jobs.create(name="sdk", tasks=[task("test", who="first")])
    run = w.jobs.run_now(job_id=job.job_id).result()
    output = w.jobs.get_run_output(run_id=run.tasks[0].run_id)
    view = w.jobs.export_run(run_id=run.tasks[0].run_id, views_to_export=jobs.ViewsToExport.CODE).views
    w.jobs.update(job_id=job.job_id, new_settings=jobs.JobSettings(name="sdk-new", max_concurrent_runs=5))
    renamed = w.jobs.get(job_id=job.job_id).settings
    w.jobs.reset(job_id=job.job_id, new_settings=jobs.JobSettings(name="sdk-reset", tasks=[task("bad"), task("good", who="good")]))
    reset = w.jobs.get(job_id=job.job_id).settings
    failed = None
    waiting = w.jobs.run_now(job_id=job.job_id)
    try:
        waiting.result()
    except Exception as error:
        failed = str(error)
    repaired = w.jobs.repair_run(run_id=waiting.run_id, rerun_tasks=["bad"], notebook_params={"who": "repaired"}).result()
    last = {each.task_key: each for each in repaired.tasks}["bad"]
    slow = base64.b64encode(b"# Databricks notebook source\\nimport time; time.sleep(1000)").decode()
    w.workspace.import_(path=notebook, format=workspace.ImportFormat.SOURCE, language=workspace.Language.PYTHON, content=slow, overwrite=True)
    w.jobs.update(job_id=job.job_id, new_settings=jobs.JobSettings(max_concurrent_runs=2))
    two = [w.jobs.run_now(job_id=job.job_id), w.jobs.run_now(job_id=job.job_id)]
    w.jobs.cancel_all_runs(job_id=job.job_id)
    ended = [each.result().state.result_state.value for each in two]
    told["jobs"] = [run.state.result_state.value, output.notebook_output.result, [each.type.value for each in view], "second" in view[0].content,
        renamed.name, renamed.max_concurrent_runs, len(renamed.tasks), reset.name, [each.task_key for each in reset.tasks],
        failed is not None, repaired.state.result_state.value, w.jobs.get_run_output(last.run_id).notebook_output.result, ended,
        len(list(w.jobs.list_runs(job_id=job.job_id)))]
    w.jobs.delete(job_id=job.job_id)
    told["jobs"].append([each.job_id for each in w.jobs.list(name="sdk-reset", expand_tasks=False)])

    # examples/workspace/model_registry
    r, name = w.model_registry, f"sdk-{time.time_ns()}"
    r.create_model(name=name)
    r.update_model(name=r.get_model(name=name).registered_model_databricks.name, description="of delays")
    version = r.create_model_version(name=name, source="dbfs:/tmp").model_version
    r.update_model_version(name=version.name, version=version.version, description="the first")
    comment = r.create_comment(comment="good", name=version.name, version=version.version).comment
    edited = r.update_comment(comment="better", id=comment.id).comment
    r.delete_comment(id=comment.id)
    url = ml.HttpUrlSpec(url=w.config.host)
    hook = r.create_webhook(description="told", events=[ml.RegistryWebhookEvent.MODEL_VERSION_CREATED], http_url_spec=url).webhook
    r.update_webhook(id=hook.id, description="told again")
    hooks = [each.description for each in r.list_webhooks() if each.id == hook.id]
    r.delete_webhook(id=hook.id)
    told["registry"] = [r.get_model(name=name).registered_model_databricks.description, name in [each.name for each in r.list_models()],
        version.version, version.status.value, r.get_model_version(name=name, version="1").model_version.description, edited.comment, hooks,
        [each.id for each in r.list_webhooks()]]
    r.delete_model(name=name)
    told["registry"].append(gone(lambda: r.get_model(name=name)))
    print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(sdk: Sdk) -> Any:
    """What the program saw."""
    return json.loads(sdk(PROGRAM))


def test_workspace_files_as_the_examples_use_them(told: Any) -> None:
    assert told["workspace"] == ["NOTEBOOK", "PYTHON", True, True, "print(1)", True, True]


def test_jobs_as_the_examples_use_them(told: Any) -> None:
    ran, exported, updated, reset = ["SUCCESS", "first"], [["NOTEBOOK"], True], ["sdk-new", 5, 1], ["sdk-reset", ["bad", "good"]]
    repaired, cancelled = [True, "SUCCESS", "repaired"], [["CANCELED", "CANCELED"], 4, []]
    assert told["jobs"] == [*ran, *exported, *updated, *reset, *repaired, *cancelled]


def test_the_workspace_registry_as_the_examples_use_it(told: Any) -> None:
    made, commented, hooks = ["of delays", True, "1", "READY", "the first"], ["better"], [["told again"], []]
    assert told["registry"] == [*made, *commented, *hooks, True]
