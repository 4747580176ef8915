"""What the audit of a dataset says in words: its findings, and its text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mlport.audit.giveaways import LIKELY, SURE
from mlport.audit.records import Finding, count, figure, grid, percent

if TYPE_CHECKING:
    from mlport.audit.datasets import Column, DatasetAudit
    from mlport.audit.nearly import Near

FEW = 30
MISSING = 0.5
SHOWN = 10
GROUPED = 0.05
"""With more near duplicates than this share, rows come in groups."""
TRUSTED = 0.9
"""The accuracy from which a model's doubts say more of the label than of the model."""


def findings_of(found: DatasetAudit) -> Iterator[Finding]:
    """What to act on, in no order."""
    for column in found.columns:
        if column.name in (*found.features, found.label):
            yield from _column(column)
    yield from _classes(found)
    yield from _duplicates(found)
    for each in found.near_duplicates:
        yield from _near(each, found.train)
    yield from _leakage(found)
    yield from _labels(found)


def _column(column: Column) -> Iterator[Finding]:
    name = column.name
    if column.share_missing == 1:
        yield Finding("missing", "problem", f"{name!r} has no values at all", name)
    elif column.share_missing >= MISSING:
        yield Finding(
            "missing", "warning", f"{name!r} is missing in {percent(column.share_missing)} of rows", name, {"share": column.share_missing}
        )
    if column.distinct == 1:
        gaps = f" where it is not missing ({percent(column.share_missing)})" if column.missing else ""
        yield Finding("constant", "warning", f"{name!r} has one and the same value{gaps}", name)
    if column.infinite:
        yield Finding("types", "problem", f"{name!r} has {count(column.infinite, 'infinite value')}", name)
    if column.mixed:
        yield Finding("types", "problem", f"{name!r} mixes types: {', '.join(column.mixed)}", name)


def _classes(found: DatasetAudit) -> Iterator[Finding]:
    made = found.classes
    if made is None:
        return
    if made.unlabelled:
        yield Finding("classes", "warning", f"{count(made.unlabelled, 'row')} without a label", found.label)
    smallest = made.classes[-1]
    if made.verdict == "one class only":
        yield Finding("classes", "problem", f"every label is {smallest.name!r}: there is nothing to learn", found.label)
        return
    if made.verdict != "balanced":
        severity = "note" if made.verdict.startswith("mildly") else "warning"
        text = f"classes are {made.verdict}: {smallest.name!r} is {percent(smallest.share)} of rows"
        yield Finding("classes", severity, text, str(smallest.name), {"rows": smallest.rows})  # type: ignore[arg-type]
    for each in made.classes:
        absent = [split for split, rows in each.by_split.items() if rows == 0]
        if absent:
            yield Finding("classes", "problem", f"class {each.name!r} is not in {', '.join(absent)}", str(each.name))
        few = min(each.by_split.values())
        if 0 < few < FEW and each.recall_known_to is not None:
            text = f"class {each.name!r} has only {count(few, 'row')} in a split: its recall can be known to about ±{figure(each.recall_known_to)}"
            yield Finding("classes", "warning", text, str(each.name), {"rows": few})


def _duplicates(found: DatasetAudit) -> Iterator[Finding]:
    made = found.duplicates
    if made.extra:
        severity = "warning" if made.share >= 0.001 else "note"
        text = f"{count(made.extra, 'row')} ({percent(made.share)}) repeat another, label included"
        yield Finding("duplicates", severity, text, evidence={"groups": made.groups, "examples": made.examples})  # type: ignore[arg-type]


def _near(made: Near, train: str) -> Iterator[Finding]:
    what = "rows" if made.of == "features" else f"texts in {made.of!r}"
    share = made.rows / max(made.looked_at, 1)
    evidence = {"rows": made.rows, "looked_at": made.looked_at, "examples": [vars(each) for each in made.examples]}
    if made.rows:
        text = f"{made.rows:,} of {made.looked_at:,} {what} looked at ({percent(share)}) are nearly another{_such_as(made)}"
        if share > GROUPED:
            text += ": rows come in groups (of one time, place or person?), which a split should not part"
        yield Finding("near duplicates", "warning" if 0.001 <= share <= GROUPED else "note", text, made.of, evidence)
    for each in made.shared:
        if each.rows:
            text = f"{count(each.rows, 'row')} of {each.split} ({percent(each.share)}) are nearly a row of {train}, by {made.of}"
            grouped = f"; so are {percent(each.usual)} of {train} among themselves" if each.share <= each.usual else ""
            seen = {"rows": each.rows, "examples": each.examples, "usual": each.usual}
            yield Finding("leakage", "note" if grouped else "warning", text + grouped, each.split, seen)


def _such_as(made: Near) -> str:
    first = made.examples[0]
    how = "of the usual distance" if made.of == "features" else "of their pieces in common"
    return f", such as {first.row} and {first.other} ({percent(first.nearness)} {how})"


