"""Performance over time as sections of a page, and as one HTML file that can be forwarded."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from mlport.audit.records import Measure, count, figure, percent
from mlport.reports.blocks import Amount, Block, Cell, Chart, Page, Points, Section, Table, Text
from mlport.reports.timeline import Span, timeline

if TYPE_CHECKING:
    from mlport.decay.performing import Performance, Period

KINDS = ("steady, or nothing to compare with", "decayed", "undecided", "too few labels to rely on")
KIND = {"steady": 0, "no reference": 0, "decayed": 1, "undecided": 2, "not known yet": 3, "no requests": 3}
READING = (
    "A window belongs to the time of the prediction; its labels may come much later, and change what is said here.",
    "Decayed: the whole interval of the loss against the reference is beyond the margin. Steady: all of it is within. Undecided: the margin is inside.",
    "A window of which too few rows are labelled is not known yet, and never steady.",
)


def html(found: Performance, *, title: str = "Has the model decayed?", name: str = "the table") -> str:
    """The file's text: self-contained, without scripts. Raises MissingExtraError without Jinja2."""
    from mlport.reports.page import render

    return render(page(found, title=title, name=name))


def page(found: Performance, *, title: str, name: str) -> Page:
    """What the report holds."""
    from mlport import __version__

    captured, labelled = (sum(getattr(each, of) for each in found.windows) for of in ("captured", "labelled"))
    about = f"{name}: {count(captured, 'row')}, {labelled:,} of them labelled, as of {found.as_of:%Y-%m-%d %H:%M} UTC, with mlport {__version__}."
    return Page(title, f"{sentence(found)}.", about, sections(found))


def sentence(found: Performance) -> str:
    """What the windows say, as the beginning of a page."""
    windows = count(len(found.windows), "window")
    if found.decayed:
        return f"{found.metric} has decayed in {len(found.decayed):,} of {windows}"
    if found.latest is None:
        return f"Nothing is known of {found.metric} yet, in {windows}"
    newest = f"the newest window with enough labels begins {found.latest.start:%Y-%m-%d %H:%M} UTC and is"
    said = "steady" if found.latest.status == "steady" else "undecided" if found.latest.status == "undecided" else "held against nothing"
    return f"{found.metric} has decayed in none of {windows}; {newest} {said}"


def sections(found: Performance) -> list[Section]:
    """Performance by window, and the labels that this rests on."""
    return [Section("Performance over time", list(_windows(found))), Section("Labels", list(_labels(found)))]


def _windows(found: Performance) -> Iterator[Block]:
    better = "more is better" if found.greater_is_better else "less is better"
    if found.reference.value is None:
        yield Text(f"{found.metric}, {better}. No reference was given, so nothing is said of decay.", "warning")
    else:
        yield Text(f"{found.metric}, {better}. Reference: {found.reference}. A loss of up to {figure(found.margin)} is fine.")
    if found.decayed:
        yield Points([f"{_when(each)}: {each.why}" for each in found.decayed], "Decayed")
    yield _values(found)
    yield _coverage(found)
    yield Points(READING)


def _values(found: Performance) -> Chart:
    levels: dict[str, float] = {}
    if found.reference.value is not None and found.margin is not None:
        levels["reference"] = found.reference.value
        levels["margin"] = found.reference.value + (-found.margin if found.greater_is_better else found.margin)
    spans = [
        Span(each.start, each.end, each.value.value, each.value.low, each.value.high, KINDS[KIND[each.status]]) for each in found.windows
    ]
    rows: list[list[Cell]] = [
        [_when(each), _measured(each.value), _measured(each.decay), f"{each.captured:,}", _covered(each), each.status]
        for each in found.windows
    ]
    columns = ["window from (UTC)", found.metric, "worse by", "captured", "labelled", "status"]
    table = Table("Windows", columns, rows, frozenset(columns[3:5]), stack=True)
    text = f"{found.metric} of each window with its {percent(found.confidence)} interval. {_range(found)}"
    return timeline(f"{found.metric} by window", text, spans, levels, table, kinds=KINDS, up=found.metric)


def _range(found: Performance) -> str:
    known = [each for each in found.windows if each.value.value is not None]
    if not known:
        return "No window has a value."
    low, high = min(known, key=lambda each: each.value.value or 0), max(known, key=lambda each: each.value.value or 0)
    return f"Lowest {figure(low.value.value)} ({_when(low)}), highest {figure(high.value.value)} ({_when(high)})."


def _coverage(found: Performance) -> Chart:
    kinds = ("enough", "too few")
    spans = [Span(each.start, each.end, each.coverage, 0.0, each.coverage, kinds[each.status == "not known yet"]) for each in found.windows]
    rows: list[list[Cell]] = [[_when(each), f"{each.labelled:,} of {each.captured:,}", _covered(each)] for each in found.windows]
    table = Table("Labelled", ["window from (UTC)", "rows", "share"], rows, short=True)
    text = f"The share of each window's rows that are labelled so far; below {percent(found.least_coverage)} nothing is said of a window."
    levels = {"needed": found.least_coverage}
    return timeline("Labelled so far", text, spans, levels, table, kinds=kinds, up="share")


def _covered(each: Period) -> str | None:
    return None if each.coverage is None else percent(each.coverage)


def _when(each: Period) -> str:
    return f"{each.start:%Y-%m-%d %H:%M}"


def _measured(measure: Measure) -> Cell:
    return None if measure.value is None else Amount(measure.value, str(measure))


def _labels(found: Performance) -> Iterator[Block]:
    waits = found.delays
    known = [(level, seconds) for level, seconds in waits.quantiles.items() if seconds is not None]
    if known:
        rows: list[list[Cell]] = [[percent(level), str(timedelta(seconds=round(seconds)))] for level, seconds in known]
        yield Table("How long labels take to come (Kaplan-Meier)", ["of all rows", "within"], rows, short=True)
    yield Text(f"{waits.labelled:,} labels with a time came; {count(waits.waiting, 'row')} wait for theirs.", "quiet")
    if found.findings:
        yield Points([str(each) for each in found.findings], "Found")
    if left := [f"{rows:,} {why}" for why, rows in found.left_out.items() if rows]:
        yield Points(left, "Left out")
