"""What the emulator's storage and tables acknowledged is there after kill -9, and nothing half written is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.exceptions import BaseError
from obstore.store import GCSStore

BUCKET = "emulated-mlport"
SIZE = 300_000
SERVE = """
import json, sys, threading
from pathlib import Path
from mlport.emulation.server import serve
from mlport_vertex.emulator import EMULATOR
with serve({"vertex": EMULATOR}, Path(sys.argv[1])) as ready:
    print(json.dumps(ready.to_json()), flush=True)
    threading.Event().wait()
"""


@contextmanager
def running(folder: Path) -> Iterator[tuple[dict[str, Any], subprocess.Popen[str]]]:
    """An emulator in a process of its own, and what it says when it is ready."""
    with subprocess.Popen([sys.executable, "-c", SERVE, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline()), process
        finally:
            process.kill()


def store(said: dict[str, Any]) -> GCSStore:
    client = {"proxy_url": said["proxy"], "root_certificate": Path(said["ca"]).read_bytes()}
    return GCSStore(
        BUCKET,
        service_account=said["env"]["GOOGLE_APPLICATION_CREDENTIALS"],
        client_options=client,
        retry_config={"max_retries": 0},
    )


def content(number: int) -> bytes:
    return number.to_bytes(4, "big") * (SIZE // 4)


def test_what_was_acknowledged_is_whole_after_a_kill(tmp_path: Path) -> None:
    done: list[int] = []
    with running(tmp_path) as (said, process):
        writer = store(said)

        def write(number: int) -> None:
            try:
                obstore.put(writer, f"n/{number:04}", content(number), use_multipart=False)
            except BaseError:
                return
            done.append(number)
            if len(done) >= 40:  # several may come to it at once
                os.kill(process.pid, signal.SIGKILL)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(400)))
    assert 40 <= len(done) < 400
    with running(tmp_path) as (said, _):
        reader = store(said)
        found = {int(item["path"].removeprefix("n/")) for page in obstore.list(reader, "n") for item in page}
        assert found >= set(done)
        for number in found:  # those that were written and not acknowledged are whole too
            assert bytes(obstore.get(reader, f"n/{number:04}").bytes()) == content(number)
        with pytest.raises(FileNotFoundError):
            obstore.head(reader, "n/0399")
