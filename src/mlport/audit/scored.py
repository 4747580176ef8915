"""Labels and predictions as callers have them, checked and made plain: which task, which classes, which rows count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlport.audit.tables import as_array, frame, is_number, numbers
from mlport.errors import SpecError

if TYPE_CHECKING:
    import pandas as pd

Task = Literal["binary", "multiclass", "regression"]
TASKS = ("binary", "multiclass", "regression")
Floats = NDArray[np.float64]
FEW = 20
"""Whole numbers with at most so many distinct values, predicted by whole numbers, are classes unless `task` says otherwise."""


@dataclass(frozen=True)
class Scored:
    """Classes: `truth` and `predicted` number `classes`; `scores` are of the second class (binary), (rows, classes), or None."""

    task: Task
    classes: tuple[Any, ...]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64] | None
    scores: Floats | None
    probability: bool
    threshold: float | None
    kept: NDArray[np.bool_]
    left_out: Mapping[str, int]

    def part(self, mask: NDArray[np.bool_]) -> Scored:
        """The rows (of those kept) where `mask` is true."""
        predicted = None if self.predicted is None else self.predicted[mask]
        scores = None if self.scores is None else self.scores[mask]
        return Scored(
            self.task, self.classes, self.truth[mask], predicted, scores, self.probability, self.threshold, self.kept, self.left_out
        )


@dataclass(frozen=True)
class Regressed:
    """Numbers: `truth`, the point prediction if there is one, and a prediction for each quantile."""

    truth: Floats
    predicted: Floats | None
    quantiles: Mapping[float, Floats]
    kept: NDArray[np.bool_]
    left_out: Mapping[str, int]


def column(values: Any, what: str) -> pd.Series[Any]:
    """One column of values, from a list, NumPy, pandas, polars or Arrow."""
    import pandas as pd

    if isinstance(values, pd.DataFrame) or getattr(values, "ndim", 1) != 1:
        raise SpecError(f"{what}: must be one column of values, and has {getattr(values, 'ndim', 2)} dimensions")
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__len__"):
        raise SpecError(f"{what}: a {type(values).__name__} is no column of values")
    plain = values.to_pandas() if hasattr(values, "to_pandas") else values
    return pd.Series(plain if isinstance(plain, pd.Series) else as_array(plain)).reset_index(drop=True)


def plain_score(score: Any) -> Any:
    """`score` with rows of lists as a NumPy matrix, and Arrow and polars tables as pandas'; all else as it is."""
    if isinstance(score, list | tuple) and score and isinstance(score[0], list | tuple | np.ndarray):
        if len({len(row) for row in score}) > 1:
            raise SpecError("y_score: its rows are not of one length", hint="give a score for each class in every row")
        return np.asarray(score)
    return frame(score, "y_score") if hasattr(score, "columns") and not hasattr(score, "iloc") else score


def task_of(truth: pd.Series[Any], score: Any, task: str | None) -> Task:
    """The task: as said, or classes where labels are no numbers, are two, come with a score for each, or are few whole numbers."""
    if task is not None:
        if task not in TASKS:
            raise SpecError(f"task: {task!r} is none of {', '.join(TASKS)}")
        return task  # type: ignore[return-value]
    present = truth.dropna()
    if isinstance(score, Mapping):
        return "regression"
    distinct = present.nunique()
    if getattr(score, "ndim", 1) == 2:
        return "multiclass" if score.shape[1] > 2 else "binary"
    if distinct <= 2:
        return "binary"
    if not is_number(truth):
        return "multiclass"
    whole = bool((present == present.round()).all())
    guesses = column(score, "y_score")
    few = distinct <= FEW and is_number(guesses) and bool((guesses.dropna() == guesses.dropna().round()).all())
    return "multiclass" if whole and few else "regression"


def same_length(truth: Any, other: Any, what: str) -> None:
    """Raises SpecError where `other` does not have a row for each label."""
    if len(truth) != len(other):
        raise SpecError(
            f"{what}: has {len(other):,} rows and y_true has {len(truth):,}", hint="give one row for each label, in the same order"
        )
    if len(truth) == 0:
        raise SpecError("y_true: is empty", hint="an evaluation needs at least one row")


