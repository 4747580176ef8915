"""Lineage: which code, data, parameters and environment made a model, as one record that travels with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    return known if entry is None else {**known, **_asked(entry.plan)}


def _asked(plan: dict[str, Any]) -> dict[str, Any]:
    facts, spec = plan["facts"], plan["spec"]
    return {
        "name": plan["name"],
        "bundle": facts["bundle"],
        "git_commit": facts["git_commit"],
        "git_dirty": facts["git_dirty"],
        "inputs": facts["inputs"],
        "source": spec.get("source"),
        "entrypoint": spec.get("entrypoint"),
        "params": spec.get("params", {}),
        "requirements": spec.get("requirements", []),
    }
