"""Tests of the conformance suite that go on beside the others: run once by whichever worker comes first, told by each."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import cast

import pytest

from mlport.testing.beside import Beside, Scene
from mlport.testing.targets import Targets


class OfFolder:
    """All that is asked of the targets of a run without clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder


def worker(folder: Path) -> Beside:
    return Beside(cast("Targets", OfFolder(folder)), 10.0)


def test_each_is_run_once_and_every_worker_is_told_how_it_ended(tmp_path: Path) -> None:
    ran: list[str] = []
    both = threading.Barrier(2, timeout=10)

    def passes(scene: Scene) -> None:
        ran.append("passes")
        both.wait()  # they go on at the same time

    def fails(scene: Scene) -> None:
        ran.append("fails")
        both.wait()
        pytest.fail(f"not so in {scene.folder.name}")

    workers = [worker(tmp_path), worker(tmp_path)]
    for each in workers:
        each.begin([("passes", passes), ("fails", fails)])
    for each in workers:
        assert (each.has("passes"), each.has("fails"), each.has("another")) == (True, True, False)
        each.tell("passes")
        with pytest.raises(pytest.fail.Exception, match="not so in fails"):
            each.tell("fails")
        each.close(wait=True)
    assert sorted(ran) == ["fails", "passes"]


def test_what_is_given_up_is_not_waited_for(tmp_path: Path) -> None:
    begun, goes_on, ended = threading.Event(), threading.Event(), threading.Event()

    def waits(scene: Scene) -> None:
        begun.set()
        goes_on.wait(10)
        ended.set()

    one = worker(tmp_path)
    one.begin([("waits", waits)])
    assert begun.wait(10)
    one.close(wait=False)
    assert not ended.is_set()
    goes_on.set()
    assert ended.wait(10)
