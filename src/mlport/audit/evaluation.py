"""Error analysis of predictions against labels: metrics with intervals, costs, calibration, and the slices that are worst."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mlport.audit import classification, regression
from mlport.audit.calibration import Calibration, calibration
from mlport.audit.classification import ClassReport
from mlport.audit.decisions import Costs, costs
from mlport.audit.evaluation_text import findings_of, text_of
from mlport.audit.intervals import Floats, checked_confidence
from mlport.audit.records import Finding, Measure, Record, ranked
from mlport.audit.scored import Regressed, Scored, Task, column, plain_score, regressed, same_length, scored, task_of
from mlport.audit.slices import Axis, Search, View, axis, search
from mlport.audit.tables import frame, names_of, needed
from mlport.errors import SpecError

if TYPE_CHECKING:
    import pandas as pd

LEAST_ROWS = 20
MOST_PAIRED = 20
FEW_CLASSES = 20
"""Of more classes only the rarest so many are views of their own."""


@dataclass(frozen=True)
class SliceReport(Record):
    """The metrics of one slice of one column."""

    condition: str
    rows: int
    metrics: Mapping[str, Measure]


@dataclass(frozen=True)
class Evaluation(Record):
    """What `evaluate` found. `without_skill` is what each metric would be for an answer that uses no features."""

    task: Task
    rows: int
    left_out: Mapping[str, int]
    classes: tuple[Any, ...]
    positive: Any
    threshold: float | None
    metrics: Mapping[str, Measure]
    without_skill: Mapping[str, float]
    by_class: tuple[ClassReport, ...]
    confusion: tuple[tuple[int, ...], ...] | None
    costs: Costs | None
    calibration: Calibration | None
    slices: Mapping[str, tuple[SliceReport, ...]]
    search: Search | None
    findings: tuple[Finding, ...] = field(default=())

    @property
    def worst(self) -> tuple[Any, ...]:
        """The slices that are worse than the rest beyond noise, the worst first."""
        return self.search.worst if self.search else ()

    def text(self) -> str:
        """The whole as text for a terminal."""
        return text_of(self)

    def __str__(self) -> str:
        return self.text()


def evaluate(
    y_true: Any,
    y_score: Any,
    *,
    slices: Any = None,
    by: str | Iterable[str] | None = None,
    task: str | None = None,
    classes: Sequence[Any] | None = None,
    positive: Any = None,
    threshold: float | None = None,
    scores: str = "probability",
    costs: Mapping[Any, float] | None = None,
    min_rows: int = 50,
    bins: int = 4,
    pairs: bool = True,
    false_discoveries: float = 0.05,
    least_effect: float = 0.1,
    confidence: float = 0.95,
    resamples: int = 400,
    seed: int = 0,
    top: int = 10,
) -> Evaluation:
    """Judge predictions against labels.

    Args:
        y_true: the labels; rows without one are left out and counted.
        y_score: the probability of `positive`, or of each class in columns (in the order of `classes`, as a frame's
            columns are named, else sorted as scikit-learn has them), or predicted labels; for regression a number a row, or predictions by quantile ({0.1: ..., 0.5: ..., 0.9: ...}).
        slices: a table of columns, one row for each label, whose slices are looked at; `by` names those columns to use (all).
        task: `binary`, `multiclass` or `regression`; inferred if None (docs/audit.md says how).
        positive: the class that scores are of; needed for text labels, else the larger, so 1 of 0 and 1.
        threshold: from which score on the positive class is predicted; 0.5 for probabilities.
        scores: `probability`, or `ranking` where only the order means something.
        costs: by `false_positive`, `false_negative`, `true_positive`, `true_negative`, or by pairs (true, predicted) of classes.
        min_rows: fewer rows, inside or outside, are no slice; at least 20.
        false_discoveries: the expected share of the slices found that are found by chance (Benjamini and Hochberg).
        least_effect: Cohen's h (rates) or d (means) that a slice must differ by.
        resamples: of the bootstrap; fewer, but at least 100, where rows are very many. `seed` fixes them.

    Raises:
        SpecError: lengths differ, a column is unknown, scores are no probabilities, labels are of another type, or nothing is left.
    """
    checked_confidence(confidence)
    if min_rows < LEAST_ROWS:
        raise SpecError(f"min_rows: {min_rows} is too few to tell a bad slice from bad luck", hint=f"at least {LEAST_ROWS}")
    if bins < 2 or resamples < 100:
        raise SpecError(f"bins, resamples: {bins} and {resamples} are too few", hint="at least 2 bins and 100 resamples")
    truth = column(y_true, "y_true")
    same_length(truth, truth, "y_true")
    y_score = plain_score(y_score)
    kind = task_of(truth, y_score, task)
    table = _table(slices, by, truth)
    if kind == "regression":
        if costs is not None or classes is not None or positive is not None or threshold is not None:
            raise SpecError(
                "costs, classes, positive, threshold: are for classification, and these labels are numbers", hint="task='binary'"
            )
        found, left = _numbers(regressed(truth, y_score), confidence, resamples, seed)
    else:
        labelled = scored(truth, y_score, kind, classes, positive, threshold, scores)
        found, left = _classes(labelled, costs, confidence, resamples, seed)
    if table is not None:
        keep, views, briefly = left
        axes = [axis(name, values, bins) for name, values in table.loc[keep].reset_index(drop=True).items()]
        found["slices"] = {each.name: _reports(each, briefly, min_rows) for each in axes}
        found["search"] = _search(
            axes, views, min_rows=min_rows, pairs=pairs, rate=false_discoveries, least=least_effect, confidence=confidence, top=top
        )
    made = Evaluation(task=kind, **found)
    return Evaluation(**{**vars(made), "findings": ranked(findings_of(made))})


def _table(slices: Any, by: str | Iterable[str] | None, truth: pd.Series[Any]) -> pd.DataFrame | None:
    if slices is None:
        if by is not None:
            raise SpecError("by: names columns of `slices`, and there are none")
        return None
    table = frame(slices, "slices")
    same_length(truth, table, "slices")
    return table[needed(table.columns, names_of(by) or list(table.columns), "by")]


def _classes(
    labelled: Scored, given: Mapping[Any, float] | None, confidence: float, resamples: int, seed: int
) -> tuple[dict[str, Any], Any]:
    metrics, without, reports, matrix = classification.overall(labelled, confidence, resamples, seed)
    found: dict[str, Any] = {
        "rows": len(labelled.truth),
        "left_out": labelled.left_out,
        "classes": labelled.classes,
        "positive": labelled.classes[1] if labelled.task == "binary" else None,
        "threshold": labelled.threshold,
        "metrics": metrics,
        "without_skill": without,
        "by_class": reports,
        "confusion": None if matrix is None else tuple(map(tuple, matrix.tolist())),
        "costs": None if given is None else costs(labelled, given, confidence, seed),
        "calibration": calibration(labelled, confidence, seed),
        "slices": {},
        "search": None,
    }
    return found, (labelled.kept, _class_views(labelled), lambda mask: classification.briefly(labelled.part(mask), confidence, seed))


def _class_views(labelled: Scored) -> list[View]:
    everywhere = np.ones(len(labelled.truth), bool)
    views = []
    if labelled.predicted is not None:
        wrong = (labelled.predicted != labelled.truth).astype(float)
        views.append(View("error", "share of wrong answers", wrong, everywhere, True))
        rows = np.bincount(labelled.truth, minlength=len(labelled.classes))
        for at in np.argsort(rows, kind="stable")[:FEW_CLASSES]:
            if rows[at]:
                name = labelled.classes[at]
                views.append(View(f"missed {name}", f"share of {name!r} that is missed", wrong, labelled.truth == at, True))
    if labelled.scores is not None and labelled.probability:
        views.append(View("log_loss", "mean log loss", classification.row_log_loss(labelled), everywhere, False))
    return views


def _numbers(found: Regressed, confidence: float, resamples: int, seed: int) -> tuple[dict[str, Any], Any]:
    metrics, without = regression.overall(found, confidence, resamples, seed)
    made: dict[str, Any] = {"rows": len(found.truth), "left_out": found.left_out, "metrics": metrics, "without_skill": without}
    made |= {"classes": (), "positive": None, "threshold": None, "by_class": (), "confusion": None, "costs": None, "calibration": None}
    made |= {"slices": {}, "search": None}
    everywhere = np.ones(len(found.truth), bool)
    predicted = found.predicted
    if predicted is None:
        losses = {f"pinball_{level:g}": regression.pinball(found.truth, values, level) for level, values in found.quantiles.items()}
        views = [View(name, f"mean {name} loss", loss, everywhere, False) for name, loss in losses.items()]
        return made, (found.kept, views, lambda mask: {name: _mean(loss[mask], confidence) for name, loss in losses.items()})
    residual = found.truth - predicted
    views = [View("mae", "mean absolute error", np.abs(residual), everywhere, False)]
    views += [View("too low", "mean of label minus prediction", residual, everywhere, False)]
    views += [View("too high", "mean of prediction minus label", -residual, everywhere, False)]
    return made, (found.kept, views, lambda mask: regression.briefly(found.truth[mask], predicted[mask], confidence))


def _mean(values: Floats, confidence: float) -> Measure:
    from mlport.audit.intervals import mean

    return mean(values, confidence, regression.NO_ROWS)


def _reports(each: Axis, briefly: Any, min_rows: int) -> tuple[SliceReport, ...]:
    """Every slice of the column that has enough rows."""
    rows = np.bincount(each.codes[each.codes >= 0], minlength=len(each.names))
    return tuple(SliceReport(name, int(rows[at]), briefly(each.codes == at)) for at, name in enumerate(each.names) if rows[at] >= min_rows)


def _search(axes: list[Axis], views: list[View], *, pairs: bool, **settings: Any) -> Search:
    notes = []
    if pairs and len(axes) > MOST_PAIRED:
        notes.append(f"pairs were not looked at: {len(axes)} columns are more than {MOST_PAIRED}; name fewer in `by`")
    lumped = [each.name for each in axes if (each.codes < 0).any()]
    if lumped:
        notes.append(f"rare values beyond the most frequent are no slices of their own: {', '.join(lumped)}")
    if whole := [each.name for each in axes if not (np.bincount(each.codes[each.codes >= 0], minlength=1) >= settings["min_rows"]).any()]:
        notes.append(f"no value has {settings['min_rows']} rows: {', '.join(whole)}")
    if not views:
        notes.append("nothing was compared: scores give an order only, and no threshold is named")
    found = search(axes, views, pairs=pairs and len(axes) <= MOST_PAIRED, **settings)
    return Search(**{**vars(found), "notes": tuple(notes)})
