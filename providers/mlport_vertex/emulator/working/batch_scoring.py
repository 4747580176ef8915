"""Instances of a batch prediction job on their way through its model server, into files of results and errors."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, Any

from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.working.batch_io import Instance, Read, Unread, in_chunks

Json = dict[str, Any]
Ask = Callable[[Sequence[Any]], list[Any]]
AT_ONCE = 4  # batches under way
MOST_FAILURES = 20  # aiplatform.v1, BatchPredictionJob.partialFailures
LOOK_SECONDS = 0.2
OF_THE_SERVER = ("UNAVAILABLE", "DEADLINE_EXCEEDED")
ERRORS = "prediction.errors_stats-00000-of-00001"


class Scoring:
    """One job's work. Files and counts are written by one thread; no more than a few batches are held.

    Args:
        ask: The predictions for some instances. It raises ApiError.
        should_stop: Whether to leave the rest; it may raise ApiError to end the job.
    """

    def __init__(self, ask: Ask, folder: Path, should_stop: Callable[[], bool]) -> None:
        self._ask, self._folder, self._should_stop = ask, folder, should_stop
        self._looked = time.monotonic()
        self.good = self.bad = 0
        self.failures: list[Json] = []

    def run(self, sources: Sequence[Read], size: int) -> bool:
        """Score every input into a file of its own; whether it came to the end. `size` instances are sent at a time."""
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="batch") as pool, (self._folder / ERRORS).open("w", encoding="utf-8") as errors:
            for number, source in enumerate(sources):
                name = f"prediction.results-{number:05}-of-{len(sources):05}"
                with (self._folder / name).open("w", encoding="utf-8") as results:
                    for lines in _in_order(pool, (partial(self._scored, chunk) for chunk in in_chunks(source, size))):
                        self._keep(lines, results, errors)
                        if self._is_to_stop():
                            return False
        return True

    def _is_to_stop(self) -> bool:
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return False
        self._looked = time.monotonic()
        return self._should_stop()

    def _keep(self, lines: Sequence[Json], results: IO[str], errors: IO[str]) -> None:
        for line in lines:
            if "error" in line:
                self.bad += 1
                if len(self.failures) < MOST_FAILURES:
                    self.failures.append(line["error"])
                errors.write(json.dumps(line) + "\n")
            else:
                self.good += 1
                results.write(json.dumps(line) + "\n")

    def _scored(self, chunk: Sequence[Instance | Unread]) -> list[Json]:
        """A line for each instance: with `prediction`, or with `error`. The order is kept."""
        found = iter(self._predicted([each for each in chunk if isinstance(each, Instance)]))
        return [next(found) if isinstance(each, Instance) else _failed(each.shown, each.error) for each in chunk]

    def _predicted(self, chunk: Sequence[Instance]) -> list[Json]:
        """A batch that fails is asked for one by one, so that only the instances that are at fault are lost."""
        if not chunk:
            return []
        try:
            predictions = self._ask([each.sent for each in chunk])
        except ApiError as error:
            if error.code in OF_THE_SERVER:
                raise
            return [_failed(chunk[0].shown, error)] if len(chunk) == 1 else [line for each in chunk for line in self._predicted([each])]
        return [{**each.shown, "prediction": prediction} for each, prediction in zip(chunk, predictions, strict=True)]


def _failed(shown: Json, error: ApiError) -> Json:
    status = error.rpc()
    return {**shown, "error": {"code": status["code"], "message": status["message"]}}


def _in_order(pool: ThreadPoolExecutor, work: Iterable[Callable[[], list[Json]]]) -> Iterator[list[Json]]:
    """What each piece of work gives, in order, with a few of them under way."""
    waiting: deque[Future[list[Json]]] = deque()
    for each in work:
        waiting.append(pool.submit(each))
        if len(waiting) >= AT_ONCE:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
