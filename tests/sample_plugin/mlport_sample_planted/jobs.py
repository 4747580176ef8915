"""Bugs of jobs, one a class: submitting, looking, ending."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from mlport_sample import files
from mlport_sample.config import SampleConfig
from mlport_sample.jobs import SampleJobs

from mlport.spi import JobResult, JobStatus, Plan, State


def with_body(plan: Plan, **fields: Any) -> Plan:
    """The plan whose one request says something else in some fields."""
    (request,) = plan.requests
    return replace(plan, requests=(replace(request, body={**request.body, **fields}),))


class SubmitsTwice(SampleJobs):
    """A token that is known already starts another job."""

    def submit(self, plan: Plan, *, token: str, bundle: Path | None = None, secrets: Mapping[str, str] | None = None) -> str:
        again = "" if self.find(token) is None else os.urandom(4).hex()
        return super().submit(plan, token=token + again, bundle=bundle, secrets=secrets)


class FindMisses(SampleJobs):
    """What was started is not found by its token."""

    def find(self, token: str, *, since: datetime | None = None) -> str | None:
        return None


class SeesOtherAccount(SampleJobs):
    """All accounts keep their jobs in one place."""

    def __init__(self, config: SampleConfig) -> None:
        super().__init__(config)
        self._root = config.root.parent / "jobs"


class RunsAfterSuccess(SampleJobs):
    """The look after the one that first saw success sees the job run again, as a read of a stale replica would."""

    def __init__(self, config: SampleConfig) -> None:
        super().__init__(config)
        self._looks: dict[str, int] = {}

    def status(self, job_id: str) -> JobStatus:
        found = super().status(job_id)
        if found.state is State.SUCCEEDED:
            self._looks[job_id] = self._looks.get(job_id, 0) + 1
        return replace(found, state=State.RUNNING, native_state="alive", ended=None) if self._looks.get(job_id) == 2 else found


class SuccessChanges(SampleJobs):
    """To cancel what succeeded makes it cancelled."""

    def cancel(self, job_id: str) -> None:
        super().cancel(job_id)
        (self._folder(job_id) / "cancelled").touch()

    def status(self, job_id: str) -> JobStatus:
        found = super().status(job_id)
        asked = found.state is State.SUCCEEDED and (self._folder(job_id) / "cancelled").exists()
        return replace(found, state=State.CANCELLED, cause="cancelled") if asked else found


class FailureExitsWithZero(SampleJobs):
    """The result of a failed job tells of a success."""

    def result(self, job_id: str) -> JobResult:
        return replace(super().result(job_id), exit_code=0)


class ResultBeforeEnd(SampleJobs):
    """A running job has a result, an empty one."""

    def result(self, job_id: str) -> JobResult:
        return super().result(job_id) if self.status(job_id).state.terminal else JobResult(None)


class DeletesRunning(SampleJobs):
    """A running job is ended and removed."""

    def delete(self, job_id: str) -> None:
        files.signal_group(self._root / job_id, signal.SIGTERM)
        (self._root / job_id / "record.json").unlink(missing_ok=True)


class EndingIsFailed(SampleJobs):
    """A state that the adapter has no word for is taken for a failure, here that of a job that is being cancelled."""

    def status(self, job_id: str) -> JobStatus:
        found = super().status(job_id)
        return replace(found, state=State.FAILED, cause="exit") if found.native_state == "ending" else found


class CancelOnlySays(SampleJobs):
    """A cancelled job goes on."""

    def cancel(self, job_id: str) -> None:
        (self._folder(job_id) / "cancelled").touch()

    def status(self, job_id: str) -> JobStatus:
        found = super().status(job_id)
        return replace(found, state=State.CANCELLED, cause="cancelled") if found.state is State.CANCELLING else found


class TimeoutIgnored(SampleJobs):
    """The runner is not told of the time limit."""

    def submit(self, plan: Plan, *, token: str, bundle: Path | None = None, secrets: Mapping[str, str] | None = None) -> str:
        return super().submit(with_body(plan, timeout=None), token=token, bundle=bundle, secrets=secrets)


class ParametersDropped(SampleJobs):
    """The program is not given its parameters."""

    def submit(self, plan: Plan, *, token: str, bundle: Path | None = None, secrets: Mapping[str, str] | None = None) -> str:
        return super().submit(with_body(plan, params={}), token=token, bundle=bundle, secrets=secrets)


class SecretsInLabels(SampleJobs):
    """A secret's value is kept where everyone can read it."""

    def submit(self, plan: Plan, *, token: str, bundle: Path | None = None, secrets: Mapping[str, str] | None = None) -> str:
        labels = {**plan.requests[0].body["labels"], **(secrets or {})}
        return super().submit(with_body(plan, labels=labels), token=token, bundle=bundle, secrets=secrets)


class SecretsInLog(SampleJobs):
    """The log tells the environment that the job was given."""

    def submit(self, plan: Plan, *, token: str, bundle: Path | None = None, secrets: Mapping[str, str] | None = None) -> str:
        job_id = super().submit(plan, token=token, bundle=bundle, secrets=secrets)
        with (self._root / job_id / "log").open("a") as log:
            log.writelines(f"given {name}={value}\n" for name, value in (secrets or {}).items())
        return job_id


class NaiveTimes(SampleJobs):
    """Times have no zone."""

    def status(self, job_id: str) -> JobStatus:
        found = super().status(job_id)
        created, started, ended = (time and time.replace(tzinfo=None) for time in (found.created, found.started, found.ended))
        return replace(found, created=created, started=started, ended=ended)


class LocalClock(SampleJobs):
    """Times are a local clock's, two hours east, and say that they are in UTC."""

    def status(self, job_id: str) -> JobStatus:
        found, east = super().status(job_id), timedelta(hours=2)
        created, started, ended = (time and time + east for time in (found.created, found.started, found.ended))
        return replace(found, created=created, started=started, ended=ended)


class AbsentLeaksOsError(SampleJobs):
    """That there is no such job is not translated into an error of ours."""

    def _folder(self, job_id: str) -> Path:
        return self._root / job_id


class SignatureDrifts(SampleJobs):
    """What the interface passes by name only may be passed by place, and a caller of another adapter cannot tell."""

    def find(self, token: str, since: datetime | None = None) -> str | None:
        return super().find(token, since=since)
