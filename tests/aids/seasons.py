"""Readings of a monitor, made up: a season that changes, and a table as wide as tables get."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from mlport.monitoring.records import Column, Effect, Judged, Note, Reading, Retraining, Told, Verdict
from mlport.spi import Window

WEEK = timedelta(days=7)
START = datetime(2013, 5, 2, tzinfo=UTC)


def window(place: int) -> Window:
    return Window(START + place * WEEK, START + (place + 1) * WEEK)


def column(name: str, ratio: float | None, importance: float = 0.1) -> Column:
    """A column whose KS distance is so many times its threshold; None where it is not known."""
    if ratio is None:
        return Column(name, "unknown", importance=importance, reasons=(f"{name}: every value of the current sample is missing",))
    effect = Effect("ks", 0.1 * ratio, 0.1, 0.02, ratio > 1.2)
    if not effect.over:
        return Column(name, "no drift", importance=importance, effects=(effect,))
    severity = "severe" if ratio > 2 else "moderate"
    reason = f"ks {effect.value:.3g} is above 0.1 by more than noise"
    return Column(name, "drift", severity, importance, (effect, Effect("missing", 0.0, 0.05, 0.01, False)), (reason,), 1e-9)


def reading(place: int, ratios: dict[str, float | None], **more) -> Reading:
    columns = tuple(column(name, ratio) for name, ratio in ratios.items())
    drifted = [each for each in columns if each.status == "drift"]
    severity = "severe" if any(each.severity == "severe" for each in drifted) else "moderate" if drifted else "none"
    status = "drift" if drifted else "no drift"
    words = f"drift ({severity}) in {len(drifted)} of {len(columns)} columns" if drifted else f"no drift in {len(columns)} columns"
    told = {"severity": severity, "words": words, "rows": 6000 + place, "versions": {"1": 6000 + place}, **more}
    at = window(place).end + timedelta(minutes=10)
    return Reading("flights", window(place), at, status, more.pop("lasting", status), **{**told, "columns": columns})


def judged(place: int, value: float, status: str = "steady") -> Judged:
    loss = 0.72 - value
    return Judged(
        "roc_auc", status, 6000, 5400, window(place).end, value, value - 0.02, value + 0.02, 0.72, loss, loss - 0.02, loss + 0.02, 0.03,
        "the interval of the loss is beyond the margin" if status == "decayed" else "",
    )  # fmt: skip


def season() -> list[Reading]:
    """Eight weeks, newest first: two calm, one that could not be read, three of drift, one read in part; performance falls in the end."""
    ratios = [
        {"temp": 0.3, "dewp": 0.4, "dep_hour": 0.1, "origin": 0.2},
        {"temp": 0.8, "dewp": 0.6, "dep_hour": 0.1, "origin": 1.1},
        None,
        {"temp": 1.5, "dewp": 1.0, "dep_hour": 0.2, "origin": 0.3},
        {"temp": 3.1, "dewp": 1.9, "dep_hour": 0.2, "origin": None},
        {"temp": 5.2, "dewp": 3.7, "dep_hour": 0.4, "origin": 0.2, "gust": 9.0},
        {"temp": 5.6, "dewp": 4.0, "dep_hour": 0.2, "origin": 0.2, "gust": 0.5},
        {"temp": 6.0, "dewp": 4.4, "dep_hour": 0.9, "origin": 0.4, "gust": 0.5},
    ]
    values = [0.72, 0.715, None, 0.70, 0.69, 0.66, 0.65, None]
    found = []
    for place, (each, value) in enumerate(zip(ratios, values, strict=True)):
        performance = None if value is None else judged(place, value, "decayed" if value < 0.67 else "steady")
        if each is None:
            at = window(place).end
            found.append(Reading("flights", window(place), at, "unknown", "unknown", error="part-3.parquet is no Parquet file"))
            continue
        notes = (Note("unreadable requests", "312 answered requests (4.9%) could not be taken apart", unread=True),) if place == 6 else ()
        told = (
            (Told("drift", 0, "log", window(place).end), Told("drift", 1, "slack ${SLACK}", window(place).end, "answered 404"))
            if place == 3
            else ()
        )
        found.append(reading(place, each, performance=performance, notes=notes, told=told, retraining="r-1" if place == 5 else None))
    return found[::-1]


def retrainings() -> list[Retraining]:
    """One that was refused and one that was handed over, newest first."""
    data, held = Window(START, window(4).end), window(5)
    verdict = Verdict(True, "roc_auc", 5400, held, 0.71, 0.66, 0.05, 0.03, 0.07)
    refused = Verdict(False, "roc_auc", 5400, held, 0.66, 0.66, 0.0, -0.02, 0.02, ("it gains 0, and more than 0 is asked for",))
    return [
        Retraining("r-2", "flights", window(7).end, "decay", "roc_auc 0.65 is 0.07 worse", (window(6).start.isoformat(),), "handed over",
                   data, held, 30_000, "job-9", "flights", "3", "2", None, verdict, "challenger"),
        Retraining("r-1", "flights", window(5).end, "drift", "temp has drifted", (window(5).start.isoformat(),), "refused",
                   data, held, 30_000, "job-8", "flights", "2", "1", None, refused, reason="the gate did not pass it"),
    ]  # fmt: skip


def wide(columns: int, windows: int) -> list[Reading]:
    """Every column in every window at a size of its own, newest first: the largest page there can be."""
    chance = random.Random(7)
    names = [f"a_rather_long_feature_name_{place}" for place in range(columns)]
    found = [
        reading(place, {name: chance.choice([0.1, 0.6, 1.1, 1.5, 4.0, None]) for name in names}, performance=judged(place, 0.7))
        for place in range(windows)
    ]
    return found[::-1]
