"""Kept documents: numbers never come twice, changes are whole, and a restart finds everything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mlport.emulation.documents import Documents, Exists
from mlport.faults import VARIABLE


def test_a_restart_finds_documents_and_goes_on_counting(tmp_path: Path) -> None:
    first = Documents(tmp_path / "d.db")
    first.insert("job", "a", {"x": 1})
    assert first.next_number("id") == 1
    first.close()
    second = Documents(tmp_path / "d.db")
    assert second.get("job", "a") == {"x": 1}
    assert second.next_number("id") == 2
    second.close()


def test_listing_is_newest_first_and_by_prefix(tmp_path: Path) -> None:
    documents = Documents(tmp_path / "d.db")
    for name in ("p/1", "q/1", "p/2"):
        documents.insert("job", name, {"name": name})
    assert [body["name"] for _, body in documents.list("job", "p/")] == ["p/2", "p/1"]
    assert documents.delete("job", "p/2")
    assert not documents.delete("job", "p/2")
    documents.insert("job", "p/0", {"name": "p/0"})
    numbers = [number for number, _ in documents.list("job")]
    assert numbers == sorted(numbers, reverse=True)
    documents.close()


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    documents = Documents(tmp_path / "d.db")
    documents.insert("job", "a", {})
    with pytest.raises(Exists):
        documents.insert("job", "a", {"other": True})
    documents.insert("model", "a", {"kind": "another"})
    assert documents.get("job", "a") == {}
    documents.close()


def test_what_fails_inside_leaves_nothing(tmp_path: Path) -> None:
    documents = Documents(tmp_path / "d.db")

    def fail() -> None:
        with documents.together():
            documents.insert("job", "a", {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert documents.get("job", "a") is None
    documents.close()


def test_changes_from_many_threads_are_all_kept(tmp_path: Path) -> None:
    documents = Documents(tmp_path / "d.db")
    documents.insert("count", "n", {"n": 0})

    def add() -> None:
        for _ in range(50):
            documents.change("count", "n", lambda body: {"n": body["n"] + 1})

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert documents.get("count", "n") == {"n": 200}
    assert documents.change("count", "absent", lambda body: body) is None
    documents.close()


DIES = """
import sys
from pathlib import Path
from mlport.emulation.documents import Documents

documents = Documents(Path(sys.argv[1]))
for number in range(4):
    with documents.together():
        documents.insert("first kind", str(number), {})
        documents.insert("second", str(number), {})
"""


@pytest.mark.parametrize(("point", "kept"), [("before-first-kind", 0), ("after-second", 1), ("before-second 3", 2), ("after-second 3", 3)])
def test_whoever_writes_can_be_killed_before_and_after_each_write(tmp_path: Path, point: str, kept: int) -> None:
    switch = tmp_path / "die-at"
    switch.write_text(point)
    command = [sys.executable, "-c", DIES, str(tmp_path / "documents.db")]
    died = subprocess.run(command, env={**os.environ, VARIABLE: f"@{switch}"}, check=False)
    assert (died.returncode, switch.exists()) == (-signal.SIGKILL, False)
    documents = Documents(tmp_path / "documents.db")
    assert [len(list(documents.list(kind))) for kind in ("first kind", "second")] == [kept, kept]
    documents.close()
