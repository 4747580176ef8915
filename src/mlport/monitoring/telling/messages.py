"""What is said of a reading or a retraining: a title, a text for people, a document for programs, and an id that stays the same."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mlport.drift.records import plain
from mlport.monitoring.records import Column, Effect, Judged, Reading, Retraining
from mlport.monitoring.specs import Event, MonitorSpec
from mlport.spi import Json, Window

NAMED = 3
"""Columns that a title names."""
LISTED = 20
"""Columns and notes that a text lists; the document has all."""
EVENT_WORDS: dict[Event, str] = {
    "drift": "drift",
    "decay": "answers became worse",
    "unknown": "a window is not known",
    "failed": "failed",
    "recovered": "recovered",
    "retraining": "retraining",
}


@dataclass(frozen=True, slots=True)
class Message:
    """What one alert says. `id` is the same however often the same thing is told; `document` holds the whole reading or retraining."""

    id: str
    event: Event
    title: str
    text: str
    at: datetime
    document: Json


def message(event: Event, spec: MonitorSpec, about: Reading | Retraining, profile: str) -> Message:
    """What to tell of `event`. `profile` is where the monitor is.

    Example:
        >>> from mlport.spi import Window
        >>> day = Window(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
        >>> reading = Reading("ads", day, day.end, "drift", "drift", "severe", columns=(Column("age", "drift", "severe"),))
        >>> message("drift", MonitorSpec(endpoint="ads", reference="ref.parquet"), reading, "laptop").title
        'ads: drift, severe: age'
    """
    name = spec.monitor_name
    kept: Json = {"reading": None, "retraining": None}
    if isinstance(about, Reading):
        subject, at, lines, noun = _said_of_reading(event, about), about.at, _reading(about), "reading"
        what = about.window.start.isoformat()
    else:
        subject, at, lines, noun = _said_of_retraining(about), about.ended or about.decided, _retraining(about), "retraining"
        what = f"{about.id}/{about.phase}"
    identity = str(uuid.uuid5(uuid.NAMESPACE_URL, f"mlport\n{profile}\n{spec.endpoint}\n{name}\n{event}\n{what}"))
    head = f"Monitor {name} of endpoint {spec.endpoint}, profile {profile}: {subject}."
    title = _line(f"{name}: {subject}")
    document: Json = {
        "format": 1,
        "id": identity,
        "event": event,
        "title": title,
        "monitor": name,
        "endpoint": spec.endpoint,
        "profile": profile,
        "at": at.astimezone(UTC).isoformat(),
        **kept,
        noun: plain(about.to_json()),
    }
    text = "\n".join([head, *lines, f"More: mlport -p {profile} monitors {noun}s {name}"])
    return Message(identity, event, title, text, at, document)


def _line(text: str) -> str:
    """One line of printable text: names come from others, and a title is a header of an e-mail."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _said_of_reading(event: Event, reading: Reading) -> str:
    match event:
        case "drift":
            return f"drift, {reading.severity}: {_names(reading.drifted)}" if reading.drifted else f"drift, {reading.severity}"
        case "decay" if reading.performance is not None:
            return f"{EVENT_WORDS[event]}: {reading.performance.metric} {measured(reading.performance.value)}"
        case "unknown" | "failed":
            return f"{EVENT_WORDS[event]}: {reading.error or reading.words}".rstrip(": ")
        case "recovered":
            return f"{EVENT_WORDS[event]}: now {' and '.join(word for word in (reading.drift, reading.decay) if word != 'not watched')}"
    return EVENT_WORDS[event]


def _said_of_retraining(retraining: Retraining) -> str:
    return f"retraining {retraining.id} by {retraining.trigger}: {retraining.phase}"


def _names(columns: Sequence[Column]) -> str:
    named = ", ".join(each.name for each in columns[:NAMED])
    return f"{named} and {len(columns) - NAMED} more" if len(columns) > NAMED else named


def _reading(reading: Reading) -> Iterator[str]:
    rows = "" if reading.rows is None else f", {reading.rows:,} rows"
    yield f"Window: {span(reading.window)}{rows}, measured by {reading.by}."
    if reading.words:
        yield f"{reading.words}."
    if reading.error:
        yield f"What went wrong: {reading.error}"
    yield from _listed([f"- {each.name}: {each.severity}; {deciding(each)}" for each in reading.drifted])
    if reading.performance is not None:
        yield judged(reading.performance)
    unread = [each for each in reading.notes if each.unread]
    yield from _listed([f"Not read: {each.message}" for each in unread])
    if reading.retraining:
        yield f"Retraining: {reading.retraining}."


def _listed(lines: Sequence[str]) -> Iterator[str]:
    yield from lines[:LISTED]
    if len(lines) > LISTED:
        yield f"and {len(lines) - LISTED:,} more"


def _retraining(retraining: Retraining) -> Iterator[str]:
    yield f"Why: {retraining.why}."
    yield f"Data: {span(retraining.data)}" + ("." if retraining.rows is None else f", {retraining.rows:,} rows.")
    for name in ("job", "version", "scoring", "deployment"):
        if value := getattr(retraining, name):
            yield f"{name[:1].upper()}{name[1:]}: {value}."
    if verdict := retraining.verdict:
        yield (
            f"Gate: {'passed' if verdict.passed else 'not passed'}; {verdict.metric} {measured(verdict.challenger)}, "
            f"champion {measured(verdict.champion)}, on {verdict.rows:,} rows."
        )
        yield from (f"- {reason}" for reason in verdict.reasons)
    if retraining.reason:
        yield f"Reason: {retraining.reason}"


def span(window: Window) -> str:
    """A window in UTC; midnights without their hour.

    >>> span(Window(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, 6, tzinfo=UTC)))
    '2026-03-01 to 2026-03-02 06:00 UTC'
    """
    return f"{moment(window.start)} to {moment(window.end)} UTC"


def moment(at: datetime) -> str:
    """A time in UTC, to the minute, or to the second where it has some; a midnight without its hour.

    >>> moment(datetime(2026, 3, 1, tzinfo=UTC)), moment(datetime(2026, 3, 1, 6, 0, 15, tzinfo=UTC))
    ('2026-03-01', '2026-03-01 06:00:15')
    """
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}".removesuffix(":00").removesuffix(" 00:00")


