"""The agent: one small process that does by the clock what nobody is there to do: schedules, sweeps, bringing back what died.

Any number may run; a lease in the StateStore makes one of them lead. The lease only spares work: each chore is safe with two
agents at once and with one killed anywhere, for what it decides is a compare-and-swap, and what it starts has a token.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from mlport.errors import ConflictError, MlportError
from mlport.spi import StateStore
from mlport.state.lease import Lease, acquire

Clock = Callable[[], datetime]
LEASE, STATUS = "agent", "agent/status"
TICK = 1.0  # seconds between looks for what others made
TIME_TO_LIVE = 15.0  # seconds until another agent takes over from one that died
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=2), timedelta(minutes=5)
log = logging.getLogger("mlport.agent")


class Chore(Protocol):
    """Something to be done by the clock. It must be safe to be killed anywhere in it, and with two agents at once."""

    @property
    def name(self) -> str: ...

    def due(self, now: datetime) -> datetime | None:
        """When it is to be run next, None if there is nothing to do until something changes. Asked at each look: be quick."""

    def run(self, now: datetime) -> None:
        """Do what is due. What it raises is logged, and it is tried again later."""


def utc_now() -> datetime:
    return datetime.now(UTC)


# ---------------------------------------------------------------- the loop


@dataclass(frozen=True, slots=True)
class Record:
    """What became of a chore; `again` is when it may be tried again after a failure."""

    last: datetime | None = None
    failures: int = 0
    error: str = ""
    again: datetime | None = None

    def after(self, error: Exception, now: datetime) -> Record:
        """The record after one more failure."""
        pause = min(FIRST_PAUSE * 2 ** min(self.failures, 20), LONGEST_PAUSE)
        return Record(now, self.failures + 1, f"{type(error).__name__}: {error}", now + pause)


class Agent:
    """Runs chores as long as it leads. Time is handed in, so that months can be played through."""

    def __init__(
        self,
        store: StateStore,
        chores: Callable[[], Sequence[Chore]],
        *,
        clock: Clock = utc_now,
        sleep: Callable[[float], object] = time.sleep,
        tick: float = TICK,
        time_to_live: float = TIME_TO_LIVE,
    ) -> None:
        self._store, self._find_chores = store, chores
        self._clock, self._sleep, self._tick, self._time_to_live = clock, sleep, tick, time_to_live
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._chores: Sequence[Chore] = ()
        self._records: dict[str, Record] = {}
        self._lease: Lease | None = None
        self._started = clock()
        self._told: datetime | None = None

    def run(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Look again and again until `stopped`, and then give up the lead."""
        while not stopped():
            try:
                self.look()
            except MlportError:
                log.exception("cannot look now; trying again")
            self._sleep(self._pause())
        self.leave()

    def leave(self) -> None:
        """Give up the lead, so that another agent need not wait."""
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    def look(self) -> bool:
        """Run what is due, if this agent leads; whether it does."""
        if not self._leads():
            self._chores = ()
            return False
        self._chores = self._find_chores()
        self._records = {chore.name: self._record(chore) for chore in self._chores}
        ran = [chore.name for chore in self._chores if self._run(chore)]
        if ran:
            self._chores = self._find_chores()  # when each is due next
        self._tell(at_once=bool(ran))
        return True

    def _run(self, chore: Chore) -> bool:
        now, at = self._clock(), self._due(chore)
        if at is None or at > now or not self._leads():
            return False
        try:
            chore.run(now)
            self._records[chore.name] = Record(last=now)
        except Exception as error:  # one chore's defect must not keep the others from their time; it is shown, and tried again
            self._records[chore.name] = record = self._record(chore).after(error, now)
            log.exception("%s failed; it is tried again at %s", chore.name, record.again)
        return True

    def _record(self, chore: Chore) -> Record:
        return self._records.get(chore.name, Record())

    def _due(self, chore: Chore) -> datetime | None:
        at, again = chore.due(self._clock()), self._record(chore).again
        return max(at, again) if at and again else at

    def _pause(self) -> float:
        """Seconds until something is due, at most a tick: others may make something meanwhile."""
        now = self._clock()
        waits = ((at - now).total_seconds() for chore in self._chores if (at := self._due(chore)) is not None)
        longest = self._tick if self._lease else min(self._tick, self._time_to_live / 3)
        return min([longest, *(wait for wait in waits if wait > 0)])

    # -------------------------------------------------------------- leading

    def _leads(self) -> bool:
        now = self._clock().timestamp()
        if self._lease is not None and self._lease.expires - now < self._time_to_live * 2 / 3:
            try:
                self._lease.renew()
            except ConflictError:
                log.warning("another agent leads now")
                self._lease = None
        if self._lease is None:
            self._lease = acquire(self._store, LEASE, self.owner, self._time_to_live, clock=lambda: self._clock().timestamp())
            if self._lease is not None:
                log.info("%s leads", self.owner)
        return self._lease is not None

    def _tell(self, *, at_once: bool) -> None:
        """Leave word of what goes on, for `mlport agent status`."""
        now = self._clock()
        if not at_once and self._told is not None and now - self._told < timedelta(seconds=self._time_to_live / 3):
            return
        self._told = now
        chores = [{"name": chore.name, "next": _text(self._due(chore)), **_shown(self._record(chore))} for chore in self._chores]
        word = {
            "owner": self.owner,
            "started": _text(self._started),
            "seen": _text(now),
            "until": now.timestamp() + self._time_to_live,
            "chores": chores,
        }
        self._store.put(STATUS, json.dumps(word).encode())


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _shown(record: Record) -> dict[str, Any]:
    return {"last": _text(record.last), "failures": record.failures, "error": record.error}


def status(store: StateStore, clock: Clock = utc_now) -> dict[str, Any] | None:
    """The last word of the agent that led last, and whether it `leads` still; None if there never was one."""
    found = store.get(STATUS)
    if found is None:
        return None
    word: dict[str, Any] = json.loads(found.value)
    until: float = word.pop("until")
    return {"leads": clock().timestamp() < until, **word}
