"""One connection from outside: how long it may take, what the router itself says on it, and how it ends."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from mlport_local.serving.http1 import NOBODYS, Refused, RequestHead, status_line
from mlport_local.serving.traffic import unavailable

if TYPE_CHECKING:
    from mlport_local.serving.switchboard import Switchboard

IDLE_SECONDS = 75.0  # between requests
STUCK_SECONDS = 60.0  # for a caller that does not take its answer
LINGER_SECONDS = 5.0  # for a caller to notice that it is refused while it still sends, or, idle, to answer the end of TLS


class Door(asyncio.Protocol):
    """A connection without its requests. One request is under way at a time, from `busy` to `_finish`."""

    __slots__ = (
        "_answering",
        "_board",
        "_buffer",
        "_head",
        "_keep",
        "_received",
        "_request_id",
        "_transport",
        "busy",
        "closing",
        "deadline",
        "loopback",
    )

    def __init__(self, board: Switchboard) -> None:
        self._board = board
        self._transport: Any = None
        self._buffer = b""  # what came and is not yet looked at
        self._head: RequestHead = NOBODYS  # of the request under way, or the last one
        self._received = True  # the whole request is in
        self._request_id = b""
        self._keep, self._answering = True, False
        self.busy, self.closing, self.loopback = False, False, False
        self.deadline = board.now + IDLE_SECONDS

    def _next(self) -> None:
        """Begin with what is in the buffer."""

    def _let_go(self) -> None:
        """The request under way is given up."""

    def _release(self) -> None:
        """The request under way is over."""
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.loopback = not isinstance(peer, tuple) or peer[0].startswith("127.") or peer[0] in ("::1", "")
        self._board.callers.add(self)
        if len(self._board.callers) > self._board.most_callers:
            self._turn_away()

    def _turn_away(self) -> None:
        """More callers than are served at once: some are told so, and beyond twice as many none is."""
        self._board.counters["turned_away"] += 1
        if len(self._board.callers) > 2 * self._board.most_callers:
            self._abort()
        else:
            self._refuse_and_close(unavailable(f"{self._board.most_callers} connections are open, and more are not taken"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self._board.hang_up(self)
        self._let_go()
        if self.busy:
            self._board.counters["hung_up"] += 1
            self._release()

    # -------------------------------------------------------------- the router's own answers

    def _own(self, request: RequestHead) -> None:
        status, kind, body = self._board.own(request)
        self._send(status, kind, body if request.method != b"HEAD" else b"", len(body))
        self._finish()

    def _refuse(self, refused: Refused) -> None:
        """Answer with an error; the connection stays good if the whole request is in."""
        self._keep = self._keep and self._received
        self._send(refused.status, b"application/json", *self._explained(refused), refused.headers)
        self._finish()

    def _refuse_and_close(self, refused: Refused) -> None:
        self._keep = False
        self._board.counters["refused"] += 1
        self._let_go()
        if self._answering:
            self._abort()
            return
        if not self.busy:  # no head has come that could say more
            self._head, self._received = NOBODYS, False
            self._request_id = self._board.request_id()
        self._send(refused.status, b"application/json", *self._explained(refused), refused.headers)
        self._finish()

    def _explained(self, refused: Refused) -> tuple[bytes, int]:
        body = json.dumps({"error": refused.message, "request_id": self._request_id.decode()}).encode()
        return (b"" if self._head.method == b"HEAD" else body), len(body)

    def _send(self, status: int, kind: bytes, body: bytes, length: int, extra: bytes = b"") -> None:
        if self.closing:
            return
        connection = b"connection: close\r\n" if not self._keep else (b"" if self._head.modern else b"connection: keep-alive\r\n")
        self._transport.write(
            b"%scontent-type: %s\r\ncontent-length: %d\r\nx-request-id: %s\r\n%s%s\r\n%s"
            % (status_line(status), kind, length, self._request_id, extra, connection, body)
        )

    # -------------------------------------------------------------- ends

    def _finish(self) -> None:
        """The request is done with: go on to what is pipelined behind it, or end the connection."""
        self._release()
        if self.closing:
            return
        if not self._keep or self._board.draining:
            self._hang_up()
            return
        if self._buffer:
            self.deadline = self._board.now + self._board.head_seconds
            self._transport.resume_reading()
            self._board.loop.call_soon(self._continue)
        else:
            self.deadline = self._board.now + IDLE_SECONDS

    def _hang_up(self) -> None:
        """End the connection after what is written. A caller that still sends would lose the answer to a hard close."""
        self.closing = True
        if self._received:
            self.deadline = self._board.now + STUCK_SECONDS
            self._transport.close()
        else:
            self.deadline = self._board.now + LINGER_SECONDS
            self._transport.resume_reading()
            if self._transport.can_write_eof():
                self._transport.write_eof()
            else:  # TLS has no half of an end
                self._transport.close()

    def _continue(self) -> None:
        if not self.busy and not self.closing and self._buffer:
            self._next()

    def _abort(self) -> None:
        self._release()
        self.closing = True
        self._transport.abort()

    def sweep(self, now: float) -> None:
        """Called about once a second: end what takes too long, and what is idle while the router drains."""
        if self._board.draining and not self.busy and not self.closing:
            self.closing = True
            self.deadline = now + (STUCK_SECONDS if self._transport.get_write_buffer_size() else LINGER_SECONDS)
            self._transport.close()
        elif now > self.deadline:
            if self.closing or self._answering or (not self.busy and not self._buffer):
                self._transport.abort()
            else:
                self._refuse_and_close(Refused(408, "the request took too long to arrive"))
