"""The keeper of one endpoint: one small process that makes what is so what should be, again and again.

    python -m mlport_local.serving.keeper ROOT NAME 3<LOCK

It reads what is desired from the engine's database, starts and stops the router and the workers, tells the router
its table, and writes down what it sees. It outlives the client; if it dies, the router and the workers go on, and
whoever next looks at the endpoint starts another, which takes them over. A lock on its file descriptor 3, taken by who
starts it, lets only one be at work.
Each pass is idempotent, so a keeper may die between any two lines of it.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Any

from mlport.errors import MlportError
from mlport_local.engine import process
from mlport_local.engine.process import Identity
from mlport_local.faults import fault
from mlport_local.layout import Layout
from mlport_local.serving import control, staff
from mlport_local.serving.endpoint_state import Desired, Observed, Process, private, run_folder, worker_socket
from mlport_local.serving.endpoint_store import EndpointStore, Row
from mlport_local.serving.staff import Hand

BACKLOG = 1024
QUIET_SECONDS = 1.0  # between looks while nothing happens
BRISK_SECONDS = 0.03  # while something is under way
START_SECONDS = 300.0  # for a model to load
DRAIN_SECONDS = 30.0  # for the requests at a deployment that is taken out
END_SECONDS = 35.0  # for a process that was told to end; the model server itself drains for 30
COMPACT_SECONDS = 120.0  # between looks for captured requests to compact
LOCK = "keeper.lock"


class Keeper:
    """One endpoint's keeper. `step` is one pass; it says whether the next should come soon."""

    def __init__(self, layout: Layout, name: str, lock: int) -> None:
        self._name, self._lock = name, lock
        self._folder = layout.endpoint(name)
        self._run = private(run_folder(self._folder))
        self._store = EndpointStore(layout)
        self._router = Hand("router", self._log("router"))
        self._workers: dict[str, Hand] = {}
        self._leaving: dict[str, tuple[Hand, float]] = {}
        self._compacting = Hand("capture", self._log("capture"))
        self._next_compaction = time.monotonic() + COMPACT_SECONDS
        self._listener: socket.socket | None = None
        self._told: tuple[dict[str, Any], Identity] | None = None  # the table that the router has, and which router
        self._written: Observed | None = None

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
        return [self._router, self._compacting, *self._workers.values(), *(hand for hand, _ in self._leaving.values())]

    def _pass(self) -> bool | None:
        """One pass; None when there is nothing to keep any more. What fails is said in the log and tried again."""
        if not self._holds_lock():
            self._leave_quietly()
            return None
        try:
            row = self._store.look(self._name)
            if row is None or row.desired.deleted:
                self._take_down(row)
                return None
            return self._step(row)
        except (MlportError, OSError, ValueError) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            return False

    def _adopt(self) -> None:
        """Take over whom an earlier keeper left, and end those of whom it could not write."""
        row = self._store.look(self._name)
        observed = row.observed if row else Observed()
        now = time.monotonic()
        self._router.adopt(observed.router.identity, now)
        for name, seen in observed.workers.items():
            hand = self._workers[name] = Hand(
                name, self._log(f"worker-{name}"), served=seen.ready, restarts=seen.restarts, reason=seen.reason
            )
            hand.adopt(seen.identity, now)
        known = {hand.identity for hand in self._hands()}
        process.end_all(lambda: [found for found in staff.marked(self._folder) if found not in known], grace=END_SECONDS)

    def _log(self, name: str) -> Path:
        return self._folder / "logs" / f"{name}.log"

    # -------------------------------------------------------------- one pass

    def _step(self, row: Row) -> bool:
        now = time.monotonic()
        self._leave(row.desired, now)
        for name in row.desired.deployments:
            self._work(row.desired, name, now)
        row = self._route(row, now)
        self._settle(row, now)
        self._compact(row.desired, now)
        self._write(row)
        waiting = any(not hand.ready for hand in self._workers.values()) or not self._is_told(row)
        return waiting or bool(self._leaving) or row.under_way is not None

    def _work(self, desired: Desired, name: str, now: float) -> None:
        """See that a deployment's worker runs and is ready."""
        if name in self._leaving:
            return
        hand = self._workers.setdefault(name, Hand(name, self._log(f"worker-{name}")))
        path = worker_socket(self._folder, name)
        if not hand.look(now):
            if now >= hand.next_start:
                path.unlink(missing_ok=True)
                hand.start(self._worker_command(desired, name, path), staff.environment(self._folder, desired.deployments[name].env), now)
                self._written = None
                self._write_workers()
        elif not hand.ready and control.is_ready(path):
            hand.ready = hand.served = True

    def _worker_command(self, desired: Desired, name: str, path: Path) -> list[str]:
        deployed = desired.deployments[name]
        capture = self._folder / "capture"
        keeping = ["--capture", str(capture), "--capture-rate", str(desired.capture_rate)] if desired.capture_rate > 0 else []
        return staff.python(
            "mlport.serving", deployed.folder, "--uds", str(path), "--endpoint", self._name, "--deployment", name,
            "--model", deployed.model, "--model-version", deployed.version, *keeping,
        )  # fmt: skip

    def _leave(self, desired: Desired, now: float) -> None:
        """Take out workers that should not be: out of the table first, then no request left, then the end."""
        for name in [name for name in self._workers if name not in desired.deployments]:
            self._leaving[name] = (self._workers.pop(name), now)
        for name, (hand, since) in list(self._leaving.items()):
            if not self._is_idle(name) and now - since < DRAIN_SECONDS:
                continue
            if hand.end(now, END_SECONDS):
                del self._leaving[name]
                worker_socket(self._folder, name).unlink(missing_ok=True)
                self._remove_unused(desired)

    def _is_idle(self, name: str) -> bool:
        """Whether the router neither sends to a deployment any more nor waits for it. A router that is gone does neither."""
        if self._router.identity is None or not process.alive(self._router.identity):
            return True
        if self._told is None or name in self._told[0]["deployments"]:
            return False
        return not control.tell(self._run / control.CONTROL, {"do": "status"})["busy"].get(name)

    def _remove_unused(self, desired: Desired) -> None:
        """Remove the models of deployments that are gone. Others' copies under way have other names."""
        used = {deployed.folder for deployed in desired.deployments.values()}
        for folder in (self._folder / "models").glob("[!.]*"):
            if str(folder) not in used:
                shutil.rmtree(folder)

    # -------------------------------------------------------------- the router

    def _route(self, row: Row, now: float) -> Row:
        """See that the router runs and has its table."""
        if not self._router.look(now):
            self._told = None
            if now < self._router.next_start:
                return row
            if not self._bind(row, now):
                return row
            row = self._with_port(row)
            self._start_router(now)
        table = self._table(row)
        if self._router.identity is not None and self._told != (table, self._router.identity):
            try:
                control.tell(self._run / control.CONTROL, {"do": "table", **table})
            except OSError as error:  # it may still be starting
                if now - self._router.started > control.SECONDS:
                    self._router.reason = f"the router does not answer its keeper: {error}"
                return row
            self._told = (table, self._router.identity)
            self._router.ready, self._router.reason = True, ""
            fault("after-table")
        return row

    def _bind(self, row: Row, now: float) -> bool:
        """See that there is a listening socket. A router that dies leaves it, and the callers who wait there, to the next."""
        if self._listener is not None:
            return True
        host, port = row.desired.host, row.desired.port
        try:
            self._listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG)
        except OSError as error:
            self._router.failures += 1
            self._router.next_start = now + staff.pause_after(self._router.failures)
            self._router.reason = f"cannot listen at {host} port {port}: {error}"
            return False
        return True

    def _with_port(self, row: Row) -> Row:
        """The port is chosen once, and the endpoint's for good."""
        if row.desired.port or self._listener is None:
            return row
        port = self._listener.getsockname()[1]
        return self._store.settle(self._name, lambda desired: dataclasses.replace(desired, port=port))

    def _start_router(self, now: float) -> None:
        listener = self._listener
        if listener is None:
            return
        path = self._run / control.CONTROL
        path.unlink(missing_ok=True)
        arguments = (
            "--fd",
            str(process.HANDED_OVER),
            "--control",
            str(path),
            "--observed",
            str(self._folder / "observed"),
            "--endpoint",
            self._name,
        )
        command, env = staff.python("mlport_local.serving.router", *arguments), staff.environment(self._folder, {})
        self._router.start(command, env, now, hand_over=listener.fileno())
        self._write_workers()

    def _table(self, row: Row) -> dict[str, Any]:
        desired = row.desired
        now = time.time()
        keys = [{"sha256": key.sha256, "until": key.until} for key in desired.keys if key.until is None or key.until > now]
        return {
            "generation": row.generation,
            "deployments": {
                name: {"socket": str(worker_socket(self._folder, name)), "version": deployed.version, "percent": desired.split[name]}
                for name, deployed in desired.deployments.items()
            },
            "digests": keys if desired.auth == "key" else None,
        }

    def _is_told(self, row: Row) -> bool:
        return self._told is not None and self._told[0]["generation"] == row.generation

    # -------------------------------------------------------------- what has come of it

    def _settle(self, row: Row, now: float) -> None:
        """End the mutation under way if it is done, or cannot be."""
        mutation = row.under_way
        if mutation is None:
            return
        if mutation.kind in ("create", "deploy"):
            hand = self._workers.get(mutation.deployment or "")
            if hand is None:
                return
            late = now - hand.started > START_SECONDS
            if not hand.served and (hand.failures or late):
                why = f"it was not ready after {START_SECONDS:g} s" if late else hand.reason
                self._store.fail(mutation, f"deployment {mutation.deployment!r} cannot serve: {why}")
                return
            if not hand.ready:
                return
        if self._is_told(row) and not self._leaving:
            self._observe(row)
            self._store.succeed(mutation)
            fault("after-succeed")

    def _write(self, row: Row) -> None:
        """Write down what is seen, if it is not what was seen."""
        if self._observed(row) != self._written:
            self._observe(row)

    def _observe(self, row: Row) -> None:
        seen = self._observed(row)
        self._store.observe(self._name, seen)
        self._written = seen

    def _write_workers(self) -> None:
        """Write down at once whom was started, so that a keeper that dies now leaves nobody unknown."""
        row = self._store.look(self._name)
        if row is not None:
            self._observe(row)

    def _observed(self, row: Row) -> Observed:
        generation = row.generation if self._is_told(row) else (self._written or row.observed).generation
        return Observed(generation, _seen(self._router), {name: _seen(hand) for name, hand in self._workers.items()})

    def _compact(self, desired: Desired, now: float) -> None:
        """Have captured requests compacted now and then, by a process of its own that goes when it is done."""
        if self._compacting.identity is not None and not process.alive(self._compacting.identity):
            self._compacting.identity = None
        if self._compacting.identity is not None or now < self._next_compaction:
            return
        self._next_compaction = now + COMPACT_SECONDS
        if any((self._folder / "capture" / "spool").glob("*")):
            self._compacting.start(staff.python("mlport.capture", str(self._folder / "capture")), staff.environment(self._folder, {}), now)

    # -------------------------------------------------------------- the end

    def _take_down(self, row: Row | None) -> None:
        """Stop serving, let what is under way end, stop everyone, remove everything but what was captured.

        Without a row the files may be those of a namesake that is being created: they are left alone.
        """
        now = time.monotonic()
        while not self._router.end(time.monotonic(), END_SECONDS) and self._router.identity is not None:
            process.wait_any([self._router.identity], timeout=QUIET_SECONDS)
        for hand in self._hands():
            hand.end(now, END_SECONDS)
        self._end_everyone(grace=END_SECONDS)
        if self._listener is not None:
            self._listener.close()
        if row is not None:
            self._remove_files()
            fault("before-endpoint-remove")
            self._store.remove(self._name)
        self._store.close()

    def _remove_files(self) -> None:
        for path in self._folder.iterdir():
            if path.name not in ("capture", LOCK):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.rmtree(self._run, ignore_errors=True)

    def _holds_lock(self) -> bool:
        """Whether the lock file is still the one that we hold; if not, the root was removed under us."""
        try:
            return os.path.samestat((self._folder / LOCK).stat(), os.fstat(self._lock))
        except FileNotFoundError:
            return False

    def _leave_quietly(self) -> None:
        """End whom we started: what lies in our place now, if anything, is another's."""
        ours = [hand.identity for hand in self._hands() if hand.identity is not None]
        process.end_all(lambda: [identity for identity in ours if process.alive(identity)], grace=1.0)

    def _end_everyone(self, *, grace: float) -> None:
        process.end_all(lambda: staff.marked(self._folder), grace=grace)


def _seen(hand: Hand) -> Process:
    return Process(str(hand.identity) if hand.identity else None, hand.ready, hand.reason, hand.restarts)


# ------------------------------------------------------------------ from outside


def ensure(layout: Layout, name: str) -> None:
    """See that an endpoint's keeper is at work: wake it, or start it.

    The lock is taken here and handed over, so however many look at once, one keeper is started.
    """
    folder = layout.endpoint(name)
    lock = _locked(folder)
    if lock is None:
        control.poke(run_folder(folder) / control.POKE)
        return
    try:
        env = staff.environment(folder, {})
        env.pop(staff.MARK)
        process.start_detached(
            staff.python("mlport_local.serving.keeper", str(layout.root), name), env, log=folder / "logs" / "keeper.log", hand_over=lock
        )
    finally:
        os.close(lock)


def _locked(folder: Path) -> int | None:
    """The keeper's lock, None if a keeper holds it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def main() -> int:
    os.umask(0o077)
    os.set_inheritable(process.HANDED_OVER, False)
    Keeper(Layout(Path(sys.argv[1])), sys.argv[2], process.HANDED_OVER).keep()
    return 0


if __name__ == "__main__":
    sys.exit(main())
