"""Whether a model in production decays: by labels that come late, by change tests, and by estimates where there are no labels yet.

`performance` judges windows of time by the labels that came, `estimate` says what performance to expect before any came, `concept` says
which has changed: features, labels, or what the labels are for the same features. What is not known is said to be not known.
Everything public is loaded when first named.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)  # noqa: PLE0605 - made from the table above


def __getattr__(name: str) -> Any:
    if home := _HOME_OF.get(name):
        return getattr(importlib.import_module(f"mlport.decay.{home}"), name)
    raise AttributeError(f"module 'mlport.decay' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
