"""How far annotators agree beyond chance: Cohen's and Fleiss' kappa and Krippendorff's alpha, with intervals over units."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlport.audit.intervals import Floats, checked_confidence, from_confusion, proportion, resampled
from mlport.audit.records import Finding, Measure, Record, absent, grid
from mlport.audit.tables import comparable, frame, names_of, needed, numbers
from mlport.errors import SpecError

if TYPE_CHECKING:
    import pandas as pd

LEVELS = ("nominal", "ordinal", "interval", "ratio")
RELIABLE, TENTATIVE = 0.8, 0.667
"""K. Krippendorff, Content Analysis (2004), p. 241: rely on alpha from 0.8 on, conclude tentatively from 0.667 on."""
MOST_CELLS = 20_000_000


@dataclass(frozen=True)
class Agreement(Record):
    """Agreement of annotators (columns) on units (rows). `by_annotator` is each one's mean of Cohen's kappa with the others."""

    annotators: tuple[str, ...]
    units: int
    level: str
    same: Measure
    """The share of pairs of ratings of one unit that are equal; pairs of a unit are not independent, so it has no interval."""
    cohen: Mapping[str, Measure]
    fleiss: Measure
    alpha: Measure
    by_annotator: Mapping[str, float | None]
    findings: tuple[Finding, ...] = ()

    def text(self) -> str:
        """For a terminal."""
        rows = [
            ("Krippendorff's alpha", self.alpha),
            ("Fleiss' kappa", self.fleiss),
            *((f"Cohen's kappa, {pair}", each) for pair, each in self.cohen.items()),
        ]
        lines = [f"{len(self.annotators)} annotators, {self.units:,} units, {self.level}", f"equal pairs of ratings: {self.same}"]
        return "\n".join([*lines, *grid(["", ""], rows), *map(str, self.findings)])

    def __str__(self) -> str:
        return self.text()


def agreement(
    ratings: Any,
    annotators: Sequence[str] | None = None,
    *,
    level: str = "nominal",
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Agreement:
    """Agreement of the annotators, columns of `ratings` with a unit a row; missing ratings are allowed.

    Cohen's kappa: J. Cohen, Educ. Psychol. Meas. 20 (1960) 37-46. Fleiss': J. L. Fleiss, Psychol. Bull. 76 (1971) 378-382, where every
    unit has as many ratings. Alpha: K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011). Intervals resample units.

    Raises:
        SpecError: fewer than two annotators, an unknown column or level, or a level above nominal for ratings that are no numbers.
    """
    checked_confidence(confidence)
    table = frame(ratings, "ratings")
    names = needed(table.columns, names_of(annotators) or list(table.columns), "annotators")
    if len(names) < 2:
        raise SpecError(f"annotators: agreement needs two or more, and there is {len(names)}")
    if level not in LEVELS:
        raise SpecError(f"level: {level!r} is none of {', '.join(LEVELS)}")
    codes, values = _coded(table[names], level)
    units = int(((codes >= 0).sum(1) >= 2).sum())
    pairs = list(_pairs(codes, confidence, resamples, seed))
    cohen = {f"{names[first]} and {names[second]}": measure for first, second, measure in pairs}
    counts = np.stack([(codes == at).sum(1) for at in range(len(values))], axis=1).astype(float) if values else np.zeros((len(codes), 0))
    alpha = _with_draws(counts, lambda rows: krippendorff(rows, np.array(values, dtype=object), level), confidence, resamples, seed, units)
    made = Agreement(
        tuple(names), units, level, _same(counts), cohen, _fleiss(counts, confidence, resamples, seed, units), alpha, _means(names, pairs)
    )
    return Agreement(**{**vars(made), "findings": tuple(_findings(made))})


def _coded(table: pd.DataFrame, level: str) -> tuple[NDArray[np.int64], list[Any]]:
    """Each rating as the number of its value, -1 where there is none; the values in order."""
    columns = [comparable(table[name]) for name in table.columns]
    if level != "nominal":
        found = [numbers(each) if not each.isna().all() else np.full(len(each), np.nan) for each in columns]
        if any(each is None for each in found):
            raise SpecError(f"level: {level} needs ratings that are numbers", hint="level='nominal', or number the ratings in order")
        matrix = np.column_stack([each for each in found if each is not None])
        if level == "ratio" and (matrix < 0).any():
            raise SpecError("level: ratio needs ratings of at least 0")
        values, place = np.unique(matrix[~np.isnan(matrix)], return_inverse=True)
        codes = np.full(matrix.shape, -1, np.int64)
        codes[~np.isnan(matrix)] = place
        return codes, values.tolist()
    seen = list(dict.fromkeys(itertools.chain.from_iterable(each.dropna().tolist() for each in columns)))
    at = {value: number for number, value in enumerate(seen)}
    return np.column_stack([each.map(at).fillna(-1).to_numpy(np.int64) for each in columns]), seen


def kappa(matrix: Floats) -> Floats:
    """Cohen's kappa of each confusion matrix of a stack; NaN where chance alone agrees always."""
    n = matrix.sum((1, 2))
    seen = np.trace(matrix, axis1=1, axis2=2) / n
    chance = (matrix.sum(1) * matrix.sum(2)).sum(1) / n**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(chance < 1, (seen - chance) / (1 - chance), np.nan))


