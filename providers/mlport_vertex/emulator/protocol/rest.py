"""A service of Google's: one host, one or more API descriptions, and what each method does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from mlport.emulation.calls import Call, Reply
from mlport_vertex.emulator.protocol.api import Api, Handler
from mlport_vertex.emulator.protocol.errors import CODES, OF_STATUS, ApiError


class Service(Protocol):
    """One of Google's services."""

    def answers_for(self, host: str) -> bool: ...

    def claims(self, path: str) -> bool:
        """Whether a path on the direct address is one of its own."""

    def answer(self, call: Call) -> Reply: ...

    def failure(self, call: Call, status: int) -> Reply: ...


class RestService:
    """A service that one or more of Google's API descriptions describe wholly."""

    def __init__(self, hosts: str, documents: tuple[str, ...], handlers: Mapping[str, Handler]) -> None:
        self._hosts = re.compile(hosts)
        self._api = Api(documents, handlers)

    def answers_for(self, host: str) -> bool:
        return bool(self._hosts.fullmatch(host))

    def claims(self, path: str) -> bool:
        return self._api.claims(path)

    def answer(self, call: Call) -> Reply:
        return self._api.answer(call)

    def failure(self, call: Call, status: int) -> Reply:
        return failure(status)


def failure(status: int) -> Reply:
    """A fault on demand, as Google words it."""
    code = OF_STATUS.get(status, "UNKNOWN")
    said = {429: "Resource has been exhausted (e.g. check quota).", 503: "The service is currently unavailable."}
    error = ApiError(code, said.get(status, "Internal error encountered." if status >= 500 else f"The request was refused ({status})."))
    reply = error.reply()
    return Reply(status, reply.body, reply.headers) if CODES[code][1] != status else reply
