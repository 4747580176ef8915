"""Custom jobs at work: each is a job of the engine that runs a pod; its state is read from what the pod wrote.

A custom job is a document of the kind `customJobs`, exactly as answered. While it is not ended, one of the kind `runs`
says what the emulator knows besides. Each step can be done again, so that a killed emulator goes on where it was.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlport import Compute, JobSpec
from mlport.errors import NotFoundError
from mlport_vertex.emulator.place import Place, now
from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.protocol.resources import new_id, parse
from mlport_vertex.emulator.working import containers

Json = dict[str, Any]

KIND, RUNS = "customJobs", "runs"
ENDED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED", "JOB_STATE_PARTIALLY_SUCCEEDED")
LAUNCHES = 3  # of one round of the chore, which others wait for
LOG_TAIL = 64 * 1024  # bytes of a log in which a traceback is looked for
SHARE = Compute(cpus=0.1, memory_gib=0.1)  # of this machine; a cloud's machines are elsewhere


class Runs:
    """The custom jobs of one place."""

    def __init__(self, place: Place) -> None:
        self._place = place
        place.chore(self._look_at_all)

    def begin(self, parent: str, body: Json, *, extra: Mapping[str, str] | None = None, faults: Json | None = None) -> Json:
        """A new custom job under a location, as the call that creates it answers. `extra` are variables for its replicas."""
        made = now()
        name = f"{parent}/{KIND}/{new_id(self._place)}"
        job = {**body, "name": name, "state": "JOB_STATE_PENDING", "createTime": made, "updateTime": made}
        with self._place.documents.together():
            self._place.documents.insert(KIND, name, job)
            self._place.documents.insert(RUNS, name, {"name": name, "extra": dict(extra or {}), "faults": faults or {}})
        return job

    def look(self, name: str) -> Json | None:
        """The custom job as it is now, None if there is none."""
        run = self._place.documents.get(RUNS, name)
        if run is not None and "engine" in run:
            self._advance(run)
        return self._place.documents.get(KIND, name)

    def cancel(self, name: str) -> None:
        """Ask for its end; it is done by the chore. An ended one stays as it is."""

        def change(job: Json) -> Json | None:
            return None if job["state"] in ENDED else {**job, "state": "JOB_STATE_CANCELLING", "updateTime": now()}

        with self._place.documents.together():
            self._place.documents.change(KIND, name, change)
            self._place.documents.change(RUNS, name, lambda run: {**run, "cancel": True})

    def forget(self, name: str) -> bool:
        """Remove an ended custom job and what it left here; False while the engine's job is about to end."""
        found = self._place.engine.jobs.find(name)
        if found is not None and not found.state.terminal:
            return False
        if found is not None:
            found.delete()
        shutil.rmtree(self.folder(name), ignore_errors=True)
        self._place.documents.delete(KIND, name)
        return True

    def folder(self, name: str) -> Path:
        """Where the pod of a custom job keeps its files."""
        return folder_of(self._place, name)

    # ---------------------------------------------------------------- the chore

    def _look_at_all(self) -> None:
        launched = 0
        for _, run in list(self._place.documents.list(RUNS))[::-1]:
            if "engine" not in run and launched >= LAUNCHES:
                continue
            launched += "engine" not in run
            step = self._advance if "engine" in run else self._launch
            self._place.tries(run["name"], partial(step, run), partial(self._give_up, run))

    def _give_up(self, run: Json) -> None:
        """A run at which the emulator failed too often ends, and with it what runs for it."""
        try:
            if "engine" in run:
                self._place.engine.session.jobs.cancel(run["engine"])
        finally:
            self._finish(run["name"], "JOB_STATE_FAILED", LOST)

    def _launch(self, run: Json) -> None:
        name = run["name"]
        job = self._place.documents.get(KIND, name)
        if job is None or run.get("cancel"):
            self._finish(name, "JOB_STATE_CANCELLED", CANCELED)
            return
        folder = self.folder(name)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            manifest = containers.pod(self._place, job, folder, run["extra"], run["faults"])
        except ApiError as error:
            self._finish(name, "JOB_STATE_FAILED", error)
            return
        _write(folder / "pod.json", manifest)
        spec = JobSpec(name="custom-job", entrypoint=("python", "-I", "-S", containers.POD, str(folder)), compute=SHARE)
        engine = self._place.engine.jobs.submit(spec, key=name).id
        self._place.documents.change(RUNS, name, lambda run: {**run, "engine": engine})

    def _advance(self, run: Json) -> None:
        """Take over what the pod has written; without it, what the engine says of the pod."""
        name, jobs = run["name"], self._place.engine.session.jobs
        if run.get("cancel") and not run.get("told"):
            jobs.cancel(run["engine"])
            self._place.documents.change(RUNS, name, lambda run: {**run, "told": True})
        pod = self._pod(name)
        if pod.get("outcome") is None and self._engine_ended(run):
            pod = self._pod(name)
            pod.setdefault("outcome", "cancelled" if run.get("cancel") else "lost")
        if pod.get("started"):
            self._place.documents.change(KIND, name, lambda job: _running(job, pod["started"]))
        if pod.get("outcome"):
            self._end(name, pod)

    def _engine_ended(self, run: Json) -> bool:
        try:
            return self._place.engine.session.jobs.status(run["engine"]).state.terminal
        except NotFoundError:
            return True

    def _pod(self, name: str) -> Json:
        try:
            found: Json = json.loads((self.folder(name) / "state.json").read_bytes())
        except FileNotFoundError:
            return {}
        return found

    def _end(self, name: str, pod: Json) -> None:
        ended = pod.get("ended")
        if pod["outcome"] == "succeeded":
            self._finish(name, "JOB_STATE_SUCCEEDED", None, ended)
        elif pod["outcome"] == "cancelled":
            self._finish(name, "JOB_STATE_CANCELLED", CANCELED, ended)
        else:
            self._finish(name, "JOB_STATE_FAILED", self._error(name, pod), ended)

    def _error(self, name: str, pod: Json) -> ApiError:
        """Why it failed, in the words of Vertex AI's page on the training service; those of a timeout are a guess."""
        if pod["outcome"] == "lost":
            return LOST
        if pod["outcome"] == "timed out":
            return ApiError("DEADLINE_EXCEEDED", "The job exceeded its timeout.")
        reason = "StartError" if pod["code"] == 128 else "Error"
        exited = f"The replica {pod['replica']} exited with a non-zero status of {pod['code']}. Termination reason: {reason}."
        return ApiError("INVALID_ARGUMENT", f"{exited} {self._traceback(name, pod['replica'])}{_where(name)}")

    def _traceback(self, name: str, replica: str) -> str:
        """The last traceback that the replica printed."""
        entries = [entry for entry in tail(self.folder(name) / "log.jsonl") if entry["task"] == replica]
        begins = [number for number, entry in enumerate(entries) if entry["message"].startswith("Traceback (most recent call last)")]
        return "\n" + "".join(entry["message"] for entry in entries[begins[-1] :]) if begins else ""

    def _finish(self, name: str, state: str, error: ApiError | None, ended: str | None = None) -> None:
        moment = ended or now()

        def change(job: Json) -> Json:
            return {**job, "state": state, "endTime": moment, "updateTime": moment, **({"error": error.rpc()} if error else {})}

        with self._place.documents.together():
            if self._place.documents.delete(RUNS, name):  # whoever else saw the end has written it
                self._place.documents.change(KIND, name, change)


