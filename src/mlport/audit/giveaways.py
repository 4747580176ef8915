"""Features that alone give the label away: each one judged on rows that it was not fitted to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlport.audit.classification import Ranking
from mlport.audit.records import Record
from mlport.audit.tables import bounded, codes, numbers

if TYPE_CHECKING:
    import pandas as pd

Ints = NDArray[np.int64]
BINS = 64
FOLDS = 5
MOST_ROWS = 100_000
SURE, LIKELY = 0.99, 0.98
LEAST = 10
"""A class with fewer rows is not looked at by itself: it is given away by chance."""


@dataclass(frozen=True)
class Giveaway(Record):
    """What one feature knows: of classes the ROC AUC for `of` against the rest, of numbers the share of variance explained."""

    feature: str
    score: float
    metric: str
    of: Any = None


def giveaways(table: pd.DataFrame, features: Sequence[str], label: pd.Series[Any], *, is_class: bool, seed: int) -> tuple[Giveaway, ...]:
    """Every feature by how well it alone tells the label, the best first; rows above MOST_ROWS are sampled.

    A feature's values (quantile bins of numbers) are scored by the label's mean in four fifths of the rows, and judged on the last.
    """
    rows = np.flatnonzero(label.notna().to_numpy())
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(rows, MOST_ROWS, replace=False)) if len(rows) > MOST_ROWS else rows
    if len(rows) < 4 * FOLDS:
        return ()
    fold = rng.permutation(len(rows)) % FOLDS
    targets = list(_targets(label.iloc[rows], is_class))
    found = [_best(name, _binned(table[name].iloc[rows]), targets, fold, is_class) for name in features] if targets else []
    return tuple(sorted(found, key=lambda each: -each.score))


def _targets(label: pd.Series[Any], is_class: bool) -> Iterator[tuple[Any, NDArray[np.float64]]]:
    if not is_class:
        values = numbers(label)
        if values is not None and values.std() > 0:
            yield None, values
        return
    found, names = codes(label)
    for at, name in enumerate(names[1:] if len(names) == 2 else names, start=1 if len(names) == 2 else 0):
        own = found == at
        if LEAST <= own.sum() <= len(found) - LEAST:
            yield name, own.astype(float)


def _binned(values: pd.Series[Any]) -> Ints:
    found = numbers(values)
    if found is None:
        return codes(values)[0] + 1
    found = bounded(found)
    distinct = np.unique(found[~np.isnan(found)])
    if len(distinct) > BINS:
        distinct = np.unique(np.nanquantile(found, np.linspace(0, 1, BINS + 1)[1:]))
    return np.where(np.isnan(found), 0, np.searchsorted(distinct, found) + 1)


def _best(name: str, binned: Ints, targets: list[tuple[Any, NDArray[np.float64]]], fold: Ints, is_class: bool) -> Giveaway:
    size, best = int(binned.max()) + 1, Giveaway(name, -1.0, "roc_auc" if is_class else "r2")
    for of, target in targets:
        guess = np.empty(len(target))
        for at in range(FOLDS):
            own = fold == at
            mean = target[~own].mean()
            rows = np.bincount(binned[~own], minlength=size)
            total = np.bincount(binned[~own], weights=target[~own], minlength=size)
            guess[own] = ((total + mean) / (rows + 1))[binned[own]]
        area = Ranking(target > 0, guess).areas()[1] if is_class else 0.0
        score = max(area, 0.0) if is_class else 1 - float(((target - guess) ** 2).mean() / target.var())
        if score > best.score:
            best = Giveaway(name, float(score), best.metric, of)
    return best
