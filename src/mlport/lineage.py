"""Lineage: which code, data, parameters and environment made a model, as one record that travels with it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mlport.errors import NotFoundError
from mlport.spi import JobStatus, Recalls, Tunes

if TYPE_CHECKING:
    from mlport.client import Client
    from mlport.jobs import Job


def lineage_of(job: Job) -> dict[str, Any]:
    """The lineage of an ended job, from how it was asked for, its status and result.

    Keys: job, target, bundle, git_commit, git_dirty, inputs (uri, kind, digest, bytes of each), params, entrypoint,
    requirements, environment, metrics, started, ended. Of a job submitted by other means there is only what the provider
    itself knows.
    """
    status, result = job.status(), job.result
    asked = asked_for(job.client, status)
    known: dict[str, Any] = {
        "job": job.id,
        "target": job.client.config.target,
        "started": status.started.isoformat() if status.started else None,
        "ended": status.ended.isoformat() if status.ended else None,
        "metrics": dict(result.metrics),
        "environment": dict(result.resolved),
    }
    if asked is None:
        return known
    if asked["kind"] == "sweep":
        spec, searched = asked["spec"]["job"], _searched(job, status.token or "")
        return {**known, **_asked(asked["facts"], {**spec, "params": {**spec.get("params", {}), **searched}})}
    return {**known, **_asked(asked["facts"], asked["spec"])}


def asked_for(client: Client, status: JobStatus) -> dict[str, Any] | None:
    """`kind`, `spec` and `facts` of the plan that a job was submitted with: the journal tells, or else the job itself.

    None for a job submitted by other means. Of a native sweep's trial they are the sweep's.
    """
    entry = client.journal.get(status.token) if status.token else None
    if entry is not None:
        return entry.plan
    session = client.session
    return session.asked(status.id) if isinstance(session, Recalls) else None


def _searched(job: Job, token: str) -> dict[str, Any]:
    """The parameters that the vendor's tuner gave to this trial, by the sweep's token; none where the sweep is gone."""
    session, entry = job.client.session, job.client.journal.get(token)
    sweep_id = entry.id if entry else None
    if sweep_id is None or not isinstance(session, Tunes):
        return {}
    with suppress(NotFoundError):
        return next((dict(trial.params) for trial in session.sweeps.status(sweep_id).trials if trial.job_id == job.id), {})
    return {}


def _asked(facts: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": spec["name"],
        "bundle": facts["bundle"],
        "git_commit": facts["git_commit"],
        "git_dirty": facts["git_dirty"],
        "inputs": facts["inputs"],
        "source": spec.get("source"),
        "entrypoint": spec.get("entrypoint"),
        "params": spec.get("params", {}),
        "requirements": spec.get("requirements", []),
    }
