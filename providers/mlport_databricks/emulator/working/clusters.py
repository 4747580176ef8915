"""Clusters at work: all-purpose ones that are created and started, and those of job runs.

A cluster is a document, exactly as clusters/get answers, beside what the emulator alone knows. No machine stands behind it: a
run's processes are jobs of the engine. What is told of it follows what is done: PENDING until the chore has seen it, RUNNING,
TERMINATING until its runs have ended, TERMINATED.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zlib import crc32

from mlport_databricks.emulator.protocol.errors import ApiError, invalid
from mlport_databricks.emulator.working.node_types import ZONES, node_types

if TYPE_CHECKING:
    from pathlib import Path

    from mlport_databricks.emulator.place import Place

Json = dict[str, Any]
CLUSTERS, EVENTS, CHANGING = "clusters", "cluster events", "changing clusters"
UNSETTLED = ("PENDING", "RESTARTING", "RESIZING", "TERMINATING")  # the chore looks at these only
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
USER_REQUEST = {"code": "USER_REQUEST", "type": "SUCCESS"}
JOB_FINISHED = {"code": "JOB_FINISHED", "type": "SUCCESS"}
SPOT_TAKEN = {"code": "SPOT_INSTANCE_TERMINATION", "type": "CLOUD_FAILURE"}


class Clusters:
    """The clusters of all workspaces. `now` is in milliseconds."""

    def __init__(self, place: Place, now: Callable[[], int]) -> None:
        self._place, self._now = place, now
        place.chore(self._look_at_all)

    # ---------------------------------------------------------------- making and finding

    def begin(self, workspace: str, user: str, spec: Json, source: str, job: Json | None = None) -> Json:
        """A new cluster in PENDING. `job` names the run that it is for."""
        number = self._place.documents.next_number("clusters")
        moment = self._now()
        cluster_id = f"{datetime.fromtimestamp(moment / 1000, UTC):%m%d-%H%M%S}-{_word(number)}"
        body = {
            **with_defaults(spec, user),
            "cluster_id": cluster_id,
            "spark_context_id": self.new_context(),
            "creator_user_name": user,
            "cluster_source": source,
            "state": "PENDING",
            "state_message": "Finding instances for new nodes, acquiring more instances if necessary",
            "start_time": moment,
            "default_tags": _default_tags(cluster_id, user, spec, job),
            "spec": spec,
        }
        name, document = f"{workspace}/{cluster_id}", {"workspace": workspace, "body": body, "job": job, "pinned": False}
        with self._place.documents.together():
            self._place.documents.insert(CLUSTERS, name, document)
            self._place.documents.insert(CHANGING, name, {"name": name})
        self.happened(workspace, cluster_id, "CREATING", {"user": user})
        return body

    def find(self, workspace: str, cluster_id: str) -> Json | None:
        """The document; None where there is none."""
        return self._place.documents.get(CLUSTERS, f"{workspace}/{cluster_id}")

    def need(self, workspace: str, cluster_id: str) -> Json:
        """The document. Raises ApiError in the words by which the SDK knows that there is none (errors/overrides.py)."""
        found = self.find(workspace, cluster_id)
        if found is None:
            raise invalid(f"Cluster {cluster_id} does not exist")
        return found

    def all(self, workspace: str) -> Iterator[Json]:
        """Newest first."""
        return (found for _, found in self._place.documents.list(CLUSTERS, f"{workspace}/"))

    def folder(self, workspace: str, cluster_id: str) -> Path:
        """The cluster's own disk: its libraries."""
        return self._place.folder / "clusters" / workspace / cluster_id

    # ---------------------------------------------------------------- changing

    def replace(self, workspace: str, cluster_id: str, body: Json) -> None:
        """Answer this from now on."""
        self._place.documents.change(CLUSTERS, f"{workspace}/{cluster_id}", lambda document: {**document, "body": body})
        self.change(workspace, cluster_id, {})

    def change(self, workspace: str, cluster_id: str, fields: Json, *, pinned: bool | None = None) -> None:
        """Take these fields over into what is answered."""

        def changed(document: Json) -> Json:
            more = {} if pinned is None else {"pinned": pinned}
            return {**document, **more, "body": {**document["body"], **fields}}

        name = f"{workspace}/{cluster_id}"
        with self._place.documents.together():
            document = self._place.documents.change(CLUSTERS, name, changed)
            self._place.documents.delete(CHANGING, name)
            if document is not None and document["body"]["state"] in UNSETTLED:
                self._place.documents.insert(CHANGING, name, {"name": name})

    def start(self, workspace: str, cluster_id: str, user: str) -> None:
        """From TERMINATED to PENDING; nothing happens in another state (SDK, start). Raises ApiError for one that a job made."""
        found = self.need(workspace, cluster_id)
        if found["job"] is not None:
            raise ApiError("INVALID_STATE", f"Cluster {cluster_id} was launched to run a job and cannot be started.")
        if found["body"]["state"] != "TERMINATED":
            return
        begun = {"start_time": self._now(), "terminated_time": 0, "spark_context_id": self.new_context()}
        self.change(workspace, cluster_id, {"state": "PENDING", "state_message": "", **begun})
        self.happened(workspace, cluster_id, "STARTING", {"user": user})

    def new_context(self) -> int:
        """The `spark_context_id` of a cluster that begins anew: what belongs to the one before has ended."""
        return crc32(f"context {self._place.documents.next_number('spark contexts')}".encode())

    def terminate(self, workspace: str, cluster_id: str, reason: Json) -> None:
        """Begin its end; one that is ending or has ended stays as it is."""
        found = self.find(workspace, cluster_id)
        if found is not None and found["body"]["state"] not in ("TERMINATING", "TERMINATED"):
            self.change(workspace, cluster_id, {"state": "TERMINATING", "termination_reason": reason, "state_message": _because(reason)})
            self.happened(workspace, cluster_id, "TERMINATING", {"reason": reason})

    def running(self, workspace: str, cluster_id: str) -> None:
        """The run that it is for has begun on it."""
        self.change(workspace, cluster_id, {"state": "RUNNING", "state_message": ""})
        self.happened(workspace, cluster_id, "RUNNING", {})

    def remove(self, workspace: str, cluster_id: str) -> None:
        """Forget it, and what happened to it."""
        self._place.documents.delete(CLUSTERS, f"{workspace}/{cluster_id}")
        for _, event in list(self._place.documents.list(EVENTS, f"{workspace}/{cluster_id}/")):
            self._place.documents.delete(EVENTS, event["name"])

    def happened(self, workspace: str, cluster_id: str, kind: str, details: Json) -> None:
        """Note an event."""
        number = self._place.documents.next_number("cluster events")
        name = f"{workspace}/{cluster_id}/{number}"
        event = {"cluster_id": cluster_id, "timestamp": self._now(), "type": kind, "details": details}
        self._place.documents.insert(EVENTS, name, {"name": name, "event": event})

    def events(self, workspace: str, cluster_id: str) -> list[Json]:
        """Newest first."""
        return [each["event"] for _, each in self._place.documents.list(EVENTS, f"{workspace}/{cluster_id}/")]

    # ---------------------------------------------------------------- the chore

    def _look_at_all(self) -> None:
        for _, changing in list(self._place.documents.list(CHANGING)):
            found = self._place.documents.get(CLUSTERS, changing["name"])
            if found is None:
                self._place.documents.delete(CHANGING, changing["name"])
                continue
            body = found["body"]
            if found["job"] is None and body["state"] in ("PENDING", "RESTARTING", "RESIZING"):
                self.running(found["workspace"], body["cluster_id"])
            elif body["state"] == "TERMINATING":
                self.change(found["workspace"], body["cluster_id"], {"state": "TERMINATED", "terminated_time": self._now()})


