"""Node types of the emulated workspace, which is on AWS, and the runtimes that a cluster may name.

Sizes are those of AWS' instance types; which of them Databricks offers was taken from its documentation
(https://www.databricks.com/product/aws-pricing/instance-types); runtimes from its release notes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

Json = dict[str, Any]
ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")


@dataclass(frozen=True, slots=True)
class Family:
    """Instance types that are multiples of one: vCPUs by size, GiB a vCPU, GB of NVMe a vCPU, GPUs by size."""

    name: str
    category: str
    gib: float
    vcpus: tuple[int, ...]
    nvme: float = 0
    gpus: Mapping[int, int] | None = None
    is_graviton: bool = False


GENERAL, COMPUTE, MEMORY, STORAGE, GPU = "General Purpose", "Compute Optimized", "Memory Optimized", "Storage Optimized", "GPU Accelerated"
SMALL = (2, 4, 8, 16, 32, 48, 64, 96)
G4DN, G5 = {4: 1, 8: 1, 16: 1, 32: 1, 48: 4, 64: 1}, {4: 1, 8: 1, 16: 1, 32: 1, 48: 4, 96: 4, 192: 8}
FAMILIES = (
    *(Family(name, GENERAL, 4, SMALL) for name in ("m4", "m5", "m5a", "m5n", "m6i", "m7i")),
    *(Family(name, GENERAL, 4, SMALL, 37.5) for name in ("m5d", "m5ad", "m5dn", "m6id")),
    *(Family(name, GENERAL, 4, SMALL[:7], 29.5, is_graviton=True) for name in ("m6gd", "m7gd")),
    *(Family(name, COMPUTE, 2, (4, 8, 16, 32, 48, 64, 96)) for name in ("c5", "c5a", "c6i", "c7i")),
    *(Family(name, COMPUTE, 2, (4, 8, 16, 32, 48, 64, 96), 25) for name in ("c5d", "c5ad", "c6id")),
    *(Family(name, MEMORY, 8, SMALL) for name in ("r4", "r5", "r5a", "r6i", "r7i")),
    *(Family(name, MEMORY, 8, SMALL, 37.5) for name in ("r5d", "r5ad", "r6id")),
    Family("i3", STORAGE, 7.625, (4, 8, 16, 32, 64), 237.5),
    Family("i3en", STORAGE, 8, (4, 8, 12, 24, 48, 96), 625),
    Family("i4i", STORAGE, 8, (4, 8, 16, 32, 64), 234.5),
    Family("g4dn", GPU, 4, tuple(G4DN), 31.25, G4DN),
    Family("g5", GPU, 4, tuple(G5), 62.5, G5),
    Family("g6", GPU, 4, tuple(G5), 58.75, G5),
    Family("g6e", GPU, 8, tuple(G5), 62.5, G5),
    Family("p3", GPU, 7.625, (8, 32, 64), 0, {8: 1, 32: 4, 64: 8}),
    Family("p4d", GPU, 12, (96,), 83.3, {96: 8}),
    Family("p4de", GPU, 12, (96,), 83.3, {96: 8}),
    Family("p5", GPU, 2048 / 192, (192,), 160, {192: 8}),
)


@cache
def node_types() -> Mapping[str, Json]:
    """By id, as clusters/list-node-types answers."""
    return {node["node_type_id"]: node for family in FAMILIES for node in _nodes(family)}


def _nodes(family: Family) -> Iterator[Json]:
    for vcpus in family.vcpus:
        size = {2: "large", 4: "xlarge"}.get(vcpus, f"{vcpus // 4}xlarge")
        name, disk = f"{family.name}.{size}", int(family.nvme * vcpus)
        local = {"local_nvme_disks": 1, "local_nvme_disk_size_gb": disk} if disk else {"local_nvme_disks": 0}
        yield {
            "node_type_id": name,
            "memory_mb": int(family.gib * vcpus * 1024),
            "num_cores": float(vcpus),
            "num_gpus": (family.gpus or {}).get(vcpus, 0),
            "description": name,
            "instance_type_id": name,
            "category": family.category,
            "is_deprecated": family.name in ("m4", "r4", "p3"),
            "is_hidden": False,
            "is_graviton": family.is_graviton,
            "is_io_cache_enabled": bool(disk),
            "is_encrypted_in_transit": False,
            "node_instance_type": {"instance_type_id": name, "local_disks": 0, "local_disk_size_gb": 0, **local},
            "support_ebs_volumes": True,
            "support_cluster_tags": True,
            "support_port_forwarding": True,
            "photon_worker_capable": vcpus >= 4,
            "photon_driver_capable": vcpus >= 4,
            "display_order": 0 if family.name == "m5" else 1,
            "node_info": {"status": []},
        }


# version, Apache Spark, Scala, LTS, Python
RUNTIMES = (
    ("17.3", "4.0.0", "2.13", True, "3.12"),
    ("17.2", "4.0.0", "2.13", False, "3.12"),
    ("17.1", "4.0.0", "2.13", False, "3.12"),
    ("16.4", "3.5.2", "2.12", True, "3.12"),
    ("16.4", "3.5.2", "2.13", True, "3.12"),
    ("15.4", "3.5.0", "2.12", True, "3.11"),
    ("14.3", "3.5.0", "2.12", True, "3.10"),
    ("13.3", "3.4.1", "2.12", True, "3.10"),
    ("12.2", "3.3.2", "2.12", True, "3.9"),
)


@cache
def spark_versions() -> Mapping[str, str]:
    """Key and name of each runtime, as clusters/spark-versions answers: for CPUs, for ML, and for ML on GPUs."""
    found = {}
    for version, spark, scala, is_lts, _ in RUNTIMES:
        lts = " LTS" if is_lts else ""
        for mark, named in (("", ""), ("cpu-ml-", " ML"), ("gpu-ml-", " ML")):
            where = "GPU, " if mark == "gpu-ml-" else ""
            found[f"{version}.x-{mark}scala{scala}"] = f"{version}{lts}{named} (includes Apache Spark {spark}, {where}Scala {scala})"
    return found


def runtime(spark_version: str) -> str:
    """What DATABRICKS_RUNTIME_VERSION says on a cluster of this version.

    >>> runtime("16.4.x-scala2.12")
    '16.4'
    """
    return spark_version.partition(".x-")[0]


def python_of(spark_version: str) -> str:
    """Its Python; the emulator runs everything with its own."""
    return next((python for version, _, _, _, python in RUNTIMES if version == runtime(spark_version)), f"3.{sys.version_info.minor}")
