"""What can be tried instead: class weights, resampling, thresholds and algorithms from scikit-learn and imbalanced-learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlport.audit.slices import Axis
from mlport.audit.tables import is_number
from mlport.audit.trials import DECIDED, Decide, Ints, Judged, Pick, Problem, Training, measured

if TYPE_CHECKING:
    import pandas as pd

ORDER = ("threshold", "class weights", "resample", "algorithm", "collect")
"""From what changes least to what changes most: of remedies that are as good the first is named."""
NEIGHBOURS = 5
CATEGORIES = 30
WORST = 3
"""Slices in which collecting is tried."""


@dataclass(frozen=True)
class Candidate:
    """A remedy to try, or `refused` with the reason why it cannot be."""

    kind: str
    name: str
    train: Training | None = None
    decide: Decide = "highest"
    rows: Pick | None = None
    refused: str | None = None
    over: NDArray[np.bool_] | None = None
    """The rows that it is judged on, if not all."""


def base_model(seed: int) -> Any:
    """Logistic regression: what others are held against where no model is given."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=2000, random_state=seed)


def training(model: Any, encoder: Any, sampler: Any = None) -> Training:
    """Fits fresh copies: the encoder, the sampler of the training rows, the model."""
    from imblearn.pipeline import make_pipeline
    from sklearn.base import clone

    parts = [part for part in (encoder, sampler, model) if part is not None]
    return lambda features, labels: make_pipeline(*map(clone, parts)).fit(features, labels)


def encoder(features: pd.DataFrame) -> Any:
    """Numbers scaled, their gaps filled by the median and marked; categories as columns of 0 and 1, the rare ones together."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numeric = [name for name in features.columns if is_number(features[name])]
    other = [name for name in features.columns if name not in numeric]
    filled = make_pipeline(SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True), StandardScaler())
    onehot = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=CATEGORIES, sparse_output=False)
    return make_column_transformer((filled, numeric), (onehot, other), verbose_feature_names_out=False)


def candidates(
    features: pd.DataFrame, labels: Ints, classes: Sequence[Any], model: Any, encode: Any, metric: str, fewest: int, seed: int
) -> Iterator[Candidate]:
    """Everything to try; `fewest` is how many rows of the rarest class a fold trains on."""
    if metric in DECIDED:
        how = (
            "another threshold"
            if len(classes) == 2
            else "scores by expected cost"
            if metric == "cost"
            else "scores divided by the share of the class"
        )
        yield Candidate("threshold", how, training(model, encode), decide="tuned")
    else:
        yield Candidate("threshold", "another threshold", refused=f"{metric} is of scores: no threshold changes it")
    yield _weighted(model, encode)
    yield from _resampled(features, model, encode, fewest, seed)
    yield from _algorithms(model, encode, seed)
    yield from _collected(labels, classes, model, encode, seed)


def _weighted(model: Any, encode: Any) -> Candidate:
    from sklearn.base import clone

    if "class_weight" not in model.get_params():
        return Candidate("class weights", "balanced class weights", refused=f"{type(model).__name__} has no parameter class_weight")
    return Candidate("class weights", "balanced class weights", training(clone(model).set_params(class_weight="balanced"), encode))


def _resampled(features: pd.DataFrame, model: Any, encode: Any, fewest: int, seed: int) -> Iterator[Candidate]:
    from imblearn.over_sampling import SMOTE, RandomOverSampler
    from imblearn.under_sampling import RandomUnderSampler

    yield Candidate("resample", "random oversampling", training(model, encode, RandomOverSampler(random_state=seed)))
    yield Candidate("resample", "random undersampling", training(model, encode, RandomUnderSampler(random_state=seed)))
    categories = [str(name) for name in features.columns if not is_number(features[name])]
    gaps = features.isna().to_numpy().any() and encode is None
    if categories or gaps or fewest // 2 <= 1:
        why = (
            f"it interpolates, and {categories[0]!r} is a category"
            if categories
            else "it takes no missing values"
            if gaps
            else "too few rows"
        )
        yield Candidate("resample", "SMOTE", refused=why)
        return
    neighbours = min(NEIGHBOURS, fewest // 2 - 1)
    yield Candidate("resample", "SMOTE", training(model, encode, SMOTE(k_neighbors=neighbours, random_state=seed)))


def _algorithms(model: Any, encode: Any, seed: int) -> Iterator[Candidate]:
    from imblearn.ensemble import BalancedRandomForestClassifier
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

    balanced = BalancedRandomForestClassifier(100, sampling_strategy="all", replacement=True, bootstrap=False, random_state=seed)
    models = (
        ("logistic regression", base_model(seed)),
        ("gradient boosting", HistGradientBoostingClassifier(max_iter=60, random_state=seed)),
        ("random forest", RandomForestClassifier(100, min_samples_leaf=2, random_state=seed)),
        ("balanced random forest", balanced),
    )
    for name, other in models:
        if type(other) is not type(model):
            decide: Decide = "highest" if other is balanced else "theory"  # its scores are as if classes were of one size
            yield Candidate("algorithm", name, training(other, encode), decide=decide)


def _collected(labels: Ints, classes: Sequence[Any], model: Any, encode: Any, seed: int) -> Iterator[Candidate]:
    """Trained on half as many rows, of all or of one class: what the full set gains over that is what the last doubling was worth.

    Both sides decide by a threshold that is tuned at the true shares of the classes: fewer rows of one class alone move scores.
    """
    train = training(model, encode)
    yield Candidate("collect", "rows of every class", train, "tuned", lambda own: _half(own, np.ones(len(own), bool), seed))
    counts = np.bincount(labels, minlength=len(classes))
    for at in np.argsort(counts, kind="stable")[:3]:
        if counts[at] <= len(labels) / len(classes) / 2:
            yield Candidate("collect", f"rows of class {classes[at]!r}", train, "tuned", _half_of(labels, int(at), seed))


def collected_in(problem: Problem, axes: Sequence[Axis], now: Sequence[Judged], model: Any, encode: Any, seed: int) -> Iterator[Candidate]:
    """The slices where the model is worst, as rows to collect: trained on half of a slice's rows, and judged on that slice alone."""
    found = []
    for each in axes:
        for code, name in enumerate(each.names):
            over = each.codes == code
            if all(len(np.unique(problem.labels[fold.rows[over[fold.rows]]])) == problem.classes for fold in now):
                score = float(np.mean([fold[problem.metric] for fold in measured(problem, now, over)]))
                found.append((score, name, over))
    if not found:
        columns = ", ".join(each.name for each in axes)
        yield Candidate("collect", f"rows by {columns}", refused="no value has rows of every class in every fold")
    for _, name, over in sorted(found, key=lambda entry: entry[:2])[:WORST]:
        yield Candidate("collect", f"rows where {name}", training(model, encode), "tuned", _half_where(over, seed), over=over)


def _half_of(labels: Ints, which: int, seed: int) -> Pick:
    return lambda own: _half(own, labels[own] == which, seed)


def _half_where(over: NDArray[np.bool_], seed: int) -> Pick:
    return lambda own: _half(own, over[own], seed)


def _half(own: Ints, of: Any, seed: int) -> Ints:
    """The rows without every other one of those marked."""
    marked = np.random.default_rng(seed).permutation(own[of])
    return np.sort(np.concatenate([own[~of], marked[: max(1, len(marked) // 2)]]))
