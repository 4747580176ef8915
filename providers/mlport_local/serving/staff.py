"""A keeper's hands: start, adopt, watch and stop the processes of one endpoint, and know them again."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlport import faults
from mlport_local.engine import process
from mlport_local.engine.process import Identity
from mlport_local.serving.endpoint_state import Process

MARK = "MLPORT_ENDPOINT_FOLDER"
"""The variable that marks every process of an endpoint, with the endpoint's folder as its value."""
STABLE_SECONDS = 60.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
LOGS_KEPT = 3
_READY = '{"ready": true'  # the line by which a model server says so
REASON_LINES, REASON_BYTES = 12, 4000
PASSED_ON = frozenset(
    [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "VIRTUAL_ENV",
        "LD_LIBRARY_PATH",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "CUDA_VISIBLE_DEVICES",
    ]
) | {
    "PYTHONHOME",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONPYCACHEPREFIX",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    faults.VARIABLE,
}
"""The variables of whoever looks that an endpoint's processes get, and those that begin with `LC_`; the others may be secrets."""


def pause_after(failures: int) -> float:
    """Seconds to wait before the next start.

    >>> [pause_after(n) for n in (0, 1, 2, 3, 20)]
    [0.0, 0.1, 0.2, 0.4, 30.0]
    """
    return min(FIRST_PAUSE * 2.0 ** min(failures - 1, 30), LONGEST_PAUSE) if failures else 0.0


@dataclass
class Hand:
    """One process that should run: the router, or a deployment's worker.

    Attributes:
        identity: Who it is, None while there is none.
        ready: It has said so since it was started or adopted.
        served: It was ready once, so if it ends it is to be started again rather than given up.
        failures: Ends in a row, without `STABLE_SECONDS` of life between.
    """

    name: str
    log: Path
    identity: Identity | None = None
    ready: bool = False
    served: bool = False
    failures: int = 0
    restarts: int = 0
    reason: str = ""
    verdict: str = ""  # why it was killed
    started: float = 0.0
    next_start: float = 0.0
    told_to_end: float | None = None

    def start(self, command: Sequence[str], env: Mapping[str, str], now: float, *, hand_over: int | None = None) -> None:
        """Start the process; its output begins a new log."""
        rotate(self.log)
        pid = process.start_detached(command, env, log=self.log, hand_over=hand_over)
        self.identity = process.identify(pid)
        self.ready, self.told_to_end, self.started = False, None, now
        if self.identity is None:
            self.buried(now)

    def adopt(self, identity: str | None, now: float) -> None:
        """Take over the process that an earlier keeper started, if it lives."""
        found = Identity.parse(identity) if identity else None
        if found is not None and process.alive(found):
            self.identity, self.started = found, now

    def look(self, now: float) -> bool:
        """Whether it lives. One that has ended is noted, with the pause before the next start."""
        if self.identity is not None and not process.alive(self.identity):
            self.buried(now)
        if self.identity is not None and self.ready and now - self.started >= STABLE_SECONDS:
            self.failures, self.reason = 0, ""
        return self.identity is not None

    def buried(self, now: float) -> None:
        """It has ended."""
        self.identity, self.ready = None, False
        self.failures += 1
        self.restarts += 1
        self.next_start = now + pause_after(self.failures)
        self.reason = f"{self.name} ended: {self.verdict or last_words(self.log) or 'without a word'}"
        self.verdict = ""

    def give_up(self, why: str) -> None:
        """Kill it: it lives and does nothing. The next look counts it among those that ended."""
        self.verdict = why
        if self.identity is not None:
            process.send(self.identity, signal.SIGKILL)

    def end(self, now: float, grace: float) -> bool:
        """Ask it to end, insist after `grace` seconds; whether it is gone."""
        if self.identity is None or not process.alive(self.identity):
            return True
        if self.told_to_end is None:
            self.told_to_end = now
            process.send(self.identity, signal.SIGTERM)
        elif now - self.told_to_end > grace:
            process.send(self.identity, signal.SIGKILL)
        return False

    def seen(self) -> Process:
        """For the record."""
        return Process(str(self.identity) if self.identity else None, self.ready, self.reason, self.restarts)


def rotate(log: Path) -> None:
    """Make room for a new log; the last few are kept as `.1`, `.2`, ..."""
    names = [log, *(log.with_name(f"{log.name}.{number}") for number in range(1, LOGS_KEPT))]
    for newer, older in reversed(list(itertools.pairwise(names))):
        if newer.exists():
            newer.replace(older)


def last_words(log: Path) -> str:
    """The last lines of a log, for people."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - REASON_BYTES))
            lines = stream.read().decode("utf-8", "replace").strip().splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join([line for line in lines if not line.startswith(_READY)][-REASON_LINES:])


def marked(folder: Path) -> list[Identity]:
    """Every living process of an endpoint, whoever started it and wherever it went."""
    mark = f"{MARK}={folder}".encode()
    found = (seen for seen in process.everyone() if seen.pid != os.getpid() and mark in process.environment_of(seen.pid))
    return [Identity(seen.pid, seen.ticks, process.boot_id()) for seen in found]


def environment(folder: Path | None, extra: Mapping[str, str]) -> dict[str, str]:
    """The variables of an endpoint's process: few of ours, `extra`, its mark, and the way to the packages that we run from."""
    import mlport
    import mlport_local

    roots = [str(Path(place).resolve().parent) for package in (mlport, mlport_local) for place in package.__path__]
    given = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    passed_on = {name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith("LC_")}
    mark = {} if folder is None else {MARK: str(folder)}
    return {**passed_on, **extra, **mark, "PYTHONPATH": os.pathsep.join(dict.fromkeys([*roots, *given]))}


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules with the interpreter that we run in."""
    return [sys.executable, "-m", module, *arguments]
