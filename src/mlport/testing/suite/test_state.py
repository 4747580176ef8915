"""The state store that the core keeps its journals and rollouts in: compare-and-swap that holds between clients."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

import mlport
from mlport.errors import ConflictError
from mlport.spi import ABSENT, StateStore


@pytest.fixture
def store(client: mlport.Client, unique: str) -> Iterator[StateStore]:
    yield client.session.state
    for key, _ in list(client.session.state.list(f"suite/{unique}")):
        client.session.state.delete(key)


def test_a_value_is_kept_and_versioned(store: StateStore, again: mlport.Client, unique: str) -> None:
    key = f"suite/{unique}"
    assert store.get(key) is None
    first = store.put(key, b"\x00one", expect=ABSENT)
    found = again.session.state.get(key)
    assert found is not None
    assert (found.value, found.version) == (b"\x00one", first)
    assert store.put(key, b"two", expect=first) != first
    store.delete(key)
    store.delete(key)
    assert store.get(key) is None


def test_a_swap_of_what_is_no_longer_so_is_a_conflict(store: StateStore, unique: str) -> None:
    key = f"suite/{unique}"
    first = store.put(key, b"1")
    second = store.put(key, b"2")
    for expect in (ABSENT, first):
        with pytest.raises(ConflictError):
            store.put(key, b"3", expect=expect)
    with pytest.raises(ConflictError):
        store.delete(key, expect=first)
    store.delete(key, expect=second)
    with pytest.raises(ConflictError):
        store.put(key, b"3", expect=second)


def test_a_listing_has_the_prefix_and_the_order(store: StateStore, unique: str) -> None:
    for name in ("b", "a/2", "a/1", "ab"):
        store.put(f"suite/{unique}/{name}", name.encode())
    assert [key.rpartition(f"{unique}/")[2] for key, _ in store.list(f"suite/{unique}/")] == ["a/1", "a/2", "ab", "b"]
    assert [found.value for _, found in store.list(f"suite/{unique}/a/")] == [b"a/1", b"a/2"]


def test_of_many_that_swap_at_once_each_counts(store: StateStore, unique: str) -> None:
    key, each, workers = f"suite/{unique}", 5, 4
    store.put(key, b"0")

    def count() -> None:
        done = 0
        while done < each:
            found = store.get(key)
            assert found is not None
            try:
                store.put(key, str(int(found.value) + 1).encode(), expect=found.version)
                done += 1
            except ConflictError:
                continue

    threads = [threading.Thread(target=count) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = store.get(key)
    assert found is not None
    assert found.value == str(each * workers).encode()
