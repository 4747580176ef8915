"""What a job's plan holds for the embedded engine: the runner's manifest without ids and paths. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mlport.batch.request import asked
from mlport.spi import TOKEN, Facts, InputFact, Json
from mlport.transfer import is_url
from mlport_local.config import LocalConfig

if TYPE_CHECKING:
    from mlport.specs import BatchSpec, Compute, JobSpec

JOB_ID = "${job}"
"""Stands in a plan for the job's id, which only submit knows."""
GRACE = 10
"""Seconds between SIGTERM and SIGKILL."""


def job_request(spec: JobSpec, facts: Facts, config: LocalConfig) -> Json:
    """The body of a job's plan: the runner's manifest, and what the engine needs to place and retry it."""
    return {
        **_common(spec.name, spec.compute, spec.timeout, facts, config),
        "entrypoint": list(spec.entrypoint),
        "source_digest": facts.bundle,
        "params": dict(spec.params),
        "env": dict(spec.env),
        "secrets": list(spec.secrets),
        "inputs": {name: _input(fact) for name, fact in facts.inputs.items()},
        "outputs": {name: {} for name in spec.output_names},
        "requirements": list(spec.requirements),
        "python": spec.python,
        "retries": spec.retries,
    }


def batch_request(spec: BatchSpec, facts: Facts, config: LocalConfig) -> Json:
    """The body of a plan for batch scoring: a job that runs `mlport.batch` on a request file.

    A local output folder is written in place, a URL is uploaded to at the end.
    """
    model = facts.model or {}
    return {
        **_common(spec.name, spec.compute, spec.timeout, facts, config),
        "entrypoint": ["python", "-m", "mlport.batch", "request.json"],
        "files": {"request.json": asked(spec)},
        "inputs": {
            "model": {"uri": model.get("uri"), "kind": "sha256", "digest": model.get("digest")},
            **{name: _input(fact) for name, fact in facts.inputs.items()},
        },
        "outputs": {"predictions": {"uri" if is_url(spec.output) else "path": spec.output}},
    }


def _common(name: str, compute: Compute, timeout: timedelta | None, facts: Facts, config: LocalConfig) -> Json:
    return {
        "name": name,
        "token": TOKEN,
        "labels": dict(facts.labels),
        "cpus": compute.cpus,
        "memory_gib": compute.memory_gib,
        "gpus": compute.gpus,
        "nodes": compute.nodes,
        "timeout": timeout.total_seconds() if timeout else None,
        "grace": GRACE,
        "interpreter": config.python,
        "wheelhouse": str(config.wheelhouse) if config.wheelhouse else None,
        "offline": config.offline,
        "log_limit": int(config.log_limit_mib * 2**20),
        "keep_work": config.keep_work,
    }


def _input(fact: InputFact) -> Json:
    return {"uri": fact.uri, "kind": fact.kind, "digest": fact.digest, "bytes": fact.bytes}


def settled(body: Json, job_id: str, token: str) -> Json:
    """The body with the job's id and token in place of what stands for them."""

    def inside(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace(JOB_ID, job_id).replace(TOKEN, token)
        if isinstance(value, Mapping):
            return {key: inside(item) for key, item in value.items()}
        return [inside(item) for item in value] if isinstance(value, list | tuple) else value

    result: Json = inside(json.loads(json.dumps(body)))
    return result
