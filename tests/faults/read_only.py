"""Run in a mount namespace of its own by test_job_surroundings: a root that becomes read-only under a running job, and back."""

import subprocess
import sys
from pathlib import Path

import pytest
from aids.local.engine import Engine

from mlport.errors import UnavailableError
from mlport.spi import State


def remount(root: Path, how: str) -> None:
    """The kernel makes nothing read-only that somebody has open for writing, a supervisor about to leave for example."""
    command = ["mount", "-o", f"remount,{how}", str(root)]
    Engine.wait_for(lambda: subprocess.run(command, check=False, capture_output=True).returncode == 0)


def main(root: Path) -> None:
    engine = Engine(root)
    done = engine.run(["true"])
    engine.wait_for(lambda: not engine.supervisors())
    engine.jobs.close()
    remount(root, "ro")
    for call in (lambda: engine.submit(["true"], token="refused"), lambda: engine.jobs.cancel(done.id)):
        with pytest.raises(UnavailableError, match=r"read-?only"):
            call()
    assert engine.jobs.status(done.id) == done
    engine.jobs.close()
    remount(root, "rw")
    assert engine.jobs.find("refused") is None
    assert engine.ended(engine.submit(["true"], token="refused")).state is State.SUCCEEDED
    engine.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
