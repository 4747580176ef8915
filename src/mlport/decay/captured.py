"""Captured predictions with the labels that came, checked and made plain: what was said, when, and what the truth turned out to be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlport.audit.records import Finding, count
from mlport.audit.scored import Floats, Regressed, Scored, column, regressed, scored, task_of
from mlport.audit.tables import frame, is_nested, is_number, is_time, needed, numbers
from mlport.errors import SpecError

if TYPE_CHECKING:
    import pandas as pd

IDENTITY = ("provider_id", "row")
Labels = Iterable[tuple[str, int, Any, datetime]]


@dataclass(frozen=True)
class Columns:
    """The names of a table's columns."""

    prediction: str = "prediction"
    label: str = "label"
    time: str = "time"
    labelled_at: str = "labelled_at"
    identity: Sequence[str] = IDENTITY

    @property
    def all(self) -> tuple[str, ...]:
        return (self.prediction, self.label, self.time, self.labelled_at, *self.identity)


@dataclass(frozen=True)
class Answer:
    """How predictions are to be read: as `mlport.audit.evaluate` takes it."""

    task: str | None = None
    classes: Sequence[Any] | None = None
    positive: Any = None
    threshold: float | None = None
    scores: str = "probability"


@dataclass(frozen=True)
class Served:
    """Rows with a prediction, each once. Times in seconds since 1970, NaN where unknown; `labels` are null where none came."""

    scores: Any
    labels: pd.Series[Any]
    time: Floats
    labelled_at: Floats
    as_of: float
    left_out: dict[str, int]
    findings: list[Finding] = field(default_factory=list)

    @property
    def labelled(self) -> NDArray[np.bool_]:
        return np.asarray(self.labels.notna(), bool)


def served(table: Any, names: Columns, *, labels: Labels | None = None, as_of: datetime | None = None, what: str = "table") -> Served:
    """The rows that count: with a time and a prediction, by `as_of`, and of several with one identity the one labelled last.

    Raises:
        SpecError: a column is missing or of another type, or no row is left.
    """
    data = frame(table, what)
    needed(data.columns, [names.prediction, names.time], what)
    findings: list[Finding] = []
    left_out: dict[str, int] = {}
    if labels is not None:
        data = _joined(data, names, labels, left_out, findings)
    needed(data.columns, [names.label], f"{what}: label")
    data = _timed(data, _instants(data, names.time, what), _came(data, names, what))
    data = _without(data, data["\0time"].isna(), "without a time", left_out)
    limit = _limit(data, as_of)
    data = _without(data, data["\0time"] > limit, "predicted later than as_of", left_out)
    late = data["\0came"] > limit
    if late.any():
        left_out["labels later than as_of"] = int(late.sum())
        data[names.label], data["\0came"] = data[names.label].mask(late), data["\0came"].mask(late)
    data = _once(data, names, left_out, findings)
    scores, given = predictions(data[names.prediction])
    data, scores = _without(data, ~given, "without a prediction", left_out), scores[given]
    if data.empty:
        raise SpecError(f"{what}: no row has both a time and a prediction: {_said(left_out)}")
    order = np.argsort(data["\0time"].to_numpy(float), kind="stable")
    data, scores = data.iloc[order], scores[order]
    return Served(
        scores, plain_labels(data[names.label]), data["\0time"].to_numpy(float), data["\0came"].to_numpy(float), limit, left_out, findings
    )


def _said(left_out: dict[str, int]) -> str:
    return ", ".join(f"{rows:,} {why}" for why, rows in left_out.items() if rows)


def plain_labels(values: pd.Series[Any]) -> pd.Series[Any]:
    """Labels as numbers or booleans where they are such: a column in which some are null may hold them as objects."""
    inferred = values.infer_objects()
    present = inferred.dropna()
    if len(present) and all(isinstance(value, bool | np.bool_) for value in present):
        return present.astype(bool).astype("float64").reindex(inferred.index).reset_index(drop=True)
    return inferred.reset_index(drop=True)


def _without(data: pd.DataFrame, mask: Any, why: str, left_out: dict[str, int]) -> pd.DataFrame:
    rows = np.asarray(mask, bool)
    if rows.any():
        left_out[why] = int(rows.sum())
    return data[~rows].reset_index(drop=True)


def _instants(data: pd.DataFrame, name: str, what: str) -> Floats:
    if not is_time(data[name]) and not data[name].isna().all():
        raise SpecError(f"{what}: column {name!r} is {data[name].dtype}, and must be instants", hint="pandas.to_datetime(column, utc=True)")
    found = numbers(data[name]) if is_time(data[name]) else None
    return np.full(len(data), np.nan) if found is None else found


def _timed(data: pd.DataFrame, time: Floats, came: Floats) -> pd.DataFrame:
    return data.assign(**{"\0time": time, "\0came": came})


def _came(data: pd.DataFrame, names: Columns, what: str) -> Floats:
    return _instants(data, names.labelled_at, what) if names.labelled_at in data.columns else np.full(len(data), np.nan)


def _limit(data: pd.DataFrame, as_of: datetime | None) -> float:
    if as_of is not None:
        if as_of.tzinfo is None:
            raise SpecError(f"as_of: {as_of} has no time zone", hint="datetime(..., tzinfo=UTC)")
        return as_of.timestamp()
    known = [values.max() for values in (data["\0time"], data["\0came"]) if values.notna().any()]
    return float(max(known)) if known else math.nan


