"""What money does not say: who decides, who answers, how it comes back, whether it works offline, how soon it begins.

The words are each provider's own (`notes` of its pricing), with a source where they are facts; the weights, and the scores if any
are given, are the user's (`[weights]` and `[scores.TARGET]` of the workload).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlport.costs.pricing import Note, notes

if TYPE_CHECKING:
    from mlport.costs.estimate import Target
    from mlport.costs.pricing import Criterion
    from mlport.costs.workload import Workload

TITLES: dict[Criterion, str] = {
    "control": "Control",
    "responsibility": "Responsibility",
    "recovery": "Recovery",
    "internet": "Dependence on the internet",
    "time_to_start": "Time to start",
}
SILENT = Note("nothing is said here")


@dataclass(frozen=True, slots=True)
class Row:
    """One criterion: its weight (None if the user gave none) and what is said of each target."""

    criterion: Criterion
    title: str
    weight: float | None
    notes: Mapping[str, Note]


def rows(workload: Workload, targets: Sequence[Target]) -> list[Row]:
    """The criteria, those that weigh most first."""
    found = [
        Row(name, title, workload.weights.get(name), {at.name: notes(at.pricing).get(name, SILENT) for at in targets})
        for name, title in TITLES.items()
    ]
    return sorted(found, key=lambda row: -(row.weight or 0))


def scores(workload: Workload, targets: Sequence[Target]) -> dict[str, float | None]:
    """The weighted mean of the user's own scores, 0 to 10; None for a target that has none for something that weighs."""
    weights = {name: weight for name, weight in workload.weights.items() if weight}
    found: dict[str, float | None] = {}
    for at in targets:
        told = workload.scores.get(at.name, {})
        known = bool(weights) and set(weights) <= set(told)
        found[at.name] = sum(weight * told[name] for name, weight in weights.items()) / sum(weights.values()) if known else None
    return found