def scored(
    truth: pd.Series[Any], score: Any, task: Task, classes: Sequence[Any] | None, positive: Any, threshold: float | None, kind: str
) -> Scored:
    """Classification's labels and scores, checked.

    Raises:
        SpecError: lengths differ, scores are no probabilities, a label is not among the classes, or nothing is left to judge.
    """
    matrix = _matrix(score)
    guesses = None if matrix is not None else column(score, "y_score")
    same_length(truth, score, "y_score")
    hard = guesses is not None and _are_labels(guesses, truth)
    if hard and guesses is not None and bool in (truth.dtype, guesses.dtype) and truth.dtype != guesses.dtype:
        truth, guesses = (each.astype(int) if each.dtype == bool else each for each in (truth, guesses))
    if task == "binary" and guesses is not None and not hard and positive is None and classes is None and not _in_order(truth):
        raise SpecError("positive: labels are text and y_score is one number a row: of which class?", hint="positive='...'")
    named = list(score.columns) if hasattr(score, "columns") else None
    known = _classes(truth, guesses if hard else None, classes if classes is not None else named, task, positive, matrix)
    if positive is not None and (task != "binary" or positive not in known):
        raise SpecError(
            f"positive: {positive!r} is not one of the two classes {known}" if task == "binary" else "positive: is for two classes"
        )
    order = known if positive is None or known[1] == positive else known[::-1]
    values = _scores(matrix, guesses, hard, task, known, order, kind)
    labels = _numbered(truth, order, "y_true")
    found = _numbered(guesses, order, "y_score") if hard and guesses is not None else None
    missing, unscored = labels < 0, _unscored(values, found, len(labels))
    kept = ~missing & ~unscored
    left_out = {"without a label": int(missing.sum()), "without a score": int((unscored & ~missing).sum())}
    if not kept.any():
        raise SpecError(f"{'y_true' if missing.all() else 'y_score'}: every row is missing (NaN or null); there is nothing to judge")
    values = None if values is None else values[kept]
    cut = (0.5 if kind == "probability" else None) if threshold is None else threshold
    predicted = found[kept] if found is not None else _decided(values, cut, task)
    return Scored(
        task,
        tuple(order),
        labels[kept],
        predicted,
        values,
        kind == "probability",
        cut if task == "binary" and not hard else None,
        kept,
        left_out,
    )


def _matrix(score: Any) -> Floats | None:
    if getattr(score, "ndim", 1) != 2:
        return None
    found = np.asarray(score)
    if found.dtype.kind not in "fiub":
        raise SpecError("y_score: a score for each class must be a number", hint="give the columns of predict_proba")
    return found.astype(float)


def _in_order(truth: pd.Series[Any]) -> bool:
    """Whether labels are numbers or booleans, of which the larger is the positive one."""
    return numbers(truth) is not None or bool(truth.isna().all())


def _are_labels(guesses: pd.Series[Any], truth: pd.Series[Any]) -> bool:
    """Whether predictions are labels rather than scores: anything but floats, or floats whose labels are floats, too, beyond 0 to 1."""
    values = numbers(guesses)
    if values is None or guesses.dtype.kind in "iub" or str(guesses.dtype).lower().startswith(("int", "uint", "bool")):
        return True
    return is_number(truth) and truth.dropna().nunique() > 2


def _classes(
    truth: pd.Series[Any], guesses: pd.Series[Any] | None, named: Sequence[Any] | None, task: Task, positive: Any, matrix: Floats | None
) -> list[Any]:
    present = list(truth.dropna().unique())
    if not present:
        raise SpecError("y_true: every label is missing (NaN or null); there is nothing to judge")
    found = list(named) if named is not None else _sorted([*present, *(() if guesses is None else guesses.dropna().unique())])
    if named is None and len(found) == 1:
        found = _sorted({*found, *((0, 1) if found[0] in (0, 1) else ()), *(() if positive is None else (positive,))})
    if len(found) < 2:
        raise SpecError(f"y_true: holds one class only, {found[0]!r}", hint="name all classes: classes=[...]")
    if task == "binary" and len(found) > 2:
        raise SpecError(f"y_true: has {len(found)} classes and not two: {found[:6]}", hint="task='multiclass' takes a score for each class")
    if matrix is not None and matrix.shape[1] != len(found):
        raise SpecError(
            f"y_score: has {matrix.shape[1]} columns for {len(found)} classes {found[:10]}", hint="classes=[...] names them in order"
        )
    return found


def _sorted(values: Any) -> list[Any]:
    unique = list(dict.fromkeys(value.item() if isinstance(value, np.generic) else value for value in values))
    kinds = {"number" if isinstance(value, int | float) else type(value).__name__ for value in unique}
    if len(kinds) > 1:
        raise SpecError(
            f"y_true, y_score: labels are of different types: {', '.join(sorted(kinds))}", hint="make both text, or both numbers"
        )
    return sorted(unique)


