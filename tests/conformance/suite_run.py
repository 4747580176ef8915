"""The conformance suite as an outsider runs it: in a process of its own, from an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import mlport.testing.suite

ROOT = f"--rootdir={Path(mlport.testing.suite.__file__).parent}"  # else a lone file is the root, and its tests' ids name no file
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-rfEs", "-W", "error", ROOT)
SUITE = "mlport.testing.suite"


def run_suite(folder: Path, *words: str, tests: str = SUITE, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """The exit status and the output of the suite, or of what `tests` names of it, with `env` over this environment."""
    folder.mkdir(exist_ok=True)
    command = [*PYTEST, "--pyargs", tests, f"--basetemp={folder / 'base'}", *words]
    wide = {**os.environ, "COLUMNS": "400", **(env or {})}  # a line of the summary is cut where the terminal ends
    done = subprocess.run(command, cwd=folder, env=wide, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr
