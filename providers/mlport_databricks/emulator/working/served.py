"""The servers of served entities: each is a job of the engine that keeps mlport's own model server running with a version's files.

A document of the kind `servers`, named as the entity's `worker`, has `"workspace", "endpoint" (its id), "entity"` besides what
mlport.emulation.model_servers keeps of each; one of an entity that scaled to zero is asleep. FOLDER/served/WORKER has its files;
build.txt and log.txt stay while a configuration of the endpoint names it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from mlport.emulation.model_servers import LOOK, ModelServers
from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.errors import ApiError
from mlport_databricks.emulator.working import model_source

Json = dict[str, Any]
KIND = "servers"
KEEPER = Path(__file__).with_name("keep_server.py")
TRIES = 3  # that a server ends before it was ever ready: docs.databricks.com, model-serving-timeouts
PATIENCE = 1800.0  # seconds until it must be ready: the same page
REQUEST_SECONDS = 297.0  # docs.databricks.com, model-serving-limits
KEPT = ("LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
"""What a server has from the machine that the emulator runs on; the rest would not be in a container either."""
LOGS = ("build.txt", "log.txt")


class Failed(Exception):  # noqa: N818 - an answer, not a fault
    """It will not serve: why, in the words of `deployment_state_message`."""


class Servers:
    """The servers of one place. Safe for threads."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._servers = ModelServers(place, KIND, "served", KEEPER, LOGS)

    def names(self) -> Iterator[str]:
        """Of all that were begun and are not gone."""
        return self._servers.names()

    # ---------------------------------------------------------------- starting

    def start(self, workspace: str, endpoint: str, entity: Json) -> bool:
        """Begin to serve, or look how far it is: whether it answers. May be called again and again, also after a restart.

        Raises:
            Failed: it will not.
        """
        name = entity["worker"]
        kept = self._servers.get(name)
        if kept is None:
            self._prepare(workspace, entity)
            kept = self._servers.insert(name, workspace=workspace, endpoint=endpoint, entity=entity["name"])
        state = self._servers.look(kept)
        if state.get("ready"):
            return True
        if state.get("error") or state.get("ends", 0) >= TRIES:
            raise Failed("Model server failed to load the model. Please see service logs for more information.")
        if time.time() - kept["begun"] > PATIENCE:
            raise Failed("Timed out while waiting for the model server. Please see service logs for more information.")
        return False

    def _prepare(self, workspace: str, entity: Json) -> None:
        """Fetch the version's files and write what the keeper runs; a killed emulator does it again."""
        folder = self._servers.fresh(entity["worker"])
        with folder.joinpath("build.txt").open("a", encoding="utf-8") as log:
            try:
                model_source.fetch(self._place, workspace, entity["entity_name"], entity["entity_version"], folder / "model", log)
            except ApiError as error:
                print(error.message, file=log)
                raise Failed("Container creation failed. Please see build logs for more information.") from error
            print("The emulator serves it with the packages of its own environment; nothing was installed.", file=log)
        names = ["--model", entity["entity_name"], "--model-version", entity["entity_version"]]
        argv = [sys.executable, "-m", "mlport.serving", str(folder / "model"), "--host", "127.0.0.1", "--port", "0", *names]
        try:
            own = self._place.secrets.resolved(workspace, entity["creator"], entity.get("environment_vars", {}))
        except ApiError as error:
            raise Failed(error.message) from error
        env = {**self._surroundings(folder), **own}
        spec = folder / "server.json"
        spec.touch(mode=0o600)
        spec.write_text(json.dumps({"argv": argv, "env": env, "folder": str(folder / "work")}), "utf-8")

    def _surroundings(self, folder: Path) -> dict[str, str]:
        """What stands for the container's own environment, and for its network: the way to the emulator, without credentials."""
        binaries = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        way = {key: value for key, value in self._place.environment.items() if not key.startswith("DATABRICKS_")}
        return {**kept, "PATH": binaries, "HOME": str(folder / "work"), "PYTHONUNBUFFERED": "1", **way}

    # ---------------------------------------------------------------- how it is

    def state(self, name: str) -> str:
        """One of "ready", "asleep" (its entity scaled to zero) and "starting"."""
        kept = self._servers.get(name)
        if kept is not None and kept["asleep"]:
            return "asleep"
        return "ready" if self._servers.look(kept).get("ready") else "starting"

    def process(self, name: str) -> int:
        """The number of its process, 0 while there is none."""
        return int(self._servers.told(name).get("pid", 0)) if self.state(name) == "ready" else 0

    def log(self, name: str, which: str) -> str:
        """Its build.txt or log.txt as far as it is."""
        path = self._servers.folder(name) / which
        return path.read_text("utf-8", "replace") if path.exists() else ""

    # ---------------------------------------------------------------- while it serves

    def ask(self, name: str, body: bytes, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """The server's answer, of whatever status; it is awaited if it starts or sleeps. Raises ApiError if there is none."""
        deadline = time.monotonic() + REQUEST_SECONDS
        try:
            return self._servers.post(name, "/invocations", body, headers, REQUEST_SECONDS, lambda: self._awaited(name, deadline))
        except urllib3.exceptions.TimeoutError as error:
            raise ApiError("DEADLINE_EXCEEDED", f"The request did not finish within {REQUEST_SECONDS:g} seconds.") from error
        except HTTPError as error:
            raise ApiError("TEMPORARILY_UNAVAILABLE", "The model server ended while it worked on the request.") from error

    def _awaited(self, name: str, deadline: float) -> str:
        """Its address once it answers; it is woken up if it sleeps."""
        self._servers.wake(name)
        while True:
            kept = self._servers.get(name)
            state = self._servers.look(kept)
            if state.get("ready"):
                return str(state["url"])
            if kept is None or state.get("error") or time.monotonic() > deadline:
                raise ApiError("TEMPORARILY_UNAVAILABLE", "The model server is not available. Please try again later.")
            time.sleep(LOOK)

    # ---------------------------------------------------------------- ending

    def sleep(self, name: str) -> None:
        """Begin to end it until it is asked again."""
        self._servers.sleep(name)

    def stop(self, name: str) -> bool:
        """Begin to end it, or look how far that is: whether it is gone. Its logs stay."""
        return self._servers.stop(name)

    def forget(self, named: set[str]) -> None:
        """Remove what is left of servers that are gone, but of those that are named."""
        self._servers.forget("w*", named)
