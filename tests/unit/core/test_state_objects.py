"""The state store in a bucket: as exact as SQLite's, on S3 and on Cloud Storage, when answers are lost too."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest
from aids.object_store import KEYS, bucket, server  # noqa: F401 - fixtures
from aids.vertex.place import emulator, set_faults  # noqa: F401 - fixtures
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from obstore.store import GCSStore, MemoryStore, S3Store

from mlport.emulation.server import Ready
from mlport.errors import ConflictError, UnavailableError
from mlport.spi import ABSENT
from mlport.state.lease import Lease, acquire
from mlport.state.objects import KNOWN, ObjectStateStore

PROCESSES, STEPS = 8, 6
COUNT = """
import json, sys
from pathlib import Path
from obstore.store import GCSStore, S3Store
from mlport.errors import ConflictError
from mlport.spi import ABSENT
from mlport.state.objects import ObjectStateStore
kind, options, prefix, steps = json.loads(sys.argv[1])
if kind == "gcs":
    options["client_options"]["root_certificate"] = Path(options["client_options"]["root_certificate"]).read_bytes()
store, done = ObjectStateStore({"gcs": GCSStore, "s3": S3Store}[kind](**options), prefix), 0
while done < steps:
    found = store.get("counter")
    try:
        store.put("counter", str(int(found.value) + 1 if found else 1).encode(), expect=found.version if found else ABSENT)
        done += 1
    except ConflictError:
        pass
"""


def gcs(ready: Ready) -> dict[str, Any]:
    """How to reach the emulator's first bucket."""
    return {
        "bucket": "emulated-mlport",
        "service_account": str(ready.folder / "vertex" / "credentials" / "service_account.json"),
        "client_options": {"proxy_url": ready.proxy, "root_certificate": str(ready.ca)},
    }


def s3(url: str) -> dict[str, Any]:
    """How to reach a bucket of the S3 server, which the fixture `bucket` has told the environment."""
    return {
        "bucket": url.removeprefix("s3://"),
        "endpoint": os.environ["AWS_ENDPOINT_URL"],
        "region": KEYS["AWS_REGION"],
        "access_key_id": KEYS["AWS_ACCESS_KEY_ID"],
        "secret_access_key": KEYS["AWS_SECRET_ACCESS_KEY"],
        "client_options": {"allow_http": True},
    }


def opened(kind: str, options: dict[str, Any]) -> Any:
    if kind == "s3":
        return S3Store(**options)
    client = options["client_options"]
    return GCSStore(**{**options, "client_options": {**client, "root_certificate": Path(client["root_certificate"]).read_bytes()}})


