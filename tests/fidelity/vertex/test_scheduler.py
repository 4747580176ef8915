"""Cloud Scheduler of the Vertex AI emulator: it really sends, by cron and by its retries; and Vertex AI's own schedules."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aids.vertex.place import call, errors

from mlport.emulation.faults import Faults
from mlport.emulation.server import Ready
from mlport.waiting import delays, wait_until
from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.working.schedule_firing import JOBS, Firing

P = "/v1/projects/emulated/locations/us-central1/jobs"
NAME = P.removeprefix("/v1/")
TARGET = {"uri": "https://bigquery.googleapis.com/bigquery/v2/projects/emulated/datasets", "httpMethod": "POST"}


def job(name: str, **more: Any) -> dict[str, Any]:
    return {"name": f"{NAME}/{name}", "schedule": "*/5 * * * *", "httpTarget": TARGET, **more}


class Hook(ThreadingHTTPServer):
    """Notes what it is sent, and answers with the statuses that it is given, then with 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.got: list[dict[str, Any]] = []
        self.statuses: list[int] = []


class Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        hook: Hook = self.server  # type: ignore[assignment]
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        hook.got.append({"body": body, "path": self.path, "headers": dict(self.headers)})
        self.send_response(hook.statuses.pop(0) if hook.statuses else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_life_of_a_job(emulator: Ready) -> None:
    status, made = call(emulator, "POST", P, job("life", timeZone="Europe/Berlin", description="d"))
    assert status == 200, made
    assert (made["state"], made["timeZone"], made["retryConfig"]["maxDoublings"]) == ("ENABLED", "Europe/Berlin", 5)
    due = datetime.fromisoformat(made["scheduleTime"])
    assert timedelta() < due - datetime.now(UTC) <= timedelta(minutes=5)
    assert due.minute % 5 == 0
    status, said = call(emulator, "POST", P, job("life"))
    assert (status, said["error"]["status"]) == (409, "ALREADY_EXISTS")
    assert call(emulator, "POST", f"{P}/life:resume", {})[0] == 400
    assert call(emulator, "POST", f"{P}/life:pause", {})[1]["state"] == "PAUSED"
    assert call(emulator, "POST", f"{P}/life:pause", {})[1]["error"]["status"] == "FAILED_PRECONDITION"
    assert call(emulator, "POST", f"{P}/life:resume", {})[1]["state"] == "ENABLED"
    changed = call(emulator, "PATCH", f"{P}/life?updateMask=schedule", {"schedule": "0 0 1 1 *", "httpTarget": TARGET})[1]
    assert (changed["schedule"], changed["description"]) == ("0 0 1 1 *", "d")
    assert [each["name"] for each in call(emulator, "GET", P)[1]["jobs"]] == [f"{NAME}/life"]
    assert call(emulator, "DELETE", f"{P}/life") == (200, {})
    assert call(emulator, "GET", f"{P}/life")[0] == 404
    made = call(emulator, "POST", P, {key: value for key, value in job("x").items() if key != "name"})[1]
    assert call(emulator, "DELETE", f"/v1/{made['name']}")[0] == 200


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"schedule": None}, 400, "Schedule is required"),
        ({"schedule": "every 5 minutes"}, 400, "unix-cron"),
        ({"schedule": "61 * * * *"}, 400, "Schedule or time zone"),
        ({"timeZone": "Mars/Base"}, 400, "time zone"),
        ({"name": "projects/p/locations/l/jobs/no good"}, 400, "Job name"),
        ({"httpTarget": None}, 400, "target is required"),
        ({"httpTarget": {"httpMethod": "POST"}}, 400, "http_target.uri"),
        ({"httpTarget": {"uri": "ftp://x"}}, 400, "must begin with"),
        ({"httpTarget": {**TARGET, "httpMethod": "GET", "body": "eA=="}}, 400, "not for GET"),
        ({"httpTarget": {**TARGET, "body": "???"}}, 400, ""),
        ({"httpTarget": {"uri": "https://example.com", "oauthToken": {"serviceAccountEmail": "a@b"}}}, 400, "googleapis.com"),
        ({"httpTarget": None, "pubsubTarget": {"topicName": "t"}}, 501, "pubsubTarget"),
        ({"attemptDeadline": "1s"}, 400, "attempt_deadline"),
        ({"retryConfig": {"retryCount": 6}}, 400, "retry_count"),
        ({"cron": "x"}, 400, 'Unknown name "cron"'),
    ],
)
def test_what_is_refused(emulator: Ready, change: dict[str, Any], status: int, said: str) -> None:
    body = {key: value for key, value in {**job("refused"), **change}.items() if value is not None}
    found, answer = call(emulator, "POST", P, body)
    assert (found, said in errors(answer)) == (status, True), answer


def test_run_calls_a_service_of_the_emulator(emulator: Ready) -> None:
    body = base64.b64encode(b'{"datasetReference": {"datasetId": "scheduled"}}').decode()
    target = {**TARGET, "body": body, "oauthToken": {"serviceAccountEmail": "a@emulated.iam.gserviceaccount.com"}}
    call(emulator, "POST", P, job("calls", httpTarget=target))
    assert call(emulator, "POST", f"{P}/calls:run", {})[0] == 200
    found = attempted(emulator, "calls")
    assert found["status"] == {}
    assert call(emulator, "GET", "/bigquery/v2/projects/emulated/datasets/scheduled")[0] == 200
    call(emulator, "POST", P, job("fails", httpTarget=target))
    call(emulator, "POST", f"{P}/fails:run", {})
    assert attempted(emulator, "fails")["status"]["code"] == 10  # HTTP 409: there is such a dataset already


