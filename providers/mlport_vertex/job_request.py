"""A job's requests: the package into the staging folder, and customJobs.create. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import unquote, urlsplit

from mlport.errors import SpecError
from mlport.masking import warnings
from mlport.specs import BatchSpec, Compute, JobSpec
from mlport.spi import TOKEN, Facts, InputFact, Json, PlanKind, Request
from mlport.transfer import is_url
from mlport_vertex import machines
from mlport_vertex.config import VertexConfig
from mlport_vertex.images import training_image
from mlport_vertex.labels import labels
from mlport_vertex.options import VertexJobOptions, options_of
from mlport_vertex.package import BOOTSTRAP, PACKAGE, PACKED

Planned = tuple[PlanKind, str, tuple[Request, ...], Json, tuple[str, ...]]

GRACE = 8
"""Seconds between SIGTERM and SIGKILL; how many Vertex AI gives is not documented."""
SETUP_SECONDS = 3600
"""What Vertex AI's own limit is above that of all attempts: fetching, installing, copying."""
BOOT_DISK_GB = 100
KIND_LABEL = "mlport_kind"
KINDS: Mapping[str, PlanKind] = {"job": "job", "batch": "batch"}
IN_JOB_SCHEMES = ("gs", "https", "http")
MLPORT = "mlport[local]"


def job_plan(config: VertexConfig, spec: JobSpec, facts: Facts) -> Planned:
    """What runs a JobSpec."""
    work = {
        **_common(config, spec.name, spec.timeout, spec.compute),
        "source_digest": facts.bundle,
        "entrypoint": list(spec.entrypoint),
        "params": dict(spec.params),
        "env": dict(spec.env),
        "inputs": {name: _input(config, fact, f"JobSpec.inputs.{name}") for name, fact in facts.inputs.items()},
        "outputs": {name: {} for name in spec.output_names},
        "requirements": [_packed(requirement) for requirement in spec.requirements],
        "retries": spec.retries,
    }
    notes = tuple(warnings("JobSpec.env", spec.env, "let the program read it from Secret Manager"))
    return _planned("job", config, spec, facts, work, _image(config, spec), notes)


def batch_plan(config: VertexConfig, spec: BatchSpec, facts: Facts) -> Planned:
    """What runs a BatchSpec: a job of ours, for Vertex AI's own batch prediction reads no Parquet and keeps no columns."""
    model = facts.model or {}
    request = {
        "model": "${MLPORT_INPUT_MODEL}",
        "input": "${MLPORT_INPUT_ROWS}",
        "output": "${MLPORT_OUTPUT_PREDICTIONS}",
        "format": spec.format,
        "keep": list(spec.keep),
        "batch_rows": spec.batch_rows,
        "model_name": spec.model.name,
        "version": spec.model.version,
        "threads": max(1, int(spec.compute.cpus)),
    }
    work = {
        **_common(config, spec.name, spec.timeout, spec.compute),
        "entrypoint": ["python", "-m", "mlport.batch", "request.json"],
        "files": {"request.json": request},
        "inputs": {
            "model": {"uri": model.get("uri"), "kind": "sha256", "digest": model.get("digest")},
            **{name: _input(config, fact, "BatchSpec.input") for name, fact in facts.inputs.items()},
        },
        "outputs": {"predictions": {"uri": spec.output} if is_url(spec.output) else {}},
        "requirements": [],
        "needs": [MLPORT],
        "retries": 0,
    }
    if is_url(spec.output) and not spec.output.startswith("gs://"):
        raise SpecError(f"BatchSpec.output: {spec.output!r} must be a gs:// address, or a folder of this machine")
    image = config.server_image or config.image or training_image(config.location)
    local = () if is_url(spec.output) else (f"the scores are copied to {spec.output} when this machine first sees the job ended",)
    return _planned("batch", config, spec, facts, work, image, local)


def _common(config: VertexConfig, name: str, timeout: timedelta | None, compute: Compute) -> Json:
    return {
        "version": 1,
        "token": TOKEN,
        "name": name,
        "run": run_of(config, TOKEN),
        "timeout": timeout.total_seconds() if timeout else None,
        "grace": GRACE,
        "spot": compute.spot,
    }


