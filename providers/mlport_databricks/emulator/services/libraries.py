"""Libraries of all-purpose clusters: really installed, for the tasks that run there later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import invalid
from mlport_databricks.emulator.protocol.permitted import check_cluster, sees_cluster
from mlport_databricks.emulator.services.cluster_rules import check_libraries

Json = dict[str, Any]


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their paths."""
    libraries = place.libraries  # what was asked for before goes on

    def permitted(request: Request) -> str:
        found = place.clusters.need(request.workspace, request.given("cluster_id"))["body"]
        check_cluster(place, request, found)
        return str(found["cluster_id"])

    def install(request: Request) -> None:
        check_libraries(request.body["libraries"])
        libraries.install(request.workspace, permitted(request), request.user, request.body["libraries"])

    def uninstall(request: Request) -> None:
        if not request.body["libraries"]:
            raise invalid("At least one library must be specified.")
        libraries.uninstall(request.workspace, permitted(request), request.body["libraries"])

    def status(request: Request) -> Json:
        cluster_id = permitted(request)
        return {"cluster_id": cluster_id, "library_statuses": libraries.statuses(request.workspace, cluster_id)}

    def all_statuses(request: Request) -> Json:
        found = [each["body"] for each in place.clusters.all(request.workspace) if sees_cluster(place, request, each["body"])]
        statuses = [
            {"cluster_id": body["cluster_id"], "library_statuses": libraries.statuses(request.workspace, body["cluster_id"])}
            for body in found
        ]
        return {"statuses": [each for each in statuses if each["library_statuses"]]}

    return {
        "POST /api/2.0/libraries/install": install,
        "POST /api/2.0/libraries/uninstall": uninstall,
        "GET /api/2.0/libraries/cluster-status": status,
        "GET /api/2.0/libraries/all-cluster-statuses": all_statuses,
    }
