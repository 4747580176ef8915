"""Lineage: which code, data, parameters and environment made a model, as one record that travels with it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mlport.errors import NotFoundError
from mlport.spi import Tunes

if TYPE_CHECKING:
    from mlport.jobs import Job


def lineage_of(job: Job) -> dict[str, Any]:
    """The lineage of an ended job, from its journal entry, status and result.

    Keys: job, target, bundle, git_commit, git_dirty, inputs (uri, kind, digest, bytes of each), params, entrypoint,
    requirements, environment, metrics, started, ended. A job submitted by other means has no journal entry and so
    only what the provider itself knows.
    """
    status, result = job.status(), job.result
    entry = job.client.journal.get(status.token) if status.token else None
    known: dict[str, Any] = {
        "job": job.id,
        "target": job.client.config.target,
        "started": status.started.isoformat() if status.started else None,
        "ended": status.ended.isoformat() if status.ended else None,
        "metrics": dict(result.metrics),
        "environment": dict(result.resolved),
    }
    if entry is None:
        return known
    if entry.plan["kind"] == "sweep":
        spec, searched = entry.plan["spec"]["job"], _searched(job, entry.id)
        return {**known, **_asked(entry.plan["facts"], {**spec, "params": {**spec.get("params", {}), **searched}})}
    return {**known, **_asked(entry.plan["facts"], entry.plan["spec"])}


def _searched(job: Job, sweep_id: str | None) -> dict[str, Any]:
    """The parameters that the vendor's tuner gave to this trial; none where the sweep is gone."""
    session = job.client.session
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