def test_nothing_leaves_the_machine(emulator: Ready) -> None:
    for scheme in ("http", "https"):
        call(emulator, "POST", P, job(f"out-{scheme}", httpTarget={"uri": f"{scheme}://example.com/"}))
        call(emulator, "POST", f"{P}/out-{scheme}:run", {})
        assert attempted(emulator, f"out-{scheme}")["status"]["code"] != 0


def attempted(emulator: Ready, name: str) -> Any:
    """The job once it was sent."""
    return wait_until(
        lambda: call(emulator, "GET", f"{P}/{name}")[1],
        lambda found: "lastAttemptTime" in found,
        pauses=delays(first=0.01, ceiling=0.1),
        timeout=120,
        what=name,
    )


class Clockwork:
    """A scheduler whose clock the test moves."""

    def __init__(self, folder: Path, start: datetime) -> None:
        self.now = start
        self.place = Place(folder, Faults())
        self.open()

    def open(self) -> None:
        self.firing = Firing(self.place, lambda: self.now)

    def put(self, uri: str, **more: Any) -> None:
        target = {"uri": uri, "httpMethod": "POST", "body": base64.b64encode(b"hello").decode(), "headers": {"X-Mine": "1"}}
        due = (self.now + timedelta(minutes=1)).isoformat()
        body = {**job("j"), "state": "ENABLED", "schedule": "* * * * *", "httpTarget": target, "scheduleTime": due, **more}
        self.place.documents.insert(JOBS, body["name"], body)

    def go(self, seconds: float) -> None:
        """Let time pass, look for what is due, and see it sent."""
        self.now += timedelta(seconds=seconds)
        self.firing.tick()
        self.firing.settle()

    @property
    def job(self) -> Any:
        return self.place.documents.get(JOBS, f"{NAME}/j")


@pytest.fixture
def clockwork(tmp_path: Path) -> Iterator[Clockwork]:
    made = Clockwork(tmp_path, datetime(2026, 11, 23, 10, 0, tzinfo=UTC))
    yield made
    made.firing.close()
    made.place.close()


def test_it_fires_by_cron(clockwork: Clockwork, hook: Hook) -> None:
    clockwork.put(f"http://127.0.0.1:{hook.server_port}/hook?x=1")
    clockwork.go(59)
    assert hook.got == []
    clockwork.go(1)
    clockwork.go(1)
    assert len(hook.got) == 1
    got = hook.got[0]
    assert (got["body"], got["path"], got["headers"]["X-Mine"]) == (b"hello", "/hook?x=1", "1")
    assert (got["headers"]["User-Agent"], got["headers"]["X-Cloudscheduler"]) == ("Google-Cloud-Scheduler", "true")
    assert got["headers"]["X-Cloudscheduler-Scheduletime"] == "2026-11-23T10:01:00Z"
    assert (clockwork.job["status"], clockwork.job["lastAttemptTime"]) == ({}, "2026-11-23T10:01:00Z")
    assert clockwork.job["scheduleTime"] == "2026-11-23T10:02:00Z"
    clockwork.go(59)
    assert len(hook.got) == 2


def test_it_tries_again_as_often_as_it_may(clockwork: Clockwork, hook: Hook) -> None:
    hook.statuses = [503, 500, 503, 503]
    clockwork.put(f"http://127.0.0.1:{hook.server_port}/", retryConfig={"retryCount": 2, "minBackoffDuration": "5s", "maxDoublings": 5})
    clockwork.go(60)
    assert (clockwork.job["status"]["code"], clockwork.job["scheduleTime"]) == (14, "2026-11-23T10:01:05Z")
    clockwork.go(5)
    assert (clockwork.job["status"]["code"], clockwork.job["scheduleTime"]) == (13, "2026-11-23T10:01:15Z")
    clockwork.go(10)
    assert clockwork.job["scheduleTime"] == "2026-11-23T10:02:00Z"  # no more of them
    clockwork.go(45)
    assert clockwork.job["scheduleTime"] == "2026-11-23T10:02:05Z"  # a new execution, with retries of its own
    clockwork.go(5)
    assert (len(hook.got), clockwork.job["status"], clockwork.job["scheduleTime"]) == (5, {}, "2026-11-23T10:03:00Z")


def test_what_is_paused_does_not_fire_and_what_was_missed_is_not_made_up_for(clockwork: Clockwork, hook: Hook) -> None:
    clockwork.put(f"http://127.0.0.1:{hook.server_port}/", state="PAUSED")
    clockwork.go(120)
    assert hook.got == []
    clockwork.place.documents.change(JOBS, f"{NAME}/j", lambda body: {**body, "state": "ENABLED"})
    clockwork.firing.close()
    clockwork.now += timedelta(minutes=10, seconds=30)
    clockwork.open()
    clockwork.go(0)
    assert (hook.got, clockwork.job["scheduleTime"]) == ([], "2026-11-23T10:13:00Z")
    clockwork.go(30)
    assert len(hook.got) == 1


def test_vertex_ais_own_schedules_take_no_custom_jobs(emulator: Ready) -> None:
    path = "/v1/projects/emulated/locations/us-central1/schedules"
    base = {"displayName": "s", "cron": "* * * * *", "maxConcurrentRunCount": "1"}
    status, said = call(emulator, "POST", path, base)
    assert (status, "createPipelineJobRequest" in errors(said)) == (400, True)
    status, said = call(emulator, "POST", path, {**base, "createCustomJobRequest": {}})
    assert (status, "createCustomJobRequest" in errors(said)) == (400, True)
    pipeline = {"parent": "projects/emulated/locations/us-central1", "pipelineJob": {"displayName": "p"}}
    status, said = call(emulator, "POST", path, {**base, "createPipelineJobRequest": pipeline})
    assert status == 501, said
    assert call(emulator, "GET", path) == (200, {})
    assert call(emulator, "GET", f"{path}/1")[0] == 404