def _planned(
    kind: PlanKind, config: VertexConfig, spec: JobSpec | BatchSpec, facts: Facts, work: Json, image: str, notes: tuple[str, ...]
) -> Planned:
    options = options_of(VertexJobOptions, spec.options)
    where = f"{type(spec).__name__}.compute"
    machine = machines.for_training(spec.compute, config.location, where, options.machine)
    uri = f"{config.staging}/jobs/{PACKAGE}.zip"
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    staged = Request(
        "storage.objects.insert", {}, "POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=media&ifGenerationMatch=0&name={name}"
    )
    body = {
        "displayName": spec.name,
        "labels": labels({**facts.labels, KIND_LABEL: kind}),
        "jobSpec": _job_spec(config, spec.compute, options, machine, _container(image, uri, work), work),
        **_encryption(config, options),
    }
    created = Request(
        "aiplatform.projects.locations.customJobs.create",
        body,
        "POST",
        f"/v1/{config.parent}/customJobs",
        after="the package is there, by this or an earlier submit",
    )
    resolved = {**machine.resolved(spec.compute.nodes, spot=spec.compute.spot), "image": image}
    return kind, spec.name, (staged, created), resolved, notes


def _job_spec(
    config: VertexConfig, compute: Compute, options: VertexJobOptions, machine: machines.Machine, container: Json, work: Json
) -> Json:
    disk = {"bootDiskType": options.boot_disk, "bootDiskSizeGb": max(BOOT_DISK_GB, math.ceil(compute.disk_gib or 0))}
    pool = {"machineSpec": machine.spec(), "diskSpec": disk, "containerSpec": container}
    pools = [{**pool, "replicaCount": "1"}]
    if compute.nodes > 1:
        pools.append({**pool, "replicaCount": str(compute.nodes - 1)})
    account, network = options.service_account or config.service_account, options.network or config.network
    return {
        "workerPoolSpecs": pools,
        "scheduling": _scheduling(compute, options, work),
        "baseOutputDirectory": {"outputUriPrefix": f"{work['run']}/"},
        **({"serviceAccount": account} if account else {}),
        **({"network": network} if network else {}),
    }


def _scheduling(compute: Compute, options: VertexJobOptions, work: Json) -> Json:
    """Internal errors are retried for spot capacity only; what the user's code does is the runner's to try again."""
    attempts = work["retries"] + 1
    limit = {"timeout": f"{math.ceil(attempts * (work['timeout'] + GRACE)) + SETUP_SECONDS}s"} if work["timeout"] else {}
    return {
        **limit,
        "strategy": "SPOT" if compute.spot else "STANDARD",
        "restartJobOnWorkerRestart": options.restart_on_worker_restart,
        "disableRetries": not compute.spot,
    }


def _container(image: str, package: str, work: Json) -> Json:
    manifest = json.dumps(work, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return {
        "imageUri": image,
        "command": ["python3", "-c", BOOTSTRAP],
        "args": [package],
        "env": [{"name": "MLPORT_MANIFEST", "value": manifest}],
    }


def _encryption(config: VertexConfig, options: VertexJobOptions) -> Json:
    key = options.encryption_key or config.encryption_key
    return {"encryptionSpec": {"kmsKeyName": key}} if key else {}


def _image(config: VertexConfig, spec: JobSpec) -> str:
    """The job's image: its own, that of a Python version, the profile's, or Google's."""
    if spec.image:
        return spec.image
    return f"python:{spec.python}" if spec.python else config.image or training_image(config.location)


def _input(config: VertexConfig, fact: InputFact, field: str) -> Json:
    """An input as the container finds it: what is local is uploaded under its digest."""
    if not is_url(fact.uri):
        return {
            "uri": f"{config.staging}/inputs/{fact.digest}/{fact.uri.rstrip('/').rpartition('/')[2]}",
            "kind": fact.kind,
            "digest": fact.digest,
            "bytes": fact.bytes,
        }
    scheme = urlsplit(fact.uri).scheme
    if scheme not in IN_JOB_SCHEMES:
        raise SpecError(
            f"{field}: {fact.uri!r} cannot be read from a job here",
            hint=f"give a path, or an address that begins with {', '.join(f'{name}://' for name in IN_JOB_SCHEMES)}",
        )
    return {"uri": fact.uri, "kind": fact.kind, "digest": fact.digest, "bytes": fact.bytes}


def wheel_of(requirement: str) -> str | None:
    """The path of this machine that a requirement such as `name @ file:///x/y.whl` names."""
    _, at, address = requirement.partition("@")
    return unquote(urlsplit(address.strip()).path) if at and address.strip().startswith("file://") else None


def _packed(requirement: str) -> str:
    """The requirement as the container finds it: a wheel of this machine goes with the package."""
    path = wheel_of(requirement)
    return requirement if path is None else f"{requirement.partition('@')[0].strip()} @ file://{PACKED}/wheels/{path.rpartition('/')[2]}"


def run_of(config: VertexConfig, token: str) -> str:
    """Where a run keeps what it leaves."""
    return f"{config.staging}/runs/{token}"
