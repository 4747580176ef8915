"""What fails by a defect of the emulator ends, and says so; nothing is tried for ever, and nobody else waits for it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mlport.emulation.faults import Faults
from mlport.emulation.tries import GIVEN_UP, PAUSES, Tries
from mlport.waiting import delays, wait_until
from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.protocol.long_running import EMPTY, Work

RESOURCE = "projects/424242424242/locations/us-central1/endpoints/7"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    opened = Place(tmp_path, Faults())
    yield opened
    opened.close()


def begun(place: Place, kind: str) -> str:
    return str(place.operations.begin(RESOURCE, "DeleteOperationMetadata", kind, {})["name"])


def ended(place: Place, name: str) -> dict[str, Any]:
    return wait_until(lambda: place.operations.get(name), lambda seen: bool(seen.get("done")), pauses=delays(ceiling=0.05), timeout=30)


def broken(work: Work) -> None:
    raise ZeroDivisionError(work.operation)


def test_an_operation_whose_doer_crashes_fails_and_the_log_says_why(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.operations.register("broken", broken)
    place.operations.register("sound", lambda _: EMPTY)
    place.start()
    name, other = begun(place, "broken"), begun(place, "sound")
    assert ended(place, other)["response"] == EMPTY
    assert ended(place, name)["error"] == {"code": 13, "message": "INTERNAL"}
    told = [record for record in caplog.records if name in record.getMessage()]
    assert len(told) == len(PAUSES) + 1
    assert all(record.exc_info and record.exc_info[0] is ZeroDivisionError for record in told)
    assert "it is given up" in told[-1].getMessage()


def test_an_operation_whose_response_is_none_that_google_publishes_fails_too(place: Place) -> None:
    place.operations.register(
        "odd", lambda _: {"@type": EMPTY["@type"].replace("protobuf.Empty", "cloud.aiplatform.v1.Model"), "no": "field"}
    )
    place.start()
    assert ended(place, begun(place, "odd"))["error"]["code"] == 13


@pytest.mark.parametrize("undo_works", [True, False])
def test_what_a_crashed_doer_began_is_taken_back_first(place: Place, undo_works: bool) -> None:
    taken_back: list[str] = []

    def undo(work: Work) -> bool:
        taken_back.append(work.operation)
        if not undo_works:
            raise ZeroDivisionError
        return len(taken_back) > 1

    place.operations.register("broken", broken, undo)
    place.start()
    name = begun(place, "broken")
    assert ended(place, name)["error"]["code"] == 13
    assert set(taken_back) == {name}
    assert len(taken_back) > 1


def test_a_passing_failure_fails_nothing(place: Place) -> None:
    failures = iter([OSError("no space"), OSError("no space")])

    def passing(work: Work) -> Any:
        if (error := next(failures, None)) is not None:
            raise error
        return EMPTY

    place.operations.register("passing", passing)
    assert "error" not in ended(place, begun(place, "passing"))


def test_pauses_grow_and_work_that_goes_on_all_the_same_is_told_to_have_failed_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    now, tried, given_up = [0.0], [], []
    tries = Tries(clock=lambda: now[0])
    caplog.set_level(logging.CRITICAL, "mlport.emulation")

    def work() -> None:
        tried.append(now[0])
        raise ZeroDivisionError

    while now[0] < sum(PAUSES) + GIVEN_UP + 0.5:
        tries("key", work, lambda: given_up.append(now[0]))
        tries("other", lambda: None)
        now[0] += 1 / 64
    assert [later - earlier for earlier, later in pairwise(tried)] == pytest.approx([*PAUSES, GIVEN_UP], abs=1 / 32)
    assert len(given_up) == 2
