"""An evaluation as sections of a page, and as one HTML file that can be forwarded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from mlport.audit.records import Measure, count, figure, percent
from mlport.reports.blocks import Amount, Block, Cell, Chart, Fold, Page, Points, Section, Table, Text
from mlport.reports.charts import Bar, Curve, lines, stacked_bars

if TYPE_CHECKING:
    from mlport.audit.calibration import Calibration
    from mlport.audit.classification import ClassReport
    from mlport.audit.decisions import Costs
    from mlport.audit.evaluation import Evaluation, SliceReport

DRAWN = 30
"""Classes and slices of a column that are drawn; all stand in the table."""
MOST_CLASSES = 20
"""Of more classes the confusion is told by its largest mistakes alone."""
MISTAKES = 20
SLICED_BY = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "mae"}
READING = (
    "Intervals take rows as independent: rows that come in groups make them too narrow.",
    "“No skill” is what an answer that uses no features would have.",
    "A slice is told as worse only where it is beyond noise, adjusted for how many slices were tested, and by enough to matter.",
)


def html(found: Evaluation, *, title: str = "How good is the model?", name: str = "the table") -> str:
    """The file's text: self-contained, without scripts. Raises MissingExtraError without Jinja2."""
    from mlport.reports.page import render

    return render(page(found, title=title, name=name))


def page(found: Evaluation, *, title: str, name: str) -> Page:
    """What the report holds."""
    from mlport import __version__

    what = f", positive class {found.positive!r}" if found.task == "binary" else ""
    cut = f" from {found.threshold:g} on" if found.threshold is not None else ""
    about = f"{name}: {count(found.rows, 'row')}, {found.task}{what}{cut}, with mlport {__version__}."
    return Page(title, f"{sentence(found)}.", about, sections(found))


def sentence(found: Evaluation) -> str:
    """What matters most, as the beginning of a page."""
    told = [f"{number} {name}{'s' if number > 1 else ''}" for name in ("problem", "warning") if (number := _number(found, name))]
    worst = f"; {count(len(found.worst), 'slice')} worse than the rest beyond noise" if found.worst else ""
    return (f"Found: {' and '.join(told)}" if told else "Nothing found that matters") + worst


def _number(found: Evaluation, severity: str) -> int:
    return sum(each.severity == severity for each in found.findings)


def sections(found: Evaluation, *, most: int | None = None) -> list[Section]:
    """Metrics, classes, mistakes, calibration, costs and slices: those that there are. `most` columns are shown slice by slice; all if None."""
    made: tuple[tuple[str, Iterable[Block]], ...] = (
        ("Performance", _metrics(found)),
        ("Classes", _classes(found)),
        ("Calibration", () if found.calibration is None else _calibration(found.calibration)),
        ("Costs of mistakes", () if found.costs is None else _costs(found.costs)),
        ("Worst slices", _worst(found)),
        ("All slices", _slices(found, most)),
    )
    return [Section(title, blocks) for title, each in made if (blocks := list(each))]


def _metrics(found: Evaluation) -> Iterator[Block]:
    if told := [str(each) for each in found.findings if each.check != "slice"]:
        yield Points(told)
    rows: list[list[Cell]] = [
        [name, _measured(measure), _amount(found.without_skill.get(name)), measure.method or measure.reason or None]
        for name, measure in found.metrics.items()
    ]
    yield Table("Metrics", ["metric", "value", "no skill", "how"], rows, frozenset(("value", "no skill")), stack=True)
    yield Points(READING)


def _measured(measure: Measure) -> Cell:
    return None if measure.value is None else Amount(measure.value, str(measure))


def _amount(value: float | None) -> Cell:
    return None if value is None else Amount(value, figure(value))


# ---------------------------------------------------------------- classes


def _classes(found: Evaluation) -> Iterator[Block]:
    if not found.by_class:
        return
    if any(each.recall.value is not None for each in found.by_class):
        yield _recalls(found.by_class)
    columns = ["class", "rows", "predicted", "recall", "precision", "F1", "average precision", "its no skill", "ROC AUC"]
    rows = [_class_cells(each) for each in found.by_class]
    yield Table("Each class against the rest", columns, rows, frozenset(columns[1:]), stack=True)
    if found.confusion is not None:
        yield _confusion(found.classes, found.confusion)


