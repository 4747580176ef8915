"""What if: one field of a workload over many values, at several targets.

A number takes all its values in one pass of the sampled arithmetic: an array stands where the workload has the number. Where a rule
asks what is not the same for all of them, such as which machine is the best, the values are split until it is. Other fields, and rules
that cannot work with an array, are priced value by value; where neighbours give the very same bill, what lies between them is not priced
again, for a machine that is the cheapest for less and for more is so in between.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import isfinite
from typing import TYPE_CHECKING, Any

from mlport.costs.arithmetic import Points
from mlport.costs.catalogue import default, nearest
from mlport.costs.comparing.uncertainty import available
from mlport.costs.estimate import Target, priced, target
from mlport.costs.parts import Uncertain
from mlport.costs.pricing import names
from mlport.costs.workload import PLACES, Workload
from mlport.errors import SpecError
from mlport.fields import parse_duration

if TYPE_CHECKING:
    from mlport.costs.catalogue import Catalogue
    from mlport.costs.quote import Discount

MACHINE = {"cpus", "memory_gib", "gpus"}
"""What a machine is chosen by. More never undoes what more did: equal bills at both ends mean the same bill in between."""
RANGE = 3  # [low, mid, high] is one uncertain number
Point = float | tuple[float, ...]
"""A value as a number, or as one for each hour."""
Total = tuple[float, bool]
"""What all comes to, and whether it is of everything that was asked for."""
Priced = tuple[object, Total]
"""What a bill is made of, to compare it with another, and its total."""
Path = Sequence[str | int]


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
    change = Change(workload, path)
    points = change.points(values) if available() else None
    if points is None and not any(map(change.touches, targets)):
        for value in dict(zip(map(repr, values), values, strict=True)).values():
            change.to(value)
    found = {name: list(_at_target(change, name, prices, discount, values, points)) for name in targets}
    return WhatIf(
        field,
        tuple(values),
        {name: [total for total, _ in points] for name, points in found.items()},
        {name: [complete for _, complete in points] for name, points in found.items()},
    )


def located(workload: Workload, field: str) -> list[str | int]:
    """The way to a field, from the top of the workload's table. Raises SpecError for one that is not there."""
    first, *rest = (int(step) if step.isdigit() else step for step in field.split("."))
    here = {name: at for name, at in _named(workload).items() if rest and isinstance(rest[0], str)}
    if first in here:
        return [*here[str(first)], *rest]
    if first in _named(workload) and first not in Workload.model_fields:
        fields = [name for part in workload.parts() if part.name == first for name in type(part).model_fields]
        raise SpecError(f"what-if: {first!r} is a part: name a field of it", hint=f"it has: {', '.join(fields)}")
    if first not in Workload.model_fields:
        raise SpecError(
            f"what-if: the workload has no field or part {first!r}", hint=nearest(str(first), [*_named(workload), *Workload.model_fields])
        )
    return [first, *rest]


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


class Change:
    """A field of a workload that takes other values."""

    def __init__(self, workload: Workload, path: Path) -> None:
        self.workload, self.path = workload, path
        self._table: Any = _editable(workload.model_dump(exclude_unset=True))
        self._holder: Any = self._table
        try:
            for step in path[:-1]:
                self._holder = self._holder[step] if isinstance(step, int) else self._holder.setdefault(step, {})
            self._holder[path[-1]] = self._holder[path[-1]] if isinstance(path[-1], int) else self._holder.get(path[-1])
        except (AttributeError, LookupError, TypeError) as error:
            raise SpecError(f"what-if: the workload has no {'.'.join(map(str, path))}") from error

    def to(self, value: Any) -> Workload:
        """The workload with another value there. Raises SpecError."""
        self._holder[self.path[-1]] = value
        return Workload.model_validate(self._table)

    def touches(self, name: str) -> bool:
        """Whether a target may cost something else then."""
        if self.path[0] in ("uncertainty", "weights", "scores", "name"):
            return False
        if self.path[0] != "targets" or len(self.path) < 3 or self.path[1] == name:
            return True
        own = self.workload.targets.get(name, {})  # stands over what its provider's table says
        provider = own.get("provider", name)
        return self.path[2] not in own and (provider == self.path[1] or provider not in names())

    def points(self, values: Sequence[Any]) -> Sequence[Point] | None:
        """The values as numbers, or each as the numbers of its hours; None where they are none, or the field takes none.

        Raises SpecError for one that the field refuses.
        """
        if values and all(isinstance(value, list | tuple) and len(value) == len(values[0]) != RANGE for value in values):
            return self._profiles(values)
        numbers = [_seconds(value) for value in values]
        known = [number for number in numbers if number is not None and isfinite(number)]
        if not known or len(known) < len(values):
            return None
        ends = [self._taken(values[known.index(end)]) for end in (min(known), max(known))]
        if not all(isinstance(end, int | float | timedelta | Uncertain) and not isinstance(end, bool) for end in ends):
            return None
        whole = any(isinstance(end, int) for end in ends)
        return None if whole and any(number % 1 for number in known) else known

    def _profiles(self, values: Sequence[Sequence[Any]]) -> Sequence[Point] | None:
        """Demands by the hour."""
        if any(isinstance(rate, bool) or not isinstance(rate, int | float) or not isfinite(rate) for value in values for rate in value):
            return None
        hours = list(zip(*values, strict=True))
        ends = [self._taken([end(rates) for rates in hours]) for end in (min, max)]
        return [tuple(map(float, value)) for value in values] if all(isinstance(end, tuple) for end in ends) else None

    def _taken(self, value: Any) -> object:
        """What the field makes of a value."""
        made = self.to(value)
        if self.path[0] == "targets":
            if len(self.path) != 3:
                return None
            return getattr(target(made, str(self.path[1])).settings, str(self.path[2]), None)
        here: Any = made
        for step in self.path:
            here = here[step] if isinstance(step, int) else getattr(here, step, None)
        return here

    def at(self, name: str, points: Any) -> tuple[Workload, Target]:
        """The workload and a target with an array of values there, which are known to be right."""
        if points.ndim > 1:
            points = tuple(points[:, hour] for hour in range(points.shape[1]))
        if self.path[0] == "targets":
            made = self.to(float(points[0]))
            found = target(made, name)
            if getattr(found.settings, str(self.path[2])) != float(points[0]):
                raise TypeError(f"{name} takes it from elsewhere")
            return made, found._replace(settings=_placed(found.settings, self.path[2:], points))
        made = _placed(self.workload, self.path, points)
        return made, target(self.workload, name)


