"""Schedules by Databricks' clock: one job for each whatever is lost, names taken once, and what other hands did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aids.databricks.place import set_faults

import mlport
from mlport import ScheduleSpec
from mlport.emulation.server import Ready
from mlport.errors import AmbiguousError, ConflictError, MlportError, NotFoundError
from mlport.spi import Json, Query, ScheduleState
from mlport_databricks.session import DatabricksSession

CREATE = "POST */api/2.2/jobs/create"


@pytest.fixture(autouse=True)
def clean(client: mlport.Client, emulator: Ready) -> Iterator[None]:
    yield
    set_faults(emulator)
    for record in list(client.schedules.list()):
        client.schedules.delete(record.name)


def spec(**fields: Any) -> ScheduleSpec:
    job = {"name": "nightly-job", "entrypoint": ["python", "-c", "print('hello')"]}
    return ScheduleSpec.model_validate({"name": "nightly", "cron": "30 6 1 1 *", "job": job, **fields})


def jobs(session: DatabricksSession) -> list[Json]:
    found: list[Json] = session.connection.call("GET", "/api/2.2/jobs/list", operation="jobs.list", query={"expand_tasks": True}).get(
        "jobs", []
    )
    return found


@pytest.mark.parametrize("fault", [{"effect": "reset", "when": "after"}, {"effect": "error", "status": 500, "when": "after"}])
def test_a_lost_answer_leaves_one_job(client: mlport.Client, session: DatabricksSession, emulator: Ready, fault: Json) -> None:
    set_faults(emulator, {"match": CREATE, "times": 1, **fault})
    made = client.schedules.create(spec())
    assert made.record.state is ScheduleState.ACTIVE
    (job,) = jobs(session)
    assert str(job["job_id"]) == made.record.native_name


def test_what_was_refused_is_made_the_next_time(client: mlport.Client, session: DatabricksSession, emulator: Ready) -> None:
    set_faults(emulator, {"match": CREATE, "times": 1, "effect": "error", "status": 503, "when": "before"})
    with pytest.raises(AmbiguousError):
        client.schedules.create(spec(), key="k")
    assert session.schedules.list(Query()).items == []
    with pytest.raises(NotFoundError, match="never made"):
        client.schedules.get("nightly")
    assert client.schedules.create(spec(), key="k").name == "nightly"
    assert len(jobs(session)) == 1


def test_several_jobs_with_our_token_become_one(client: mlport.Client, session: DatabricksSession) -> None:
    plan = client.schedules.plan(spec())
    body = session.jobs.settled(plan.requests[-1].body, "0" * 32)
    numbers = [session.connection.call("POST", "/api/2.2/jobs/create", operation="jobs.create", body=body)["job_id"] for _ in range(3)]
    assert session.schedules.create(plan, token="0" * 32) == "nightly"
    assert [job["job_id"] for job in jobs(session)] == [min(numbers)]
    assert session.schedules.find("0" * 32) == "nightly"
    assert session.schedules.create(plan, token="0" * 32) == "nightly"
    with pytest.raises(ConflictError, match="is another"):
        session.schedules.create(plan, token="1" * 32)


def test_a_pause_is_databricks_own(client: mlport.Client, session: DatabricksSession) -> None:
    made = client.schedules.create(spec(paused=True, time_zone="Europe/Berlin"))
    assert (made.state, made.record.native_state, made.record.next) == (ScheduleState.PAUSED, "PAUSED", None)
    made.resume()
    assert (made.state, made.record.native_state) == (ScheduleState.ACTIVE, "UNPAUSED")
    made.pause()
    (job,) = jobs(session)
    expected = {"quartz_cron_expression": "0 30 6 1 1 ?", "timezone_id": "Europe/Berlin", "pause_status": "PAUSED"}
    assert job["settings"]["schedule"] == expected


def test_what_other_hands_deleted_is_told_and_can_be_made_anew(client: mlport.Client, session: DatabricksSession) -> None:
    made = client.schedules.create(spec())
    number = int(made.record.native_name)
    session.connection.call("POST", "/api/2.2/jobs/delete", operation="jobs.delete", body={"job_id": number})
    (record,) = client.schedules.list()
    assert (record.state, record.next) == (ScheduleState.FAILED, None)
    assert str(number) in record.reason
    client.schedules.delete("nightly")
    assert list(client.schedules.list()) == []
    assert client.schedules.create(spec()).state is ScheduleState.ACTIVE


def test_a_job_that_cannot_be_deleted_keeps_its_schedule(client: mlport.Client, session: DatabricksSession, emulator: Ready) -> None:
    made = client.schedules.create(spec())
    set_faults(emulator, {"match": "POST */api/2.2/jobs/delete", "times": 1, "effect": "error", "status": 403})
    with pytest.raises(MlportError):
        session.schedules.delete("nightly")
    assert made.state is ScheduleState.ACTIVE


def test_a_script_in_a_source_goes_with_it(client: mlport.Client, session: DatabricksSession, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("print('as it was')")
    job = {"name": "with-source", "source": str(tmp_path), "entrypoint": ["python", "main.py"]}
    made = client.schedules.create(spec(job=job))
    folder = f"{session.config.staging}/jobs/{made.record.token}"
    assert {path.rpartition("/")[2] for path, _ in session.connection.files.walk(folder)} == {"bundle.tar.gz"}
