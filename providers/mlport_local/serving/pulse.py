"""Whether a process still answers: asked over its unix socket again and again, without ever waiting for it."""

from __future__ import annotations

import socket
from pathlib import Path

BEGINNING = 0.03  # seconds between questions until it is ready
STEADY = 5.0  # and from then on
LONGEST_STEP = 6.0  # more silence than this cannot have passed since the last look: it was we who were stopped
WORKER = b"GET /v2/health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
ROUTER = b'{"do": "status"}\n'


class Pulse:
    """The questions to one process, and its silence in seconds.

    Args:
        question: What is sent; any answer is a sign of life.
    """

    def __init__(self, path: Path, question: bytes, now: float) -> None:
        self._path, self._question = path, question
        self._talk: socket.socket | None = None
        self._next = self._looked = now
        self.silence = 0.0
        self.last = b""  # the beginning of the last answer

    def look(self, now: float, *, every: float) -> None:
        """Ask if it is time to, and take the answer if there is one."""
        self.silence += min(now - self._looked, LONGEST_STEP)
        self._looked = now
        if self._talk is None and now >= self._next:
            self._ask()
            self._next = now + every
        if self._talk is not None:
            self._listen()

    def close(self) -> None:
        if self._talk is not None:
            self._talk.close()
            self._talk = None

    def _ask(self) -> None:
        talk = socket.socket(socket.AF_UNIX)
        talk.setblocking(False)
        try:
            talk.connect(str(self._path))
            talk.sendall(self._question)
        except OSError:  # not there yet, or its backlog is full: silence
            talk.close()
        else:
            self._talk = talk

    def _listen(self) -> None:
        if self._talk is None:
            return
        try:
            answer = self._talk.recv(1024)
        except BlockingIOError:
            return
        except OSError:
            answer = b""
        if answer:
            self.last, self.silence = answer, 0.0
        self.close()
