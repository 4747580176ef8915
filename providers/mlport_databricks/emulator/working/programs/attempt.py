"""One attempt of a task, as a job of the engine: prepares, runs the program, keeps what it prints, says how it ended.

Only the standard library, and started by its path: `python attempt.py FOLDER`. It reads FOLDER/attempt.json:

    setup, setup_env
                  commands to run first, one after the other, and their environment: libraries to install
    argv, env, folder
                  the program, its whole environment, and where it begins
    timeout       seconds for all of it; null for never
    preempt       seconds after which the machine is taken away; null for never
    grace         seconds between SIGTERM and SIGKILL

and writes FOLDER/log (what the program printed), FOLDER/setup.log and FOLDER/state.json: `began`, `started` (of the program),
`finished`, in milliseconds, and the `outcome`: succeeded, failed, cancelled, timed out, preempted, not installed.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

CANCELLED, NOT_STARTED = 143, 127


def millis() -> int:
    return time.time_ns() // 1_000_000


class Attempt:
    """The steps of one attempt; whatever comes first ends it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spec: dict[str, Any] = json.loads((folder / "attempt.json").read_text("utf-8"))
        self.events: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()  # its put may come from a signal's handler
        self.state: dict[str, Any] = {"began": millis()}
        now = time.monotonic()
        limits = {"timed out": self.spec["timeout"], "preempted": self.spec["preempt"]}
        self.ends = sorted((now + seconds, outcome) for outcome, seconds in limits.items() if seconds is not None)

    def run(self) -> int:
        self.tell()
        outcome, code = "succeeded", 0
        for step in self.spec["setup"]:
            outcome, code = self.step(step, self.spec["setup_env"], self.folder, "setup.log")
            if outcome != "succeeded":
                outcome = "not installed" if outcome == "failed" else outcome
                break
        else:
            self.tell(started=millis())
            outcome, code = self.step(self.spec["argv"], self.spec["env"], Path(self.spec["folder"]), "log")
        self.tell(finished=millis(), outcome=outcome, code=code)
        return {"succeeded": 0, "cancelled": CANCELLED}.get(outcome, 1)

    def tell(self, **state: Any) -> None:
        """Write how it stands, whole or not at all."""
        self.state.update(state)
        unfinished = self.folder / "state.json.part"
        with unfinished.open("w", encoding="utf-8") as stream:
            json.dump(self.state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(self.folder / "state.json")

    def step(self, argv: list[str], env: dict[str, str], folder: Path, log: str) -> tuple[str, int]:
        """Run a command in a session of its own until it ends or is ended: what came of it, and its exit code."""
        folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / log).open("ab", buffering=0) as output:
            try:
                child = subprocess.Popen(
                    argv, env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
            except OSError as error:
                output.write(f"{argv[0]}: {error.strerror}\n".encode())
                return "failed", NOT_STARTED
        threading.Thread(target=lambda: self.events.put(("ended", child.wait())), daemon=True).start()
        event, code = self.next_event()
        if event == "ended":
            end(child.pid, signal.SIGKILL)  # what it left running
            return ("failed" if code else "succeeded"), code
        end(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + self.spec["grace"]
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        end(child.pid, signal.SIGKILL)
        return event, child.wait()

    def next_event(self) -> tuple[str, int]:
        """The end of the command, or what ends it before."""
        while True:
            patience = max(0.0, self.ends[0][0] - time.monotonic()) if self.ends else None
            try:
                return self.events.get(timeout=patience)
            except queue.Empty:
                if time.monotonic() >= self.ends[0][0]:
                    return self.ends[0][1], 0

    def cancel(self, *_: object) -> None:
        self.events.put(("cancelled", 0))


def end(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def main(folder: str) -> int:
    attempt = Attempt(Path(folder))
    signal.signal(signal.SIGTERM, attempt.cancel)
    return attempt.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
