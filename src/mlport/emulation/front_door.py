"""The front door: a CONNECT proxy on loopback that answers for the vendors' real host names, and for no other.

A program that is given `https_proxy` and the authority's certificate speaks TLS to what it takes for the vendor. What
comes out in the clear goes to the emulator that answers for that host: to its gRPC port if the two agreed on HTTP/2,
to its HTTP port otherwise. Every other host gets 403, so nothing leaves the machine by mistake.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from mlport.emulation.authority import Authority

MOST_HEAD = 16 * 1024  # bytes of a CONNECT request
HEAD_SECONDS = 30.0
QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux only
REFUSED = b"HTTP/1.1 %d %s\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"


@dataclass(frozen=True, slots=True)
class Backend:
    """Where an emulator listens in the clear, on loopback. `grpc` is None for one that speaks HTTP only."""

    http: int
    grpc: int | None = None


class FrontDoor:
    """Listens until closed. `route` gives the backend of a host name, None for a host that nobody here answers for."""

    def __init__(self, authority: Authority, route: Callable[[str], Backend | None]) -> None:
        self.authority, self.route = authority, route
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Transport] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Begin to listen; the port."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Caller(self), host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening, and hang up."""
        if self._server:
            self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for transport in list(self._open):
            transport.abort()
        if self._server:
            await self._server.wait_closed()

    # ---------------------------------------------------------------- for a caller's connection

    def opened(self, transport: asyncio.Transport) -> None:
        self._open.add(transport)

    def gone(self, transport: asyncio.Transport) -> None:
        self._open.discard(transport)

    def begin(self, transport: asyncio.Transport, head: bytes) -> None:
        """Answer a CONNECT in a task of its own."""
        task = asyncio.get_running_loop().create_task(self._tunnel(transport, head))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tunnel(self, transport: asyncio.Transport, head: bytes) -> None:
        host = _connect_host(head)
        if host is None:
            refuse(transport, 405, "this proxy knows CONNECT only, as https_proxy makes clients send it")
            return
        backend = self.route(host)
        if backend is None:
            refuse(transport, 403, f"no emulator answers for {host}, and nothing is passed on to the real one")
            return
        transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await self._splice(transport, host, backend)

    async def _splice(self, transport: asyncio.Transport, host: str, backend: Backend) -> None:
        loop = asyncio.get_running_loop()
        near, far = _Half(), _Half()
        try:
            outer = await loop.start_tls(
                transport, near, self.authority.context(host), server_side=True, ssl_handshake_timeout=HEAD_SECONDS
            )
        except (OSError, EOFError):  # the caller does not trust us, or hung up: TLS has told it already
            transport.abort()
            return
        except asyncio.CancelledError:  # the door is closed meanwhile
            transport.abort()
            raise
        outer = cast("asyncio.Transport", outer)
        self.opened(outer)
        near.transport = outer
        speaks_http2 = outer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        port = backend.grpc if speaks_http2 and backend.grpc else backend.http
        try:
            await loop.create_connection(lambda: far, "127.0.0.1", port)
        except OSError:
            outer.abort()
            return
        near.join(far, lambda: self.gone(outer))
        far.join(near)


class _Caller(asyncio.Protocol):
    """Reads one request head, and hands the connection over."""

    def __init__(self, door: FrontDoor) -> None:
        self._door = door
        self._head = bytearray()
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._timer = asyncio.get_running_loop().call_later(HEAD_SECONDS, self._transport.abort)
        self._door.opened(self._transport)

    def data_received(self, data: bytes) -> None:
        self._head += data
        if len(self._head) > MOST_HEAD:
            refuse(self._transport, 431, "the request's head is too long")
        elif b"\r\n\r\n" in self._head:
            self._timer.cancel()
            self._transport.pause_reading()
            self._door.gone(self._transport)
            self._door.begin(self._transport, bytes(self._head))

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._door.gone(self._transport)


class _Half(asyncio.Protocol):
    """One side of a splice: what it reads the other writes, no faster than that can be sent."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._held = bytearray()
        self._ended = False
        self._other: _Half | None = None
        self._on_lost: Callable[[], None] = lambda: None

    def join(self, other: _Half, on_lost: Callable[[], None] = lambda: None) -> None:
        """Begin to pass on, what came meanwhile first."""
        self._other, self._on_lost = other, on_lost
        if self._held:
            other.write(bytes(self._held))
            self._held.clear()
        if self._ended:
            self.connection_lost(None)

    def write(self, data: bytes) -> None:
        if self.transport and not self.transport.is_closing():
            self.transport.write(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        _acknowledge(self.transport)
        if self._other:
            self._other.write(data)
        else:
            self._held += data

    def pause_writing(self) -> None:
        self._set_reading(False)

    def resume_writing(self) -> None:
        self._set_reading(True)

    def _set_reading(self, on: bool) -> None:
        reader = self._other.transport if self._other else None
        if reader and not reader.is_closing():
            with contextlib.suppress(RuntimeError):  # it was so already
                reader.resume_reading() if on else reader.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side ends as this one did: a reset stays a reset."""
        self._ended = True
        self._on_lost()
        if self._other and self._other.transport:
            (self._other.transport.abort if exc else self._other.transport.close)()


def _acknowledge(transport: asyncio.Transport | None) -> None:
    """Tell the sender at once that it arrived.

    urllib3 turns Nagle's algorithm on towards a proxy, and then sends a request's body only when its head is acknowledged,
    which Linux does 40 ms late.
    """
    sock = transport.get_extra_info("socket") if transport else None
    if sock is not None and QUICK_ACK is not None:
        with contextlib.suppress(OSError):  # the connection has just ended
            sock.setsockopt(socket.IPPROTO_TCP, QUICK_ACK, 1)


def _connect_host(head: bytes) -> str | None:
    """The host of `CONNECT host:443 HTTP/1.1`, None for any other request."""
    words = head.split(b"\r\n", 1)[0].split()
    if len(words) != 3 or words[0] != b"CONNECT":
        return None
    host, _, port = words[1].decode("latin-1").rpartition(":")
    return host.lower() if port == "443" else ""


def refuse(transport: asyncio.Transport, status: int, why: str) -> None:
    """Answer with an error and hang up."""
    phrase = {403: b"Forbidden", 405: b"Method Not Allowed", 431: b"Request Header Fields Too Large"}[status]
    body = f"mlport emulators: {why}\n".encode()
    transport.write(REFUSED % (status, phrase, len(body), body))
    transport.close()
