"""Whether current rows lie where the reference has rows, too: ranges, categories, and a classifier that tells both apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlport.audit.classification import delong
from mlport.audit.records import Measure, Record, percent
from mlport.audit.scored import Floats
from mlport.audit.tables import comparable, needed, numbers
from mlport.errors import SpecError

FOLDS = 5
MOST_ROWS = 20_000
"""Rows of each side that classifiers are trained on; of more, so many are drawn."""
SCARCE = 20.0
"""Where the current rows are so many times as dense as the reference's, the reference says too little."""
MOST_OUTSIDE = 0.05

PREFIX = "features."
NO_FEATURES = (
    *("provider_id", "caller_id", "row", "time", "labelled_at", "prediction"),
    *("endpoint", "deployment", "model_version", "status", "latency", "sampling_rate", "raw"),
)
"""Columns of a captured table that are no features."""


@dataclass(frozen=True)
class Assumption(Record):
    """What an answer rests on, and what is known of that."""

    name: str
    status: Literal["holds", "violated", "cannot be checked"]
    text: str

    def __str__(self) -> str:
        return f"{self.name}: {self.status}. {self.text}"


@dataclass(frozen=True)
class Support(Record):
    """`outside` is the share of current rows that the reference says nothing about: beyond its ranges, of unseen categories, or scarce in it.

    `by_column` is the share outside of each column alone; `scarce` that of rows where the current data are SCARCE times as dense. `auc` of
    the classifier that tells both apart: 0.5 where it cannot.
    """

    outside: float
    scarce: float
    by_column: Mapping[str, float]
    auc: Measure
    rows: int

    @property
    def holds(self) -> bool:
        return self.outside <= MOST_OUTSIDE

    def assumption(self) -> Assumption:
        worst = max(self.by_column, key=lambda name: self.by_column[name], default=None)
        where = "" if worst is None or not self.by_column[worst] else f", most in {worst!r} ({percent(self.by_column[worst])})"
        text = (
            f"{percent(self.outside)} of the current rows lie where the reference has hardly any{where}; {percent(MOST_OUTSIDE)} is allowed"
        )
        return Assumption("current rows lie within the reference's support", "holds" if self.holds else "violated", text)


@dataclass(frozen=True)
class Domains:
    """Both sides' features as numbers, and for each row (reference first) the out-of-fold probability of being current, at equal sizes."""

    reference: Floats
    current: Floats
    probability: Floats
    auc: Measure


def feature_columns(table: pd.DataFrame, wanted: Sequence[str] | None, aside: Sequence[str]) -> pd.DataFrame:
    """The feature columns: those wanted, else those of a captured table's `features`, else all but the ones `aside`."""
    own = _captured(table)
    if wanted is None:
        data = table if own is None else own
        return data[[name for name in data.columns if name not in aside]]
    data = (
        table
        if own is None or "features" in wanted
        else table.assign(**{str(name): own[name] for name in own if name not in table.columns})
    )
    return data[needed(data.columns, wanted, "features")]


def _captured(table: pd.DataFrame) -> pd.DataFrame | None:
    """The columns of a captured table's struct `features`, which a reader may have taken apart; None where there is none."""
    if "features" in table.columns:
        return pd.DataFrame([value if isinstance(value, dict) else {} for value in table["features"]], index=table.index)
    names = [name for name in table.columns if str(name).startswith(PREFIX)]
    return table[names].rename(columns=lambda name: name.removeprefix(PREFIX)) if names else None


def encoded(reference: pd.DataFrame, current: pd.DataFrame) -> tuple[Floats, Floats]:
    """Both as matrices: numbers as they are, the rest by the number of its value in the reference, unseen values one above them."""
    needed(current.columns, reference.columns, "current")
    pairs = [_column(reference[name], current[name], str(name)) for name in reference.columns]
    if not pairs:
        return np.zeros((len(reference), 0)), np.zeros((len(current), 0))
    return np.column_stack([own for own, _ in pairs]), np.column_stack([other for _, other in pairs])


