"""What serves: Model Serving has no machines to choose, but workload types and provisioned concurrency.

What CPU_MEDIUM and CPU_LARGE hold is not documented; that each doubles the one before is a guess, and the plan says so.
"""

from __future__ import annotations

from mlport.errors import SpecError
from mlport.specs import Compute, DeploymentSpec, Replicas
from mlport.spi import Json
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.options import DatabricksEndpointOptions

EACH = 4
"""Requests at once of one replica: databricks-sdk, ServedEntityInput.workload_size: `Small` is 4."""
CPUS: tuple[tuple[str, float, float], ...] = (("CPU", 1, 4), ("CPU_MEDIUM", 2, 8), ("CPU_LARGE", 4, 16))
"""Workload type, CPUs and GiB a replica. 4 GB is documented of CPU (docs.databricks.com, model-serving-limits)."""
GPUS: dict[tuple[str, str, int], str] = {
    ("aws", "T4", 1): "GPU_SMALL",
    ("aws", "A10G", 1): "GPU_MEDIUM",
    ("aws", "A10G", 4): "MULTIGPU_MEDIUM",
    ("azure", "T4", 1): "GPU_SMALL",
    ("azure", "A100", 1): "GPU_LARGE",
    ("azure", "A100-80GB", 1): "GPU_LARGE",
}
"""docs.databricks.com, create-manage-serving-endpoints, GPU workload types."""
GUESS = (
    "{type} for {cpus:g} CPUs and {memory:g} GiB is a guess: Databricks documents no more than that CPU has 4 GB; "
    "options.databricks.workload_type chooses another"
)
NO_SPOT = "Model Serving has no spot capacity"


def served(config: DatabricksConfig, spec: DeploymentSpec, options: DatabricksEndpointOptions) -> tuple[Json, tuple[str, ...]]:
    """The fields of a served entity that say what it runs on, and what is to be told of them.

    Raises:
        SpecError: no workload type has what is asked for.
    """
    kind = options.workload_type or workload_type(config, spec.compute)
    guessed = options.workload_type is None and kind != "CPU"
    notes = (GUESS.format(type=kind, cpus=spec.compute.cpus, memory=spec.compute.memory_gib),) if guessed else ()
    return {
        "workload_type": kind,
        **_size(spec.replicas, options),
        "scale_to_zero_enabled": spec.replicas.min == 0,
    }, (*notes, *((NO_SPOT,) if spec.compute.spot else ()))


def _size(replicas: Replicas, options: DatabricksEndpointOptions) -> Json:
    if options.workload_size:
        return {"workload_size": options.workload_size}
    return {"min_provisioned_concurrency": EACH * replicas.min, "max_provisioned_concurrency": EACH * replicas.max}


def workload_type(config: DatabricksConfig, compute: Compute) -> str:
    """The smallest workload type that satisfies what is asked for. Raises SpecError where there is none."""
    if compute.gpus:
        return _gpu(config, compute)
    for name, cpus, memory in CPUS:
        if compute.cpus <= cpus and compute.memory_gib <= memory:
            return name
    raise SpecError(
        f"DeploymentSpec.compute: {compute.cpus:g} CPUs and {compute.memory_gib:g} GiB are more than a replica of Model Serving is thought to have",
        hint=f"at most {CPUS[-1][1]:g} CPUs and {CPUS[-1][2]:g} GiB; or name one yourself in options.databricks.workload_type",
    )


def _gpu(config: DatabricksConfig, compute: Compute) -> str:
    there = {(gpu, count): name for (cloud, gpu, count), name in GPUS.items() if cloud == config.cloud}
    for (gpu, count), name in there.items():
        if compute.gpus == count and compute.gpu in (None, gpu):
            return name
    known = ", ".join(f"{count} {gpu} ({name})" for (gpu, count), name in there.items()) or "none is known"
    raise SpecError(
        f"DeploymentSpec.compute: no workload type on {config.cloud} has {compute.gpus} {compute.gpu or 'GPUs'}",
        hint=f"{known}; or name one yourself in options.databricks.workload_type",
    )
