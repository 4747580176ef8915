"""HTTP/1.1 for one application: a small state machine on httptools that holds limits and answers in order.

A connection works on one request at a time. While an answer is due, pipelined requests wait and reading pauses; a
client that sends its head or body too slowly, too large, or reads its answer too slowly, holds up only itself.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httptools

MOST_HEAD = 64 * 1024  # bytes, give or take one read
SLOW_SECONDS = 60.0  # for one request to arrive
IDLE_SECONDS = 620.0  # between requests: longer than the 600 s of load balancers, so that it is they who hang up
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_KEPT = frozenset((b"content-type", b"content-length", b"expect", b"x-request-id", b"x-caller-id"))


class Request:
    """One complete request and the way to answer it.

    Attributes:
        arrived: When its first bytes came, on the server's monotonic clock.
        time: The same in seconds since 1970.
        headers: Those that matter here, by lower-case name.
        refusal: Status and message, when it never became a whole request.
    """

    __slots__ = ("_connection", "arrived", "body", "headers", "keep_alive", "method", "refusal", "target", "time")

    def __init__(self, connection: Connection, arrived: float) -> None:
        self._connection, self.arrived, self.time = connection, arrived, time.time()
        self.method, self.target, self.body = b"", b"", b""
        self.headers: dict[bytes, bytes] = {}
        self.keep_alive = True
        self.refusal: tuple[int, str] | None = None

    def answer(self, status: int, body: bytes, headers: bytes = b"", content_type: bytes = b"application/json") -> None:
        """Send the answer, once. `headers` are further lines, each ended by CRLF."""
        self._connection.send(self, status, body, headers, content_type)


@dataclass
class Server:
    """What all connections share.

    Attributes:
        application: Is given each request, whole or with a `refusal`, and answers it then or later.
        most_body: Bytes; a larger body is refused with 413.
        clock: Monotonic seconds; the event loop's own has steps of a millisecond.
        draining: Every answer is the last of its connection.
    """

    application: Callable[[Request], None]
    most_body: int
    clock: Callable[[], float] = time.monotonic
    connections: set[Connection] = field(default_factory=set)
    draining: bool = False

    def connect(self) -> Connection:
        """The protocol of a new connection."""
        return Connection(self)

    def sweep(self) -> None:
        """Close the connections that are idle or slow for too long; while draining, all that are idle."""
        for connection in tuple(self.connections):
            connection.sweep(self.clock())

    def drain(self) -> None:
        """Let every connection end after the request that it is at."""
        self.draining = True
        self.sweep()

    def abort(self) -> None:
        """End every connection now, whatever it is at."""
        for connection in tuple(self.connections):
            connection.abort()


class Connection(asyncio.Protocol):
    """One client's connection to a `Server`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._waiting: deque[Request] = deque()
        self._current: Request | None = None  # its answer is due
        self._arriving: Request | None = None
        self._parts: list[bytes] = []
        self._head_bytes = self._body_bytes = 0
        self._in_head = False
        self._last = server.clock()
        self._writable, self._failed, self._closing, self._pumping = True, False, False, False

    # -------------------------------------------------------------- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._waiting.clear()
        self._closing = True

    def data_received(self, data: bytes) -> None:
        if self._failed:
            return
        self._last = self._server.clock()
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._decline_upgrade()
        except httptools.HttpParserError as error:
            self._fail(400, f"not an HTTP request: {error}")
        if self._in_head and self._head_bytes > MOST_HEAD:
            self._fail(431, f"the request's head is longer than {MOST_HEAD} bytes")
        self._pump()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._pump()

    # -------------------------------------------------------------- httptools

    def on_message_begin(self) -> None:
        self._arriving = Request(self, self._last)
        self._parts, self._body_bytes, self._in_head = [], 0, True

    def on_url(self, url: bytes) -> None:
        if self._arriving is not None:
            self._arriving.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in _KEPT and self._arriving is not None:
            self._arriving.headers[name] = value

    def on_headers_complete(self) -> None:
        self._in_head = False
        request = self._arriving
        if request is None:
            return
        request.method = self._parser.get_method()
        announced = int(request.headers.get(b"content-length", b"0"))
        if announced > self._server.most_body:
            self._fail(413, f"the body of {announced} bytes is larger than the {self._server.most_body} that are taken")
        elif request.headers.get(b"expect", b"").lower() == b"100-continue" and self._current is None and not self._waiting:
            self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self._server.most_body:
            self._fail(413, f"the body is larger than the {self._server.most_body} bytes that are taken")
        elif not self._failed:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        request, self._arriving = self._arriving, None
        self._head_bytes = 0
        if self._failed or request is None:
            return
        request.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        request.keep_alive = self._parser.should_keep_alive()
        self._parts = []
        self._waiting.append(request)

    # -------------------------------------------------------------- answering

    def send(self, request: Request, status: int, body: bytes, headers: bytes, content_type: bytes) -> None:
        """Write the answer to the request that is due; nothing when its client has gone."""
        if self._current is not request or self._closing:
            return
        self._current = None
        last = not request.keep_alive or self._server.draining
        end = b"connection: close\r\n\r\n" if last else b"\r\n"
        head = b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b" % (_STATUS_LINES[status], content_type, len(body), headers, end)
        self._transport.write(head if request.method == b"HEAD" else head + body)
        if last:
            self._end()
        elif self._waiting:
            self._pump()

    def _pump(self) -> None:
        """Give the application the next request unless an answer is due; read on only when nothing waits."""
        if self._pumping:  # the application answered at once: the loop below goes on
            return
        self._pumping = True
        try:
            while self._waiting and self._current is None and self._writable and not self._closing:
                self._current = self._waiting.popleft()
                self._server.application(self._current)
        finally:
            self._pumping = False
        if self._transport.is_closing():
            return
        if self._waiting:
            self._transport.pause_reading()
        elif not self._transport.is_reading():
            self._transport.resume_reading()

    def _fail(self, status: int, message: str) -> None:
        """Have what arrives answered with an error, after what is due already, and read no further."""
        if self._failed:
            return
        self._failed, self._in_head = True, False
        request, self._arriving = self._arriving or Request(self, self._last), None
        request.refusal, request.keep_alive = (status, message), False
        self._waiting.append(request)

    def _decline_upgrade(self) -> None:
        """Answer as if it had not been asked for, as HTTP allows; what follows is not read."""
        if not self._waiting:
            self._fail(400, "this server speaks HTTP/1.1 only")
        self._failed, self._waiting[-1].keep_alive = True, False

    def _end(self) -> None:
        """Close after the answer. A client that still sends gets its end first, or the reset would eat the answer."""
        self._closing = True
        self._waiting.clear()
        if self._failed and self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def abort(self) -> None:
        """End it now."""
        self._closing = True
        self._transport.abort()

    def sweep(self, now: float) -> None:
        """Close if idle or slow for too long."""
        if self._closing:
            if now - self._last > SLOW_SECONDS:
                self.abort()
        elif self._current is not None or self._waiting:
            return
        elif self._arriving is not None and now - self._arriving.arrived > SLOW_SECONDS:
            self._fail(408, f"the request did not arrive within {SLOW_SECONDS:g} s")
            self._pump()
        elif self._arriving is None and (self._server.draining or now - self._last > IDLE_SECONDS):
            self._end()
