"""What a monitor has found over time as one HTML file: drift by column and window, performance, the newest window, errors, retrainings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from mlport.errors import MlportError
from mlport.monitoring.records import Column, Judged, Reading, Retraining
from mlport.monitoring.reporting.over_time import WORDS, drift, performance, start
from mlport.monitoring.specs import MonitorSpec
from mlport.monitoring.telling.messages import deciding, judged, measured, moment, span
from mlport.reports.blocks import Amount, Block, Cell, Heading, Page, Points, Section, Table, Text
from mlport.spi import Window

if TYPE_CHECKING:
    from mlport.audit import Evaluation
    from mlport.decay import Performance
    from mlport.drift.decisions import Decision
    from mlport.drift.records import Report
    from mlport.monitors import Monitor

T = TypeVar("T")
WINDOWS = 60
"""The newest windows that a page is made of, unless said otherwise."""
DETAILED = 50
"""Columns of the newest window that get a picture and all readings."""
SLICED = 8
"""Columns whose slices are shown one by one."""
LISTED = 30
"""Windows in a list of what is not known."""


@dataclass(frozen=True)
class Found:
    """What a page is made of: readings newest first, and what was worked out again for it. `failures` say what could not be, and why."""

    spec: MonitorSpec
    profile: str
    readings: Sequence[Reading]
    retrainings: Sequence[Retraining] = ()
    compared: tuple[Report, Decision] | None = None
    performance: Performance | None = None
    evaluation: Evaluation | None = None
    failures: Sequence[str] = field(default=())


def gathered(monitor: Monitor, *, windows: int = WINDOWS, say: Callable[[str], None] = lambda text: None) -> Found:
    """All of it for a monitor; `say` is told what is being worked out.

    What cannot be worked out again, such as a comparison of a window whose rows are no longer kept, is left out and named.
    """
    say("reading what was stored")
    readings = list(islice(monitor.readings(), windows))
    failures: list[str] = []

    def tried(what: str, work: Callable[[], T | None]) -> T | None:
        say(what)
        try:
            return work()
        except MlportError as error:
            failures.append(f"{what}: {error.message}")
            return None

    compared = evaluation = performance = None
    told = [each for each in readings if each.columns]
    if told and told[0].by == "mlport" and "drift" in monitor.spec.watch:
        compared = tried(f"comparing the window {span(told[0].window)}", lambda: monitor.compared(told[0].window))
    if "decay" in monitor.spec.watch:
        performance = tried(
            "judging performance by the labels so far", lambda: monitor.performance(whole_of(readings)) if readings else None
        )
        labelled = [each for each in readings if each.performance and each.performance.value is not None]
        if labelled:
            evaluation = tried(
                f"looking for the worst slices of {span(labelled[0].window)}", lambda: monitor.evaluation(labelled[0].window)
            )
    profile = monitor.client.config.profile or monitor.client.config.target
    return Found(monitor.spec, profile, readings, list(monitor.retrainings()), compared, performance, evaluation, failures)


def html(found: Found) -> str:
    """The file's text: self-contained, without scripts. Raises MissingExtraError without Jinja2."""
    from mlport.reports.page import render

    return render(page(found))


def page(found: Found) -> Page:
    """What the report holds."""
    made: tuple[tuple[str, Iterable[Block]], ...] = (
        ("In short", _summary(found)),
        ("What is not known", _unknown(found)),
        ("Drift over time", drift(found.readings)),
        ("Performance over time", () if _again(found) else performance(found.readings)),
    )
    sections = [Section(title, blocks) for title, each in made if (blocks := list(each))]
    sections += _performance_again(found)
    rest: tuple[tuple[str, Iterable[Block]], ...] = (
        ("The newest window against the reference", _newest(found)),
        ("Errors by class and slice", _errors(found)),
        ("Retrainings", _retrainings(found.retrainings)),
        ("All windows", _windows(found.readings)),
        ("How it is judged", _rules(found.spec)),
    )
    sections += [Section(title, blocks) for title, each in rest if (blocks := list(each))]
    return Page(f"Monitor {found.spec.monitor_name}", sentence(found.readings), _about(found), sections)


# ---------------------------------------------------------------- words


