"""Change in a stream, value by value: river's detectors behind one door, with bad values counted rather than fed."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from mlport.errors import MissingExtraError, UsageError

DETECTORS = {
    "adwin": ("river.drift", "ADWIN"),
    "kswin": ("river.drift", "KSWIN"),
    "page_hinkley": ("river.drift", "PageHinkley"),
    "ddm": ("river.drift.binary", "DDM"),
    "eddm": ("river.drift.binary", "EDDM"),
    "fhddm": ("river.drift.binary", "FHDDM"),
    "hddm_a": ("river.drift.binary", "HDDMA"),
    "hddm_w": ("river.drift.binary", "HDDMW"),
}
"""By name. Those of `river.drift.binary` watch errors: 1 for a wrong prediction, 0 for a right one."""


@dataclass(slots=True)
class Stream:
    """A detector and what it has seen: `detections` are the numbers, from 1, of the values at which it found a change."""

    name: str
    detector: Any = field(repr=False)
    seen: int = 0
    left_out: int = 0
    detections: list[int] = field(default_factory=list)

    def update(self, value: float) -> bool:
        """Whether this value shows a change. NaN and infinity count as `left_out` and show none.

        Raises:
            UsageError: the detector watches errors, and the value is neither 0 nor 1.
        """
        self.seen += 1
        if not math.isfinite(value):
            self.left_out += 1
            return False
        binary = DETECTORS[self.name][0].endswith("binary")
        if binary and value not in (0, 1):
            raise UsageError(f"{self.name} watches errors, which are 0 or 1, and got {value}")
        self.detector.update(bool(value) if binary else float(value))
        if self.detector.drift_detected:
            self.detections.append(self.seen)
        return bool(self.detector.drift_detected)


def stream(detector: str = "adwin", **options: Any) -> Stream:
    """A detector by name, with river's own options.

    Raises:
        UsageError: there is no such detector, or it has no such option.
        MissingExtraError: river is not installed.

    Example:
        >>> values = stream("page_hinkley", threshold=20)
        >>> any(values.update(0.0) for _ in range(100)), any(values.update(1.0) for _ in range(100))
        (False, True)
    """
    if detector not in DETECTORS:
        near = get_close_matches(detector, DETECTORS, 1)
        raise UsageError(f"there is no detector {detector!r}" + (f"; did you mean {near[0]!r}?" if near else f": {', '.join(DETECTORS)}"))
    module, name = DETECTORS[detector]
    try:
        made = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise MissingExtraError("streams need river", hint='pip install "mlport[drift]"') from error
    try:
        return Stream(detector, made(**options))
    except TypeError as error:
        raise UsageError(f"detector {detector}: {error}") from error
