"""The submit journal: the intent is stored before the first byte is sent, so a killed process finds its work again.

One entry a token, in the profile's StateStore: `intended` before the provider is asked, `done` with the id after.
What lies between is ambiguous, and is settled by looking for the token, never by asking again blindly; but where the
provider itself does a token's work once, asking again is what settles it. A token that nobody can ask for again has no
entry where its job tells by itself how it was asked for.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from mlport.errors import AmbiguousError, ConflictError, MlportError
from mlport.spi import ABSENT, Plan, StateStore
from mlport.waiting import delays

T = TypeVar("T")
BEATS = 3  # how often within the find lag a sender says that it is still at it
SENDING_SECONDS = 10.0  # how long after its intent another process may still be expected to get its answer


@dataclass(frozen=True, slots=True)
class Entry:
    """What the journal knows of one token. `id` is the provider's, None while only intended."""

    token: str
    digest: str
    plan: dict[str, Any]
    at: float
    id: str | None = None
    key: str | None = None


def token_for(target: str, kind: str, key: str | None) -> str:
    """The idempotency token: derived from the key within one target, or fresh when there is none.

    32 lower-case hex digits: fits every provider's label and token rules.
    """
    if key is None:
        return secrets.token_hex(16)
    return hashlib.sha256(f"{target}\0{kind}\0{key}".encode()).hexdigest()[:32]


class Journal:
    """Carries out a mutation once for each token."""

    def __init__(self, store: StateStore, clock: Callable[[], float] = time.time, sleep: Callable[[float], None] = time.sleep) -> None:
        self._store, self._clock, self._sleep = store, clock, sleep

    def get(self, token: str) -> Entry | None:
        """The entry of a token, None if this profile never intended it."""
        found = self._look(token)
        return found[0] if found else None

    def forget(self, token: str) -> None:
        """What it made is being removed: its key may make it anew."""
        self._store.delete(f"journal/{token}")

    def _look(self, token: str) -> tuple[Entry, str] | None:
        found = self._store.get(f"journal/{token}")
        return (Entry(**json.loads(found.value)), found.version) if found else None

    def once(
        self,
        token: str,
        plan: Plan,
        send: Callable[[], T],
        find: Callable[[], T | None],
        *,
        name: Callable[[T], str],
        recall: Callable[[str], T],
        find_lag: float = 0.0,
        key: str | None = None,
        replan: bool = False,
    ) -> T:
        """Send the plan, unless it was sent before: then give what it made.

        Args:
            send, find: the provider's mutation and its look-up, both by this token.
            name, recall: what was made as text for the journal, and back.
            find_lag: seconds for which `find` may miss what was made. 0: the provider does a token's work once, however often it
                is sent, so what was begun earlier is sent again, and not looked for.
            replan: the plan may be another than an earlier try's, as long as nothing came of that; what came of it stands.

        Raises:
            ConflictError: the key was used for other work.
            AmbiguousError: it is not known yet whether an earlier try did the work; nothing is sent.
            MlportError: the provider refused before doing anything; the key is free again.
        """
        entry, version, fresh = self._intend(token, plan, key)
        if entry.digest != plan.digest and not replan:
            raise ConflictError(f"the key {key!r} was used for other work: another spec, source or input", hint="use a new key, or none")
        if entry.id is not None:
            return recall(entry.id)
        if not fresh:  # an earlier try got as far as intending
            if find_lag > 0 and (other := self._done_meanwhile(entry)):
                return recall(other)
            sends_anew = find_lag <= 0 and entry.digest == plan.digest  # the provider does the same thing once, and a look may fail
            if not sends_anew and (earlier := find()) is not None:
                return self._done(entry, earlier, name)
            entry, version = self._intend_again(entry, version, plan, find_lag)
        with _Sending(self._store, entry, version, find_lag / BEATS, self._clock) as sending:
            try:
                made = _sent(token, key, send, find, find_lag)
            except AmbiguousError:
                raise
            except MlportError:
                if fresh:
                    self._forget(token, sending.stop())
                raise
        return self._done(entry, made, name)

    def _intend(self, token: str, plan: Plan, key: str | None) -> tuple[Entry, str, bool]:
        entry = Entry(token, plan.digest, plan.to_json(), self._clock(), key=key)
        try:
            version = self._store.put(f"journal/{token}", _encode(entry), expect=ABSENT)
        except ConflictError:
            earlier = self._look(token)
            if earlier is None:
                raise
            return *earlier, False
        return entry, version, True

    def _intend_again(self, entry: Entry, version: str, plan: Plan, find_lag: float) -> tuple[Entry, str]:
        """Once the lag is over, start it anew before sending again: one process wins, and nobody else sends meanwhile."""
        if find_lag <= 0 and entry.digest == plan.digest:
            return entry, version
        if self._clock() - entry.at < find_lag:
            raise _unknown(entry.token, entry.key, find_lag)
        again = replace(entry, at=self._clock(), digest=plan.digest, plan=plan.to_json())
        try:
            return again, self._store.put(f"journal/{entry.token}", _encode(again), expect=version)
        except ConflictError as error:
            raise _unknown(entry.token, entry.key, find_lag) from error

    def _done_meanwhile(self, entry: Entry) -> str | None:
        """The id that another process got for a young entry: it is most likely sending right now, and is given a while."""
        left = SENDING_SECONDS - (self._clock() - entry.at)
        for pause in delays(first=0.05, ceiling=0.5):
            if left <= 0 or (found := self._look(entry.token)) is None:
                return None
            if found[0].id is not None:
                return found[0].id
            self._sleep(pause)
            left -= pause
        raise AssertionError("delays are endless")

    def _forget(self, token: str, version: str) -> None:
        """Nothing was done, so the key stays free, unless another process went on with the entry meanwhile."""
        with suppress(ConflictError):
            self._store.delete(f"journal/{token}", expect=version)

    def _done(self, entry: Entry, made: T, name: Callable[[T], str]) -> T:
        self._store.put(f"journal/{entry.token}", _encode(Entry(entry.token, entry.digest, entry.plan, entry.at, name(made), entry.key)))
        return made


