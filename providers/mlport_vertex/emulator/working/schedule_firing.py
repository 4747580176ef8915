"""Cloud Scheduler at work: what is due is sent to its HTTP target, as the job says, and sent again as its retryConfig says.

A firing goes through the emulators' own front door, so that it reaches what an emulator answers for, and nothing beyond
this machine. While the emulator is down nothing fires, and what was missed is not made up for. What a restart cut off is
not repeated either; the real one promises at least one delivery (https://cloud.google.com/scheduler/docs/overview).
"""

from __future__ import annotations

import base64
import logging
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from mlport.scheduling.cron import Cron
from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.protocol.errors import CODES, OF_STATUS

Json = dict[str, Any]
JOBS, RETRIES = "schedulerJobs", "schedulerRetries"
AT_ONCE = 8  # firings; more wait
DEADLINE = "180s"  # of one attempt, unless the job says otherwise
LOOPBACK = ("127.0.0.1", "localhost", "::1")
log = logging.getLogger("mlport.emulation")
Clock = Callable[[], datetime]


class Firing:
    """Looks for what is due when it is told to, and sends it in threads of its own; never the same job twice at once."""

    def __init__(self, place: Place, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self._place, self.clock = place, clock
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="scheduler")
        self._lock = threading.Lock()
        self._flying: dict[Future[None], str] = {}  # and the job that each is of
        self._started = clock()

    def tick(self) -> None:
        """Send what is due. A chore: it looks, and does not wait."""
        moment = self.clock()
        for _, job in self._place.documents.list(JOBS):
            due = datetime.fromisoformat(job["scheduleTime"])
            if job["state"] != "ENABLED" or due > moment:
                continue
            if due < self._started:  # it was missed
                self._reschedule(job["name"], following(job, moment))
            else:
                self._send(job, due)

    def run(self, job: Json) -> None:
        """Send it now, whether or not it is sent already."""
        self._begin(job, self.clock(), is_scheduled=False)

    def settle(self) -> None:
        """Wait for what is being sent."""
        with self._lock:
            flying = list(self._flying)
        wait(flying)

    def close(self) -> None:
        """Let what is being sent end."""
        self._pool.shutdown(cancel_futures=True)

    def _send(self, job: Json, due: datetime) -> None:
        """Unless it is being sent: a scheduled start is delayed until the one before has ended."""
        with self._lock:
            is_flying = job["name"] in self._flying.values()
        if not is_flying:
            self._begin(job, due, is_scheduled=True)

    def _begin(self, job: Json, due: datetime, *, is_scheduled: bool) -> None:
        with self._lock:
            flying = self._pool.submit(self._attempt, job, due, is_scheduled)
            self._flying[flying] = job["name"] if is_scheduled else ""
        flying.add_done_callback(self._landed)

    def _landed(self, flying: Future[None]) -> None:
        with self._lock:
            del self._flying[flying]
        if not flying.cancelled() and (error := flying.exception()):
            log.error("a scheduled request was not sent", exc_info=error)

    def _reschedule(self, name: str, moment: datetime) -> None:
        self._place.documents.change(JOBS, name, lambda body: {**body, "scheduleTime": written(moment)})

    # ---------------------------------------------------------------- one attempt

    def _attempt(self, job: Json, due: datetime, is_scheduled: bool) -> None:
        began = self.clock()
        status = send(self._place, job, due)
        with self._place.documents.together():
            ended = {"lastAttemptTime": written(began), "status": status}
            self._place.documents.change(JOBS, job["name"], lambda body: {**body, **ended})
            if is_scheduled:
                self._reschedule(job["name"], self._next(job, due, failed=bool(status)))

    def _next(self, job: Json, due: datetime, *, failed: bool) -> datetime:
        """When it is sent next: a retry, or by its schedule."""
        name, moment = job["name"], self.clock()
        kept = self._place.documents.get(RETRIES, name) or {"done": 0, "first": written(due)}
        pause = retry_pause(job.get("retryConfig", {}), kept["done"], moment - datetime.fromisoformat(kept["first"])) if failed else None
        self._place.documents.delete(RETRIES, name)
        if pause is None:
            return following(job, moment)
        self._place.documents.insert(RETRIES, name, {**kept, "done": kept["done"] + 1})
        return moment + pause


