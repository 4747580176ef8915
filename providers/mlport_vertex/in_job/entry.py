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
import signal
import sys
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlport.mlport_node import FINAL, STATUS, Node
    from mlport_vertex.in_job.gcs import Storage
    from mlport_vertex.in_job.trial import Reporter, params_of

    Json = dict[str, Any]
else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from gcs import Storage
    from mlport_node import FINAL, STATUS, Node
    from trial import Reporter, params_of

MOST_LOSSES = 20  # of spot capacity


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


class ContainerNode(Node):
    """One node of the job, from the start of its container to the end."""

    def __init__(self, work: Json, folder: str, storage: Storage) -> None:
        sweep, transfer = work.get("sweep"), [sys.executable, os.path.join(folder, "gcs.py")]
        run = trial_run() if sweep else work["run"]
        super().__init__(work, folder, storage, run, job_id(work["token"]), node_of(os.environ.get("CLUSTER_SPEC")), transfer)
        self.bucket = storage
        self.output = Output()
        self.reporter = Reporter(sweep["metric"], runner().parse_metrics) if sweep and self.rank == 0 else None

    def write(self, content: bytes) -> None:
        self.output.write(content)

    def say(self, line: str) -> None:
        self.output.say(line)

    def logged(self, *, final: bool) -> None:
        """Tell Vertex AI's tuner what a trial logged of the metric; a failure is told, and the next try may succeed."""
        try:
            if self.reporter is not None and os.path.exists(self.metrics):
                self.reporter.report(self.metrics, final=final)
        except OSError as error:
            self.say(f"the metric could not be reported to Vertex AI's tuner: {error}")

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
                return self.ended({"state": "FAILED", "cause": "lost", "reason": "the machine was lost too often", "attempt": failed})
            result = refused or self.attempt(number)
            result["attempt"] = number
            if self.stopped and result["state"] == "CANCELLED" and not self.was_cancelled():
                if self.rank == 0:
                    self.keep_metrics()
                return STATUS["CANCELLED"]  # a preemption: Vertex AI may start the container again, elsewhere; or the end of a trial
            failed += result["state"] == "FAILED"
            if result["state"] != "FAILED" or failed > self.work["retries"] or result.get("cause") in FINAL:
                return self.ended(result)
            self.storage.put(f"{self.run}/attempts/{self.rank}/{number:03d}.failed", b"")
            self.output.say("attempt {} of {} failed: {}".format(failed, self.work["retries"] + 1, result.get("reason")))

    def was_cancelled(self) -> bool:
        """Whether somebody asked for the end, of this job or of the sweep that it is a trial of."""
        return any(self.storage.get(f"{run}/cancel") is not None for run in {self.run, self.work["run"]})

    def begin(self) -> tuple[int | None, int]:
        """Take the next attempt's number, None if there may be no further one; and how many have failed."""
        prefix = f"{self.run}/attempts/{self.rank}/"
        while True:
            names = [name.rpartition("/")[2] for name in self.bucket.list(prefix)]
            begun = [name for name in names if not name.endswith(".failed")]
            failed = len(names) - len(begun)
            lost = len(begun) - failed
            losses = MOST_LOSSES if self.work["spot"] else max(0, self.work["retries"] - failed)
            if lost > losses:
                return None, len(begun)
            number = len(begun) + 1
            if self.storage.put(f"{prefix}{number:03d}", uuid.uuid4().bytes, absent=True):
                return number, failed if self.work["spot"] else failed + lost

    def ended(self, result: Json) -> int:
        """Write down how the node ended; the exit status."""
        self.end(result)
        self.output.end(self.work["token"])
        return STATUS[result["state"]]


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
    node = ContainerNode(work, folder, storage)
    signal.signal(signal.SIGTERM, node.stop)
    return node.perform()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
