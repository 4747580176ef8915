"""p-values, of SciPy, which is loaded only when one is asked for."""

from __future__ import annotations

import warnings

import numpy as np

EXACT_ROWS = 10_000
"""Up to this many rows on either side SciPy counts the paths; above it the p-value is asymptotic."""


def ks(distance: float, a_below: int, b_below: int, a: int, b: int) -> float:
    """The two-sided p-value that `scipy.stats.ks_2samp` gives for two samples of `a` and `b` values.

    The exact one depends on the samples only by their sizes and the statistic; so SciPy is asked of two samples of two values each,
    whose distribution functions are as far apart: `a_below / a` and `b_below / b`, where the distance is largest.
    """
    if max(a, b) <= EXACT_ROWS:
        from scipy.stats import ks_2samp

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # where it cannot count the paths it says so, and is asymptotic by itself
            return float(ks_2samp(np.arange(a) >= a_below, np.arange(b) >= b_below, method="auto").pvalue)
    from scipy.stats import kstwo

    return float(np.clip(kstwo.sf(distance, np.round(float(a) * float(b) / (float(a) + float(b)))), 0, 1))


def chi_square(statistic: float, degrees: int) -> float:
    """The upper tail of the chi-square distribution; 1 where there are no degrees of freedom."""
    from scipy.special import chdtrc

    return float(chdtrc(degrees, statistic)) if degrees else 1.0
