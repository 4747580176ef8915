"""The points of a search space: all of them in order, or one by chance. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from random import Random

from mlport.fields import Scalar
from mlport.specs import Dimension, Range

Params = dict[str, Scalar]


def grid(space: Mapping[str, Dimension]) -> Iterator[Params]:
    """Every point, the last parameter changing fastest.

    >>> list(grid({"depth": Range(low=2, high=6, step=4), "kind": ("a", "b")}))[1]
    {'depth': 2, 'kind': 'b'}
    """
    for values in itertools.product(*map(_values, space.values())):
        yield dict(zip(space, values, strict=True))


def draw(space: Mapping[str, Dimension], chance: Random) -> Params:
    """One point, each parameter by itself: evenly over its values, or over its orders of magnitude."""
    return {name: _drawn(each, chance) for name, each in space.items()}


def same(one: Mapping[str, Scalar]) -> str:
    """Equal for equal points only: 1, 1.0 and True are three values."""
    return repr(sorted(one.items()))


def _values(each: Dimension) -> Iterator[Scalar]:
    if isinstance(each, Range):
        assert each.size is not None  # noqa: S101 - a grid without end was refused
        return map(each.at, range(each.size))
    return iter({repr(value): value for value in each}.values())


def _drawn(each: Dimension, chance: Random) -> Scalar:
    if not isinstance(each, Range):
        return chance.choice(each)
    if each.log:
        low, high = math.log(each.low - each.whole / 2), math.log(each.high + each.whole / 2)  # whole ones get half a step on each side
        value = min(max(math.exp(chance.uniform(low, high)), each.low), each.high)
        return round(value) if each.whole else value
    return chance.uniform(each.low, each.high) if each.size is None else each.at(chance.randrange(each.size))
