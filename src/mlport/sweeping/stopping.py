"""Which trials fall behind, going by what they logged so far. Pure.

The median rule is that of Golovin et al. (KDD 2017), with the others' values at the step, not their averages;
halving is that of Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from mlport.specs import Stopping
from mlport.spi import MetricPoint

Curve = Sequence[tuple[int, float]]
"""Step and value, in the order of the steps."""


def curve_of(points: Iterable[MetricPoint], metric: str) -> tuple[tuple[int, float], ...]:
    """What was logged of one metric, the last value of each step."""
    return tuple(sorted({point.step: point.value for point in points if point.name == metric}.items()))


def behind(rule: Stopping, curve: Curve, others: Sequence[Curve], *, maximize: bool) -> str | None:
    """Why a trial with this curve should end now, None if it should go on.

    >>> behind(Stopping(min_trials=2), [(1, 0.5)], [[(1, 0.7)], [(1, 0.9)]], maximize=True)
    'at step 1 its best is 0.5, and the median of 2 others is 0.8'
    """
    if not curve or curve[-1][0] < rule.min_steps:
        return None
    return (_median if rule.rule == "median" else _halving)(
        rule, _signed(curve, maximize), [_signed(other, maximize) for other in others], maximize
    )


def value_at(curve: Curve, step: int) -> float | None:
    """What it had logged at that step, None if it did not get that far."""
    if not curve or curve[-1][0] < step:
        return None
    return next((value for at, value in reversed(curve) if at <= step), None)


def _signed(curve: Curve, maximize: bool) -> Curve:
    return curve if maximize else [(step, -value) for step, value in curve]


def _median(rule: Stopping, curve: Curve, others: Sequence[Curve], maximize: bool) -> str | None:
    step = curve[-1][0]
    there = [value for other in others if (value := value_at(other, step)) is not None]
    best = max(value for _, value in curve)
    if len(there) < rule.min_trials or best >= (middle := statistics.median(there)):
        return None
    sign = 1 if maximize else -1
    return f"at step {step} its best is {best * sign:g}, and the median of {len(there)} others is {middle * sign:g}"


def _halving(rule: Stopping, curve: Curve, others: Sequence[Curve], maximize: bool) -> str | None:
    rung = rule.min_steps
    while rung * rule.factor <= curve[-1][0]:
        rung *= rule.factor
    mine = value_at(curve, rung)
    there = [value for other in others if (value := value_at(other, rung)) is not None]
    if mine is None or len(there) < rule.min_trials:
        return None
    better = sum(value > mine for value in there)
    go_on = max(1, (len(there) + 1) // rule.factor)
    return f"at step {rung} {better} of {len(there)} others are better, and {go_on} go on" if better >= go_on else None
