"""Files that are there as a whole or not at all, also when threads write the same one."""

import os
import threading
from pathlib import Path

from mlport_local.engine.files import write_durably

THREADS, TIMES = 8, 25


def test_threads_that_write_one_file_at_once_do_not_take_each_others_part(tmp_path: Path) -> None:
    failed: list[Exception] = []
    together = threading.Barrier(THREADS)

    def write() -> None:
        together.wait()
        for number in range(TIMES):
            try:
                write_durably(tmp_path / f"{number}", b"content", "bundle")
            except OSError as error:
                failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert sorted(os.listdir(tmp_path), key=int) == [f"{number}" for number in range(TIMES)]
    assert (tmp_path / "0").read_bytes() == b"content"
