"""How long labels take to come: the Kaplan-Meier estimate, in which a row still without a label counts for as long as it has waited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mlport.audit.records import Record
from mlport.audit.scored import Floats

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Delays(Record):
    """Seconds from prediction to label. A quantile is None where so large a share has not come by the longest wait seen.

    `labelled` rows have a label with a plausible time, `waiting` ones none yet, `before` ones a label older than their prediction.
    """

    labelled: int
    waiting: int
    before: int
    quantiles: Mapping[float, float | None]
    longest: float | None


def delays(time: Floats, labelled_at: Floats, labelled: np.ndarray[tuple[int], np.dtype[np.bool_]], as_of: float) -> Delays:
    """Times in seconds, NaN where unknown; labels without a time are left out.

    E. L. Kaplan and P. Meier, JASA 53 (1958) 457-481. Taking the labels that came alone would say too short delays, for among recent rows
    only the quick ones have come.
    """
    from scipy import stats

    took = labelled_at - time
    came = labelled & (took >= 0)
    waits = (as_of - time)[~labelled]
    waits = waits[waits > 0]
    before = int((labelled & (took < 0)).sum())
    if not came.any():
        return Delays(0, int((~labelled).sum()), before, dict.fromkeys(LEVELS), None)
    curve = stats.ecdf(stats.CensoredData(uncensored=took[came], right=waits)).cdf
    reached = {level: np.flatnonzero(curve.probabilities >= level - 1e-12) for level in LEVELS}
    quantiles = {level: float(curve.quantiles[at[0]]) if len(at) else None for level, at in reached.items()}
    return Delays(int(came.sum()), int((~labelled).sum()), before, quantiles, float(took[came].max()))
