"""How far two samples are apart: exact in memory, by certified bounds beyond it; mergeable profiles; several columns at once; streams.

Everything public is loaded when first named.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlport.drift.compare import compare as compare
    from mlport.drift.definitions import Bins as Bins
    from mlport.drift.definitions import Definition as Definition
    from mlport.drift.definitions import Norm as Norm
    from mlport.drift.definitions import Smoothing as Smoothing
    from mlport.drift.multivariate import domain_classifier as domain_classifier
    from mlport.drift.multivariate import reconstruction as reconstruction
    from mlport.drift.profiles import Profile as Profile
    from mlport.drift.profiles import profile as profile
    from mlport.drift.records import ColumnReport as ColumnReport
    from mlport.drift.records import Finding as Finding
    from mlport.drift.records import Reading as Reading
    from mlport.drift.records import Report as Report
    from mlport.drift.streams import Stream as Stream
    from mlport.drift.streams import stream as stream

_HOMES = {
    "compare": ("compare",),
    "definitions": ("Bins", "Definition", "Norm", "Smoothing"),
    "multivariate": ("domain_classifier", "reconstruction"),
    "profiles": ("Profile", "profile"),
    "records": ("ColumnReport", "Finding", "Reading", "Report"),
    "streams": ("Stream", "stream"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)  # noqa: PLE0605 - made from the table above


class _Package(ModuleType):
    """`compare` is a function here, and a module of the same name holds it: importing that leaves the function in place."""

    def __setattr__(self, name: str, value: object) -> None:
        home = name in _HOME_OF and isinstance(value, ModuleType)
        super().__setattr__(name, getattr(value, name) if home else value)


def __getattr__(name: str) -> Any:
    if home := _HOME_OF.get(name):
        return getattr(importlib.import_module(f"mlport.drift.{home}"), name)
    raise AttributeError(f"module 'mlport.drift' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])


sys.modules[__name__].__class__ = _Package
