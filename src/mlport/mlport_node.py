"""One node of a managed job: attempts through the runner, what they print and log passed on, packages. Shared by the vendors' first programs.

It goes into the job beside mlport_runner.py, so it stands alone: standard library only, Python 3.8 or newer. A vendor's first
program derives from `Node` and brings a `Storage`: addresses in, bytes out.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType
    from typing import Protocol

    Json = dict[str, Any]

    class Storage(Protocol):
        """Where a run keeps what it leaves."""

        def get(self, address: str) -> bytes | None:
            """The content, None if there is none."""

        def put(self, address: str, content: bytes, absent: bool = False) -> bool:
            """Write; with `absent` only if there is none. Whether it is there as written."""

        def put_file(self, address: str, path: str) -> None:
            """Write from a file."""

        def fetch(self, address: str, path: str) -> bool:
            """Copy to a file that appears only when whole; False if there is none."""


METRICS_SECONDS = 2.0
CHECKPOINT_SECONDS = 30.0
FINAL = ("input changed", "environment")  # another attempt would end the same way
STATUS = {"SUCCEEDED": 0, "FAILED": 1, "CANCELLED": 143}


class Node:
    """One node of the job. `work` is the manifest of the job, `folder` that of the package, `run` where the run keeps what it leaves."""

    def __init__(self, work: Json, folder: str, storage: Storage, run: str, job: str, node: Json, transfer: list[str]) -> None:
        self.work, self.folder, self.storage, self.run, self.job = work, folder, storage, run, job
        self.node, self.transfer = node, transfer
        self.rank: int = node["rank"]
        self.metrics = os.path.join(folder, "metrics.jsonl")
        self.stopped = False
        self.private: dict[str, str] = {}  # variables for the program alone, which are written nowhere
        self._child: subprocess.Popen[bytes] | None = None

    keeps_all = False
    """Whether the outputs of every node are kept, not those of the first alone."""

    # -- what a vendor's program brings

    def write(self, content: bytes) -> None:
        """Pass on what the program printed."""
        raise NotImplementedError

    def say(self, line: str) -> None:
        """A line of ours in the log."""
        raise NotImplementedError

    def logged(self, *, final: bool) -> None:
        """There are more metrics, or the program has ended."""

    def look(self) -> None:
        """Called every `METRICS_SECONDS` while a program runs."""

    # -- attempts

    def attempt(self, number: int) -> Json:
        """One attempt; what the runner wrote of it."""
        place = os.path.join(self.folder, f"attempt-{number}")
        os.makedirs(place)
        path = os.path.join(place, "manifest.json")
        with open(path, "w", encoding="utf-8") as stream:
            json.dump(self.manifest(number, place), stream)
        self.child([self.python(), os.path.join(self.folder, "mlport_runner.py"), path], self.private)
        try:
            with open(os.path.join(place, "result.json"), encoding="utf-8") as stream:
                result: Json = json.load(stream)
        except (OSError, ValueError) as error:
            if self.stopped:  # a SIGTERM that came before the runner could heed it
                return {"state": "CANCELLED", "cause": "cancelled", "reason": "stopped by SIGTERM before the program began"}
            return {"state": "FAILED", "cause": "out of memory", "reason": f"the runner was killed (out of memory?): {error}"}
        return result

    def manifest(self, number: int, place: str) -> Json:
        """The runner's manifest: the work with every path filled in."""
        first = self.rank == 0
        keeps = first or self.keeps_all
        bundle = os.path.join(self.folder, "bundle.tar.gz")
        uri = f"{self.run}/outputs/{number}"
        return {
            "version": 1,
            "job": self.job,
            "name": self.work["name"],
            "source": bundle if os.path.exists(bundle) else None,
            "source_digest": self.work.get("source_digest"),
            "workdir": os.path.join(place, "work"),
            "files": self.work.get("files"),
            "entrypoint": self.work["entrypoint"],
            "params": self.work.get("params"),
            "env": self.work.get("env"),
            "inputs": {
                name: {**entry, "path": os.path.join(self.folder, "inputs", name, base_name(entry["uri"], name))}
                for name, entry in self.work["inputs"].items()
            },
            "outputs": {
                name: {"path": os.path.join(place, "outputs", name), "uri": (entry.get("uri") or f"{uri}/{name}") if keeps else None}
                for name, entry in self.work["outputs"].items()
            },
            "checkpoint": {
                "path": os.path.join(self.folder, "checkpoint"),
                "uri": f"{self.run}/checkpoint" if first else None,
                "interval": CHECKPOINT_SECONDS,
            },
            "metrics": self.metrics,
            "result": os.path.join(place, "result.json"),
            "node": self.node,
            "timeout": self.work.get("timeout"),
            "grace": self.work.get("grace"),
            "transfer": self.transfer,
        }

    def end(self, result: Json) -> None:
        """Write down how the node ended."""
        if self.rank == 0:
            self.keep_metrics()
        self.storage.put(f"{self.run}/nodes/{self.rank}.json", json.dumps({"version": 1, "exit_code": None, **result}).encode())

    # -- programs

    def child(self, command: list[str], private: dict[str, str] | None = None) -> int:
        """Run a program, pass on what it prints, and keep its metrics meanwhile; its exit code. `private` are variables of its own."""
        if self.stopped:
            return STATUS["CANCELLED"]
        ended = threading.Event()
        watching = threading.Thread(target=self._watch, args=(ended,), daemon=True)
        environment = {key: value for key, value in os.environ.items() if key != "MLPORT_MANIFEST"}
        environment.update(private or {})
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        ) as child:
            self._child = child
            if self.stopped:
                child.terminate()
            watching.start()
            assert child.stdout is not None  # noqa: S101 - it is a pipe
            for chunk in iter(lambda: os.read(child.stdout.fileno(), 65536), b""):  # type: ignore[union-attr]
                self.write(chunk)
        self._child = None
        ended.set()
        watching.join()
        self.logged(final=True)
        return child.returncode

    def stop(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM goes on to the program."""
        self.stopped = True
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)

    def _watch(self, ended: threading.Event) -> None:
        """Copy the metrics of the first node whenever there are more, and look around."""
        size = -1
        while not ended.wait(METRICS_SECONDS):
            self.look()
            now = os.path.getsize(self.metrics) if self.rank == 0 and os.path.exists(self.metrics) else -1
            if now != size:
                size = now
                self.logged(final=False)
                self.keep_metrics()

    def keep_metrics(self) -> None:
        """Copy the metrics; a failure is told, and the next copy may succeed."""
        try:
            if os.path.exists(self.metrics):
                self.storage.put_file(f"{self.run}/metrics.jsonl", self.metrics)
        except OSError as error:
            self.say(f"the metrics could not be copied to {self.run}: {error}")

    # -- packages

    def install(self) -> Json | None:
        """Make an environment with what the job requires over the machine's own packages; how it failed, if it did."""
        wanted = [each.replace("${packed}", self.folder) for each in self.work.get("requirements") or ()]
        if not wanted and self.has_what_is_needed():
            return None
        wanted += self.work.get("needs") or ()
        place = os.path.join(self.folder, "venv")
        made = self.child([sys.executable, "-m", "venv", "--system-site-packages", place])
        python = os.path.join(place, "bin", "python")
        if made == 0:
            inherit(python)
            os.environ.update({key: value for key, value in (self.work.get("env") or {}).items() if key.startswith("PIP_")})
            made = self.child([python, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", *wanted])
        if made == 0 or self.stopped:
            return None
        return {"state": "FAILED", "cause": "environment", "reason": "the requirements could not be installed; the log says why"}

    def has_what_is_needed(self) -> bool:
        """Whether the machine has the packages that mlport's own program of this job needs."""
        from importlib.util import find_spec

        return all(find_spec(re.split(r"[\[=<>~! ]", each)[0]) for each in self.work.get("needs") or ())

    def python(self) -> str:
        """The interpreter that runs the job."""
        own = os.path.join(self.folder, "venv", "bin", "python")
        return own if os.path.exists(own) else sys.executable


def inherit(python: str) -> None:
    """Let an environment see the packages of the one that runs this, where that is itself one inside the image."""
    if sys.prefix == sys.base_prefix:
        return
    ask = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    place = subprocess.run(ask, check=True, stdout=subprocess.PIPE).stdout.decode().strip()
    import sysconfig

    with open(os.path.join(place, "image.pth"), "w", encoding="utf-8") as stream:
        stream.write(sysconfig.get_path("purelib") + "\n")


def base_name(uri: str, name: str) -> str:
    """The last part of an address, or the input's own name."""
    return uri.split("?", maxsplit=1)[0].rstrip("/").rpartition("/")[2] or name
