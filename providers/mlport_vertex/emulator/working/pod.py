"""Runs the replicas of one custom job, as a job of the engine: starts and restarts them, keeps what they print, says how it ended.

Only the standard library, and started by its path: `python pod.py FOLDER`. It reads FOLDER/pod.json:

    replicas      name, steps (commands, one after the other), env, folder (where they run)
    timeout       seconds until everything is ended; null for never
    grace         seconds between SIGTERM and SIGKILL
    transient     exit codes after which the whole job is started again
    job_restarts, worker_restarts
                  how often that is done, and how often one replica is first started again alone
    preempt       seconds after which the machines of the job are taken away, once for each
    keep          {"health": route} for a server: its one replica has a free port in AIP_HTTP_PORT, is asked there whether it
                  is well, and is started again whenever it ends, after pauses that grow; null for a job

and writes FOLDER/log.jsonl, one line for each line that a replica printed, and FOLDER/state.json. Its rules are those of
docs.cloud.google.com/vertex-ai/docs/training/understanding-training-service: a replica that fails ends the job, unless its
exit code may be transient; the job has succeeded when the first replica has.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

LONGEST = 256 * 1024  # bytes of an entry in Cloud Logging
START_ERROR = 128  # the exit code of a container whose command cannot be started
CANCELLED = 143
FIRST_PAUSE, LONGEST_PAUSE, SETTLED = 0.5, 30.0, 600.0  # seconds; Kubernetes: 10 s, doubled up to 300 s, forgotten after 600 s
ASK_SOON, ASK = 0.1, 2.0  # seconds between two questions of a server's health: until it is well, and then


def moment() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Event(NamedTuple):
    """Something that happened: a replica's `generation`th start "ended" with `code` or is well ("health", 1) or not (0); or "cancel"."""

    kind: str
    replica: int = 0
    generation: int = 0
    code: int = 0


