"""Calls through the profile's own proxy and authorities, over REST and gRPC, against the emulator."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aids.vertex.place import emulator, set_faults  # noqa: F401 - a fixture

from mlport.emulation.server import Ready
from mlport.errors import AmbiguousError, InvalidRequestError, NotFoundError, QuotaError, ThrottledError, UnavailableError
from mlport_vertex.config import VertexConfig
from mlport_vertex.google.api import VertexApi

JOB = {
    "displayName": "x",
    "labels": {"token": "t1"},
    "jobSpec": {
        "workerPoolSpecs": [
            {
                "machineSpec": {"machineType": "e2-standard-4"},
                "replicaCount": "1",
                "containerSpec": {"imageUri": "python:3.11", "command": ["python", "-c", "print(1)"]},
            }
        ]
    },
}


@pytest.fixture(params=["rest", "grpc"])
def api(request: pytest.FixtureRequest, emulator: Ready) -> Iterator[VertexApi]:  # noqa: F811
    config = VertexConfig.from_url(emulator.targets["vertex"]).model_copy(update={"transport": request.param})
    opened = VertexApi(config)
    yield opened
    opened.close()


def test_a_job_is_made_found_and_read(api: VertexApi) -> None:
    before = dict(os.environ)
    made = api.call("customJobs.create", body=JOB)
    assert made["jobSpec"]["workerPoolSpecs"][0]["replicaCount"] == "1"
    assert made["state"] in {"JOB_STATE_PENDING", "JOB_STATE_QUEUED"}
    assert api.call("customJobs.get", name=made["name"])["displayName"] == "x"
    listed = api.call("customJobs.list", filter='labels.token="t1"', pageSize=10)["customJobs"]
    assert made["name"] in [job["name"] for job in listed]
    assert api.call("customJobs.cancel", name=made["name"]) == {}
    assert dict(os.environ) == before


def test_errors_are_ours_and_keep_googles_code(api: VertexApi) -> None:
    with pytest.raises(NotFoundError) as missing:
        api.call("customJobs.get", name=f"{api.config.parent}/customJobs/99")
    assert missing.value.native_code == "NOT_FOUND"
    assert missing.value.operation == "customJobs.get"
    assert missing.value.__cause__ is not None
    with pytest.raises(InvalidRequestError, match="display_name"):
        api.call("customJobs.create", body={**JOB, "displayName": ""})


@pytest.mark.parametrize(
    ("status", "reading", "making"),
    [(429, ThrottledError, QuotaError), (503, UnavailableError, AmbiguousError), (500, UnavailableError, AmbiguousError)],
)
def test_a_fault_means_try_again_only_where_that_is_harmless(
    api: VertexApi,
    emulator: Ready,  # noqa: F811
    status: int,
    reading: type[Exception],
    making: type[Exception],
) -> None:
    set_faults(emulator, {"match": "*customJobs*", "effect": "error", "status": status, "times": 2})
    with pytest.raises(reading):
        api.call("customJobs.list")
    with pytest.raises(making):
        api.call("customJobs.create", body=JOB)
    api.call("customJobs.list")


def test_nobody_there_means_that_nothing_was_done(tmp_path: Path, emulator: Ready) -> None:  # noqa: F811
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
        api = VertexApi(VertexConfig.from_url(emulator.targets["vertex"]).model_copy(update={"proxy": nobody}))
        with pytest.raises(UnavailableError, match="could not be reached"):
            api.call("customJobs.create", body=JOB)
        api.close()


def test_one_session_serves_many_threads(api: VertexApi) -> None:
    failed: list[Exception] = []

    def read() -> None:
        try:
            api.call("customJobs.list", pageSize=1)
        except Exception as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
