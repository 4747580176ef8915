"""What a cluster's spec must be. Sentences in quotes of public messages where one was found, guesses otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.errors import ApiError, invalid
from mlport_databricks.emulator.working.node_types import node_types, spark_versions

Json = dict[str, Any]
POLICIES, POOLS = "cluster policies", "instance pools"
MOST_TAGS = 45  # SDK, ClusterSpec.custom_tags
NOT_THERE = ("docker_image", "init_scripts", "cluster_log_conf")  # what they ask for would silently not happen


def check_cluster(place: Place, workspace: str, spec: Json, where: str = "") -> None:
    """Raises ApiError. `where` is the path of the spec in the request, such as settings.cluster_spec.new_cluster."""
    for name in NOT_THERE:
        if spec.get(name):
            raise ApiError("NOT_IMPLEMENTED", f"The emulator's clusters have no {name}.")
    if spec.get("policy_id") and place.documents.get(POLICIES, f"{workspace}/{spec['policy_id']}") is None:
        raise invalid(f"Can't find a cluster policy with id: {spec['policy_id']}.")
    version = spec.get("spark_version")
    if not version:
        raise invalid(_missing(where, "spark_version"))
    if version not in spark_versions():
        raise invalid(f"Invalid spark version {version}.")
    _check_nodes(place, workspace, spec, where)
    _check_size(spec, where)
    _check_cloud(spec)
    if len(spec.get("custom_tags") or {}) > MOST_TAGS:
        raise invalid(f"A cluster can have at most {MOST_TAGS} custom tags, not {len(spec['custom_tags'])}.")


def _check_nodes(place: Place, workspace: str, spec: Json, where: str) -> None:
    pool = spec.get("instance_pool_id")
    for name in ("node_type_id", "driver_node_type_id"):
        node = spec.get(name)
        if node and pool:
            raise invalid(f"The field '{name}' cannot be supplied when an instance pool ID is provided.")
        if node and node not in node_types():
            raise invalid(f"Node type {node} is not supported. Supported node types: {', '.join(sorted(node_types()))}")
    if pool:
        if place.documents.get(POOLS, f"{workspace}/{pool}") is None:
            raise invalid(f"Can't find an instance pool with id: {pool}.")
    elif not spec.get("node_type_id"):
        raise invalid(_missing(where, "node_type_id"))


def _check_size(spec: Json, where: str) -> None:
    single, workers, autoscale = spec.get("is_single_node"), spec.get("num_workers"), spec.get("autoscale")
    if single:
        if spec.get("kind") != "CLASSIC_PREVIEW":
            raise invalid("is_single_node can only be used with kind = CLASSIC_PREVIEW.")  # SDK, ClusterSpec.is_single_node
        if workers or autoscale:
            raise invalid("num_workers and autoscale cannot be set for a cluster with is_single_node.")
        return
    if workers is None and autoscale is None:
        raise invalid(_missing(where, "size"))
    if workers is not None and autoscale is not None:
        raise invalid("Only one of num_workers and autoscale can be set.")
    if workers is not None and not 0 <= workers <= 100_000:
        raise invalid(f"The number of workers must be between 0 and 100000, not {workers}.")
    if autoscale is not None:
        least, most = autoscale.get("min_workers", 0), autoscale.get("max_workers", 0)
        if not 0 <= least < most:  # SDK, AutoScale: "max_workers must be strictly greater than min_workers"
            raise invalid(f"max_workers must be strictly greater than min_workers, not {most} and {least}.")


def _check_cloud(spec: Json) -> None:
    for name in ("azure_attributes", "gcp_attributes"):
        if spec.get(name):
            raise invalid(f"{name} cannot be set for a cluster on AWS.")
    share = (spec.get("aws_attributes") or {}).get("spot_bid_price_percent", 100)
    if not 0 < share <= 10_000:  # SDK, AwsAttributes: "we enforce this field to be no more than 10000"
        raise invalid(f"spot_bid_price_percent must be between 1 and 10000, not {share}.")


def check_libraries(libraries: list[Mapping[str, Any]]) -> None:
    """Each names one package of a kind that the emulator can install. Raises ApiError."""
    for library in libraries:
        kinds = sorted(library)
        if len(kinds) != 1:
            raise invalid(f"Exactly one kind of library must be set, not {', '.join(kinds) or 'none'}.")
        if kinds[0] not in ("pypi", "whl", "requirements"):
            raise ApiError("NOT_IMPLEMENTED", f"The emulator installs pypi, whl and requirements only, not {kinds[0]}.")


def _missing(where: str, name: str) -> str:
    """As clusters/create and as jobs say it, which is the same but for the path (databrickslabs/dbx issue 830)."""
    return f"Cluster validation error: Missing required field: {where}.{name}" if where else f"Missing required field: {name}"
