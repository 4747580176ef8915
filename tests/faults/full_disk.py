"""Run in a mount namespace of its own by test_job_surroundings: a root on a disk of 4 MiB, filled and freed."""

import sys
from pathlib import Path
from typing import Any

from aids.local.engine import Engine

from mlport.errors import UnavailableError
from mlport.spi import State

FILL = """
import os, sys
with open(sys.argv[2], "wb", buffering=0) as file:
    try:
        while True: file.write(bytes(1 << 16))
    except OSError:
        try:
            while True: file.write(b"x")
        except OSError: pass
"""


def fill(path: Path) -> Path:
    sys.argv[1:] = ["", str(path)]
    exec(FILL)
    return path


def refused(call: Any) -> bool:
    try:
        call()
    except UnavailableError as error:
        return "full" in str(error)
    return False


def main(root: Path) -> None:
    engine = Engine(root)
    done = engine.run(["true"])

    filler = fill(root / "filler")
    assert refused(lambda: engine.submit(["true"], token="refused"))
    assert engine.jobs.status(done.id) == done  # what is known can be read
    assert engine.jobs.find("refused") is None
    filler.unlink()
    assert engine.ended(engine.submit(["true"], token="refused")).state is State.SUCCEEDED

    for code, state in ((0, State.SUCCEEDED), (3, State.FAILED)):
        engine.wait_for(lambda: not engine.supervisors())
        job_id = engine.submit(f"{FILL}\nraise SystemExit({code})", params={"filler": str(filler)})
        folder = engine.layout.job(job_id) / "attempt-1"
        engine.wait_for((folder / "result.json").exists)  # its place was reserved
        engine.wait_for(lambda: not engine.supervisors())
        assert engine.jobs.status(job_id).state in (State.RUNNING, state)  # SQLite may still have had space of its own
        filler.unlink()
        assert engine.ended(job_id).state is state
        assert engine.jobs.result(job_id).exit_code == code
    engine.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