def unrecorded(token: str, send: Callable[[], T], find: Callable[[], T | None]) -> T:
    """Send work of a fresh token, which nobody can ask for again, to a provider that does a token's work once: no entry is made.

    Raises:
        AmbiguousError: no answer came, and a look found nothing; the message has the token.
        MlportError: the provider refused before doing anything.
    """
    return _sent(token, None, send, find, 0.0)


def _sent(token: str, key: str | None, send: Callable[[], T], find: Callable[[], T | None], find_lag: float) -> T:
    try:
        return send()
    except AmbiguousError as error:
        try:
            found = find()
        except MlportError as failed:  # no news of it: the intent must stay
            raise _unknown(token, key, find_lag) from failed
        if found is None:
            raise _unknown(token, key, find_lag) from error
        return found


def _unknown(token: str, key: str | None, find_lag: float) -> AmbiguousError:
    later = f"in {find_lag:g} s" if find_lag else "later"
    again = f"ask once more with the same key {later}" if key else f"look {later} for what carries this token, and use a key next time"
    return AmbiguousError(
        f"no answer came, and whether the work was done is not known yet (token {token})",
        hint=f"nothing is sent again meanwhile; {again}",
    )


class _Sending:
    """Keeps the intent young while it is being sent, so that no other process takes a sender that is slow for one that died.

    What is large is uploaded within a send, which may take longer than lists lag.
    """

    def __init__(self, store: StateStore, entry: Entry, version: str, pause: float, clock: Callable[[], float]) -> None:
        self._store, self._entry, self._version, self._pause, self._clock = store, entry, version, pause, clock
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="journal", daemon=True)

    def __enter__(self) -> _Sending:
        if self._pause > 0:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> str:
        """The version of the intent from now on."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()
        return self._version

    def _beat(self) -> None:
        while not self._ended.wait(self._pause):
            try:
                young = _encode(replace(self._entry, at=self._clock()))
                self._version = self._store.put(f"journal/{self._entry.token}", young, expect=self._version)
            except ConflictError:  # another process has it now
                return
            except MlportError as error:
                if not error.retryable:
                    return


def _encode(entry: Entry) -> bytes:
    fields = {name: getattr(entry, name) for name in Entry.__slots__}
    return json.dumps(fields, default=str).encode()