def _numbered(values: pd.Series[Any], classes: list[Any], what: str) -> NDArray[np.int64]:
    """Each row's class by its number, -1 where it is missing."""
    import pandas as pd

    found = pd.Index(classes).get_indexer(pd.Index(values))
    strange = (found < 0) & values.notna().to_numpy()
    if strange.any():
        first = values[strange].iloc[0]
        raise SpecError(f"{what}: {first!r} is none of the classes {classes[:10]}", hint="labels must be of the same type and spelling")
    return np.where(values.isna().to_numpy(), -1, found).astype(np.int64)


def _scores(
    matrix: Floats | None, guesses: pd.Series[Any] | None, hard: bool, task: Task, known: list[Any], order: list[Any], kind: str
) -> Floats | None:
    if kind not in ("probability", "ranking"):
        raise SpecError(f"scores: {kind!r} is neither 'probability' nor 'ranking'")
    if hard:
        return None
    if matrix is None:
        if task == "multiclass":
            raise SpecError(
                "y_score: is one number a row, and there are more than two classes", hint="give a score for each class, or labels"
            )
        found = numbers(guesses) if guesses is not None else None
        assert found is not None  # noqa: S101 - else they would be labels
        return _in_range(found, kind)
    _in_range(matrix, kind)
    if kind == "probability" and (off := np.abs(np.nansum(matrix, axis=1) - 1) > 1e-3)[~np.isnan(matrix).any(axis=1)].any():
        raise SpecError(f"y_score: {int(off.sum()):,} rows do not sum to 1", hint="give probabilities of all classes, or scores='ranking'")
    columns = [known.index(name) for name in order]
    return matrix[:, columns[1]] if task == "binary" else matrix[:, columns]


def _in_range(values: Floats, kind: str) -> Floats:
    if np.isinf(values).any():
        raise SpecError(f"y_score: {int(np.isinf(values).sum()):,} values are infinite")
    outside = (values < 0) | (values > 1)
    if kind == "probability" and outside.any():
        raise SpecError(
            f"y_score: {int(outside.sum()):,} of {values.size:,} values are not between 0 and 1 ({np.nanmin(values):g} to {np.nanmax(values):g})",
            hint="give probabilities; scores='ranking' judges their order alone",
        )
    return values


def _unscored(values: Floats | None, found: NDArray[np.int64] | None, n: int) -> NDArray[np.bool_]:
    if found is not None:
        return found < 0
    if values is None:
        return np.zeros(n, bool)
    return np.asarray(np.isnan(values) if values.ndim == 1 else np.isnan(values).any(axis=1))


def _decided(values: Floats | None, threshold: float | None, task: Task) -> NDArray[np.int64] | None:
    if values is None:
        return None
    if task == "binary":
        return None if threshold is None else (values >= threshold).astype(np.int64)
    return np.asarray(np.argmax(values, axis=1), np.int64)


def regressed(truth: pd.Series[Any], score: Any) -> Regressed:
    """Regression's numbers, checked: `score` is one number a row, or predictions by quantile such as {0.1: ..., 0.5: ..., 0.9: ...}.

    Raises:
        SpecError: lengths differ, values are no numbers or infinite, a quantile is not between 0 and 1, or nothing is left to judge.
    """
    given = dict(score) if isinstance(score, Mapping) else {None: score}
    for level in given:
        if level is not None and not (isinstance(level, int | float) and 0 < level < 1):
            raise SpecError(f"y_score: {level!r} is no quantile between 0 and 1")
    labels = _finite(truth, "y_true")
    found: dict[float | None, Floats] = {}
    for level, values in given.items():
        what = "y_score" if level is None else f"y_score[{level}]"
        same_length(truth, values, what)
        found[level] = _finite(column(values, what), what)
    missing = np.isnan(labels)
    unscored = np.any([np.isnan(values) for values in found.values()], axis=0) & ~missing
    kept = ~missing & ~unscored
    if not kept.any():
        raise SpecError(f"{'y_true' if missing.all() else 'y_score'}: every row is missing (NaN or null); there is nothing to judge")
    point = found.get(None, found.get(0.5))
    quantiles = {level: values[kept] for level, values in sorted((k, v) for k, v in found.items() if k is not None)}
    left_out = {"without a label": int(missing.sum()), "without a score": int(unscored.sum())}
    return Regressed(labels[kept], None if point is None else point[kept], quantiles, kept, left_out)


def _finite(values: pd.Series[Any], what: str) -> Floats:
    found = numbers(values)
    if found is None:
        raise SpecError(
            f"{what}: holds {values.dropna().iloc[0]!r}, and regression needs numbers" if len(values.dropna()) else f"{what}: is empty"
        )
    if np.isinf(found).any():
        raise SpecError(f"{what}: {int(np.isinf(found).sum()):,} values are infinite")
    return found
