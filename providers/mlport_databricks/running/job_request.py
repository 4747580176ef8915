"""A job's requests: the runner into the workspace, a manifest that is not small into the volume, and jobs/runs/submit. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from mlport.costs.offers import Offer
from mlport.errors import SpecError
from mlport.masking import warnings
from mlport.specs import BatchSpec, Compute, JobSpec
from mlport.spi import TOKEN, Facts, InputFact, Json, PlanKind, Request
from mlport.transfer import is_url
from mlport_databricks.compute.nodes import for_job, named
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.labels import KIND_LABEL, machine_labels
from mlport_databricks.names import job_folder, run_name, volume_path
from mlport_databricks.options import DatabricksJobOptions, options_of
from mlport_databricks.running.manifest import FILE, manifest_path, with_asked, words_of
from mlport_databricks.workspace.secret_scope import key_of

Planned = tuple[PlanKind, str, tuple[Request, ...], Json, tuple[str, ...]]

RUNNER = "${runner}"
"""Stands in a plan for the folder's name that the runner's content gives, which only submit knows."""
PACKED = "${packed}"
"""Stands in a requirement for the job's folder."""
SECRETS = "${secrets}"
"""Stands in a plan for the values of JobSpec.secrets, which only submit knows."""
RUN_ID, FIRED_AT = "{{job.run_id}}", "{{job.trigger.time.iso_datetime}}"
"""Databricks puts the run's number and its time there: docs.databricks.com/jobs/dynamic-value-references."""
GRACE = 8
"""Seconds between SIGTERM and SIGKILL; how many Databricks gives is not documented."""
SETUP_SECONDS = 3600
"""What Databricks' own limit of an attempt is above ours: the cluster's start, packages, copies. Whether it counts the start is not documented."""
RUNTIMES = {"3.12": "16.4.x-scala2.12", "3.11": "15.4.x-scala2.12", "3.10": "14.3.x-scala2.12"}  # docs.databricks.com/release-notes/runtime
AVAILABILITY = {  # on demand, spot
    "aws": ("ON_DEMAND", "SPOT_WITH_FALLBACK"),
    "azure": ("ON_DEMAND_AZURE", "SPOT_WITH_FALLBACK_AZURE"),
    "gcp": ("ON_DEMAND_GCP", "PREEMPTIBLE_WITH_FALLBACK_GCP"),
}
SUBMIT, SUBMIT_PATH = "jobs.JobsAPI.submit", "/api/2.2/jobs/runs/submit"


def job_plan(config: DatabricksConfig, spec: JobSpec, facts: Facts) -> Planned:
    """What runs a JobSpec."""
    options = options_of(DatabricksJobOptions, spec.options)
    return submitted("job", config, spec, options, facts, job_work(config, spec, facts), tuple(_notes(config, spec, options)))


def job_work(config: DatabricksConfig, spec: JobSpec, facts: Facts) -> Json:
    """The manifest of what a job does."""
    work: Json = {
        **common_work(config, spec.name, spec.timeout, spec.compute, facts),
        "kind": "job",
        "source_digest": facts.bundle,
        "entrypoint": list(spec.entrypoint),
        "params": dict(spec.params),
        "env": dict(spec.env),
        "inputs": {name: input_of(config, fact, f"JobSpec.inputs.{name}") for name, fact in facts.inputs.items()},
        "outputs": {name: {} for name in spec.output_names},
        "requirements": [_packed(requirement) for requirement in spec.requirements],
        **({"secrets": {"scope": config.secret_scope, "key": key_of()}} if spec.secrets else {}),
    }
    return with_asked(work, spec, facts)


def common_work(config: DatabricksConfig, name: str, timeout: timedelta | None, compute: Compute, facts: Facts) -> Json:
    """What the manifest of a job and that of a batch begin with. Labels stand in it, for a one-time run has none."""
    return {
        "version": 1,
        "token": TOKEN,
        "name": name,
        "labels": machine_labels(facts.labels),
        "folder": job_folder(config),
        "timeout": timeout.total_seconds() if timeout else None,
        "grace": GRACE,
        "spot": compute.spot,
        "nodes": compute.nodes,
    }


def _notes(config: DatabricksConfig, spec: JobSpec, options: DatabricksJobOptions) -> Iterator[str]:
    yield from warnings("JobSpec.env", spec.env, "name it in `secrets` instead, with secret_scope in the profile")
    if spec.compute.spot and not spec.retries:
        yield "a machine that is taken back ends the attempt: give retries, and keep checkpoints"
    if spec.compute.nodes > 1:
        yield "each node is a cluster of its own, and they wait for each other: the workspace's network must let clusters talk"
    if options.cluster == "serverless":
        yield "serverless chooses its own machine: compute is not looked at"
    elif options.cluster != "job":
        yield f"compute is that of cluster {options.cluster}"


# ---------------------------------------------------------------- the run


