"""mlport beside a vendor's SDK on the same emulator: each run a process of its own, which tells its own seconds, and the requests it made."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from _measure import FEWEST_RUNS, PYTHON, Goal, finish, interleaved, medians, show

from mlport.emulation.calls import Call, Reply
from mlport.emulation.server import Ready, serve

SCRIPT = {"main.py": "print('trained')\n"}
SOURCE = "source"
WHATS = ("submit", "list")  # what a program can be asked to do; but for list it prints the seconds that it took itself


class Counting:
    """An emulator, counting what it is asked."""

    def __init__(self, emulator: Any) -> None:
        self._emulator, self._lock = emulator, Lock()
        self.name, self.effects = emulator.name, emulator.effects
        self.asked: Counter[str] = Counter()
        self.counts = False

    def open(self, folder: Path, faults: Any) -> Any:
        running = self._emulator.open(folder, faults)
        answer = running.answer

        def counted(call: Call) -> Reply:
            with self._lock:
                if self.counts:
                    self.asked[call.host.partition(".")[0]] += 1
            reply: Reply = answer(call)
            return reply

        running.answer = counted
        return running

    @contextmanager
    def counting(self) -> Iterator[Counter[str]]:
        """What is asked until the block ends."""
        self.asked.clear()
        self.counts = True
        yield self.asked
        self.counts = False


def measured(
    who: str, program: str, what: str, ready: Ready, emulator: Counting, folder: Path, busy: Callable[[Ready], bool]
) -> dict[str, float]:
    """Seconds and requests of one run, once no job of an earlier one runs any more: those ask, too.

    The figures of a source folder that is not called `source` have its name.
    """
    of = "" if folder.name == SOURCE else f" {folder.name}"
    while busy(ready):
        time.sleep(0.1)
    began = time.perf_counter()
    with emulator.counting() as asked:
        words = [PYTHON, "-c", program, ready.targets[emulator.name], what, str(folder)]
        done = subprocess.run(words, env={**os.environ, **ready.environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    whole, requests = time.perf_counter() - began, float(sum(asked.values()))
    if what == "list":
        return {f"{who}: list, seconds": whole, f"{who}: list, requests": requests}
    told = {f"{who}: {what}{of}, seconds": float(done.stdout.split()[-1]), f"{who}: {what}{of}, requests": requests}
    return {**told, f"{who}: submit{of} from process start, seconds": whole} if what == "submit" else told


def beside(
    about: str | None,
    emulator: Any,
    programs: Mapping[str, str],
    busy: Callable[[Ready], bool],
    goals: Callable[[Mapping[str, float]], list[Goal]],
    whats: Sequence[str] = WHATS,
    sources: Mapping[str, Mapping[str, str]] | None = None,
) -> int:
    """Run `programs`, which take a target, what to do and a source folder, in turns; print their figures; 1 if a goal is missed.

    `sources` are files by name of each source folder, the one called `source` first; what is submitted is one of them.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--runs", type=int, default=FEWEST_RUNS)
    parser.add_argument("--quick", action="store_true", help="one run")
    options = parser.parse_args()
    runs = 1 if options.quick else options.runs
    counting = Counting(emulator)
    with (
        tempfile.TemporaryDirectory(prefix="mlport-bench-", ignore_cleanup_errors=True) as temporary,
        serve({emulator.name: counting}, Path(temporary) / "state") as ready,
    ):
        found: dict[str, float] = {}
        for folder in _made(Path(temporary), sources or {SOURCE: SCRIPT}):
            for what in whats if folder.name == SOURCE else [what for what in whats if what != "list"]:
                cases = [partial(measured, who, program, what, ready, counting, folder, busy) for who, program in programs.items()]
                found.update(medians(interleaved(cases, runs)))
        for name in [name for name in found if ": again" in name and name.endswith("requests")]:
            found[name] -= found[name.replace(": again", ": submit")]  # such a process submits once before
    print(f"Median of {runs}")
    figures = [name.partition(": ")[2] for name in found if name.startswith(f"{next(iter(programs))}: ")]
    rows = [(figure, *(found[f"{who}: {figure}"] for who in programs)) for figure in figures]
    show(("", *programs), rows)
    return finish(emulator.name, goals(found), runs=runs, figures=found)


def _made(place: Path, sources: Mapping[str, Mapping[str, str]]) -> Iterator[Path]:
    for name, files in sources.items():
        folder = place / name
        folder.mkdir()
        for file, text in files.items():
            (folder / file).write_text(text)
        yield folder


def times(found: Mapping[str, float], peer: str, what: str, unit: str, wanted: float) -> Goal:
    """mlport's figure as a multiple of a peer's."""
    said = {
        "submit": f"submit and get, {unit}",
        "again": f"submit and get again in the same process, {unit}",
        "submit from process start": "process start to a job submitted and got",
        "list": "process start to first job listed",
    }[what]
    return Goal(f"{said}, times the SDK's", found[f"mlport: {what}, {unit}"] / found[f"{peer}: {what}, {unit}"], "at most", wanted)
