"""Advice with evidence: each remedy is tried by cross-validation, and recommended only if its gain is beyond noise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from mlport.audit.candidates import ORDER, Candidate, base_model, candidates, collected_in, encoder, training
from mlport.audit.decisions import cost_matrix
from mlport.audit.intervals import checked_confidence, discoveries
from mlport.audit.records import Measure, Record, figure, grid
from mlport.audit.slices import axis
from mlport.audit.tables import codes, frame, is_nested, is_time, names_of, needed, numbers, require
from mlport.audit.trials import DECIDED, Fold, Problem, Training, beyond_noise, compared, measured, predictions, tried
from mlport.errors import SpecError

if TYPE_CHECKING:
    import pandas as pd

SCORED = ("average_precision", "roc_auc", "log_loss")
MOST_ROWS = 20_000
BINS = 4


@dataclass(frozen=True)
class Trial(Record):
    """A remedy tried: the metric's mean over folds, and the gain over the model as it is (for `collect`: of the last doubling).

    `others` is its gain in the other metrics. `q` is adjusted for how many were tried. `recommended`: q at most 0.05 and an interval
    of the gain above zero.
    """

    kind: str
    name: str
    score: float
    gain: Measure
    q: float
    recommended: bool
    others: Mapping[str, float]


@dataclass(frozen=True)
class MetricTrial(Record):
    """How well a metric tells the model from answers without features: the difference, and how many of its standard errors that is."""

    name: str
    model: float
    without_skill: float
    gain: Measure
    standard_errors: float | None


@dataclass(frozen=True)
class Advice(Record):
    """What was tried. `first` is the least change among the recommended that is not worse than the best beyond noise."""

    metric: str
    model: str
    rows: int
    folds: int
    baseline: float
    trials: tuple[Trial, ...]
    metrics: tuple[MetricTrial, ...]
    not_tried: Mapping[str, str]
    first: Trial | None
    notes: tuple[str, ...] = ()

    @property
    def recommended(self) -> tuple[Trial, ...]:
        """The remedies whose gain is beyond noise, the largest first."""
        return tuple(trial for trial in self.trials if trial.recommended)

    def text(self) -> str:
        """For a terminal."""
        lines = [f"{self.model} on {self.rows:,} rows, {self.folds} folds: {self.metric} {figure(self.baseline)}", ""]
        rows = [
            [f"{trial.kind}: {trial.name}", figure(trial.score), str(trial.gain), figure(trial.q), "yes" if trial.recommended else "no"]
            for trial in self.trials
        ]
        lines += [*grid(["tried", self.metric, "gain", "q", "beyond noise"], rows), ""]
        shown = [[each.name, figure(each.model), figure(each.without_skill), figure(each.standard_errors)] for each in self.metrics]
        lines += [*grid(["metric", "model", "no skill", "standard errors apart"], shown), ""]
        lines += [f"not tried: {name}: {why}" for name, why in self.not_tried.items()]
        best = (
            f"first: {self.first.kind}: {self.first.name}, {self.first.gain}" if self.first else "nothing that was tried helps beyond noise"
        )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes), best])

    def __str__(self) -> str:
        return self.text()


def advice(
    table: Any,
    label: str,
    *,
    model: Any = None,
    features: Iterable[str] | None = None,
    ignore: str | Iterable[str] = (),
    entity: str | None = None,
    positive: Any = None,
    metric: str | None = None,
    costs: Mapping[Any, float] | None = None,
    kinds: Iterable[str] = ORDER,
    collect_by: str | Iterable[str] | None = None,
    folds: int = 5,
    repeats: int = 2,
    max_rows: int = MOST_ROWS,
    confidence: float = 0.95,
    seed: int = 0,
) -> Advice:
    """Try remedies for a classifier of skewed data: another threshold, class weights, resampling, other algorithms, more rows.

    Args:
        model: a scikit-learn classifier with predict_proba, given the features as they are; logistic regression on encoded features if
            None.
        entity: rows of one entity are kept in one fold.
        metric: what gain means: `balanced_accuracy` (the default), `f1`, `macro_f1`, `mcc`, `accuracy`, `cost` (the default with
            `costs`), `average_precision`, `roc_auc`, `log_loss`. Losses and costs are shown as negative: more is better.
        kinds: what to try: `threshold`, `class weights`, `resample`, `algorithm`, `collect`.
        collect_by: columns; the three of their values or bins where the model is worst are tried as places to collect rows.
        max_rows: of more rows a sample is tried.

    Raises:
        SpecError: a column is unknown, a class has too few rows for the folds, or the metric is not one of these.
    """
    require("imblearn", "advice")
    checked_confidence(confidence)
    whole = frame(table)
    needed(whole.columns, [label], "label")
    chosen, notes = _features(whole, label, features, ignore, entity)
    metric = metric or ("cost" if costs is not None else "balanced_accuracy")
    wanted = list(kinds)
    if unknown := [kind for kind in wanted if kind not in ORDER]:
        raise SpecError(f"kinds: {unknown[0]!r} is none of {', '.join(ORDER)}")
    place, classes = _classes(whole[label], positive)
    rows = np.flatnonzero(place >= 0)
    if len(rows) > max_rows:
        rows = np.sort(np.random.default_rng(seed).choice(rows, max_rows, replace=False))
        notes.append(f"tried on {max_rows:,} of {len(whole):,} rows")
    used = whole.iloc[rows].reset_index(drop=True)
    seen = _plain(used[chosen]) if model is None else used[chosen]
    problem = _problem(used, seen, place[rows], classes, entity, metric, costs, folds, repeats, seed)
    encode, base = (encoder(problem.features), base_model(seed)) if model is None else (None, model)
    fewest = int(np.bincount(problem.labels).min() * (folds - 1) / folds)
    options = [
        each for each in candidates(problem.features, problem.labels, classes, base, encode, metric, fewest, seed) if each.kind in wanted
    ]
    as_is = training(base, encode)
    judged = predictions(problem, as_is)
    now = measured(problem, judged)
    if "collect" in wanted and collect_by is not None:
        axes = [axis(name, used[name], BINS) for name in needed(whole.columns, names_of(collect_by), "collect_by")]
        options += collected_in(problem, axes, judged, base, encode, seed)
    trials, first = _trials(problem, options, as_is, now, 1 / folds, confidence)
    return Advice(
        metric=metric,
        model=type(base).__name__,
        rows=len(rows),
        folds=len(problem.folds),
        baseline=float(np.mean([fold[metric] for fold in now])),
        trials=trials,
        metrics=_metrics(problem, now, 1 / folds, confidence),
        not_tried={each.name: each.refused for each in options if each.refused},
        first=first,
        notes=tuple(notes),
    )


def _features(
    whole: pd.DataFrame, label: str, features: Iterable[str] | None, ignore: str | Iterable[str], entity: str | None
) -> tuple[list[str], list[str]]:
    skipped = {label, *needed(whole.columns, names_of(ignore), "ignore"), *needed(whole.columns, names_of(entity), "entity")}
    chosen = needed(whole.columns, names_of(features), "features") or [name for name in whole.columns if name not in skipped]
    if label in chosen:
        raise SpecError(f"features: the label {label!r} is one of them")
    for name in chosen:
        values = numbers(whole[name])
        if values is not None and np.isinf(values).any():
            raise SpecError(f"features: {name!r} has infinite values", hint="replace them, or leave the column out by ignore=")
    left_out = {"times": [], "lists or mappings": [], "without any value": []}  # type: dict[str, list[str]]
    for name in chosen:
        why = "times" if is_time(whole[name]) else "lists or mappings" if is_nested(whole[name]) else "without any value"
        if why != "without any value" or whole[name].isna().all():
            left_out[why].append(name)
    chosen = [name for name in chosen if not any(name in names for names in left_out.values())]
    if not chosen:
        raise SpecError("features: there are none to learn from")
    return chosen, [f"left out, for they are {why}: {', '.join(names)}" for why, names in left_out.items() if names]


def _plain(features: pd.DataFrame) -> pd.DataFrame:
    """Features as what the encoder takes: floats, and text with no gaps."""
    import pandas as pd

    found: dict[str, Any] = {}
    for name in features.columns:
        values = None if pd.api.types.is_bool_dtype(features[name].dtype) else numbers(features[name])
        found[name] = (
            features[name].astype(object).map(str, na_action="ignore").fillna("missing").astype(object) if values is None else values
        )
    return pd.DataFrame(found)


def _classes(label: pd.Series[Any], positive: Any) -> tuple[Any, list[Any]]:
    """Labels numbered, the positive of two classes as 1: as named, else the rarer."""
    place, names = codes(label)
    if len(names) < 2:
        raise SpecError(f"label: {label.name!r} holds one class only: there is nothing to learn", hint="advice is for two classes or more")
    if len(names) > 50:
        raise SpecError(f"label: {label.name!r} has {len(names)} values; advice is for classes")
    if positive is not None:
        if positive not in names or len(names) != 2:
            raise SpecError(f"positive: {positive!r} is not one of two classes {names[:10]}")
        if names[1] != positive:
            place, names = np.where(place < 0, place, 1 - place), names[::-1]
    return place, names


def _problem(
    whole: pd.DataFrame,
    features: pd.DataFrame,
    labels: Any,
    classes: list[Any],
    entity: str | None,
    metric: str,
    costs: Mapping[Any, float] | None,
    folds: int,
    repeats: int,
    seed: int,
) -> Problem:
    matrix = None if costs is None else cost_matrix(costs, tuple(classes))
    known = [name for name in (*DECIDED, *SCORED) if (name != "f1" or len(classes) == 2) and (name != "cost" or costs is not None)]
    if metric not in known:
        raise SpecError(f"metric: {metric!r} is none of {', '.join(known)}", hint="`cost` needs costs, `f1` two classes")
    if folds < 3 or folds * repeats < 5:
        raise SpecError(f"folds, repeats: {folds} times {repeats} is too few to know noise by", hint="at least 3 folds, and 5 in all")
    counts = np.bincount(labels, minlength=len(classes))
    if counts.min() < 2 * folds:
        few = classes[int(counts.argmin())]
        raise SpecError(
            f"label: class {few!r} has {counts.min()} rows, and {folds} folds need {2 * folds}", hint="collect more of it, or leave it out"
        )
    return Problem(features, labels, len(classes), _folds(whole, labels, entity, folds, repeats, seed), matrix, metric)


def _folds(whole: pd.DataFrame, labels: Any, entity: str | None, folds: int, repeats: int, seed: int) -> list[Fold]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    kind = StratifiedKFold if entity is None else StratifiedGroupKFold
    groups = None if entity is None else codes(whole[entity])[0]
    made = [fold for at in range(repeats) for fold in kind(folds, shuffle=True, random_state=seed + at).split(labels, labels, groups)]
    present = len(np.unique(labels))
    if any(len(np.unique(labels[part])) < present for fold in made for part in fold):
        raise SpecError("entity: some fold lacks a class, for too few entities have it", hint="fewer folds, or more data of that class")
    return made


def _trials(
    problem: Problem, options: list[Candidate], base: Training, now: list[dict[str, float]], held_out: float, confidence: float
) -> tuple[tuple[Trial, ...], Trial | None]:
    metric = problem.metric
    found = [
        (each, measured(problem, predictions(problem, each.train, rows=each.rows, decide=each.decide), each.over))
        for each in options
        if each.train is not None
    ]
    full = predictions(problem, base, decide="tuned") if any(each.kind == "collect" for each, _ in found) else []
    against = [measured(problem, full, each.over) if each.kind == "collect" else now for each, _ in found]
    outcomes = [
        compared(_gains(each, folds, than, metric), held_out, confidence) for (each, folds), than in zip(found, against, strict=True)
    ]
    q = discoveries(np.array([p for _, p in outcomes]))
    trials = {}
    for (each, folds), than, (gain, _), adjusted in zip(found, against, outcomes, q, strict=True):
        others = {name: float(_gains(each, folds, than, name).mean()) for name in now[0] if name != metric}
        better = beyond_noise(gain, float(adjusted))
        score = float(np.mean([fold[metric] for fold in folds]))
        trials[each.name] = (Trial(each.kind, each.name, score, gain, float(adjusted), better, others), folds)
    ordered = sorted((trial for trial, _ in trials.values()), key=lambda trial: (trial.kind == "collect", -(trial.gain.value or 0)))
    useful = [trial for trial in ordered if trial.recommended and trial.kind != "collect"]
    if not useful:
        return tuple(ordered), next((trial for trial in ordered if trial.recommended), None)
    best = trials[useful[0].name][1]
    alike = [trial for trial in useful if trial is useful[0] or _within_noise(best, trials[trial.name][1], metric, held_out, confidence)]
    return tuple(ordered), min(alike, key=lambda trial: (ORDER.index(trial.kind), -(trial.gain.value or 0)))


def _gains(each: Candidate, folds: list[dict[str, float]], now: list[dict[str, float]], metric: str) -> Any:
    """Over the model as it is; what is trained on less shows what the rest of the rows brought."""
    difference = np.array([fold[metric] - own[metric] for fold, own in zip(folds, now, strict=True)])
    return -difference if each.kind == "collect" else difference


def _within_noise(best: list[dict[str, float]], other: list[dict[str, float]], metric: str, held_out: float, confidence: float) -> bool:
    lead, _ = compared(np.array([one[metric] - two[metric] for one, two in zip(best, other, strict=True)]), held_out, confidence)
    return lead.low is None or lead.low <= 0


def _metrics(problem: Problem, now: list[dict[str, float]], held_out: float, confidence: float) -> tuple[MetricTrial, ...]:
    from sklearn.dummy import DummyClassifier

    constant = tried(problem, lambda features, labels: DummyClassifier(strategy="prior").fit(np.zeros((len(labels), 1)), labels))
    found = []
    for name in now[0]:
        gain, _ = compared(np.array([own[name] - none[name] for own, none in zip(now, constant, strict=True)]), held_out, confidence)
        model, without = (float(np.mean([fold[name] for fold in folds])) for folds in (now, constant))
        width = (gain.high or 0) - (gain.low or 0)
        half = float(stats.t.ppf((1 + confidence) / 2, len(now) - 1))
        found.append(MetricTrial(name, model, without, gain, (gain.value or 0) / (width / 2 / half) if width > 0 else None))
    return tuple(sorted(found, key=lambda each: -(each.standard_errors or 0)))
