"""The first program of a run: one attempt through the runner, and what it leaves into the volume.

    python entry.py --work MANIFEST --run RUN_ID [--time TIME] [--shard NUMBER]
    python entry.py --manifest /Volumes/.../manifest.json --run ...   # one that is too large for a parameter

Under the manifest's `folder` (of a schedule's run under `runs/RUN_ID` of that) it keeps, for each node RANK:

    attempts/RANK/NNN   made when an attempt begins
    logs/RANK/NNNNNNNN  what was printed, whole lines a file, numbered over all attempts from 1
    nodes/RANK.json     how the last attempt ended: result.json of the runner, and `attempt`
    metrics.jsonl       what the program of node 0 logged so far
    checkpoint/, outputs/   of node 0
    there/RANK          the address of a node that is ready, where there are several
    cancel              made by who cancels; looked at every two seconds, for a program may not hear SIGTERM

Databricks itself tries a failed attempt again, on a new cluster: so one run of this program is one attempt.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

# a workspace file may be run as text, without a name of its own: then the first word of the command line is its path
HERE = os.path.dirname(os.path.abspath(globals().get("__file__") or sys.argv[0]))
if TYPE_CHECKING:
    from mlport.mlport_node import FINAL, Node
    from mlport_databricks.in_job.volume import Volume

    Json = dict[str, Any]
else:
    sys.path.insert(0, HERE)
    from mlport_node import FINAL, Node
    from volume import Volume

CHUNK = 1 << 20
SHORTEST, LONGEST = 1.0, 30.0  # seconds between two files of the log: the longer it runs, the fewer
SHARE = 0.02
MAIN_PORT = 29500
MEETING_SECONDS, MEETING_PAUSE = 3600.0, 1.0


class Log:
    """What is printed: into files of whole lines in the volume while it runs, and to this program's own output."""

    def __init__(self, folder: str, volume: Volume) -> None:
        self._folder, self._volume = folder, volume
        self._number = int((volume.names(folder) or ["0"])[-1])
        self._waiting = b""
        self._began = self._kept = time.monotonic()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def write(self, content: bytes) -> None:
        """Take what was printed."""
        with self._lock:
            self._waiting += content
        sys.stdout.write(content.decode("utf-8", "replace"))
        sys.stdout.flush()

    def say(self, line: str) -> None:
        """A line of ours."""
        with self._lock:
            partial = self._waiting and not self._waiting.endswith(b"\n")
        self.write((b"\n" if partial else b"") + f"mlport: {line}\n".encode())

    def _keep(self) -> None:
        while not self._ended.wait(0.2):
            now = time.monotonic()
            if now - self._kept >= min(LONGEST, max(SHORTEST, SHARE * (now - self._began))) or len(self._waiting) > CHUNK:
                self._flush()

    def _flush(self, *, final: bool = False) -> None:
        """Put the whole lines into the next file; at the end all that there is. What cannot be put is kept for the next try."""
        with self._lock:
            self._kept = time.monotonic()
            end = len(self._waiting) if final else self._waiting.rfind(b"\n") + 1
            content, rest = self._waiting[:end], self._waiting[end:]
            if not content:
                return
            try:
                self._volume.put(f"{self._folder}/{self._number + 1:08d}", content if content.endswith(b"\n") else content + b"\n")
            except OSError as error:
                sys.stderr.write(f"mlport: the log could not be put into {self._folder}: {error}\n")
                return
            self._number, self._waiting = self._number + 1, rest

    def close(self) -> None:
        """Put away the rest."""
        self._ended.set()
        self._thread.join()
        self._flush(final=True)


