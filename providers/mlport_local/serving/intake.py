"""Requests as they come in: heads, keys and bodies, whatever the pieces they arrive in.

A body of up to `GATHER` bytes is gathered before a worker is troubled with it, so a slow caller holds up nobody and a
worker that cannot be reached costs nothing; a larger one is passed on as it comes.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from mlport_local.serving.door import Door
from mlport_local.serving.http1 import CHUNKED, MOST_HEAD, NOBODYS, Chunks, Refused, RequestHead, around_length, parse_request
from mlport_local.serving.traffic import Table

if TYPE_CHECKING:
    from mlport_local.serving.switchboard import Switchboard

GATHER = 256 * 1024  # bytes of a body that are waited for before a worker is asked
AHEAD = 256 * 1024  # bytes that a caller may send before its last answer is out
SLOWEST = 4096  # bytes of a body for which its caller gets one more second
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_UNAUTHORIZED = Refused(
    401, "the API key is missing or not good; send it as 'authorization: Bearer KEY'", b'www-authenticate: Bearer realm="mlport"\r\n'
)


class Intake(Door):
    """Takes requests in. What is pipelined behind one waits until it is answered."""

    __slots__ = ("_around", "_authorised", "_body", "_chunks", "_gathered", "_left", "_started")

    def __init__(self, board: Switchboard) -> None:
        super().__init__(board)
        self._around = (b"", b"")  # `_head` as it came, without the body's length
        self._authorised: Table | None = None  # the table that admitted `_head`
        self._body: list[bytes] = []
        self._chunks: Chunks | None = None
        self._gathered, self._left = 0, 0
        self._started = 0.0

    def _dispatch(self) -> None:
        """Send the request on: it is all here, or more than is gathered."""

    def _pass_on(self, piece: bytes) -> bool:
        """Send more of a body after what a worker has of it; whether one has."""
        return False

    def _hold(self) -> bool:
        """Whether a worker is being sought, so that more of the body must wait."""
        return False

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

    # -------------------------------------------------------------- heads

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

    # -------------------------------------------------------------- bodies

    def _begin_body(self, request: RequestHead, rest: bytes) -> None:
        self._received, self._gathered = False, 0
        self._chunks = Chunks() if request.length == CHUNKED else None
        self._left = request.length
        self.deadline = self._board.now + self._board.body_seconds
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
        if self._pass_on(piece):
            return
        self._body.append(piece)
        if self._hold():
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
