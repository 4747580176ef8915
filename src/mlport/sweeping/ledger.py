"""What is stored of a sweep: its record, and one entry a trial. Each change is one compare-and-swap, so that any process may take it up."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from mlport.errors import NotFoundError
from mlport.specs import SweepSpec
from mlport.spi import ABSENT, Facts, InputFact, Json, State, StateStore, SweepStatus, Trial, TrialState

RECORDS, TRIALS = "sweeps/", "sweep-trials/"


@dataclass(frozen=True, slots=True)
class SweepRecord:
    """A sweep as it is stored. `facts` are those of the code and data that every trial runs with, `labels` the sweep's own."""

    id: str
    token: str
    digest: str
    spec: SweepSpec
    seed: int
    facts: Facts
    began: datetime
    state: State = State.RUNNING
    reason: str = ""
    ended: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


def status_of(record: SweepRecord, trials: Iterable[Trial] = ()) -> SweepStatus:
    """One look at a stored sweep; `trials` in their order."""
    spec = record.spec
    return SweepStatus(
        id=record.id,
        name=spec.name,
        state=record.state,
        native_state="",
        road="composed",
        metric=spec.metric,
        direction=spec.direction,
        algorithm=spec.algorithm,
        planned=spec.trials,
        began=record.began,
        ended=record.ended,
        reason=record.reason,
        seed=record.seed,
        token=record.token,
        labels=record.labels,
        trials=tuple(trials),
    )


class Ledger:
    """The sweeps of one StateStore."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    def begin(self, record: SweepRecord) -> None:
        """Raises ConflictError when there is a sweep of that id."""
        self._store.put(f"{RECORDS}{record.id}", _dump(_of_record(record)), expect=ABSENT)

    def get(self, sweep_id: str) -> tuple[SweepRecord, str]:
        """A sweep and its version. Raises NotFoundError."""
        found = self._store.get(f"{RECORDS}{sweep_id}")
        if found is None:
            raise NotFoundError(f"no sweep {sweep_id!r}", hint="`mlport sweeps list` shows those that there are")
        return _record(json.loads(found.value)), found.version

    def list(self) -> Iterator[SweepRecord]:
        return (_record(json.loads(found.value)) for _, found in self._store.list(RECORDS))

    def settle(self, record: SweepRecord, version: str, state: State, reason: str, ended: datetime | None = None) -> SweepRecord:
        """Raises ConflictError when it changed meanwhile."""
        changed = replace(record, state=state, reason=reason, ended=ended)
        self._store.put(f"{RECORDS}{record.id}", _dump(_of_record(changed)), expect=version)
        return changed

    def remove(self, sweep_id: str) -> None:
        """Remove a sweep and its trials; an absent one is fine. The record goes last, so that an interrupted removal is seen."""
        for key, _ in list(self._store.list(f"{TRIALS}{sweep_id}/")):
            self._store.delete(key)
        self._store.delete(f"{RECORDS}{sweep_id}")

    def trials(self, sweep_id: str) -> dict[int, tuple[Trial, str]]:
        """Each trial and its version, by number."""
        found = ((_trial(json.loads(entry.value)), entry.version) for _, entry in self._store.list(f"{TRIALS}{sweep_id}/"))
        return {trial.number: (trial, version) for trial, version in found}

    def trial(self, sweep_id: str, number: int) -> tuple[Trial, str]:
        return self.trials(sweep_id)[number]

    def put(self, sweep_id: str, trial: Trial, expect: str = ABSENT) -> str:
        """Store a trial; its new version. Raises ConflictError when another process was faster."""
        return self._store.put(
            f"{TRIALS}{sweep_id}/{trial.number:06d}", _dump({name: getattr(trial, name) for name in Trial.__slots__}), expect=expect
        )


def _of_record(record: SweepRecord) -> Json:
    plain = {each.name: getattr(record, each.name) for each in fields(record)}
    return {**plain, "spec": record.spec.to_json(), "facts": {name: getattr(record.facts, name) for name in _CODE}}


_CODE = ("bundle", "bundle_bytes", "git_commit", "git_dirty", "inputs", "machine")


def _record(data: dict[str, Any]) -> SweepRecord:
    inputs = {name: InputFact(**fact) for name, fact in data["facts"]["inputs"].items()}
    times = {name: datetime.fromisoformat(data[name]) if data[name] else None for name in ("began", "ended")}
    return SweepRecord(
        **{
            **data,
            **times,
            "spec": SweepSpec.model_validate(data["spec"]),
            "facts": Facts(**{**data["facts"], "inputs": inputs}),
            "state": State(data["state"]),
        }
    )


def _trial(data: dict[str, Any]) -> Trial:
    curve = tuple((step, value) for step, value in data["curve"])
    return Trial(**{**data, "began": datetime.fromisoformat(data["began"]), "state": TrialState(data["state"]), "curve": curve})


def _dump(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, default=_plain).encode()


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else {name: getattr(value, name) for name in value.__slots__}
