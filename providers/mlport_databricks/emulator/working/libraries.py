"""Libraries of all-purpose clusters at work: each is installed by a job of the engine, into the cluster's own folder."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any
from zlib import crc32

from mlport import Compute, JobSpec
from mlport_databricks.emulator.working import task_commands
from mlport_databricks.emulator.working.clusters import Clusters

if TYPE_CHECKING:
    from pathlib import Path

    from mlport_databricks.emulator.place import Place

Json = dict[str, Any]
LIBRARIES = "cluster libraries"
SHARE = Compute(cpus=0.1, memory_gib=0.1)


class Libraries:
    """What is to be on each cluster. A document is one library of one cluster."""

    def __init__(self, place: Place, clusters: Clusters) -> None:
        self._place, self._clusters = place, clusters
        place.chore(self._look_at_all)

    def install(self, workspace: str, cluster_id: str, user: str, libraries: list[Json]) -> None:
        """Ask for them; one that is there, or was asked for, stays as it is."""
        for library in libraries:
            name = _name(workspace, cluster_id, library)
            with self._place.documents.together():
                known = self._place.documents.get(LIBRARIES, name)
                if known is not None and known["status"] not in ("FAILED", "UNINSTALL_ON_RESTART"):
                    continue
                self._place.documents.delete(LIBRARIES, name)
                number = self._place.documents.next_number("installations")
                where = {"name": name, "workspace": workspace, "cluster_id": cluster_id, "user": user, "number": number}
                self._place.documents.insert(LIBRARIES, name, {**where, "library": library, "status": "PENDING", "messages": []})

    def uninstall(self, workspace: str, cluster_id: str, libraries: list[Json]) -> None:
        """They stay until the cluster is restarted."""
        running = self._clusters.need(workspace, cluster_id)["body"]["spark_context_id"]
        for library in libraries:
            change = {"status": "UNINSTALL_ON_RESTART", "spark_context_id": running}
            self._place.documents.change(LIBRARIES, _name(workspace, cluster_id, library), lambda known, change=change: {**known, **change})  # type: ignore[misc]

    def statuses(self, workspace: str, cluster_id: str) -> list[Json]:
        """As libraries/cluster-status answers, in the order in which they were asked for."""
        found = [each for _, each in self._place.documents.list(LIBRARIES, f"{workspace}/{cluster_id}/")][::-1]
        return [
            {
                "library": each["library"],
                "status": each["status"],
                "is_library_for_all_clusters": False,
                **({"messages": each["messages"]} if each["messages"] else {}),
            }
            for each in found
        ]

    def forget(self, workspace: str, cluster_id: str) -> None:
        """The cluster is gone."""
        for _, each in list(self._place.documents.list(LIBRARIES, f"{workspace}/{cluster_id}/")):
            self._place.documents.delete(LIBRARIES, each["name"])

    # ---------------------------------------------------------------- the chore

    def _look_at_all(self) -> None:
        for _, each in list(self._place.documents.list(LIBRARIES))[::-1]:
            if each["status"] in ("PENDING", "INSTALLING"):
                given_up = partial(self._change, each["name"], {"status": "FAILED", "messages": ["The emulator failed; its log says why."]})
                self._place.tries(each["name"], partial(self._advance, each), given_up)
            elif each["status"] == "UNINSTALL_ON_RESTART":
                self._place.tries(each["name"], partial(self._uninstall, each))

    def _uninstall(self, each: Json) -> None:
        """After a restart it is gone, and the others are installed anew."""
        cluster = self._clusters.find(each["workspace"], each["cluster_id"])
        if cluster is None or cluster["body"]["spark_context_id"] == each["spark_context_id"]:
            return
        where = f"{each['workspace']}/{each['cluster_id']}/"
        with self._place.documents.together():
            self._place.documents.delete(LIBRARIES, each["name"])
            for _, other in list(self._place.documents.list(LIBRARIES, where)):
                if other["status"] == "INSTALLED":
                    number = self._place.documents.next_number("installations")
                    self._change(other["name"], {"status": "PENDING", "number": number})
        task_commands.clear(self._clusters.folder(each["workspace"], each["cluster_id"]))

    def _advance(self, each: Json) -> None:
        cluster = self._clusters.find(each["workspace"], each["cluster_id"])
        if each["status"] == "PENDING" and cluster is not None and cluster["body"]["state"] == "RUNNING":
            self._begin(each)
        elif each["status"] == "INSTALLING":
            self._look(each)

    def _begin(self, each: Json) -> None:
        folder = self._folder(each)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        binds = task_commands.binds_of(self._place, each["workspace"])
        target = self._clusters.folder(each["workspace"], each["cluster_id"]) / "libraries"
        step = task_commands.install_command(target, task_commands.arguments_of(each["library"]), binds)
        manifest = {
            "setup": [step],
            "setup_env": task_commands.installing(),
            "argv": ["true"],
            "env": {},
            "folder": str(folder),
            "timeout": None,
            "preempt": None,
            "grace": 1.0,
        }
        (folder / "attempt.json").write_text(json.dumps(manifest), encoding="utf-8")
        work = JobSpec(name="installation", entrypoint=("python", "-I", "-S", task_commands.ATTEMPT, str(folder)), compute=SHARE)
        self._place.engine.jobs.submit(work, key=f"installation/{each['number']}")
        self._change(each["name"], {"status": "INSTALLING"})

    def _look(self, each: Json) -> None:
        state = self._folder(each) / "state.json"
        outcome = json.loads(state.read_bytes()).get("outcome") if state.exists() else None
        job = self._place.engine.jobs.find(f"installation/{each['number']}")
        if outcome == "succeeded":
            self._change(each["name"], {"status": "INSTALLED"})
        elif outcome is not None or job is None or job.state.terminal:
            failed = task_commands.installation_failed(self._folder(each), each["cluster_id"], [each["library"]])
            self._change(each["name"], {"status": "FAILED", "messages": [failed["message"]]})

    def _folder(self, each: Json) -> Path:
        return self._place.folder / "installations" / str(each["number"])

    def _change(self, name: str, fields: Json) -> None:
        self._place.documents.change(LIBRARIES, name, lambda known: {**known, **fields})


def _name(workspace: str, cluster_id: str, library: Json) -> str:
    return f"{workspace}/{cluster_id}/{crc32(json.dumps(library, sort_keys=True).encode())}"
