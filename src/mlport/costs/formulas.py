"""The formulas of the cost engine, each pure and generic over the arithmetic. docs/costs.md cites their sources.

Units: hours, US dollars (or the currency of the prices), GiB, GiB-months. A month has 730 hours (8,760 / 12), as Google's and
Amazon's calculators have it.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlport.costs.arithmetic import Arithmetic, Number

HOURS_A_MONTH = 730
HOURS_A_YEAR = 8760
INEXACT = "0.01"
"""Seconds by which hours with six digits after the point may be off, and more."""


def billed(math: Arithmetic, hours: Number, granularity: float = 1.0, least: float = 0.0) -> Number:
    """Hours as billed: rounded up to `granularity` seconds, and at least `least` seconds; nothing for nothing.

    10 ms above a step are not billed as another one: hours of six digits, such as 0.116667 for 7 minutes, are that inexact.

    >>> from mlport.costs.arithmetic import EXACT
    >>> round(billed(EXACT, EXACT.number("0.0101"), granularity=60) * 60, 6)  # minutes
    Decimal('1.000000')
    """
    step = math.number(granularity)
    seconds = math.most(math.ceil((hours * 3600 - math.number(INEXACT)) / step), math.number(1)) * step
    return math.where(hours > 0, math.most(seconds, math.number(least)), math.number(0)) / 3600


def spot_hours(math: Arithmetic, rate: Number, every: Number, writing: Number, restart: Number) -> Number:
    """Expected hours of an interruptible machine for each useful hour.

    Args:
        rate: interruptions an hour (Poisson).
        every, writing, restart: hours of work between checkpoints, to write one, and to start again after an interruption.

    Source: J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", FGCS 22 (2006), eq. 13.
    """
    safe = math.most(rate, math.number("1e-12"))
    whole = (1 / safe + restart) * (math.exp(safe * (every + writing)) - 1) / every
    return math.where(rate > 0, whole, (every + writing) / every)


def interruptions(math: Arithmetic, monthly_fraction: Number) -> Number:
    """Interruptions an hour from the share of instances interrupted within a month: -ln(1 - f) / 730."""
    return -math.log(1 - math.number(monthly_fraction)) / HOURS_A_MONTH


def replicas(
    math: Arithmetic, rate: Number, latency: Number, concurrency: Number, utilization: Number, least: Number, most: Number
) -> Number:
    """Replicas for `rate` requests a second of `latency` seconds each (Little's law), `concurrency` at once in a replica."""
    needed = math.ceil(rate * latency / (concurrency * utilization))
    return math.least(math.most(needed, least), most)


def tiered(math: Arithmetic, quantity: Number, tiers: Sequence[tuple[Number, Number]]) -> Number:
    """Cost of `quantity` under marginal tiers: (from quantity, unit price), the first from 0. Each unit costs its own tier's price.

    >>> from mlport.costs.arithmetic import EXACT as E
    >>> tiered(E, E.number(15), [(E.number(0), E.number(1)), (E.number(10), E.number("0.5"))])
    Decimal('12.5')
    """
    total = math.number(0)
    for index, (begin, price) in enumerate(tiers):
        above = math.most(quantity - begin, math.number(0))
        if index + 1 < len(tiers):
            above = math.least(above, tiers[index + 1][0] - begin)
        total = total + above * price
    return total


def committed(math: Arithmetic, used: Number, commitment: Number, rate: Number, on_demand: Number) -> Number:
    """What use costs under a commitment: the committed hours are paid whether used or not, what is above them on demand."""
    return commitment * rate + math.most(used - commitment, math.number(0)) * on_demand


def recovery_factor(math: Arithmetic, interest: Number, years: Number) -> Number:
    """Capital recovery factor: what of a sum must be paid at each year's end to repay it with interest.

    r (1 + r)^n / ((1 + r)^n - 1), and 1 / n without interest. Source: any text on engineering economics, e.g. ASTM E917.
    """
    safe = math.most(interest, math.number("1e-9"))
    grown = (1 + safe) ** years
    return math.where(interest > 0, safe * grown / (grown - 1), 1 / years)


def sinking_factor(math: Arithmetic, interest: Number, years: Number) -> Number:
    """Sinking fund factor: what must be laid by at each year's end to have 1 after `years`: r / ((1 + r)^n - 1)."""
    safe = math.most(interest, math.number("1e-9"))
    return math.where(interest > 0, safe / ((1 + safe) ** years - 1), 1 / years)
