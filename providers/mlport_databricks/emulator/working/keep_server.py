"""Keeps one model server running, as a job of the engine: starts it, starts it again when it ends, and says where it answers.

Only the standard library, and started by its path: `python keep_server.py FOLDER`. It reads FOLDER/server.json, which has
`argv`, `env` and `folder` (where it runs), and writes FOLDER/log.txt, what the server prints, and FOLDER/state.json:

    ready     whether it answers
    url, pid  where, and as which process
    ends      how often it has ended by itself
    error     what it said when it could not load its model; it is not started again then
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FIRST_PAUSE, LONGEST_PAUSE, SETTLED = 0.5, 30.0, 600.0  # seconds: doubled after each end, and forgotten after a while of service
GRACE = 10.0  # seconds between SIGTERM and SIGKILL


class Keeper:
    """One server and what is known of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spec: dict[str, Any] = json.loads((folder / "server.json").read_text("utf-8"))
        self._state: dict[str, Any] = {"ready": False, "url": "", "pid": 0, "ends": 0, "error": ""}
        self._log = (folder / "log.txt").open("ab", buffering=0)
        self._cancelled = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        pause = FIRST_PAUSE
        while not self._cancelled.is_set():
            began = time.monotonic()
            code = self._serve()
            if self._cancelled.is_set() or self._state["error"]:
                break
            pause = FIRST_PAUSE if time.monotonic() - began >= SETTLED else pause
            self._say(f"The model server exited with a status of {code}. It is started again.")
            self._tell(ready=False, ends=self._state["ends"] + 1)
            self._cancelled.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        self._tell(ready=False)
        return 0

    def _serve(self) -> int:
        """Until it has ended: its exit code."""
        Path(self._spec["folder"]).mkdir(parents=True, exist_ok=True)
        child = self._child = subprocess.Popen(
            self._spec["argv"],
            env=self._spec["env"],
            cwd=self._spec["folder"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        if self._cancelled.is_set():
            self._end(child)
        assert child.stdout is not None  # noqa: S101 - it is a pipe
        for line in child.stdout:
            self._heard(line, child.pid)
        return child.wait()

    def _heard(self, line: bytes, pid: int) -> None:
        """What the server says of itself on its standard output; everything else it prints goes to its standard error."""
        said = json.loads(line)
        if said["ready"]:
            self._say("The model server is ready.")
            self._tell(ready=True, url=said["address"], pid=pid)
        else:
            self._tell(error=said["error"])

    def _say(self, line: str) -> None:
        moment = datetime.now(UTC).isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")
        self._log.write(f"{moment} {line}\n".encode())

    def _tell(self, **state: Any) -> None:
        """Write how it stands, whole or not at all."""
        self._state.update(state)
        unfinished = self._folder / "state.json.part"
        with unfinished.open("w", encoding="utf-8") as stream:
            json.dump(self._state, stream)
        unfinished.replace(self._folder / "state.json")

    def cancel(self, *_: object) -> None:
        """End it, and do not start it again. Called in a signal handler."""
        self._cancelled.set()
        if self._child is not None:
            threading.Thread(target=self._end, args=(self._child,), daemon=True).start()

    @staticmethod
    def _end(child: subprocess.Popen[bytes]) -> None:
        for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, None)):
            try:
                os.killpg(child.pid, number)
                child.wait(patience)
            except subprocess.TimeoutExpired:
                continue
            except ProcessLookupError:
                return
            return


def main(folder: str) -> int:
    keeper = Keeper(Path(folder))
    signal.signal(signal.SIGTERM, keeper.cancel)
    return keeper.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
