"""How far two samples are apart: exact in memory, by certified bounds beyond it; mergeable profiles; several columns at once; streams.

Everything public is loaded when first named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlport.lazily import exports

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
__all__, __getattr__, __dir__ = exports(__name__, _HOMES)
