"""Jobs: one folder and one process each, run by mlport's own runner."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import mlport.mlport_runner
from mlport.errors import ConflictError, NotFoundError, stamped
from mlport.metrics import points
from mlport.spi import Artifact, Cause, JobResult, JobStatus, Json, LogPage, MetricPoint, Page, Plan, Query, State, Usage
from mlport_sample import files
from mlport_sample.config import SampleConfig


@stamped("sample", "jobs")
class SampleJobs:
    """The id is made of the token, so that the same token is the same folder."""

    def __init__(self, config: SampleConfig) -> None:
        self._root = config.root / "jobs"

    def submit(self, plan: Plan, *, token: str, bundle: Path | None = None, secrets: Mapping[str, str] | None = None) -> str:
        folder = self._root / f"{plan.name}-{token}"
        if not folder.exists():
            self._write(folder, plan.requests[0].body, token, bundle)
        environment = {**os.environ, **(secrets or {})}
        files.start(folder, [sys.executable, mlport.mlport_runner.__file__, str(folder / "manifest.json")], environment)
        return folder.name

    def _write(self, folder: Path, body: Json, token: str, bundle: Path | None) -> None:
        """Write the folder aside and move it into place: whoever is first, there is one."""
        self._root.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=self._root, prefix="."))
        manifest = {**body, "job": folder.name, "workdir": str(folder / "work"), "result": str(folder / "result.json")}
        manifest |= {"metrics": str(folder / "metrics.jsonl"), "started": str(folder / "started"), "source": None}
        manifest["outputs"] = {name: {"path": str(folder / "outputs" / name)} for name in body["outputs"]}
        if bundle:
            shutil.copyfile(bundle, part / "source.tar.gz")
            manifest["source"] = str(folder / "source.tar.gz")
        files.write(part / "record.json", {"token": token, "labels": manifest.pop("labels"), "name": body["name"], "created": _now()})
        files.write(part / "manifest.json", manifest)
        try:
            part.rename(folder)
        except OSError:
            if not folder.exists():
                raise
            shutil.rmtree(part)

    def find(self, token: str, *, since: datetime | None = None) -> str | None:
        """Only a job that was started counts: one written by a submit that died in between is started by the next."""
        written = self._root.glob(f"[!.]*-{token}")
        return next((folder.name for folder in written if (folder / "group").exists()), None)

    def status(self, job_id: str) -> JobStatus:
        folder = self._folder(job_id)
        record = files.read(folder / "record.json")
        state, native, reason, ended = self._state(folder)
        begun = folder / "started"
        return JobStatus(
            id=job_id,
            name=record["name"],
            state=state,
            native_state=native,
            cause=_cause(state, reason),
            reason=reason,
            created=datetime.fromisoformat(record["created"]),
            started=datetime.fromtimestamp(begun.stat().st_mtime, UTC) if begun.exists() else None,
            ended=ended,
            token=record["token"],
            labels=record["labels"],
        )

    def _state(self, folder: Path) -> tuple[State, str, str, datetime | None]:
        lives = files.alive(folder)  # asked before the result is looked for: a runner writes it and then ends
        asked_to_end = (folder / "cancelled").exists()
        if (folder / "result.json").exists() and not lives:
            result = files.read(folder / "result.json")
            return State(result["state"]), result["state"], result["reason"], datetime.fromisoformat(result["ended"])
        if lives:
            return (State.CANCELLING, "ending", "", None) if asked_to_end else (State.RUNNING, "alive", "", None)
        if not (folder / "group").exists():
            return State.QUEUED, "written", "", None
        gone = datetime.fromtimestamp((folder / "alive").stat().st_mtime, UTC)
        return (State.CANCELLED, "gone", "", gone) if asked_to_end else (State.FAILED, "gone", "lost: its process is gone", gone)

    def list(self, query: Query, page: str | None = None) -> Page[JobStatus]:
        found = [self.status(folder.name) for folder in self._root.glob("[!.]*")]
        wanted = [
            (f"{job.created} {job.id}", job)
            for job in found
            if (query.name in (None, job.name))
            and (not query.states or job.state in query.states)
            and query.labels.items() <= job.labels.items()
        ]
        return files.page_of(wanted, query, page)

    def result(self, job_id: str) -> JobResult:
        status = self.status(job_id)
        if not status.state.terminal:
            raise ConflictError(f"job {job_id} is {status.state}: it has no result yet")
        left = self._folder(job_id) / "result.json"
        found = files.read(left) if left.exists() else {}
        outputs = {name: Artifact(**artifact) for name, artifact in found.get("outputs", {}).items()}
        return JobResult(
            found.get("exit_code"), found.get("metrics", {}), outputs, Usage(**found.get("usage", {})), found.get("resolved", {})
        )

    def metrics(self, job_id: str) -> Sequence[MetricPoint]:
        log = self._folder(job_id) / "metrics.jsonl"
        return points(log.read_bytes().splitlines()) if log.exists() else ()

    def logs(self, job_id: str, *, after: str | None = None) -> LogPage:
        ended = self.status(job_id).state.terminal  # asked first: what is read after the end is all there is
        log, start = self._folder(job_id) / "log", int(after or 0)
        if not log.exists():
            return LogPage((), str(start), ended)
        with log.open("rb") as stream:
            stream.seek(start)
            data = stream.read()
        whole = data if ended else data[: data.rfind(b"\n") + 1]
        lines = whole.decode(errors="replace").removesuffix("\n").split("\n") if whole else ()
        return LogPage(lines, str(start + len(whole)), ended, caught_up=True)

    def cancel(self, job_id: str) -> None:
        folder = self._folder(job_id)
        if not self.status(job_id).state.terminal:
            (folder / "cancelled").touch()
            files.signal_group(folder, signal.SIGTERM)

    def delete(self, job_id: str) -> None:
        if not (self._root / job_id).exists():
            return
        if not self.status(job_id).state.terminal:
            raise ConflictError(f"job {job_id} has not ended", hint="cancel it first")
        shutil.rmtree(self._folder(job_id))

    def _folder(self, job_id: str) -> Path:
        folder = self._root / job_id
        if "/" in job_id or not (folder / "record.json").exists():
            raise NotFoundError(f"no job {job_id!r}")
        return folder


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _cause(state: State, reason: str) -> Cause:
    if state is State.CANCELLED:
        return "cancelled"
    if state is not State.FAILED:
        return ""
    return next((cause for words, cause in _CAUSES.items() if words in reason), "exit")


_CAUSES: Mapping[str, Cause] = {"timeout": "timeout", "timed out": "timeout", "changed since": "input changed", "lost": "lost"}
