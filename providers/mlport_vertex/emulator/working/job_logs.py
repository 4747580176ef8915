"""The entries that Cloud Logging has of a job and of a deployed model: each line that a container printed, and what the service says."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mlport_vertex.emulator.place import Place, number_of
from mlport_vertex.emulator.protocol.resources import Name, parse
from mlport_vertex.emulator.working import serving
from mlport_vertex.emulator.working.runs import folder_of

Json = dict[str, Any]
ENDPOINT = "aiplatform.googleapis.com/Endpoint"
TIME = slice(len('{"t": "'), len('{"t": "') + len("2026-11-23T10:39:12.123456Z"))
"""Where the pod writes a line's time."""


def entries_of(place: Place, name: str, project: str, since: str) -> Iterator[Json]:
    """The entries of a job, oldest first, from the time `since` on; all if that is empty. `project` is the caller's word for it."""
    job_id = name.rpartition("/")[2]
    for line, offset in _lines(folder_of(place, name) / "log.jsonl", since):
        yield _entry(line, job_id, project, offset)


def entries_of_deployments(place: Place, project: str, since: str) -> Iterator[Iterator[Json]]:
    """The entries of each deployed model of a project, of past ones too, as a public test of real entries has them.

    What the container printed on stderr is ERROR there, whatever it says of itself.
    """
    for _, kept in list(place.documents.list(serving.LOGS)):
        if parse(kept["endpoint"]).project == number_of(project):
            yield _of_deployment(place, kept, project, since)


def _of_deployment(place: Place, kept: Json, project: str, since: str) -> Iterator[Json]:
    for line, offset in _lines(serving.folder_of(place, kept["name"]) / "log.jsonl", since):
        if line["task"] != "service":
            yield _container_entry(line, kept["id"], parse(kept["endpoint"]), project, f"{kept['name']}-{offset:012d}")


def _container_entry(line: Json, deployed: str, endpoint: Name, project: str, insert_id: str) -> Json:
    where = {"endpoint_id": endpoint.id, "location": endpoint.location, "resource_container": f"projects/{endpoint.project}"}
    return {
        "insertId": insert_id,
        "logName": f"projects/{project}/logs/aiplatform.googleapis.com%2Fprediction_container",
        "resource": {"type": ENDPOINT, "labels": where},
        "labels": {"deployed_model_id": deployed, "replica_id": f"{deployed}-0"},
        "timestamp": line["t"],
        "receiveTimestamp": line["t"],
        "severity": line["severity"],
        "jsonPayload": {"message": line["message"].rstrip("\n")},
    }


def _lines(path: Path, since: str) -> Iterator[tuple[Json, int]]:
    """The whole lines of a log from a time on, each with where it ends."""
    if not path.exists():
        return
    with path.open("rb") as stream:
        stream.seek(_first(stream, since) if since else 0)
        for line in iter(stream.readline, b""):
            if not line.endswith(b"\n"):
                return  # it is being written
            yield json.loads(line), stream.tell()


def _first(stream: IO[bytes], since: str) -> int:
    """The offset of the first line that is not older, found by halving: the times in a log never go back."""
    low, high = 0, stream.seek(0, os.SEEK_END)
    while low < high:
        middle = (low + high) // 2
        begin = _line_at(stream, middle)
        line = stream.readline()
        if not line or line[TIME].decode("ascii", "replace") >= since:
            high = middle
        else:
            low = begin + len(line)
    return _line_at(stream, low)


def _line_at(stream: IO[bytes], offset: int) -> int:
    """Go to the first line that begins at or after an offset; where that is."""
    stream.seek(max(0, offset - 1))
    if offset:
        stream.readline()
    return stream.tell()


def _entry(line: Json, job_id: str, project: str, offset: int) -> Json:
    task = line["task"]
    said: Json = (
        {"textPayload": line["message"]}
        if task == "service"
        else {"jsonPayload": {"message": line["message"], "levelname": line["severity"], "attrs": {"tag": task}}}
    )
    return {
        "insertId": f"{job_id}-{offset:012d}",
        "logName": f"projects/{project}/logs/{'ml.googleapis.com%2F' + job_id if task == 'service' else task}",
        "resource": {"type": "ml_job", "labels": {"project_id": project, "job_id": job_id, "task_name": task}},
        "labels": {"ml.googleapis.com/job_id": job_id, "ml.googleapis.com/job_id/log_area": "root", "ml.googleapis.com/endpoint": ""},
        "timestamp": line["t"],
        "receiveTimestamp": line["t"],
        "severity": line["severity"],
        **said,
    }
