"""How much data there is in each class, what to call the skew, and how well so many rows can be judged at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlport.audit.intervals import wilson
from mlport.audit.records import Record

DEGREES = ((0.4, "balanced"), (0.2, "mildly skewed"), (0.01, "moderately skewed"), (0.0, "extremely skewed"))


@dataclass(frozen=True)
class ClassCount(Record):
    """A class: its rows, in all and by split. `recall_known_to` is half the width of the interval that a recall of 0.5 would have."""

    name: Any
    rows: int
    share: float
    by_split: Mapping[str, int]
    recall_known_to: float | None


@dataclass(frozen=True)
class Balance(Record):
    """The classes, the largest first. `verdict` names the share of the smallest, times half the number of classes.

    That is its share for two classes, by the degrees of Google's guides to machine learning: mild from 20 to 40 %, moderate from 1 to
    20 %, extreme below. `evenness` is the entropy of the classes over its maximum (1: as many of each).
    """

    classes: tuple[ClassCount, ...]
    verdict: str
    evenness: float | None
    unlabelled: int


def balance(place: NDArray[np.int64], names: list[Any], splits: NDArray[Any], judged: NDArray[np.bool_]) -> Balance:
    """Of classes numbered in `place` (-1 without a label); `judged` are the rows that a model will be judged on."""
    counts = np.bincount(place[place >= 0], minlength=len(names))
    shares = counts / counts.sum()
    held = np.bincount(place[(place >= 0) & judged], minlength=len(names))
    by_split = {
        str(name): np.bincount(place[(splits == name) & (place >= 0)], minlength=len(names)) for name in dict.fromkeys(splits.tolist())
    }
    classes = tuple(
        ClassCount(
            name, int(counts[at]), float(shares[at]), {split: int(rows[at]) for split, rows in by_split.items()}, _known_to(int(held[at]))
        )
        for at, name in enumerate(names)
    )
    smallest = float(shares.min()) * len(names) / 2
    verdict = "one class only" if len(names) < 2 else next(name for least, name in DEGREES if smallest >= least)
    evenness = float(-(shares * np.log(shares)).sum() / np.log(len(names))) if len(names) > 1 else None
    return Balance(classes, verdict, evenness, int((place < 0).sum()))


def _known_to(rows: int) -> float | None:
    if rows == 0:
        return None
    low, high = wilson(rows / 2, rows)
    return float(high - low) / 2