def submitted(
    kind: PlanKind,
    config: DatabricksConfig,
    spec: JobSpec | BatchSpec,
    options: DatabricksJobOptions,
    facts: Facts,
    work: Json,
    notes: tuple[str, ...],
) -> Planned:
    """What is staged, and a one-time run that does the work."""
    tasks, beside, resolved = tasks_of(config, spec, options, facts, kind, work)
    body = {"run_name": run_name(spec.name), "idempotency_token": TOKEN, "queue": {"enabled": True}, "tasks": tasks, **beside}
    run = Request(SUBMIT, body, "POST", SUBMIT_PATH, after="what the run reads is there, by this or an earlier submit")
    return kind, spec.name, (*_told(work), *staged(config, work), run), resolved, notes


def _told(work: Json) -> tuple[Request, ...]:
    """What only the program is told."""
    if "secrets" not in work:
        return ()
    return (Request("secrets.SecretsAPI.put_secret", {**work["secrets"], "string_value": SECRETS}, "POST", "/api/2.0/secrets/put"),)


def staged(config: DatabricksConfig, work: Json) -> tuple[Request, ...]:
    """What lies where a run finds it, before it is submitted."""
    runner = {"path": entry_path(config).removeprefix("/Workspace"), "format": "AUTO", "overwrite": False}
    first = Request("workspace.WorkspaceAPI.import_", runner, "POST", "/api/2.0/workspace/import")
    if words_of(config, work)[0] != FILE:
        return (first,)
    return first, Request("files.FilesAPI.upload", work, "PUT", f"/api/2.0/fs/files{manifest_path(config)}?overwrite=true")


def entry_path(config: DatabricksConfig) -> str:
    """The first program of every job, a workspace file beside the runner."""
    return f"{config.runner_folder}/sha256-{RUNNER}/entry.py"


def tasks_of(
    config: DatabricksConfig,
    spec: JobSpec | BatchSpec,
    options: DatabricksJobOptions,
    facts: Facts,
    kind: PlanKind,
    work: Json,
    *words: str,
) -> tuple[list[Json], Json, Json]:
    """The tasks of a run, what stands beside them in its body, and what was chosen. `words` are further ones for its program."""
    program = {
        "python_file": entry_path(config),
        "source": "WORKSPACE",
        "parameters": [*words_of(config, work), "--run", RUN_ID, *words],
    }
    place, beside, resolved = _place(config, spec, options, facts, kind)
    limits = {
        "timeout_seconds": math.ceil(spec.timeout.total_seconds() + GRACE) + SETUP_SECONDS if spec.timeout else 0,
        "max_retries": spec.retries if isinstance(spec, JobSpec) else 0,
        "retry_on_timeout": False,
    }
    libraries = {"libraries": list(options.libraries)} if options.libraries else {}
    task = {"spark_python_task": program, **place, **limits, **libraries}
    run_as = options.run_as or config.run_as
    beside = {**beside, **({"run_as": {"service_principal_name": run_as}} if run_as else {})}
    return _shaped(task, spec.compute.nodes), beside, resolved


def _shaped(task: Json, nodes: int) -> list[Json]:
    """One task; or for several nodes one iteration each of one cluster each, since a Spark cluster's driver bills as another."""
    if nodes == 1:
        return [{"task_key": "main", **task}]
    words = {**task["spark_python_task"], "parameters": [*task["spark_python_task"]["parameters"], "--shard", "{{input}}"]}
    inner = {"task_key": "shard", **task, "spark_python_task": words}
    return [{"task_key": "shards", "for_each_task": {"inputs": str(list(range(nodes))), "concurrency": nodes, "task": inner}}]


def _place(
    config: DatabricksConfig, spec: JobSpec | BatchSpec, options: DatabricksJobOptions, facts: Facts, kind: PlanKind
) -> tuple[Json, Json, Json]:
    """Where a task runs, what stands beside the tasks for it, and what was chosen."""
    if options.cluster == "job":
        cluster, resolved = _new_cluster(config, spec, options, _tags(facts, kind))
        return {"new_cluster": cluster}, {}, resolved
    field = f"{type(spec).__name__}.compute"
    for name, default in (("spot", False), ("gpus", 0), ("gpu", None), ("disk_gib", None), ("nodes", 1)):
        if getattr(spec.compute, name) != default:
            raise SpecError(
                f"{field}.{name}: cannot be chosen with options.databricks.cluster = {options.cluster!r}", hint="leave cluster out"
            )
    if options.cluster != "serverless":
        return {"existing_cluster_id": options.cluster}, {}, {"cluster": options.cluster, "nodes": 1, "spot": False}
    environment = {"environment_key": "default", "spec": {"environment_version": options.environment_version, "dependencies": []}}
    policy = options.usage_policy_id or config.usage_policy_id
    beside: Json = {"environments": [environment], **({"usage_policy_id": policy} if policy else {})}
    where = {"environment_key": "default", "disable_auto_optimization": True}  # or Databricks tries again by itself
    return where, beside, {"cluster": "serverless", "nodes": 1, "spot": False}


def _tags(facts: Facts, kind: PlanKind) -> dict[str, str]:
    return machine_labels({**facts.labels, **({KIND_LABEL: kind} if kind != "job" else {})})


