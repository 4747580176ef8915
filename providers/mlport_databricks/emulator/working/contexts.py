"""Execution contexts at work: each is a Python process on a running all-purpose cluster, which keeps its names from command to command.

The process is a job of the engine for what goes on until it is ended, and outlives the emulator; commands and results are files
of its folder (programs/repl.py). A context ends with its cluster.
"""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from mlport import Compute, JobSpec
from mlport_databricks.emulator.working import task_commands
from mlport_databricks.emulator.working.clusters import Clusters

if TYPE_CHECKING:
    from pathlib import Path

    import mlport
    from mlport_databricks.emulator.place import Place

Json = dict[str, Any]
CONTEXTS = "execution contexts"
SHARE = Compute(cpus=0.1, memory_gib=0.1)
MOST = 24  # at once, of this machine; of the real one 150 on a cluster


class Contexts:
    """The contexts of one place. A document of the kind `execution contexts` is named `HOST/CLUSTER/ID`."""

    def __init__(self, place: Place, clusters: Clusters) -> None:
        self._place, self._clusters = place, clusters
        place.chore(self._look_at_all)

    def begin(self, workspace: str, cluster_id: str, user: str) -> str | None:
        """Start one; its id, None if there are too many. Raises TaskRefused."""
        if sum(1 for _ in self._place.documents.list(CONTEXTS)) >= MOST:
            return None
        own = uuid4().hex
        cluster = self._clusters.need(workspace, cluster_id)["body"]
        context = {
            "id": own,
            "name": f"{workspace}/{cluster_id}/{own}",
            "workspace": workspace,
            "cluster_id": cluster_id,
            "spark_context_id": cluster["spark_context_id"],
            "user": user,
        }
        folder = self._folder(context)
        libraries = self._clusters.folder(workspace, cluster_id) / "libraries"
        manifest = task_commands.context(self._place, workspace, user, folder, libraries, cluster)
        folder.mkdir(parents=True, mode=0o700)
        (folder / "attempt.json").touch(mode=0o600)
        (folder / "attempt.json").write_text(json.dumps(manifest), encoding="utf-8")
        os.mkfifo(folder / "commands", 0o600)
        self._place.documents.insert(CONTEXTS, context["name"], context)
        work = JobSpec(name="execution-context", entrypoint=("python", "-I", "-S", task_commands.ATTEMPT, str(folder)), compute=SHARE)
        self._place.containers.jobs.submit(work, key=f"context/{own}")
        return own

    def find(self, workspace: str, cluster_id: str, number: str) -> Json | None:
        return self._place.documents.get(CONTEXTS, f"{workspace}/{cluster_id}/{number}")

    def status(self, context: Json) -> str:
        """Pending, Running or Error, as the API has them."""
        if not self._is_alive(context):
            return "Error"
        return "Running" if (self._folder(context) / "ready").exists() else "Pending"

    def end(self, context: Json) -> None:
        """With what it has run."""
        if (job := self._place.containers.jobs.find(f"context/{context['id']}")) is not None:
            job.cancel()
        self._place.documents.delete(CONTEXTS, context["name"])
        task_commands.clear(self._folder(context))

    # ---------------------------------------------------------------- commands

    def execute(self, context: Json, text: str) -> str:
        """Have a command done after those before it; its id."""
        own, folder = uuid4().hex, self._folder(context)
        (folder / f"{own}.command").write_text(text, encoding="utf-8")
        pipe = os.open(folder / "commands", os.O_RDWR)  # so that it opens at once, even before the process reads
        try:
            os.write(pipe, f"{own}\n".encode())
        finally:
            os.close(pipe)
        return own

    def command(self, context: Json, number: str) -> Json | None:
        """How a command stands, as commands/status answers it; None if there is none."""
        folder = self._folder(context)
        if not number.isalnum() or not (folder / f"{number}.command").exists():
            return None
        with suppress(FileNotFoundError):
            return {"id": number, **json.loads((folder / f"{number}.result").read_bytes())}
        if not self._is_alive(context):
            ended = {"resultType": "error", "summary": "The execution context has ended.", "cause": "The execution context has ended."}
            return {"id": number, "status": "Error", "results": ended}
        if (folder / f"{number}.cancel").exists():
            return {"id": number, "status": "Cancelling"}
        return {"id": number, "status": "Running" if (folder / f"{number}.running").exists() else "Queued"}

    def cancel(self, context: Json, number: str) -> None:
        """End a command that has not ended."""
        folder = self._folder(context)
        (folder / f"{number}.cancel").touch()
        with suppress(FileNotFoundError, ProcessLookupError):
            if not (folder / f"{number}.result").exists() and self._is_alive(context):
                os.kill(int((folder / f"{number}.running").read_text()), signal.SIGINT)

    # ---------------------------------------------------------------- the chore

    def _look_at_all(self) -> None:
        for _, context in list(self._place.documents.list(CONTEXTS)):
            found = self._clusters.find(context["workspace"], context["cluster_id"])
            body = found["body"] if found else {"state": "TERMINATED"}
            if body["state"] not in ("RUNNING", "RESIZING") or body["spark_context_id"] != context["spark_context_id"]:
                self._place.tries(f"context {context['id']}", partial(self.end, context))

    def _is_alive(self, context: Json) -> bool:
        job: mlport.Job | None = self._place.containers.jobs.find(f"context/{context['id']}")
        return job is not None and not job.state.terminal

    def _folder(self, context: Json) -> Path:
        return self._place.folder / "contexts" / str(context["id"])
