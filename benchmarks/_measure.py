"""What the benchmarks share: interleaved runs, CPU seconds of a child, medians, one table and one JSON line."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Literal

FEWEST_RUNS = 9
PYTHON = sys.executable


def program(name: str) -> str:
    """A command of this environment."""
    return str(Path(PYTHON).with_name(name))


def quiet_mlflow() -> None:
    """Let MLflow find the programs of this environment that it starts, and keep it silent. Call before it is imported."""
    path = f"{Path(PYTHON).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ.update(PATH=path, MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_LOGGING_LEVEL="WARNING")


def cpu_seconds(command: Sequence[str]) -> float:
    """User and system seconds of one run of `command` and of what it waited for; its standard output is dropped.

    Raises:
        RuntimeError: it did not exit with 0.
    """
    silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    child = os.posix_spawn(command[0], list(command), os.environ, file_actions=silent)
    _, status, usage = os.wait4(child, 0)
    if status != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime


def interleaved(cases: Sequence[Callable[[], Mapping[str, float]]], runs: int) -> dict[str, list[float]]:
    """Run every case `runs` times, taking turns, so that what else the machine does falls on all alike; one turn more warms up.

    Returns the values of each figure that the cases name.
    """
    turns = [{name: value for case in cases for name, value in case().items()} for _ in range(runs + 1)][1:]
    return {name: [turn[name] for turn in turns] for name in turns[0]}


def medians(found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: median(values) for name, values in found.items()}


def show(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print an aligned table: the first column is text, the others are numbers."""
    table = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for first, *others in table:
        print("  ".join([first.ljust(widths[0]), *(text.rjust(width) for text, width in zip(others, widths[1:], strict=True))]))


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and the bound that it is held to."""

    what: str
    value: float
    bound: Literal["at least", "at most"]
    wanted: float
    unit: str = ""

    @property
    def met(self) -> bool:
        """False for NaN too."""
        return self.value >= self.wanted if self.bound == "at least" else self.value <= self.wanted

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"{'PASS' if self.met else 'MISS'}  {self.what}: {self.value:,.4g}{unit}, {self.bound} {self.wanted:,g}{unit}"


def finish(benchmark: str, goals: Sequence[Goal], into: Path | None = None, **figures: Any) -> int:
    """Print each goal and, as the last line, everything as one JSON object, with the machine that it was measured on.

    Args:
        into: A file that gets the JSON object too.

    Returns:
        The exit status: 1 if a goal was missed.
    """
    print(*goals, sep="\n")
    said = [{**asdict(goal), "met": goal.met} for goal in goals]
    line = json.dumps({"benchmark": benchmark, **_rounded(figures), "goals": said, "machine": machine()})
    if into is not None:
        into.write_text(f"{line}\n", encoding="utf-8")
    print(line, flush=True)
    return 0 if all(goal.met for goal in goals) else 1


def machine() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    return {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "mlflow": version("mlflow"),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cell(value: object) -> str:
    return f"{value:,.3f}" if isinstance(value, float) else str(value)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {name: _rounded(item) for name, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
