"""Whether probabilities mean what they say: bins with intervals, and the calibration error beside what chance alone would give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlport.audit.intervals import affordable, wilson
from mlport.audit.records import Record
from mlport.audit.scored import Floats, Scored

DRAWS = 200


@dataclass(frozen=True)
class Bin(Record):
    """Rows of like probability: what was promised, what came, and Wilson's interval of that."""

    rows: int
    promised: float
    came: float
    low: float
    high: float


@dataclass(frozen=True)
class Calibration(Record):
    """The expected calibration error (ECE) over bins of equal size; `by_chance` is its 95th percentile were every probability exact.

    Chance is simulated by drawing labels from the probabilities themselves (J. Broecker and L. A. Smith, Weather and Forecasting 22
    (2007) 651-661). Of more than two classes the highest probability is judged.
    """

    ece: float
    by_chance: float
    of: str
    bins: tuple[Bin, ...]
    bias: float
    """The mean probability minus the share that came."""

    @property
    def is_off(self) -> bool:
        """Whether the error is more than chance gives once in twenty times."""
        return self.ece > self.by_chance


def calibration(scored: Scored, confidence: float, seed: int, bins: int = 10) -> Calibration | None:
    """None where there are no probabilities."""
    if scored.scores is None or not scored.probability:
        return None
    if scored.scores.ndim == 1:
        promised, came, of = scored.scores, (scored.truth == 1).astype(float), f"the probability of {scored.classes[1]!r}"
    else:
        promised, of = scored.scores.max(1), "the highest probability"
        came = (scored.scores.argmax(1) == scored.truth).astype(float)
    edges = np.unique(np.quantile(promised, np.linspace(0, 1, bins + 1)[1:-1]))
    place = np.searchsorted(edges, promised, side="right")
    n = len(promised)
    rng = np.random.default_rng(seed)
    chance = [_ece(place, promised, (rng.random(n) < promised).astype(float)) for _ in range(affordable(DRAWS, n))]
    return Calibration(
        _ece(place, promised, came),
        float(np.quantile(chance, 0.95)),
        of,
        _bins(place, promised, came, confidence),
        float((promised - came).mean()),
    )


def _ece(place: NDArray[np.int64], promised: Floats, came: Floats) -> float:
    return float(np.abs(np.bincount(place, weights=promised - came)).sum() / len(place))


def _bins(place: NDArray[np.int64], promised: Floats, came: Floats, confidence: float) -> tuple[Bin, ...]:
    rows = np.bincount(place)
    used = rows > 0
    rows, hits, sums = rows[used], np.bincount(place, weights=came)[used], np.bincount(place, weights=promised)[used]
    low, high = wilson(hits, rows, confidence)
    return tuple(
        Bin(int(n), s / n, k / n, a, b)
        for n, s, k, a, b in zip(rows.tolist(), sums.tolist(), hits.tolist(), low.tolist(), high.tolist(), strict=True)
    )
