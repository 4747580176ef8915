"""Whether a model in production decays: by labels that come late, by change tests, and by estimates where there are no labels yet.

`performance` judges windows of time by the labels that came, `estimate` says what performance to expect before any came, `concept` says
which has changed: features, labels, or what the labels are for the same features. What is not known is said to be not known.
Everything public is loaded when first named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlport.lazily import exports

if TYPE_CHECKING:
    from mlport.decay.changing import Change as Change
    from mlport.decay.changing import Evidence as Evidence
    from mlport.decay.changing import concept as concept
    from mlport.decay.delays import Delays as Delays
    from mlport.decay.estimating import Estimate as Estimate
    from mlport.decay.estimating import estimate as estimate
    from mlport.decay.performing import Performance as Performance
    from mlport.decay.performing import Period as Period
    from mlport.decay.performing import performance as performance
    from mlport.decay.support import Assumption as Assumption
    from mlport.decay.support import Support as Support

_HOMES = {
    "changing": ("Change", "Evidence", "concept"),
    "delays": ("Delays",),
    "estimating": ("Estimate", "estimate"),
    "performing": ("Performance", "Period", "performance"),
    "support": ("Assumption", "Support"),
}
__all__, __getattr__, __dir__ = exports(__name__, _HOMES)