def retry_pause(config: Json, done: int, since: timedelta) -> timedelta | None:
    """How long to wait before the next retry after so many of them; None when there is to be none.

    https://cloud.google.com/scheduler/docs/configuring/retry-jobs: the interval doubles `maxDoublings` times, and then grows
    by as much as it last was; both limits must be reached before it ends.

    >>> [retry_pause({"retryCount": 5, "minBackoffDuration": "10s", "maxDoublings": 2}, n, timedelta()).seconds for n in range(5)]
    [10, 20, 40, 80, 120]
    """
    count, longest = int(config.get("retryCount", 0)), seconds(config.get("maxRetryDuration", "0s"))
    if done >= count and (longest == 0 or since.total_seconds() >= longest):
        return None
    doublings = int(config.get("maxDoublings", 5))
    least, most = seconds(config.get("minBackoffDuration", "5s")), seconds(config.get("maxBackoffDuration", "3600s"))
    pause = least * 2 ** min(done, doublings) * max(done - doublings + 1, 1)
    return timedelta(seconds=min(pause, most))


def following(job: Json, moment: datetime) -> datetime:
    """The first time after `moment` at which a job's schedule fires."""
    return next(Cron.parse(job["schedule"], zone_of(job)).after(moment))


def zone_of(job: Json) -> str:
    """Its time zone; UTC if it has none."""
    given = str(job.get("timeZone") or "UTC")
    return "UTC" if given.lower() == "utc" else given


def seconds(text: str) -> float:
    """Of a duration as Google writes it.

    >>> seconds("1.5s")
    1.5
    """
    return float(text.removesuffix("s"))


def written(moment: datetime) -> str:
    """A moment as Google writes it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


# ---------------------------------------------------------------- sending


def send(place: Place, job: Json, due: datetime) -> Json:
    """What the target said, as google.rpc.Status: empty if all went well."""
    target = job["httpTarget"]
    body = base64.b64decode(target["body"]) if target.get("body") else None
    request = urllib.request.Request(target["uri"], body, _headers(job, due), method=target.get("httpMethod", "POST"))  # noqa: S310 - checked when it was made
    try:
        with _opener(place, target["uri"]).open(request, timeout=seconds(job.get("attemptDeadline", DEADLINE))) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return _status(OF_STATUS.get(error.code, "UNKNOWN"), f"HTTP {error.code}")
    except TimeoutError:
        return _status("DEADLINE_EXCEEDED", "the target did not answer in time")
    except (OSError, HTTPException) as error:
        return _status("UNAVAILABLE", str(error))
    return {}


def _status(code: str, message: str) -> Json:
    return {"code": CODES[code][0], "message": message}


def _headers(job: Json, due: datetime) -> dict[str, str]:
    target = job["httpTarget"]
    authorised = target.get("oauthToken") or target.get("oidcToken")
    content = {"Content-Type": "application/octet-stream"} if target.get("body") else {}
    return {
        **content,
        **target.get("headers", {}),
        **({"Authorization": "Bearer ya29.emulated"} if authorised else {}),
        "User-Agent": "Google-Cloud-Scheduler",
        "X-CloudScheduler": "true",
        "X-CloudScheduler-JobName": job["name"].rpartition("/")[2],
        "X-CloudScheduler-ScheduleTime": written(due),
    }


def _opener(place: Place, uri: str) -> urllib.request.OpenerDirector:
    """Through the front door; to this machine itself directly."""
    if urlsplit(uri).hostname in LOOPBACK:
        return urllib.request.build_opener(urllib.request.ProxyHandler({}))
    proxy = place.environment["https_proxy"]
    trust = ssl.create_default_context(cafile=place.environment["SSL_CERT_FILE"])
    through = urllib.request.ProxyHandler({"https": proxy, "http": proxy})
    return urllib.request.build_opener(through, urllib.request.HTTPSHandler(context=trust))
