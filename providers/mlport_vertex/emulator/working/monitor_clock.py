"""Vertex AI's schedules at work: what is due makes a monitoring job.

While the emulator is down nothing fires, and what was missed is not made up for. Source: aiplatform.v1beta1, Schedule. A guess: what
`runResponse` says.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from mlport.scheduling.cron import Cron
from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.protocol.resources import moment, normal
from mlport_vertex.emulator.protocol.rules import invalid
from mlport_vertex.emulator.working.monitor_jobs import MonitorJobs

Json = dict[str, Any]
SCHEDULES = "schedules"
REQUEST = "createModelMonitoringJobRequest"
ZONES = ("CRON_TZ=", "TZ=")


class Clock:
    """Looks for what is due when it is told to."""

    def __init__(self, place: Place, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._place, self.clock, self._jobs = place, clock, MonitorJobs(place)
        self._started = clock()

    def tick(self) -> None:
        """A chore: fire what is due, once each."""
        at = self.clock()
        for _, schedule in self._place.documents.list(SCHEDULES):
            if schedule["state"] != "ACTIVE" or not schedule.get("nextRunTime"):
                continue
            due = moment(schedule["nextRunTime"])
            if due <= at:
                self._fire(schedule, due, at)

    def _fire(self, schedule: Json, due: datetime, at: datetime) -> None:
        """Make the job, and say when the next is due; one that was missed is left out."""
        with self._place.documents.together():
            told: Json = {}
            if due >= self._started or schedule.get("catchUp"):
                told = self._run(schedule, written(due))
            after = due if schedule.get("catchUp") else at
            self._place.documents.change(SCHEDULES, schedule["name"], lambda found: following({**found, **told}, after))

    def _run(self, schedule: Json, due: str) -> Json:
        request = schedule[REQUEST]
        scheduled = {"schedule": schedule["name"], "scheduleTime": due}
        try:
            job = self._jobs.create(normal(request["parent"]), request["modelMonitoringJob"], **scheduled)
            answer = job["name"]
        except ApiError as error:
            answer = f"{error.code}: {error.message}"
        count = int(schedule["startedRunCount"]) + 1
        return {"startedRunCount": str(count), "lastScheduledRunResponse": {"scheduledRunTime": due, "runResponse": answer}}


def cron_of(field: str, text: str) -> Cron:
    """A cron expression with or without its time zone; UTC without, which is a guess."""
    zone = "UTC"
    for prefix in ZONES:
        if text.startswith(prefix):
            zone, _, text = text.removeprefix(prefix).partition(" ")
    try:
        return Cron.parse(text.strip(), zone)
    except ValueError as error:
        raise invalid(field, f"Invalid cron: {error}") from error


def following(schedule: Json, after: datetime) -> Json:
    """The schedule with the time of its next run after `after`; COMPLETED where there is none."""
    start = max(after, moment(schedule["startTime"]))
    due = next(cron_of("schedule.cron", schedule["cron"]).after(start), None)
    most, left = int(schedule.get("maxRunCount", 0)), {key: value for key, value in schedule.items() if key != "nextRunTime"}
    over = (
        due is None or (most and int(schedule["startedRunCount"]) >= most) or ("endTime" in schedule and due > moment(schedule["endTime"]))
    )
    if over or due is None:
        return {**left, "state": "COMPLETED"}
    return {**left, "nextRunTime": written(due)}


def written(at: datetime) -> str:
    """A moment as Google writes it."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
