"""Custom jobs of the emulator: what runs, how it ends, what restarts it, and what is refused in which words."""

from __future__ import annotations

import json
import sys

import pytest
from aids.vertex.jobs import PARENT, create, ended, entries, get, job, pool, printed, ran, refused, until
from aids.vertex.place import call, errors, set_faults

from mlport.emulation.server import Ready

SLOW = "import time; print('begun', flush=True); time.sleep(60)"


def test_a_job_goes_through_its_states_and_is_as_the_api_words_it(emulator: Ready) -> None:
    made = create(emulator, job(pool("print('done')"), name="first", labels={"team": "a"}))
    found = ended(emulator, made["name"])
    assert made["state"] == "JOB_STATE_PENDING"
    assert "startTime" not in made
    assert made["name"].startswith("projects/424242424242/locations/us-central1/customJobs/")
    assert found["state"] == "JOB_STATE_SUCCEEDED"
    assert made["createTime"] <= found["startTime"] <= found["endTime"]
    assert "error" not in found
    assert printed(emulator, made["name"]) == ["done"]


def test_replicas_get_what_vertex_gives_them_and_what_the_spec_declares(emulator: Ready) -> None:
    show = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"}]
    found = ran(emulator, pool(show, "--x=1", env=env), baseOutputDirectory={"outputUriPrefix": "gs://emulated-mlport/out/"})
    arguments, variables = json.loads(printed(emulator, found["name"])[0])
    assert arguments == ["--x=1"]
    assert variables["CLOUD_ML_PROJECT_ID"] == "424242424242"
    assert variables["AIP_MODEL_DIR"] == "gs://emulated-mlport/out/model/"
    assert (variables["A"], variables["B"]) == ("1", "12")
    assert "MLPORT_JOB" not in variables
    cluster = json.loads(variables["CLUSTER_SPEC"])
    assert cluster["task"] == {"type": "workerpool0", "index": 0, "trial": ""}


def test_several_pools_meet_by_cluster_spec_and_the_first_replica_decides(emulator: Ready) -> None:
    chief = """
import json, os, socket
spec = json.loads(os.environ["CLUSTER_SPEC"])["cluster"]
host, port = spec["workerpool0"][0].split(":")
with socket.create_server((host, int(port))) as server:
    greeted = sorted(server.accept()[0].recv(100).decode() for _ in spec["workerpool1"])
print(greeted)
"""
    worker = """
import json, os, socket, time
spec = json.loads(os.environ["CLUSTER_SPEC"])
host, port = spec["cluster"]["workerpool0"][0].split(":")
while True:
    try:
        peer = socket.create_connection((host, int(port)))
        break
    except ConnectionRefusedError:
        time.sleep(0.02)
peer.sendall(f"{spec['task']['type']}-{spec['task']['index']}".encode())
time.sleep(60)
"""
    found = ran(emulator, pool(chief), pool(worker, count=2))
    assert found["state"] == "JOB_STATE_SUCCEEDED"
    assert printed(emulator, found["name"]) == ["['workerpool1-0', 'workerpool1-1']"]


# ---------------------------------------------------------------- ends


def test_a_failure_is_told_in_the_words_of_vertex(emulator: Ready) -> None:
    found = ran(emulator, pool("raise ValueError('no rows')"))
    assert found["state"] == "JOB_STATE_FAILED"
    assert found["error"]["code"] == 3
    said = found["error"]["message"]
    assert said.startswith("The replica workerpool0-0 exited with a non-zero status of 1. Termination reason: Error. \nTraceback")
    assert "ValueError: no rows" in said
    assert f"resource=ml_job%2Fjob_id%2F{found['name'].rpartition('/')[2]}" in said


def test_a_command_that_is_not_there_and_an_image_that_is_not_there(emulator: Ready) -> None:
    nowhere = {"imageUri": "python:3.11", "command": ["no-such-program"]}
    found = ran(emulator, {**pool(""), "containerSpec": nowhere})
    assert "exited with a non-zero status of 128. Termination reason: StartError." in found["error"]["message"]
    found = ran(emulator, {**pool(""), "containerSpec": {"imageUri": "europe-docker.pkg.dev/acme/train:1"}})
    assert found["error"] == {"code": 5, "message": "Image europe-docker.pkg.dev/acme/train:1 not found."}


def test_an_image_can_be_told_what_it_stands_for(emulator: Ready) -> None:
    (emulator.folder / "vertex" / "images.toml").write_text(f'"acme/*" = ["{sys.executable}", "-c", "import sys; print(sys.argv[1:])"]')
    found = ran(emulator, {**pool(""), "containerSpec": {"imageUri": "acme/train@sha256:0", "args": ["a"]}})
    assert printed(emulator, found["name"]) == ["['a']"]


def test_cancel_ends_the_program_and_only_what_has_not_ended(emulator: Ready) -> None:
    made = create(emulator, job(pool(SLOW)))
    name = made["name"]
    until(emulator, name, lambda _: printed(emulator, name) == ["begun"])
    assert get(emulator, name)["state"] == "JOB_STATE_RUNNING"
    status, said = call(emulator, "DELETE", f"/v1/{name}")
    assert (status, said["error"]["status"]) == (400, "FAILED_PRECONDITION")
    assert call(emulator, "POST", f"/v1/{name}:cancel", {}) == (200, {})
    assert get(emulator, name)["state"] in ("JOB_STATE_CANCELLING", "JOB_STATE_CANCELLED")
    found = ended(emulator, name)
    assert (found["state"], found["error"]) == ("JOB_STATE_CANCELLED", {"code": 1, "message": "CANCELED"})
    assert call(emulator, "POST", f"/v1/{name}:cancel", {})[0] == 400