def changed(workload: Workload, path: Path, value: Any) -> Workload:
    """The workload with another value at a place. Raises SpecError."""
    return Change(workload, path).to(value)


def _editable(value: Any) -> Any:
    """Tables and lists that may be changed."""
    if isinstance(value, dict):
        return {name: _editable(item) for name, item in value.items()}
    return [_editable(item) for item in value] if isinstance(value, list | tuple) else value


def _placed(holder: Any, path: Path, value: Any) -> Any:
    """A model with another value at a place, which is not checked."""
    if not path:
        return value
    step, *rest = path
    if isinstance(step, int):
        return tuple(_placed(item, rest, value) if at == step else item for at, item in enumerate(holder))
    return holder.model_copy(update={step: _placed(getattr(holder, step), rest, value)})


def _seconds(value: Any) -> float | None:
    """A number, or the seconds of a duration; None for what is neither."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | timedelta):
        return None
    try:
        found = parse_duration(value) if isinstance(value, str) else value
    except ValueError:
        return None
    return found.total_seconds() if isinstance(found, timedelta) else float(found)  # type: ignore[arg-type]


def _at_target(
    change: Change,
    name: str,
    catalogue: Catalogue,
    discount: Discount | None,
    values: Sequence[Any],
    points: Sequence[Point] | None,
) -> Iterable[Total]:
    if not change.touches(name):
        found = priced(change.workload, target(change.workload, name), catalogue, discount=discount)
        return [(float(found.total), found.complete)] * len(values)
    by_value = _by_value(change, name, catalogue, discount)
    if points is not None and (change.path[-1] not in MACHINE or change.path[0] == "targets"):
        return _vectorised(change, name, catalogue, discount, values, points, by_value)
    if points is not None:
        return _bisected(sorted(set(values)), by_value, values)
    known: dict[Any, Total] = {}
    return [known[key] if (key := repr(value)) in known else known.setdefault(key, by_value(value)[1]) for value in values]


def _vectorised(
    change: Change,
    name: str,
    catalogue: Catalogue,
    discount: Discount | None,
    values: Sequence[Any],
    points: Sequence[Point],
    by_value: Callable[[Any], Priced],
) -> list[Total]:
    """All points at once; those apart for which a rule asks for different things, or which it cannot take at once."""
    import numpy as np

    math = Points()
    distinct = dict(sorted(zip(points, values, strict=True), key=lambda pair: pair[0]))
    ordered, told = math.number(np.asarray(list(distinct))), list(distinct.values())
    totals, complete = np.empty(len(told)), np.empty(len(told), dtype=bool)

    def fill(low: int, high: int) -> None:
        try:
            made, at = change.at(name, ordered[low:high])
            found = priced(made, at, catalogue, math=math, discount=discount)
            totals[low:high], complete[low:high] = found.total, found.complete
        except (TypeError, ValueError, AttributeError, ArithmeticError, SpecError):  # a rule asked for one number
            if high - low == 1:
                totals[low], complete[low] = by_value(told[low])[1]
                return
            middle = (low + high) // 2
            fill(low, middle)
            fill(middle, high)

    fill(0, len(told))
    found = dict(zip(distinct, zip(totals.tolist(), complete.tolist(), strict=True), strict=True))
    return [found[point] for point in points]


def _by_value(change: Change, name: str, catalogue: Catalogue, discount: Discount | None) -> Callable[[Any], Priced]:
    def bill(value: Any) -> Priced:
        made = change.to(value)
        found = priced(made, target(made, name), catalogue, discount=discount)
        amounts = tuple((line.part, line.what, line.quantity, line.cost) for line in found.lines)
        return (amounts, tuple(refusal.part for refusal in found.refused)), (float(found.total), found.complete)

    return bill


def _bisected(distinct: Sequence[float], bill: Callable[[Any], Priced], values: Sequence[float]) -> list[Total]:
    points: list[Total] = [(0.0, False)] * len(distinct)

    def fill(low: int, high: int, first: Priced, last: Priced) -> None:
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
