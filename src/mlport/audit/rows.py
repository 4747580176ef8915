"""Rows that should not meet: duplicates, the same row or entity in two splits, time that runs backwards, labels that contradict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlport.audit.records import Record
from mlport.audit.tables import comparable, numbers

if TYPE_CHECKING:
    import pandas as pd

Ints = NDArray[np.int64]
EXAMPLES = 5


@dataclass(frozen=True)
class Duplicates(Record):
    """Rows equal in every feature and the label. `extra` is how many could go with none lost; `examples` are row numbers."""

    extra: int
    groups: int
    share: float
    within: Mapping[str, int]
    examples: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Shared(Record):
    """What one split has in common with the training split: `rows` of its `of`, equal by features, by entity, or earlier in time."""

    split: str
    rows: int
    of: int
    examples: tuple[int, ...] = ()
    usual: float = 0.0
    """The share of training rows that have this in common with another training row."""

    @property
    def share(self) -> float:
        """`rows` of `of`."""
        return self.rows / self.of if self.of else 0.0


@dataclass(frozen=True)
class Order(Record):
    """Training rows that are later than the first row of `split`: a model that learnt from them has seen its future."""

    split: str
    later: int
    of: int
    train_ends: str
    split_begins: str


@dataclass(frozen=True)
class Conflicts(Record):
    """Rows with equal features and different labels. No model of these features gets more than `ceiling` of these rows right."""

    rows: int
    groups: int
    ceiling: float | None
    examples: tuple[tuple[int, ...], ...]


def identities(table: pd.DataFrame, columns: Sequence[str]) -> Ints:
    """A number for each row, the same for rows that are equal in `columns`; missing values equal each other."""
    import pandas as pd

    found = np.zeros(len(table), np.int64)
    for name in columns:
        codes, values = pd.factorize(comparable(table[name]), use_na_sentinel=True)
        found = np.asarray(pd.factorize(found * (len(values) + 1) + codes + 1)[0], np.int64)
    return found


def duplicates(same: Ints, splits: NDArray[Any]) -> Duplicates:
    """Of rows with the identities `same`; `within` counts the extra rows of each split alone."""
    counts = np.bincount(same)
    groups = np.flatnonzero(counts > 1)
    extra = int((counts[groups] - 1).sum())
    within = {str(name): int((splits == name).sum() - len(np.unique(same[splits == name]))) for name in dict.fromkeys(splits.tolist())}
    return Duplicates(extra, len(groups), extra / len(same), within, _examples(same, groups))


def _examples(same: Ints, groups: NDArray[Any]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(np.flatnonzero(same == group)[:EXAMPLES].tolist()) for group in groups[:EXAMPLES])


def shared(same: Ints, splits: NDArray[Any], train: str, *, known: NDArray[np.bool_] | None = None) -> tuple[Shared, ...]:
    """For each other split, how many of its rows have an identity that the training split has, too."""
    countable = np.ones(len(same), bool) if known is None else known
    of_train, counts = np.unique(same[(splits == train) & countable], return_counts=True)
    usual = float(counts[counts > 1].sum() / max(counts.sum(), 1))
    found = []
    for name in dict.fromkeys(splits.tolist()):
        if name != train:
            own = np.flatnonzero((splits == name) & countable)
            both = own[np.isin(same[own], of_train)]
            found.append(Shared(str(name), len(both), len(own), tuple(both[:EXAMPLES].tolist()), usual))
    return tuple(found)


def order(times: pd.Series[Any], splits: NDArray[Any], train: str) -> tuple[Order, ...]:
    """For each other split, how many training rows are later than its first."""
    seconds = numbers(times)
    if seconds is None:
        raise TypeError("neither numbers nor instants")
    mine = (splits == train) & ~np.isnan(seconds)
    found = []
    for name in dict.fromkeys(splits.tolist()):
        other = (splits == name) & ~np.isnan(seconds)
        if name != train and other.any() and mine.any():
            begins, ends = np.flatnonzero(other)[seconds[other].argmin()], np.flatnonzero(mine)[seconds[mine].argmax()]
            later = int((seconds[mine] > seconds[begins]).sum())
            found.append(Order(str(name), later, int(mine.sum()), str(times.iloc[ends]), str(times.iloc[begins])))
    return tuple(found)


def conflicts(same: Ints, labels: Ints, *, is_class: bool) -> Conflicts:
    """Of rows with the identities `same` (by features alone) and labels numbered from 0, -1 where there is none."""
    known = labels >= 0
    rows = np.flatnonzero(known)
    if not len(rows):
        return Conflicts(0, 0, None, ())
    width = int(labels.max()) + 1
    pairs, counts = np.unique(same[rows] * width + labels[rows], return_counts=True)
    group = pairs // width
    differing = np.flatnonzero(np.bincount(group) > 1)
    inside = np.isin(same, differing) & known
    most = np.zeros(int(group.max()) + 1, np.int64)
    np.maximum.at(most, group, counts)
    ceiling = float(most.sum() / len(rows)) if is_class else None
    return Conflicts(int(inside.sum()), len(differing), ceiling, _examples(np.where(known, same, -1), differing))
