"""What a monitor found: a reading of each window, what was told to whom, and each retraining with its steps; as data that keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Self

from mlport.monitoring.specs import Event
from mlport.spi import Json, Window

Drift = Literal["drift", "no drift", "unknown", "not watched"]
Decay = Literal["decayed", "steady", "undecided", "not known yet", "no requests", "no reference", "not watched"]
Phase = Literal["due", "training", "scoring", "judged", "handed over", "refused", "failed"]
ENDED: frozenset[Phase] = frozenset(("handed over", "refused", "failed"))


@dataclass(frozen=True, slots=True)
class Effect:
    """One number of one column held against its threshold; `margin` is what chance may add, None where the measurer does not say."""

    metric: str
    value: float | None
    threshold: float | None
    margin: float | None
    over: bool


@dataclass(frozen=True, slots=True)
class Column:
    """What was found of one column in one window."""

    name: str
    status: Drift
    severity: Literal["none", "moderate", "severe"] = "none"
    importance: float = 0.0
    effects: tuple[Effect, ...] = ()
    reasons: tuple[str, ...] = ()
    p: float | None = None

    @classmethod
    def of_json(cls, told: Json) -> Self:
        return cls(**{**told, "effects": tuple(Effect(**each) for each in told["effects"]), "reasons": tuple(told["reasons"])})


@dataclass(frozen=True, slots=True)
class Note:
    """Something found in what was captured, or in the comparison, besides numbers. With `unread`, a part of the window could not be read."""

    kind: str
    message: str
    column: str = ""
    unread: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """Performance in one window by the labels that came until `at`. `loss` is how much worse than the reference, with its interval."""

    metric: str
    status: Decay
    captured: int
    labelled: int
    at: datetime
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reference: float | None = None
    loss: float | None = None
    loss_low: float | None = None
    loss_high: float | None = None
    margin: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """That somebody was told of an event, or could not be; `place` is the alert's number in the spec."""

    event: Event
    place: int
    to: str
    at: datetime
    error: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found in one window.

    `drift` is of this window, `lasting` of the last windows together (k of n). `by` is who measured: `mlport`, or the provider.
    `rows` are the answered rows captured, `versions` which versions of the model answered them, and how many each. `error` says why the
    window could not be read at all; its `drift` is then unknown.
    """

    monitor: str
    window: Window
    at: datetime
    drift: Drift
    lasting: Drift
    severity: Literal["none", "moderate", "severe"] = "none"
    words: str = ""
    rows: int | None = None
    columns: tuple[Column, ...] = ()
    notes: tuple[Note, ...] = ()
    versions: Mapping[str, int] = field(default_factory=dict)
    by: str = "mlport"
    performance: Judged | None = None
    error: str = ""
    told: tuple[Told, ...] = ()
    retraining: str | None = None

    @property
    def decay(self) -> Decay:
        return self.performance.status if self.performance else "not watched"

    @property
    def drifted(self) -> list[Column]:
        """The columns that have drifted, those that matter most first."""
        return [each for each in self.columns if each.status == "drift"]

    def to_json(self) -> Json:
        """As plain data; times in ISO 8601."""
        told: Json = plain(self)
        return told

    @classmethod
    def of_json(cls, told: Json) -> Self:
        performance = told["performance"]
        return cls(
            **{
                **told,
                "window": window_of(told["window"]),
                "at": datetime.fromisoformat(told["at"]),
                "columns": tuple(Column.of_json(each) for each in told["columns"]),
                "notes": tuple(Note(**each) for each in told["notes"]),
                "performance": performance and Judged(**{**performance, "at": datetime.fromisoformat(performance["at"])}),
                "told": tuple(Told(**{**each, "at": datetime.fromisoformat(each["at"])}) for each in told["told"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate said of a challenger, beside the champion on the same rows."""

    passed: bool
    metric: str
    rows: int
    window: Window
    challenger: float | None = None
    champion: float | None = None
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Retraining:
    """One retraining: why, where it is, and what became of it. `causes` are the windows' starts whose readings asked for it."""

    id: str
    monitor: str
    decided: datetime
    trigger: Literal["drift", "decay", "schedule", "new rows", "asked for"]
    why: str
    causes: tuple[str, ...]
    phase: Phase
    data: Window
    held_out: Window
    rows: int | None = None
    job: str | None = None
    model: str | None = None
    version: str | None = None
    champion: str | None = None
    scoring: str | None = None
    verdict: Verdict | None = None
    deployment: str | None = None
    reason: str = ""
    ended: datetime | None = None

    @property
    def over(self) -> bool:
        return self.phase in ENDED

    def to_json(self) -> Json:
        """As plain data; times in ISO 8601."""
        told: Json = plain(self)
        return told

    @classmethod
    def of_json(cls, told: Json) -> Self:
        verdict = told["verdict"]
        return cls(
            **{
                **told,
                "decided": datetime.fromisoformat(told["decided"]),
                "ended": told["ended"] and datetime.fromisoformat(told["ended"]),
                "causes": tuple(told["causes"]),
                "data": window_of(told["data"]),
                "held_out": window_of(told["held_out"]),
                "verdict": verdict and Verdict(**{**verdict, "window": window_of(verdict["window"]), "reasons": tuple(verdict["reasons"])}),
            }
        )


def window_of(told: Json) -> Window:
    """A window from plain data."""
    return Window(datetime.fromisoformat(told["start"]), datetime.fromisoformat(told["end"]))


def plain(value: Any) -> Any:
    """Records as plain data."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value
