"""What the services of one emulator share: documents, faults, the engines that do the work, and a thread for chores."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import mlport
from mlport.emulation.at_work import processes
from mlport.emulation.documents import Documents
from mlport.emulation.faults import Faults
from mlport.emulation.tries import Tries
from mlport.errors import JobFailedError
from mlport.waiting import delays, wait_until

CHORE_SECONDS = 0.1
END_SECONDS = 30.0
MOST_JOBS = 16  # that run at once; a cloud has room for more
MOST_CONTAINERS = 64  # of deployed models


class Place:
    """One emulator's folder, opened. A vendor's own stores are added by its emulator."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.faults = folder, faults
        self.documents = Documents(folder / "documents.db")
        self.tries = Tries()
        self.url = ""  # where it answers, once it does
        self.environment: Mapping[str, str] = {}  # what brings programs here, for those that it runs itself
        self._chores: list[Callable[[], None]] = []
        self._endings: list[Callable[[], None]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chores", daemon=True)

    @cached_property
    def engine(self) -> mlport.Client:
        """The local provider under this folder: it runs what the emulator is asked to run."""
        return mlport.connect(f"local://{self.folder / 'engine'}?max_jobs={MOST_JOBS}")

    @cached_property
    def containers(self) -> mlport.Client:
        """Another engine, for what goes on until it is ended: deployed models take no room from jobs."""
        return mlport.connect(f"local://{self.folder / 'containers'}?max_jobs={MOST_CONTAINERS}")

    def chore(self, work: Callable[[], None]) -> None:
        """Call this again and again in the background. It must be quick, and able to go on after a restart."""
        self._chores.append(work)

    def at_end(self, work: Callable[[], None]) -> None:
        """Call this when the place is closed, before its files are: the last that asked first."""
        self._endings.append(work)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(CHORE_SECONDS):
            for number, work in enumerate(self._chores):
                self.tries(f"chore {number} ({getattr(work, '__qualname__', work)})", work)

    def end_work(self) -> None:
        """End every job and every model server, and wait until they are gone: the folder is thrown away."""
        self.end_chores()
        engines = [self.engine, *([self.containers] if (self.folder / "containers").exists() else [])]
        running = [mlport.Job(found.id, engine) for engine in engines for found in engine.jobs.list() if not found.state.terminal]
        for job in running:
            job.cancel()
        for job in running:
            with suppress(JobFailedError):
                job.wait(END_SECONDS)
        wait_until(  # or they would make the folder anew
            lambda: processes(self.folder / "engine") | processes(self.folder / "containers"),
            lambda left: not left,
            pauses=delays(ceiling=0.2),
            timeout=2 * END_SECONDS,
            what="the end of what the emulator ran",
        )

    def end_chores(self) -> None:
        """No more is begun in the background; what is under way is waited for."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def close(self) -> None:
        """Stop the chores, and let go of the files."""
        self.end_chores()
        for work in reversed(self._endings):
            work()
        for name in ("engine", "containers"):
            if name in self.__dict__:
                self.__dict__[name].close()
        self.documents.close()
