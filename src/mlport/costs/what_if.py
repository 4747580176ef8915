"""What if: one field of a workload over many values, at several targets.

A quantity takes all its values in one pass of the sampled arithmetic, split only where another machine becomes the best. Other
fields are priced value by value; where neighbours give the very same bill, what lies between them is not priced again, for a machine
that is the cheapest for less and for more is so in between.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlport.costs.arithmetic import Sampled
from mlport.costs.catalogue import default, nearest
from mlport.costs.estimate import Target, priced, target
from mlport.costs.records import Estimate
from mlport.costs.workload import PLACES, Uncertain, Workload
from mlport.errors import SpecError

if TYPE_CHECKING:
    from mlport.costs.catalogue import Catalogue
    from mlport.costs.quote import Discount

MONOTONE = {"cpus", "memory_gib", "gpus", "target_utilization", "min_replicas", "max_replicas", "concurrency"}
"""Fields of which more never undoes what more did: equal bills at both ends mean the same bill in between."""
MONTHS = -1  # no object has this identity
Point = tuple[float, bool]
"""A total, and whether it is of everything that was asked for."""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Totals of each target for each value of a field. `complete` is false where something is refused or has no price."""

    field: str
    values: Sequence[Any]
    totals: Mapping[str, Sequence[float]]
    complete: Mapping[str, Sequence[bool]]

    def cheapest(self) -> list[str | None]:
        """The cheapest complete target at each value, None where none is."""
        return [
            min((name for name in self.totals if self.complete[name][at]), key=lambda name: (self.totals[name][at], name), default=None)
            for at in range(len(self.values))
        ]

    def changes(self) -> list[tuple[Any, str | None]]:
        """The values, in the order given, from which another target is the cheapest."""
        found = self.cheapest()
        return [(value, name) for value, name, before in zip(self.values, found, [object(), *found], strict=False) if name != before]


def what_if(
    workload: Workload,
    targets: Sequence[str],
    field: str,
    values: Sequence[Any],
    *,
    catalogue: Catalogue | None = None,
    discount: Discount | None = None,
) -> WhatIf:
    """Price a workload with `field` at each of `values`.

    Args:
        field: a dotted path: a part's name and its field (`training.hours`, `endpoint.compute.cpus`), or the way from the top
            (`months`, `training.0.hours`, `targets.NAME.region`).

    Raises:
        SpecError: there is no such field, or a value is not one for it.
    """
    prices, path = catalogue or default(), located(workload, field)
    found: dict[str, list[Point]] = {}
    spread = _spread(workload, path, values)
    for name in targets:
        if spread is not None:
            changed, mark = spread
            found[name] = _vectorised(changed, target(changed, name), prices, discount, mark, values)
        else:
            found[name] = _by_value(workload, name, prices, discount, path, values)
    return WhatIf(
        field,
        tuple(values),
        {name: [total for total, _ in points] for name, points in found.items()},
        {name: [complete for _, complete in points] for name, points in found.items()},
    )


def located(workload: Workload, field: str) -> list[str | int]:
    """The way to a field, from the top of the workload's table. Raises SpecError for one that is not there."""
    first, *rest = field.split(".")
    here = {name: at for name, at in _named(workload).items() if rest and not rest[0].isdigit()}
    if first in here:
        return [*here[first], *rest]
    if first not in Workload.model_fields:
        raise SpecError(
            f"what-if: the workload has no field or part {first!r}", hint=nearest(first, [*_named(workload), *Workload.model_fields])
        )
    return [first, *(int(step) if step.isdigit() else step for step in rest)]


def _named(workload: Workload) -> dict[str, list[str | int]]:
    """Where the parts stand, by the names that lines call them by."""
    offsets = {"training": int(workload.job is not None), "endpoints": int(workload.endpoint is not None)}
    found: dict[str, list[str | int]] = {}
    counts = dict.fromkeys(PLACES.values(), 0)
    for part in workload.parts():
        place = PLACES[type(part)]
        index = counts[place] - offsets.get(place, 0)
        counts[place] += 1
        if index >= 0:
            found[part.name] = [place, index]
    return found


def changed(workload: Workload, path: Sequence[str | int], value: Any) -> Workload:
    """The workload with another value at a place. Raises SpecError."""
    table: Any = _editable(workload.model_dump(exclude_unset=True))
    here: Any = table
    try:
        for step in path[:-1]:
            here = here[step] if isinstance(step, int) else here.setdefault(step, {})
        here[path[-1]] = value
    except (AttributeError, LookupError, TypeError) as error:
        raise SpecError(f"what-if: the workload has no {'.'.join(map(str, path))}") from error
    return Workload.model_validate(table)