def _class_cells(each: ClassReport) -> list[Cell]:
    return [
        str(each.name),
        Amount(each.rows, f"{each.rows:,}"),
        None if each.predicted is None else Amount(each.predicted, f"{each.predicted:,}"),
        *(_measured(measure) for measure in (each.recall, each.precision, each.f1, each.average_precision)),
        Amount(each.average_precision_baseline, percent(each.average_precision_baseline)),
        _measured(each.roc_auc),
    ]


def _recalls(classes: Sequence[ClassReport]) -> Chart:
    rarest = sorted(classes, key=lambda each: each.rows)[:DRAWN]
    bars = [_bar(f"{each.name} ({count(each.rows, 'row')})", "recall", each.recall) for each in rarest]
    worst = min((each for each in rarest if each.recall.value is not None), key=lambda each: each.recall.value or 0.0)
    text = f"The share of each class that is found. The lowest is that of {worst.name}: {worst.recall}."
    rows: list[list[Cell]] = [[str(each.name), f"{each.rows:,}", str(each.recall)] for each in rarest]
    table = Table("Recall", ["class", "rows", "recall"], rows, short=True)
    return stacked_bars("Recall by class, the rarest first", text, bars, {"recall": 0}, table, span="interval")


def _bar(name: str, of: str, measure: Measure) -> Bar:
    interval = None if measure.low is None or measure.high is None else (measure.low, measure.high)
    return Bar(name, {} if measure.value is None else {of: measure.value}, figure(measure.value), interval)


def _confusion(classes: Sequence[object], matrix: Sequence[Sequence[int]]) -> Table:
    names = [str(each) for each in classes]
    if len(names) <= MOST_CLASSES:
        rows: list[list[Cell]] = [[name, *(Amount(cell, f"{cell:,}") for cell in own)] for name, own in zip(names, matrix, strict=True)]
        columns = _apart(["true \\ predicted", *names])
        return Table("Confusion: rows by true class and predicted class", columns, rows, frozenset(columns[1:]))
    wrong = [(cell, a, b) for a, own in zip(names, matrix, strict=True) for b, cell in zip(names, own, strict=True) if a != b and cell]
    largest = sorted(wrong, key=lambda each: -each[0])[:MISTAKES]
    columns = ["true", "predicted", "rows"]
    return Table(
        f"The {len(largest)} most frequent mistakes",
        columns,
        [[a, b, Amount(cell, f"{cell:,}")] for cell, a, b in largest],
        frozenset(columns[2:]),
    )


def _apart(names: list[str]) -> list[str]:
    """Headings that differ, though a class may be called like another or like the heading of the first column."""
    return [name if name not in names[:place] else f"{name} ({place})" for place, name in enumerate(names)]


# ---------------------------------------------------------------- probabilities and costs


def _calibration(made: Calibration) -> Iterator[Block]:
    verdict = "more than" if made.is_off else "no more than"
    yield Text(
        f"{made.of[:1].upper()}{made.of[1:]} is off by {figure(made.ece)} on average, {verdict} the {figure(made.by_chance)} that exact probabilities reach by chance "
        f"once in twenty times. On the whole it promises {figure(abs(made.bias))} too {'much' if made.bias > 0 else 'little'}.",
        "warning" if made.is_off else "plain",
    )
    ends = [0.0, max(each.promised for each in made.bins), max(each.high for each in made.bins)]
    curves = [
        Curve("what came", [(each.promised, each.came) for each in made.bins]),
        Curve("exact", [(0.0, 0.0), (max(ends), max(ends))]),
        Curve("interval, from", [(each.promised, each.low) for each in made.bins]),
        Curve("interval, to", [(each.promised, each.high) for each in made.bins]),
    ]
    rows: list[list[Cell]] = [
        [figure(each.promised), f"{figure(each.came)} ({figure(each.low)} to {figure(each.high)})", f"{each.rows:,}"] for each in made.bins
    ]
    table = Table("Bins of like probability", ["promised", "came", "rows"], rows, short=True)
    text = "Rows in bins of like probability: what was promised, and the share that came."
    yield lines("Calibration", text, curves, (), table, across="promised", up="came")


