"""Commands on running clusters: execution contexts that keep their names, in Python.

API 1.2 tells errors by `error` alone (SDK, errors/deserializer.py); status codes and words are guesses but for those cited.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlport.emulation.calls import Reply
from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import ApiError, invalid
from mlport_databricks.emulator.protocol.permitted import check_cluster
from mlport_databricks.emulator.working.task_commands import TaskRefused

Json = dict[str, Any]
ROOT = "/api/1.2"


class OldError(ApiError):
    """A refusal in the form of API 1.2."""

    def reply(self) -> Reply:
        return Reply.of({"error": self.message}, self.status)


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their paths."""
    service = CommandExecution(place)
    return {
        f"POST {ROOT}/contexts/create": service.create,
        f"GET {ROOT}/contexts/status": service.status,
        f"POST {ROOT}/contexts/destroy": service.destroy,
        f"POST {ROOT}/commands/execute": service.execute,
        f"GET {ROOT}/commands/status": service.command_status,
        f"POST {ROOT}/commands/cancel": service.cancel,
    }


class CommandExecution:
    """The contexts of a place, as callers ask for them."""

    def __init__(self, place: Place) -> None:
        self._place, self._contexts = place, place.contexts  # which end with their clusters from now on

    def create(self, request: Request) -> Json:
        _check_language(request)
        cluster_id = self._cluster(request)
        try:
            own = self._contexts.begin(request.workspace, cluster_id, request.user)
        except TaskRefused as refusal:
            raise OldError("FEATURE_DISABLED", str(refusal)) from refusal
        if own is None:  # docs.databricks.com/notebooks/execution-context
            raise OldError("RESOURCE_EXHAUSTED", "Too many execution contexts are open right now.")
        return {"id": own}

    def status(self, request: Request) -> Json:
        context = self._context(request)
        return {"id": context["id"], "status": self._contexts.status(context)}

    def destroy(self, request: Request) -> None:
        self._contexts.end(self._context(request))

    def execute(self, request: Request) -> Json:
        _check_language(request)
        context = self._context(request)
        if self._contexts.status(context) != "Running":
            raise OldError("INVALID_STATE", f"ContextNotReady: the context {context['id']} is not running")
        return {"id": self._contexts.execute(context, request.body.get("command") or "")}

    def command_status(self, request: Request) -> Json:
        return self._command(request)

    def cancel(self, request: Request) -> None:
        context, command = self._context(request), self._command(request)
        self._contexts.cancel(context, command["id"])

    # ---------------------------------------------------------------- parts

    def _cluster(self, request: Request) -> str:
        """The id of a running cluster. Raises ApiError."""
        found = self._place.clusters.find(request.workspace, str(request.given("clusterId", "")))
        if found is None:
            raise OldError("INVALID_PARAMETER_VALUE", f"ClusterNotFoundException: Cluster not found: {request.given('clusterId')}")
        body = found["body"]
        check_cluster(self._place, request, body, "CAN_ATTACH_TO")
        if body["state"] not in ("RUNNING", "RESIZING"):
            raise OldError("INVALID_STATE", "ClusterNotReadyException: Cluster not running")
        return str(body["cluster_id"])

    def _context(self, request: Request) -> Json:
        """The user's own. Raises ApiError."""
        found = self._contexts.find(request.workspace, self._cluster(request), str(request.given("contextId", "")))
        if found is None or found["user"] != request.user:
            raise OldError("RESOURCE_DOES_NOT_EXIST", "ContextNotFound: context_id not found")
        return found

    def _command(self, request: Request) -> Json:
        found = self._contexts.command(self._context(request), str(request.given("commandId", "")))
        if found is None:
            raise OldError("RESOURCE_DOES_NOT_EXIST", "CommandNotFound: command_id not found")
        return found


def _check_language(request: Request) -> None:
    language = request.body.get("language")
    if language is None:
        raise invalid("Missing required field: language")
    if language != "python":
        raise OldError("NOT_IMPLEMENTED", f"The emulator runs commands in python only, not in {language}.")