def _editable(value: Any) -> Any:
    """Tables and lists that may be changed."""
    if isinstance(value, dict):
        return {name: _editable(item) for name, item in value.items()}
    return [_editable(item) for item in value] if isinstance(value, list | tuple) else value


def _spread(workload: Workload, path: Sequence[str | int], values: Sequence[Any]) -> tuple[Workload, int] | None:
    """The workload with a quantity that stands for all values at once, and its identity; None if the field takes no quantity.

    The months are one without an identity of its own: `MONTHS`.
    """
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if path[0] == "targets" or len(numbers) != len(values) or not numbers:
        return None
    low, high = min(numbers), max(numbers)
    if list(path) == ["months"]:
        changed(workload, path, low)
        return changed(workload, path, high), MONTHS
    try:
        made = changed(workload, path, {"low": low, "mid": (low + high) / 2, "high": high})
    except SpecError:
        changed(workload, path, low)
        return None
    here: Any = made
    for step in path:
        here = here[step] if isinstance(step, int) else getattr(here, step)
    return (made, id(here)) if isinstance(here, Uncertain) else None


def _vectorised(
    workload: Workload, at: Target, catalogue: Catalogue, discount: Discount | None, mark: int, values: Sequence[float]
) -> list[Point]:
    math = Sampled()
    import numpy as np

    order = np.argsort(np.asarray(values, dtype=float), kind="stable")
    ordered = np.asarray(values, dtype=float)[order]

    def bill(low: int, high: int) -> Estimate:
        points = ordered[low:high]
        return priced(
            workload, at, catalogue, math=math, samples={mark: points}, months=points if mark == MONTHS else None, discount=discount
        )

    totals, complete = np.empty(len(ordered)), np.empty(len(ordered), dtype=bool)

    def fill(low: int, high: int, first: object, last: object) -> None:
        if first == last or high - low == 1:
            found = bill(low, high)
            if high - low == 1 or _shape(found) == first:
                totals[low:high], complete[low:high] = found.total, found.complete
                return
        middle = (low + high) // 2
        fill(low, middle, first, _shape(bill(middle - 1, middle)))
        fill(middle, high, _shape(bill(middle, middle + 1)), last)

    fill(0, len(ordered), _shape(bill(0, 1)), _shape(bill(len(ordered) - 1, len(ordered))))
    back = np.argsort(order, kind="stable")
    return [(float(total), bool(whole)) for total, whole in zip(totals[back], complete[back], strict=True)]


def _shape(found: Estimate) -> object:
    """What a bill is made of, without the amounts."""
    lines = tuple((line.part, line.what, line.unit, line.price.source if line.price else None) for line in found.lines)
    return lines, tuple(refusal.part for refusal in found.refused)


def _by_value(
    workload: Workload, name: str, catalogue: Catalogue, discount: Discount | None, path: Sequence[str | int], values: Sequence[Any]
) -> list[Point]:
    def bill(value: Any) -> tuple[object, Point]:
        made = changed(workload, path, value)
        found = priced(made, target(made, name), catalogue, discount=discount)
        amounts = tuple((line.part, line.what, line.quantity, line.cost) for line in found.lines)
        return (amounts, tuple(refusal.part for refusal in found.refused)), (float(found.total), found.complete)

    if path[-1] in MONOTONE and path[0] != "targets" and all(isinstance(value, int | float) for value in values):
        return _bisected(sorted(set(values)), bill, values)
    known: dict[Any, Point] = {}
    for value in values:
        if value not in known:
            known[value] = bill(value)[1]
    return [known[value] for value in values]


def _bisected(distinct: Sequence[float], bill: Callable[[Any], tuple[object, Point]], values: Sequence[float]) -> list[Point]:
    points: list[Point] = [(0.0, False)] * len(distinct)

    def fill(low: int, high: int, first: tuple[object, Point], last: tuple[object, Point]) -> None:
        points[low], points[high] = first[1], last[1]
        if high - low < 2:
            return
        if first[0] == last[0]:
            points[low : high + 1] = [first[1]] * (high + 1 - low)
            return
        middle = (low + high) // 2
        between = bill(distinct[middle])
        fill(low, middle, first, between)
        fill(middle, high, between, last)

    fill(0, len(distinct) - 1, bill(distinct[0]), bill(distinct[-1]))
    return [points[bisect.bisect_left(distinct, value)] for value in values]
