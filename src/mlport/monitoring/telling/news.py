"""What is worth telling: only what changed since it was last told. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mlport.monitoring.records import Reading, Retraining
from mlport.monitoring.specs import Event, MonitorSpec
from mlport.monitoring.stored import Known, Pending


def of_reading(known: Known, reading: Reading) -> tuple[Known, list[Event]]:
    """What a new reading changes of what is known, and the events that this is.

    >>> from datetime import UTC, datetime
    >>> from mlport.spi import Window
    >>> window = Window(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
    >>> reading = Reading("delays", window, window.end, "drift", "drift")
    >>> of_reading(Known(), reading)
    (Known(drift='drift', decay='steady', failed=''), ['drift'])
    >>> of_reading(Known(drift="drift"), reading)[1]
    []
    """
    if reading.lasting == "not watched" and not reading.error:
        return known, []
    if reading.error:
        return replace(known, failed=reading.error), [] if known.failed else ["failed"]
    now = replace(known, drift=reading.lasting, failed="")
    if now == known:
        return now, []
    told: dict[str, Event] = {"drift": "drift", "unknown": "unknown", "no drift": "recovered"}
    return now, [told[reading.lasting]]


def of_decay(known: Known, readings: Iterable[Reading]) -> tuple[Known, Event | None, Reading | None]:
    """The same of performance: by the newest window that tells whether it decayed. `readings` are newest first."""
    newest = next((each for each in readings if each.decay in ("decayed", "steady")), None)
    if newest is None or newest.decay == known.decay:
        return known, None, None
    return replace(known, decay=newest.decay), "decay" if newest.decay == "decayed" else "recovered", newest


def pending(spec: MonitorSpec, event: Event, of: Reading | Retraining) -> Pending | None:
    """An event for those who want to know of it; None where nobody does."""
    places = tuple(place for place, alert in enumerate(spec.alerts) if event in alert.on)
    if not places:
        return None
    if isinstance(of, Reading):
        return Pending(event, of.window.start.isoformat(), places, of.at)
    return Pending(event, of.id, places, of.ended or of.decided)
