"""Virtual environments for jobs with requirements: built once by uv, kept by the digest of what determines them.

Two jobs that need the same environment share one build; a build that was killed is done again. Standard library only.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlport.faults import fault
from mlport_local.engine.attempt import BuildError
from mlport_local.engine.files import write_durably
from mlport_local.layout import Layout

COMPLETE = "mlport-complete.json"
"""The file that only a finished environment has; it lists the packages."""
LOOK = 0.1
"""Seconds between looks at whether the job was cancelled."""
MESSAGE_LINES = 12


@dataclass(frozen=True, slots=True)
class Setup:
    """What an environment is made from. `base` is the interpreter to build on when no `python` version is asked for."""

    requirements: tuple[str, ...]
    python: str | None
    base: str
    wheelhouse: str | None
    offline: bool
    uv: str

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Setup:
        return cls(**{**data, "requirements": tuple(data["requirements"])})

    @property
    def digest(self) -> str:
        """SHA-256, hex, of the requirements, Python, platform, and the wheelhouse's listing.

        The order and spelling of the requirements do not matter.
        """
        parts = {
            "requirements": sorted({normalised(line) for line in self.requirements}),
            "python": self.python or [self.base, list(sys.version_info[:3]) if self.base == sys.executable else None],
            "platform": sysconfig.get_platform(),
            "wheels": wheels(self.wheelhouse),
            "offline": self.offline,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Environment:
    """A finished environment: its interpreter, digest, and packages as `name==version`."""

    python: str
    digest: str
    packages: tuple[str, ...]


def normalised(requirement: str) -> str:
    """A requirement in one spelling: the name as in PEP 503, without spaces that mean nothing.

    >>> normalised("Scikit_Learn  >= 1.7 ; python_version > '3.8'")
    "scikit-learn>=1.7;python_version>'3.8'"
    """
    line = requirement.strip()
    found = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line)
    if found is None or "@" in line:
        return line
    return re.sub(r"[-_.]+", "-", found[0]).lower() + re.sub(r"\s+", "", line[found.end() :])


def wheels(folder: str | None) -> list[tuple[str, int]] | None:
    """Name and size of everything in the wheelhouse."""
    return None if folder is None else sorted((entry.name, entry.stat().st_size) for entry in Path(folder).iterdir())


def ensure(layout: Layout, setup: Setup, env: Mapping[str, str], log: Path, cancelled: Callable[[], bool]) -> Environment:
    """The environment, built if it is not there. What uv says goes to `log`.

    Raises:
        BuildError: uv could not build it, or the job was cancelled meanwhile.
    """
    if setup.wheelhouse and not Path(setup.wheelhouse).is_dir():
        raise BuildError(f"the wheelhouse {setup.wheelhouse} is not a folder")
    folder = layout.environment(setup.digest)
    if not (folder / COMPLETE).exists():
        with locked(folder.with_suffix(".lock"), cancelled):
            if not (folder / COMPLETE).exists():
                build(folder, setup, env, log, cancelled)
    os.utime(folder / COMPLETE)  # when it was last used: `collect` goes by that
    packages = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))["packages"]
    return Environment(str(folder / "bin" / "python"), setup.digest, tuple(packages))


@contextmanager
def locked(path: Path, cancelled: Callable[[], bool]) -> Iterator[None]:
    """Hold the lock file; the kernel frees it when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                _refuse_if(cancelled)
                time.sleep(LOOK)  # flock has no timeout, and a cancelled job must not wait for another's build
        yield


def build(folder: Path, setup: Setup, env: Mapping[str, str], log: Path, cancelled: Callable[[], bool]) -> None:
    """Build in place, for an environment cannot be moved; the marker at the end makes it valid."""
    if folder.exists():
        shutil.rmtree(folder)
    requirements = folder.with_suffix(".txt")
    requirements.write_text("".join(f"{line}\n" for line in setup.requirements), encoding="utf-8")
    run = _Runner(env, log, cancelled)
    run(venv_command(setup, folder), "no environment could be made")
    fault("during-build")
    if setup.requirements:
        run(install_command(setup, folder, requirements), "the requirements could not be installed")
    listing = subprocess.run(
        [setup.uv, "pip", "freeze", "--python", str(folder)], env=dict(env), capture_output=True, text=True, check=False
    )
    contents = {"packages": listing.stdout.split("\n")[:-1], "requirements": setup.requirements}
    write_durably(folder / COMPLETE, json.dumps(contents).encode(), "environment")
    requirements.unlink()


def venv_command(setup: Setup, folder: Path) -> list[str]:
    """Uv's command that makes the empty environment."""
    return [setup.uv, "venv", "--no-project", "--no-config", "--python", setup.python or setup.base, *_offline(setup), str(folder)]


def install_command(setup: Setup, folder: Path, requirements: Path) -> list[str]:
    """Uv's command that installs the requirements: with a wheelhouse, from there alone."""
    wheelhouse = ["--no-index", "--find-links", setup.wheelhouse] if setup.wheelhouse else []
    return [
        setup.uv,
        "pip",
        "install",
        "--python",
        str(folder),
        "--compile-bytecode",
        "--no-progress",
        *wheelhouse,
        *_offline(setup),
        "-r",
        str(requirements),
    ]


def _offline(setup: Setup) -> list[str]:
    return ["--offline"] if setup.offline else []


@dataclass(frozen=True, slots=True)
class _Runner:
    """Runs uv with its output in the job's log."""

    env: Mapping[str, str]
    log: Path
    cancelled: Callable[[], bool]

    def __call__(self, command: Sequence[str], failure: str) -> None:
        with self.log.open("ab") as stream:
            begin = stream.seek(0, os.SEEK_END)
            child = subprocess.Popen(command, env=dict(self.env), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, cwd="/")
            try:
                self._wait(child)
            finally:
                if child.poll() is None:
                    child.kill()
                    child.wait()
        if child.returncode != 0:
            raise BuildError(f"{failure}: {self._message(begin)}\n{_hint(command)}")

    def _wait(self, child: subprocess.Popen[bytes]) -> None:
        while True:
            try:
                child.wait(LOOK)
                return
            except subprocess.TimeoutExpired:
                _refuse_if(self.cancelled)

    def _message(self, begin: int) -> str:
        """The last lines of what uv said."""
        with self.log.open("rb") as stream:
            stream.seek(begin)
            lines = stream.read().decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-MESSAGE_LINES:]) or "uv said nothing"


def _hint(command: Sequence[str]) -> str:
    if "--no-index" in command:
        return "hint: only the profile's wheelhouse is used; add the wheels that are missing, for this Python and platform"
    if "--offline" in command:
        return "hint: the profile is offline; install once with network, or set a wheelhouse"
    return "hint: check names and versions in JobSpec.requirements, and that the package index can be reached"


def _refuse_if(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise BuildError("cancelled")
