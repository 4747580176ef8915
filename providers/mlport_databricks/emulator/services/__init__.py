"""Databricks' services, one module each: what each method does. `handlers` puts them together."""

from __future__ import annotations

from collections.abc import Mapping

from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.api import Handler
from mlport_databricks.emulator.services import (
    catalogs,
    cluster_policies,
    clusters,
    command_execution,
    data_quality,
    dbfs,
    grants,
    identity,
    invocations,
    jobs,
    libraries,
    permissions,
    policy_families,
    registered_models,
    runs,
    secrets,
    serving,
    serving_metrics,
    statements,
    tables,
    tokens,
    volumes_files,
    warehouses,
    workspace_files,
    workspace_models,
)

ROOMS = (
    identity,
    runs,
    jobs,
    clusters,
    cluster_policies,
    policy_families,
    libraries,
    command_execution,
    permissions,
    secrets,
    dbfs,
    volumes_files,
    workspace_files,
    catalogs,
    grants,
    tokens,
    registered_models,
    workspace_models,
    warehouses,
    statements,
    tables,
    data_quality,
    serving,
    serving_metrics,
    invocations,
)


def handlers(place: Place) -> Mapping[str, Handler]:
    """What answers each method that the emulator has."""
    return {name: handler for room in ROOMS for name, handler in room.handlers(place).items()}
