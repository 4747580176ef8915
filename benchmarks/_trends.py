"""Whether a figure grows: Theil-Sen's slope with its confidence interval, and what it is held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

FEWEST_SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Trend:
    """Growth an hour with its 95 % interval, and the medians of the first and last fifth of the samples."""

    per_hour: float
    low: float
    high: float
    first: float
    last: float
    peak: float
    samples: int

    def flat(self, bound: float, *, lasting: bool) -> bool:
        """Whether growth is within `bound` an hour.

        Of a process that lasts the whole interval must be: it is shown to be flat. Samples of a role whose processes come and
        go are taken at any point of their lives, so there the interval must not be wholly above: no growth is shown.
        """
        return (self.high if lasting else self.low) <= bound


def trend(seconds: Sequence[float], values: Sequence[float]) -> Trend:
    """The trend of values over time, by `scipy.stats.theilslopes` (Sen 1968, its interval of independent errors).

    Raises:
        ValueError: fewer than `FEWEST_SAMPLES`.
    """
    from scipy.stats import theilslopes

    if len(values) < FEWEST_SAMPLES:
        raise ValueError(f"{len(values)} samples show no trend; at least {FEWEST_SAMPLES} are needed")
    found = theilslopes(values, [second / 3600 for second in seconds], 0.95)
    fifth = max(len(values) // 5, 1)
    return Trend(
        float(found.slope),
        float(found.low_slope),
        float(found.high_slope),
        median(values[:fifth]),
        median(values[-fifth:]),
        max(values),
        len(values),
    )
