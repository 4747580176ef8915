"""`mlport emulate NAME` as a process of its own, which a test may kill and start again on its folder.

with emulating("vertex", folder) as emulated:
    emulated.kill()
    emulated.start()
    emulated.die_at("after-runs 3")  # the third write of a run
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlport.emulation.at_work import processes
from mlport.emulation.faults import Faults
from mlport.emulation.place import Place
from mlport.emulation.server import Ready
from mlport.faults import VARIABLE
from mlport.waiting import delays, wait_until


def command(provider: str) -> list[str]:
    """What runs an emulator."""
    return [sys.executable, "-m", "mlport.cli.main", "emulate", provider]


class Emulated:
    """An emulator on a folder, one run after the other."""

    def __init__(self, provider: str, folder: Path) -> None:
        self.provider, self.folder = provider, folder
        self._switch = folder.with_name(f"{folder.name}-die-at")
        self._log = folder.with_name(f"{folder.name}-log")
        self.said: dict[str, Any] = {}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Run it, and wait until it answers. One that runs is killed first."""
        self.kill()
        argv, env = [*command(self.provider), "--state", str(self.folder)], {**os.environ, VARIABLE: f"@{self._switch}"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log, text=True, env=env)
        assert self._process.stdout is not None
        self.said = json.loads(self._process.stdout.readline() or "{}")
        assert self.said, self.log()

    def log(self) -> str:
        """All that it said on stderr."""
        return self._log.read_text(errors="replace")

    @property
    def ready(self) -> Ready:
        """As the fixture `emulator` has it."""
        said, name = self.said, self.provider
        grpc = {name: said["grpc"]} if "grpc" in said else {}
        return Ready(name, {name: said["url"]}, grpc, said["proxy"], Path(said["ca"]), self.folder, said["env"], {name: said["connect"]})

    def die_at(self, point: str | None) -> None:
        """Let it die at a point of `mlport.faults` when it gets there next; or nowhere."""
        self._switch.unlink(missing_ok=True)
        if point:
            part = self._switch.with_suffix(".point")
            part.write_text(point)
            part.replace(self._switch)

    @property
    def is_dead(self) -> bool:
        """Whether it has died."""
        return self._process is not None and self._process.poll() is not None

    def died(self, seconds: float = 60) -> None:
        """Wait for that."""
        assert self._process is not None
        assert self._process.wait(seconds) == -signal.SIGKILL, self.log()
        self._closed()

    def kill(self) -> None:
        """As by `kill -9`, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._closed()

    def stop(self, number: int = signal.SIGTERM, seconds: float = 60) -> int:
        """Ask it to end; its exit status."""
        assert self._process is not None
        self._process.send_signal(number)
        status = self._process.wait(seconds)
        self._closed()
        return status

    def _closed(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None


@contextmanager
def emulating(provider: str, folder: Path) -> Iterator[Emulated]:
    """An emulator that answers; at the end it is killed, and so is all that it started."""
    emulated = Emulated(provider, folder)
    emulated.start()
    try:
        yield emulated
    finally:
        emulated.kill()
        _end_work(folder / provider)
        nothing_runs(folder)


def _end_work(folder: Path) -> None:
    place = Place(folder, Faults())
    try:
        place.end_work()
    finally:
        place.close()


def nothing_works(emulated: Emulated) -> None:
    """Fails if jobs or model servers of an emulator are left."""
    for engine in ("engine", "containers"):
        nothing_runs(emulated.folder / emulated.provider / engine)


def nothing_runs(folder: Path, seconds: float = 60) -> None:
    """Fails if processes of a folder are left."""
    wait_until(lambda: processes(folder), lambda left: not left, pauses=delays(first=0.05, ceiling=0.3), timeout=seconds, what=str(folder))
