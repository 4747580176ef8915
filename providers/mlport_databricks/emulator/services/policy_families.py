"""Families of cluster policies: what Databricks gives for policies to begin from.

Ids and names: docs.databricks.com/admin/clusters/policy-families; the definitions are shortened to what the emulator knows of clusters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import missing
from mlport_databricks.emulator.services.paging import page

Json = dict[str, Any]
_VERSION = {"type": "unlimited", "defaultValue": "auto:latest-lts"}
_WORKERS = {"autoscale.min_workers": {"type": "fixed", "value": 1}, "autoscale.max_workers": {"type": "unlimited", "defaultValue": 4}}
FAMILIES: Mapping[str, tuple[str, str, Json]] = {
    "personal-vm": (
        "Personal Compute",
        "Single-node compute of one user.",
        {
            "spark_version": {"type": "unlimited", "defaultValue": "auto:latest-ml"},
            "num_workers": {"type": "fixed", "value": 0, "hidden": True},
            "data_security_mode": {"type": "fixed", "value": "SINGLE_USER", "hidden": True},
        },
    ),
    "power-user": (
        "Power User Compute",
        "Larger multi-node compute of one user.",
        {"spark_version": _VERSION, **_WORKERS, "data_security_mode": {"type": "fixed", "value": "SINGLE_USER", "hidden": True}},
    ),
    "shared-compute": (
        "Shared Compute",
        "Multi-node compute that several users share.",
        {"spark_version": _VERSION, **_WORKERS, "data_security_mode": {"type": "fixed", "value": "USER_ISOLATION", "hidden": True}},
    ),
    "job-cluster": (
        "Job Compute",
        "General compute of jobs.",
        {
            "spark_version": _VERSION,
            "cluster_type": {"type": "fixed", "value": "job"},
            "num_workers": {"type": "unlimited", "defaultValue": 4},
        },
    ),
}


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their paths."""
    return {
        "GET /api/2.0/policy-families": lambda request: page("policy_families", [_shown(each) for each in FAMILIES], request),
        "GET /api/2.0/policy-families/{policy_family_id}": get,
    }


def get(request: Request) -> Json:
    own = request.arguments["policy_family_id"]
    if own not in FAMILIES or request.arguments.get("version", 1) != 1:
        raise missing(f"Can't find a policy family with id: {own}.")
    return _shown(own)


def _shown(own: str) -> Json:
    name, description, definition = FAMILIES[own]
    return {"policy_family_id": own, "name": name, "description": description, "definition": json.dumps(definition)}