def instant(seconds: float) -> datetime:
    """Seconds since 1970 as an aware time."""
    return datetime.fromtimestamp(seconds, UTC)


def _joined(data: pd.DataFrame, names: Columns, labels: Labels, left_out: dict[str, int], findings: list[Finding]) -> pd.DataFrame:
    """The table with the labels of `mlport.labels.read` joined; a row for each label that a row got, so that `as_of` can pick."""
    import pandas as pd

    if names.label in data.columns:
        raise SpecError(f"labels: the table has a column {names.label!r} already", hint="give one of both")
    needed(data.columns, names.identity, "labels")
    found = pd.DataFrame(list(labels), columns=["id", "row", names.label, names.labelled_at]).astype({"id": object})
    found[names.labelled_at] = pd.to_datetime(found[names.labelled_at], utc=True)
    request, row = names.identity
    found["\0nth"] = np.arange(len(found))
    keys = [each for each in (request, "caller_id") if each in data.columns]
    left = data.assign(**{"\0at": np.arange(len(data)), "\0row": data[row].to_numpy(np.int64)})
    parts = [left.merge(found, left_on=[key, "\0row"], right_on=["id", "row"], suffixes=("", "\0label")) for key in keys]
    matched = pd.concat(parts).drop_duplicates(["\0at", "\0nth"])
    known = {pair for part in parts for pair in zip(part["id"], part["\0row"], strict=True)}
    unknown = sum(pair not in known for pair in zip(found["id"], found["row"], strict=True))
    if unknown:
        left_out["labels for unknown requests"] = unknown
        text = f"{count(unknown, 'label')} belong to no captured row: sampled out, not captured yet, or a wrong id"
        findings.append(Finding("unknown requests", "warning", text, evidence={"labels": unknown}))
    rest = left[~left["\0at"].isin(matched["\0at"])]
    together = pd.concat([matched, rest]).sort_values("\0at", kind="stable")
    return together[[*data.columns, names.label, names.labelled_at]].reset_index(drop=True)


def _once(data: pd.DataFrame, names: Columns, left_out: dict[str, int], findings: list[Finding]) -> pd.DataFrame:
    """Each (request, row) once, as it was labelled last. Of those without a time of the label the last in the table counts."""
    if not set(names.identity) <= set(data.columns):
        text = f"without the columns {', '.join(names.identity)} rows that were captured twice count twice"
        findings.append(Finding("duplicates", "note", text))
        return data
    known = data[names.label].notna()
    ordered = data.assign(**{"\0known": known}).sort_values(["\0known", "\0came"], kind="stable", na_position="first")
    kept = ordered.drop_duplicates(list(names.identity), keep="last").sort_index().drop(columns="\0known")
    if extra := len(data) - len(kept):
        left_out["an earlier word on the same row"] = extra
    return kept.reset_index(drop=True)


def predictions(values: pd.Series[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Predictions as a column or, where they are lists, a matrix; and which rows have one."""
    if not is_nested(values):
        given = values.notna().to_numpy(bool)
        return values.to_numpy(float, na_value=np.nan) if is_number(values) and values.hasnans else values.to_numpy(), given
    lengths = values.map(lambda value: -1 if value is None or not hasattr(value, "__len__") else len(value)).to_numpy(int)
    width = int(np.bincount(lengths[lengths > 0]).argmax()) if (lengths > 0).any() else 1
    given = lengths == width
    matrix = np.full((len(values), width), np.nan)
    if given.any():
        matrix[given] = np.stack([np.asarray(value, float) for value in values[given]])
    return (matrix[:, 0] if width == 1 else matrix), given & ~np.isnan(matrix).any(1)


def judge(truth: pd.Series[Any], scores: Any, answer: Answer) -> Scored | Regressed:
    """Rows that all have a label and a prediction, as the audit's metrics take them.

    Lists of probabilities without `classes` are of the classes 0, 1, ... where the labels are whole numbers below their number.

    Raises:
        SpecError: as `mlport.audit.evaluate` does.
    """
    values = np.asarray(scores)
    task = task_of(truth, values, answer.task)
    if task == "regression":
        return regressed(truth, values)
    classes = answer.classes
    if classes is None and values.ndim == 2 and is_number(truth) and truth.isin(range(values.shape[1])).all():
        classes = range(values.shape[1])
    return scored(truth, values, task, classes, answer.positive, answer.threshold, answer.scores)


def part(found: Scored | Regressed, mask: NDArray[np.bool_]) -> Scored | Regressed:
    """The rows where `mask` is true."""
    if isinstance(found, Scored):
        return found.part(mask)
    predicted = None if found.predicted is None else found.predicted[mask]
    return Regressed(found.truth[mask], predicted, {}, found.kept, found.left_out)


def said(scores: Any) -> Floats:
    """One number a row to compare predictions by: of several classes the first's, of names their number."""
    values = np.asarray(scores)
    if values.ndim == 2:
        return np.asarray(values[:, 0], float)
    return (
        np.asarray(values, float)
        if values.dtype.kind in "fiub"
        else np.asarray(column(values, "prediction").factorize(sort=True)[0], float)
    )
