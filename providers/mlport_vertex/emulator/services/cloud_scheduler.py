"""Cloud Scheduler: jobs that send an HTTP request by cron; they really do."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from mlport.emulation.documents import Exists
from mlport.scheduling.cron import Cron
from mlport_vertex.emulator.place import Place, now
from mlport_vertex.emulator.protocol.api import Handler, Request
from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.protocol.resources import masked, new_id, page
from mlport_vertex.emulator.working.schedule_firing import JOBS, RETRIES, Firing, following, seconds, written, zone_of

Json = dict[str, Any]
NAME = re.compile(r"projects/[^/]+/locations/[^/]+/jobs/[A-Za-z0-9_-]{1,500}")
WITH_BODY = ("POST", "PUT", "PATCH")
SHORTEST, LONGEST = 15.0, 1800.0  # seconds of attemptDeadline
MOST_RETRIES = 5
MOST_URI = 2083


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their ids."""
    jobs = Jobs(place)
    place.chore(jobs.firing.tick)
    place.at_end(jobs.firing.close)
    methods = ("create", "get", "list", "patch", "delete", "pause", "resume", "run")
    return {f"cloudscheduler.projects.locations.jobs.{name}": getattr(jobs, name) for name in methods}


class Jobs:
    """The jobs of one emulator. Names are as the caller sent them: unlike Vertex AI's, they keep the project's id."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.firing = Firing(place)

    def create(self, request: Request) -> Json:
        job = dict(request.body)
        name = job.get("name") or f"{request.parent}/jobs/{new_id(self._place)}"
        if not NAME.fullmatch(name) or not name.startswith(f"{request.parent}/jobs/"):
            said = f'Job name must be formatted: "{request.parent}/jobs/<JOB_ID>", where JOB_ID is up to 500 of [A-Za-z0-9_-]'
            raise ApiError("INVALID_ARGUMENT", said)
        kept = {**_checked(job), "name": name, "state": "ENABLED", "userUpdateTime": now()}
        try:
            self._place.documents.insert(JOBS, name, {**kept, "scheduleTime": self._following(kept)})
        except Exists as error:
            raise ApiError("ALREADY_EXISTS", f"Job [{name}] already exists.") from error
        return self._need(name)

    def get(self, request: Request) -> Json:
        return self._need(request.name)

    def list(self, request: Request) -> Any:
        return page(request, "jobs", self._place.documents.list(JOBS, f"{request.parent}/jobs/"))

    def patch(self, request: Request) -> Json:
        def change(body: Json) -> Json:
            changed = _checked(masked(body, request.arguments.get("updateMask", ""), request.body))
            return {**changed, "name": body["name"], "userUpdateTime": now(), "scheduleTime": self._following(changed)}

        return self._changed(request.name, change)

    def delete(self, request: Request) -> Json:
        if not self._place.documents.delete(JOBS, request.name):
            raise _no_job(request.name)
        self._place.documents.delete(RETRIES, request.name)
        return {}

    def pause(self, request: Request) -> Json:
        return self._switched(request.name, "ENABLED", "PAUSED")

    def resume(self, request: Request) -> Json:
        return self._switched(request.name, "PAUSED", "ENABLED")

    def run(self, request: Request) -> Json:
        job = self._need(request.name)
        self.firing.run(job)
        return job

    def _switched(self, name: str, old: str, new: str) -> Json:
        def change(body: Json) -> Json:
            if body["state"] != old:
                raise ApiError("FAILED_PRECONDITION", f"Job state must be {old}: it is {body['state']}")
            return {**body, "state": new, "userUpdateTime": now(), "scheduleTime": self._following(body)}

        return self._changed(name, change)

    def _changed(self, name: str, change: Any) -> Json:
        changed = self._place.documents.change(JOBS, name, change)
        if changed is None:
            raise _no_job(name)
        return changed

    def _need(self, name: str) -> Json:
        found = self._place.documents.get(JOBS, name)
        if found is None:
            raise _no_job(name)
        return found

    def _following(self, job: Json) -> str:
        return written(following(job, self.firing.clock()))


def _no_job(name: str) -> ApiError:
    return ApiError("NOT_FOUND", f"Job not found: {name}")


# ---------------------------------------------------------------- what a job must be


def _checked(job: Json) -> Json:
    """The job with what Google fills in. Raises ApiError for what it refuses."""
    if not job.get("schedule"):
        raise ApiError("INVALID_ARGUMENT", "Schedule is required.")
    try:
        Cron.parse(job["schedule"], zone_of(job))
    except ValueError as error:
        raise ApiError("INVALID_ARGUMENT", f"Schedule or time zone is invalid. {error} (the emulator takes unix-cron only)") from error
    for other in ("appEngineHttpTarget", "pubsubTarget"):
        if other in job:
            raise ApiError("UNIMPLEMENTED", f"The emulator's Cloud Scheduler has HTTP targets only, not {other}.")
    if "httpTarget" not in job:
        raise ApiError("INVALID_ARGUMENT", "Job target is required.")
    retries = job.get("retryConfig", {})
    if not 0 <= int(retries.get("retryCount", 0)) <= MOST_RETRIES:
        raise ApiError("INVALID_ARGUMENT", f"RetryConfig.retry_count must be between 0 and {MOST_RETRIES}.")
    deadline = job.get("attemptDeadline", "180s")
    if not SHORTEST <= seconds(deadline) <= LONGEST:
        raise ApiError("INVALID_ARGUMENT", f"attempt_deadline must be between {SHORTEST:g}s and {LONGEST:g}s for HTTP targets.")
    filled = {"maxRetryDuration": "0s", "minBackoffDuration": "5s", "maxBackoffDuration": "3600s", "maxDoublings": 5, **retries}
    zone = job.get("timeZone") or "Etc/UTC"
    return {**job, "timeZone": zone, "httpTarget": _target(job["httpTarget"]), "retryConfig": filled, "attemptDeadline": deadline}


def _target(target: Json) -> Json:
    uri, method = target["uri"], target.get("httpMethod", "POST")
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname or len(uri) > MOST_URI:
        raise ApiError(
            "INVALID_ARGUMENT", f'HttpTarget.uri must begin with "http://" or "https://" and have at most {MOST_URI} characters.'
        )
    if "oauthToken" in target and not parts.hostname.endswith(".googleapis.com"):
        raise ApiError("INVALID_ARGUMENT", "OAuth tokens are for targets on *.googleapis.com only; use an OIDC token.")
    if target.get("body") and method not in WITH_BODY:
        raise ApiError("INVALID_ARGUMENT", f"HttpTarget.body is allowed for {', '.join(WITH_BODY)} only, not for {method}.")
    try:
        base64.b64decode(target.get("body", ""), validate=True)
    except binascii.Error as error:
        raise ApiError(
            "INVALID_ARGUMENT", f"Invalid value at 'job.http_target.body' (TYPE_BYTES), Base64 decoding failed: {error}"
        ) from error
    return {**target, "httpMethod": method}