@pytest.fixture(params=["gcs", "s3"])
def place(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """A kind of bucket and how to reach it."""
    kind: str = request.param
    return kind, gcs(request.getfixturevalue("emulator")) if kind == "gcs" else s3(request.getfixturevalue("bucket"))


@pytest.fixture
def store(place: tuple[str, dict[str, Any]]) -> Iterator[ObjectStateStore]:
    made = ObjectStateStore(opened(*place), f"state/{uuid.uuid4().hex}")
    yield made
    made.close()


def test_put_get_delete(store: ObjectStateStore) -> None:
    assert store.get("a") is None
    version = store.put("a", b"1\n\x002")
    found = store.get("a")
    assert found is not None
    assert (found.value, found.version) == (b"1\n\x002", version)
    store.delete("a")
    store.delete("a")
    assert store.get("a") is None
    assert list(store.list("")) == []


def test_compare_and_swap_refuses_what_is_no_longer_so(store: ObjectStateStore) -> None:
    first = store.put("a", b"1", expect=ABSENT)
    with pytest.raises(ConflictError):
        store.put("a", b"2", expect=ABSENT)
    second = store.put("a", b"2", expect=first)
    for act in (
        lambda: store.put("a", b"3", expect=first),
        lambda: store.delete("a", expect=first),
        lambda: store.delete("a", expect=ABSENT),
    ):
        with pytest.raises(ConflictError):
            act()
    store.delete("a", expect=second)
    with pytest.raises(ConflictError):
        store.delete("a", expect=second)
    store.delete("a", expect=ABSENT)
    store.put("a", b"4", expect=ABSENT)


def test_a_version_never_comes_back(store: ObjectStateStore) -> None:
    seen = {store.put("a", b"1")}
    store.delete("a")
    assert store.put("a", b"1", expect=ABSENT) not in seen


@pytest.mark.parametrize("prefix", ["", "a/", "a/b", "zz"])
def test_list_gives_what_starts_with_the_prefix_in_order(store: ObjectStateStore, prefix: str) -> None:
    keys = ["a", "a/b", "a/b/c", "a/é", "a0", "b", "a/\U0001f600", "a//x", "a/../y", "100% sure?#"]
    for key in keys:
        store.put(key, key.encode())
    assert [(key, found.value) for key, found in store.list(prefix)] == [
        (key, key.encode()) for key in sorted(keys) if key.startswith(prefix)
    ]


def test_a_counter_over_eight_processes_is_exact(place: tuple[str, dict[str, Any]]) -> None:
    import json

    prefix = f"count/{uuid.uuid4().hex}"
    argument = json.dumps([*place, prefix, STEPS])
    running = [subprocess.Popen([sys.executable, "-c", COUNT, argument]) for _ in range(PROCESSES)]
    assert [process.wait(timeout=120) for process in running] == [0] * PROCESSES
    found = ObjectStateStore(opened(*place), prefix).get("counter")
    assert found is not None
    assert int(found.value) == PROCESSES * STEPS


def test_lost_answers_are_told_from_conflicts(emulator: Ready) -> None:  # noqa: F811
    """Every second write is done and its answer lost: no false conflict, and nothing counted twice."""
    store = ObjectStateStore(opened("gcs", gcs(emulator)), f"state/{uuid.uuid4().hex}")
    set_faults(emulator, {"match": "PUT */emulated-mlport/*", "effect": "error", "status": 503, "when": "after", "probability": 0.5})
    try:
        workers = [threading.Thread(target=_count, args=(store, 8)) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        set_faults(emulator)
    found = store.get("counter")
    assert found is not None
    assert int(found.value) == 24


def _count(store: ObjectStateStore, steps: int) -> None:
    while steps:
        found = store.get("counter")
        try:
            store.put("counter", str(int(found.value) + 1 if found else 1).encode(), expect=found.version if found else ABSENT)
            steps -= 1
        except ConflictError:
            continue


def test_a_bucket_that_is_not_there_is_not_an_empty_one(emulator: Ready) -> None:  # noqa: F811
    store = ObjectStateStore(opened("gcs", {**gcs(emulator), "bucket": "no-such-bucket"}))
    for act in (lambda: store.put("a", b"1"), lambda: list(store.list(""))):
        with pytest.raises(UnavailableError, match="bucket"):
            act()


def test_what_was_just_written_is_replaced_without_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, reads, get = MemoryStore(), [], obstore.get
    monkeypatch.setattr(obstore, "get", lambda store, name: [reads.append(name), get(store, name)][1])
    store, other = ObjectStateStore(memory), ObjectStateStore(memory)
    first = store.put("a", b"1", expect=ABSENT)
    second = store.put("a", b"2", expect=first)
    store.put("a", b"3")
    assert reads == []
    with pytest.raises(ConflictError):
        store.put("a", b"4", expect=second)
    store.put("a", b"5")
    other.put("a", b"6")
    reads.clear()
    store.put("a", b"7")  # refused, for it is not what it was; then done over what the other wrote
    assert reads == ["a.state"]
    assert [(key, found.value) for key, found in other.list("")] == [("a", b"7")]


def test_only_so_many_objects_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, reads, get = MemoryStore(), [], obstore.get
    monkeypatch.setattr(obstore, "get", lambda store, name: [reads.append(name), get(store, name)][1])
    store = ObjectStateStore(memory)
    for number in range(KNOWN + 1):
        store.put(f"{number}", b"", expect=ABSENT)
    store.put("0", b"")
    store.put(f"{KNOWN}", b"")
    assert reads == ["0.state"]


def test_what_is_none_of_ours_is_refused() -> None:
    memory = MemoryStore()
    obstore.put(memory, "x/a.state", b"something else")
    with pytest.raises(UnavailableError, match="none of mlport's"):
        ObjectStateStore(memory, "x").get("a")


class Against(RuleBasedStateMachine):
    """Any order of calls on two stores of one bucket says what a dictionary with versions would say."""

    def __init__(self) -> None:
        super().__init__()
        memory = MemoryStore()
        self.stores = [ObjectStateStore(memory, "p"), ObjectStateStore(memory, "p")]
        self.model: dict[str, tuple[bytes, str]] = {}
        self.past = [ABSENT]

    keys = st.sampled_from(["a", "a/b", "b"])

    @rule(one=st.integers(0, 1), key=keys, value=st.binary(max_size=4), at=st.none() | st.integers(0, 9))
    def put(self, one: int, key: str, value: bytes, at: int | None) -> None:
        expect = None if at is None else self.past[-1 - at % len(self.past)]
        try:
            version = self.stores[one].put(key, value, expect=expect)
        except ConflictError:
            assert expect is not None
            assert expect != self.version(key)
        else:
            assert expect in (None, self.version(key))
            assert version not in self.past
            self.model[key] = (value, version)
            self.past.append(version)

    @rule(one=st.integers(0, 1), key=keys, at=st.none() | st.integers(0, 9))
    def delete(self, one: int, key: str, at: int | None) -> None:
        expect = None if at is None else self.past[-1 - at % len(self.past)]
        try:
            self.stores[one].delete(key, expect=expect)
        except ConflictError:
            assert expect is not None
            assert expect != self.version(key)
        else:
            assert expect in (None, self.version(key))
            self.model.pop(key, None)

    def version(self, key: str) -> str:
        return self.model[key][1] if key in self.model else ABSENT

    @invariant()
    def the_same(self) -> None:
        found = {key: (each.value, each.version) for key, each in self.stores[0].list("")}
        assert found == self.model


TestAgainst = Against.TestCase
TestAgainst.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


class Holders(RuleBasedStateMachine):
    """Three that want one lease, while time goes on: at no moment do two hold it, and the fence only grows."""

    def __init__(self) -> None:
        super().__init__()
        self.store = ObjectStateStore(MemoryStore(), "p")
        self.now, self.leases, self.fences = 0.0, dict[str, Lease](), [0]

    @rule(seconds=st.floats(0, 15))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(owner=st.sampled_from("abc"))
    def take(self, owner: str) -> None:
        if lease := acquire(self.store, "x", owner, 10, clock=lambda: self.now):
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


TestHolders = Holders.TestCase
TestHolders.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
