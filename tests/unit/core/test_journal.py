"""The journal under crashes: whatever dies when, the work is done once, and it is found again."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlport.errors import AmbiguousError, ConflictError, InvalidRequestError, UnavailableError
from mlport.journal import Journal, token_for, unrecorded
from mlport.spi import Facts, Plan, Request
from mlport.state.sqlite import SqliteStateStore

TOKEN = token_for("place", "job", "key")
LAG = 60.0


class KilledError(BaseException):
    """The process dies here: nothing may catch it."""


def plan(name: str = "train", **facts: object) -> Plan:
    return Plan("sample", "sample:///x", "job", name, {"name": name}, Facts(**facts), (Request("run", {}),))  # type: ignore[arg-type]


@dataclass
class Vendor:
    """A vendor that isn't idempotent, and whose listing shows what was made only after a lag."""

    lag: float
    idempotent: bool = False
    now: float = 1000.0
    made: list[float] = field(default_factory=list)
    fate: str = "answers"
    down: bool = False

    def send(self) -> str:
        fate, self.fate = self.fate, "answers"
        if fate == "dies before":
            raise KilledError
        if fate == "refuses":
            raise UnavailableError("nothing was done")
        if fate == "loses the request":
            raise AmbiguousError("no answer")
        if not (self.idempotent and self.made):
            self.made.append(self.now)
        if fate == "dies after":
            raise KilledError
        if fate == "loses the answer":
            raise AmbiguousError("no answer")
        if fate == "goes down after":
            self.down = True
            raise AmbiguousError("no answer")
        return "job-1"

    def find(self) -> str | None:
        down, self.down = self.down, False
        if down:
            raise UnavailableError("no look is possible")
        return "job-1" if any(self.now - when >= self.lag for when in self.made) else None

    def submit(self, journal: Journal, what: Plan | None = None) -> str:
        return journal.once(
            TOKEN, what or plan(), self.send, self.find, name=str, recall=str, find_lag=0.0 if self.idempotent else self.lag, key="key"
        )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStateStore]:
    opened = SqliteStateStore(tmp_path / "state.db")
    yield opened
    opened.close()


