"""What an emulator is: an entry point of the group `mlport.emulators`, and the running thing that it opens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mlport.emulation.calls import Call, Reply
from mlport.emulation.faults import Faults


class Running(Protocol):
    """An emulator at work. Its methods are called from several threads at once."""

    def answers_for(self, host: str) -> bool:
        """Whether this host is one of the vendor's that it stands for."""

    def answer(self, call: Call) -> Reply:
        """Do what is asked. Errors are replies as the vendor words them; what is raised is a defect, and becomes a 500."""

    def failure(self, call: Call, status: int) -> Reply:
        """An error of this status as the vendor would word it, for the faults."""

    def grpc_handlers(self, answer: Callable[[Call], Reply]) -> Sequence[Any]:
        """`grpc.GenericRpcHandler`s that hand each request to `answer` as the HTTP call that it stands for; empty where there is none.

        `answer` raises ResetConnection for a fault: a gRPC caller then sees UNAVAILABLE.
        """

    def environment(self, folder: Path) -> Mapping[str, str]:
        """What an unmodified program needs besides proxy and authority: made-up credentials. Files may be written to `folder`."""

    def target(self, access: Access, account: int = 0) -> str:
        """The target URL for `mlport.connect`; account 1 is another one, which sees nothing of the first."""

    def started(self, url: str, environment: Mapping[str, str]) -> None:
        """It answers at `url` from now on; it may take up again what it left at its last end.

        `environment` brings programs here, also those that the emulator runs itself.
        """

    def end_work(self) -> None:
        """End every job and server of its own, and wait until they are gone: its folder is thrown away."""

    def close(self) -> None:
        """Let go of files and processes of its own. The work that goes on is found again at the next start."""


class Access(Protocol):
    """How to reach an emulator through the front door."""

    @property
    def proxy(self) -> str: ...

    @property
    def ca(self) -> Path: ...

    @property
    def folder(self) -> Path: ...


class Emulator(Protocol):
    """The object behind an entry point. Importing it loads nothing heavy; `open` does."""

    name: str
    effects: Iterable[str]  # the faults that it adds to the common ones

    def open(self, folder: Path, faults: Faults) -> Running:
        """Take up the state in `folder`, which may be empty."""
