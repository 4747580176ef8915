"""Drift that no column shows by itself: whether a classifier can tell the samples apart, and the reference's components still hold.

Both work on a sample of rows of each side, drawn without replacement and the same for the same seed, from tables of any size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mlport.drift import columns, ingest, kernels, ordered
from mlport.drift.kernels import Floats
from mlport.errors import MissingExtraError, UsageError

ROWS = 20_000
FEWEST_ROWS = 20
MOST_CODES = 254
"""Categories that the classifier tells apart; the rarer ones are one."""


@dataclass(frozen=True, slots=True)
class DomainClassifier:
    """How well gradient-boosted trees tell reference from current rows they have not seen.

    `auc` is the area under the ROC curve, 0.5 for samples of one distribution; `lo` and `hi` are its 95 % interval (J. A. Hanley and
    B. J. McNeil, Radiology 143 (1982)). `importance` says how much of the area is lost when a column is shuffled, greatest first.
    """

    auc: float
    lo: float
    hi: float
    importance: Mapping[str, float]
    rows_reference: int
    rows_current: int

    def to_json(self) -> dict[str, Any]:
        return {"metric": "domain_classifier", **asdict(self), "importance": dict(self.importance)}


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """How far rows are from the reference's principal components, that keep `variance` of it.

    Each error is the Euclidean distance of a standardised row from its reconstruction. `reference` is the mean over reference rows that
    the components were not fitted on, `current` that of the current rows; `ks` how far the errors' distributions are apart.
    """

    reference: float
    current: float
    ks: float
    components: int
    columns: tuple[str, ...]
    variance: float

    def to_json(self) -> dict[str, Any]:
        return {"metric": "pca_reconstruction", **asdict(self), "columns": list(self.columns)}


@dataclass(frozen=True, slots=True)
class _Matrix:
    """One row for each row; `names` for each column the one it came of; `coded` where it is a category's code."""

    values: Floats
    names: tuple[str, ...]
    coded: npt.NDArray[np.bool_]


def domain_classifier(
    reference: Any, current: Any, *, columns: Sequence[str] | None = None, rows: int = ROWS, folds: int = 5, seed: int = 0
) -> DomainClassifier:
    """Train trees to tell current from reference rows, by cross-validation.

    Columns that both sides have with one type take part; leave out those that tell by themselves, such as times and running numbers.

    Raises:
        UsageError: a side has fewer than 20 rows, or no column can take part.
        MissingExtraError: scikit-learn is not installed.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(2, 400))
        >>> found = domain_classifier({"x": rows[0]}, {"x": rows[1] + 2})
        >>> found.auc > 0.85, list(found.importance)
        (True, ['x'])
    """
    _needs_sklearn()
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits

    data, counts = _both(reference, current, columns, rows, seed, numbers_only=False)
    label = np.repeat([0, 1], counts)
    random = np.random.default_rng(seed)
    scores, lost = np.empty(label.size), dict.fromkeys(data.names, 0.0)
    with threadpool_limits(1, user_api="openmp"):  # so few rows are done before more threads have begun
        for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(data.values, label):
            model = HistGradientBoostingClassifier(max_iter=60, categorical_features=data.coded, random_state=seed)
            model.fit(data.values[train], label[train])
            scores[test] = model.predict_proba(data.values[test])[:, 1]
            whole = roc_auc_score(label[test], scores[test])
            for name in lost:
                shuffled = data.values[test].copy()
                own = [at for at, each in enumerate(data.names) if each == name]
                shuffled[:, own] = shuffled[random.permutation(test.size)][:, own]
                lost[name] += (whole - roc_auc_score(label[test], model.predict_proba(shuffled)[:, 1])) / folds
    auc = float(roc_auc_score(label, scores))
    margin = 1.959964 * _hanley_mcneil(auc, *counts)
    importance = dict(sorted(lost.items(), key=lambda item: (-item[1], item[0])))
    return DomainClassifier(auc, max(0.0, auc - margin), min(1.0, auc + margin), importance, *counts)


