"""The state store: exact between processes, honest about what it cannot do; and the lease that stands on it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mlport.errors import ConflictError, UnavailableError
from mlport.spi import ABSENT
from mlport.state import sqlite as room
from mlport.state.lease import Lease, acquire
from mlport.state.sqlite import SqliteStateStore

PROCESSES, STEPS = 8, 25
COUNT = """
import sys
from pathlib import Path
from mlport.errors import ConflictError
from mlport.spi import ABSENT
from mlport.state.sqlite import SqliteStateStore
store, done = SqliteStateStore(Path(sys.argv[1])), 0
while done < int(sys.argv[2]):
    found = store.get("counter")
    try:
        store.put("counter", str(int(found.value) + 1 if found else 1).encode(), expect=found.version if found else ABSENT)
        done += 1
    except ConflictError:
        pass
store.close()
"""
FIRST_USE = """
import os, sys
from pathlib import Path
from mlport.errors import UnavailableError
from mlport.state.sqlite import SqliteStateStore
failed = 0
for number in range(60):
    begin, open_ = os.pipe()
    children = []
    for child in range(4):
        pid = os.fork()
        if pid == 0:
            os.close(open_)
            os.read(begin, 1)  # ends for all at once, when the parent closes its end
            try:
                SqliteStateStore(Path(sys.argv[1], f"{number}.db")).put(str(child), b"")
            except UnavailableError:
                os._exit(1)
            os._exit(0)
        children.append(pid)
    os.close(open_)
    os.close(begin)
    failed += sum(os.waitpid(pid, 0)[1] != 0 for pid in children)
sys.exit(failed)
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStateStore]:
    opened = SqliteStateStore(tmp_path / "deep" / "state.db")
    yield opened
    opened.close()


def test_put_get_delete(store: SqliteStateStore) -> None:
    assert store.get("a") is None
    version = store.put("a", b"1")
    found = store.get("a")
    assert found is not None
    assert (found.value, found.version) == (b"1", version)
    store.delete("a")
    store.delete("a")
    assert store.get("a") is None


def test_compare_and_swap_refuses_what_is_no_longer_so(store: SqliteStateStore) -> None:
    first = store.put("a", b"1", expect=ABSENT)
    with pytest.raises(ConflictError):
        store.put("a", b"2", expect=ABSENT)
    second = store.put("a", b"2", expect=first)
    for act in (lambda: store.put("a", b"3", expect=first), lambda: store.delete("a", expect=first)):
        with pytest.raises(ConflictError):
            act()
    store.delete("a", expect=second)


def test_a_version_never_comes_back(store: SqliteStateStore) -> None:
    seen = {store.put("a", b"1")}
    store.delete("a")
    assert store.put("a", b"1", expect=ABSENT) not in seen


@pytest.mark.parametrize("prefix", ["", "a/", "a/b", "zz"])
def test_list_gives_what_starts_with_the_prefix_in_order(store: SqliteStateStore, prefix: str) -> None:
    keys = ["a", "a/b", "a/b/c", "a/é", "a0", "b", "a/\U0001f600"]
    for key in keys:
        store.put(key, key.encode())
    assert [key for key, _ in store.list(prefix)] == sorted(key for key in keys if key.startswith(prefix))


def test_list_reads_more_than_one_page(store: SqliteStateStore) -> None:
    wanted = [f"k/{number:05}" for number in range(1203)]
    for key in wanted:
        store.put(key, b"")
    assert [key for key, _ in store.list("k/")] == wanted


def test_a_counter_over_eight_processes_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    running = [subprocess.Popen([sys.executable, "-c", COUNT, str(path), str(STEPS)]) for _ in range(PROCESSES)]
    assert [process.wait(timeout=60) for process in running] == [0] * PROCESSES
    store = SqliteStateStore(path)
    found = store.get("counter")
    store.close()
    assert found is not None
    assert int(found.value) == PROCESSES * STEPS


def test_first_use_by_several_processes_at_once_waits_for_the_one_that_makes_it(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", FIRST_USE, str(tmp_path)], timeout=60, check=False).returncode == 0


def test_threads_share_a_store(store: SqliteStateStore) -> None:
    threads = [threading.Thread(target=lambda: [store.put(f"{os.urandom(8).hex()}", b"") for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(store.list(""))) == 40


def test_a_fork_does_not_share_its_connection(store: SqliteStateStore) -> None:
    store.put("a", b"1")
    mine = store._connection
    assert store._connection is mine
    child = os.fork()
    if child == 0:
        os._exit(0 if store._connection is not mine and store.get("a") is not None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_it_can_be_used_again_after_close(store: SqliteStateStore) -> None:
    store.put("a", b"1")
    store.close()
    assert store.get("a") is not None


def test_a_locked_file_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "BUSY_SECONDS", 0.05)
    store = SqliteStateStore(tmp_path / "state.db")
    store.put("a", b"1")
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError) as caught:
        store.put("a", b"2")
    assert caught.value.native_code == "SQLITE_BUSY"
    other.execute("ROLLBACK")
    other.close()
    store.put("a", b"2")
    store.close()


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"not a database" * 100)
    store = SqliteStateStore(tmp_path / "state.db")
    with pytest.raises(UnavailableError, match=r"state\.db"):
        store.get("a")
    store.close()


def test_an_error_inside_a_put_leaves_nothing_open(store: SqliteStateStore) -> None:
    with pytest.raises(ConflictError):
        store.put("a", b"1", expect="7")
    assert not store._connection.in_transaction


# ---------------------------------------------------------------- leases


def test_a_lease_is_held_by_one_until_it_runs_out(store: SqliteStateStore) -> None:
    now = [1000.0]
    first = acquire(store, "agent", "one", 10, clock=lambda: now[0])
    assert first is not None
    assert first.held
    assert acquire(store, "agent", "two", 10, clock=lambda: now[0]) is None
    now[0] += 10
    assert not first.held
    second = acquire(store, "agent", "two", 10, clock=lambda: now[0])
    assert second is not None
    assert second.held
    assert second.fence > first.fence
    with pytest.raises(ConflictError):
        first.renew()
    first.release()
    assert second.held


def test_a_released_lease_is_free_at_once(store: SqliteStateStore) -> None:
    first = acquire(store, "agent", "one", 1000)
    assert first is not None
    first.release()
    assert not first.held
    second = acquire(store, "agent", "two", 1000)
    assert second is not None
    assert second.fence == first.fence + 1


class Holders(RuleBasedStateMachine):
    """Three that want one lease, while time goes on: at no moment do two hold it, and the fence only grows."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.store = SqliteStateStore(Path(self.folder.name, "state.db"))
        self.now, self.leases, self.fences = 0.0, dict[str, Lease](), [0]

    @rule(seconds=st.floats(0, 15))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(owner=st.sampled_from("abc"))
    def take(self, owner: str) -> None:
        lease = acquire(self.store, "x", owner, 10, clock=lambda: self.now)
        if lease:
            self.leases[owner] = lease
            self.fences.append(lease.fence)

    @rule(owner=st.sampled_from("abc"))
    def renew(self, owner: str) -> None:
        if owner in self.leases:
            held = self.leases[owner].held
            try:
                self.leases[owner].renew()
            except ConflictError:
                assert not held

    @rule(owner=st.sampled_from("abc"))
    def release(self, owner: str) -> None:
        if owner in self.leases:
            self.leases[owner].release()

    @invariant()
    def one_holder(self) -> None:
        assert sum(lease.held for lease in self.leases.values()) <= 1
        assert self.fences == sorted(set(self.fences))

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()


TestHolders = Holders.TestCase
TestHolders.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