def deciding(column: Column) -> str:
    """What decides of a column: the effects that are over, else the reasons."""
    over = [effect_words(each) for each in column.effects if each.over]
    return "; ".join(over or column.reasons) or column.status


def effect_words(effect: Effect) -> str:
    """One effect against its threshold.

    >>> effect_words(Effect("ks", 0.31, 0.1, 0.02, True)), effect_words(Effect("drift_score", 0.4, None, None, False))
    ('ks 0.31 above 0.1 (noise 0.02)', 'drift_score 0.4')
    """
    told = f"{effect.metric} {measured(effect.value)}"
    if effect.threshold is not None:
        told += f" {'above' if effect.over else 'within'} {effect.threshold:g}"
    return told + (f" (noise {effect.margin:.2g})" if effect.margin else "")


def judged(found: Judged) -> str:
    """Performance in one window, as a sentence."""
    told = f"Performance: {found.status}"
    if found.value is not None:
        told += f"; {found.metric} {measured(found.value, found.low, found.high)}"
    if found.reference is not None:
        told += f", reference {measured(found.reference)}"
    if found.loss is not None:
        told += f", worse by {measured(found.loss, found.loss_low, found.loss_high)}"
    return f"{told}; {found.labelled:,} of {found.captured:,} rows labelled{f'; {found.why}' if found.why else ''}."


def measured(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A number with its interval.

    >>> measured(0.6412, 0.62, 0.66), measured(None)
    ('0.641 (0.62 to 0.66)', 'none')
    """
    if value is None:
        return "none"
    return f"{value:.3g}" + ("" if low is None or high is None else f" ({low:.3g} to {high:.3g})")
