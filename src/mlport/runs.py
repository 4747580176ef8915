"""Runs: what jobs were given and what they logged; compare them, or run one again with the same code and data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlport.bundle import git_state, pack
from mlport.errors import ConflictError, InputChangedError, NotFoundError
from mlport.spi import JobStatus, State

if TYPE_CHECKING:
    from mlport.client import Client
    from mlport.jobs import Job


@dataclass(frozen=True, slots=True)
class Run:
    """One job as tracking sees it: parameters in, metrics out, and its lineage."""

    id: str
    name: str
    state: State
    started: datetime | None
    ended: datetime | None
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    lineage: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Runs side by side: the parameters and lineage that differ, and every metric. Values are in the order of `runs`."""

    runs: Sequence[str]
    params: Mapping[str, Sequence[Any]]
    metrics: Mapping[str, Sequence[float | None]]
    lineage: Mapping[str, Sequence[Any]]


class Runs:
    """The runs of one profile: its ended jobs, however they ended."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def get(self, job_id: str) -> Run:
        """One run by its job's id. Raises NotFoundError, or ConflictError while it runs."""
        job = self._client.jobs.get(job_id)
        return _run(job, job.status())

    def list(self, *, name: str | None = None) -> Iterator[Run]:
        """Ended jobs, newest first."""
        from mlport.jobs import Job

        for status in self._client.jobs.list(name=name):
            if status.state.terminal and status.kind == "job":
                yield _run(Job(status.id, self._client), status)

    def compare(self, job_ids: Sequence[str]) -> RunComparison:
        """What differs between runs, and all their metrics."""
        runs = [self.get(job_id) for job_id in job_ids]
        return RunComparison(
            runs=list(job_ids),
            params=_table([run.params for run in runs], differing=True),
            metrics=_table([run.metrics for run in runs], differing=False),
            lineage=_table([_flat(run.lineage) for run in runs], differing=True),
        )

    def reproduce(self, job_id: str, *, key: str | None = None) -> Job:
        """Run a job again with the same spec, after making sure that its code and inputs are still the same.

        Raises:
            NotFoundError: neither this profile's journal nor the job itself knows how it was asked for.
            ConflictError: the source has changed; the message names the commit to check out.
            InputChangedError: an input has changed.
        """
        from mlport.lineage import asked_for
        from mlport.specs import JobSpec

        asked = asked_for(self._client, self._client.session.jobs.status(job_id))
        if asked is None or asked["kind"] != "job":
            raise NotFoundError(f"job {job_id} was not submitted through this profile, so how it was asked for is not known")
        spec = JobSpec.model_validate(asked["spec"])
        self._require_same(job_id, spec.source, asked["facts"])
        return self._client.jobs.submit(spec, key=key)

    def _require_same(self, job_id: str, source: str | None, facts: Mapping[str, Any]) -> None:
        if source is not None and _digest(source) != facts["bundle"]:
            git = git_state(source)
            raise ConflictError(
                f"{source} is no longer what job {job_id} ran",
                hint=f"it ran commit {facts['git_commit'] or 'unknown'}{' with uncommitted changes' if facts['git_dirty'] else ''}; here is {git.commit if git else 'no git checkout'}",
            )
        for name, was in facts["inputs"].items():
            now = self._client.session.input(was["uri"])
            if (now.kind, now.digest) != (was["kind"], was["digest"]):
                raise InputChangedError(
                    f"input {name!r} ({was['uri']}) changed: it was {was['kind']} {was['digest']}, and is {now.kind} {now.digest}"
                )


def _digest(source: str) -> str:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="mlport-") as folder:
        return pack(source, Path(folder)).digest


def _run(job: Job, status: JobStatus) -> Run:
    lineage = job.lineage
    return Run(job.id, status.name, status.state, status.started, status.ended, lineage.get("params", {}), job.metrics, lineage)


def _flat(lineage: Mapping[str, Any]) -> dict[str, Any]:
    inputs = {f"inputs.{name}": fact["digest"] for name, fact in lineage.get("inputs", {}).items()}
    return {**{key: lineage.get(key) for key in ("bundle", "git_commit", "git_dirty", "requirements", "target")}, **inputs}


def _table(columns: Sequence[Mapping[str, Any]], *, differing: bool) -> dict[str, list[Any]]:
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = {name: [column.get(name) for column in columns] for name in names}
    return {name: row for name, row in rows.items() if not differing or any(value != row[0] for value in row)}
