"""A labelled table before training: classes, duplicates, leakage between splits, labels that contradict, columns that say nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlport.audit.annotators import Agreement, agreement
from mlport.audit.balance import Balance, balance
from mlport.audit.dataset_text import findings_of, text_of
from mlport.audit.giveaways import Giveaway, giveaways
from mlport.audit.mislabels import Suspects, suspects
from mlport.audit.nearly import Near, near_duplicates
from mlport.audit.records import Finding, Record, ranked
from mlport.audit.rows import Conflicts, Duplicates, Order, Shared, conflicts, duplicates, identities, order, shared
from mlport.audit.tables import codes, comparable, frame, is_nested, is_number, names_of, needed, numbers
from mlport.errors import SpecError

if TYPE_CHECKING:
    import pandas as pd

FEW = 20
"""A label of whole numbers with more distinct values is a number to be predicted, unless `task` says otherwise."""


@dataclass(frozen=True)
class Column(Record):
    """A column: its type as pandas names it, missing and infinite values, and distinct ones."""

    name: str
    type: str
    missing: int
    share_missing: float
    distinct: int
    infinite: int
    mixed: tuple[str, ...]
    """The types of its values, where there are several."""


@dataclass(frozen=True)
class DatasetAudit(Record):
    """What `dataset` found; `train` is the split that the others are held against."""

    rows: int
    columns: tuple[Column, ...]
    label: str
    task: str
    features: tuple[str, ...]
    splits: Mapping[str, int]
    train: str
    classes: Balance | None
    duplicates: Duplicates
    near_duplicates: tuple[Near, ...]
    """Of the features, or of each column of text; empty if they were not asked for."""
    shared_rows: tuple[Shared, ...]
    shared_entities: tuple[Shared, ...] | None
    order: tuple[Order, ...] | None
    giveaways: tuple[Giveaway, ...]
    conflicts: Conflicts
    agreement: Agreement | None
    suspects: Suspects
    findings: tuple[Finding, ...] = ()

    def text(self) -> str:
        """The whole as text for a terminal."""
        return text_of(self)

    def __str__(self) -> str:
        return self.text()


def dataset(
    table: Any,
    label: str,
    *,
    others: Mapping[str, Any] | None = None,
    split: str | None = None,
    train: str = "train",
    features: Iterable[str] | None = None,
    ignore: str | Iterable[str] = (),
    entity: str | Iterable[str] | None = None,
    time: str | None = None,
    annotators: Iterable[str] = (),
    level: str = "nominal",
    task: str | None = None,
    near: bool = True,
    label_errors: bool = True,
    model: Any = None,
    seed: int = 0,
) -> DatasetAudit:
    """Look at a labelled table before anything is trained on it.

    Args:
        table: Arrow, pandas, polars, a path (Parquet, CSV, Arrow, or a folder of them), or columns by name.
        label: the column to be predicted.
        others: further splits by name, such as {"test": ...}; `table` is then the one called `train`.
        split: or the column that names each row's split.
        features: the columns that a model will see; else all that have no other role here and are not in `ignore`.
        entity: columns that say whom or what a row is about, who should be in one split only.
        time: the column of when; training should end before the other splits begin.
        annotators: columns with each annotator's label, compared at `level` (nominal, ordinal, interval, ratio).
        task: `classification` or `regression`; else classes where the label is no number, or whole with at most 20 values.
        near: whether near duplicates are looked for: rows, or texts, that are nearly another.
        label_errors: whether a model is trained to doubt labels; `model` is a scikit-learn classifier to use for it.

    Raises:
        NotFoundError: a path leads nowhere.
        SpecError: a column is unknown, the table is empty, no row has a label, or the splits do not fit together.
    """
    whole, splits = _together(frame(table), others, split, train)
    raters = names_of(annotators)
    roles = [*needed(whole.columns, [label], "label"), *needed(whole.columns, names_of(entity), "entity")]
    roles += [*needed(whole.columns, names_of(time), "time"), *needed(whole.columns, raters, "annotators"), *names_of(split)]
    skipped = {*roles, *needed(whole.columns, names_of(ignore), "ignore")}
    chosen = needed(whole.columns, names_of(features), "features") or [name for name in whole.columns if name not in skipped]
    if not chosen or label in chosen:
        raise SpecError(f"features: {'there are none' if not chosen else f'the label {label!r} is one of them'}")
    labels = whole[label]
    if labels.isna().all():
        raise SpecError(f"label: every row of {label!r} is missing")
    is_class = _is_class(labels, task)
    place, names = codes(labels)
    same = identities(whole, chosen)
    train = train if len(set(splits.tolist())) > 1 else str(splits[0])
    made = DatasetAudit(
        rows=len(whole),
        columns=tuple(_column(whole[name]) for name in whole.columns),
        label=label,
        task="classification" if is_class else "regression",
        features=tuple(chosen),
        splits={str(name): int((splits == name).sum()) for name in dict.fromkeys(splits.tolist())},
        train=train,
        classes=balance(place, names, splits, splits != train if (splits != train).any() else np.ones(len(whole), bool))
        if is_class
        else None,
        duplicates=duplicates(identities(whole, [*chosen, label]), splits),
        near_duplicates=near_duplicates(whole, chosen, same, splits, train, seed) if near else (),
        shared_rows=shared(same, splits, train),
        shared_entities=None if entity is None else _entities(whole, names_of(entity), splits, train),
        order=None if time is None else _order(whole[time], splits, train, time),
        giveaways=giveaways(whole, chosen, labels, is_class=is_class, seed=seed),
        conflicts=conflicts(same, place, is_class=is_class),
        agreement=agreement(whole, raters, level=level, seed=seed) if raters else None,
        suspects=_suspects(whole, chosen, labels, is_class, label_errors, model, seed),
    )
    return DatasetAudit(**{**vars(made), "findings": ranked(findings_of(made))})


def _together(table: pd.DataFrame, others: Mapping[str, Any] | None, split: str | None, train: str) -> tuple[pd.DataFrame, NDArray[Any]]:
    """All rows, and the name of each one's split."""
    import pandas as pd

    if others and split is not None:
        raise SpecError("split, others: name the splits by a column or by tables, not by both")
    if split is not None:
        needed(table.columns, [split], "split")
        if table[split].isna().any():
            raise SpecError(f"split: {int(table[split].isna().sum()):,} rows of {split!r} are missing", hint="every row needs a split")
        found = table[split].astype(str).to_numpy(object)
        if train not in found:
            raise SpecError(f"train: no row of {split!r} is {train!r}", hint=f"splits: {', '.join(sorted(set(found)))}")
        return table, found
    parts = {train: table, **{name: frame(other, f"others[{name!r}]") for name, other in (others or {}).items() if name != train}}
    if others and train in others:
        raise SpecError(f"others: {train!r} is what `table` is called", hint="train= names it otherwise")
    for name, part in parts.items():
        if missing := [column for column in table.columns if column not in part.columns]:
            raise SpecError(f"others[{name!r}]: there is no column {missing[0]!r}, which the training table has")
        for column in table.columns:
            if is_number(part[column]) != is_number(table[column]) and not part[column].isna().all() and not table[column].isna().all():
                raise SpecError(f"others[{name!r}]: {column!r} is {part[column].dtype}, and {table[column].dtype} in the training table")
    joined = pd.concat([part[list(table.columns)] for part in parts.values()], ignore_index=True) if len(parts) > 1 else table
    return joined, np.repeat(np.array(list(parts), object), [len(part) for part in parts.values()])


