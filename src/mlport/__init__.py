"""mlport: one machine-learning lifecycle on any ML service, or on your own machines.

Everything public is loaded when first named, so importing mlport costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mlport.bundle import tree_digest as tree_digest
    from mlport.capabilities import Capability as Capability
    from mlport.capabilities import Support as Support
    from mlport.client import Client as Client
    from mlport.client import connect as connect
    from mlport.costs.workload import Workload as Workload
    from mlport.endpoints import Endpoint as Endpoint
    from mlport.endpoints import Prediction as Prediction
    from mlport.jobs import Job as Job
    from mlport.models import ModelVersion as ModelVersion
    from mlport.monitoring.records import Reading as Reading
    from mlport.monitoring.specs import Alert as Alert
    from mlport.monitoring.specs import Gate as Gate
    from mlport.monitoring.specs import MonitorSpec as MonitorSpec
    from mlport.monitoring.specs import PerformanceSpec as PerformanceSpec
    from mlport.monitoring.specs import RetrainPolicy as RetrainPolicy
    from mlport.monitors import Monitor as Monitor
    from mlport.runs import Run as Run
    from mlport.schedules import Schedule as Schedule
    from mlport.specs import BatchSpec as BatchSpec
    from mlport.specs import Capture as Capture
    from mlport.specs import Compute as Compute
    from mlport.specs import DeploymentSpec as DeploymentSpec
    from mlport.specs import EndpointSpec as EndpointSpec
    from mlport.specs import JobSpec as JobSpec
    from mlport.specs import ModelRef as ModelRef
    from mlport.specs import ModelSpec as ModelSpec
    from mlport.specs import Range as Range
    from mlport.specs import Replicas as Replicas
    from mlport.specs import ScheduleSpec as ScheduleSpec
    from mlport.specs import Stopping as Stopping
    from mlport.specs import SweepSpec as SweepSpec
    from mlport.spi import Plan as Plan
    from mlport.spi import State as State
    from mlport.spi import Window as Window
    from mlport.sweeps import Sweep as Sweep

_HOMES = {
    "bundle": ("tree_digest",),
    "capabilities": ("Capability", "Support"),
    "client": ("Client", "connect"),
    "costs.workload": ("Workload",),
    "endpoints": ("Endpoint", "Prediction"),
    "jobs": ("Job",),
    "models": ("ModelVersion",),
    "monitoring.records": ("Reading",),
    "monitoring.specs": ("Alert", "Gate", "MonitorSpec", "PerformanceSpec", "RetrainPolicy"),
    "monitors": ("Monitor",),
    "runs": ("Run",),
    "schedules": ("Schedule",),
    "specs": (
        "BatchSpec",
        "Capture",
        "Compute",
        "DeploymentSpec",
        "EndpointSpec",
        "JobSpec",
        "ModelRef",
        "ModelSpec",
        "Range",
        "Replicas",
        "ScheduleSpec",
        "Stopping",
        "SweepSpec",
    ),
    "spi": ("Plan", "State", "Window"),
    "sweeps": ("Sweep",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_ROOMS = ("audit", "capture", "costs", "decay", "drift", "errors", "spi")
__all__ = sorted([*_HOME_OF, "errors"])  # noqa: PLE0605 - made from the table above


def __getattr__(name: str) -> Any:
    if home := _HOME_OF.get(name):
        return getattr(importlib.import_module(f"mlport.{home}"), name)
    if name in _ROOMS:
        return importlib.import_module(f"mlport.{name}")
    raise AttributeError(f"module 'mlport' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF, *_ROOMS])
