"""Submit and get, and from process start to the first run listed: mlport beside the Databricks SDK, on the same emulator.

Both submit the same script: ours as a source folder, through journal, bundle and runner; the SDK's as it is used by hand: the
file imported into the workspace, a one-time run of it, and a look at that run. Each run is a process of its own. mlport signs in
twice: by the SDK's own chain (the environment), which is held to the goals, and by a token that stands in the profile.

The goals count from the start of the process, for the SDK loads its services before its first call, mlport what a call needs
with that call. `submit` is the first of a process, `again` the next one in it: there mlport takes longer, for it makes seven
requests where the SDK makes three. Those four more are the journal before and after, so that a key is carried out once; the
look whether the runner is there, which only a process's first submit makes; and the manifest, which the runner and every later
look-up read. The first request of both, with credentials of the environment, asks the host what it is.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Mapping

from _measure import Goal
from _sdk import WHATS, beside, times

from mlport.emulation.server import Ready
from mlport_databricks.emulator import EMULATOR

OURS = """
import re, sys, time
import mlport
from mlport import JobSpec
target, what, folder = sys.argv[1:]
%starget = re.sub("[?&]token=[^&]*", lambda found: found[0][:1], target)
def submit():
    began = time.perf_counter()
    job = ml.jobs.submit(JobSpec(name="bench", source=folder, entrypoint=("python", "main.py")))
    ml.jobs.get(job.id)
    return time.perf_counter() - began
with mlport.connect(target) as ml:
    if what == "list":
        next(iter(ml.jobs.list()))
    else:
        ml.session.connection.token()  # credentials are read by both before the clock runs
        seconds = submit()
        print(submit() if what == "again" else seconds)
"""
THEIRS = """
import sys, time
from databricks.sdk import WorkspaceClient
from databricks.sdk.service import compute, jobs, workspace
target, what, folder = sys.argv[1:]
w = WorkspaceClient()
def submit():
    began = time.perf_counter()
    with open(folder + "/main.py", "rb") as script:
        w.workspace.upload("/Shared/bench.py", script, format=workspace.ImportFormat.RAW, overwrite=True)
    cluster = compute.ClusterSpec(spark_version="16.4.x-scala2.12", node_type_id="m5.xlarge", kind=compute.Kind.CLASSIC_PREVIEW, is_single_node=True)
    task = jobs.SubmitTask(task_key="main", new_cluster=cluster, spark_python_task=jobs.SparkPythonTask(python_file="/Workspace/Shared/bench.py"))
    run = w.jobs.submit(run_name="bench", tasks=[task])
    w.jobs.get_run(run.run_id)
    return time.perf_counter() - began
if what == "list":
    next(iter(w.jobs.list_runs()))
else:
    w.config.authenticate()
    seconds = submit()
    print(submit() if what == "again" else seconds)
"""
PROGRAMS = {"mlport": OURS % "", "mlport, token": OURS % "# ", "sdk": THEIRS}


def busy(ready: Ready) -> bool:
    """Whether a run is not over."""
    request = urllib.request.Request(
        f"{ready.urls['databricks']}/api/2.2/jobs/runs/list?active_only=true",
        headers={"Authorization": f"Bearer {ready.environment['DATABRICKS_TOKEN']}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bool(json.load(answer).get("runs"))


def goals(found: Mapping[str, float]) -> list[Goal]:
    return [
        times(found, "sdk", "submit from process start", "seconds", 1.0),
        times(found, "sdk", "list", "seconds", 1.1),
    ]


if __name__ == "__main__":
    sys.exit(beside(__doc__, EMULATOR, PROGRAMS, busy, goals, (*WHATS, "again")))
