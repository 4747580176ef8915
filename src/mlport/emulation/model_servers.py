"""Model servers of an emulator: each is a job of its second engine, which runs the vendor's own keeper of one server.

The engine's processes outlive the emulator, so that a model goes on answering when the emulator is started again. A document,
named as the server, holds `{"name", "job", "lives", "begun", "asleep" (nobody begins it), "ending" (the job that was told to
end)}` and what the vendor adds. The server's folder has its files: the keeper writes state.json, with `ready` among it.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import urllib3
from urllib3.exceptions import NewConnectionError

import mlport
from mlport import Compute, JobSpec
from mlport.emulation.documents import Exists
from mlport.emulation.place import Place
from mlport.errors import NotFoundError

Json = dict[str, Any]
SHARE = Compute(cpus=0.01, memory_gib=0.01)  # of this machine; a cloud's machines are elsewhere
CONNECTIONS = 64  # kept open to each server
LOOK = 0.05  # seconds between two looks at a server that is awaited
_BEGINNING = threading.Lock()  # that a server is begun by one thread only


class ModelServers:
    """The servers of one place. Safe for threads.

    Args:
        place: The emulator's.
        kind: Of their documents.
        folder: Under the place's own; each has one there.
        keeper: The program that keeps one, a file that is started with the server's folder.
        stays: Names of the files that are left when a server is gone.
    """

    def __init__(self, place: Place, kind: str, folder: str, keeper: Path, stays: tuple[str, ...]) -> None:
        self._place, self._kind, self._keeper, self._stays = place, kind, keeper, stays
        self._folder = place.folder / folder
        self._pool = urllib3.PoolManager(num_pools=256, maxsize=CONNECTIONS, retries=False)
        self._urls: dict[str, str] = {}

    # ---------------------------------------------------------------- what is kept

    def folder(self, name: str) -> Path:
        """Where a server's files are."""
        return self._folder / name

    def fresh(self, name: str) -> Path:
        """Its folder, empty: what a killed emulator began is done again."""
        folder = self.folder(name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        return folder

    def names(self) -> Iterator[str]:
        """Of all that were begun and are not gone."""
        return (str(body["name"]) for _, body in self._place.documents.list(self._kind))

    def get(self, name: str) -> Json | None:
        """What is kept of it."""
        return self._place.documents.get(self._kind, name)

    def insert(self, name: str, **own: Any) -> Json:
        """Keep a new one, which is begun by the first look at it; another thread may have done so."""
        kept = {"name": name, **own, "job": "", "lives": 0, "begun": time.time(), "asleep": False, "ending": ""}
        with suppress(Exists):
            self._place.documents.insert(self._kind, name, kept)
        return kept

    # ---------------------------------------------------------------- how it is

    def told(self, name: str) -> Json:
        """What its keeper wrote last."""
        path = self.folder(name) / "state.json"
        found: Json = json.loads(path.read_text("utf-8")) if path.exists() else {}
        return found

    def look(self, kept: Json | None) -> Json:
        """What its keeper says, once there is one: a keeper that is gone, after a reboot of the machine for example, is begun anew."""
        if kept is None:
            return {}
        if kept["job"] and not self._has_ended(kept["job"]):
            return {} if kept["job"] == kept["ending"] else self.told(kept["name"])
        with _BEGINNING:
            now = self.get(kept["name"])
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
        spec = JobSpec(name="server", entrypoint=("python", "-I", "-S", str(self._keeper), str(folder)), compute=SHARE)
        job = jobs.submit(spec, key=key).id
        self._place.documents.change(self._kind, name, lambda now: {**now, "job": job, "lives": kept["lives"] + 1})

    # ---------------------------------------------------------------- while it serves

    def post(
        self, name: str, route: str, body: bytes, headers: Mapping[str, str], seconds: float, address: Callable[[], str]
    ) -> urllib3.BaseHTTPResponse:
        """The server's answer, of whatever status. Raises urllib3's HTTPError, and what `address` raises.

        `address` is asked where it answers while that is not known, and when nobody answers there any more.
        """
        deadline = time.monotonic() + seconds
        while True:
            url = self._urls.get(name) or self._urls.setdefault(name, address())
            left = max(0.1, deadline - time.monotonic())
            try:
                return self._pool.request("POST", url + route, body=body, headers=dict(headers), timeout=left)
            except NewConnectionError:  # it was started again, and has another port: nobody has worked on it
                self._urls.pop(name, None)
                if time.monotonic() > deadline:
                    raise
                time.sleep(LOOK)

    # ---------------------------------------------------------------- ending

    def sleep(self, name: str, **own: Any) -> Json | None:
        """Begin to end it until it is woken up; what is kept of it, with `own` where it says nothing else yet."""

        def asleep(now: Json) -> Json | None:
            changed = {**own, **now, "asleep": True, "ending": now["job"]}
            return None if changed == now else changed

        self._urls.pop(name, None)
        with _BEGINNING:  # nobody begins it anew from now on
            kept = self._place.documents.change(self._kind, name, asleep)
        if kept is not None and kept["job"] and not self._has_ended(kept["job"]):
            mlport.Job(kept["job"], self._place.containers).cancel()
        return kept

    def wake(self, name: str) -> None:
        """It may be begun again."""
        with _BEGINNING:
            self._place.documents.change(self._kind, name, lambda now: {**now, "asleep": False} if now["asleep"] else None)

    def stop(self, name: str, **own: Any) -> bool:
        """Begin to end it for good, or look how far that is: whether it is gone. `own` is kept until then."""
        kept = self.sleep(name, **own)
        if kept is None:
            return True
        if kept["job"]:
            if not self._has_ended(kept["job"]):
                return False
            with suppress(NotFoundError):
                mlport.Job(kept["job"], self._place.containers).delete()
        folder = self.folder(name)
        for path in folder.iterdir() if folder.exists() else ():
            if path.name not in self._stays:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._place.documents.delete(self._kind, name)
        return True

    def forget(self, pattern: str, named: set[str]) -> None:
        """Remove what is left of those whose name fits and that are gone, but of those that are named."""
        for folder in self._folder.glob(pattern):
            if folder.name not in named and self.get(folder.name) is None:
                shutil.rmtree(folder, ignore_errors=True)
