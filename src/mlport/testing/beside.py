"""Tests that wait for a vendor's clock: they begin with the session, each in a thread of its own, and go on beside all others.

Such a test is marked `beside` and has one argument, a `Scene`. Its turn comes at the end, and tells how it ended. Where the clock is
mlport's own nothing is waited for, and it is run in its turn as any other.
"""

from __future__ import annotations

import secrets
import threading
import traceback
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

import mlport
from mlport import JobSpec, Schedule, ScheduleSpec
from mlport.capabilities import Capability
from mlport.scheduling.firing import LABEL
from mlport.spi import JobStatus
from mlport.testing import programs
from mlport.testing.targets import Targets
from mlport.testing.waiting import eventually

MARK = "beside"
MINUTES = 6 * 60.0  # the longest of them waits for three firings, a minute each
Test = Callable[["Scene"], None]


class Scene:
    """Schedules of one test by a client of its own; when it is closed they are deleted, and what they started is ended."""

    def __init__(self, targets: Targets, folder: Path, seconds: float) -> None:
        self.folder, self.seconds = folder, seconds
        self._targets, self._name = targets, f"suite-{secrets.token_hex(5)}"
        self._made: dict[str, Schedule] = {}
        self._clients: list[mlport.Client] = []
        self._closing = threading.Lock()

    @cached_property
    def client(self) -> mlport.Client:
        """The account under test."""
        return self.open()

    def open(self) -> mlport.Client:
        """Another client of the account, closed with the scene."""
        opened = self._targets.connect()
        assert opened is not None, "--profile names no target to test"
        self._clients.append(opened)
        return opened

    def create(self, cron: str, script: str = programs.SCHEDULED, *, key: str | None = None, **fields: Any) -> Schedule:
        """Make a schedule of a job that runs the script, whose code is in `folder`/source."""
        source = programs.folder_of(self.folder / "source", script)
        job = JobSpec.model_validate({"name": self._name, "source": str(source), "entrypoint": ["python", "main.py"]})
        given = {"name": f"{self._name}-{secrets.token_hex(2)}", "cron": cron, "job": job, **fields}
        schedule = self.client.schedules.create(ScheduleSpec.model_validate(given), key=key)
        return self._made.setdefault(schedule.name, schedule)

    def close(self) -> None:
        """Leave nothing. A second time does nothing."""
        with self._closing:
            while self._made:
                _, schedule = self._made.popitem()
                schedule.delete()
                for status in jobs_of(schedule):
                    if not status.state.terminal and self.client.can(Capability.JOB_CANCEL):
                        self.client.jobs.get(status.id).cancel()
            while self._clients:
                self._clients.pop().close()


def jobs_of(schedule: Schedule) -> list[JobStatus]:
    """All that it started."""
    return list(schedule.client.jobs.list(labels={LABEL: schedule.name}))


class Beside:
    """The tests of this session that were begun with it. Of several workers the first that takes a test runs it; all see its end."""

    def __init__(self, targets: Targets, seconds: float) -> None:
        self._targets, self._seconds, self._folder = targets, seconds, targets.folder / MARK
        self._scenes: list[Scene] = []
        self._threads: list[threading.Thread] = []
        self._begun: set[str] = set()
        self._over = False

    def begin(self, tests: Iterable[tuple[str, Test]]) -> None:
        """Run each, given with its name, in a thread."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, test in tests:
            self._begun.add(name)
            try:
                self._folder.joinpath(name).mkdir()
            except FileExistsError:
                continue  # another worker runs it
            scene = Scene(self._targets, self._folder / name, self._seconds)
            self._scenes.append(scene)
            self._threads.append(threading.Thread(target=self._run, args=(name, test, scene), name=name, daemon=True))
            self._threads[-1].start()

    def _run(self, name: str, test: Test, scene: Scene) -> None:
        said = ""
        try:
            try:
                test(scene)
            finally:
                scene.close()
        except BaseException:  # noqa: BLE001 - an outcome of pytest's is one; its turn tells it
            said = traceback.format_exc()
        if not self._over:
            unfinished = self._folder / f"{name}.part"
            unfinished.write_text(said, "utf-8")
            unfinished.replace(self._ended(name))

    def _ended(self, name: str) -> Path:
        return self._folder / f"{name}.ended"

    def has(self, name: str) -> bool:
        """Whether this test was begun with the session."""
        return name in self._begun

    def tell(self, name: str) -> None:
        """Wait until it has ended, and fail as it did."""
        eventually(self._ended(name).exists, bool, MINUTES + 3 * self._seconds)
        if said := self._ended(name).read_text("utf-8"):
            pytest.fail(said, pytrace=False)

    def close(self, *, wait: bool) -> None:
        """Wait for those under way, for another worker asks for them, or give them up. Either way nothing is left of them."""
        for thread in self._threads if wait else ():
            thread.join()
        self._over = True
        for scene in self._scenes:
            scene.close()