def sentence(readings: Sequence[Reading]) -> str:
    """What the newest window says, as the beginning of a page."""
    if not readings:
        return "No window has been read yet."
    newest = readings[0]
    told = [f"{WORDS[newest.drift].capitalize()} in the newest window, {span(newest.window)}"]
    if newest.drift == "drift":
        told[0] = f"Drift, {newest.severity}, in the newest window, {span(newest.window)}: {_names(newest.drifted)}"
    if newest.drift == "unknown":
        told[0] = f"It is not known whether the newest window, {span(newest.window)}, has drifted: {newest.error or newest.words}"
        if known := next((each for each in readings if each.drift in ("drift", "no drift")), None):
            told.append(f"the newest that is known, {span(known.window)}: {known.words or known.drift}")
    if newest.lasting != newest.drift:
        told.append(f"of the last windows together: {WORDS[newest.lasting]}")
    judgement = next((each.performance for each in readings if each.performance and each.performance.value is not None), None)
    if judgement is not None:
        value = f"{judgement.metric} {measured(judgement.value)}"
        told.append(
            f"{value}, {judgement.status}" + (f" (reference {measured(judgement.reference)})" if judgement.reference is not None else "")
        )
    return f"{'; '.join(told)}."


def _names(columns: Sequence[Column], most: int = 3) -> str:
    named = ", ".join(each.name for each in columns[:most])
    return f"{named} and {len(columns) - most} more" if len(columns) > most else named or "no single column"


def _about(found: Found) -> str:
    from mlport import __version__

    spec, of = found.spec, found.readings
    windows = f"{len(of):,} windows of {_length(spec.window)}" + (f", {span(whole_of(of))}" if of else "")
    by = ", ".join(sorted({each.by for each in of})) or "nobody yet"
    return f"Endpoint {spec.endpoint}, profile {found.profile}. {windows}. Measured by {by}; written with mlport {__version__}."


def whole_of(readings: Sequence[Reading]) -> Window:
    """From the beginning of the oldest to the end of the newest."""
    return Window(readings[-1].window.start, readings[0].window.end)


def _length(length: timedelta) -> str:
    """A duration as a spec has it.

    >>> _length(timedelta(days=7)), _length(timedelta(hours=6)), _length(timedelta(minutes=90))
    ('7 days', '6 hours', '90 minutes')
    """
    seconds = round(length.total_seconds())
    for name, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds % size == 0:
            count = seconds // size
            return f"{count:,} {name}{'' if count == 1 else 's'}"
    return f"{seconds} seconds"


# ---------------------------------------------------------------- sections


def _summary(found: Found) -> Iterator[Block]:
    if not found.readings:
        yield Text("A window is read once it is over, and the delay after it has passed.")
        return
    counts = {name: sum(each.drift == name for each in found.readings) for name in WORDS}
    told = [
        f"Of {len(found.readings):,} windows: " + ", ".join(f"{count:,} {WORDS[name]}" for name, count in counts.items() if count) + "."
    ]
    newest = found.readings[0]
    if newest.words:
        told.append(f"The newest: {newest.words}.")
    told += [judged(newest.performance)] if newest.performance else []
    told += [f"{each.message}." for each in newest.notes if not each.unread]
    failed = [each for each in newest.told if each.error]
    told += [f"Could not be told to {each.to} of {each.event}: {each.error}" for each in failed]
    yield Points(told)


def _unknown(found: Found) -> Iterator[Block]:
    """Windows that could not be read, or not whole: loud, and before what could."""
    lines = [line for each in found.readings for line in _not_known(each)]
    if lines:
        windows = sum(bool(list(_not_known(each))) for each in found.readings)
        noun = "1 window" if windows == 1 else f"{windows:,} windows"
        yield Text(f"Of {noun} something is not known. It is not counted as “no drift”.", "warning")
        yield Points(lines[:LISTED])
        if len(lines) > LISTED:
            yield Text(f"And {len(lines) - LISTED:,} more; all windows are in the table below.", "quiet")
    if found.failures:
        yield Text("For this page some could not be worked out again.", "warning")
        yield Points(found.failures)


def _not_known(reading: Reading) -> Iterator[str]:
    if reading.error or reading.drift == "unknown":
        yield f"{span(reading.window)}: {reading.error or reading.words or 'not known'}"
    for note in reading.notes:
        if note.unread:
            yield f"{span(reading.window)}: {note.message}"


def _again(found: Found) -> bool:
    """Whether performance was worked out anew for the windows of the readings: those read on demand may have been others."""
    judged_windows = {each.window.start for each in found.readings if each.performance is not None}
    return found.performance is not None and judged_windows <= {each.start for each in found.performance.windows}


def _performance_again(found: Found) -> list[Section]:
    """By the labels of now, where the windows are the same; and how long labels take to come, in any case."""
    if found.performance is None:
        return []
    from mlport.decay.report import sections

    made = sections(found.performance)
    return made if _again(found) else made[1:]


