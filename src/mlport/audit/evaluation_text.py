"""What an evaluation says in words: its findings, and its text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mlport.audit.records import Finding, Measure, count, figure, grid, percent

if TYPE_CHECKING:
    from mlport.audit.evaluation import Evaluation

SKEWED = 0.8
FEW = 30
"""Rows of a class below which its recall is hardly known: of 30 the interval of a half is 0.33 to 0.67."""
JUDGED = {"binary": "average_precision", "multiclass": "balanced_accuracy", "regression": "mae"}
LOWER_IS_BETTER = {"log_loss", "brier", "mae", "rmse"}


def findings_of(found: Evaluation) -> Iterator[Finding]:
    """What to act on, in no order."""
    for why, rows in found.left_out.items():
        if rows:
            yield Finding("rows", "warning", f"{count(rows, 'row')} {why} left out", evidence={why: rows, "judged": found.rows})
    yield from _skill(found)
    yield from _by_class(found)
    yield from _costs(found)
    if found.calibration and found.calibration.is_off:
        made = found.calibration
        text = f"{made.of} is off by {figure(made.ece)} on average; exact probabilities would by chance be off by up to {figure(made.by_chance)}"
        yield Finding("calibration", "warning", text, evidence={"ece": made.ece, "by_chance": made.by_chance, "bias": made.bias})
    for each in found.worst:
        yield Finding("slice", "warning", str(each), " and ".join(each.conditions), {"q": each.q, "effect": each.effect, "rows": each.rows})


def _skill(found: Evaluation) -> Iterator[Finding]:
    for name in dict.fromkeys((JUDGED[found.task], "balanced_accuracy", "log_loss", "mae")):
        measure, without = found.metrics.get(name), found.without_skill.get(name)
        if measure is None or measure.low is None or measure.high is None or without is None:
            continue
        lower = name in LOWER_IS_BETTER
        if (measure.high >= without) if lower else (measure.low <= without):
            text = f"{name} {measure} is not beyond noise {'below' if lower else 'above'} {figure(without)}, which takes no features"
            yield Finding("skill", "problem", text, name, {"without_skill": without})
    accuracy, share = found.metrics.get("accuracy"), found.without_skill.get("accuracy", 0)
    if accuracy is not None and accuracy.value is not None and share >= SKEWED:
        text = f"accuracy {accuracy} says little: always answering the most frequent class gives {figure(share)}"
        better = f"judge by {JUDGED[found.task]} or balanced_accuracy"
        yield Finding("metric", "warning", f"{text}; {better}", "accuracy", {"without_skill": share})


def _by_class(found: Evaluation) -> Iterator[Finding]:
    for each in found.by_class:
        subject = str(each.name)
        if each.rows == 0:
            yield Finding("class", "problem", f"class {each.name!r} has no rows: nothing can be said of it", subject)
        elif each.rows < FEW:
            text = f"class {each.name!r} has only {count(each.rows, 'row')}: recall {each.recall}; collect more before trusting it"
            yield Finding("class", "warning", text, subject, {"rows": each.rows})
        if each.predicted == 0 and each.rows:
            yield Finding(
                "class", "problem", f"class {each.name!r} is never predicted; all {count(each.rows, 'row')} of it are missed", subject
            )


def _costs(found: Evaluation) -> Iterator[Finding]:
    made = found.costs
    if made is None:
        return
    if made.now.value is not None and made.now.high is not None and made.now.high >= made.always_costs:
        text = f"decisions cost {made.now} a row; always answering {made.always!r} costs {figure(made.always_costs)}, so they do not pay beyond noise"
        yield Finding("costs", "problem", text)
    if made.worthwhile:
        how = "the class of least expected cost" if made.cheapest is None else f"a threshold near {figure(made.cheapest)}"
        yield Finding("costs", "warning", f"{how} saves {made.saving} a row", evidence={"threshold": made.cheapest})


def text_of(found: Evaluation) -> str:
    """The whole, section by section."""
    what = f"{count(found.rows, 'row')}, {found.task}"
    if found.task == "binary":
        what += f", positive class {found.positive!r}" + ("" if found.threshold is None else f" from {found.threshold:g} on")
    lines = [what, ""]
    rows = [
        [name, *_cells(measure), figure(found.without_skill.get(name)), measure.method or measure.reason or ""]
        for name, measure in found.metrics.items()
    ]
    lines += grid(["metric", "value", "from", "to", "no skill", ""], rows)
    if found.by_class:
        lines += ["", *grid(["class", "rows", "recall", "precision", "f1", "avg precision", "no skill"], _class_rows(found))]
    if found.confusion and len(found.confusion) <= 12:
        header = ["true \\ predicted", *map(str, found.classes)]
        lines += ["", *grid(header, [[name, *cells] for name, cells in zip(found.classes, found.confusion, strict=True)])]
    if found.costs:
        lines += ["", *_cost_lines(found)]
    if found.search:
        made = found.search
        lines += ["", f"worst of {count(made.tested, 'slice')} tested ({made.too_small:,} with fewer than {made.min_rows} rows were not)"]
        lines += [f"  {each}" for each in made.worst] or ["  none is worse than the rest beyond noise"]
        lines += [f"  note: {note}" for note in made.notes]
    shown = [finding for finding in found.findings if finding.check != "slice"]
    return "\n".join([*lines, "", *map(str, shown)] if shown else lines).rstrip()


def _cells(measure: Measure) -> list[str]:
    return [figure(measure.value), figure(measure.low), figure(measure.high)]


def _class_rows(found: Evaluation) -> Iterator[list[object]]:
    for each in found.by_class:
        yield [
            each.name,
            f"{each.rows:,}",
            *(_with_interval(measure) for measure in (each.recall, each.precision, each.f1, each.average_precision)),
            percent(each.average_precision_baseline),
        ]


def _with_interval(measure: Measure) -> str:
    return "-" if measure.value is None else str(measure)


def _cost_lines(found: Evaluation) -> list[str]:
    made = found.costs
    assert made is not None  # noqa: S101 - the caller looked
    lines = [f"cost a row: {made.now}; always {made.always!r}: {figure(made.always_costs)}"]
    if made.cheapest is not None:
        theory = "" if made.if_calibrated is None else f", {figure(made.if_calibrated)} if probabilities were exact"
        lines.append(
            f"cheapest threshold: {figure(made.cheapest)} on these rows{theory}; saving a row, judged on rows it was not chosen on: {made.saving}"
        )
    else:
        lines.append(f"saving a row by least expected cost: {made.saving}")
    return lines
