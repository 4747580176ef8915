"""One connection to a worker, kept open between requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mlport_local.serving.http1 import CHUNKED, MOST_HEAD, UNTIL_CLOSE, Chunks, Refused, ResponseHead, parse_response

if TYPE_CHECKING:
    from mlport_local.serving.relay import Caller
    from mlport_local.serving.switchboard import Switchboard
    from mlport_local.serving.traffic import Target

MOST_REMEMBERED = 512
_UNREAD = (ConnectionResetError, BrokenPipeError)
"""How a unix socket ends whose other side had not read all that was sent; had it read all, the end would be a plain one."""
_remembered: dict[tuple[bytes, bytes], ResponseHead] = {}


def response_head(head: bytes, method: bytes, request_id: bytes) -> ResponseHead:
    """`parse_response`, remembered: but for the request id, a worker's heads are mostly the same."""
    key = (method, head.replace(request_id, b""))
    found = _remembered.get(key)
    if found is None:
        if len(_remembered) >= MOST_REMEMBERED:
            _remembered.clear()
        found = _remembered[key] = parse_response(head, method)
    return found


class Line(asyncio.Protocol):
    """Carries one request at a time; goes back to its target's idle ones when the answer is whole."""

    __slots__ = (
        "_board",
        "_buffer",
        "_caller",
        "_chunks",
        "_head",
        "_left",
        "_method",
        "_paused",
        "_request_id",
        "_target",
        "_transport",
        "deadline",
        "usable",
    )

    def __init__(self, board: Switchboard, target: Target) -> None:
        self._board, self._target = board, target
        self._transport: Any = None
        self._caller: Caller | None = None
        self._method, self._request_id = b"", b""
        self._head: ResponseHead | None = None
        self._buffer = b""
        self._left = 0
        self._chunks: Chunks | None = None
        self._paused = False
        self.usable = False
        self.deadline = float("inf")

    # -------------------------------------------------------------- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.usable = True
        self._board.lines.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self._board.lines.discard(self)
        if self in self._target.idle:
            self._target.idle.remove(self)
        if self._caller is None:
            return
        if self._head is not None and self._head.length == UNTIL_CLOSE and exc is None:
            self._complete(self._caller, self._head)
        else:
            silent = not self._buffer and self._head is None
            self._fail("the worker ended before it answered", silent=silent, unread=silent and isinstance(exc, _UNREAD))

    def data_received(self, data: bytes) -> None:
        if self._caller is None:
            self.close()  # it speaks without being asked
            return
        try:
            if self._head is None:
                self._read_head(self._caller, data)
            else:
                self._read_body(self._caller, data)
        except (ValueError, Refused) as error:
            self._fail(f"the worker's answer is not HTTP: {error}")

    def pause_writing(self) -> None:
        if self._caller is not None:
            self._caller.pause_reading()

    def resume_writing(self) -> None:
        if self._caller is not None:
            self._caller.resume_reading()

    # -------------------------------------------------------------- asked by the caller

    def ask(self, caller: Caller, method: bytes, request_id: bytes, data: bytes) -> None:
        """Send a request; `caller` hears of the answer."""
        self._caller, self._method, self._request_id = caller, method, request_id
        self.deadline = self._board.now + self._board.answer_seconds
        self._transport.write(data)

    def carries(self, caller: Caller) -> bool:
        return self._caller is caller

    def send(self, data: bytes) -> None:
        """More of the body."""
        self.deadline = self._board.now + self._board.answer_seconds
        if data:
            self._transport.write(data)

    def pause(self) -> None:
        self._paused = True
        self._transport.pause_reading()
        self.deadline = float("inf")  # it is the caller that is slow

    def resume(self) -> None:
        self._paused = False
        self._transport.resume_reading()
        self.deadline = self._board.now + self._board.answer_seconds

    def abandon(self) -> None:
        """The caller is gone."""
        self._caller = None
        self.close()

    def close(self) -> None:
        self.usable = False
        self._transport.abort()

    def sweep(self, now: float) -> None:
        """End the wait for an answer that takes too long."""
        if self._caller is not None and now > self.deadline:
            self._fail(f"the worker did not answer within {self._board.answer_seconds:g} s", status=504)

    # -------------------------------------------------------------- the answer

    def _read_head(self, caller: Caller, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > MOST_HEAD:
                raise ValueError("its head does not end")
            self._buffer = buffer
            return
        head = response_head(buffer[: end + 4], self._method, self._request_id)
        rest = buffer[end + 4 :] if len(buffer) > end + 4 else b""
        self._buffer = b""
        if head.status < 200:  # 100 Continue: the router has seen to that itself
            if rest:
                self._read_head(caller, rest)
            return
        self._head, self._left = head, head.length
        self._chunks = Chunks() if head.length == CHUNKED else None
        caller.answer_head(head.status, head.forward, head.length, self._body(rest))
        self._look_for_end(caller, head)

    def _read_body(self, caller: Caller, data: bytes) -> None:
        self.deadline = self._board.now + self._board.answer_seconds
        if piece := self._body(data):
            caller.answer_more(piece)
        if self._head is not None:
            self._look_for_end(caller, self._head)

    def _body(self, data: bytes) -> bytes:
        if self._chunks is not None:
            return self._chunks.feed(data)
        if self._left == UNTIL_CLOSE:
            return data
        if len(data) > self._left:
            raise ValueError("its body is longer than it said")
        self._left -= len(data)
        return data

    def _look_for_end(self, caller: Caller, head: ResponseHead) -> None:
        if self._left == 0 or (self._chunks is not None and self._chunks.done):
            self._complete(caller, head)

    def _complete(self, caller: Caller, head: ResponseHead) -> None:
        self._caller = self._head = self._chunks = None
        self.deadline = float("inf")
        if not head.keep_alive or not caller.sent_all:
            self.close()
        elif self.usable and not self._transport.is_closing():
            if self._paused:
                self.resume()
                self.deadline = float("inf")
            self._board.keep(self._target, self)
        caller.answered(head.status)

    def _fail(self, message: str, *, status: int = 502, silent: bool = False, unread: bool = False) -> None:
        caller, self._caller = self._caller, None
        self.close()
        if unread:
            self._target.forget_lines()
        if caller is not None:
            caller.failed(status, message, silent=silent, unread=unread)
