"""Submit and get, and from process start to the first run listed: mlport beside the Databricks SDK, on the same emulator.

Both submit the same source folder of three files, of which the first reads the others: ours as one bundle through the runner,
with a token, so that a lost answer is settled; the SDK's as it is used by hand: each file imported into a folder of the
workspace, a one-time run of the first, and a look at that run. Each run is a process of its own. mlport signs in twice: by
the SDK's own chain (the environment), which is held to the goals, and by a token that stands in the profile.

`submit` is the first of a process: there mlport also looks whether its runner is in the workspace. `again` is the next one in
the same process. Below them are the figures of a folder with a single script: mlport sends one bundle whatever it holds, the
SDK a request for each file, so with one script it makes as many requests as mlport's later submits, and one fewer than its
first.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Mapping

from _measure import Goal
from _sdk import SCRIPT, SOURCE, WHATS, beside, times

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
import os, sys, time
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import NotFound
from databricks.sdk.service import compute, jobs, workspace
target, what, folder = sys.argv[1:]
w = WorkspaceClient()
def put(name):
    with open(os.path.join(folder, name), "rb") as file:
        try:
            w.workspace.upload("/Shared/bench/" + name, file, format=workspace.ImportFormat.RAW, overwrite=True)
        except NotFound:  # the very first time
            w.workspace.mkdirs("/Shared/bench")
            file.seek(0)
            w.workspace.upload("/Shared/bench/" + name, file, format=workspace.ImportFormat.RAW, overwrite=True)
def submit():
    began = time.perf_counter()
    for name in sorted(os.listdir(folder)):
        put(name)
    cluster = compute.ClusterSpec(spark_version="16.4.x-scala2.12", node_type_id="m5.xlarge", kind=compute.Kind.CLASSIC_PREVIEW, is_single_node=True)
    task = jobs.SubmitTask(task_key="main", new_cluster=cluster, spark_python_task=jobs.SparkPythonTask(python_file="/Workspace/Shared/bench/main.py"))
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
FILES = {
    "main.py": """
import json, sys
from pathlib import Path
from features import squares
settings = json.loads((Path(sys.argv[0]).resolve().parent / "settings.json").read_text())
print("trained on", squares(settings["rows"]))
""",
    "features.py": """
def squares(rows):
    return [row * row for row in range(rows)]
""",
    "settings.json": json.dumps({"rows": 5, "depth": 6}),
}
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
        times(found, "sdk", "submit", "requests", 1.0),
        times(found, "sdk", "submit", "seconds", 1.0),
        times(found, "sdk", "again", "requests", 1.0),
        times(found, "sdk", "again", "seconds", 1.0),
        times(found, "sdk", "submit from process start", "seconds", 1.0),
        times(found, "sdk", "list", "seconds", 1.1),
    ]


if __name__ == "__main__":
    sys.exit(beside(__doc__, EMULATOR, PROGRAMS, busy, goals, (*WHATS, "again"), {SOURCE: FILES, "of one script": SCRIPT}))
