"""Custom jobs by plain calls to the emulator's direct address: what several files of tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aids.vertex.place import call

from mlport.emulation.server import Ready
from mlport.waiting import delays, wait_until

PARENT = "/v1/projects/emulated/locations/us-central1"
ENDED = (
    *(f"JOB_STATE_{how}" for how in ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")),
    *(f"PIPELINE_STATE_{how}" for how in ("SUCCEEDED", "FAILED", "CANCELLED")),
)
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


def until(ready: Ready, name: str, done: Callable[[Json], bool], timeout: float = 180) -> Json:
    """The resource once `done` holds of it. One that has ended and of which it does not hold fails the test at once."""

    def is_so(found: Json) -> bool:
        if done(found):
            return True
        assert not has_ended(found), f"{name} has ended, and is not what is waited for: {found}"
        return False

    return wait_until(lambda: get(ready, name), is_so, pauses=delays(first=0.02, ceiling=0.2), timeout=timeout, what=name)


def has_ended(found: Json) -> bool:
    """Whether a job, a pipeline or an operation will not change any more."""
    return found.get("state") in ENDED or bool(found.get("done"))


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
