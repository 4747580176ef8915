"""Short talks over unix sockets: with a router, with a keeper."""

from __future__ import annotations

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


def borrow(path: Path) -> socket.socket:
    """The listening socket of a living router. Raises OSError when it gives none."""
    with socket.socket(socket.AF_UNIX) as talk:
        talk.settimeout(SECONDS)
        talk.connect(str(path))
        talk.sendall(b'{"do": "listener"}\n')
        _, descriptors, _, _ = socket.recv_fds(talk, 65536, 1)
    if not descriptors:
        raise ConnectionError(f"{path}: the router lends no socket")
    return socket.socket(fileno=descriptors[0])


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
