"""Who runs in an emulator's folder, and whether it is ready: told by the lock and by what its holder said."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from mlport.emulation.background import LOCK, announce, running


def test_what_an_earlier_emulator_said_is_not_taken_for_the_one_that_starts(tmp_path: Path) -> None:
    announce(tmp_path, json.dumps({"pid": 1, "connect": "of the one before"}))
    assert running(tmp_path) is None, "nobody holds the folder"
    with (tmp_path / LOCK).open("w", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert running(tmp_path) is None, "held, and nothing said by whom"
        held.write(f"process {os.getpid()} since now")
        held.flush()
        assert running(tmp_path) is None, "it has not said that it is ready"
        announce(tmp_path, json.dumps({"pid": os.getpid(), "connect": "mine"}))
        assert (running(tmp_path) or {})["connect"] == "mine"
    assert running(tmp_path) is None, "it has let go"
