"""Custom jobs by plain calls to the emulator's direct address: what several files of tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vertex_place import call

from mlport.emulation.server import Ready
from mlport.waiting import delays, wait_until

PARENT = "/v1/projects/emulated/locations/us-central1"
ENDED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "PIPELINE_STATE_SUCCEEDED", "PIPELINE_STATE_FAILED")
Json = dict[str, Any]


def pool(program: str, *args: str, count: int = 1, **container: Any) -> Json:
    """A worker pool whose replicas run a Python program."""
    spec = {"imageUri": "python:3.11", "command": ["python3", "-c", program], "args": list(args), **container}
    return {"machineSpec": {"machineType": "e2-standard-4"}, "replicaCount": str(count), "containerSpec": spec}


def job(*pools: Json, name: str = "a job", labels: dict[str, str] | None = None, **spec: Any) -> Json:
    """A CustomJob."""
    return {"displayName": name, "jobSpec": {"workerPoolSpecs": list(pools), **spec}, **({"labels": labels} if labels else {})}


def create(ready: Ready, body: Json, kind: str = "customJobs") -> Json:
    status, made = call(ready, "POST", f"{PARENT}/{kind}", body)
    assert status == 200, made
    return made


def refused(ready: Ready, body: Json, kind: str = "customJobs") -> tuple[int, Json]:
    status, said = call(ready, "POST", f"{PARENT}/{kind}", body)
    return status, said["error"]


def get(ready: Ready, name: str) -> Json:
    status, found = call(ready, "GET", f"/v1/{name}")
    assert status == 200, found
    return found


def until(ready: Ready, name: str, done: Callable[[Json], bool], timeout: float = 60) -> Json:
    """The resource once `done` holds of it."""
    return wait_until(lambda: get(ready, name), done, pauses=delays(first=0.02, ceiling=0.2), timeout=timeout, what=name)


def ended(ready: Ready, name: str) -> Json:
    return until(ready, name, lambda found: found["state"] in ENDED)


def ran(ready: Ready, *pools: Json, **spec: Any) -> Json:
    """The custom job after its end."""
    return ended(ready, create(ready, job(*pools, **spec))["name"])


def entries(ready: Ready, filter: str, **body: Any) -> list[Json]:
    """All log entries that a filter holds for, page by page."""
    found: list[Json] = []
    token = ""
    while True:
        asked = {"resourceNames": ["projects/emulated"], "filter": filter, "pageToken": token, **body}
        status, page = call(ready, "POST", "/v2/entries:list", asked)
        assert status == 200, page
        found += page.get("entries", [])
        token = page.get("nextPageToken", "")
        if not token:
            return found


def printed(ready: Ready, name: str, task: str = "workerpool0-0") -> list[str]:
    """What a replica printed, line by line."""
    job_id = name.rpartition("/")[2]
    found = entries(ready, f'resource.type="ml_job" AND resource.labels.job_id="{job_id}" AND resource.labels.task_name="{task}"')
    return [entry["jsonPayload"]["message"].rstrip("\n") for entry in found]
