"""What a workload costs, anywhere: estimates with sources, comparisons, what-ifs; unknown is never zero.

Everything public is loaded when first named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlport.lazily import exports

if TYPE_CHECKING:
    from mlport.costs.comparing.break_even import break_even as break_even
    from mlport.costs.comparing.compare import Comparison as Comparison
    from mlport.costs.comparing.compare import compare as compare
    from mlport.costs.comparing.timeline import timeline as timeline
    from mlport.costs.comparing.what_if import what_if as what_if
    from mlport.costs.estimate import Target as Target
    from mlport.costs.estimate import estimate as estimate
    from mlport.costs.estimate import target as target
    from mlport.costs.parts import Uncertain as Uncertain
    from mlport.costs.records import Estimate as Estimate
    from mlport.costs.records import Line as Line
    from mlport.costs.records import Price as Price
    from mlport.costs.workload import Workload as Workload

_HOMES = {
    "comparing.break_even": ("break_even",),
    "comparing.compare": ("Comparison", "compare"),
    "estimate": ("Target", "estimate", "target"),
    "records": ("Estimate", "Line", "Price"),
    "comparing.timeline": ("timeline",),
    "comparing.what_if": ("what_if",),
    "parts": ("Uncertain",),
    "workload": ("Workload",),
}
__all__, __getattr__, __dir__ = exports(__name__, _HOMES)
