"""What fits by when: given measured hours a trial and a budget, how many trials of a search that buys, and when they are done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from math import ceil, inf
from statistics import mean
from typing import TYPE_CHECKING

from mlport.costs.catalogue import default
from mlport.costs.estimate import priced, target
from mlport.costs.parts import Sweep, Uncertain
from mlport.errors import SpecError

if TYPE_CHECKING:
    from mlport.costs.catalogue import Catalogue
    from mlport.costs.quote import Discount
    from mlport.costs.workload import Workload

MOST = 1_000_000  # trials
LONGEST = 876_000  # hours of one


@dataclass(frozen=True, slots=True)
class Milestone:
    """So many trials: what they cost, and when the last one ends."""

    trials: int
    cost: Decimal
    at: datetime


@dataclass(frozen=True, slots=True)
class Timeline:
    """What a search comes to at a target. `limit` says what ends it: the budget, the deadline, or the trials asked for."""

    target: str
    part: str
    hours_a_trial: float
    trials: int
    cost: Decimal
    ends: datetime
    limit: str
    milestones: Sequence[Milestone]


def timeline(
    workload: Workload,
    name: str,
    *,
    budget: Decimal | float,
    start: datetime,
    measured: Sequence[float] = (),
    deadline: datetime | None = None,
    part: str | None = None,
    catalogue: Catalogue | None = None,
    discount: Discount | None = None,
) -> Timeline:
    """How many trials of a sweep fit into a budget (and before a deadline), and when they end.

    Trials run `parallel` at a time, one after the other; each takes the mean of the `measured` hours (the workload's hours if none
    are given) over the target's speed, and its warm-up. The trials that the workload asks for are the most that are run.

    Raises:
        SpecError: the workload has no such sweep, or not all of it has a price at the target.
    """
    if not all(0 < hours <= LONGEST for hours in measured):
        raise SpecError(f"timeline: measured hours must be more than 0, and at most {LONGEST:,}, a century")
    if not 0 <= float(budget) < inf:
        raise SpecError(f"timeline: budget must be an amount of money, at least 0 (got {budget})")
    if deadline is not None and (deadline.tzinfo is None) != (start.tzinfo is None):
        raise SpecError("timeline: start and deadline: give both with a time zone, or none")
    sweep = _sweep(workload, part)
    hours = mean(measured) if measured else _middle(sweep.hours)
    at, prices = target(workload, name), catalogue or default()
    one_month = workload.model_copy(update={"months": 1})

    def cost(trials: int) -> Decimal:
        asked = sweep.model_copy(update={"trials": trials, "hours": hours, "runs": 1})
        found = priced(one_month.alone(asked), at, prices, discount=discount)
        if not found.complete:
            why = found.refused[0].why if found.refused else found.unpriced[0].unknown
            raise SpecError(f"timeline: {name}: {why}", hint="what it costs cannot be told where a part of it has no price")
        total: Decimal = found.total
        return total

    took = timedelta(hours=hours / at.settings.speed, minutes=_middle(sweep.warm_up))

    def end(trials: int) -> datetime:
        try:
            return start + ceil(trials / sweep.parallel) * took
        except OverflowError as error:
            raise SpecError(f"timeline: {trials:,} trials of {hours:g} h end later than a date can say") from error

    asked = min(int(_middle(sweep.trials)), MOST)
    affordable = _most(asked, lambda trials: cost(trials) <= Decimal(str(budget)))
    timely = asked if deadline is None else _most(asked, lambda trials: end(trials) <= deadline)
    trials = min(asked, affordable, timely)
    limit = "the trials asked for" if trials == asked else "the budget" if affordable <= timely else "the deadline"
    steps = sorted({trials * quarter // 4 for quarter in (1, 2, 3, 4)} - {0})
    spent = cost(trials) if trials else Decimal(0)
    return Timeline(name, sweep.name, hours, trials, spent, end(trials), limit, [Milestone(step, cost(step), end(step)) for step in steps])


def _sweep(workload: Workload, name: str | None) -> Sweep:
    sweeps = [part for part in workload.parts() if isinstance(part, Sweep) and name in (None, part.name)]
    if len(sweeps) != 1:
        known = ", ".join(part.name for part in workload.parts() if isinstance(part, Sweep))
        raise SpecError(f"timeline: {f'no sweep {name!r}' if name else 'one sweep is wanted'}", hint=f"the workload has: {known or 'none'}")
    return sweeps[0]


def _most(most: int, fits: Callable[[int], bool]) -> int:
    """The largest count up to `most` that fits, where fewer always fit too."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _middle(quantity: float | Uncertain) -> float:
    return quantity.mid if isinstance(quantity, Uncertain) else quantity