def test_a_timeout_ends_the_program(emulator: Ready) -> None:
    found = ran(emulator, pool(SLOW), scheduling={"timeout": "0.5s"})
    assert (found["state"], found["error"]["code"]) == ("JOB_STATE_FAILED", 4)


def test_delete_is_an_operation_after_which_nothing_is_left(emulator: Ready) -> None:
    name = ran(emulator, pool("print(1)"))["name"]
    status, operation = call(emulator, "DELETE", f"/v1/{name}")
    assert status == 200
    assert operation["name"].startswith(f"{name}/operations/")
    found = until(emulator, operation["name"], lambda found: found.get("done", False))
    assert found["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    status, said = call(emulator, "GET", f"/v1/{name}")
    assert (status, errors(said)) == (404, f"The CustomJob does not exist: {name}")
    assert printed(emulator, name) == []


# ---------------------------------------------------------------- starts anew

COUNTS = """
import os, pathlib, sys
runs = pathlib.Path("runs"); number = len(runs.read_text()) if runs.exists() else 0
runs.write_text("x" * (number + 1)); print("run", number, flush=True)
"""


def test_an_exit_code_that_may_be_transient_restarts_the_job_three_times(emulator: Ready) -> None:
    found = ran(emulator, pool(f"{COUNTS}\nos.abort()"))
    assert found["state"] == "JOB_STATE_FAILED"
    assert "non-zero status of 134" in found["error"]["message"]
    assert [line for line in printed(emulator, found["name"]) if line.startswith("run")] == ["run 0", "run 1", "run 2", "run 3"]
    found = ran(emulator, pool(f"{COUNTS}\nif number == 0: os.abort()"))
    assert found["state"] == "JOB_STATE_SUCCEEDED"


def test_other_exit_codes_do_not_unless_a_fault_makes_them(emulator: Ready) -> None:
    found = ran(emulator, pool(f"{COUNTS}\nsys.exit(2)"))
    assert printed(emulator, found["name"]) == ["run 0"]
    set_faults(emulator, {"match": "POST */customJobs", "effect": "restart", "times": 1})
    found = ran(emulator, pool(f"{COUNTS}\nsys.exit(2)"), scheduling={"disableRetries": True})
    assert printed(emulator, found["name"]) == [f"run {number}" for number in range(6)]  # five restarts of the worker


def test_spot_capacity_is_taken_away_and_comes_back(emulator: Ready) -> None:
    set_faults(emulator, {"match": "POST */customJobs", "effect": "preempt", "seconds": 0.5})
    program = f"{COUNTS}\nimport time\nif number == 0: time.sleep(60)"
    found = ran(emulator, pool(program), scheduling={"strategy": "SPOT"})
    assert found["state"] == "JOB_STATE_SUCCEEDED"
    assert printed(emulator, found["name"]) == ["run 0", "run 1"]
    assert any(
        "preempted" in entry["textPayload"]
        for entry in entries(emulator, f'resource.labels.job_id="{found["name"].rpartition("/")[2]}" severity=WARNING')
    )
    set_faults(emulator)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (job(pool(""), name="n" * 129), "custom_job.display_name"),
        (job(pool(""), labels={"Team": "a"}), "custom_job.labels"),
        (job(pool("", count=2)), "custom_job.job_spec.worker_pool_specs[0].replica_count; Message: The replica count of the first"),
        (job({**pool(""), "machineSpec": {}}), "worker_pool_specs[0].machine_spec.machine_type; Message: Required field is not set."),
        (job({"machineSpec": {"machineType": "m"}, "replicaCount": "1"}), "worker_pool_specs[0].task"),
        (
            job({**pool(""), "pythonPackageSpec": {"executorImageUri": "python:3.11", "packageUris": ["gs://b/p"], "pythonModule": "m"}}),
            "Exactly one",
        ),
        (job(), "custom_job.job_spec.worker_pool_specs; Message: Required field is not set."),
        (job({**pool(""), "containerSpec": {}}), "custom_job.job_spec.worker_pool_specs[0].container_spec.image_uri; Message: Required"),
        (
            job({**pool(""), "diskSpec": {"size": 1}}),
            "Unknown name \"size\" at 'custom_job.job_spec.worker_pool_specs[0].disk_spec': Cannot find field.",
        ),
        (job(pool(""), scheduling={"strategy": "CHEAP"}), "Invalid value at 'custom_job.job_spec.scheduling.strategy'"),
    ],
)
def test_what_is_wrong_is_refused_by_its_field(emulator: Ready, body: dict, said: str) -> None:
    status, error = refused(emulator, body)
    assert (status, error["status"]) == (400, "INVALID_ARGUMENT")
    assert said in error["message"]
    assert error["details"][0]["@type"] == "type.googleapis.com/google.rpc.BadRequest"


def test_quota(emulator: Ready) -> None:
    set_faults(emulator, {"match": "POST */customJobs", "effect": "quota", "times": 1})
    status, error = refused(emulator, job(pool("")))
    assert (status, error["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert error["message"] == "The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_cpus"
    assert error["details"][0]["reason"] == "RESOURCE_QUOTA_EXCEEDED"


@pytest.mark.parametrize(("when", "count"), [("before", 0), ("after", 1)])
def test_a_broken_connection_leaves_what_it_should(emulator: Ready, when: str, count: int) -> None:
    set_faults(emulator, {"match": "POST */customJobs", "effect": "reset", "when": when, "times": 1})
    with pytest.raises(ConnectionError):
        create(emulator, job(pool(""), labels={"reset": when}))
    _, found = call(emulator, "GET", f"{PARENT}/customJobs?filter=labels.reset%3D{when}")
    assert len(found.get("customJobs", ())) == count
    assert all(ended(emulator, each["name"])["state"] == "JOB_STATE_SUCCEEDED" for each in found.get("customJobs", ()))
