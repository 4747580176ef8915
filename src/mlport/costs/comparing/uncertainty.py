"""How sure an estimate is: P10, P50 and P90 by sampling, and which input matters most.

Every uncertain quantity is triangular between its low and high. Prices are uncertain by the workload's `[uncertainty]`: spot prices
by a share, others by a share for each year of their age; the prices of one list move together. One pass of the sampled arithmetic
prices a target at all samples, and all targets are priced at the same samples, so that they differ by nothing but themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from zlib import crc32

from mlport.costs.arithmetic import Sampled
from mlport.costs.estimate import Target, priced
from mlport.costs.parts import Uncertain

if TYPE_CHECKING:
    from mlport.costs.catalogue import Catalogue
    from mlport.costs.facts import Fact
    from mlport.costs.quote import Discount
    from mlport.costs.workload import Workload

DAYS_A_YEAR = 365.25
SPOT, AGE = "spot prices", "age of prices"
Array = Any
Move = Callable[[str, str], Array]
"""How far the prices of a list are moved, -1 to 1: (what, list)."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Where a total lies: below `p10` in one sample of ten, below `p90` in nine."""

    p10: float
    p50: float
    p90: float


@dataclass(frozen=True, slots=True)
class Effect:
    """What one input does to the total: at its `low`, at its `high`, all others at their middle."""

    name: str
    low: float
    high: float
    at_low: float
    at_high: float

    @property
    def swing(self) -> float:
        """How far apart the two totals are."""
        return abs(self.at_high - self.at_low)


def available() -> bool:
    """Whether samples can be computed here: NumPy comes with the extra `local`, not with mlport alone."""
    try:
        import numpy as np
    except ImportError:
        return False
    return bool(np)


def uncertain(workload: Workload) -> dict[str, Uncertain]:
    """The uncertain quantities, by part and field. One that several fields share is one input."""
    found: dict[int, tuple[str, Uncertain]] = {}
    for part in workload.parts():
        for name in type(part).model_fields:
            value = getattr(part, name)
            if isinstance(value, Uncertain):
                said = f"{part.name}.{name}"
                found[id(value)] = (f"{found[id(value)][0]} and {said}" if id(value) in found else said, value)
    return dict(found.values())


def triangular(uniform: Array, low: float, mid: float, high: float) -> Array:
    """Uniform samples as samples of a triangular distribution, by its inverse; `low` where there is nothing between."""
    import numpy as np

    if high <= low:
        return np.full_like(uniform, low)
    turn = (mid - low) / (high - low)
    rising = low + np.sqrt(uniform * (high - low) * (mid - low))
    return np.where(uniform < turn, rising, high - np.sqrt((1 - uniform) * (high - low) * (high - mid)))


def spreads(workload: Workload, targets: Sequence[Target], catalogue: Catalogue, **options: Any) -> dict[str, Spread]:
    """P10, P50 and P90 of each target's total; of what has a price, where not all has. `options` as those of `totals`."""
    return {name: spread(total) for name, total in totals(workload, targets, catalogue, **options).items()}


def spread(total: Array) -> Spread:
    """P10, P50 and P90 of samples."""
    import numpy as np

    return Spread(*(float(value) for value in np.percentile(total, [10, 50, 90])))


def odds(found: Mapping[str, Array]) -> dict[str, float]:
    """In which share of the samples each is the cheapest."""
    import numpy as np

    names = sorted(found)
    best = np.argmin(np.stack(np.broadcast_arrays(*(np.atleast_1d(found[name]) for name in names))), axis=0)
    return {name: float(np.mean(best == at)) for at, name in enumerate(names)}


def totals(
    workload: Workload,
    targets: Sequence[Target],
    catalogue: Catalogue,
    *,
    discount: Discount | None = None,
    today: date | None = None,
) -> dict[str, Array]:
    """Each target's total in each sample."""
    math = Sampled()
    import numpy as np

    told = workload.uncertainty

    def uniform(name: str) -> Array:
        return np.random.default_rng([told.seed, crc32(name.encode())]).random(told.samples)

    samples = {id(value): triangular(uniform(name), value.low, value.mid, value.high) for name, value in uncertain(workload).items()}
    moved: dict[str, Array] = {}

    def move(what: str, prices: str) -> Array:
        name = f"{what} of {prices}"
        if name not in moved:
            moved[name] = triangular(uniform(name), -1, 0, 1)
        return moved[name]

    factor = _factor(workload, move, today)
    return {at.name: priced(workload, at, catalogue, math=math, samples=samples, discount=discount, factor=factor).total for at in targets}


def tornado(
    workload: Workload, at: Target, catalogue: Catalogue, *, discount: Discount | None = None, today: date | None = None
) -> list[Effect]:
    """What each uncertain input does to a target's total, the largest first; those that do nothing are left out."""
    math = Sampled()
    import numpy as np

    quantities = uncertain(workload)
    names = [*quantities, SPOT, AGE]
    points = 2 * len(names) + 1  # each input low, then high; the last point is the middle of all

    def pushed(name: str, low: float, mid: float, high: float) -> Array:
        values = np.full(points, mid, dtype=float)
        place = 2 * names.index(name)
        values[place], values[place + 1] = low, high
        return values

    samples = {id(value): pushed(name, value.low, value.mid, value.high) for name, value in quantities.items()}
    moves = {what: pushed(what, -1.0, 0.0, 1.0) for what in (SPOT, AGE)}
    factor = _factor(workload, lambda what, prices: moves[what], today)
    total = priced(workload, at, catalogue, math=math, samples=samples, discount=discount, factor=factor).total
    totals = np.broadcast_to(np.asarray(total, dtype=float), (points,))
    ends = {name: (value.low, value.high) for name, value in quantities.items()} | {SPOT: (-1.0, 1.0), AGE: (-1.0, 1.0)}
    effects = [Effect(name, *ends[name], float(totals[2 * place]), float(totals[2 * place + 1])) for place, name in enumerate(names)]
    return sorted((effect for effect in effects if effect.swing > 0), key=lambda effect: (-effect.swing, effect.name))


def assumption(workload: Workload) -> str:
    """What sampling takes for granted, in words; or what it lacks."""
    if not available():
        return "P10 to P90 and what matters most need NumPy: pip install 'mlport[local]'"
    told = workload.uncertainty
    return (
        f"P10 to P90: spot prices within {told.spot:.0%}, other prices within {told.yearly:.0%} for each year of age, "
        f"triangular, {told.samples:,} samples, seed {told.seed} ([uncertainty] of the workload)"
    )


def _factor(workload: Workload, move: Move, today: date | None) -> Callable[[Fact], Array]:
    """What each price is multiplied with, sample by sample."""
    now, told = today or datetime.now(UTC).date(), workload.uncertainty
    known: dict[tuple[str, date, bool], Array] = {}

    def factor(fact: Fact) -> Array:
        key = (fact.provider, fact.as_of, fact.purchase == "spot")
        if key not in known:
            years = max((now - fact.as_of).days, 0) / DAYS_A_YEAR
            scale = 1 + move(AGE, fact.provider) * min(told.yearly * years, 0.95)
            known[key] = scale * (1 + move(SPOT, fact.provider) * told.spot) if fact.purchase == "spot" else scale
        return known[key]

    return factor
