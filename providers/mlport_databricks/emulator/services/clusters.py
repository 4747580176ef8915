"""Clusters, and what they can be made of: node types, zones, runtimes. The lists are of AWS, where the workspace is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlport_databricks.emulator.accounts import USERS
from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import ApiError, invalid
from mlport_databricks.emulator.protocol.permitted import check_cluster as check_permitted
from mlport_databricks.emulator.protocol.permitted import check_cluster_creation, sees_cluster
from mlport_databricks.emulator.services.cluster_rules import check_cluster
from mlport_databricks.emulator.working.clusters import USER_REQUEST, with_defaults
from mlport_databricks.emulator.working.node_types import ZONES, node_types, spark_versions
from mlport_databricks.emulator.working.task_commands import clear

Json = dict[str, Any]
MOST, USUAL, MOST_EVENTS = 100, 20, 500
RUNTIME = ("state", "state_message", "start_time", "terminated_time", "termination_reason", "spark_context_id", "default_tags")
KEPT = ("cluster_id", "creator_user_name", "cluster_source", *RUNTIME)


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their paths."""
    service = ClustersService(place)
    return {
        "POST /api/2.1/clusters/create": service.create,
        "GET /api/2.1/clusters/get": lambda request: service.need(request, "CAN_ATTACH_TO")["body"],
        "GET /api/2.1/clusters/list": service.list,
        "POST /api/2.1/clusters/start": service.start,
        "POST /api/2.1/clusters/restart": service.restart,
        "POST /api/2.1/clusters/delete": service.delete,
        "POST /api/2.1/clusters/permanent-delete": service.permanent_delete,
        "POST /api/2.1/clusters/edit": service.edit,
        "POST /api/2.1/clusters/resize": service.resize,
        "POST /api/2.1/clusters/pin": lambda request: service.pin(request, pinned=True),
        "POST /api/2.1/clusters/unpin": lambda request: service.pin(request, pinned=False),
        "POST /api/2.1/clusters/change-owner": service.change_owner,
        "POST /api/2.1/clusters/events": service.events,
        "GET /api/2.1/clusters/list-node-types": lambda _: {"node_types": list(node_types().values())},
        "GET /api/2.1/clusters/list-zones": lambda _: {"zones": list(ZONES), "default_zone": ZONES[2]},
        "GET /api/2.1/clusters/spark-versions": lambda _: {
            "versions": [{"key": key, "name": name} for key, name in spark_versions().items()]
        },
    }


