"""Monitors in the StateStore: what is watched and how far it is, every reading, every retraining.

A monitor is one value, changed by compare-and-swap: which window was dealt with last stands in it beside what is still to be told, so
that nothing is told never, whoever dies. Readings and retrainings are values of their own, newest first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mlport.errors import ConflictError, NotFoundError
from mlport.monitoring.records import Reading, Retraining, plain
from mlport.monitoring.specs import Event, MonitorSpec
from mlport.spi import ABSENT, Facts, Json, StateStore
from mlport.state.swap import changed

if TYPE_CHECKING:
    from mlport.drift import Profile

MONITORS, REFERENCES, SOURCES = "monitors/", "monitor-references/", "monitor-sources/"
READINGS, RETRAININGS = "monitor-readings/", "monitor-retrainings/"
LARGEST_SOURCE = 32 << 20
NEWEST_FIRST = 10**14
"""Minus the milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Pending:
    """An event that is still to be told of by these alerts, by their numbers in the spec; `of` is the window's start, or the retraining's id."""

    event: Event
    of: str
    places: tuple[int, ...]
    since: datetime


@dataclass(frozen=True, slots=True)
class Known:
    """What was last found, so that only a change is told."""

    drift: str = "no drift"
    decay: str = "steady"
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """A monitor as it is stored.

    `handled` is the end of the last window dealt with, `clocked` the last instant of the policy's schedule dealt with. `reference` says
    which data those were, `columns` what they are; `baseline` is the performance on them, where they tell it. `judged` says by
    which labels. `open` is the retraining that goes on. `code` is what the source of the policy's job was when the monitor was made.
    """

    spec: MonitorSpec
    token: str
    digest: str
    created: datetime
    handled: datetime
    clocked: datetime
    reference: Json
    columns: dict[str, str]
    baseline: Json | None = None
    known: Known = Known()
    pending: tuple[Pending, ...] = ()
    judged: str = ""
    open: str = ""
    code: Facts = field(default_factory=Facts)
    native_name: str = ""
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.spec.monitor_name

    @property
    def native(self) -> bool:
        return self.spec.measured_by == "provider"


