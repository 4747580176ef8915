"""The front of one endpoint: its address, and the router that answers there."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlport.faults import fault
from mlport_local.engine import process
from mlport_local.engine.process import Identity
from mlport_local.serving import control, staff
from mlport_local.serving.endpoint_state import Desired, Process, run_folder, worker_socket
from mlport_local.serving.endpoint_store import Row
from mlport_local.serving.pulse import ROUTER, STEADY, Pulse
from mlport_local.serving.staff import Hand

BACKLOG = 1024


class Front:
    """Keeps the listening socket and the router. A router that dies leaves both port and waiting callers to the next.

    Args:
        settle: Stores the port that was chosen; the row as it is then.
        note: As in `Workers`.
    """

    def __init__(self, root: Path, name: str, folder: Path, settle: Callable[[int], Row], note: Callable[[], None]) -> None:
        self._root, self._name, self._folder, self._settle, self._note = root, name, folder, settle, note
        self._control = run_folder(folder) / control.CONTROL
        self.hand = Hand("router", folder / "logs" / "router.log")
        self._pulse: Pulse | None = None
        self._listener: socket.socket | None = None
        self._told: tuple[dict[str, Any], Identity] | None = None  # the table that the router has, and which router

    def adopt(self, seen: Process, now: float) -> None:
        """Take over the router that an earlier keeper left."""
        self.hand.adopt(seen.identity, now)

    def see_to(self, row: Row, now: float) -> Row:
        """See that the router runs and has its table."""
        if not self.hand.look(now):
            self._told = None
            if now < self.hand.next_start or not self._bind(row.desired, now):
                return row
            if not row.desired.port and self._listener is not None:  # the port is chosen once, and the endpoint's for good
                row = self._settle(self._listener.getsockname()[1])
            self._start(row.desired, now)
        self._feel(row.desired, now)
        self._tell(row, now)
        return row

    def is_told(self, generation: int) -> bool:
        """Whether the router works from this generation."""
        return self._told is not None and bool(self._told[0]["generation"] == generation)

    def is_idle(self, deployment: str) -> bool:
        """Whether the router neither sends to a deployment any more nor waits for it. A router that is gone does neither."""
        if self.hand.identity is None or not process.alive(self.hand.identity):
            return True
        if self._told is None or deployment in self._told[0]["deployments"]:
            return False
        try:
            return not control.tell(self._control, {"do": "status"})["busy"].get(deployment)
        except OSError:  # it hangs, or is about to end: `_feel` sees to that
            return False

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()

    def _bind(self, desired: Desired, now: float) -> bool:
        if self._listener is not None:
            return True
        host, family = desired.host, socket.AF_INET6 if ":" in desired.host else socket.AF_INET
        try:
            self._listener = socket.create_server((host, desired.port), family=family, backlog=BACKLOG)
        except OSError as error:
            self.hand.failures += 1
            self.hand.next_start = now + staff.pause_after(self.hand.failures)
            self.hand.reason = f"cannot listen at {host} port {desired.port}: {error}"
            return False
        return True

    def _start(self, desired: Desired, now: float) -> None:
        if self._listener is None:
            return
        self._control.unlink(missing_ok=True)
        self._forget()
        limits, tls = desired.limits, desired.tls
        command = staff.python(
            "mlport_local.serving.router", "--fd", str(process.HANDED_OVER), "--control", str(self._control),
            "--observed", str(self._folder / "observed"), "--endpoint", self._name, "--root", str(self._root),
            "--most-body", str(limits.body_bytes), "--most-callers", str(limits.connections),
            "--answer-seconds", str(limits.answer_seconds), "--head-seconds", str(limits.head_seconds),
            *(["--certificate", tls.certificate, "--key", tls.key] if tls else []),
        )  # fmt: skip
        self.hand.start(command, staff.environment(self._folder, {}), now, hand_over=self._listener.fileno())
        fault("after-router-start")
        self._note()

    def _feel(self, desired: Desired, now: float) -> None:
        """End a router that lives and has not answered its keeper for too long."""
        if self.hand.identity is None:
            return
        if self._pulse is None:
            self._pulse = Pulse(self._control, ROUTER, now)
        patience = desired.limits.silence_seconds
        self._pulse.look(now, every=min(STEADY, patience / 4))
        if self._pulse.silence > patience:
            self.hand.give_up(f"it did not answer its keeper for {patience:g} s")
            self._forget()

    def _forget(self) -> None:
        if self._pulse is not None:
            self._pulse.close()
            self._pulse = None

    def _tell(self, row: Row, now: float) -> None:
        table = self._table(row)
        if self.hand.identity is None or self._told == (table, self.hand.identity):
            return
        try:
            fault("before-table")
            control.tell(self._control, {"do": "table", **table})
            if self._listener is None:  # the router is older than we are
                self._listener = control.borrow(self._control)
        except OSError as error:  # it may still be starting
            if now - self.hand.started > control.SECONDS:
                self.hand.reason = f"the router does not answer its keeper: {error}"
                print(self.hand.reason, file=sys.stderr, flush=True)
            return
        self._told = (table, self.hand.identity)
        self.hand.ready, self.hand.reason = True, ""
        fault("after-table")

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
            "digests": None if desired.auth == "none" else keys,
        }