def with_defaults(spec: Json, user: str) -> Json:
    """What a cluster has that its spec leaves open (databricks/cli libs/testserver/clusters.go, clusterFixUps)."""
    found = {"autotermination_minutes": 0, "enable_elastic_disk": False, **spec}
    found.setdefault("data_security_mode", "SINGLE_USER")
    aws = found.get("aws_attributes") or {}
    found["aws_attributes"] = {"availability": "SPOT_WITH_FALLBACK", "zone_id": ZONES[2], **aws}
    if found["data_security_mode"] in ("SINGLE_USER", "DATA_SECURITY_MODE_DEDICATED"):
        found.setdefault("single_user_name", user)
    if found.get("node_type_id"):
        found.setdefault("driver_node_type_id", found["node_type_id"])
        node = node_types()[found["node_type_id"]]
        nodes = 1 + int(found.get("num_workers", (found.get("autoscale") or {}).get("min_workers", 0)))
        found.update(cluster_cores=nodes * node["num_cores"], cluster_memory_mb=nodes * node["memory_mb"])
    found.pop("apply_policy_default_values", None)  # answered under spec only, as there
    return found


def on_spot(spec: Json) -> bool:
    """Whether the machine of the driver is one that the cloud may take away (SDK: AwsAttributes.first_on_demand)."""
    aws = spec.get("aws_attributes") or {}
    return aws.get("availability", "SPOT_WITH_FALLBACK") != "ON_DEMAND" and int(aws.get("first_on_demand", 0)) < 1


def falls_back(spec: Json) -> bool:
    """Whether a lost machine is replaced by one on demand."""
    return bool((spec.get("aws_attributes") or {}).get("availability", "SPOT_WITH_FALLBACK") == "SPOT_WITH_FALLBACK")


def _word(number: int) -> str:
    """Eight letters and digits, other ones for every number."""
    mixed, found = (number * 1_000_003 * 7919) % len(LETTERS) ** 8, ""
    for _ in range(8):
        mixed, rest = divmod(mixed, len(LETTERS))
        found += LETTERS[rest]
    return found


def _default_tags(cluster_id: str, user: str, spec: Json, job: Json | None) -> dict[str, str]:
    """docs.databricks.com/admin/account-settings/usage-detail-tags: the default tags of clusters."""
    own = {"Vendor": "Databricks", "Creator": user, "ClusterName": str(spec.get("cluster_name", "")), "ClusterId": cluster_id}
    return {**own, "JobId": str(job["job_id"]), "RunName": str(job["run_name"])} if job else own


def _because(reason: Json) -> str:
    return {"USER_REQUEST": "Terminated by user", "JOB_FINISHED": "Job run finished"}.get(reason["code"], f"Terminated: {reason['code']}")
