"""A run of the conformance suite on a real account: its own folder and owner, an end by the clock, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from conformance.suite_run import PYTEST, SUITE

import mlport

GRACE = 300.0  # seconds that the suite has to remove what it made, once its time is over
JOB_SECONDS = 1800.0  # that one job or deployment may take
SWEEP_SECONDS = 1800.0  # that what is left may take to go
PAUSE = 5.0  # seconds between two looks at what is ending


@dataclass(frozen=True)
class Given:
    """The variables of one provider, which all begin with a prefix."""

    prefix: str

    def __call__(self, name: str, default: str = "") -> str:
        return os.environ.get(self.prefix + name, default)

    def missing(self, *names: str) -> str:
        """Those of the names that are not set."""
        return ", ".join(self.prefix + name for name in names if not self(name))

    def fields(self, *names: str) -> dict[str, str | None]:
        """Fields of a profile by the variables of their names."""
        return {name.lower(): self(name) or None for name in names}


@dataclass(frozen=True)
class Live:
    """One run: a target whose owner, and folders for files and state, nobody else has."""

    target: str
    owner: str

    @classmethod
    def of(cls, url: str, run: str, **fields: str | None) -> Live:
        """A target `SCHEME://PLACE` with these fields, those that are not None, for the run."""
        owner = f"live-{run}"
        given = {name: value for name, value in fields.items() if value is not None}
        for folder in {"staging", "state"} & set(given):
            given[folder] = f"{given[folder].rstrip('/')}/{owner}"
        return cls(f"{url}?{urlencode({**given, 'owner': owner})}", owner)

    def suite(self, folder: Path, words: list[str], seconds: float) -> tuple[int, str]:
        """Exit status and last lines of the suite. What it says goes to standard output, too, as it comes.

        After so many seconds it is asked to end, as by Ctrl-C, so that its tests still remove what they made.
        """
        folder.mkdir(parents=True, exist_ok=True)
        command = [*PYTEST, "--pyargs", SUITE, f"--basetemp={folder / 'base'}", f"--profile={self.target}", *words]
        log = folder / "suite.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(command, cwd=folder, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                _end(process)
            finally:
                _end(process)
        said = log.read_text("utf-8", "replace")
        sys.stdout.write(said)
        return process.returncode, said

    def sweep(self, seconds: float) -> list[str]:
        """Remove what the run made and its tests did not; what is left after so many seconds, as text."""
        deadline = time.monotonic() + seconds
        with mlport.connect(self.target) as client:
            for job in client.jobs.list(labels={"mlport_owner": self.owner}):
                if not job.state.terminal:
                    client.jobs.get(job.id).cancel()
            while (left := self._left()) and time.monotonic() < deadline:
                self._mlport("cleanup", "--older-than", "0s", "--yes")
                time.sleep(PAUSE)
        return left

    def _left(self) -> list[str]:
        said = self._mlport("ls", "--json")
        return [f"{thing['kind']} {thing['id']}" for thing in json.loads(said) if thing.get("owner") == self.owner]

    def _mlport(self, *words: str) -> str:
        mlport_command = str(Path(sys.executable).with_name("mlport"))
        done = subprocess.run([mlport_command, *words, "-p", self.target], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stderr  # 1: something is still ending, and is tried again
        return done.stdout


def check(live: Live, given: Given, folder: Path, *, minutes: float, requirements: str, remove: Callable[[Live], list[str]]) -> None:
    """Run the suite; at its end, however it came, remove what it made, and then by `remove` what `mlport cleanup` never touches."""
    words = [f"--job-seconds={given('JOB_SECONDS', str(JOB_SECONDS))}", f"--job-requirements={given('REQUIREMENTS', requirements)}"]
    words += ["-k", chosen] if (chosen := given("TESTS")) else []
    words += [f"--other-profile={other}"] if (other := given("OTHER")) else []
    print(f"{without_secrets(live.target)} as {live.owner}")
    try:
        status, said = live.suite(folder / "run", words, 60 * float(given("MINUTES", str(minutes))))
    finally:
        left = [*live.sweep(SWEEP_SECONDS), *remove(live)]
    assert not left, f"remove by hand: {', '.join(left)}"
    assert status == 0, said[-4000:]


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def without_secrets(target: str) -> str:
    """The target as it may be printed.

    >>> without_secrets("vertex://p/l?credentials=key.json")
    'vertex://p/l'
    """
    url = urlsplit(target)
    return f"{url.scheme}://{url.netloc}{url.path}"
