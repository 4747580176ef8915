"""One run of a monitor: read the windows that are due, judge those whose labels came, tell what changed, take retraining a step further.

Whoever runs it holds the monitor's lease, which spares double work; that nothing is done twice or lost rests on compare-and-swap. A
window that cannot be read becomes a reading that says so; what may be readable later is left for the next run, and told.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from mlport.capabilities import Capability
from mlport.errors import ConflictError, MlportError, UnsupportedError
from mlport.journal import token_for
from mlport.monitoring import windows
from mlport.monitoring.reading import decaying, measuring
from mlport.monitoring.records import Reading, Retraining, Told
from mlport.monitoring.specs import Event
from mlport.monitoring.stored import Book, Known, Pending, Stored, told
from mlport.monitoring.telling import news
from mlport.monitoring.training.policy import Wish, wish
from mlport.monitoring.training.retraining import Trainer
from mlport.paging import each
from mlport.spi import Measurement, Monitors, Watches, Window
from mlport.state.lease import Lease, acquire
from mlport.waiting import wait_until

if TYPE_CHECKING:
    from mlport.client import Client

LEASE_SECONDS = 120.0
MEASURING_SECONDS = 3600.0
GIVE_UP = timedelta(days=1)
"""How long it is tried to tell somebody."""
LOOKED_BACK = 1000
"""Readings at most that are judged anew, and that decide on a training."""
LATE = 10
"""Windows after which a measurement of the provider's is not waited for any more."""
OWN = 'measured_by = "mlport" compares what was captured, on every provider'
log = logging.getLogger("mlport.monitor")


