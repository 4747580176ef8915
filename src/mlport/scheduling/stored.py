"""Schedules in the StateStore, for providers without a clock of their own: what `mlport agent` fires.

A schedule is one value. The firing that is under way stands in it beside the last instant dealt with, and both change in one
compare-and-swap: so a firing is decided on once, whoever dies or how many agents there are, and then finished by whoever comes.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlport.errors import ConflictError, NotFoundError, UsageError
from mlport.scheduling.deciding import firings, starts
from mlport.specs import ScheduleSpec
from mlport.spi import ABSENT, TOKEN, Facts, Firing, Json, Page, Plan, Query, ScheduleRecord, ScheduleState, StateStore
from mlport.state.swap import changed

SCHEDULES, FIRINGS = "schedules/", "schedule-firings/"
FIRINGS_KEPT = 1000
NEWEST_FIRST = 10**11  # minus the seconds since 1970


@dataclass(frozen=True, slots=True)
class Stored:
    """A schedule as it is stored.

    `handled` is the last instant dealt with, `open` the firing that was decided on and is not finished, `decided` when;
    `runs` are the jobs that were not seen to have ended. `code` is what the source was when the schedule was made.
    """

    spec: ScheduleSpec
    token: str
    digest: str
    code: Facts
    labels: dict[str, str]
    created: datetime
    handled: datetime
    paused: bool = False
    open: Firing | None = None
    decided: datetime | None = None
    runs: tuple[str, ...] = ()
    last: datetime | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    def next(self) -> datetime | None:
        """When it starts next, None if never again."""
        instant = None if self.paused else next(firings(self.spec, self.handled), None)
        return instant and starts(self.spec, self.token, instant)


class Book:
    """The schedules of one StateStore, for the agent."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    def all(self) -> Iterator[Stored]:
        return (_load(found.value) for _, found in self._store.list(SCHEDULES))

    def get(self, name: str) -> Stored:
        """Raises NotFoundError."""
        return self._look(name)[0]

    def add(self, schedule: Stored) -> None:
        """Raises ConflictError when the name is taken."""
        self._store.put(f"{SCHEDULES}{schedule.name}", _dump(schedule), expect=ABSENT)

    def change(self, name: str, change: Callable[[Stored], Stored | None]) -> Stored | None:
        """Store what `change` makes of the schedule as it is, however often it must be tried; None if there is nothing to change.

        Raises:
            NotFoundError: it was deleted.
        """
        return changed(
            lambda: self._look(name), lambda found, version: self._store.put(f"{SCHEDULES}{name}", _dump(found), expect=version), change
        )

    def remove(self, name: str) -> None:
        """Remove a schedule and its firings; an absent one is fine."""
        found = self._store.get(f"{SCHEDULES}{name}")
        if found is not None:
            self._store.delete(f"{SCHEDULES}{name}")
            self.forget(_load(found.value), keep=0)

    def note(self, schedule: Stored, firing: Firing) -> None:
        """Keep a firing that is finished."""
        place = NEWEST_FIRST - int(firing.scheduled.timestamp())
        self._store.put(f"{FIRINGS}{schedule.token}/{place:011d}", json.dumps(_plain(firing)).encode())

    def forget(self, schedule: Stored, *, keep: int = FIRINGS_KEPT) -> None:
        """Keep the newest firings only."""
        for key, _ in list(self._store.list(f"{FIRINGS}{schedule.token}/"))[keep:]:
            self._store.delete(key)

    def firings(self, schedule: Stored) -> Iterator[Firing]:
        """Newest first."""
        return (_firing(json.loads(found.value)) for _, found in self._store.list(f"{FIRINGS}{schedule.token}/"))

    def _look(self, name: str) -> tuple[Stored, str]:
        found = self._store.get(f"{SCHEDULES}{name}")
        if found is None:
            raise NotFoundError(f"no schedule {name!r}", hint="`mlport schedules list` shows those that there are")
        return _load(found.value), found.version


