"""Performance by windows of time, by the labels that came so far: with coverage, and as decay against a reference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlport.audit.intervals import checked_confidence
from mlport.audit.records import Finding, Measure, Record, absent, count, figure, grid, percent, ranked
from mlport.audit.scored import Regressed, Scored
from mlport.decay.captured import IDENTITY, Answer, Columns, Labels, Served, instant, judge, part, said, served
from mlport.decay.delays import Delays, delays
from mlport.decay.measures import METRICS, judged, loss, margin_for, measure, metric_for
from mlport.errors import SpecError
from mlport.fields import parse_duration

Status = Literal["decayed", "steady", "undecided", "not known yet", "no requests", "no reference"]
MOST_WINDOWS = 2_000
SELECTION = (0.1, 0.001)
"""From which Kolmogorov-Smirnov distance, below which p (over all windows), the rows labelled so far are no fair sample."""
SELECTION_ROWS = 30


@dataclass(frozen=True)
class Period(Record):
    """One window: what was captured, what of it is labelled, and what these labels say.

    `value` is there as soon as there are labels; `status` says whether it can be relied on. `decay` is how much worse than the reference.
    """

    start: datetime
    end: datetime
    captured: int
    labelled: int
    value: Measure
    decay: Measure
    status: Status
    why: str

    @property
    def coverage(self) -> float | None:
        """`labelled` of `captured`; None where nothing was captured."""
        return self.labelled / self.captured if self.captured else None

    def to_json(self) -> dict[str, Any]:
        """As plain data, with the coverage."""
        return {**super().to_json(), "coverage": self.coverage}


@dataclass(frozen=True)
class Performance(Record):
    """What `performance` found, as of `as_of`: labels that come later change it."""

    metric: str
    greater_is_better: bool
    task: str | None
    as_of: datetime
    reference: Measure
    margin: float | None
    least_coverage: float
    confidence: float
    windows: tuple[Period, ...]
    delays: Delays
    left_out: Mapping[str, int]
    findings: tuple[Finding, ...] = field(default=())

    @property
    def decayed(self) -> tuple[Period, ...]:
        """The windows that are worse than the reference by more than the margin, beyond noise."""
        return tuple(window for window in self.windows if window.status == "decayed")

    @property
    def latest(self) -> Period | None:
        """The last window of which enough labels came to say anything."""
        known = [window for window in self.windows if window.status not in ("not known yet", "no requests")]
        return known[-1] if known else None

    def text(self) -> str:
        """The whole as text for a terminal."""
        head = f"{self.metric} by the labels as of {self.as_of:%Y-%m-%d %H:%M} UTC"
        if self.reference.value is not None:
            head += f"; reference {self.reference}, margin {figure(self.margin)}"
        rows = [
            [
                f"{each.start:%Y-%m-%d %H:%M}",
                f"{each.captured:,}",
                "-" if each.coverage is None else percent(each.coverage),
                str(each.value) if each.value.value is not None else "-",
                str(each.decay) if each.decay.value is not None else "-",
                each.status,
            ]
            for each in self.windows
        ]
        median = self.delays.quantiles[0.5]
        wait = f"labels: half come within {timedelta(seconds=round(median))}" if median is not None else "labels: fewer than half came yet"
        table = grid(["window from", "captured", "labelled", self.metric, "worse by", "status"], rows)
        return "\n".join([head, *table, wait, *map(str, self.findings)])

    def __str__(self) -> str:
        return self.text()


def performance(
    table: Any,
    *,
    metric: str | None = None,
    reference: Any = None,
    every: str | float | timedelta = "7d",
    labels: Labels | None = None,
    as_of: datetime | None = None,
    least_coverage: float = 0.5,
    min_rows: int = 50,
    margin: float | None = None,
    task: str | None = None,
    classes: Sequence[Any] | None = None,
    positive: Any = None,
    threshold: float | None = None,
    scores: str = "probability",
    prediction: str = "prediction",
    label: str = "label",
    time: str = "time",
    labelled_at: str = "labelled_at",
    identity: Sequence[str] = IDENTITY,
    confidence: float = 0.95,
    seed: int = 0,
) -> Performance:
    """How good predictions were, by windows of the time of prediction, according to the labels that came by `as_of`.

    Args:
        table: as `endpoint.captured(labelled=True)` gives it: a row for each prediction, the label null where it has not come.
        metric: accuracy, balanced_accuracy, mcc, macro_f1, precision, recall, f1, roc_auc, average_precision, log_loss, brier, mae, rmse;
            by default roc_auc for scores of two classes, mae for numbers, else balanced_accuracy.
        reference: what to compare with: a number (exact), a `Measure`, an `mlport.audit` evaluation, or a table like `table`.
        every: length of a window, which begin at multiples of it since 1970-01-01 UTC.
        labels: as `mlport.labels.read` yields them, for a table without labels; those of unknown requests are counted and named.
        as_of: labels and predictions later than this are left out; the latest time in the table by default.
        least_coverage: with a lower share of rows labelled, or fewer than `min_rows` labels, a window is "not known yet".
        margin: how much worse is still fine, in units of the metric; 0.02, and for losses 5% of the reference, by default.
        task, classes, positive, threshold, scores: as for `mlport.audit.evaluate`.
        identity: what is one prediction; of several rows with the same the one labelled last counts.

    Returns:
        A window is `decayed` where the interval of its loss is beyond the margin, `steady` where it is within, `undecided` where the
        margin is inside. A label older than its prediction (clock skew, or a leak) counts, but not for the delays; it is a finding.

    Raises:
        SpecError: a column is missing or of another type, nothing has a prediction, the metric does not fit, or labels are of one class
            only that does not say what the other is.
    """
    checked_confidence(confidence)
    length = _length(every)
    if not 0 <= least_coverage <= 1 or min_rows < 2:
        raise SpecError(f"least_coverage, min_rows: {least_coverage} and {min_rows}", hint="a share from 0 to 1, and at least 2 rows")
    names, answer = Columns(prediction, label, time, labelled_at, identity), Answer(task, classes, positive, threshold, scores)
    now = served(table, names, labels=labels, as_of=as_of)
    past = None if not _is_table(reference) else served(reference, names, what="reference")
    name, found, before = _judged(now, past, answer, metric)
    base = _reference(reference, name, before, confidence, seed)
    slack = None if base.value is None else margin_for(name, base, margin)
    windows = _windows(now, found, name, length, base, slack, least_coverage, min_rows, confidence, seed)
    return Performance(
        name,
        METRICS[name].greater_is_better,
        None if found is None else found.task if isinstance(found, Scored) else "regression",
        instant(now.as_of),
        base,
        slack,
        least_coverage,
        confidence,
        windows,
        delays(now.time, now.labelled_at, now.labelled, now.as_of),
        now.left_out,
        ranked([*now.findings, *_findings(now, length)]),
    )


def _length(every: str | float | timedelta) -> float:
    try:
        found = parse_duration(every)
    except ValueError as error:
        raise SpecError(f"every: {error}") from error
    if not isinstance(found, timedelta) or found <= timedelta(0):
        raise SpecError(f"every: {every!r} is no duration above 0", hint="such as '1d' or '12h'")
    return found.total_seconds()


def _is_table(reference: Any) -> bool:
    return reference is not None and not isinstance(reference, int | float | Measure) and not hasattr(reference, "metrics")


def _judged(now: Served, past: Served | None, answer: Answer, metric: str | None) -> tuple[str, Any, Scored | Regressed | None]:
    """The metric; the labelled rows, None if there are none; and those of the reference. Both are of the same classes."""
    sides = [each for each in (past, now) if each is not None]
    if not any(each.labelled.any() for each in sides):
        if metric is None or metric not in METRICS:
            raise SpecError("metric: there are no labels yet to choose a metric by", hint=f"one of {', '.join(METRICS)}")
        return metric, None, None
    if len({np.ndim(each.scores) for each in sides}) > 1:
        raise SpecError("reference: its predictions are lists and the table's are not, or the other way round")
    truth = pd.concat([each.labels[each.labelled] for each in sides], ignore_index=True)
    found = judge(truth, np.concatenate([each.scores[each.labelled] for each in sides]), answer)
    name = metric_for(metric, found)
    first = int(past.labelled.sum()) if past is not None else 0
    own = np.arange(len(truth)) >= first
    return name, part(found, own) if own.any() else None, part(found, ~own) if past is not None else None


def _reference(given: Any, name: str, before: Scored | Regressed | None, confidence: float, seed: int) -> Measure:
    if given is None:
        return absent("no reference was given")
    if isinstance(given, bool) or (isinstance(given, int | float) and not math.isfinite(given)):
        raise SpecError(f"reference: {given} is no value of a metric")
    if isinstance(given, int | float):
        return Measure(float(given), reason="given without an interval")
    if isinstance(given, Measure):
        found: Measure | None = given
    else:
        found = (
            given.metrics.get(name) if hasattr(given, "metrics") else None if before is None else measure(name, before, confidence, seed)
        )
    if found is None or found.value is None:
        why = "it has none" if found is None else found.reason
        raise SpecError(f"reference: no value of {name!r}: {why}", hint="give the metric's value, or a table with labels")
    return found


def _windows(
    now: Served,
    found: Scored | Regressed | None,
    name: str,
    length: float,
    base: Measure,
    slack: float | None,
    least: float,
    min_rows: int,
    confidence: float,
    seed: int,
) -> tuple[Period, ...]:
    place = np.floor(now.time / length).astype(np.int64)
    first, last = int(place.min()), int(place.max())
    if last - first >= MOST_WINDOWS:
        raise SpecError(f"every: {last - first + 1:,} windows are more than {MOST_WINDOWS:,}", hint="a longer duration")
    labelled_place = place[now.labelled]
    rows, known = (np.bincount(own - first, minlength=last - first + 1) for own in (place, labelled_place))
    windows = []
    for at in range(first, last + 1):
        captured, labelled = int(rows[at - first]), int(known[at - first])
        value = absent("no labels came yet", 0)
        if found is not None and labelled:
            value = measure(name, part(found, labelled_place == at), confidence, seed)
        effect = loss(name, base, value)
        status, why = _status(captured, labelled, value, effect, slack, least, min_rows)
        windows.append(Period(instant(at * length), instant((at + 1) * length), captured, labelled, value, effect, status, why))
    return tuple(windows)


def _status(
    captured: int, labelled: int, value: Measure, effect: Measure, slack: float | None, least: float, min_rows: int
) -> tuple[Status, str]:
    if captured == 0:
        return "no requests", "nothing was captured"
    if labelled < least * captured:
        return "not known yet", f"{percent(labelled / captured)} of the rows are labelled, and {percent(least)} are needed"
    if labelled < min_rows:
        return "not known yet", f"{count(labelled, 'label')}, and {min_rows} are needed"
    if value.value is None:
        return "not known yet", value.reason or ""
    if slack is None:
        return "no reference", "there is nothing to compare with"
    decided = judged(effect, slack)
    if decided == "undecided":
        return decided, effect.reason or f"the interval holds the margin {figure(slack)}: more labels are needed"
    worse = f"worse by {figure(effect.low)} to {figure(effect.high)}"
    return decided, f"{worse}, {'beyond' if decided == 'decayed' else 'within'} the margin {figure(slack)}"


def _findings(now: Served, length: float) -> list[Finding]:
    found = []
    labelled = now.labelled
    early = labelled & (now.labelled_at < now.time)
    if early.any():
        text = f"{count(int(early.sum()), 'label')} are older than their predictions: clocks differ, or the truth was known before"
        worst = float((now.time - now.labelled_at)[early].max())
        found.append(Finding("clock skew", "warning", text, evidence={"rows": int(early.sum()), "largest_seconds": worst}))
    if not labelled.any():
        found.append(Finding("no labels", "warning", "no labels came yet: nothing is known of the performance"))
    return [*found, *_selection(now, length)]


def _selection(now: Served, length: float) -> list[Finding]:
    """Windows in which the rows labelled so far were predicted otherwise than those that wait: what is known is of another kind of row."""
    from scipy import stats

    values, found = said(now.scores), []
    place = np.floor(now.time / length)
    partly = [at for at in np.unique(place) if _both(now.labelled[place == at])]
    for at in partly:
        came, waits = values[(place == at) & now.labelled], values[(place == at) & ~now.labelled]
        test = stats.ks_2samp(came, waits, method="asymp")
        if test.statistic > SELECTION[0] and test.pvalue * len(partly) < SELECTION[1]:
            start = instant(float(at) * length)
            text = f"labels of {start:%Y-%m-%d %H:%M} are no fair sample: rows that wait were predicted otherwise"
            found.append(Finding("selective labels", "warning", text, start.isoformat(), {"ks": test.statistic, "p": test.pvalue}))
    return found


def _both(labelled: NDArray[np.bool_]) -> bool:
    return min(int(labelled.sum()), int((~labelled).sum())) >= SELECTION_ROWS
