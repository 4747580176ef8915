"""The hot path: callers' connections, lines to workers, and bytes passed between them with back-pressure.

A `Caller` works on one request at a time; what is pipelined behind it waits. A body of up to `GATHER` bytes is
gathered before a worker is troubled with it, so a slow caller holds up nobody and a worker that cannot be reached
costs nothing; a larger one is streamed. A request is sent again to another line only if no worker can have seen it.
"""

from __future__ import annotations

import asyncio
import json
from time import perf_counter
from typing import TYPE_CHECKING, Any

from mlport_local.serving.http1 import (
    CHUNKED,
    MOST_HEAD,
    NOBODYS,
    UNTIL_CLOSE,
    Chunks,
    Refused,
    RequestHead,
    around_length,
    parse_request,
    status_line,
)
from mlport_local.serving.line import Line
from mlport_local.serving.traffic import Table, Target, unavailable

if TYPE_CHECKING:
    from mlport_local.serving.switchboard import Switchboard

GATHER = 256 * 1024  # bytes of a body that are waited for before a worker is asked
AHEAD = 256 * 1024  # bytes that a caller may send before its last answer is out
BODY_SECONDS = 30.0  # for a body to arrive, and one more for each SLOWEST bytes
SLOWEST = 4096  # bytes a second
IDLE_SECONDS = 75.0  # between requests
STUCK_SECONDS = 60.0  # for a caller that does not take its answer
MOST_TRIES = 3  # lines that one request may be sent to
LINGER_SECONDS = 5.0  # for a caller to notice that it is refused while it still sends
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_UNAUTHORIZED = Refused(
    401, "the API key is missing or not good; send it as 'authorization: Bearer KEY'", b'www-authenticate: Bearer realm="mlport"\r\n'
)


