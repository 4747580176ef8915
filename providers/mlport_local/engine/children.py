"""A supervisor's children: woken when one ends or a client has something to say, and none stays as a zombie."""

from __future__ import annotations

import os
import select
import signal

from mlport_local.engine import process


class Children:
    """The exit codes of our children, and a descriptor that becomes readable when there is a reason to look."""

    def __init__(self) -> None:
        self.wake, told = os.pipe()
        for descriptor in (self.wake, told):
            os.set_blocking(descriptor, False)
        for number in (signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)  # they only wake us
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        self._statuses: dict[int, int] = {}

    def reap(self) -> None:
        """Collect children that have ended, and forget what woke us."""
        while select.select([self.wake], [], [], 0)[0]:
            os.read(self.wake, 4096)
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                self._statuses[ended[0]] = os.waitstatus_to_exitcode(ended[1])
        except ChildProcessError:
            return

    def status_of(self, pid: int) -> int | None:
        """A child's exit code, negative for a signal; None if it was not our child."""
        self.reap()
        return self._statuses.pop(pid, None)


def adopt_orphans_of_ours() -> None:
    """Become the parent of descendants that lose theirs, so that none is out of sight. Linux only; elsewhere the marks must do."""
    if process.LINUX:
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
