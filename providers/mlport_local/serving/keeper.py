"""The keeper of one endpoint: one small process that makes what is so what should be, again and again.

    python -m mlport_local.serving.keeper ROOT NAME 3<LOCK

It reads what is desired from the engine's database, starts and stops the router and the workers, tells the router
its table, and writes down what it sees. It outlives the client; if it dies, the router and the workers go on, and
the router, or whoever next looks at the endpoint, starts another, which takes them over. A lock on its file descriptor 3,
taken by who starts it, lets only one be at work.
Each pass is idempotent, so a keeper may die between any two lines of it.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from pathlib import Path

from mlport.errors import MlportError
from mlport.faults import fault
from mlport_local.engine import process
from mlport_local.layout import Layout
from mlport_local.serving import attendance, control, staff
from mlport_local.serving.endpoint_state import Observed, private, run_folder
from mlport_local.serving.endpoint_store import EndpointStore, Row
from mlport_local.serving.front import Front
from mlport_local.serving.housekeeping import Housekeeping
from mlport_local.serving.staff import Hand
from mlport_local.serving.workers import END_SECONDS, Workers

QUIET_SECONDS = 1.0  # between looks while nothing happens
BRISK_SECONDS = 0.03  # while something is under way


class Keeper:
    """One endpoint's keeper."""

    def __init__(self, layout: Layout, name: str, lock: int) -> None:
        self._name, self._lock = name, lock
        self._folder = layout.endpoint(name)
        self._run = private(run_folder(self._folder))
        self._store = EndpointStore(layout)
        self._front = Front(layout.root, name, self._folder, self._choose_port, self._note)
        self._workers = Workers(name, self._folder, self._front.is_idle, self._note)
        self._house = Housekeeping(self._folder, self._used)
        self._written: Observed | None = None
        self._said = ""

    # -------------------------------------------------------------- the loop

    def keep(self) -> None:
        """Work until the endpoint is deleted, or its root is gone."""
        ear = control.listen(self._run / control.POKE)
        self._adopt()
        while (soon := self._pass()) is not None:
            alive = [hand.identity for hand in self._hands() if hand.identity is not None and process.alive(hand.identity)]
            process.wait_any(alive, wake=ear.fileno(), timeout=BRISK_SECONDS if soon else QUIET_SECONDS)
            control.drain(ear)
        ear.close()

    def _hands(self) -> list[Hand]:
        return [self._front.hand, self._house.compacting, *self._workers.everyone()]

    def _adopt(self) -> None:
        """Take over whom an earlier keeper left, and end those of whom it could not write."""
        row = self._store.look(self._name)
        observed = row.observed if row else Observed()
        now = time.monotonic()
        self._front.adopt(observed.router, now)
        self._workers.adopt(observed.workers, now)
        known = {hand.identity for hand in self._hands()}
        process.end_all(lambda: [found for found in staff.marked(self._folder) if found not in known], grace=END_SECONDS)
        if row is not None:
            self._house.tidy()

    def _pass(self) -> bool | None:
        """One pass: whether the next should come soon, None when there is nothing to keep any more.

        What fails is said in the log and tried again.
        """
        if not attendance.holds(self._folder, self._lock):
            self._leave_quietly()
            return None
        try:
            row = self._store.look(self._name)
            if row is None or row.desired.deleted:
                self._take_down(row)
                return None
            return self._step(row)
        except (MlportError, OSError, ValueError) as error:
            self._say(f"{type(error).__name__}: {error}")
            return False

    def _say(self, trouble: str) -> None:
        """In the log, but not the same again at every pass: a disk that is full must not be filled with it."""
        if trouble != self._said:
            print(trouble, file=sys.stderr, flush=True)
            self._said = trouble

    def _step(self, row: Row) -> bool:
        now = time.monotonic()
        if self._workers.see_to(row.desired, now):
            self._house.tidy()
        row = self._front.see_to(row, now)
        self._settle(row)
        self._house.see_to(now)
        if self._observed(row) != self._written:
            self._observe(row)
        return self._workers.waiting or self._workers.leaving or row.under_way is not None or not self._front.is_told(row.generation)

    # -------------------------------------------------------------- what has come of it

    def _settle(self, row: Row) -> None:
        """End the mutation under way if it is done, or cannot be."""
        mutation = row.under_way
        if mutation is None:
            return
        if mutation.kind in ("create", "deploy"):
            hand = self._workers.hands.get(mutation.deployment or "")
            if hand is None:
                return
            if not hand.served and hand.failures:
                self._store.fail(mutation, f"deployment {mutation.deployment!r} cannot serve: {hand.reason}")
                return
            if not hand.ready:
                return
        if self._front.is_told(row.generation) and not self._workers.leaving:
            self._observe(row)
            self._store.succeed(mutation)

    def _choose_port(self, port: int) -> Row:
        return self._store.settle(self._name, lambda desired: dataclasses.replace(desired, port=port))

    def _used(self) -> frozenset[str]:
        row = self._store.look(self._name)
        return frozenset(deployed.folder for deployed in row.desired.deployments.values()) if row else frozenset()

    def _note(self) -> None:
        """Write down what is so, at once."""
        row = self._store.look(self._name)
        if row is not None:
            self._observe(row)

    def _observe(self, row: Row) -> None:
        seen = self._observed(row)
        self._store.observe(self._name, seen)
        self._written = seen

    def _observed(self, row: Row) -> Observed:
        generation = row.generation if self._front.is_told(row.generation) else (self._written or row.observed).generation
        return Observed(generation, self._front.hand.seen(), {name: hand.seen() for name, hand in self._workers.hands.items()})

    # -------------------------------------------------------------- the end

    def _take_down(self, row: Row | None) -> None:
        """Stop serving, let what is under way end, stop everyone, remove everything but what was captured.

        Without a row the files may be those of a namesake that is being created: they are left alone.
        """
        router = self._front.hand
        while not router.end(time.monotonic(), END_SECONDS) and router.identity is not None:
            process.wait_any([router.identity], timeout=QUIET_SECONDS)
        process.end_all(lambda: staff.marked(self._folder), grace=END_SECONDS)
        self._front.close()
        if row is not None:
            fault("before-files-removed")
            attendance.remove_files(self._folder)
            self._store.remove(self._name)
        self._store.close()

    def _leave_quietly(self) -> None:
        """End whom we started: what lies in our place now, if anything, is another's."""
        ours = [hand.identity for hand in self._hands() if hand.identity is not None]
        process.end_all(lambda: [identity for identity in ours if process.alive(identity)], grace=1.0)


def main() -> int:
    os.umask(0o077)
    os.set_inheritable(process.HANDED_OVER, False)
    Keeper(Layout(Path(sys.argv[1])), sys.argv[2], process.HANDED_OVER).keep()
    return 0


if __name__ == "__main__":
    sys.exit(main())