class StoredSchedules:
    """The role `Schedules` over a StateStore. `bundles` is a folder for their jobs' code, one file each."""

    def __init__(self, store: StateStore, bundles: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.book, self._bundles, self._clock = Book(store), bundles, clock

    def create(self, plan: Plan, *, token: str, bundle: Path | None = None) -> str:
        if (found := self.find(token)) is not None:
            return found
        if plan.facts.bundle and bundle:
            _keep(bundle, self._bundle_of(token))
        spec = ScheduleSpec.model_validate(plan.spec)
        labels = {name: value.replace(TOKEN, token) for name, value in plan.facts.labels.items()}
        now = self._clock()
        code = Facts(plan.facts.bundle, plan.facts.bundle_bytes, plan.facts.git_commit, plan.facts.git_dirty)
        try:
            self.book.add(Stored(spec, token, plan.digest, code, labels, created=now, handled=now, paused=spec.paused))
        except ConflictError as error:
            if self.find(token) is None:
                self._bundle_of(token).unlink(missing_ok=True)
                raise ConflictError(
                    f"a schedule {spec.name!r} exists already, and is another",
                    hint=f"choose another name, or delete it first: mlport schedules delete {spec.name}",
                ) from error
        return spec.name

    def bundle(self, schedule: Stored) -> Path | None:
        """Where the packed source of a schedule is kept, None if its work has none."""
        return self._bundle_of(schedule.token) if schedule.code.bundle else None

    def _bundle_of(self, token: str) -> Path:
        return self._bundles / f"{token}.tar.gz"

    def find(self, token: str) -> str | None:
        return next((schedule.name for schedule in self.book.all() if schedule.token == token), None)

    def get(self, name: str) -> ScheduleRecord:
        return _record(self.book.get(name), self._clock())

    def list(self, query: Query, page: str | None = None) -> Page[ScheduleRecord]:
        found = [
            schedule
            for schedule in self.book.all()
            if query.name in (None, schedule.name) and query.labels.items() <= schedule.labels.items()
        ]
        found.sort(key=lambda schedule: (schedule.created, schedule.name), reverse=query.newest_first)
        some, following = _page(found, page, query.page_size)
        return Page([_record(schedule, self._clock()) for schedule in some], following)

    def pause(self, name: str) -> None:
        self.book.change(name, lambda schedule: None if schedule.paused else replace(schedule, paused=True))

    def resume(self, name: str) -> None:
        now = self._clock()
        self.book.change(name, lambda schedule: replace(schedule, paused=False, handled=now) if schedule.paused else None)

    def delete(self, name: str) -> bool:
        with suppress(NotFoundError):
            token = self.book.get(name).token
            self.book.remove(name)
            self._bundle_of(token).unlink(missing_ok=True)
        return True

    def firings(self, name: str, page: str | None = None) -> Page[Firing]:
        schedule = self.book.get(name)
        found = list(self.book.firings(schedule))
        if schedule.open and schedule.open.scheduled not in {firing.scheduled for firing in found[:1]}:
            found.insert(0, schedule.open)  # decided on, and not noted yet
        return Page(*_page(found, page, 100))


def _keep(bundle: Path, target: Path) -> None:
    """Copy a bundle into its place; after a crash there is the whole of it or nothing."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False) as part, bundle.open("rb") as source:
        shutil.copyfileobj(source, part)
        part.flush()
        os.fsync(part.fileno())
    Path(part.name).replace(target)


def _page(items: list[Any], page: str | None, size: int) -> tuple[list[Any], str | None]:
    if page is not None and not page.isdigit():
        raise UsageError(f"page token {page!r} is not one of this listing's", hint="start over without a token")
    start = int(page or 0)
    return items[start : start + size], str(start + size) if len(items) > start + size else None


def _record(schedule: Stored, now: datetime) -> ScheduleRecord:
    following = schedule.next()
    state = ScheduleState.PAUSED if schedule.paused else ScheduleState.ACTIVE if following else ScheduleState.ENDED
    return ScheduleRecord(
        name=schedule.name,
        state=state,
        native_state=state.value,
        cron=schedule.spec.cron,
        time_zone=schedule.spec.time_zone,
        spec=schedule.spec.to_json(),
        created=schedule.created,
        next=following,
        last=schedule.last,
        token=schedule.token,
        labels=schedule.labels,
        reason=f"waits for `mlport agent` since {following.isoformat()}" if following and following < now else "",
        native_name=schedule.name,
    )


def _plain(value: Any) -> Json:
    return {name: item.isoformat() if isinstance(item, datetime) else item for name, item in asdict(value).items()}


def _dump(schedule: Stored) -> bytes:
    code = {name: getattr(schedule.code, name) for name in ("bundle", "bundle_bytes", "git_commit", "git_dirty")}
    kept = {name: getattr(schedule, name) for name in Stored.__slots__}
    times = {name: value.isoformat() for name, value in kept.items() if isinstance(value, datetime)}
    return json.dumps(
        {**kept, **times, "spec": schedule.spec.to_json(), "code": code, "open": _plain(schedule.open) if schedule.open else None}
    ).encode()


def _load(value: bytes) -> Stored:
    data: Json = json.loads(value)
    times = {name: datetime.fromisoformat(data[name]) if data[name] else None for name in ("created", "handled", "decided", "last")}
    spec, under_way = ScheduleSpec.model_validate(data["spec"]), data["open"] and _firing(data["open"])
    return Stored(**{**data, **times, "spec": spec, "code": Facts(**data["code"]), "open": under_way, "runs": tuple(data["runs"])})


def _firing(data: Json) -> Firing:
    times = {name: datetime.fromisoformat(data[name]) if data[name] else None for name in ("scheduled", "fired")}
    return Firing(**{**data, **times})
