"""The hot path: requests given to workers, answers to callers, and bytes passed between them with back-pressure.

A request is sent again to another line only if no worker can have seen it.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from time import perf_counter
from typing import TYPE_CHECKING, Any

from mlport_local.serving.door import IDLE_SECONDS, STUCK_SECONDS
from mlport_local.serving.http1 import CHUNKED, UNTIL_CLOSE, Refused, status_line
from mlport_local.serving.intake import Intake
from mlport_local.serving.line import Line
from mlport_local.serving.traffic import Target, unavailable

if TYPE_CHECKING:
    from mlport_local.serving.switchboard import Switchboard

MOST_TRIES = 3  # lines that one request may be sent to
_LAST_CHUNK = b"0\r\n\r\n"


class Caller(Intake):
    """One connection from outside, and the line to the worker that its request is at."""

    __slots__ = ("_chunked_out", "_line", "_target", "_task", "_tries", "_whole")

    def __init__(self, board: Switchboard) -> None:
        super().__init__(board)
        self._line: Line | None = None
        self._target: Target | None = None
        self._task: asyncio.Task[None] | None = None
        self._tries, self._whole = 0, False  # lines that have carried the request; the body is still all here
        self._chunked_out = False

    def _let_go(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._line is not None:
            self._line.abandon()
            self._line = None

    def _release(self) -> None:
        if self._target is not None:
            self._target.busy -= 1
            self._target = None
        self._tries, self._body = 0, []
        self.busy = False

    def pause_writing(self) -> None:
        self.deadline = self._board.now + STUCK_SECONDS
        if self._line is not None:
            self._line.pause()

    def resume_writing(self) -> None:
        self.deadline = float("inf") if self.busy else self._board.now + IDLE_SECONDS
        if self._line is not None:
            self._line.resume()

    # -------------------------------------------------------------- sending on

    def _pass_on(self, piece: bytes) -> bool:
        if self._line is None or not self._line.carries(self):
            return False
        self._line.send(self._framed(piece))
        return True

    def _hold(self) -> bool:
        return self._task is not None

    def _framed(self, piece: bytes) -> bytes:
        if self._head.length != CHUNKED:
            return piece
        framed = b"%x\r\n%s\r\n" % (len(piece), piece) if piece else b""
        return framed + _LAST_CHUNK if self._received else framed

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
        self._task.add_done_callback(self._connected)

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

    def _connected(self, task: asyncio.Task[None]) -> None:
        """Whatever went wrong on the way to a worker, the caller hears of it."""
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        traceback.print_exception(error, file=sys.stderr)
        self._task = None
        self._count(502)
        self._refuse_and_close(Refused(502, "the router failed to reach a worker; its log says more"))

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

    def _count(self, status: int) -> None:
        if self._target is not None:
            self._target.tally.count(status, perf_counter() - self._started)