CANCELED = ApiError("CANCELLED", "CANCELED")
LOST = ApiError("INTERNAL", "Internal error occurred for the current attempt.")


def folder_of(place: Place, name: str) -> Path:
    """Where the pod of a custom job keeps its files; an id is unique over all locations."""
    return place.folder / "jobs" / name.rpartition("/")[2]


def tail(path: Path) -> list[Json]:
    """The last entries of a log."""
    if not path.exists():
        return []
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - LOG_TAIL))
        lines = stream.read().split(b"\n")
    return [json.loads(line) for line in lines[1 if size > LOG_TAIL else 0 :] if line.endswith(b"}")]


def _running(job: Json, started: str) -> Json | None:
    if "startTime" in job:
        return None
    state = "JOB_STATE_RUNNING" if job["state"] == "JOB_STATE_PENDING" else job["state"]
    return {**job, "state": state, "startTime": started, "updateTime": started}


def _where(name: str) -> str:
    """The end of the message of a failed job, as Vertex AI writes it."""
    project, job_id = parse(name).project, parse(name).id
    query = quote(f'resource.type="ml_job"\nresource.labels.job_id="{job_id}"', safe="")
    console = f"https://console.cloud.google.com/logs/viewer?project={project}&resource=ml_job%2Fjob_id%2F{job_id}&advancedFilter={query}"
    return f"\nTo find out more about why your job exited please check the logs: {console}"


def _write(path: Path, value: Json) -> None:
    """Whole or not at all, and for its owner only: it holds what the job's variables hold."""
    unfinished = path.with_suffix(".part")
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(value), encoding="utf-8")
    unfinished.replace(path)
