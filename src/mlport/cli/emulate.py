"""`mlport emulate`: a cloud on this machine, for development and tests without an account."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlport.cli.command import command
from mlport.cli.context import Cli, pass_cli

if TYPE_CHECKING:
    from mlport.emulation.server import Ready


LOOK_SECONDS = 1.0


@command(
    "emulate",
    example="mlport emulate all --state .emulator\nmlport emulate all -- python train.py",
)
@click.argument("name")
@click.argument("program", nargs=-1, type=click.UNPROCESSED)
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="The front door's port; 0 takes a free one.")
@click.option(
    "--state", type=click.Path(file_okay=False, path_type=Path), help="Keep what is made in this folder. [default: forget it at the end]"
)
@click.option(
    "--faults", type=click.Path(dir_okay=False, path_type=Path), help="A TOML or JSON file of faults; `docs/emulators.md` lists them."
)
@click.option("--idle", type=click.IntRange(1), metavar="SECONDS", help="Stop when nobody asked anything for so long.")
@pass_cli
def emulate(cli: Cli, name: str, program: tuple[str, ...], port: int, state: Path | None, faults: Path | None, idle: int | None) -> None:
    """A cloud on this machine, to develop without an account.

    Runs the emulator NAME, or all of them, until stopped, and prints one JSON line when it is ready. `env` in that line is all that an unmodified program of the vendor's SDK needs; `connect` is mlport's own target.
    With a PROGRAM after `--`, run just that with these variables set, and leave with its exit status.
    """
    from mlport.emulation.background import announce
    from mlport.emulation.faults import FaultFile
    from mlport.emulation.registry import load, names

    emulators = {each: load(each) for each in (names() if name == "all" else [name])}
    rules = FaultFile.read(faults) if faults else None
    with ExitStack() as stack:
        folder = state or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mlport-emulate-")))
        stop = stack.enter_context(_stopping())
        try:
            from mlport.emulation.server import serve

            ready = stack.enter_context(serve(emulators, folder.absolute(), rules, port=port, keep=state is not None))
        except ModuleNotFoundError as error:
            from mlport.emulation.registry import missing_extra

            raise missing_extra(name, error) from error
        if program:
            cli.ctx.exit(_run(program, ready, stop))
        line = json.dumps(ready.to_json())
        announce(folder, line)
        print(line, flush=True)
        cli.out.note("ready; Ctrl-C stops it" + ("" if state else ", and what was made is forgotten"))
        while not stop.wait(LOOK_SECONDS) and (idle is None or ready.idle() < idle):
            pass


@contextmanager
def _stopping() -> Iterator[Stop]:
    """SIGTERM and SIGINT end the wait, and everything is closed in order."""
    stop = Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Stop:
    """A signal handler that is waited for."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None

    def __call__(self, number: int, frame: object) -> None:
        self._asked.set()
        if self._child is not None and number == signal.SIGTERM:  # a terminal's Ctrl-C reaches the child, too
            self._child.terminate()

    def outlast(self, child: subprocess.Popen[bytes]) -> int:
        """The exit status of a child, which is told when we are asked to stop."""
        self._child = child
        if self._asked.is_set():
            child.terminate()
        return child.wait()

    def wait(self, seconds: float) -> bool:
        """Whether it was asked to stop, at the latest after so many seconds."""
        return self._asked.wait(seconds)


def _run(program: tuple[str, ...], ready: Ready, stop: Stop) -> int:
    """The exit status of a program that was given the emulator's variables; 127 where there is no such program."""
    try:
        with subprocess.Popen(program, env={**os.environ, **ready.environment}) as child:
            return stop.outlast(child)
    except OSError as error:
        print(f"error: {shlex.join(program)}: {error.strerror}", file=sys.stderr)
        return 127
