"""The Databricks emulator as a process of its own, which a test may kill and start again on its folder.

with emulating(folder) as emulated:
    emulated.kill()
    emulated.start()
    emulated.die_at("after-runs 3")  # the third write of a run
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlport.emulation.faults import Faults
from mlport.emulation.server import Ready
from mlport.faults import VARIABLE
from mlport_databricks.emulator.place import Place

PROGRAM = """
import json, sys
from pathlib import Path
from mlport.emulation.server import serve
from mlport_databricks.emulator import EMULATOR

with serve({"databricks": EMULATOR}, Path(sys.argv[1])) as ready:
    print(json.dumps(ready.to_json()), flush=True)
    sys.stdin.read()
"""


class Emulated:
    """An emulator on a folder, one run after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._log = folder, folder.with_name(f"{folder.name}-log")
        self._switch = folder.with_name(f"{folder.name}-die-at")
        self.said: dict[str, Any] = {}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Run it, and wait until it answers. One that runs is killed first."""
        self.kill()
        command = [sys.executable, "-c", PROGRAM, str(self.folder)]
        pipe, env = subprocess.PIPE, {**os.environ, VARIABLE: f"@{self._switch}"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True, env=env)
        assert self._process.stdout is not None
        self.said = json.loads(self._process.stdout.readline() or "{}")
        assert self.said, self.log()

    def log(self) -> str:
        """All that it said on stderr."""
        return self._log.read_text(errors="replace")

    @property
    def ready(self) -> Ready:
        """As the fixture `emulator` has it."""
        said = self.said
        urls, targets = {"databricks": said["url"]}, {"databricks": said["connect"]}
        return Ready("databricks", urls, {}, said["proxy"], Path(said["ca"]), self.folder, said["env"], targets)

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

    def kill(self) -> None:
        """As by `kill -9`, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@contextmanager
def emulating(folder: Path) -> Iterator[Emulated]:
    """An emulator that answers; at the end it is killed, and so is all that it started."""
    emulated = Emulated(folder)
    emulated.start()
    try:
        yield emulated
    finally:
        emulated.kill()
        place = Place(folder / "databricks", Faults())
        try:
            place.end_work()
        finally:
            place.close()