def _is_class(labels: pd.Series[Any], task: str | None) -> bool:
    if task not in (None, "classification", "regression"):
        raise SpecError(f"task: {task!r} is neither 'classification' nor 'regression'")
    values = numbers(labels)
    if task == "regression" and values is None:
        raise SpecError(f"task: the label {labels.name!r} is no number, so it cannot be regressed")
    if task is not None or values is None or not is_number(labels):
        return task != "regression"
    present = values[~np.isnan(values)]
    distinct = len(np.unique(present))
    return distinct <= 2 or (distinct <= FEW and bool((present == np.round(present)).all()))


def _column(values: pd.Series[Any]) -> Column:
    plain = comparable(values)
    found = numbers(values) if is_number(values) else None
    missing = int(values.isna().sum())
    types = sorted({type(value).__name__ for value in values.dropna()}) if values.dtype == object else []
    infinite = int(np.isinf(found).sum()) if found is not None else 0
    return Column(
        str(values.name),
        str(values.dtype),
        missing,
        missing / len(values),
        int(plain.nunique()),
        infinite,
        tuple(types) if len(types) > 1 else (),
    )


def _entities(whole: pd.DataFrame, names: list[str], splits: NDArray[Any], train: str) -> tuple[Shared, ...]:
    return shared(identities(whole, names), splits, train, known=whole[names].notna().all(axis=1).to_numpy())


def _order(times: pd.Series[Any], splits: NDArray[Any], train: str, name: str) -> tuple[Order, ...]:
    if numbers(times) is None:
        raise SpecError(
            f"time: {name!r} is {times.dtype}, neither numbers nor instants", hint="parse it first, such as by pandas.to_datetime"
        )
    return order(times, splits, train)


def _suspects(
    whole: pd.DataFrame, chosen: list[str], labels: pd.Series[Any], is_class: bool, wanted: bool, model: Any, seed: int
) -> Suspects:
    if not wanted:
        return Suspects(None, 0, len(whole), reason="not asked for")
    if not is_class:
        return Suspects(None, 0, len(whole), reason="the label is a number: only classes are looked at")
    usable = [name for name in chosen if not is_nested(whole[name]) and not whole[name].isna().all()]
    if not usable:
        return Suspects(None, 0, len(whole), reason="no feature has a value that a model can take")
    return suspects(whole, usable, labels, model=model, seed=seed)