def _costs(made: Costs) -> Iterator[Block]:
    yield Text(f"Decisions cost {made.now} a row; always answering {made.always!r} would cost {figure(made.always_costs)}.")
    if made.cheapest is not None:
        theory = "" if made.if_calibrated is None else f", and {figure(made.if_calibrated)} if probabilities were exact"
        yield Text(f"The cheapest threshold on these rows is {figure(made.cheapest)}{theory}.")
    yield Text(f"Deciding otherwise, judged on rows that it was not chosen on, saves a row: {made.saving}.")


# ---------------------------------------------------------------- slices


def _worst(found: Evaluation) -> Iterator[Block]:
    made = found.search
    if made is None:
        return
    tested = f"{count(made.tested, 'slice')} of {', '.join(made.columns)} tested; {made.too_small:,} with fewer than {made.min_rows} rows were not."
    yield Text(tested if made.worst else f"None is worse than the rest beyond noise. {tested}")
    if made.worst:
        columns = ["slice", "what", "here", "elsewhere", "worse by, shrunken", "rows", "q"]
        rows: list[list[Cell]] = [
            [
                " and ".join(each.conditions),
                each.what,
                _measured(each.value),
                _amount(each.rest),
                _amount(each.shrunken),
                Amount(each.rows, f"{each.rows:,}"),
                Amount(each.q, f"{each.q:.2g}"),
            ]
            for each in made.worst
        ]
        yield Table("Slices that are worse, the worst first", columns, rows, frozenset(columns[2:]), stack=True)
    if made.notes:
        yield Points(made.notes)


def _slices(found: Evaluation, most: int | None) -> Iterator[Block]:
    """The columns whose slices differ most, all or some; the others are counted."""
    sliced = {column: reports for column, reports in found.slices.items() if reports}
    shown = list(sliced) if most is None else sorted(sliced, key=lambda column: -_spread(found, sliced[column]))[:most]
    for column in shown:
        yield Fold(column, list(_column(found, column, sliced[column])))
    if left := len(sliced) - len(shown):
        yield Text(f"The slices of {count(left, 'other column')} differ less, and are left out.", "quiet")


def _spread(found: Evaluation, reports: Sequence[SliceReport]) -> float:
    """How far the best and the worst slice of a column are apart."""
    drawn = _drawn_metric(found, reports)
    known = (
        [] if drawn is None else [value for each in reports if drawn in each.metrics and (value := each.metrics[drawn].value) is not None]
    )
    return max(known) - min(known) if known else 0.0


def _column(found: Evaluation, column: str, reports: Sequence[SliceReport]) -> Iterator[Block]:
    drawn = _drawn_metric(found, reports)
    if drawn is not None:
        yield _by_slice(column, drawn, reports)
    names = list(dict.fromkeys(name for each in reports for name in each.metrics))
    rows: list[list[Cell]] = [
        [
            each.condition,
            Amount(each.rows, f"{each.rows:,}"),
            *(_measured(each.metrics[name]) if name in each.metrics else None for name in names),
        ]
        for each in reports
    ]
    yield Table(f"{column}: slices", ["slice", "rows", *names], rows, frozenset(("rows", *names)), stack=True)


def _drawn_metric(found: Evaluation, reports: Sequence[SliceReport]) -> str | None:
    """The task's own, else the first that has a value."""
    names = dict.fromkeys((SLICED_BY[found.task], *(name for each in reports for name in each.metrics)))
    has = (name for name in names if any(name in each.metrics and each.metrics[name].value is not None for each in reports))
    return next(has, None)


def _by_slice(column: str, metric: str, reports: Sequence[SliceReport]) -> Chart:
    shown = reports[:DRAWN]
    bars = [_bar(f"{each.condition} ({count(each.rows, 'row')})", metric, each.metrics[metric]) for each in shown]
    rows: list[list[Cell]] = [[each.condition, f"{each.rows:,}", str(each.metrics[metric])] for each in shown]
    table = Table(metric, ["slice", "rows", metric], rows, short=True)
    known = [value for each in shown if (value := each.metrics[metric].value) is not None]
    text = f"{metric} of the slices of {column}: {figure(min(known))} to {figure(max(known))}."
    return stacked_bars(f"{metric} by {column}", text, bars, {metric: 0}, table, span="interval")
