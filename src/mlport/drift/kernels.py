"""The two loops that everything exact stands on, sorting floats and walking two sorted samples at once, in two versions of the same numbers.

`NUMPY` needs nothing but NumPy. `compiled()` is the same through numba and several times as fast; loading it takes about a second, so
`choose` loads it only for enough values.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from mlport.errors import MissingExtraError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Version = Literal["auto", "compiled", "numpy"]
ENOUGH = 4_000_000
"""Values to sort from which on loading the compiled loops pays."""


class Walk(NamedTuple):
    """The largest distance of two distribution functions, the area between them, and how many values of each are up to where it is."""

    distance: float
    area: float
    a_below: int
    b_below: int


class Sizes(NamedTuple):
    """Of two samples: how many values of each are minus infinity, and how many there are, infinite ones included."""

    a_below: int
    b_below: int
    a: int
    b: int


@dataclass(frozen=True, slots=True)
class Kernel:
    """`sort(values)` sorts finite floats in place or not and returns them; `walk(a, b, sizes)` takes two sorted finite samples.

    `tally`, where there is one, counts values in the cells of a sketch without sorting them: the same counts, sums up to rounding.
    """

    name: str
    sort: Callable[[Floats], Floats]
    walk: Callable[[Floats, Floats, Sizes], Walk]
    tally: Callable[..., tuple[tuple[int, ...], tuple[float, ...]]] | None = None


def _sort(values: Floats) -> Floats:
    values.sort()
    return values


def _walk(a: Floats, b: Floats, sizes: Sizes) -> Walk:
    both = np.concatenate([a, b])
    both.sort(kind="stable")  # merges two sorted runs
    i = sizes.a_below + np.searchsorted(a, both, side="right")
    j = sizes.b_below + np.searchsorted(b, both, side="right")
    i, j = np.concatenate([[sizes.a_below], i]), np.concatenate([[sizes.b_below], j])
    distance = np.abs(i / sizes.a - j / sizes.b)
    at = int(distance.argmax())
    area = float(np.cumsum(distance[1:-1] * np.diff(both))[-1]) if both.size > 1 else 0.0  # one after the other, as the loop adds
    return Walk(float(distance[at]), area, int(i[at]), int(j[at]))


NUMPY = Kernel("numpy", _sort, _walk)


@functools.cache
def compiled() -> Kernel:
    """The compiled loops. Raises MissingExtraError without numba."""
    try:
        from mlport.drift import compiled as loops
    except ImportError as error:
        raise MissingExtraError(
            "the compiled loops of the drift engine need numba, which is not installed",
            hint='pip install "mlport[drift]", or kernel="numpy", which gives the same numbers more slowly',
        ) from error
    return Kernel("compiled", loops.sort, lambda a, b, sizes: Walk(*loops.walk(a, b, *sizes)), loops.tally)


def choose(version: Version, values: int) -> Kernel:
    """The version asked for; `auto` takes the compiled one for many values, or where it is loaded anyway."""
    if version == "compiled":
        return compiled()
    loaded = sys.modules.get("mlport.drift.compiled") is not None
    if version == "auto" and (loaded or (values >= ENOUGH and importlib.util.find_spec("numba") is not None)):
        return compiled()
    return NUMPY