class ClustersService:
    """The clusters of a place, as callers ask for them."""

    def __init__(self, place: Place) -> None:
        self._place, self._clusters = place, place.clusters

    def need(self, request: Request, level: str = "CAN_MANAGE") -> Json:
        """The cluster that a call is about, if the user may use it so. Raises ApiError."""
        found = self._clusters.need(request.workspace, request.given("cluster_id"))
        check_permitted(self._place, request, found["body"], level)
        return found

    def create(self, request: Request) -> Json:
        check_cluster_creation(request)
        spec = {name: value for name, value in request.body.items() if name != "clone_from"}
        if request.body.get("clone_from"):
            raise ApiError("NOT_IMPLEMENTED", "The emulator clones no clusters.")
        check_cluster(self._place, request.workspace, spec)
        return {"cluster_id": self._clusters.begin(request.workspace, request.user, spec, "API")["cluster_id"]}

    def list(self, request: Request) -> Json:
        wanted = request.arguments
        size, token = wanted.get("page_size", USUAL), wanted.get("page_token", "0")
        if not 1 <= size <= MOST or not token.isdigit():
            raise invalid(f"Invalid page size {size} or page token {token}.")
        found = [each for each in self._clusters.all(request.workspace) if self._is_wanted(request, each)]
        sort = wanted.get("sort_by.field", "DEFAULT")
        if sort == "CLUSTER_NAME":
            found.sort(key=lambda each: str(each["body"].get("cluster_name", "")), reverse=wanted.get("sort_by.direction") == "DESC")
        begin = int(token)
        page = [each["body"] for each in found[begin : begin + size]]
        more = {"next_page_token": str(begin + size)} if len(found) > begin + size else {}
        return {**({"clusters": page} if page else {}), **more}

    def _is_wanted(self, request: Request, found: Json) -> bool:
        body, wanted = found["body"], dict[str, Any](request.arguments)
        lists = {"cluster_sources": body["cluster_source"], "cluster_states": body["state"]}
        for name, value in lists.items():
            asked = _listed(wanted.get(f"filter_by.{name}"))
            if asked and value not in asked:
                return False
        policy, pinned = wanted.get("filter_by.policy_id"), wanted.get("filter_by.is_pinned")
        return (
            sees_cluster(self._place, request, body)
            and policy in (None, body.get("policy_id"))
            and (pinned is None or (str(pinned).lower() == "true") == found["pinned"])
        )

    def start(self, request: Request) -> None:
        self.need(request, "CAN_RESTART")
        self._clusters.start(request.workspace, request.body["cluster_id"], request.user)

    def restart(self, request: Request) -> None:
        body = self._running(request, "CAN_RESTART")
        self._clusters.change(
            request.workspace, body["cluster_id"], {"state": "RESTARTING", "spark_context_id": self._clusters.new_context()}
        )
        self._clusters.happened(request.workspace, body["cluster_id"], "RESTARTING", {"user": request.user})

    def delete(self, request: Request) -> None:
        self.need(request, "CAN_RESTART")
        self._clusters.terminate(request.workspace, request.body["cluster_id"], {**USER_REQUEST, "parameters": {"username": request.user}})

    def permanent_delete(self, request: Request) -> None:
        cluster_id = self.need(request)["body"]["cluster_id"]
        self._clusters.remove(request.workspace, cluster_id)
        self._place.libraries.forget(request.workspace, cluster_id)
        self._place.permissions.forget(request.workspace, "clusters", cluster_id)
        clear(self._clusters.folder(request.workspace, cluster_id))

    def edit(self, request: Request) -> None:
        known = self.need(request)["body"]
        if known["cluster_source"] == "JOB":
            raise invalid(f"Cluster {known['cluster_id']} was created by a job and cannot be edited.")
        if known["state"] not in ("RUNNING", "TERMINATED"):  # SDK, edit: "if it is in a RUNNING or TERMINATED state"
            raise ApiError("INVALID_STATE", f"Cluster {known['cluster_id']} is in unexpected state {known['state'].title()}.")
        spec = {name: value for name, value in request.body.items() if name != "cluster_id"}
        check_cluster(self._place, request.workspace, spec)
        state = {"state": "RESTARTING", "spark_context_id": self._clusters.new_context()} if known["state"] == "RUNNING" else {}
        body = {**with_defaults(spec, request.user), **{key: known[key] for key in KEPT if key in known}, "spec": spec, **state}
        self._clusters.replace(request.workspace, known["cluster_id"], body)
        clear(
            self._clusters.folder(request.workspace, known["cluster_id"])
        )  # databricks/cli libs/testserver/clusters.go: ends its libraries
        self._clusters.happened(request.workspace, known["cluster_id"], "EDITED", {"user": request.user})

    def resize(self, request: Request) -> None:
        body = self._running(request)
        size = {name: request.body[name] for name in ("num_workers", "autoscale") if name in request.body}
        spec = {**{name: value for name, value in body["spec"].items() if name not in ("num_workers", "autoscale")}, **size}
        check_cluster(self._place, request.workspace, spec)
        sized = {
            name: value
            for name, value in with_defaults(spec, request.user).items()
            if name in (*size, "cluster_cores", "cluster_memory_mb")
        }
        self._clusters.change(request.workspace, body["cluster_id"], {**sized, "spec": spec, "state": "RESIZING"})
        self._clusters.happened(request.workspace, body["cluster_id"], "RESIZING", {"user": request.user})

    def pin(self, request: Request, *, pinned: bool) -> None:
        cluster_id = self.need(request)["body"]["cluster_id"]
        if not USERS[request.user].is_admin:  # SDK, pin: "This API can only be called by workspace admins"
            raise ApiError("PERMISSION_DENIED", f"User {request.user} is not an administrator.")
        self._clusters.change(request.workspace, cluster_id, {}, pinned=pinned)
        self._clusters.happened(request.workspace, cluster_id, "PINNED" if pinned else "UNPINNED", {"user": request.user})

    def change_owner(self, request: Request) -> None:
        body = self.need(request)["body"]
        if not USERS[request.user].is_admin:
            raise ApiError("PERMISSION_DENIED", f"User {request.user} is not an administrator.")
        owner = request.body["owner_username"]
        if self._place.principals.named(request.workspace, "Users", owner) is None:
            raise invalid(f"The user {owner} does not exist.")
        self._clusters.change(request.workspace, body["cluster_id"], {"creator_user_name": owner})

    def events(self, request: Request) -> Json:
        asked = request.body
        found = self._clusters.events(request.workspace, self.need(request, "CAN_ATTACH_TO")["body"]["cluster_id"])
        first, last, kinds = asked.get("start_time", 0), asked.get("end_time", 2**62), asked.get("event_types")
        found = [each for each in found if first <= each["timestamp"] <= last and (not kinds or each["type"] in kinds)]
        if asked.get("order", "DESC") == "ASC":
            found.reverse()
        begin = int(asked.get("page_token") or asked.get("offset", 0))
        size = min(int(asked.get("page_size") or asked.get("limit", 50)), MOST_EVENTS)
        following = {name: value for name, value in asked.items() if name not in ("page_token", "page_size")}
        more = {"next_page_token": str(begin + size), "next_page": {**following, "offset": begin + size, "limit": size}}
        return {"events": found[begin : begin + size], "total_count": len(found), **(more if len(found) > begin + size else {})}

    def _running(self, request: Request, level: str = "CAN_MANAGE") -> Json:
        """Raises ApiError (databricks/cli libs/testserver/clusters.go, ClustersResize)."""
        body: Json = self.need(request, level)["body"]
        if body["state"] != "RUNNING":
            raise ApiError(
                "INVALID_STATE", f"Cluster {body['cluster_id']} is in unexpected state {body['state'].title()}. Cluster is not running"
            )
        return body


def _listed(given: Any) -> list[str]:
    """A repeated argument of the query, or one with commas."""
    texts = given if isinstance(given, list) else [given] if given else []
    return [each for text in texts for each in str(text).split(",")]
