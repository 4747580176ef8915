"""`mlport emulate vertex` as a process of its own, which a test may kill and start again on its folder.

with emulating(folder) as emulated:
    emulated.kill()
    emulated.start()
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
from mlport.emulation.server import Ready
from mlport.waiting import delays, wait_until
from mlport_vertex.emulator.place import Place

COMMAND = [sys.executable, "-m", "mlport.cli.main", "emulate", "vertex"]


class Emulated:
    """An emulator on a folder, one run after the other."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder, self._arguments = folder, arguments
        self._switch = folder.with_name(f"{folder.name}-die-at")
        self._log = folder.with_name(f"{folder.name}-log")
        self.said: dict[str, Any] = {}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Run it, and wait until it answers."""
        env = {**os.environ, "MLPORT_FAULT": f"@{self._switch}"}
        command = [*COMMAND, "--state", str(self.folder), *self._arguments]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=env)
        assert self._process.stdout is not None
        self.said = json.loads(self._process.stdout.readline() or "{}")
        assert self.said, self.log()

    def log(self) -> str:
        """All that it said on stderr."""
        return self._log.read_text(errors="replace")

    @property
    def ready(self) -> Ready:
        """As the fixture `emulator` has it."""
        said, named = self.said, {"vertex": self.said["connect"]}
        return Ready(
            "vertex", {"vertex": said["url"]}, {"vertex": said["grpc"]}, said["proxy"], Path(said["ca"]), self.folder, said["env"], named
        )

    def die_at(self, point: str) -> None:
        """Let it die at a point of `mlport.faults` when it gets there next."""
        part = self._switch.with_suffix(".part")
        part.write_text(point)
        part.replace(self._switch)

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
def emulating(folder: Path, *arguments: str) -> Iterator[Emulated]:
    """An emulator that answers; at the end it is killed, and so is all that it started."""
    emulated = Emulated(folder, *arguments)
    emulated.start()
    try:
        yield emulated
    finally:
        emulated.kill()
        end_work(folder)


def end_work(folder: Path) -> None:
    """End what the emulator of a folder has left running, and see that nothing is."""
    from mlport.emulation.faults import Faults

    place = Place(folder / "vertex", Faults())
    try:
        place.end_work()
    finally:
        place.close()
    nothing_runs(folder)


def nothing_works(folder: Path) -> None:
    """Fails if jobs or model servers of an emulator's folder are left."""
    for engine in ("engine", "containers"):
        nothing_runs(folder / "vertex" / engine)


def nothing_runs(folder: Path, seconds: float = 60) -> None:
    """Fails if processes of a folder are left."""
    wait_until(lambda: processes(folder), lambda left: not left, pauses=delays(first=0.05, ceiling=0.3), timeout=seconds, what=str(folder))
