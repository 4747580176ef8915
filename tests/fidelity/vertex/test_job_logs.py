"""Cloud Logging of the emulator: entries in the form that gcloud reads, its filters, its pages, and what is written by call."""

from __future__ import annotations

import re
from typing import Any

import pytest
from aids.vertex.jobs import create, ended, entries, job, pool, ran
from aids.vertex.place import call, errors, set_faults

from mlport.emulation.server import Ready

PROGRAM = "import sys\nfor number in range(250): print('line', number)\nsys.stdout.flush(); print('Oops', file=sys.stderr)"


@pytest.fixture(scope="module")
def job_id(emulator: Ready) -> str:
    """A job that printed 250 lines and an error."""
    return str(ran(emulator, pool(PROGRAM))["name"].rpartition("/")[2])


def test_entries_are_as_gcloud_reads_them(emulator: Ready, job_id: str) -> None:
    found = entries(emulator, f'resource.type="ml_job" resource.labels.job_id="{job_id}"')
    first = next(entry for entry in found if entry["severity"] == "INFO" and "jsonPayload" in entry)
    (error,) = (entry for entry in found if entry["severity"] == "ERROR")
    assert found[0]["textPayload"] == "Job is running."
    assert found[-1]["textPayload"] == "Job completed successfully."
    assert first["jsonPayload"]["message"] == "line 0\n"
    assert first["resource"] == {"type": "ml_job", "labels": {"job_id": job_id, "project_id": "emulated", "task_name": "workerpool0-0"}}
    assert first["logName"] == "projects/emulated/logs/workerpool0-0"
    assert first["labels"]["ml.googleapis.com/job_id"] == job_id
    assert first["jsonPayload"]["levelname"] == "INFO"
    assert error["jsonPayload"] == {"message": "Oops\n", "levelname": "ERROR", "attrs": {"tag": "workerpool0-0"}}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", first["timestamp"])
    assert len({entry["insertId"] for entry in found}) == len(found) == 253


@pytest.mark.parametrize(
    ("more", "messages"),
    [
        ("severity>=ERROR", ["Oops"]),
        ("severity=(ERROR OR CRITICAL)", ["Oops"]),
        ('jsonPayload.message="LINE 7\n"', ["line 7"]),
        ('jsonPayload.message:"line 24" AND NOT jsonPayload.message:"line 24\n"', [f"line 24{digit}" for digit in range(10)]),
        ('jsonPayload.message=~"^line 11[02]"', ["line 110", "line 112"]),
        ('(jsonPayload.message="line 1\n" OR jsonPayload.message="line 2\n") -jsonPayload.message="line 2\n"', ["line 1"]),
        ('"oops"', ["Oops"]),
        ('labels."ml.googleapis.com/job_id_not"="1"', []),
    ],
)
def test_filters(emulator: Ready, job_id: str, more: str, messages: list[str]) -> None:
    found = entries(emulator, f'resource.labels.job_id="{job_id}" AND {more}')
    assert [entry["jsonPayload"]["message"].strip() for entry in found] == messages


def test_reading_goes_on_from_a_time(emulator: Ready, job_id: str) -> None:
    wanted = f'labels."ml.googleapis.com/job_id"="{job_id}"'
    found = entries(emulator, wanted)
    for at in (0, 1, 100, 251, 252):
        since = found[at]["timestamp"]
        assert entries(emulator, f'{wanted} AND timestamp>="{since}"') == [each for each in found if each["timestamp"] >= since]
        assert entries(emulator, f'{wanted} AND timestamp>"{since}"') == [each for each in found if each["timestamp"] > since]


def test_pages_in_both_orders(emulator: Ready, job_id: str) -> None:
    wanted = f'resource.labels.job_id="{job_id}"'
    found = entries(emulator, wanted)
    assert entries(emulator, wanted, pageSize=100) == found
    assert entries(emulator, wanted, pageSize=7, orderBy="timestamp desc") == found[::-1]
    set_faults(emulator, {"match": "POST /v2/entries:list", "effect": "empty", "times": 2})
    assert entries(emulator, wanted, pageSize=100, orderBy="timestamp desc") == found[::-1]


def test_entries_lag(emulator: Ready) -> None:
    set_faults(emulator, {"match": "POST /v2/entries:list", "effect": "lag", "seconds": 3600, "times": 1})
    wanted = f'resource.labels.job_id="{ended(emulator, create(emulator, job(pool("print(1)")))["name"])["name"].rpartition("/")[2]}"'
    assert entries(emulator, wanted) == []
    assert len(entries(emulator, wanted)) == 3


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"resourceNames": ["projects/emulated"], "filter": "severity>="}, "Invalid filter"),
        ({"resourceNames": ["projects/emulated"], "pageToken": "abc"}, "page_token doesn't match arguments from the request"),
        ({"resourceNames": ["projects/emulated"], "orderBy": "severity"}, "order_by"),
        ({"filter": ""}, "Field: resource_names; Message: Required field is not set."),
    ],
)
def test_what_is_wrong_is_refused(emulator: Ready, body: dict[str, Any], said: str) -> None:
    status, error = call(emulator, "POST", "/v2/entries:list", body)
    assert (status, error["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert said in errors(error)


def test_other_projects_see_nothing(emulator: Ready, job_id: str) -> None:
    status, found = call(emulator, "POST", "/v2/entries:list", {"resourceNames": ["projects/other"], "filter": f'"{job_id}"'})
    assert (status, found) == (200, {})


def test_what_is_written_is_read(emulator: Ready) -> None:
    name = "projects/emulated/logs/mine"
    given = {"logName": name, "resource": {"type": "global"}, "textPayload": "hello", "severity": "NOTICE", "insertId": "1"}
    given["timestamp"] = "2026-01-02T03:04:05Z"
    for _ in range(2):  # a repeat is kept once
        status, said = call(emulator, "POST", "/v2/entries:write", {"entries": [given], "labels": {"a": "b"}})
        assert (status, said) == (200, {}), said
    (found,) = entries(emulator, f'logName="{name}"')
    assert {**given, "labels": {"a": "b"}, "receiveTimestamp": found["receiveTimestamp"]} == found