def _column(reference: pd.Series[Any], current: pd.Series[Any], name: str) -> tuple[Floats, Floats]:
    own, other = numbers(reference), numbers(current)
    if own is None and reference.isna().all():
        own = np.full(len(reference), np.nan)
    if other is None and current.isna().all():
        other = np.full(len(current), np.nan)
    if own is not None and other is not None:
        return _finite(own), _finite(other)
    if (own is None) != (other is None) and reference.notna().any() and current.notna().any():
        raise SpecError(f"current: column {name!r} is {current.dtype}, and {reference.dtype} in the reference")
    values = comparable(reference)
    known = pd.Index(values.value_counts().index)
    return _coded(values, known), _coded(comparable(current), known)


def _coded(values: pd.Series[Any], known: pd.Index[Any]) -> Floats:
    found = known.get_indexer(pd.Index(values)).astype(float)
    found[found < 0] = len(known)
    found[values.isna().to_numpy()] = np.nan
    return found


def _finite(values: Floats) -> Floats:
    return np.where(np.isinf(values), np.nan, values)


def drawn(rows: int, seed: int, most: int = MOST_ROWS) -> NDArray[np.int64]:
    """At most so many row numbers, in order."""
    return np.arange(rows) if rows <= most else np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def alone() -> Any:
    """A context in which trees are trained by one thread: many small fits are quicker so, and leave the other cores to others."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1)


def classifier(seed: int) -> Any:
    """Boosted trees, which take gaps and any monotone scale."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, early_stopping=False, random_state=seed)


def domains(reference: Floats, current: Floats, confidence: float, seed: int) -> Domains:
    """Train a classifier to tell current rows from the reference's, cross-fitted.

    The two-sample test by a classifier: D. Lopez-Paz and M. Oquab, Revisiting classifier two-sample tests, ICLR 2017.
    """
    from sklearn.model_selection import StratifiedKFold

    both = np.vstack([reference, current])
    side = np.repeat([0, 1], [len(reference), len(current)])
    if min(len(reference), len(current)) < 2 * FOLDS or both.shape[1] == 0:
        raise SpecError(
            f"features, rows: {both.shape[1]} columns, {len(reference)} and {len(current)} rows are too few to compare",
            hint=f"at least 1 column and {2 * FOLDS} rows on each side",
        )
    weight = np.where(side == 1, len(reference) / len(current), 1.0)
    found = np.zeros(len(side))
    with alone():
        for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(both, side):
            model = classifier(seed).fit(both[train], side[train], sample_weight=weight[train])
            found[test] = model.predict_proba(both[test])[:, 1]
    return Domains(reference, current, found, delong(side == 1, found, confidence))


def support(reference: pd.DataFrame, current: pd.DataFrame, confidence: float, seed: int) -> Support:
    """Ranges and categories of all rows; the classifier of a sample of both."""
    own, other = encoded(reference, current)
    outside = _beyond(own, other)
    rows, others = drawn(len(own), seed), drawn(len(other), seed)
    found = domains(own[rows], other[others], confidence, seed)
    scarce = found.probability[len(rows) :] > SCARCE / (1 + SCARCE)
    by_column = {str(name): float(share) for name, share in zip(reference.columns, outside.mean(0), strict=True)}
    either = float((scarce | outside[others].any(1)).mean())
    return Support(either, float(scarce.mean()), by_column, found.auc, len(current))


def _beyond(reference: Floats, current: Floats) -> NDArray[np.bool_]:
    """For each row and column whether it is beyond the reference's range, or missing where the reference never is (and the reverse)."""
    low = np.where(np.isnan(reference), np.inf, reference).min(0)
    high = np.where(np.isnan(reference), -np.inf, reference).max(0)
    return np.asarray((current < low) | (current > high) | (np.isnan(current) & ~np.isnan(reference).any(0)), bool)