class RunNode(Node):
    """One attempt of the run, on one node."""

    def __init__(self, work: Json, folder: str, place: str, run_id: str, rank: int, count: int) -> None:
        node = {"rank": rank, "count": count, "main_address": "127.0.0.1", "main_port": MAIN_PORT}
        self.volume = Volume()
        super().__init__(work, folder, self.volume, f"dbfs://{place}", run_id, node, [sys.executable, os.path.join(HERE, "volume.py")])
        self.log = Log(f"{place}/logs/{rank}", self.volume)
        self.keeps_all = work.get("kind") == "batch"  # a shard each

    def write(self, content: bytes) -> None:
        self.log.write(content)

    def say(self, line: str) -> None:
        self.log.say(line)

    def look(self) -> None:
        if not self.stopped and self.was_cancelled():
            self.stop(signal.SIGTERM, None)

    def was_cancelled(self) -> bool:
        """Whether somebody asked for the end."""
        return self.volume.get(f"{self.run}/cancel") is not None

    def perform(self) -> Json:
        """One attempt; how it ended."""
        ended = self.volume.get(f"{self.run}/nodes/{self.rank}.json")
        earlier: Json = json.loads(ended) if ended else {}
        if earlier.get("cause") in FINAL or earlier.get("state") == "SUCCEEDED":
            return earlier
        number = len(self.volume.names(f"{self.run}/attempts/{self.rank}")) + 1
        self.volume.put(f"{self.run}/attempts/{self.rank}/{number:03d}", b"")
        if self.was_cancelled():
            result: Json = {"state": "CANCELLED", "cause": "cancelled", "reason": "cancelled before it began"}
        else:
            result = self.prepared() or self.met() or self.attempt(number)
        if result["state"] == "CANCELLED" and not self.was_cancelled():
            result.update(state="FAILED", cause="preempted" if self.work.get("spot") else "lost", reason="the machine was taken away")
        result["attempt"] = number
        self.end(result)
        return result

    def prepared(self) -> Json | None:
        """Have everything on this machine's own disk; how that failed, if it did."""
        shutil.copyfile(os.path.join(HERE, "mlport_runner.py"), os.path.join(self.folder, "mlport_runner.py"))
        self.volume.fetch(f"{self.work['folder']}/bundle.tar.gz", os.path.join(self.folder, "bundle.tar.gz"))
        for name in self.volume.names(f"{self.work['folder']}/wheels"):
            self.volume.fetch(f"{self.work['folder']}/wheels/{name}", os.path.join(self.folder, "wheels", name))
        if self.rank == 0:
            self.volume.fetch(f"{self.run}/metrics.jsonl", self.metrics)  # of earlier attempts
        return self.install() or self.confided()

    def confided(self) -> Json | None:
        """Learn the job's secrets, for its program alone; how that failed, if it did."""
        named = self.work.get("secrets")
        if not named:
            return None
        try:
            self.private = json.loads(utilities().secrets.get(named["scope"], named["key"]))
        except Exception as error:  # noqa: BLE001 - whatever the runtime raises, which is not documented
            return {"state": "FAILED", "cause": "environment", "reason": f"the secrets cannot be read from {named['scope']}: {error}"}
        return None

    def met(self) -> Json | None:
        """Wait until every node of a job is there, and learn the first one's address; how that failed, if it did."""
        if self.node["count"] == 1 or self.keeps_all:
            return None
        there = f"{self.run}/there"
        address = socket.gethostbyname(socket.gethostname())
        self.volume.put(f"{there}/{self.rank}", address.encode())
        until = time.monotonic() + MEETING_SECONDS
        while len(self.volume.names(there)) < self.node["count"]:
            if self.stopped or self.was_cancelled():
                return {"state": "CANCELLED", "cause": "cancelled", "reason": "cancelled while it waited for the other nodes"}
            if time.monotonic() > until:
                return {"state": "FAILED", "cause": "lost", "reason": "the clusters of the other nodes did not come"}
            time.sleep(MEETING_PAUSE)
        self.node["main_address"] = (self.volume.get(f"{there}/0") or b"").decode()
        return None


def utilities() -> Any:
    """Databricks' `dbutils`, as the runtime gives it.

    It is a name of a task's Python file (databricks/bundle-examples, knowledge_base/job_read_secret), which is run as text, and one
    of the SDK that goes with every runtime from 13.1.
    """
    return globals().get("dbutils") or importlib.import_module("databricks.sdk.runtime").dbutils


def option(words: list[str], name: str, default: str = "") -> str:
    """The word after `name`."""
    return words[words.index(name) + 1] if name in words else default


def manifest(words: list[str]) -> Json:
    """What the run does: the first option is that, or tells the file that has it."""
    name, told = words[:2]
    if name == "--manifest":
        with open(told, encoding="utf-8") as stream:
            told = stream.read()
    work: Json = json.loads(told)
    return work


def at_time(work: Json, told: str) -> Json:
    """The work of one firing: its time, in UTC, is in its environment, and in the name of a folder that asks for it by `{time}`."""
    second = told.split(".", maxsplit=1)[0].rstrip("Z")
    stamp = "".join(char for char in second if char.isalnum()) + "Z"
    outputs = {
        name: {**entry, "uri": entry["uri"].replace("{time}", stamp)} if entry.get("uri") else entry
        for name, entry in work["outputs"].items()
    }
    return {**work, "outputs": outputs, "env": {**(work.get("env") or {}), "MLPORT_SCHEDULED": second + "+00:00"}}


def main(words: list[str]) -> Json:
    """Do the work; how it ended."""
    work = manifest(words)
    run_id, rank = option(words, "--run"), int(option(words, "--shard", "0"))
    place = work["folder"]
    if work.get("scheduled"):
        place = f"{place}/runs/{run_id}"
        work = at_time(work, option(words, "--time"))
    with tempfile.TemporaryDirectory(prefix="mlport-") as folder:
        node = RunNode(work, folder, place, run_id, rank, int(work.get("nodes") or 1))
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, node.stop)
        try:
            return node.perform()
        finally:
            node.log.close()


if __name__ == "__main__":
    ENDED = main(sys.argv[1:])
    if ENDED["state"] != "SUCCEEDED":
        raise SystemExit("mlport: {}: {}".format(ENDED["state"], ENDED.get("reason") or ENDED.get("cause")))
