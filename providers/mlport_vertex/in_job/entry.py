"""The first program of a job's container: runs the attempts through the runner, and keeps what they leave in Cloud Storage.

    python entry.py FOLDER [--NAME=VALUE ...]   # the unpacked package; MLPORT_MANIFEST has the work, or the gs:// address of it

The arguments are the parameters that Vertex AI chose for a trial of a sweep. Under the run's address (`run` of the work; of a
trial the folder of its own that Vertex AI makes of it) it keeps, for each node RANK:

    attempts/RANK/NNN         made when an attempt begins, only if it is not there
    attempts/RANK/NNN.failed  made when that attempt has failed
    nodes/RANK.json           how the node ended: result.json of the runner, and `attempt`. Nothing runs after this is there
    metrics.jsonl             what the program of node 0 logged so far
    checkpoint/, outputs/     of node 0
    cancel                    made by who cancels; without it SIGTERM is a preemption. Of a sweep's at its address, for all trials

Vertex AI starts a container again that exits with an error, as often as it likes
(https://docs.cloud.google.com/vertex-ai/docs/training/understanding-training-service): so a start after nodes/RANK.json is
there does nothing, silently, and one after an attempt that vanished counts it as lost.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

    from mlport_vertex.in_job.gcs import Storage
    from mlport_vertex.in_job.trial import Reporter, params_of

    Json = dict[str, Any]
else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from gcs import Storage
    from trial import Reporter, params_of

METRICS_SECONDS = 2.0
CHECKPOINT_SECONDS = 30.0
MOST_LOSSES = 20  # of spot capacity
FINAL = ("input changed", "environment")  # another attempt would end the same way
STATUS = {"SUCCEEDED": 0, "FAILED": 1, "CANCELLED": 143}


class Output:
    """This container's log: every line of ours and of the program's goes through here and is counted."""

    def __init__(self) -> None:
        self.lines = 0
        self._whole = True

    def write(self, content: bytes) -> None:
        """Pass on what the program printed."""
        self.lines += content.count(b"\n")
        self._whole = content.endswith(b"\n")
        while content:
            content = content[os.write(1, content) :]

    def say(self, line: str) -> None:
        """A line of ours."""
        self.write((b"" if self._whole else b"\n") + f"mlport: {line}\n".encode())

    def end(self, token: str) -> None:
        """The last line, by which a reader knows that it has all: see mlport_vertex.running.logs."""
        if not self._whole:
            self.write(b"\n")
        self.say(f"end of log {token} {self.lines + 1}")


class Node:
    """One node of the job, from the start of its container to the end."""

    def __init__(self, work: Json, folder: str, storage: Storage) -> None:
        self.work, self.folder, self.storage = work, folder, storage
        self.output = Output()
        self.node = node_of(os.environ.get("CLUSTER_SPEC"))
        self.rank: int = self.node["rank"]
        sweep = work.get("sweep")
        self.run: str = trial_run() if sweep else work["run"]
        self.reporter = Reporter(sweep["metric"], runner().parse_metrics) if sweep and self.rank == 0 else None
        self.metrics = os.path.join(folder, "metrics.jsonl")
        self.stopped = False
        self._child: subprocess.Popen[bytes] | None = None

    # -- attempts

    def perform(self) -> int:
        """Run attempts until one counts; the exit status of this container."""
        ended = self.storage.get(f"{self.run}/nodes/{self.rank}.json")
        if ended is not None:
            return STATUS[json.loads(ended)["state"]]
        if self.rank == 0:
            self.storage.fetch(f"{self.run}/metrics.jsonl", self.metrics)  # of an attempt on a machine that was lost
        refused = self.install()
        while True:
            number, failed = self.begin()
            if number is None:
                return self.end({"state": "FAILED", "cause": "lost", "reason": "the machine was lost too often", "attempt": failed})
            result = refused or self.attempt(number)
            result["attempt"] = number
            if self.stopped and result["state"] == "CANCELLED" and not self.was_cancelled():
                if self.rank == 0:
                    self.keep_metrics()
                return STATUS["CANCELLED"]  # a preemption: Vertex AI may start the container again, elsewhere; or the end of a trial
            failed += result["state"] == "FAILED"
            if result["state"] != "FAILED" or failed > self.work["retries"] or result.get("cause") in FINAL:
                return self.end(result)
            self.storage.put(f"{self.run}/attempts/{self.rank}/{number:03d}.failed", b"")
            self.output.say("attempt {} of {} failed: {}".format(failed, self.work["retries"] + 1, result.get("reason")))

    def was_cancelled(self) -> bool:
        """Whether somebody asked for the end, of this job or of the sweep that it is a trial of."""
        return any(self.storage.get(f"{run}/cancel") is not None for run in {self.run, self.work["run"]})

    def begin(self) -> tuple[int | None, int]:
        """Take the next attempt's number, None if there may be no further one; and how many have failed."""
        prefix = f"{self.run}/attempts/{self.rank}/"
        while True:
            names = [name.rpartition("/")[2] for name in self.storage.list(prefix)]
            begun = [name for name in names if not name.endswith(".failed")]
            failed = len(names) - len(begun)
            lost = len(begun) - failed
            losses = MOST_LOSSES if self.work["spot"] else max(0, self.work["retries"] - failed)
            if lost > losses:
                return None, len(begun)
            number = len(begun) + 1
            if self.storage.put(f"{prefix}{number:03d}", uuid.uuid4().bytes, absent=True):
                return number, failed if self.work["spot"] else failed + lost

    def attempt(self, number: int) -> Json:
        """One attempt; what the runner wrote of it."""
        place = os.path.join(self.folder, f"attempt-{number}")
        os.makedirs(place)
        path = os.path.join(place, "manifest.json")
        with open(path, "w", encoding="utf-8") as stream:
            json.dump(self.manifest(number, place), stream)
        self.child([self.python(), os.path.join(self.folder, "mlport_runner.py"), path])
        try:
            with open(os.path.join(place, "result.json"), encoding="utf-8") as stream:
                result: Json = json.load(stream)
        except (OSError, ValueError) as error:
            return {"state": "FAILED", "cause": "out of memory", "reason": f"the runner was killed (out of memory?): {error}"}
        return result

    def manifest(self, number: int, place: str) -> Json:
        """The runner's manifest: the work with every path filled in."""
        first = self.rank == 0
        bundle = os.path.join(self.folder, "bundle.tar.gz")
        uri = f"{self.run}/outputs/{number}"
        return {
            "version": 1,
            "job": job_id(self.work["token"]),
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
                name: {"path": os.path.join(place, "outputs", name), "uri": (entry.get("uri") or f"{uri}/{name}") if first else None}
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
            "transfer": [sys.executable, os.path.join(self.folder, "gcs.py")],
        }

    def end(self, result: Json) -> int:
        """Write down how the node ended; the exit status."""
        if self.rank == 0:
            self.keep_metrics()
        self.storage.put(f"{self.run}/nodes/{self.rank}.json", json.dumps({"version": 1, "exit_code": None, **result}).encode())
        self.output.end(self.work["token"])
        return STATUS[result["state"]]

    # -- programs

    def child(self, command: list[str]) -> int:
        """Run a program, pass on what it prints, and keep its metrics meanwhile; its exit code."""
        if self.stopped:
            return STATUS["CANCELLED"]
        ended = threading.Event()
        syncing = threading.Thread(target=self.sync_metrics, args=(ended,), daemon=True)
        environment = {key: value for key, value in os.environ.items() if key != "MLPORT_MANIFEST"}
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        ) as child:
            self._child = child
            if self.stopped:
                child.terminate()
            syncing.start()
            assert child.stdout is not None  # noqa: S101 - it is a pipe
            for chunk in iter(lambda: os.read(child.stdout.fileno(), 65536), b""):  # type: ignore[union-attr]
                self.output.write(chunk)
        self._child = None
        ended.set()
        syncing.join()
        self.report(final=True)
        return child.returncode

    def stop(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM goes on to the program."""
        self.stopped = True
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)

    def sync_metrics(self, ended: threading.Event) -> None:
        """Copy the metrics whenever there are more."""
        size = -1
        while self.rank == 0 and not ended.wait(METRICS_SECONDS):
            now = os.path.getsize(self.metrics) if os.path.exists(self.metrics) else -1
            if now != size:
                size = now
                self.report()
                self.keep_metrics()

    def report(self, *, final: bool = False) -> None:
        """Tell Vertex AI's tuner what a trial logged of the metric; a failure is told, and the next try may succeed."""
        try:
            if self.reporter is not None and os.path.exists(self.metrics):
                self.reporter.report(self.metrics, final=final)
        except OSError as error:
            self.output.say(f"the metric could not be reported to Vertex AI's tuner: {error}")

    def keep_metrics(self) -> None:
        """Copy the metrics; a failure is told, and the next copy may succeed."""
        try:
            if os.path.exists(self.metrics):
                self.storage.put_file(f"{self.run}/metrics.jsonl", self.metrics)
        except OSError as error:
            self.output.say(f"the metrics could not be copied to {self.run}: {error}")

    # -- packages

    def install(self) -> Json | None:
        """Make an environment with what the job requires over the image's own packages; how it failed, if it did."""
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
        """Whether the image has the packages that mlport's own program of this job needs."""
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


def node_of(cluster: str | None) -> Json:
    """Rank, count and meeting point, from CLUSTER_SPEC as Vertex AI sets it for several workers.

    https://docs.cloud.google.com/vertex-ai/docs/training/distributed-training
    """
    spec = json.loads(cluster) if cluster else {}
    pools = spec.get("cluster") or {}
    first, rest = pools.get("workerpool0") or [], pools.get("workerpool1") or []
    task = spec.get("task") or {}
    rank = 0 if task.get("type", "workerpool0") == "workerpool0" else 1 + int(task.get("index", 0))
    host, _, port = (first[0] if first else "127.0.0.1:29500").rpartition(":")
    return {"rank": rank, "count": max(1, len(first) + len(rest)), "main_address": host, "main_port": int(port)}


def runner() -> Any:
    """Mlport's runner, which lies beside this file in the package."""
    from importlib import import_module

    return import_module("mlport_runner")


def trial_run() -> str:
    """Where a trial keeps what it leaves: the base output directory that Vertex AI makes for it.

    AIP_MODEL_DIR is `model/` below that: the description of CustomJobSpec.baseOutputDirectory.
    """
    return os.environ["AIP_MODEL_DIR"].rstrip("/").rpartition("/")[0]


def job_id(token: str) -> str:
    """The job's id as mlport spells it; its token where Vertex AI does not tell."""
    number = os.environ.get("CLOUD_ML_JOB_ID")
    return f"custom/{number}" if number else token


def base_name(uri: str, name: str) -> str:
    """The last part of an address, or the input's own name."""
    return uri.split("?", maxsplit=1)[0].rstrip("/").rpartition("/")[2] or name


def work_of(text: str, storage: Storage) -> Json:
    """The work: the JSON itself, or what lies at a gs:// address."""
    found = storage.get(text) if text.startswith("gs://") else text.encode()
    if found is None:
        raise SystemExit(f"mlport: there is no manifest at {text}")
    work: Json = json.loads(found)
    return work


def main(folder: str, *words: str) -> int:
    """Do the work; the exit status. `words` are the arguments that Vertex AI adds."""
    storage = Storage()
    work = work_of(os.environ["MLPORT_MANIFEST"], storage)
    if "sweep" in work:
        work["params"] = {**work["params"], **params_of(words, work["sweep"]["space"])}
    node = Node(work, folder, storage)
    signal.signal(signal.SIGTERM, node.stop)
    return node.perform()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