def _pairs(codes: NDArray[np.int64], confidence: float, resamples: int, seed: int) -> Iterator[tuple[int, int, Measure]]:
    """Cohen's kappa of each two annotators, by their numbers."""
    for first, second in itertools.combinations(range(codes.shape[1]), 2):
        both = (codes[:, first] >= 0) & (codes[:, second] >= 0)
        n = int(both.sum())
        if n == 0:
            yield first, second, absent("they rated no unit in common", 0)
            continue
        used, place = np.unique(codes[both][:, [first, second]], return_inverse=True)
        place = place.reshape(-1, 2)
        matrix = np.bincount(place[:, 0] * len(used) + place[:, 1], minlength=len(used) ** 2).reshape(len(used), len(used))
        found = from_confusion(matrix, {"kappa": kappa}, confidence, resamples, seed)["kappa"]
        yield first, second, found if found.value is not None else absent("both gave one and the same rating to every unit", n)


def fleiss(counts: Floats) -> float:
    """Fleiss' kappa of ratings counted by unit and value, as many for each unit; NaN where chance alone agrees always."""
    each = counts.sum(1)[0]
    seen = float((((counts**2).sum(1) - each) / (each * (each - 1))).mean())
    chance = float(((counts.sum(0) / counts.sum()) ** 2).sum())
    return (seen - chance) / (1 - chance) if chance < 1 else float("nan")


def krippendorff(counts: Floats, values: NDArray[Any], level: str) -> float:
    """Krippendorff's alpha of ratings counted by unit and value, units with one rating left out; NaN where all ratings are equal.

    1 - observed / expected disagreement over the coincidence matrix, with the difference function of the level of measurement.
    """
    pairable = counts[counts.sum(1) >= 2]
    if len(pairable) == 0:
        return float("nan")
    share = pairable / (pairable.sum(1, keepdims=True) - 1)
    coincidence = share.T @ pairable - np.diag(share.sum(0))
    margins = coincidence.sum(1)
    apart = _difference(margins, values, level)
    expected = float((np.outer(margins, margins) * apart).sum() / (margins.sum() - 1))
    return 1 - float((coincidence * apart).sum()) / expected if expected > 0 else float("nan")


def _difference(margins: Floats, values: NDArray[Any], level: str) -> Floats:
    if level == "nominal":
        return 1 - np.eye(len(margins))
    if level == "ordinal":
        upto = np.cumsum(margins) - margins / 2
        return np.asarray((upto[:, None] - upto[None]) ** 2, float)
    number = values.astype(float)
    apart = number[:, None] - number[None]
    if level == "interval":
        return np.asarray(apart**2, float)
    total = number[:, None] + number[None]
    return np.asarray(np.divide(apart, total, out=np.zeros_like(apart), where=total > 0) ** 2, float)


def _with_draws(counts: Floats, function: Any, confidence: float, resamples: int, seed: int, units: int) -> Measure:
    """A coefficient with the interval of its bootstrap over the units that have two ratings."""
    pairable = counts[counts.sum(1) >= 2]
    value = function(pairable) if units else float("nan")
    if not np.isfinite(value):
        return absent("no unit has two ratings" if units == 0 else "all ratings are equal: agreement cannot be told from chance", units)
    if resamples * pairable.size > MOST_CELLS * 10:
        return Measure(value, n=units, reason="no interval: too many units by values for the bootstrap")
    rng = np.random.default_rng(seed)
    draws = np.array([function(pairable[rng.integers(units, size=units)]) for _ in range(resamples)])
    return resampled(value, draws, units, confidence, f"bootstrap of units, {resamples} resamples, seed {seed}, {confidence:g}")


def _fleiss(counts: Floats, confidence: float, resamples: int, seed: int, units: int) -> Measure:
    rated = np.unique(counts.sum(1))
    if len(rated) != 1 or rated[0] < 2:
        return absent("it needs the same number of ratings, two or more, of every unit; alpha does not", units)
    return _with_draws(counts, fleiss, confidence, resamples, seed, units)


def _same(counts: Floats) -> Measure:
    rated = counts.sum(1)
    pairs, equal = float((rated * (rated - 1)).sum() / 2), float((counts * (counts - 1)).sum() / 2)
    whole = proportion(equal, int(pairs), 0.95, "no unit has two ratings")
    return whole if whole.value is None else Measure(whole.value, n=whole.n)


def _means(names: list[str], pairs: list[tuple[int, int, Measure]]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for at, name in enumerate(names):
        own = [each.value for first, second, each in pairs if at in (first, second) and each.value is not None]
        found[name] = float(np.mean(own)) if own else None
    return found


def _findings(made: Agreement) -> Iterator[Finding]:
    low = made.alpha.low if made.alpha.low is not None else made.alpha.value
    if low is None:
        yield Finding("agreement", "warning", f"agreement: {made.alpha}")
    elif low < TENTATIVE:
        yield Finding(
            "agreement",
            "problem",
            f"alpha {made.alpha} may be below {TENTATIVE}: these labels are not reliable enough to learn from or to judge by",
        )
    elif low < RELIABLE:
        yield Finding("agreement", "warning", f"alpha {made.alpha} may be below {RELIABLE}: conclude tentatively")
