"""What a workload costs, anywhere: estimates with sources, comparisons, what-ifs; unknown is never zero.

Everything public is loaded when first named.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlport.costs.comparing.break_even import break_even as break_even
    from mlport.costs.comparing.compare import Comparison as Comparison
    from mlport.costs.comparing.compare import compare as compare
    from mlport.costs.comparing.timeline import timeline as timeline
    from mlport.costs.comparing.what_if import what_if as what_if
    from mlport.costs.estimate import Target as Target
    from mlport.costs.estimate import estimate as estimate
    from mlport.costs.estimate import target as target
    from mlport.costs.records import Estimate as Estimate
    from mlport.costs.records import Line as Line
    from mlport.costs.records import Price as Price
    from mlport.costs.workload import Uncertain as Uncertain
    from mlport.costs.workload import Workload as Workload

_HOMES = {
    "comparing.break_even": ("break_even",),
    "comparing.compare": ("Comparison", "compare"),
    "estimate": ("Target", "estimate", "target"),
    "records": ("Estimate", "Line", "Price"),
    "comparing.timeline": ("timeline",),
    "comparing.what_if": ("what_if",),
    "workload": ("Uncertain", "Workload"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)  # noqa: PLE0605 - made from the table above


class _Package(ModuleType):
    """`compare` and others are functions here, and modules of the same name hold them: importing those leaves the functions in place."""

    def __setattr__(self, name: str, value: object) -> None:
        home = name in _HOME_OF and isinstance(value, ModuleType)
        super().__setattr__(name, getattr(value, name) if home else value)


def __getattr__(name: str) -> Any:
    if home := _HOME_OF.get(name):
        return getattr(importlib.import_module(f"mlport.costs.{home}"), name)
    raise AttributeError(f"module 'mlport.costs' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])


sys.modules[__name__].__class__ = _Package
