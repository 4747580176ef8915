"""Labels that a model, which has not seen them, contradicts: suspected errors by confident learning, as cleanlab implements it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlport.audit.intervals import mean
from mlport.audit.records import Record, percent
from mlport.audit.tables import bounded, codes, numbers, require
from mlport.errors import SpecError

if TYPE_CHECKING:
    import pandas as pd

FOLDS = 5
MOST_ROWS = 10_000
LEAST = 10
"""A class with fewer rows cannot be learnt in every fold, and is left out."""


@dataclass(frozen=True)
class Suspect(Record):
    """A row whose label is doubted: the label, what the model says, and the probability it gives to the label as it stands."""

    row: int
    label: Any
    suggested: Any
    probability: float


@dataclass(frozen=True)
class Suspects(Record):
    """Suspected label errors, the most doubtful first; None for `found` has a `reason`. They are for people to look at, not to be corrected unseen."""

    found: tuple[Suspect, ...] | None
    looked_at: int
    of: int
    accuracy: float | None = None
    """The model's own, out of fold: of a poor model's doubts little is to be had."""
    left_out: tuple[Any, ...] = ()
    reason: str | None = None


def encoded(table: pd.DataFrame, features: Sequence[str]) -> NDArray[np.float64]:
    """Features as numbers for trees: categories by how frequent they are, missing as NaN."""
    columns = []
    for name in features:
        found = numbers(table[name])
        if found is None:
            place = codes(table[name])[0]
            found = np.where(place < 0, np.nan, place)
        columns.append(bounded(found))
    return np.column_stack(columns)


def suspects(table: pd.DataFrame, features: Sequence[str], label: pd.Series[Any], *, model: Any, seed: int) -> Suspects:
    """Confident learning (C. G. Northcutt, L. Jiang and I. L. Chuang, JAIR 70 (2021) 1373-1411) on out-of-fold probabilities.

    `model` is a scikit-learn classifier with predict_proba for the table's features; extremely randomised trees if None. At most
    MOST_ROWS rows, sampled, are looked at.
    """
    place, names = codes(label)
    counts = np.bincount(place[place >= 0], minlength=len(names))
    kept = np.flatnonzero(counts >= LEAST)
    left_out = tuple(names[at] for at in np.flatnonzero(counts < LEAST))
    rows = np.flatnonzero(np.isin(place, kept))
    if len(kept) < 2:
        return Suspects(None, 0, len(label), left_out=left_out, reason=f"fewer than two classes have {LEAST} rows or more")
    require("cleanlab", "the search for label errors")
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_ROWS, replace=False))
        kept = kept[np.bincount(place[rows], minlength=len(names))[kept] >= FOLDS]
        rows = rows[np.isin(place[rows], kept)]
    own = np.searchsorted(kept, place[rows])
    probability = _out_of_fold(table.iloc[rows], features, own, model, seed)
    best = probability.argmax(1)
    accuracy = float((best == own).mean())
    if not _knows(own, probability):
        reason = f"the model (right on {percent(accuracy)} of rows) is no better than the classes' shares: its doubts would be noise"
        return Suspects(None, len(rows), len(label), accuracy, left_out, reason)
    doubted = _doubted(own, probability)
    found = tuple(
        Suspect(int(rows[at]), names[kept[own[at]]], names[kept[best[at]]], float(probability[at, own[at]]))
        for at in doubted
        if best[at] != own[at]
    )
    return Suspects(found, len(rows), len(label), accuracy, left_out)


def _out_of_fold(table: pd.DataFrame, features: Sequence[str], label: NDArray[Any], model: Any, seed: int) -> NDArray[np.float64]:
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    data: Any = encoded(table, features) if model is None else table[list(features)]
    chosen = ExtraTreesClassifier(100, random_state=seed) if model is None else model
    try:
        return np.asarray(cross_val_predict(chosen, data, label, cv=splitter, method="predict_proba"), float)
    except (ValueError, TypeError, AttributeError) as error:
        raise SpecError(f"model: {type(chosen).__name__} cannot learn these features: {error}") from error


def _knows(label: NDArray[Any], probability: NDArray[np.float64]) -> bool:
    """Whether the Brier score beats that of the classes' shares, beyond noise."""
    truth = np.eye(probability.shape[1])[label]
    better = ((truth.mean(0) - truth) ** 2).sum(1) - ((probability - truth) ** 2).sum(1)
    gain = mean(better, 0.95, "")
    return gain.low is not None and gain.low > 0


def _doubted(label: NDArray[Any], probability: NDArray[np.float64]) -> list[int]:
    from cleanlab.filter import find_label_issues

    found = find_label_issues(label, probability, return_indices_ranked_by="self_confidence", n_jobs=1)
    return [int(at) for at in found]
