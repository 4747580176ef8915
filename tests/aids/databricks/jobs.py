"""Runs and jobs of the Databricks emulator by plain calls: what their tests share."""

from __future__ import annotations

import base64
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aids.databricks.place import ADMIN_TOKEN, call

from mlport.emulation import mounts
from mlport.emulation.server import Ready
from mlport.waiting import delays, wait_until

Json = dict[str, Any]
RUNNABLE = pytest.mark.skipif(mounts.available() is not None, reason=str(mounts.available()))
OVER = ("TERMINATED", "INTERNAL_ERROR", "SKIPPED")
SECONDS = 60
CLUSTER = {
    "spark_version": "16.4.x-scala2.12",
    "kind": "CLASSIC_PREVIEW",
    "is_single_node": True,
    "node_type_id": "m5.xlarge",
    "aws_attributes": {"availability": "ON_DEMAND"},
}
GATE = """
import pathlib, sys, time
print("begun", flush=True)
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.02)
print("through", flush=True)
"""


def ask(ready: Ready, method: str, path: str, body: Any = None, token: str = ADMIN_TOKEN) -> Any:
    """The answer of a call that must go well."""
    status, said = call(ready, method, path, body, token=token)
    assert status == 200, said
    return said


def put(ready: Ready, path: str, text: str) -> str:
    """Write a workspace file; its path."""
    ask(ready, "POST", "/api/2.0/workspace/mkdirs", {"path": path.rpartition("/")[0]})
    content = base64.b64encode(text.encode()).decode()
    ask(ready, "POST", "/api/2.0/workspace/import", {"path": path, "format": "AUTO", "overwrite": True, "content": content})
    return f"/Workspace{path}"


def python(file: str, *parameters: str, key: str = "main", **fields: Any) -> Json:
    """A task that runs a Python file, on a cluster of its own unless it has a place."""
    task = {"python_file": file, "parameters": list(parameters)}
    placed = {"existing_cluster_id", "environment_key", "job_cluster_key", "new_cluster"} & fields.keys()
    return {"task_key": key, "spark_python_task": task, **({} if placed else {"new_cluster": CLUSTER}), **fields}


def submit(ready: Ready, *tasks: Json, token: str = ADMIN_TOKEN, **fields: Any) -> int:
    """Begin a one-time run; its id."""
    return int(ask(ready, "POST", "/api/2.2/jobs/runs/submit", {"tasks": list(tasks), **fields}, token)["run_id"])


def get(ready: Ready, run_id: int) -> Json:
    found: Json = ask(ready, "GET", f"/api/2.2/jobs/runs/get?run_id={run_id}")
    return found


def output(ready: Ready, run_id: int) -> Json:
    found: Json = ask(ready, "GET", f"/api/2.2/jobs/runs/get-output?run_id={run_id}")
    return found


def until(ready: Ready, run_id: int, is_so: Callable[[Json], bool], what: str = "the run") -> Json:
    """The run once it is so. Fails at once if it is over and is not."""

    def look() -> Json:
        run = get(ready, run_id)
        if run["state"]["life_cycle_state"] in OVER and not is_so(run):
            pytest.fail(f"it is over: {run['state']}")
        return run

    return wait_until(look, is_so, pauses=delays(first=0.02, ceiling=0.2), timeout=SECONDS, what=what)


def ended(ready: Ready, run_id: int) -> Json:
    """The run once it is over."""
    return until(ready, run_id, lambda run: run["state"]["life_cycle_state"] in OVER)


def printed(ready: Ready, run: Json, number: int = 0) -> str:
    """What a task of a run has printed."""
    return str(output(ready, run["tasks"][number]["run_id"])["logs"])


def states(run: Json) -> list[Any]:
    """Key, V1 and V2 of each task."""
    return [
        (
            task["task_key"],
            task["state"]["life_cycle_state"],
            task["state"].get("result_state"),
            task["status"].get("termination_details", {}).get("code"),
        )
        for task in run["tasks"]
    ]


def volume(ready: Ready, name: str) -> Path:
    """Where a file of the volume lies on this machine; programs see it at /Volumes/main/ml/mlport."""
    return ready.folder / "databricks" / "files" / "emulated.cloud.databricks.com" / "Volumes" / "main" / "ml" / "mlport" / name


def wheel(folder: Path, name: str, needs: str = "") -> bytes:
    """A wheel with one module that prints, and an entry point `say`."""
    path = folder / f"{name}-1-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{f'Requires-Dist: {needs}' if needs else ''}\n"
    files = {
        f"{name}.py": f"import sys\ndef main(): print({name!r}, *sys.argv[1:])\n",
        f"{name}-1.dist-info/METADATA": metadata,
        f"{name}-1.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{name}-1.dist-info/entry_points.txt": f"[console_scripts]\nsay = {name}:main\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in files.items():
            archive.writestr(inside, text)
        archive.writestr(f"{name}-1.dist-info/RECORD", "".join(f"{inside},,\n" for inside in (*files, f"{name}-1.dist-info/RECORD")))
    return path.read_bytes()
