"""The emulator put together: which service answers for which host, and for which path on the direct address."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from mlport.emulation.calls import Call, Reply
from mlport.emulation.faults import Faults
from mlport.emulation.spi import Access
from mlport_vertex.emulator.place import LOCATION, PROJECTS, Place
from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.protocol.rest import Service, failure
from mlport_vertex.emulator.protocol.tokens import service_account
from mlport_vertex.emulator.services import services

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class VertexRunning:
    """A running emulator."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        self.place = Place(folder, faults)
        self.services: Sequence[Service] = services(self.place)

    def _service(self, call: Call) -> Service | None:
        direct = call.host in LOOPBACK
        return next((each for each in self.services if (each.claims(call.path) if direct else each.answers_for(call.host))), None)

    def answers_for(self, host: str) -> bool:
        return any(each.answers_for(host) for each in self.services)

    def answer(self, call: Call) -> Reply:
        service = self._service(call)
        if service is None:
            return ApiError("NOT_FOUND", f"No service of the emulator has {call.method} {call.path}").reply()
        return service.answer(call)

    def failure(self, call: Call, status: int) -> Reply:
        service = self._service(call)
        return service.failure(call, status) if service else failure(status)

    def grpc_handlers(self, answer: Callable[[Call], Reply]) -> Sequence[Any]:
        from mlport_vertex.emulator.protocol.grpc_bridge import Bridge

        return [Bridge(answer)]

    def environment(self, folder: Path) -> Mapping[str, str]:
        credentials = str(service_account(folder, PROJECTS[0]))
        return {"GOOGLE_APPLICATION_CREDENTIALS": credentials, "GOOGLE_CLOUD_PROJECT": PROJECTS[0], "GOOGLE_CLOUD_REGION": LOCATION}

    def target(self, access: Access, account: int = 0) -> str:
        project = PROJECTS[account]
        credentials = access.folder / "vertex" / "credentials" / "service_account.json"
        fields = {
            "staging": f"gs://{project}-mlport/mlport",
            "server_image": f"{LOCATION}-docker.pkg.dev/{project}/mlport/server:latest",
            "build_repository": f"{LOCATION}-docker.pkg.dev/{project}/mlport",
            "proxy": access.proxy,
            "ca": str(access.ca),
            "credentials": str(credentials),
        }
        return f"vertex://{project}/{LOCATION}?{urlencode(fields)}"

    def started(self, url: str, environment: Mapping[str, str]) -> None:
        self.place.url, self.place.environment = url, environment
        self.place.start()

    def end_work(self) -> None:
        self.place.end_work()

    def close(self) -> None:
        self.place.close()
