"""Serving endpoints on their way: a configuration that is pending becomes the one that serves once all its servers answer.

A document of the kind `servingEndpoints`, named `HOST/NAME`, holds what was sent with the endpoint, `config` (what serves),
`pending` (what is coming, or did not come), `update` (the API's config_update), `version` (the last config_version), and
`failed` (messages by entity) of an update that failed. Everything is read from there and from the servers at each step, so that
an emulator that was killed goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlport_databricks.emulator.place import Place, now_ms
from mlport_databricks.emulator.working.served import Failed, Servers

Json = dict[str, Any]
ENDPOINTS = "servingEndpoints"
IDLE = 1800.0  # seconds without a request until an entity scales to zero: docs.databricks.com, create-manage-serving-endpoints
SWEEP = 0.5  # seconds between two looks for servers that nobody needs
THREADS = 8  # fetching a model's files takes a while
UPDATING, SETTLED, FAILED = "IN_PROGRESS", "NOT_UPDATING", "UPDATE_FAILED"
Served = Callable[[Json, Json], None]


class Deploying:
    """The updates of all endpoints of a place. `served` is called with an endpoint before a new configuration of it serves."""

    def __init__(self, place: Place, servers: Servers, served: Served) -> None:
        self._place, self._servers, self._served = place, servers, served
        self._asked: dict[str, tuple[float, float]] = {}
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        self._swept = 0.0
        self._pool = ThreadPoolExecutor(THREADS, "deploying")
        place.at_end(self._leave)  # after what follows: servers go on without the emulator, but not those of endpoints that are gone
        place.at_end(lambda: self._pool.shutdown(wait=True, cancel_futures=True))
        place.chore(self.look)
        place.chore(self.sweep)

    # ---------------------------------------------------------------- updates

    def look(self) -> None:
        """Work on each endpoint that is being updated, unless a thread does already."""
        for _, endpoint in self._place.documents.list(ENDPOINTS):
            key = f"{endpoint['workspace']}/{endpoint['name']}"
            with self._lock:
                if endpoint["update"] != UPDATING or key in self._busy:
                    continue
                self._busy.add(key)
            self._pool.submit(self._advance, key, endpoint)

    def _advance(self, key: str, endpoint: Json) -> None:
        internal = dict.fromkeys((each["name"] for each in endpoint["pending"]["served_entities"]), "An internal error occurred.")
        try:
            self._place.tries(
                f"endpoint {endpoint['id']} {endpoint['version']}",
                lambda: self._deploy(key, endpoint),
                lambda: self._settle(key, endpoint, internal),
            )
        finally:
            with self._lock:
                self._busy.discard(key)

    def _deploy(self, key: str, endpoint: Json) -> None:
        pending, failed, ready = endpoint["pending"], {}, True
        for entity in pending["served_entities"]:
            try:
                ready &= self._servers.start(endpoint["workspace"], endpoint["id"], entity)
            except Failed as error:
                failed[entity["name"]] = (
                    f"Served entity creation failed for served entity `{entity['name']}`, config version {pending['config_version']}. "
                    f"Error message: {error}"
                )
        if failed:
            self._settle(key, endpoint, failed)
        elif ready:
            self._served(endpoint, pending)
            self._settle(key, endpoint, {})

    def _settle(self, key: str, endpoint: Json, failed: Mapping[str, str]) -> None:
        """Let the pending configuration serve, or say which of its entities failed; the one before goes on then."""

        def settled(now: Json) -> Json | None:
            if now["update"] != UPDATING or (now["id"], now["version"]) != (endpoint["id"], endpoint["version"]):
                return None  # it was deleted, or another thread was quicker
            if failed:
                return {**now, "update": FAILED, "failed": dict(failed)}
            return {**now, "update": SETTLED, "config": now["pending"], "pending": None, "failed": {}}

        self._place.documents.change(ENDPOINTS, key, settled)

    # ---------------------------------------------------------------- servers that are not needed now

    def asked(self, worker: str, idle: float = IDLE) -> None:
        """A server was asked; it may sleep when nobody asks again for this many seconds."""
        self._asked[worker] = (time.monotonic(), idle)

    def sweep(self) -> None:
        """End the servers of entities that are gone, and let sleep those that nobody asked for long."""
        if time.monotonic() - self._swept < SWEEP:
            return
        self._swept = time.monotonic()
        for endpoint in self._end_unneeded():
            for entity in _entities(endpoint["config"]):
                if entity["scale_to_zero_enabled"]:
                    self._rest(entity["worker"])

    def _end_unneeded(self) -> list[Json]:
        """Begin to end the servers that no endpoint needs, and forget those that have ended. The endpoints that there are."""
        begun = list(self._servers.names())  # before the endpoints are read: a server is begun only after its endpoint names it
        endpoints = [body for _, body in self._place.documents.list(ENDPOINTS)]
        needed = {worker for endpoint in endpoints for worker in _workers(endpoint)}
        for worker in begun:
            if worker not in needed:
                self._servers.stop(worker)
                self._asked.pop(worker, None)
        named = {each["worker"] for body in endpoints for part in ("config", "pending") for each in _entities(body[part])}
        self._servers.forget(named | needed)
        return endpoints

    def _rest(self, worker: str) -> None:
        last, idle = self._asked.setdefault(worker, (time.monotonic(), IDLE))
        if time.monotonic() - last > idle and self._servers.state(worker) == "ready":
            self._servers.sleep(worker)

    def _leave(self) -> None:
        self._end_unneeded()

    # ---------------------------------------------------------------- states

    def is_ready(self, endpoint: Json) -> bool:
        """Whether all of what it serves can be asked."""
        return bool(endpoint["config"]) and all(self._servers.state(each["worker"]) != "starting" for each in _entities(endpoint["config"]))

    def state_of(self, endpoint: Json, part: str) -> Callable[[Json], Mapping[str, str]]:
        """The state of an entity of its `config` or of its `pending` configuration, as the API tells it."""
        return lambda entity: dict(zip(("deployment", "deployment_state_message"), self._state(endpoint, part, entity), strict=True))

    def _state(self, endpoint: Json, part: str, entity: Json) -> tuple[str, str]:
        serves = any(each["worker"] == entity["worker"] for each in _entities(endpoint["config"]))
        if part == "pending" and endpoint["update"] == FAILED and not serves:
            failed = endpoint["failed"].get(entity["name"])
            aborted = "Served entity creation aborted because another served entity of the update failed."  # a guess
            return ("DEPLOYMENT_FAILED", failed) if failed else ("DEPLOYMENT_ABORTED", aborted)
        state = self._servers.state(entity["worker"])
        if state == "asleep":
            return "DEPLOYMENT_READY", "Scaled to zero"
        if state == "ready":
            return "DEPLOYMENT_READY", ""
        if part == "pending":
            return "DEPLOYMENT_CREATING", "Creating resources for served entity."
        return "DEPLOYMENT_RECOVERING", "The served entity is recovering."


def begun(endpoint: Json, pending: Json) -> Json:
    """The endpoint with an update to this configuration begun."""
    version = pending["config_version"]
    moment = now_ms()
    return {**endpoint, "pending": pending, "version": version, "update": UPDATING, "failed": {}, "last_updated_timestamp": moment}


def _entities(config: Json | None) -> list[Json]:
    return list(config["served_entities"]) if config else []


def _workers(endpoint: Json) -> set[str]:
    """The servers that it needs: of what serves, and of what is coming."""
    coming = _entities(endpoint["pending"]) if endpoint["update"] == UPDATING else []
    return {each["worker"] for each in (*_entities(endpoint["config"]), *coming)}
