"""The entries that Cloud Logging has of a job: each line that one of its replicas printed, and what the service says of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import IO, Any

from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.runs import folder_of

Json = dict[str, Any]
TIME = slice(len('{"t": "'), len('{"t": "') + len("2026-11-23T10:39:12.123456Z"))
"""Where the pod writes a line's time."""


def entries_of(place: Place, name: str, project: str, since: str) -> Iterator[Json]:
    """The entries of a job, oldest first, from the time `since` on; all if that is empty. `project` is the caller's word for it."""
    path = folder_of(place, name) / "log.jsonl"
    if not path.exists():
        return
    job_id = name.rpartition("/")[2]
    with path.open("rb") as stream:
        stream.seek(_first(stream, since) if since else 0)
        for line in iter(stream.readline, b""):
            if not line.endswith(b"\n"):
                return  # it is being written
            yield _entry(json.loads(line), job_id, project, stream.tell())


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
