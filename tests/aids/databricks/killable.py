"""A Databricks emulator as a process of its own, which a test may kill and start again on its folder."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from mlport.emulation.server import Ready

PROGRAM = """
import json, sys, threading
from pathlib import Path
from mlport.emulation.server import serve
from mlport_databricks.emulator import EMULATOR

with serve({"databricks": EMULATOR}, Path(sys.argv[1])) as ready:
    print(json.dumps(ready.to_json()), flush=True)
    threading.Event().wait()
"""


class Killable:
    """One run after the other on a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Ready:
        """Run it, and wait until it answers. One that runs is killed first."""
        self.kill()
        log = self.folder.with_name(f"{self.folder.name}-log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(self.folder)], stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self._process.stdout is not None
        said = json.loads(self._process.stdout.readline())
        return Ready("databricks", {"databricks": said["url"]}, {}, said["proxy"], Path(said["ca"]), self.folder, said["env"])

    def kill(self) -> None:
        """kill -9, if it runs."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGKILL)
        with self._process:
            self._process = None
