"""Submit and get, and from process start to the first run listed: mlport beside the Databricks SDK, on the same emulator.

Both submit the same script: ours as a source folder, through journal, bundle and runner; the SDK's as it is used by hand: the
file imported into the workspace, a one-time run of it, and a look at that run. Each run is a process of its own.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Mapping

from _measure import Goal
from _sdk import beside, times

from mlport.emulation.server import Ready
from mlport_databricks.emulator import EMULATOR

OURS = """
import sys, time
import mlport
from mlport import JobSpec
target, what, folder = sys.argv[1:]
with mlport.connect(target) as ml:
    if what == "list":
        next(iter(ml.jobs.list()))
    else:
        ml.session.connection.headers()  # credentials are read by both before the clock runs
        began = time.perf_counter()
        job = ml.jobs.submit(JobSpec(name="bench", source=folder, entrypoint=("python", "main.py")))
        ml.jobs.get(job.id)
        print(time.perf_counter() - began)
"""
THEIRS = """
import sys, time
from databricks.sdk import WorkspaceClient
from databricks.sdk.service import compute, jobs, workspace
target, what, folder = sys.argv[1:]
w = WorkspaceClient()
if what == "list":
    next(iter(w.jobs.list_runs()))
else:
    w.config.authenticate()
    began = time.perf_counter()
    with open(folder + "/main.py", "rb") as script:
        w.workspace.upload("/Shared/bench.py", script, format=workspace.ImportFormat.RAW, overwrite=True)
    cluster = compute.ClusterSpec(spark_version="16.4.x-scala2.12", node_type_id="m5.xlarge", kind=compute.Kind.CLASSIC_PREVIEW, is_single_node=True)
    task = jobs.SubmitTask(task_key="main", new_cluster=cluster, spark_python_task=jobs.SparkPythonTask(python_file="/Workspace/Shared/bench.py"))
    run = w.jobs.submit(run_name="bench", tasks=[task])
    w.jobs.get_run(run.run_id)
    print(time.perf_counter() - began)
"""
PROGRAMS = {"mlport": OURS, "sdk": THEIRS}


def busy(ready: Ready) -> bool:
    """Whether a run is not over."""
    request = urllib.request.Request(
        f"{ready.urls['databricks']}/api/2.2/jobs/runs/list?active_only=true",
        headers={"Authorization": f"Bearer {ready.environment['DATABRICKS_TOKEN']}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bool(json.load(answer).get("runs"))


def goals(found: Mapping[str, float]) -> list[Goal]:
    return [times(found, "sdk", "submit", "seconds", 1.0), times(found, "sdk", "list", "seconds", 1.1)]


if __name__ == "__main__":
    sys.exit(beside(__doc__, EMULATOR, PROGRAMS, busy, goals))
