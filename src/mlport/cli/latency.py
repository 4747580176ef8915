"""Quantiles of a latency in whichever form the provider has it."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlport.spi import Latency


def quantile(latency: Latency, q: float) -> float | None:
    """The `q` quantile in seconds, 0 < q < 1; None where the form does not tell.

    Of samples the smallest that at least a share `q` does not exceed; of a histogram the upper bound of its bin;
    of quantiles that very one.

    >>> from mlport.spi import Latency
    >>> quantile(Latency("samples", [0.3, 0.1, 0.2]), 0.5)
    0.2
    >>> quantile(Latency("histogram", [0.01, 0.1], [99, 1]), 0.99)
    0.01
    """
    if latency.form == "quantiles":
        return dict(zip(latency.weights, latency.values, strict=True)).get(q)
    weights = latency.weights if latency.form == "histogram" else [1.0] * len(latency.values)
    pairs = sorted(zip(latency.values, weights, strict=True))
    total = sum(weights)
    if not total:
        return None
    reached = accumulate(weight for _, weight in pairs)
    return next(value for (value, _), count in zip(pairs, reached, strict=True) if count >= q * total)
