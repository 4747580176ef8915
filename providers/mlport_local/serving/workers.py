"""The workers of one endpoint: a model server for each deployment, started, watched, started again, and let go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from mlport.faults import fault
from mlport_local.serving import staff
from mlport_local.serving.endpoint_state import Desired, Process, worker_socket
from mlport_local.serving.pulse import BEGINNING, STEADY, WORKER, Pulse
from mlport_local.serving.staff import Hand

START_SECONDS = 300.0  # for a model to load
DRAIN_SECONDS = 30.0  # for the requests at a deployment that is taken out
END_SECONDS = 35.0  # for a process that was told to end; the model server itself drains for 30


class Workers:
    """Makes the workers those that should be.

    Args:
        is_idle: Whether the router neither sends to a deployment any more nor waits for it.
        note: Called at once when a worker was started, so that a keeper that dies then leaves nobody unknown.
    """

    def __init__(self, name: str, folder: Path, is_idle: Callable[[str], bool], note: Callable[[], None]) -> None:
        self._name, self._folder, self._is_idle, self._note = name, folder, is_idle, note
        self.hands: dict[str, Hand] = {}
        self._leaving: dict[str, tuple[Hand, float]] = {}
        self._pulses: dict[str, Pulse] = {}

    @property
    def leaving(self) -> bool:
        return bool(self._leaving)

    @property
    def waiting(self) -> bool:
        """Whether one is not ready yet."""
        return any(not hand.ready for hand in self.hands.values())

    def everyone(self) -> list[Hand]:
        return [*self.hands.values(), *(hand for hand, _ in self._leaving.values())]

    def adopt(self, seen: Mapping[str, Process], now: float) -> None:
        """Take over those that an earlier keeper left."""
        for name, one in seen.items():
            hand = self.hands[name] = Hand(name, self._log(name), served=one.ready, restarts=one.restarts, reason=one.reason)
            hand.adopt(one.identity, now)

    def see_to(self, desired: Desired, now: float) -> bool:
        """One pass; whether one that left is gone now."""
        gone = self._let_go(desired, now)
        for name in desired.deployments:
            if name not in self._leaving:
                self._see_to(desired, name, now)
        return gone

    def _see_to(self, desired: Desired, name: str, now: float) -> None:
        hand = self.hands.setdefault(name, Hand(name, self._log(name)))
        if hand.look(now):
            self._feel(hand, desired.limits.silence_seconds, now)
        elif now >= hand.next_start:
            path = worker_socket(self._folder, name)
            path.unlink(missing_ok=True)
            self._forget(name)
            hand.start(self._command(desired, name, path), staff.environment(self._folder, desired.deployments[name].env), now)
            fault("after-worker-start")
            self._note()

    def _feel(self, hand: Hand, patience: float, now: float) -> None:
        """See whether it is ready, and end it if it has not answered for too long: it would never serve again."""
        pulse = self._pulses.setdefault(hand.name, Pulse(worker_socket(self._folder, hand.name), WORKER, now))
        pulse.look(now, every=min(STEADY, patience / 4) if hand.ready else BEGINNING)
        if pulse.last.startswith(b"HTTP/1.1 200"):
            hand.ready = hand.served = True
        if hand.ready and pulse.silence > patience:
            hand.give_up(f"it did not answer for {patience:g} s")
        elif not hand.ready and now - hand.started > START_SECONDS:
            hand.give_up(f"it was not ready after {START_SECONDS:g} s")

    def _let_go(self, desired: Desired, now: float) -> bool:
        """Take out those that should not be: out of the table first, then no request left, then the end."""
        for name in [name for name in self.hands if name not in desired.deployments]:
            self._leaving[name] = (self.hands.pop(name), now)
            self._forget(name)
        gone = False
        for name, (hand, since) in list(self._leaving.items()):
            if not self._is_idle(name) and now - since < DRAIN_SECONDS:
                continue
            if hand.end(now, END_SECONDS):
                del self._leaving[name]
                worker_socket(self._folder, name).unlink(missing_ok=True)
                gone = True
        return gone

    def _forget(self, name: str) -> None:
        if pulse := self._pulses.pop(name, None):
            pulse.close()

    def _command(self, desired: Desired, name: str, path: Path) -> list[str]:
        deployed = desired.deployments[name]
        capture = self._folder / "capture"
        keeping = ["--capture", str(capture), "--capture-rate", str(desired.capture_rate)] if desired.capture_rate > 0 else []
        return staff.python(
            "mlport.serving", deployed.folder, "--uds", str(path), "--endpoint", self._name, "--deployment", name,
            "--model", deployed.model, "--model-version", deployed.version, "--max-body", str(desired.limits.body_bytes), *keeping,
        )  # fmt: skip

    def _log(self, name: str) -> Path:
        return self._folder / "logs" / f"worker-{name}.log"
