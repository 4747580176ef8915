"""Short talks over unix sockets: with a router, a worker, a keeper."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECONDS = 5.0
POKE = "poke"
CONTROL = "control"


def tell(path: Path, message: Mapping[str, Any]) -> dict[str, Any]:
    """Say one thing to a router and hear its answer. Raises OSError when it does not answer, ValueError when it refuses."""
    with socket.socket(socket.AF_UNIX) as talk:
        talk.settimeout(SECONDS)
        talk.connect(str(path))
        talk.sendall(json.dumps(message).encode() + b"\n")
        with talk.makefile("rb") as stream:
            line = stream.readline()
    if not line.endswith(b"\n"):
        raise ConnectionError(f"{path}: no answer")
    answer: dict[str, Any] = json.loads(line)
    if not answer.pop("ok"):
        raise ValueError(f"the router refused {message['do']}: {answer['error']}")
    return answer


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def is_ready(path: Path) -> bool:
    """Whether the worker at this socket says that it is ready."""
    connection = _UnixConnection(path)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def listen(path: Path) -> socket.socket:
    """The keeper's ear: a datagram socket that `poke` wakes."""
    path.unlink(missing_ok=True)
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ear.bind(str(path))
    ear.setblocking(False)
    return ear


def drain(ear: socket.socket) -> None:
    """Forget the pokes that have come."""
    while True:
        try:
            ear.recv(16)
        except BlockingIOError:
            return


def poke(path: Path) -> None:
    """Wake a keeper. One that cannot hear looks by itself within a second."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
        mouth.setblocking(False)
        try:
            mouth.sendto(b".", str(path))
        except OSError:
            return