class Book:
    """The monitors of one StateStore."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    # ---------------------------------------------------------------- monitors

    def all(self) -> Iterator[Stored]:
        return (_load(found.value) for _, found in self._store.list(MONITORS))

    def get(self, name: str) -> Stored:
        """Raises NotFoundError."""
        return self._look(name)[0]

    def add(self, monitor: Stored, reference: Profile, source: bytes | None = None) -> None:
        """Keep a monitor, with its reference and the packed source of its policy's job. Raises ConflictError when the name is taken."""
        self._store.put(f"{REFERENCES}{monitor.token}", reference.to_bytes())
        if source is not None:
            self._store.put(f"{SOURCES}{monitor.token}", source)
        self._store.put(f"{MONITORS}{monitor.name}", _dump(monitor), expect=ABSENT)

    def reference(self, monitor: Stored) -> Profile:
        """The profile of its reference. Raises NotFoundError."""
        from mlport.drift import Profile

        found = self._store.get(f"{REFERENCES}{monitor.token}")
        if found is None:
            raise NotFoundError(f"the reference of monitor {monitor.name} is gone", hint="delete the monitor and create it anew")
        return Profile.from_bytes(found.value)

    def source(self, monitor: Stored) -> bytes | None:
        """The packed source of its policy's job, None if that has none."""
        found = self._store.get(f"{SOURCES}{monitor.token}")
        return found.value if found else None

    def change(self, name: str, change: Callable[[Stored], Stored | None]) -> Stored | None:
        """Store what `change` makes of the monitor as it is, however often it must be tried; None if there is nothing to change.

        Raises:
            NotFoundError: it was deleted.
        """
        return changed(
            lambda: self._look(name), lambda found, version: self._store.put(f"{MONITORS}{name}", _dump(found), expect=version), change
        )

    def remove(self, name: str) -> None:
        """Remove a monitor with its readings and retrainings; an absent one is fine."""
        found = self._store.get(f"{MONITORS}{name}")
        if found is None:
            return
        token = _load(found.value).token
        for prefix in (READINGS, RETRAININGS):
            for key, _ in list(self._store.list(f"{prefix}{token}/")):
                self._store.delete(key)
        for prefix in (REFERENCES, SOURCES):
            self._store.delete(f"{prefix}{token}")
        self._store.delete(f"{MONITORS}{name}")  # last: whoever is killed before can begin again

    def _look(self, name: str) -> tuple[Stored, str]:
        found = self._store.get(f"{MONITORS}{name}")
        if found is None:
            raise NotFoundError(f"no monitor {name!r}", hint="`mlport monitors list` shows those that there are")
        return _load(found.value), found.version

    # ---------------------------------------------------------------- readings

    def note(self, monitor: Stored, reading: Reading) -> Reading:
        """Keep a reading, unless its window has one already: that one stands, and is returned. Of windows that begin together the longest stands."""
        key = _place(READINGS, monitor, reading.window.start)
        while True:
            found = self._store.get(key)
            kept = Reading.of_json(json.loads(found.value)) if found else None
            if kept is not None and kept.window.end >= reading.window.end:
                return kept
            try:
                self._store.put(key, _bytes(reading), expect=found.version if found else ABSENT)
            except ConflictError:
                continue
            return reading

    def amend(self, monitor: Stored, start: datetime, change: Callable[[Reading], Reading]) -> Reading | None:
        """Change the reading of the window that starts then; None where there is none."""
        key = _place(READINGS, monitor, start)
        while (found := self._store.get(key)) is not None:
            kept = Reading.of_json(json.loads(found.value))
            if (changed := change(kept)) == kept:
                return kept
            try:
                self._store.put(key, _bytes(changed), expect=found.version)
            except ConflictError:
                continue
            return changed
        return None

    def reading(self, monitor: Stored, start: datetime) -> Reading | None:
        found = self._store.get(_place(READINGS, monitor, start))
        return Reading.of_json(json.loads(found.value)) if found else None

    def readings(self, monitor: Stored) -> Iterator[Reading]:
        """Newest first."""
        return (Reading.of_json(json.loads(found.value)) for _, found in self._store.list(f"{READINGS}{monitor.token}/"))

    # ---------------------------------------------------------------- retrainings

    def begin(self, monitor: Stored, retraining: Retraining) -> bool:
        """Keep a new retraining; whether it was not there yet."""
        try:
            self._store.put(_place(RETRAININGS, monitor, retraining.decided), _bytes(retraining), expect=ABSENT)
        except ConflictError:
            return False
        return True

    def went_on(self, monitor: Stored, before: Retraining, after: Retraining) -> None:
        """Keep the next state of a retraining. Raises ConflictError when another has taken it further meanwhile."""
        key = _place(RETRAININGS, monitor, before.decided)
        found = self._store.get(key)
        if found is None or Retraining.of_json(json.loads(found.value)) != before:
            raise ConflictError(f"retraining {before.id} of monitor {monitor.name} was taken further by another process")
        self._store.put(key, _bytes(after), expect=found.version)

    def retrainings(self, monitor: Stored) -> Iterator[Retraining]:
        """Newest first."""
        return (Retraining.of_json(json.loads(found.value)) for _, found in self._store.list(f"{RETRAININGS}{monitor.token}/"))


def told(monitor: Stored, done: Pending) -> Stored:
    """The monitor without an event that was told."""
    return replace(monitor, pending=tuple(each for each in monitor.pending if each != done))


def _place(prefix: str, monitor: Stored, moment: datetime) -> str:
    return f"{prefix}{monitor.token}/{NEWEST_FIRST - round(moment.timestamp() * 1000):014d}"


def _bytes(record: Reading | Retraining) -> bytes:
    return json.dumps(record.to_json()).encode()


def _dump(monitor: Stored) -> bytes:
    kept = {name: plain(getattr(monitor, name)) for name in Stored.__slots__ if name != "spec"}
    return json.dumps({**kept, "spec": monitor.spec.to_json()}).encode()


def _load(value: bytes) -> Stored:
    data: dict[str, Any] = json.loads(value)
    times = {name: datetime.fromisoformat(data[name]) for name in ("created", "handled", "clocked")}
    pending = (
        Pending(**{**each, "places": tuple(each["places"]), "since": datetime.fromisoformat(each["since"])}) for each in data["pending"]
    )
    spec = MonitorSpec.model_validate(data["spec"])
    made = {"spec": spec, "known": Known(**data["known"]), "pending": tuple(pending), "code": Facts(**data["code"])}
    return Stored(**{**data, **times, **made})