class Log:
    """Entries in the order of their times, whole lines, kept before the next is taken."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("ab", buffering=0)
        self._lock = threading.Lock()

    def write(self, task: str, severity: str, message: str) -> None:
        with self._lock:
            entry = {"t": moment(), "task": task, "severity": severity, "message": message}
            self._stream.write(json.dumps(entry).encode() + b"\n")

    def copy(self, task: str, severity: str, stream: IO[bytes]) -> None:
        """Keep each line of a stream until it ends."""
        for line in iter(lambda: stream.readline(LONGEST), b""):
            self.write(task, severity, line.decode(errors="replace"))


class Replica:
    """One replica: its steps run one after the other in a session of their own."""

    def __init__(self, spec: dict[str, Any], index: int, log: Log, events: queue.Queue[Event]) -> None:
        self.spec, self.index, self.name = spec, index, str(spec["name"])
        self.restarts, self.generation = 0, 0
        self._log, self._events, self._lock = log, events, threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._thread = threading.Thread()

    @property
    def running(self) -> bool:
        """Until then its end is not among the events; after that it is."""
        return self._thread.is_alive()

    def wait(self, seconds: float | None) -> None:
        self._thread.join(seconds)

    def start(self) -> None:
        self._stopped = False
        self.generation += 1
        self._thread = threading.Thread(target=self._work, args=(self.generation,), daemon=True)
        self._thread.start()

    def _work(self, generation: int) -> None:
        code = 0
        for step in self.spec["steps"]:
            code = self._run(step)
            if code:
                break
        self._events.put(Event("ended", self.index, generation, code))

    def _run(self, step: list[str]) -> int:
        Path(self.spec["folder"]).mkdir(parents=True, exist_ok=True)
        with self._lock:
            if self._stopped:
                return CANCELLED
            try:
                child = self._child = subprocess.Popen(
                    step,
                    env=self.spec["env"],
                    cwd=self.spec["folder"],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            except OSError as error:
                self._log.write(self.name, "ERROR", f"failed to start {step[0]!r}: {error.strerror}\n")
                return START_ERROR
        readers = [
            threading.Thread(target=self._log.copy, args=(self.name, severity, stream), daemon=True)
            for severity, stream in (("INFO", child.stdout), ("ERROR", child.stderr))
        ]
        for reader in readers:
            reader.start()
        code = child.wait()
        self._signal(signal.SIGKILL)  # what it left running holds its streams open
        for reader in readers:
            reader.join()
        return 128 - code if code < 0 else code

    def _signal(self, number: int) -> None:
        try:
            if self._child is not None:
                os.killpg(self._child.pid, number)
        except ProcessLookupError:
            return

    def stop(self, number: int) -> None:
        with self._lock:
            self._stopped = True
            self._signal(number)


class Keeper:
    """Of a server: where it listens, whether it is well, and when it is started again."""

    def __init__(self, route: str, replica: Replica, events: queue.Queue[Event]) -> None:
        self.state: dict[str, Any] = {"ready": False, "port": 0, "restarts": 0, "code": None}
        self.due: float | None = None
        self._route, self._replica, self._events = route, replica, events
        self._pause, self._begun = FIRST_PAUSE, 0.0

    def start(self) -> None:
        (port,) = _free_ports(1)
        self.state.update(port=port, ready=False)
        self.due, self._begun = None, time.monotonic()
        self._replica.spec["env"]["AIP_HTTP_PORT"] = str(port)
        self._replica.start()
        threading.Thread(target=self._ask, args=(f"http://127.0.0.1:{port}{self._route}", self._replica.generation), daemon=True).start()

    def _ask(self, url: str, generation: int) -> None:
        """Tell whenever its health changes, for as long as it runs."""
        import urllib.request
        from http.client import HTTPException

        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        well = False
        while self._replica.running and self._replica.generation == generation:
            try:
                with opener.open(url, timeout=10) as answer:
                    now_well = answer.status == 200
            except (OSError, HTTPException):
                now_well = False
            if now_well != well:
                well = now_well
                self._events.put(Event("health", self._replica.index, generation, int(well)))
            time.sleep(ASK if well else ASK_SOON)

    def ended(self, code: int) -> None:
        """Begin the pause before it is started again."""
        if time.monotonic() - self._begun >= SETTLED:
            self._pause = FIRST_PAUSE
        self.state.update(ready=False, code=code, restarts=self.state["restarts"] + 1)
        self.due, self._pause = time.monotonic() + self._pause, min(2 * self._pause, LONGEST_PAUSE)


class Pod:
    """All replicas, and what becomes of the job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spec: dict[str, Any] = json.loads((folder / "pod.json").read_text("utf-8"))
        self.events: queue.Queue[Event] = queue.Queue()
        self.log = Log(folder / "log.jsonl")
        _join(self.spec["replicas"])
        self.replicas = [Replica(spec, index, self.log, self.events) for index, spec in enumerate(self.spec["replicas"])]
        self.started = ""
        self.job_restarts = 0
        self.preempted: set[int] = set()
        self.deadline = time.monotonic() + self.spec["timeout"] if self.spec["timeout"] is not None else None
        self.preempt_at: list[float] = []
        keep = self.spec.get("keep")
        self.keeper = Keeper(keep["health"], self.replicas[0], self.events) if keep else None

    def tell(self, **state: Any) -> None:
        """Write how it stands, whole or not at all."""
        unfinished = self.folder / "state.json.part"
        with unfinished.open("w", encoding="utf-8") as stream:
            json.dump({"started": self.started, **state}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(self.folder / "state.json")

    def run(self) -> int:
        self.started = moment()
        self.log.write("service", "INFO", "Job is running.")
        self.tell()
        self.preempt_at = sorted(time.monotonic() + seconds for seconds in self.spec["preempt"])
        if self.keeper:
            self._keep(self.keeper.start)
        else:
            for replica in self.replicas:
                replica.start()
        outcome, replica_name, code = self._follow()
        self._end_all()
        said = "Job completed successfully." if outcome == "succeeded" else f"Job {outcome}."
        self.log.write("service", "INFO" if outcome == "succeeded" else "ERROR", said)
        self.tell(ended=moment(), outcome=outcome, replica=replica_name, code=code)
        return {"succeeded": 0, "cancelled": CANCELLED}.get(outcome, 1)

    def _follow(self) -> tuple[str, str, int]:
        """Until it is decided: outcome, the replica that decided it, its exit code."""
        while True:
            try:
                event = self.events.get(timeout=self._patience())
            except queue.Empty:
                if self.keeper and self.keeper.due is not None and time.monotonic() >= self.keeper.due:
                    self._keep(self.keeper.start)
                    continue
                if self.deadline is not None and time.monotonic() >= self.deadline:
                    return "timed out", "", 0
                self._preempt()
                continue
            if event.kind == "cancel":
                return "cancelled", "", 0
            replica = self.replicas[event.replica]
            if self.keeper:
                if event.generation == replica.generation:
                    self._kept(self.keeper, event)
                continue
            decided = self._ended(replica, event.code) if event.generation == replica.generation else None
            if decided is not None:
                return decided

    def _keep(self, change: Callable[[], None]) -> None:
        """Change what is known of a server, and tell it."""
        change()
        if self.keeper:
            self.tell(**self.keeper.state)

    def _kept(self, keeper: Keeper, event: Event) -> None:
        if event.kind == "health":
            self._keep(lambda: keeper.state.update(ready=bool(event.code)))
        else:
            self.log.write("service", "WARNING", f"The container exited with a status of {event.code}. It is restarted.")
            self._keep(lambda: keeper.ended(event.code))

    def _patience(self) -> float | None:
        """Seconds until the next thing that happens by the clock; None if there is none."""
        times = [*self.preempt_at[:1], *([self.deadline] if self.deadline is not None else [])]
        times += [self.keeper.due] if self.keeper and self.keeper.due is not None else []
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _ended(self, replica: Replica, code: int) -> tuple[str, str, int] | None:
        if replica.index in self.preempted:
            self.preempted.discard(replica.index)
            replica.start()
        elif code == 0:
            return ("succeeded", replica.name, 0) if replica.index == 0 else None
        elif code not in self.spec["transient"] and not self.spec["worker_restarts"]:
            return "failed", replica.name, code
        elif replica.restarts < self.spec["worker_restarts"]:
            replica.restarts += 1
            self._say_restarted(replica, code)
            self._restart() if self.spec["restart_all"] else replica.start()
        elif self.job_restarts < self.spec["job_restarts"]:
            self.job_restarts += 1
            self._say_restarted(replica, code)
            for each in self.replicas:
                each.restarts = 0
            self._restart()
        else:
            return "failed", replica.name, code
        return None

    def _say_restarted(self, replica: Replica, code: int) -> None:
        self.log.write("service", "WARNING", f"The replica {replica.name} exited with a non-zero status of {code}. It is restarted.")

    def _restart(self) -> None:
        """Start all replicas anew."""
        self._end_all()
        for replica in self.replicas:
            replica.start()

    def _preempt(self) -> None:
        """Take the machines away, as a cloud does with spot capacity: SIGTERM, its grace, SIGKILL. They come back."""
        if self.preempt_at and time.monotonic() >= self.preempt_at[0]:
            self.preempt_at.pop(0)
            self.preempted = {replica.index for replica in self.replicas if replica.running}
            self.log.write("service", "WARNING", "The machines of the job were preempted. The job is restarted.")
            self._end_all()

    def _end_all(self) -> None:
        ending = [replica for replica in self.replicas if replica.running]
        for replica in ending:
            replica.stop(signal.SIGTERM)
        until = time.monotonic() + self.spec["grace"]
        for replica in ending:
            replica.wait(max(0.0, until - time.monotonic()))
        for replica in ending:
            if replica.running:
                replica.stop(signal.SIGKILL)
                replica.wait(None)

    def cancel(self, *_: object) -> None:
        self.events.put(Event("cancel"))


def _free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens at now, no two the same."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    found = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return found


def _join(replicas: list[dict[str, Any]]) -> None:
    """Give every replica an address, and tell each the addresses of all, in the form of CLUSTER_SPEC."""
    cluster: dict[str, list[str]] = {}
    for replica, port in zip(replicas, _free_ports(len(replicas)), strict=False):
        cluster.setdefault(replica["pool"], []).append(f"127.0.0.1:{port}")
    for replica in replicas:
        task = {"type": replica["pool"], "index": replica["index"], "trial": replica["trial"]}
        replica["env"]["CLUSTER_SPEC"] = json.dumps({"cluster": cluster, "environment": "cloud", "task": task})


def main(folder: str) -> int:
    pod = Pod(Path(folder))
    signal.signal(signal.SIGTERM, pod.cancel)
    return pod.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