def _leakage(found: DatasetAudit) -> Iterator[Finding]:
    for each in found.shared_rows:
        if each.rows:
            text = f"{count(each.rows, 'row')} of {each.split} ({percent(each.share)}) have the very features of a row of {found.train}"
            evidence = {"rows": each.rows, "examples": each.examples, "usual": each.usual}
            if each.share > each.usual:
                yield Finding("leakage", "problem", text, each.split, evidence)
            else:
                why = f"; so have {percent(each.usual)} of {found.train} among themselves: coarse features, or duplicates from before the split"
                yield Finding("leakage", "warning", text + why, each.split, evidence)
    for each in found.shared_entities or ():
        if each.rows:
            text = f"{count(each.rows, 'row')} of {each.split} ({percent(each.share)}) are about an entity that is in {found.train}, too"
            yield Finding("leakage", "problem", text, each.split, {"rows": each.rows, "examples": each.examples})
    for late in found.order or ():
        if late.later:
            text = f"{percent(late.later / late.of)} of {found.train} is later than the first row of {late.split} ({late.split_begins}): it saw its future"
            yield Finding("leakage", "problem", text, late.split, {"rows": late.later})
    for each_feature in found.giveaways:
        if each_feature.score >= LIKELY:
            sure = each_feature.score >= SURE
            what = "the label" if each_feature.of is None else f"class {each_feature.of!r}"
            text = f"{each_feature.feature!r} alone {'gives' if sure else 'nearly gives'} {what} away ({each_feature.metric} {figure(each_feature.score)})"
            ask = "is it known when the prediction is made?"
            yield Finding(
                "leakage", "problem" if sure else "warning", f"{text}: {ask}", each_feature.feature, {"score": each_feature.score}
            )


def _labels(found: DatasetAudit) -> Iterator[Finding]:
    made = found.conflicts
    if made.groups and found.task == "classification":
        text = f"{count(made.rows, 'row')} have equal features and conflicting labels; no model gets more than {percent(made.ceiling or 0)} of rows right"
        yield Finding("labels", "warning", text, found.label, {"groups": made.groups, "examples": made.examples})
    yield from found.agreement.findings if found.agreement else ()
    doubts = found.suspects
    if doubts.found:
        share, accuracy = percent(len(doubts.found) / doubts.looked_at), doubts.accuracy or 0
        poor = accuracy < TRUSTED
        then = "so they may as well be hard to tell" if poor else "have people look at them"
        text = f"{count(len(doubts.found), 'label')} of {doubts.looked_at:,} looked at ({share}) are doubted by a model that is right on {percent(accuracy)}: {then}"
        evidence = {"rows": [each.row for each in doubts.found[:SHOWN]], "accuracy": accuracy}
        yield Finding("labels", "note" if poor else "warning", text, found.label, evidence)


def text_of(found: DatasetAudit) -> str:
    """The whole, section by section."""
    splits = ", ".join(f"{name} {rows:,}" for name, rows in found.splits.items())
    lines = [f"{count(found.rows, 'row')} ({splits}), {count(len(found.features), 'feature')}, label {found.label!r} ({found.task})", ""]
    if found.classes:
        lines += _class_lines(found)
    gaps = [column for column in found.columns if column.missing]
    if gaps:
        gaps = sorted(gaps, key=lambda column: -column.missing)[:SHOWN]
        lines += [*grid(["missing", "rows", "share"], [[each.name, f"{each.missing:,}", percent(each.share_missing)] for each in gaps]), ""]
    top = found.giveaways[:3]
    if top:
        lines += ["best single features: " + ", ".join(f"{each.feature} ({each.metric} {figure(each.score)})" for each in top), ""]
    doubts = found.suspects
    if doubts.found is None:
        lines += [f"label errors: not judged: {doubts.reason}", ""]
    elif doubts.found:
        header = ["row", "label", "model says", "p(label)"]
        lines += [*grid(header, [[each.row, each.label, each.suggested, figure(each.probability)] for each in doubts.found[:SHOWN]]), ""]
    if found.agreement:
        lines += [found.agreement.text(), ""]
    lines += [str(finding) for finding in found.findings if finding.check != "agreement"] or ["nothing found"]
    return "\n".join(lines).rstrip()


def _class_lines(found: DatasetAudit) -> list[str]:
    made = found.classes
    assert made is not None  # noqa: S101 - the caller looked
    names = list(found.splits) if len(found.splits) > 1 else []
    rows = [
        [
            each.name,
            f"{each.rows:,}",
            percent(each.share),
            *(f"{each.by_split[name]:,}" for name in names),
            f"±{figure(each.recall_known_to)}",
        ]
        for each in made.classes
    ]
    return [f"classes: {made.verdict}", *grid(["class", "rows", "share", *names, "recall known to"], rows), ""]
