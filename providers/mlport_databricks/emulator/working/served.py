"""The servers of served entities: each is a job of the engine that keeps mlport's own model server running with a version's files.

The engine's processes outlive the emulator, so that a model goes on answering when the emulator is started again. A document of
the kind `servers`, named as the entity's `worker`, holds `{"name", "workspace", "endpoint" (its id), "entity", "job", "lives",
"begun", "asleep", "ending" (the job that was told to end)}`. FOLDER/served/WORKER has its files; build.txt and log.txt stay while a configuration of the endpoint names it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError

import mlport
from mlport import Compute, JobSpec
from mlport.emulation.documents import Exists
from mlport.errors import NotFoundError
from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.errors import ApiError
from mlport_databricks.emulator.working import model_source

Json = dict[str, Any]
KIND = "servers"
KEEPER = str(Path(__file__).with_name("keep_server.py"))
SHARE = Compute(cpus=0.01, memory_gib=0.01)  # of this machine; a cloud's machines are elsewhere
TRIES = 3  # that a server ends before it was ever ready: docs.databricks.com, model-serving-timeouts
PATIENCE = 1800.0  # seconds until it must be ready: the same page
REQUEST_SECONDS = 297.0  # docs.databricks.com, model-serving-limits
LOOK = 0.05  # seconds between two looks at a server that is awaited
CONNECTIONS = 64  # kept open to each server
KEPT = ("LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
"""What a server has from the machine that the emulator runs on; the rest would not be in a container either."""
LOGS = ("build.txt", "log.txt")
_BEGINNING = threading.Lock()  # that a server is begun by one thread only


class Failed(Exception):  # noqa: N818 - an answer, not a fault
    """It will not serve: why, in the words of `deployment_state_message`."""


class Servers:
    """The servers of one place. Safe for threads."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._pool = urllib3.PoolManager(num_pools=256, maxsize=CONNECTIONS, retries=False)
        self._urls: dict[str, str] = {}

    def folder(self, name: str) -> Path:
        """Where a server's files are."""
        return self._place.folder / "served" / name

    def names(self) -> Iterator[str]:
        """Of all that were begun and are not gone."""
        return (str(body["name"]) for _, body in self._place.documents.list(KIND))

    # ---------------------------------------------------------------- starting

    def start(self, workspace: str, endpoint: str, entity: Json) -> bool:
        """Begin to serve, or look how far it is: whether it answers. May be called again and again, also after a restart.

        Raises:
            Failed: it will not.
        """
        name = entity["worker"]
        kept = self._place.documents.get(KIND, name)
        if kept is None:
            self._prepare(workspace, entity)
            own = {"name": name, "workspace": workspace, "endpoint": endpoint, "entity": entity["name"]}
            kept = {**own, "job": "", "lives": 0, "begun": time.time(), "asleep": False, "ending": ""}
            with suppress(Exists):
                self._place.documents.insert(KIND, name, kept)
        state = self._alive(kept)
        if state.get("ready"):
            return True
        if state.get("error") or state.get("ends", 0) >= TRIES:
            raise Failed("Model server failed to load the model. Please see service logs for more information.")
        if time.time() - kept["begun"] > PATIENCE:
            raise Failed("Timed out while waiting for the model server. Please see service logs for more information.")
        return False

    def _prepare(self, workspace: str, entity: Json) -> None:
        """Fetch the version's files and write what the keeper runs; a killed emulator does it again."""
        folder = self.folder(entity["worker"])
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
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
        kept = self._place.documents.get(KIND, name)
        if kept is not None and kept["asleep"]:
            return "asleep"
        return "ready" if kept is not None and self._alive(kept).get("ready") else "starting"

    def process(self, name: str) -> int:
        """The number of its process, 0 while there is none."""
        return int(_state(self.folder(name)).get("pid", 0)) if self.state(name) == "ready" else 0

    def log(self, name: str, which: str) -> str:
        """Its build.txt or log.txt as far as it is."""
        path = self.folder(name) / which
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def _alive(self, kept: Json) -> Json:
        """What its keeper says, once there is one: a keeper that is gone, after a reboot of the machine for example, is begun anew."""
        if kept["job"] and not self._has_ended(kept["job"]):
            return {} if kept["job"] == kept["ending"] else _state(self.folder(kept["name"]))
        with _BEGINNING:
            now = self._place.documents.get(KIND, kept["name"])
            if now is not None and not now["asleep"] and now["lives"] == kept["lives"]:
                self._begin(now)
        return {}

    def _has_ended(self, job: str) -> bool:
        try:
            return self._place.containers.session.jobs.status(job).state.terminal
        except NotFoundError:
            return True

    def _begin(self, kept: Json) -> None:
        name, folder = kept["name"], self.folder(kept["name"])
        key, jobs = f"{name} {kept['lives']}", self._place.containers.jobs
        if jobs.find(key) is None:  # or it is that of a keeper which an emulator has begun that was killed before it noted so
            folder.joinpath("state.json").unlink(missing_ok=True)
        spec = JobSpec(name="server", entrypoint=("python", "-I", "-S", KEEPER, str(folder)), compute=SHARE)
        job = jobs.submit(spec, key=key).id
        self._place.documents.change(KIND, name, lambda now: {**now, "job": job, "lives": kept["lives"] + 1})

    # ---------------------------------------------------------------- while it serves

    def ask(self, name: str, body: bytes, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """The server's answer, of whatever status; it is awaited if it starts or sleeps. Raises ApiError if there is none."""
        deadline = time.monotonic() + REQUEST_SECONDS
        while True:
            url = self._urls.get(name) or self._awaited(name, deadline)
            try:
                left = max(0.1, deadline - time.monotonic())
                return self._pool.request("POST", f"{url}/invocations", body=body, headers=dict(headers), timeout=left)
            except NewConnectionError:  # it was started again, and has another port: nobody has worked on it
                self._urls.pop(name, None)
                time.sleep(LOOK)
            except urllib3.exceptions.TimeoutError as error:
                raise ApiError("DEADLINE_EXCEEDED", f"The request did not finish within {REQUEST_SECONDS:g} seconds.") from error
            except HTTPError as error:
                raise ApiError("TEMPORARILY_UNAVAILABLE", "The model server ended while it worked on the request.") from error

    def _awaited(self, name: str, deadline: float) -> str:
        """Its address once it answers; it is woken up if it sleeps."""
        with _BEGINNING:
            self._place.documents.change(KIND, name, lambda now: {**now, "asleep": False} if now["asleep"] else None)
        while True:
            kept = self._place.documents.get(KIND, name)
            state = self._alive(kept) if kept else {}
            if state.get("ready"):
                self._urls[name] = str(state["url"])
                return self._urls[name]
            if kept is None or state.get("error") or time.monotonic() > deadline:
                raise ApiError("TEMPORARILY_UNAVAILABLE", "The model server is not available. Please try again later.")
            time.sleep(LOOK)

    # ---------------------------------------------------------------- ending

    def sleep(self, name: str) -> None:
        """Begin to end it until it is asked again."""
        with _BEGINNING:
            kept = self._place.documents.change(KIND, name, lambda now: {**now, "asleep": True, "ending": now["job"]})
            self._urls.pop(name, None)
            if kept is not None and kept["job"] and not self._has_ended(kept["job"]):
                mlport.Job(kept["job"], self._place.containers).cancel()

    def stop(self, name: str) -> bool:
        """Begin to end it, or look how far that is: whether it is gone. Its logs stay."""
        self._urls.pop(name, None)
        with _BEGINNING:  # nobody begins it anew from now on
            kept = self._place.documents.change(KIND, name, lambda now: {**now, "asleep": True, "ending": now["job"]})
        if kept is None:
            return True
        if kept["job"]:
            if not self._has_ended(kept["job"]):
                mlport.Job(kept["job"], self._place.containers).cancel()
                return False
            with suppress(NotFoundError):
                mlport.Job(kept["job"], self._place.containers).delete()
        folder = self.folder(name)
        for path in folder.iterdir() if folder.exists() else ():
            if path.name not in LOGS:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._place.documents.delete(KIND, name)
        return True

    def forget(self, named: set[str]) -> None:
        """Remove what is left of servers that are gone, but of those that are named."""
        for folder in (self._place.folder / "served").glob("w*"):
            if folder.name not in named and self._place.documents.get(KIND, folder.name) is None:
                shutil.rmtree(folder, ignore_errors=True)


def _state(folder: Path) -> Json:
    path = folder / "state.json"
    found: Json = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found