def reconstruction(
    reference: Any, current: Any, *, columns: Sequence[str] | None = None, variance: float = 0.9, rows: int = ROWS, seed: int = 0
) -> Reconstruction:
    """Fit principal components to one half of the reference's rows, and see how well they rebuild the other half and the current rows.

    Numbers and vectors take part; missing values are the mean, columns that do not vary are left out. Blind to what keeps the
    correlations and stays within the components.

    Raises:
        UsageError: a side has fewer than 20 rows, no column can take part, or `variance` is not between 0 and 1.
        MissingExtraError: scikit-learn is not installed.
    """
    if not 0 < variance < 1:
        raise UsageError(f"variance is {variance}; the share that the components keep must be between 0 and 1")
    _needs_sklearn()
    from sklearn.decomposition import PCA

    data, (first, _) = _both(reference, current, columns, rows, seed, numbers_only=True)
    fit = data.values[: first // 2]
    finite = np.isfinite(fit)
    counts = np.maximum(finite.sum(0), 1)
    mean = np.where(finite, fit, 0.0).sum(0) / counts
    spread = np.sqrt((np.where(finite, fit - mean, 0.0) ** 2).sum(0) / counts)
    if not (kept := spread > 0).any():
        raise UsageError("no column of the reference varies")
    scaled = ((np.where(np.isfinite(data.values), data.values, mean) - mean) / np.where(kept, spread, 1.0))[:, kept]
    model = PCA(variance, svd_solver="full").fit(scaled[: first // 2])
    apart = np.linalg.norm(scaled - model.inverse_transform(model.transform(scaled)), axis=1)
    held, new = apart[first // 2 : first], apart[first:]
    sides = [ordered.of_floats(each, 0, kernels.NUMPY) for each in (held, new)]
    names = tuple(dict.fromkeys(name for name, there in zip(data.names, kept, strict=True) if there))
    ks = ordered.walk(sides[0], sides[1], kernels.NUMPY).distance
    return Reconstruction(float(held.mean()), float(new.mean()), ks, int(model.n_components_), names, variance)


def _hanley_mcneil(auc: float, n: int, m: int) -> float:
    """Standard error of an area under the ROC curve of `n` negatives and `m` positives."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    return math.sqrt(max(0.0, auc * (1 - auc) + (m - 1) * (q1 - auc**2) + (n - 1) * (q2 - auc**2)) / (n * m))


def _both(
    reference: Any, current: Any, wanted: Sequence[str] | None, rows: int, seed: int, *, numbers_only: bool
) -> tuple[_Matrix, tuple[int, int]]:
    """A sample of the rows of both sides under one another, and how many of each there are."""
    sides = [ingest.source(data, name) for data, name in ((reference, "the reference"), (current, "the current sample"))]
    a, b = (side.schema for side in sides)
    for name in wanted or ():
        if lacking := [side.name for side in sides if name not in side.schema.names]:
            raise UsageError(f"{' and '.join(lacking)} have no column {name!r}")
    fitting = ("number", "embedding") if numbers_only else ("number", "embedding", "string")
    names = [name for name in wanted or a.names if name in b.names and columns.family(a.field(name).type) in fitting]
    names = [name for name in names if columns.family(b.field(name).type) == columns.family(a.field(name).type)]
    if not names:
        raise UsageError(
            "no column of both sides can take part", hint="numbers and vectors can" + ("" if numbers_only else ", and strings")
        )
    random = np.random.default_rng(seed)
    tables = [_sampled(side, names, rows, random) for side in sides]
    for side, table in zip(sides, tables, strict=True):
        if table.num_rows < FEWEST_ROWS:
            raise UsageError(f"{side.name} has {table.num_rows} rows; at least {FEWEST_ROWS} are needed")
    parts = [_part([table[name] for table in tables]) for name in names]
    values = np.concatenate([part for part, _ in parts], axis=1)
    of = tuple(name for name, (part, _) in zip(names, parts, strict=True) for _ in range(part.shape[1]))
    coded = np.array([coded for part, coded in parts for _ in range(part.shape[1])])
    return _Matrix(values, of, coded), (tables[0].num_rows, tables[1].num_rows)


def _sampled(side: ingest.Source, names: Sequence[str], rows: int, random: np.random.Generator) -> pa.Table:
    """Rows with the least of a random number each, so that one pass over batches draws them."""
    kept, keys = side.schema.empty_table().select(list(names)), np.empty(0)
    for batch in side.batches(names):
        both = pa.concat_tables([_plain(kept), _plain(batch)])
        keys = np.concatenate([keys, random.random(batch.num_rows)])
        least = np.sort(np.argpartition(keys, rows)[:rows]) if keys.size > rows else np.arange(keys.size)
        kept, keys = both.take(pa.array(least)), keys[least]
    return kept


def _plain(table: pa.Table) -> pa.Table:
    """Strings that are read as dictionaries are strings again: batches have dictionaries of their own."""
    kinds = [field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in table.schema]
    return table.cast(pa.schema(kinds)) if kinds != list(table.schema) else table


def _part(sides: Sequence[pa.ChunkedArray]) -> tuple[Floats, bool]:
    """One column of both sides as numbers, and whether they are codes: of strings the reference's and current's most frequent."""
    family = columns.family(sides[0].type)
    if family == "number":
        return np.concatenate([columns.aligned(side) for side in sides])[:, None], False
    if family == "embedding":
        return np.concatenate([columns.matrix(side) for side in sides]), False
    texts = pa.chunked_array([chunk for side in sides for chunk in columns.text(side).chunks], pa.string())
    counts = columns.strings(texts).counts()
    top = sorted(counts, key=lambda value: (-counts[value], value))[:MOST_CODES]
    codes = {value: float(code) for code, value in enumerate(top)}
    found = [math.nan if value is None else codes.get(value, float(MOST_CODES)) for value in texts.to_pylist()]
    return np.array(found)[:, None], True


def _needs_sklearn() -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("drift of several columns needs scikit-learn", hint='pip install "mlport[drift]"') from error
