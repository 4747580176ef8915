"""What the benchmarks share: interleaved runs, CPU seconds of a child, medians, one table and one JSON line."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

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


def finish(benchmark: str, **figures: Any) -> None:
    """Print the last line: everything as one JSON object, with the machine that it was measured on."""
    print(json.dumps({"benchmark": benchmark, **_rounded(figures), "machine": machine()}))


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