@dataclass
class Runner:
    """Runs one monitor. Time is handed in, so that months can be played through."""

    client: Client
    name: str
    clock: Callable[[], datetime]
    on_reading: Callable[[Reading], object] = lambda _: None

    @property
    def book(self) -> Book:
        return Book(self.client.session.state)

    def run(self) -> list[Reading]:
        """Do all that is due now; the windows read.

        Raises:
            ConflictError: another process runs this monitor now.
            NotFoundError: it was deleted.
            MlportError: a window could not be read for now, and was told; those before it are kept.
        """
        with self._lead() as lease:
            monitor, done = self.book.get(self.name), list[Reading]()
            self._settle(lease, self._tried(lambda: self._read_due(monitor, done, lease)))
            return [self.book.reading(monitor, each.window.start) or each for each in done]

    def read(self, window: Window) -> Reading:
        """Read one window now, whatever the schedule says; its reading, if it, or a longer one that begins with it, has one already."""
        with self._lead() as lease:
            monitor = self.book.get(self.name)
            kept = self.book.reading(monitor, window.start)
            if kept is None or kept.window.end < window.end:
                kept = self._asked(monitor, window) if monitor.native else self._measure(monitor, window)
            kept = self._keep(kept, move=False)
            self._settle(lease, None)
            return self.book.reading(monitor, window.start) or kept

    def retrain(self, why: str) -> Retraining:
        """Begin a retraining that somebody asked for. Raises ConflictError while another goes on."""
        with self._lead():
            monitor = self.book.get(self.name)
            if monitor.spec.retrain is None:
                raise ConflictError(f"monitor {self.name} has no policy of retraining", hint="set `retrain` in its spec")
            last = next(self.book.retrainings(monitor), None)
            if last is not None and not last.over:
                raise ConflictError(f"retraining {last.id} goes on: it is {last.phase}")
            return self._begin(monitor, Wish("asked for", why or "somebody asked for it"))

    def _settle(self, lease: Lease, problem: Exception | None) -> None:
        """Judge, train and tell, whatever was in the way before; and then raise that."""
        later = self._tried(lambda: self._finish(lease))
        problem = problem or later
        lease.renew()  # who has lost it leaves the telling to the other
        if problem is None:
            self._well()
        else:
            self._failed(problem)
        self._tell()
        if problem is not None:
            raise problem

    def _tried(self, act: Callable[[], object]) -> Exception | None:
        """Do it; what was in the way."""
        try:
            act()
        except MlportError as error:
            return error
        except Exception as error:  # a defect of ours must be told, too
            log.exception("monitor %s: its run failed", self.name)
            return error
        return None

    # ---------------------------------------------------------------- reading

    def _read_due(self, monitor: Stored, done: list[Reading], lease: Lease) -> None:
        for reading in self._measured(monitor):
            done.append(self._keep(reading))
            lease.renew()

    def _measured(self, monitor: Stored) -> Iterator[Reading]:
        if monitor.native:
            yield from self._from_provider(monitor)
            return
        for window in windows.due(monitor.spec, monitor.handled, self.clock()):
            yield self._measure(monitor, window)

    def _from_provider(self, monitor: Stored) -> Iterator[Reading]:
        """What the provider's monitor found since it was last looked, oldest first. It may end with a later window before an earlier one."""
        since = max(windows.first(monitor.spec, monitor.created), monitor.handled - LATE * monitor.spec.window)
        read = {reading.window.start for reading in self._recent(monitor, since)}
        role, found = role_of(self.client), list[Measurement]()
        for one in each(lambda page: role.measurements(monitor.native_name, page)):
            if one.window.end <= since:
                break
            if one.state.terminal and one.window.start not in read:
                found.append(one)
        for measured in sorted(found, key=lambda one: one.window.start):
            yield measuring.of_provider(monitor, measured, self.clock(), self.client.provider.name)

    def _asked(self, monitor: Stored, window: Window) -> Reading:
        """What the provider's monitor finds in a window that it is asked to measure now."""
        role = role_of(self.client)
        wanted = role.measure(monitor.native_name, window, token=token_for("", "measure", f"{monitor.token} {window.start.isoformat()}"))

        def found() -> Measurement | None:
            return next((one for one in each(lambda page: role.measurements(monitor.native_name, page)) if one.id == wanted), None)

        measured = wait_until(found, lambda one: one is not None and one.state.terminal, timeout=MEASURING_SECONDS, what="its measurement")
        assert measured is not None  # noqa: S101 - waited for
        return measuring.of_provider(monitor, measured, self.clock(), self.client.provider.name)

    def _measure(self, monitor: Stored, window: Window) -> Reading:
        if "drift" not in monitor.spec.watch:
            return Reading(monitor.name, window, self.clock(), "not watched", "not watched")
        try:
            return measuring.measure(self.client, self.book, monitor, window, self.clock())
        except MlportError as error:
            if error.retryable:
                raise
            why = str(error)
        except Exception as error:  # a defect of ours or of the data must not end the watch in silence
            log.exception("monitor %s: the window from %s could not be read", monitor.name, window.start)
            why = f"{type(error).__name__}: {error}"
        return Reading(monitor.name, window, self.clock(), "unknown", "unknown", words=f"it could not be read: {why}", error=why)

    def _keep(self, reading: Reading, *, move: bool = True) -> Reading:
        """Keep a reading, and in one swap what it changes: how far the monitor is, what is known, what is to be told."""
        monitor = self.book.get(self.name)
        k, n = monitor.spec.persistence
        before = (each.drift for each in self.book.readings(monitor) if each.window.start < reading.window.start)
        kept = self.book.note(monitor, replace(reading, lasting=measuring.lasting(reading.drift, list(islice(before, n - 1)), k, n)))
        newest = next(self.book.readings(monitor), kept)

        def changed(stored: Stored) -> Stored | None:
            if newest.window.start > kept.window.start and (not move or kept.window.end <= stored.handled):
                return None  # what is known is of a later window
            known, events = news.of_reading(stored.known, kept)
            handled = max(stored.handled, reading.window.end) if move else stored.handled
            return _with(replace(stored, handled=handled), known, events, kept)

        self.book.change(self.name, changed)
        self.on_reading(kept)
        return kept

    def _failed(self, error: Exception) -> None:
        """What may work later: told once, and tried again."""
        why = str(error) if isinstance(error, MlportError) else f"{type(error).__name__}: {error}"

        def changed(stored: Stored) -> Stored:
            at = self.clock()
            reading = Reading(stored.name, Window(stored.handled, stored.handled + stored.spec.window), at, "unknown", "unknown", error=why)
            return _with(stored, replace(stored.known, failed=why), [] if stored.known.failed else ["failed"], reading)

        log.warning("monitor %s could not do all for now: %s", self.name, why)
        self.book.change(self.name, changed)

    def _well(self) -> None:
        """Nothing failed in this run: what did before is over, unless it is that the newest window could not be read."""
        newest = next(self.book.readings(self.book.get(self.name)), None)

        def changed(stored: Stored) -> Stored | None:
            if not stored.known.failed or (newest is not None and newest.error):
                return None
            return _with(stored, replace(stored.known, failed=""), ["recovered"], newest)

        self.book.change(self.name, changed)

    # ---------------------------------------------------------------- judging, telling, training

    def _finish(self, lease: Lease) -> None:
        monitor = self.book.get(self.name)
        if "decay" in monitor.spec.watch:
            self._judge(monitor)
            lease.renew()
        if monitor.spec.retrain is not None:
            self._train(self.book.get(self.name))

    def _judge(self, monitor: Stored) -> None:
        at = self.clock()
        oldest = at - monitor.spec.performance.wait
        recent = self._recent(monitor, oldest)
        if not recent:
            return
        labels, found = decaying.judge(self.client, monitor, recent, at)
        for reading, judged in found:
            self.book.amend(monitor, reading.window.start, lambda kept, judged=judged: replace(kept, performance=judged))  # type: ignore[misc]

        def changed(stored: Stored) -> Stored | None:
            known, event, reading = news.of_decay(stored.known, islice(self.book.readings(monitor), LOOKED_BACK))
            after = _with(replace(stored, judged=labels), known, [event] if event else [], reading)
            return after if after != stored else None

        self.book.change(self.name, changed)

    def _train(self, monitor: Stored) -> None:
        policy = monitor.spec.retrain
        assert policy is not None  # noqa: S101 - asked before
        now, last = self.clock(), next(self.book.retrainings(monitor), None)
        if last is not None and monitor.clocked < last.decided:
            monitor = self._begun(monitor, last)  # who began it was killed
        if last is not None and last.over and monitor.open == last.id:
            monitor = self._ended(monitor, last)  # who ended it was killed
        if last is not None and not last.over:
            self._step(monitor, last)
            return
        if (wanted := wish(policy, self._recent(monitor), last, monitor.clocked, now)) is None:
            return
        begun = self._begin(monitor, wanted)
        if not begun.over:
            self._step(monitor, begun)

    def _begin(self, monitor: Stored, wanted: Wish) -> Retraining:
        trainer = Trainer(self.client, self.book, monitor, self.clock())
        begun = trainer.begin(wanted, self._recent(monitor))
        self._begun(monitor, begun)
        return begun

    def _begun(self, monitor: Stored, one: Retraining) -> Stored:
        """Note that a retraining has begun: `clocked` is no earlier than it from then on."""
        for start in one.causes:
            self.book.amend(monitor, datetime.fromisoformat(start), lambda kept: replace(kept, retraining=one.id))

        def changed(stored: Stored) -> Stored:
            noted = replace(stored, clocked=max(stored.clocked, one.decided), open="" if one.over else one.id)
            return _with(noted, stored.known, ["retraining"], one)

        return self.book.change(self.name, changed) or monitor

    def _step(self, monitor: Stored, one: Retraining) -> None:
        after = Trainer(self.client, self.book, monitor, self.clock()).step(one)
        if after.over:
            self._ended(monitor, after)

    def _ended(self, monitor: Stored, one: Retraining) -> Stored:
        Trainer(self.client, self.book, monitor, self.clock()).tidy(one)
        ended = self.book.change(self.name, lambda stored: _with(replace(stored, open=""), stored.known, ["retraining"], one))
        return ended or monitor

    def _recent(self, monitor: Stored, since: datetime = windows.EPOCH) -> list[Reading]:
        """Newest first, back to the first that ended by then: a reading of many columns takes milliseconds to load."""
        return list(takewhile(lambda one: one.window.end > since, islice(self.book.readings(monitor), LOOKED_BACK)))

    def _tell(self) -> None:
        """Tell what is to be told. What could not be told is tried again for a day, in each run."""
        monitor = self.book.get(self.name)
        for event in monitor.pending:
            about = self._about(monitor, event)
            left = tuple(place for place in event.places if about is not None and not self._told(monitor, event, place, about))
            rest = replace(event, places=left) if left and self.clock() - event.since < GIVE_UP else None
            self.book.change(self.name, lambda stored, event=event, rest=rest: _after(stored, event, rest))  # type: ignore[misc]

    def _told(self, monitor: Stored, event: Pending, place: int, about: Reading | Retraining) -> bool:
        from mlport.monitoring.telling import alerting

        alert, error = monitor.spec.alerts[place], ""
        try:
            alerting.send(alert, alerting.message(event.event, monitor.spec, about, self.client.config.profile))
        except MlportError as failure:
            error = str(failure)
            log.warning("monitor %s could not tell of %s by %s: %s", monitor.name, event.event, alert.to, error)
        if isinstance(about, Reading):
            note = Told(event.event, place, alert.to, self.clock(), error)
            self.book.amend(monitor, about.window.start, lambda kept: replace(kept, told=(*kept.told, note)))
        return not error

    def _about(self, monitor: Stored, event: Pending) -> Reading | Retraining | None:
        if event.event == "retraining":
            return next((each for each in self.book.retrainings(monitor) if each.id == event.of), None)
        start = datetime.fromisoformat(event.of)
        kept = self.book.reading(monitor, start)
        if kept is None and event.event == "failed":
            window = Window(start, start + monitor.spec.window)
            return Reading(monitor.name, window, event.since, "unknown", "unknown", error=monitor.known.failed)
        return kept

    @contextmanager
    def _lead(self) -> Iterator[Lease]:
        owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        lease = acquire(self.client.session.state, f"monitor/{self.name}", owner, LEASE_SECONDS)
        if lease is None:
            raise ConflictError(
                f"monitor {self.name} is being run by another process", hint="wait for it, or look at `mlport agent status`"
            )
        try:
            yield lease
        finally:
            with suppress(ConflictError):
                lease.release()


def _with(stored: Stored, known: Known, events: list[Event], about: Reading | Retraining | None) -> Stored:
    """The monitor with what is known now, and events that are to be told."""
    more = [found for event in events if about is not None and (found := news.pending(stored.spec, event, about))]
    return replace(stored, known=known, pending=(*stored.pending, *more))


def _after(stored: Stored, event: Pending, rest: Pending | None) -> Stored:
    done = told(stored, event)
    return replace(done, pending=(*done.pending, rest)) if rest else done


def role_of(client: Client) -> Monitors:
    """The provider's own monitors. Raises UnsupportedError where it has none."""
    session = client.session
    if not isinstance(session, Watches):
        raise UnsupportedError(client.provider.name, [(Capability.MONITOR.value, "it has no monitors of its own")], hint=OWN)
    return session.monitors