FATES = ["answers", "dies before", "dies after", "loses the request", "loses the answer", "goes down after", "refuses"]
TRIES = st.lists(st.tuples(st.sampled_from(FATES), st.floats(0, 2 * LAG)), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(tries=TRIES, idempotent=st.booleans())
def test_never_twice_and_never_lost(tries: list[tuple[str, float]], *, idempotent: bool) -> None:
    vendor = Vendor(LAG, idempotent)
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStateStore(Path(folder, "state.db"))
        acknowledged = False
        for fate, passes in [*tries, ("answers", LAG), ("answers", LAG)]:  # in the end somebody asks in peace
            vendor.fate, vendor.now = fate, vendor.now + passes
            try:
                assert vendor.submit(Journal(store, clock=lambda: vendor.now, sleep=lambda _: None)) == "job-1"
                acknowledged = True
            except (KilledError, AmbiguousError, UnavailableError):
                assert not acknowledged
            assert len(vendor.made) <= 1
        assert acknowledged
        assert len(vendor.made) == 1
        store.close()


def test_within_the_lag_nothing_is_sent_again(store: SqliteStateStore) -> None:
    vendor = Vendor(LAG, fate="dies after")
    journal = Journal(store, clock=lambda: vendor.now, sleep=lambda _: None)
    with pytest.raises(KilledError):
        vendor.submit(journal)
    vendor.now += LAG - 1
    with pytest.raises(AmbiguousError, match="not known yet"):
        vendor.submit(journal)
    vendor.now += 1
    assert vendor.submit(journal) == "job-1"
    assert len(vendor.made) == 1


def test_sending_again_starts_the_lag_anew(store: SqliteStateStore) -> None:
    vendor = Vendor(LAG, fate="dies before")
    journal = Journal(store, clock=lambda: vendor.now, sleep=lambda _: None)
    with pytest.raises(KilledError):
        vendor.submit(journal)
    vendor.now += LAG
    vendor.fate = "dies after"
    with pytest.raises(KilledError):
        vendor.submit(journal)
    vendor.now += LAG / 2
    with pytest.raises(AmbiguousError):
        vendor.submit(journal)
    assert len(vendor.made) == 1


def test_where_the_provider_does_it_once_it_is_sent_again_and_not_looked_for(store: SqliteStateStore) -> None:
    """A look may have to read long listings, and is refused as often as any call."""
    vendor, journal = Vendor(LAG, idempotent=True, fate="dies after"), Journal(store)
    with pytest.raises(KilledError):
        vendor.submit(journal)
    vendor.down = True
    assert vendor.submit(journal) == "job-1"
    assert (len(vendor.made), vendor.down) == (1, True)


def test_of_two_that_would_send_again_one_does(store: SqliteStateStore) -> None:
    vendor = Vendor(LAG, fate="dies before")
    with pytest.raises(KilledError):
        vendor.submit(Journal(store, clock=lambda: vendor.now, sleep=lambda _: None))
    vendor.now += LAG
    other = Journal(store, clock=lambda: vendor.now, sleep=lambda _: None)

    def find_slowly() -> str | None:
        if not vendor.made:
            assert vendor.submit(other) == "job-1"  # a second process gets between the look and the sending
        return None

    with pytest.raises(AmbiguousError):
        Journal(store, clock=lambda: vendor.now, sleep=lambda _: None).once(
            TOKEN, plan(), vendor.send, find_slowly, name=str, recall=str, find_lag=LAG, key="key"
        )
    assert len(vendor.made) == 1


def test_one_of_two_at_once_waits_for_the_other_and_gets_its_job(store: SqliteStateStore) -> None:
    """The list lags by a minute, but the other process is about to write down what it got."""
    vendor, sending, waited = Vendor(LAG), threading.Event(), threading.Event()

    def send_slowly() -> str:
        sending.set()
        assert waited.wait(10)
        return vendor.send()

    def once(journal: Journal, send: Callable[[], str]) -> str:
        return journal.once(TOKEN, plan(), send, vendor.find, name=str, recall=str, find_lag=LAG, key="key")

    def pause(seconds: float) -> None:
        waited.set()
        time.sleep(seconds)

    first = threading.Thread(target=once, args=(Journal(store), send_slowly))
    first.start()
    assert sending.wait(10)
    assert once(Journal(store, sleep=pause), lambda: pytest.fail("sent twice")) == "job-1"
    first.join()
    assert len(vendor.made) == 1


def test_a_sender_that_takes_longer_than_lists_lag_is_not_taken_for_dead(store: SqliteStateStore) -> None:
    lag, begun, may_end = 0.3, threading.Event(), threading.Event()
    sent: list[str] = []

    def slow() -> str:
        begun.set()
        may_end.wait(30)
        sent.append("job")
        return "job"

    def once(send: Callable[[], str]) -> str:
        return Journal(store, sleep=lambda _: None).once(TOKEN, plan(), send, lambda: None, name=str, recall=str, find_lag=lag, key="key")

    answers: list[str] = []
    sender = threading.Thread(target=lambda: answers.append(once(slow)))
    sender.start()
    assert begun.wait(30)
    until = time.monotonic() + 3 * lag
    while time.monotonic() < until:
        with pytest.raises(AmbiguousError):
            once(lambda: sent.append("another") or "another")
    may_end.set()
    sender.join(30)
    assert (answers, sent, once(slow)) == (["job"], ["job"], "job")


def test_a_refusal_frees_the_key_for_other_work(store: SqliteStateStore) -> None:
    vendor, journal = Vendor(LAG), Journal(store, sleep=lambda _: None)

    def refuse() -> str:
        raise InvalidRequestError("no such machine")

    with pytest.raises(InvalidRequestError):
        journal.once(TOKEN, plan("one"), refuse, vendor.find, name=str, recall=str, find_lag=LAG, key="key")
    assert vendor.submit(journal, plan("two")) == "job-1"


def test_a_key_stands_for_one_piece_of_work(store: SqliteStateStore) -> None:
    vendor, journal = Vendor(0), Journal(store)
    vendor.submit(journal, plan("one"))
    for other in (plan("two"), plan("one", bundle="0" * 64), replace(plan("one"), target="sample:///y")):
        with pytest.raises(ConflictError, match="'key' was used for other work"):
            vendor.submit(journal, other)
    assert len(vendor.made) == 1


def test_an_alias_that_moved_is_not_other_work(store: SqliteStateStore) -> None:
    vendor, journal = Vendor(0), Journal(store)
    model = {"name": "delays", "version": "3", "digest": "d", "aliases": ["champion"], "tags": {}}
    vendor.submit(journal, plan(model=model))
    assert vendor.submit(journal, plan(model={**model, "aliases": [], "tags": {"stage": "test"}})) == "job-1"
    with pytest.raises(ConflictError):
        vendor.submit(journal, plan(model={**model, "version": "4"}))


def test_the_entry_keeps_how_it_was_asked_for(store: SqliteStateStore) -> None:
    journal = Journal(store, clock=lambda: 5.0)
    assert journal.get(TOKEN) is None
    Vendor(0).submit(journal)
    entry = journal.get(TOKEN)
    assert entry is not None
    assert (entry.id, entry.key, entry.at, entry.plan["spec"]) == ("job-1", "key", 5.0, {"name": "train"})


def test_tokens_differ_by_target_kind_and_key_and_fit_label_rules() -> None:
    tokens = {token_for(*words) for words in [("a", "job", "k"), ("b", "job", "k"), ("a", "model", "k"), ("a", "job", "l")]}
    assert len(tokens) == 4
    assert token_for("a", "job", "k") in tokens
    assert token_for("a", "job", None) != token_for("a", "job", None)
    assert all(len(token) == 32 and set(token) <= set("0123456789abcdef") for token in [*tokens, token_for("a", "job", None)])


@pytest.mark.parametrize(
    ("fate", "error"),
    [
        ("loses the request", AmbiguousError),
        ("goes down after", AmbiguousError),
        ("refuses", UnavailableError),
        ("dies after", KilledError),
    ],
)
def test_what_is_not_recorded_fails_as_it_did_and_tells_the_token_where_nothing_is_known(fate: str, error: type[BaseException]) -> None:
    vendor = Vendor(0, idempotent=True, fate=fate)
    with pytest.raises(error) as caught:
        unrecorded(TOKEN, vendor.send, vendor.find)
    assert (TOKEN in str(caught.value)) == (error is AmbiguousError)


def test_what_is_not_recorded_is_found_where_only_the_answer_was_lost() -> None:
    for fate in ("answers", "loses the answer"):
        vendor = Vendor(0, idempotent=True, fate=fate)
        assert unrecorded(TOKEN, vendor.send, vendor.find) == "job-1"
        assert len(vendor.made) == 1
