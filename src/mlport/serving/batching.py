"""Greedy batching: one prediction at a time, and the next batch is whatever has gathered meanwhile.

No request ever waits for others to come. While the model works, requests queue; when it is done, all that queued goes
in at once. Batches that are expected to be short run on the event loop itself, where the gathering happens in the
sockets and nothing has to change threads; longer ones run in the one worker thread.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from mlport.serving.refusals import CrashedError, RefusedError
from mlport.serving.signature import Row

MOST_ROWS = 1024  # more than this in one batch adds delay for the first and little speed for the last
MOST_WAITING = 1024  # requests; beyond this a client had better come back later
INLINE_SECONDS = 0.001  # the event loop may be held up for so long


class Work(Protocol):
    """One request to score: rows for the native path, or a `call` that does all by itself in the thread."""

    rows: list[Row]
    call: Callable[[], Any] | None


Outcome = Sequence[Any] | RefusedError | CrashedError
Settle = Callable[[Sequence[tuple[Any, Any]]], None]


class Batcher:
    """Queues work and hands each batch's outcomes to `settle`, on the event loop.

    Args:
        predict: Scores rows; answers one prediction a row. It is never called twice at once.
        settle: Gets `(work, outcome)` pairs: predictions, or the exception that this work alone deserves.
    """

    def __init__(self, predict: Callable[[list[Row]], Sequence[Any]], settle: Settle, loop: asyncio.AbstractEventLoop) -> None:
        self._predict, self._settle, self._loop = predict, settle, loop
        self._queue: deque[Any] = deque()
        self._busy = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self._last_seconds, self._last_rows = 0.0, 1

    def submit(self, work: Work) -> bool:
        """Queue it; False when too many wait already."""
        if len(self._queue) >= MOST_WAITING:
            return False
        self._queue.append(work)
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._next)
        return True

    def close(self) -> None:
        self._thread.shutdown(wait=True)

    def _next(self) -> None:
        batch = self._take()
        if not batch:
            self._busy = False
        elif self._is_short(batch):
            self._finish(batch, self._score(batch))
        else:
            self._loop.run_in_executor(self._thread, self._score, batch).add_done_callback(lambda done: self._finish(batch, done.result()))

    def _take(self) -> list[Any]:
        """The next call alone, or all rows up to the next call or the limit, in order of arrival."""
        batch: list[Any] = []
        rows = 0
        while self._queue:
            first = self._queue[0]
            if first.call is not None:
                return batch or [self._queue.popleft()]
            rows += len(first.rows)
            if batch and rows > MOST_ROWS:
                return batch
            batch.append(self._queue.popleft())
        return batch

    def _is_short(self, batch: list[Any]) -> bool:
        if batch[0].call is not None:
            return False
        rows = sum(len(work.rows) for work in batch)
        return self._last_seconds * max(1.0, rows / self._last_rows) <= INLINE_SECONDS

    def _finish(self, batch: list[Any], outcomes: list[Any]) -> None:
        try:
            self._settle(list(zip(batch, outcomes, strict=True)))
        finally:  # a fault there must not leave the queue standing
            self._loop.call_soon(self._next)

    def _score(self, batch: list[Any]) -> list[Any]:
        if batch[0].call is not None:
            return [_guarded(batch[0].call)]
        rows = batch[0].rows if len(batch) == 1 else [row for work in batch for row in work.rows]
        started = time.perf_counter()
        predictions = _guarded(lambda: self._predict(rows))
        self._last_seconds, self._last_rows = time.perf_counter() - started, len(rows)
        if len(batch) == 1:
            return [predictions]
        if isinstance(predictions, Exception):  # one of them is to blame: each alone shows which
            return [_guarded(lambda work=work: self._predict(work.rows)) for work in batch]  # type: ignore[misc]
        return _split(predictions, batch)


def _split(predictions: Sequence[Any], batch: list[Any]) -> list[Sequence[Any]]:
    ends = 0
    parts = []
    for work in batch:
        start, ends = ends, ends + len(work.rows)
        parts.append(predictions[start:ends])
    return parts


def _guarded(call: Callable[[], Any]) -> Any:
    """What `call` returns, or its exception as an outcome: a fault of one request must not end the server."""
    try:
        return call()
    except RefusedError as refused:
        return refused
    except Exception as error:  # noqa: BLE001 - the model's own code may raise anything
        return CrashedError.of(error)