def _new_cluster(
    config: DatabricksConfig, spec: JobSpec | BatchSpec, options: DatabricksJobOptions, tags: dict[str, str]
) -> tuple[Json, Json]:
    """A cluster for this run alone."""
    field, policy = f"{type(spec).__name__}.compute", options.policy_id or config.policy_id
    wanted, spot = options.node_type or config.node_type, spec.compute.spot
    node = named(config, wanted, spot=spot) if wanted else for_job(config, spec.compute, field) if not options.instance_pool_id else None
    version = options.spark_version or _runtime(config, spec, node)
    machines = max(1, spec.compute.nodes) * (1 + options.num_workers)
    cluster = {
        "spark_version": version,
        "kind": "CLASSIC_PREVIEW",
        "is_single_node": not options.num_workers,
        **({"num_workers": options.num_workers} if options.num_workers else {}),
        "data_security_mode": options.data_security_mode,
        "custom_tags": tags,
        **({"policy_id": policy} if policy else {}),
        **_machines(config, spec.compute, options, field, wanted or (node.name if node else "")),
    }
    resolved = (
        node.resolved(machines, spot=spot) if node else {"machine": wanted or options.instance_pool_id, "nodes": machines, "spot": spot}
    )
    return cluster, {**resolved, "spark_version": version}


def _machines(config: DatabricksConfig, compute: Compute, options: DatabricksJobOptions, field: str, node_type: str) -> Json:
    """The machines of a new cluster: from a pool, which says all of them; or of a type, spot always written out."""
    if options.instance_pool_id:
        if compute.spot:
            raise SpecError(f"{field}.spot: the pool {options.instance_pool_id} says whether its machines are spot", hint="leave spot out")
        return {"instance_pool_id": options.instance_pool_id}
    attributes: Json = {"availability": AVAILABILITY[config.cloud][compute.spot], **_disk(config, compute, field)}
    if compute.spot and config.cloud != "gcp":
        attributes["first_on_demand"] = 0  # the driver too, which runs the program
    profile = options.instance_profile or config.instance_profile
    if profile:
        attributes["instance_profile_arn"] = profile
    return {"node_type_id": node_type, f"{config.cloud}_attributes": attributes}


def _disk(config: DatabricksConfig, compute: Compute, field: str) -> Json:
    """Scratch disk, where the cloud lets it be chosen."""
    if compute.disk_gib is None:
        return {}
    if config.cloud == "azure":
        raise SpecError(
            f"{field}.disk_gib: Databricks on Azure does not let it be chosen", hint="choose a node type with the disk that you need"
        )
    size = max(100, math.ceil(compute.disk_gib))
    if config.cloud == "gcp":
        return {"boot_disk_size": size}
    return {"ebs_volume_type": "GENERAL_PURPOSE_SSD", "ebs_volume_count": 1, "ebs_volume_size": size}


def _runtime(config: DatabricksConfig, spec: JobSpec | BatchSpec, node: Offer | None) -> str:
    """The runtime that has the Python asked for, and drivers where there are GPUs."""
    python = getattr(spec, "python", None)
    if python is not None and python not in RUNTIMES:
        raise SpecError(
            f"JobSpec.python: {python!r}: the Databricks Runtimes with long-term support have Python {', '.join(sorted(RUNTIMES))}",
            hint="choose one of those, or set options.databricks.spark_version",
        )
    version = RUNTIMES[python] if python else config.spark_version
    return version.replace("-scala", "-gpu-ml-scala") if node and node.gpus and "-gpu-" not in version else version


# ---------------------------------------------------------------- inputs and requirements


def input_of(config: DatabricksConfig, fact: InputFact, field: str) -> Json:
    """An input as the program finds it: what is local is uploaded under its digest, what is in a volume is read there."""
    told = {"kind": fact.kind, "digest": fact.digest, "bytes": fact.bytes}
    if path := volume_path(fact.uri):
        return {"uri": path, **told}
    if not is_url(fact.uri):
        return {"uri": f"{config.staging}/inputs/{fact.digest}/{PurePosixPath(fact.uri).name}", **told}
    if urlsplit(fact.uri).scheme not in ("https", "http"):
        raise SpecError(
            f"{field}: {fact.uri!r} cannot be read from a job here",
            hint="give a path, an https:// address, or make an external volume of the bucket and give its /Volumes/... path",
        )
    return {"uri": fact.uri, **told}


def wheel_of(requirement: str) -> str | None:
    """The path of this machine that a requirement such as `name @ file:///x/y.whl` names."""
    _, at, address = requirement.partition("@")
    return unquote(urlsplit(address.strip()).path) if at and address.strip().startswith("file://") else None


def wheels_of(requirements: Sequence[str]) -> list[str]:
    """The paths of this machine among them."""
    return [path for path in map(wheel_of, requirements) if path]


def _packed(requirement: str) -> str:
    """The requirement as the job finds it: a wheel of this machine goes with the job."""
    path = wheel_of(requirement)
    return requirement if path is None else f"{requirement.partition('@')[0].strip()} @ file://{PACKED}/wheels/{path.rpartition('/')[2]}"
