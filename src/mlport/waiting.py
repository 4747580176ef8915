"""Waiting and backoff as data: what to try, when to stop, and how long between, with time handed in."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from mlport.errors import DeadlineError, MlportError

T = TypeVar("T")


def delays(*, first: float = 0.02, factor: float = 1.5, ceiling: float = 5.0) -> Iterator[float]:
    """Seconds to sleep between looks, growing from `first` by `factor` up to `ceiling`, without end.

    >>> from itertools import islice
    >>> list(islice(delays(first=1, factor=2, ceiling=5), 4))
    [1, 2, 4, 5]
    """
    pause = first
    while True:
        yield min(pause, ceiling)
        pause = min(pause * factor, ceiling)


def wait_until(
    poll: Callable[[], T],
    done: Callable[[T], bool],
    *,
    pauses: Iterator[float] | None = None,
    timeout: float | None = None,
    what: str = "it",
    on_look: Callable[[T], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Look until `done`, and return what was seen then.

    A look that raises a retryable error is looked at again: a failed look is no news and never an action.

    Raises:
        DeadlineError: after `timeout` seconds; what was waited for goes on.
    """
    deadline = None if timeout is None else clock() + timeout
    pauses = pauses or delays()
    failed: MlportError | None = None
    while True:
        try:
            seen = poll()
            failed = None
            if on_look:
                on_look(seen)
            if done(seen):
                return seen
        except MlportError as error:
            if not error.retryable:
                raise
            failed = error
        left = None if deadline is None else deadline - clock()
        if left is not None and left <= 0:
            raise DeadlineError(
                f"{what} was not done after {timeout:g} s",
                hint="it goes on; wait again, or look at its state and logs",
            ) from failed
        pause = next(pauses)
        sleep(pause if left is None else min(pause, left))


def retry(
    call: Callable[[], T],
    *,
    attempts: int = 4,
    sleep: Callable[[float], None] = time.sleep,
    seed: random.Random | None = None,
) -> T:
    """Call again while the error is retryable, with exponential pauses and full jitter; the last error is raised.

    Only for calls that are safe to repeat: an `AmbiguousError` is never retried.
    """
    import tenacity

    rng = seed or random.Random()  # noqa: S311 - jitter, not a secret
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, MlportError) and error.retryable),
        stop=tenacity.stop_after_attempt(attempts),
        wait=lambda state: rng.uniform(0, min(8.0, 0.2 * 2**state.attempt_number)),
        sleep=sleep,
        reraise=True,
    )
    return retrying(call)