class Caller(asyncio.Protocol):
    """One connection from outside."""

    __slots__ = (
        "_answering",
        "_around",
        "_authorised",
        "_board",
        "_body",
        "_buffer",
        "_chunked_out",
        "_chunks",
        "_gathered",
        "_head",
        "_keep",
        "_left",
        "_line",
        "_received",
        "_request_id",
        "_started",
        "_target",
        "_task",
        "_transport",
        "_tries",
        "_whole",
        "busy",
        "closing",
        "deadline",
        "loopback",
    )  # fmt: skip

    def __init__(self, board: Switchboard) -> None:
        self._board = board
        self._transport: Any = None
        self._buffer = b""
        self._head = NOBODYS  # of the request under way, or the last one
        self._around = (b"", b"")  # `_head` as it came, without the body's length
        self._authorised: Table | None = None  # the table that admitted `_head`
        self._body: list[bytes] = []
        self._chunks: Chunks | None = None
        self._gathered, self._received, self._left = 0, True, 0
        self._line: Line | None = None
        self._target: Target | None = None
        self._task: asyncio.Task[None] | None = None
        self._request_id, self._started = b"", 0.0
        self._tries, self._whole = 0, False  # lines that have carried the request; the body is still all here
        self._keep, self._answering, self._chunked_out = True, False, False
        self.busy, self.closing, self.loopback = False, False, False
        self.deadline = board.now + IDLE_SECONDS

    # -------------------------------------------------------------- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.loopback = not isinstance(peer, tuple) or peer[0].startswith("127.") or peer[0] in ("::1", "")
        self._board.callers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self._board.hang_up(self)
        if self._task is not None:
            self._task.cancel()
        if self._line is not None:
            self._line.abandon()
        if self.busy:
            self._board.counters["hung_up"] += 1
            self._release()

    def data_received(self, data: bytes) -> None:
        if self.closing:
            return
        if self.busy and not self._received:
            self._take_body(data)
            return
        if self.busy:
            self._buffer += data
            if len(self._buffer) > AHEAD:
                self._transport.pause_reading()
            return
        if not self._buffer:
            self.deadline = self._board.now + self._board.head_seconds
            self._buffer = data
        else:
            self._buffer += data
        self._next()

    def eof_received(self) -> bool:
        """A caller that has said all may still hear its answer."""
        if self.closing or not self.busy or not self._received:
            return False
        self._keep = False
        return True

    def pause_writing(self) -> None:
        self.deadline = self._board.now + STUCK_SECONDS
        if self._line is not None:
            self._line.pause()

    def resume_writing(self) -> None:
        self.deadline = float("inf") if self.busy else self._board.now + IDLE_SECONDS
        if self._line is not None:
            self._line.resume()

    # -------------------------------------------------------------- requests

    def _next(self) -> None:
        """Begin with the request at the start of the buffer, if its head is whole."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or end > MOST_HEAD:
            if len(self._buffer) > MOST_HEAD:
                self._refuse_and_close(Refused(431, f"the request's head is longer than {MOST_HEAD} bytes"))
            return
        head, rest = self._buffer[: end + 4], self._buffer[end + 4 :]
        self._buffer = b""
        self.busy, self._received, self._answering, self._started = True, False, False, perf_counter()
        self._tries = 0
        self._request_id = self._board.request_id()
        try:
            request = self._admit(head)
        except Refused as refused:
            self._refuse_and_close(refused)
            return
        self._keep = request.keep_alive and not self._board.draining
        if request.target in (b"/healthz", b"/metrics") and request.length == 0:
            self._received, self._buffer = True, rest
            self._own(request)
            return
        if request.length == 0:
            self._received, self._buffer = True, rest
            self._dispatch()
        elif 0 < request.length <= len(rest):
            self._received, self._buffer = True, rest[request.length :]
            self._body = [rest[: request.length]]
            self._dispatch()
        else:
            self._begin_body(request, rest)

    def _admit(self, head: bytes) -> RequestHead:
        """The parsed head, once its key is found good.

        A connection that repeats its head but for the body's length, as most do, is not examined again. It is compared
        with its own last head only, so the time that this takes tells nobody about the keys of others.
        """
        table = self._board.table
        if self._authorised is table and table.lasting and self._repeats(head):
            request = self._head
        else:
            self._authorised, self._head, self._around = None, NOBODYS, (b"", b"")
            request = self._head = parse_request(head)
            self._around = around_length(head)
            if self._wants_key(request):
                if not table.admits(request.key):
                    self._board.counters["unauthorized"] += 1
                    raise _UNAUTHORIZED
                self._authorised = table
        if request.length > self._board.most_body:
            raise Refused(413, f"the body has {request.length} bytes; at most {self._board.most_body} are taken")
        return request

    def _repeats(self, head: bytes) -> bool:
        before, after = self._around
        if not after:
            return head == before
        length = head[len(before) : -len(after)]
        if not (length.isdigit() and len(length) < 16 and head.startswith(before) and head.endswith(after)):
            return False
        self._head.length = int(length)
        return True

    def _wants_key(self, request: RequestHead) -> bool:
        return not (request.target == b"/healthz" or (request.target == b"/metrics" and self.loopback))

    def _begin_body(self, request: RequestHead, rest: bytes) -> None:
        self._received, self._gathered = False, 0
        self._chunks = Chunks() if request.length == CHUNKED else None
        self._left = request.length
        self.deadline = self._board.now + BODY_SECONDS
        if request.expects_continue and not rest:
            self._transport.write(_CONTINUE)
        if rest:
            self._take_body(rest)

    def _take_body(self, data: bytes) -> None:
        """Part of the body has come: gather it, or pass it on where a worker has the rest already."""
        self.deadline += len(data) / SLOWEST
        try:
            piece = self._split_body(data)
        except Refused as refused:
            self._refuse_and_close(refused)
            return
        self._gathered += len(piece)
        if self._gathered > self._board.most_body:
            self._refuse_and_close(Refused(413, f"the body has more than the {self._board.most_body} bytes that are taken"))
            return
        if self._received:
            self.deadline = float("inf")
        if self._line is not None and self._line.carries(self):
            self._line.send(self._framed(piece))
            return
        self._body.append(piece)
        if self._task is not None:
            if self._gathered > GATHER:
                self._transport.pause_reading()
        elif self._received or self._gathered > GATHER:
            self._dispatch()

    def _split_body(self, data: bytes) -> bytes:
        if self._chunks is not None:
            piece = self._chunks.feed(data)
            if self._chunks.done:
                self._received, self._buffer, self._chunks = True, self._chunks.rest, None
            return piece
        piece = data[: self._left]
        self._left -= len(piece)
        if self._left == 0:
            self._received, self._buffer = True, data[len(piece) :]
        return piece

    def _framed(self, piece: bytes) -> bytes:
        if self._head.length != CHUNKED:
            return piece
        framed = b"%x\r\n%s\r\n" % (len(piece), piece) if piece else b""
        return framed + _LAST_CHUNK if self._received else framed

    # -------------------------------------------------------------- sending on

    def _dispatch(self) -> None:
        """Give the request to an idle line of the deployment drawn; connect where there is none."""
        head = self._head
        self.deadline = float("inf") if self._received else self.deadline
        try:
            candidates = self._board.table.candidates(head.deployment)
            target = next(candidates)
        except Refused as refused:
            self._refuse(refused)
            return
        target.busy += 1
        self._target = target
        while target.idle:
            line = target.idle.pop()
            if line.usable:
                self._hand_over(line)
                return
        self._task = self._board.loop.create_task(self._connect(target, candidates))

    async def _connect(self, target: Target, candidates: Any) -> None:
        """A new line to the first candidate that can be reached. Nothing was sent, so trying the next is safe."""
        while True:
            try:
                line = await self._board.connect(target)
            except OSError:
                following = next(candidates, None)
                if following is None:
                    self._task = None
                    self._count(503)
                    self._refuse(unavailable(f"no worker of deployment {target.name!r} can be reached; it may be starting"))
                    return
                target.busy -= 1
                target = self._target = following
                target.busy += 1
            else:
                self._task = None
                self._hand_over(line)
                if not self._received and not self.closing:
                    self._transport.resume_reading()
                return

    def _hand_over(self, line: Line) -> None:
        head, body = self._head, b"".join(self._body)
        self._body = [body] if self._received else []
        self._whole = self._received
        self._tries += 1
        self._line = line
        framing = b""
        if self._received:
            if body or head.length:
                framing = b"content-length: %d\r\n" % len(body)
        elif head.length == CHUNKED:
            framing = b"transfer-encoding: chunked\r\n"
            body = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
        else:
            framing = b"content-length: %d\r\n" % head.length
        line.ask(self, head.method, self._request_id, b"%sx-request-id: %s\r\n%s\r\n%s" % (head.forward, self._request_id, framing, body))

    def pause_reading(self) -> None:
        """The worker takes no more for now."""
        if not self._received:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """The worker takes more."""
        if not self._received and not self.closing:
            self._transport.resume_reading()

    # -------------------------------------------------------------- answers

    @property
    def sent_all(self) -> bool:
        """Whether the worker has been given the whole request."""
        return self._received

    def answer_head(self, status: int, forward: bytes, length: int, body: bytes) -> None:
        """A worker's head, with what of its body came with it. `length` as in `ResponseHead`."""
        head, target = self._head, self._target
        if target is None or self.closing:
            return
        self._answering = True
        self._chunked_out = length in (CHUNKED, UNTIL_CLOSE) and head.modern
        if length in (CHUNKED, UNTIL_CLOSE):
            self._keep = self._keep and head.modern
            framing = b"transfer-encoding: chunked\r\n" if head.modern else b""
            body = self._chunk(body)
        elif length > 0 or (status >= 200 and status not in (204, 304) and head.method != b"HEAD"):
            framing = b"content-length: %d\r\n" % length
        else:
            framing = b""
        if not self._received:
            self._keep = False  # the worker answered before it had it all
        connection = b"" if self._keep and head.modern else (b"connection: keep-alive\r\n" if self._keep else b"connection: close\r\n")
        self._transport.write(
            b"%s%s%sx-request-id: %s\r\n%s%s\r\n%s"
            % (status_line(status), forward, framing, self._request_id, target.signature, connection, body)
        )

    def answer_more(self, body: bytes) -> None:
        """More of a worker's body."""
        self._transport.write(self._chunk(body))

    def _chunk(self, body: bytes) -> bytes:
        return b"%x\r\n%s\r\n" % (len(body), body) if self._chunked_out and body else body

    def answered(self, status: int) -> None:
        """The worker's answer is whole."""
        if self._chunked_out:
            self._transport.write(_LAST_CHUNK)
        self._line = None
        self._count(status)
        self._finish()

    def failed(self, status: int, message: str, *, silent: bool, unread: bool) -> None:
        """The line broke, or the worker spoke nonsense.

        Args:
            silent: No byte of an answer had come.
            unread: The worker had not read the whole request, so it cannot have acted on it.
        """
        self._line = None
        again = unread or (silent and self._head.repeatable)
        if again and self._received and self._whole and self._tries < MOST_TRIES and self._target is not None:
            self._target.busy -= 1
            self._target = None
            self._dispatch()
            return
        self._count(status)
        if self._answering:
            self._abort()
        else:
            self._refuse(Refused(status, message))

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
        if self._line is not None:
            self._line.abandon()
            self._line = None
        if self._answering:
            self._abort()
            return
        if not self.busy:  # no head has come that could say more
            self._head, self._authorised, self._received = NOBODYS, None, False
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

    def _count(self, status: int) -> None:
        if self._target is not None:
            self._target.tally.count(status, perf_counter() - self._started)

    def _release(self) -> None:
        if self._target is not None:
            self._target.busy -= 1
            self._target = None
        self.busy = False

    def _finish(self) -> None:
        """The request is done with: go on to what is pipelined behind it, or end the connection."""
        self._release()
        self._body = []
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
            self._transport.write_eof()

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
            self._transport.close()
        elif now > self.deadline:
            if self.closing or self._answering or (not self.busy and not self._buffer):
                self._transport.abort()
            else:
                self._refuse_and_close(Refused(408, "the request took too long to arrive"))