def _newest(found: Found) -> Iterator[Block]:
    """The comparison in full, where it was made again; else the columns as the newest reading has them."""
    if found.compared is not None:
        from mlport.drift.report import sections

        yield from _parts(sections(*found.compared, most=DETAILED))
    elif found.readings and found.readings[0].drifted:
        columns = ["column", "severity", "what decides", "importance"]
        rows: list[list[Cell]] = [
            [each.name, each.severity, deciding(each), Amount(each.importance, f"{each.importance:.1%}")]
            for each in found.readings[0].drifted
        ]
        yield Table("Columns that have drifted in the newest window", columns, rows, frozenset(columns[3:]), stack=True)


def _errors(found: Found) -> Iterator[Block]:
    if found.evaluation is not None:
        from mlport.audit.report import sections

        yield from _parts(sections(found.evaluation, most=SLICED))


def _parts(sections: Sequence[Section]) -> Iterator[Block]:
    """Sections of another report as parts of one section."""
    for each in sections:
        yield Heading(each.title)
        yield from each.blocks


def _retrainings(retrainings: Sequence[Retraining]) -> Iterator[Block]:
    if not retrainings:
        return
    columns = ["retraining", "decided (UTC)", "by", "phase", "why", "gate", "version"]
    rows: list[list[Cell]] = [
        [each.id, moment(each.decided), each.trigger, each.phase, _lines_of(each.why, each.reason), _gate(each), _version(each)]
        for each in retrainings
    ]
    yield Table("Retrainings, newest first", columns, rows, stack=True)


def _lines_of(*texts: str) -> str:
    return "; ".join(text.rstrip(".") for text in texts if text)


def _gate(retraining: Retraining) -> str | None:
    verdict = retraining.verdict
    if verdict is None:
        return None
    told = f"{'passed' if verdict.passed else 'not passed'}: {verdict.metric} {measured(verdict.challenger)}"
    if verdict.champion is not None:
        told += f", champion {measured(verdict.champion)}"
    if verdict.gain is not None:
        told += f", gain {measured(verdict.gain, verdict.low, verdict.high)}"
    return _lines_of(f"{told}, {verdict.rows:,} rows", *verdict.reasons)


def _version(retraining: Retraining) -> str | None:
    told = f"{retraining.model or ''} {retraining.version or ''}".strip()
    return f"{told}, deployment {retraining.deployment}" if retraining.deployment else told or None


def _windows(readings: Sequence[Reading]) -> Iterator[Block]:
    if not readings:
        return
    columns = ["window from (UTC)", "rows", "drift", "columns", "decay", "metric", "versions", "told", "retraining"]
    rows: list[list[Cell]] = [
        [
            start(each),
            None if each.rows is None else Amount(float(each.rows), f"{each.rows:,}"),
            _status(each),
            _names(each.drifted) if each.drifted else each.error or (each.words if each.drift == "unknown" else None),
            each.decay,
            _value(each.performance),
            ", ".join(f"{name}: {count:,}" for name, count in each.versions.items()) or None,
            ", ".join(dict.fromkeys(f"{told.event}{' (not sent)' if told.error else ''}" for told in each.told)) or None,
            each.retraining,
        ]
        for each in readings
    ]
    yield Table("Windows, newest first", columns, rows, frozenset(["rows"]), stack=True)


def _value(found: Judged | None) -> str | None:
    return None if found is None or found.value is None else measured(found.value, found.low, found.high)


def _status(reading: Reading) -> str:
    told = f"drift, {reading.severity}" if reading.drift == "drift" else WORDS[reading.drift]
    return told if reading.lasting == reading.drift else f"{told}; lasting: {WORDS[reading.lasting]}"


def _rules(spec: MonitorSpec) -> Iterator[Block]:
    from mlport.monitoring.telling.alerting import addressee

    k, n = spec.persistence
    thresholds = ", ".join(f"{name} {value:g}" for name, value in spec.thresholds.items()) or "those of mlport drift"
    told = [
        f"Windows of {_length(spec.window)}, read {_length(spec.delay)} after their end; with fewer than {spec.min_rows:,} rows nothing is said.",
        f"Held against {spec.reference}. Thresholds: {thresholds}.",
        f"An alarm: {k} of {n} windows." if n > 1 else "An alarm: each window that has drifted.",
        f"Told to: {', '.join(addressee(each) for each in spec.alerts) or 'nobody'}.",
    ]
    if policy := spec.retrain:
        named = (("drift", policy.on_drift), ("decay", policy.on_decay), (f"the clock ({policy.schedule})", policy.schedule))
        reasons = [*(name for name, wanted in named if wanted), *([f"{policy.new_rows:,} new labelled rows"] if policy.new_rows else [])]
        told.append(f"Retrains on {', '.join(reasons)}; not sooner than {_length(policy.cooldown)} after the last.")
    yield Points(told)
