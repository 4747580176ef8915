"""What mistakes cost, and the cheapest way to decide: a threshold for two classes, the least expected cost for more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlport.audit.classification import NO_DECISION
from mlport.audit.intervals import mean
from mlport.audit.records import Measure, Record, absent
from mlport.audit.scored import Floats, Scored
from mlport.errors import SpecError

CELLS = {"true_negative": (0, 0), "false_positive": (0, 1), "false_negative": (1, 0), "true_positive": (1, 1)}
FOLDS = 5
NONE = "there are no rows"


@dataclass(frozen=True)
class Costs(Record):
    """Costs a row, in the unit of `costs`.

    `cheapest` is the threshold that costs least on these very rows. `saving` is what it would save a row: chosen on four fifths of
    the rows and measured on the last, in turn, with Student's t interval; the choice sees nothing that it is judged on.
    `if_calibrated` is the threshold that theory gives for exact probabilities (C. Elkan, IJCAI 2001). For more than two classes the
    rule is the class of least expected cost, which is fitted to nothing. `always` is the cheapest single answer to every row.
    """

    matrix: tuple[tuple[float, ...], ...]
    now: Measure
    threshold: float | None
    cheapest: float | None
    if_calibrated: float | None
    saving: Measure
    always: Any
    always_costs: float

    @property
    def worthwhile(self) -> bool:
        """Whether deciding otherwise saves beyond noise."""
        return self.saving.low is not None and self.saving.low > 0


def cost_matrix(costs: Mapping[Any, float], classes: tuple[Any, ...]) -> Floats:
    """Costs by (true, predicted), from names such as `false_negative` or pairs of classes; what is not named costs nothing.

    Raises:
        SpecError: a key names neither, a cost is no finite number, or nothing costs anything.
    """
    if not isinstance(costs, Mapping):
        raise SpecError(f"costs: a {type(costs).__name__} is no mapping", hint="such as {'false_positive': 1, 'false_negative': 5}")
    matrix = np.zeros((len(classes), len(classes)))
    for key, cost in costs.items():
        if isinstance(cost, bool) or not isinstance(cost, int | float) or not math.isfinite(cost):
            raise SpecError(f"costs[{key!r}]: {cost!r} is no finite number")
        matrix[_cell(key, classes)] = cost
    if not matrix.any():
        raise SpecError("costs: nothing costs anything", hint="such as {'false_positive': 1, 'false_negative': 5}")
    return matrix


def _cell(key: Any, classes: tuple[Any, ...]) -> tuple[int, int]:
    if isinstance(key, str) and key in CELLS and len(classes) == 2:
        return CELLS[key]
    if isinstance(key, tuple) and len(key) == 2 and all(each in classes for each in key):
        return classes.index(key[0]), classes.index(key[1])
    known = ", ".join(CELLS) if len(classes) == 2 else f"pairs (true, predicted) of {list(classes)[:10]}"
    raise SpecError(f"costs: {key!r} is none of {known}")


def costs(scored: Scored, given: Mapping[Any, float], confidence: float, seed: int) -> Costs:
    """What the decisions cost now, and what the cheapest would."""
    matrix = cost_matrix(given, scored.classes)
    n, truth = len(scored.truth), scored.truth
    constant = matrix[truth].mean(0)
    rows = None if scored.predicted is None else matrix[truth, scored.predicted]
    now = absent(NO_DECISION, n) if rows is None else mean(rows, confidence, NONE)
    cheapest, theory, saving = None, None, absent("predictions are labels: there is no other decision to take", n)
    if scored.scores is not None and scored.task == "binary":
        cheapest, theory = best_threshold(truth, scored.scores, matrix), _elkan(matrix) if scored.probability else None
        saving = absent(NO_DECISION, n) if rows is None else _saving(rows, truth, scored.scores, matrix, confidence, seed)
    elif scored.scores is not None and rows is not None:
        saving = mean(rows - matrix[truth, (scored.scores @ matrix).argmin(1)], confidence, NONE)
        saving = saving if scored.probability else absent("the least expected cost needs probabilities", n)
    best = int(constant.argmin())
    return Costs(
        tuple(map(tuple, matrix.tolist())), now, scored.threshold, cheapest, theory, saving, scored.classes[best], float(constant[best])
    )


def best_threshold(truth: NDArray[np.int64], score: Floats, matrix: Floats) -> float:
    """The score from which on predicting the second class costs least; just above the highest where never doing so does.

    Of thresholds that cost the same it is the highest.
    """
    values, group = np.unique(score, return_inverse=True)
    turned = matrix[truth, 1] - matrix[truth, 0]  # what predicting the second class adds
    added = np.cumsum(np.bincount(group, weights=turned)[::-1])
    options = np.concatenate([[np.nextafter(values[-1], np.inf)], values[::-1]])
    total = np.concatenate([[0.0], added])
    return float(options[np.flatnonzero(total <= total.min() + 1e-12 * np.abs(total).max())[0]])


def _saving(rows: Floats, truth: NDArray[np.int64], score: Floats, matrix: Floats, confidence: float, seed: int) -> Measure:
    fold = np.random.default_rng(seed).permutation(len(truth)) % FOLDS
    if len(truth) < 2 * FOLDS:
        return absent(f"fewer than {2 * FOLDS} rows", len(truth))
    saved = np.empty(len(truth))
    for at in range(FOLDS):
        own = fold == at
        cut = best_threshold(truth[~own], score[~own], matrix)
        saved[own] = rows[own] - matrix[truth[own], (score[own] >= cut).astype(int)]
    return mean(saved, confidence, NONE)


def _elkan(matrix: Floats) -> float | None:
    """(c10 - c00) / (c10 - c00 + c01 - c11), where c10 predicts 1 of a true 0; None unless each mistake costs more than its right answer."""
    false_alarm, missed = matrix[0, 1] - matrix[0, 0], matrix[1, 0] - matrix[1, 1]
    return float(false_alarm / (false_alarm + missed)) if false_alarm > 0 and missed > 0 else None
