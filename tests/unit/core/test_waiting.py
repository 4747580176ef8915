"""Waiting: time is handed in, a failed look is no news, and every wait can end."""

from __future__ import annotations

import random
from itertools import islice

import pytest

from mlport.errors import AmbiguousError, DeadlineError, PermissionDeniedError, UnavailableError
from mlport.waiting import delays, retry, wait_until


class Clock:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, list[float]()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.now += seconds


def test_delays_grow_to_their_ceiling_and_never_end() -> None:
    assert list(islice(delays(first=1, factor=3, ceiling=10), 5)) == [1, 3, 9, 10, 10]


def test_two_hours_in_no_time() -> None:
    clock = Clock()
    assert wait_until(clock, lambda now: now >= 7200, sleep=clock.sleep, clock=clock) >= 7200
    assert max(clock.slept) == 5.0


def test_the_first_look_comes_before_any_sleep() -> None:
    clock = Clock()
    wait_until(lambda: 1, lambda _: True, sleep=clock.sleep, clock=clock)
    assert clock.slept == []


def test_the_deadline_is_exact_and_says_what_goes_on() -> None:
    clock = Clock()
    with pytest.raises(DeadlineError, match=r"job x was not done after 10 s[\s\S]*goes on"):
        wait_until(lambda: 1, lambda _: False, timeout=10, what="job x", sleep=clock.sleep, clock=clock)
    assert clock.now == pytest.approx(10)


def test_a_look_at_the_deadline_still_counts() -> None:
    clock = Clock()
    assert wait_until(clock, lambda now: now >= 10, timeout=10, sleep=clock.sleep, clock=clock) == pytest.approx(10)


def test_a_failed_look_is_looked_at_again() -> None:
    clock, looks = Clock(), iter([UnavailableError("down"), UnavailableError("down"), None])

    def look() -> int:
        if error := next(looks):
            raise error
        return 7

    assert wait_until(look, lambda _: True, sleep=clock.sleep, clock=clock) == 7
    assert len(clock.slept) == 2


def test_the_deadline_tells_why_the_last_look_failed() -> None:
    clock, down = Clock(), UnavailableError("down")

    def look() -> int:
        raise down

    with pytest.raises(DeadlineError) as caught:
        wait_until(look, lambda _: True, timeout=1, sleep=clock.sleep, clock=clock)
    assert caught.value.__cause__ is down


def test_an_error_that_waiting_does_not_help_ends_the_wait() -> None:
    def look() -> int:
        raise PermissionDeniedError("no")

    with pytest.raises(PermissionDeniedError):
        wait_until(look, lambda _: True, sleep=lambda _: pytest.fail("slept"))


def test_each_look_is_shown() -> None:
    clock, seen = Clock(), list[int]()
    looks = iter(range(3))
    wait_until(lambda: next(looks), lambda n: n == 2, on_look=seen.append, sleep=clock.sleep, clock=clock)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize(
    ("error", "calls"), [(UnavailableError("x"), 4), (AmbiguousError("x"), 1), (PermissionDeniedError("x"), 1), (ValueError("x"), 1)]
)
def test_retry_repeats_only_what_is_safe_to_repeat(error: Exception, calls: int) -> None:
    made, slept = list[int](), list[float]()

    def call() -> None:
        made.append(1)
        raise error

    with pytest.raises(type(error)) as caught:
        retry(call, sleep=slept.append, seed=random.Random(0))
    assert caught.value is error
    assert (len(made), len(slept)) == (calls, calls - 1)
    assert all(0 <= pause <= 8 for pause in slept)


def test_retry_gives_what_came_in_the_end() -> None:
    answers = iter([UnavailableError("x"), 5])

    def call() -> object:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert retry(call, sleep=lambda _: None) == 5
