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
from mlport_vertex.compute import machines
from mlport_vertex.compute.images import training_image
from mlport_vertex.config import VertexConfig
from mlport_vertex.labels import KIND_LABEL, labels
from mlport_vertex.options import VertexJobOptions, options_of
from mlport_vertex.running.package import BOOTSTRAP, PACKAGE, PACKED

Planned = tuple[PlanKind, str, tuple[Request, ...], Json, tuple[str, ...]]

GRACE = 8
"""Seconds between SIGTERM and SIGKILL; how many Vertex AI gives is not documented."""
SETUP_SECONDS = 3600
"""What Vertex AI's own limit is above that of all attempts: fetching, installing, copying."""
BOOT_DISK_GB = 100
KINDS: Mapping[str, PlanKind] = {"job": "job", "batch": "batch"}
PACKAGE_IS_THERE = "the package is there, by this or an earlier submit"
IN_JOB_SCHEMES = ("gs", "https", "http")


def job_plan(config: VertexConfig, spec: JobSpec, facts: Facts) -> Planned:
    """What runs a JobSpec."""
    options = options_of(VertexJobOptions, spec.options)
    work = job_work(config, spec, facts)
    return custom_job("job", config, spec, options, facts, work, job_image(config, spec), job_notes(spec))


def job_work(config: VertexConfig, spec: JobSpec, facts: Facts) -> Json:
    """The manifest of what the container of a job does."""
    return {
        **common_work(config, spec.name, spec.timeout, spec.compute),
        "source_digest": facts.bundle,
        "entrypoint": list(spec.entrypoint),
        "params": dict(spec.params),
        "env": dict(spec.env),
        "inputs": {name: input_of(config, fact, f"JobSpec.inputs.{name}") for name, fact in facts.inputs.items()},
        "outputs": {name: {} for name in spec.output_names},
        "requirements": [_packed(requirement) for requirement in spec.requirements],
        "retries": spec.retries,
    }


def job_notes(spec: JobSpec) -> tuple[str, ...]:
    """What to say beside the plan."""
    return tuple(warnings("JobSpec.env", spec.env, "let the program read it from Secret Manager"))


def common_work(config: VertexConfig, name: str, timeout: timedelta | None, compute: Compute) -> Json:
    """What the manifest of a job and that of a batch begin with."""
    return {
        "version": 1,
        "token": TOKEN,
        "name": name,
        "run": run_of(config, TOKEN),
        "timeout": timeout.total_seconds() if timeout else None,
        "grace": GRACE,
        "spot": compute.spot,
    }


def custom_job(
    kind: PlanKind,
    config: VertexConfig,
    spec: JobSpec | BatchSpec,
    options: VertexJobOptions,
    facts: Facts,
    work: Json,
    image: str,
    notes: tuple[str, ...],
) -> Planned:
    """The package into the staging folder, and a custom job that does the work."""
    staged, job_spec, resolved = to_run(config, spec, options, work, image)
    body = {
        "displayName": spec.name,
        "labels": labels({**facts.labels, KIND_LABEL: kind}),
        "jobSpec": job_spec,
        **encryption(config, options),
    }
    call = "aiplatform.projects.locations.customJobs.create"
    created = Request(call, body, "POST", f"/v1/{config.parent}/customJobs", after=PACKAGE_IS_THERE)
    return kind, spec.name, (staged, created), resolved, notes


def to_run(
    config: VertexConfig, spec: JobSpec | BatchSpec, options: VertexJobOptions, work: Json, image: str
) -> tuple[Request, Json, Json]:
    """What runs the work: the request that stages its package, the CustomJobSpec, and what was chosen."""
    where = f"{type(spec).__name__}.compute"
    machine = machines.for_training(spec.compute, config.location, where, options.machine)
    uri = f"{config.staging}/jobs/{PACKAGE}.zip"
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&ifGenerationMatch=0&name={name}"
    job_spec = _job_spec(config, spec.compute, options, machine, _container(image, uri, work), work)
    resolved = {**machine.resolved(spec.compute.nodes, spot=spec.compute.spot), "image": image}
    return Request("storage.objects.insert", {}, "POST", path), job_spec, resolved


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


def encryption(config: VertexConfig, options: VertexJobOptions) -> Json:
    """The customer's key, where there is one."""
    key = options.encryption_key or config.encryption_key
    return {"encryptionSpec": {"kmsKeyName": key}} if key else {}


def job_image(config: VertexConfig, spec: JobSpec) -> str:
    """The job's image: its own, that of a Python version, the profile's, or Google's."""
    if spec.image:
        return spec.image
    return f"python:{spec.python}" if spec.python else config.image or training_image(config.location)


def input_of(config: VertexConfig, fact: InputFact, field: str) -> Json:
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
