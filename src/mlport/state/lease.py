"""Leases over any StateStore: one holder at a time, by compare-and-swap, with a fence that only grows.

A holder that stalls past its time to live loses the lease without knowing; so check `held` right before each
act that must not happen twice, and pass `fence` where the other side can compare it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlport.errors import ConflictError
from mlport.spi import ABSENT, StateStore


@dataclass(slots=True)
class Lease:
    """A lease held by `owner` until `expires` (seconds since the epoch) unless renewed."""

    store: StateStore
    key: str
    owner: str
    ttl: float
    fence: int
    expires: float
    version: str
    clock: Callable[[], float] = time.time

    @property
    def held(self) -> bool:
        """Whether it is still ours, by our clock and by the store."""
        found = self.store.get(self.key)
        return self.clock() < self.expires and found is not None and found.version == self.version

    def renew(self) -> None:
        """Hold it for another `ttl`. Raises ConflictError when it was lost."""
        expires = self.clock() + self.ttl
        self.version = self.store.put(self.key, _record(self.owner, self.fence, expires, self.ttl), expect=self.version)
        self.expires = expires

    def release(self) -> None:
        """Give it up; nothing happens if it was lost already. The fence is kept for the next holder."""
        try:
            self.version = self.store.put(self.key, _record("", self.fence, 0.0, self.ttl), expect=self.version)
        except ConflictError:
            return
        finally:
            self.expires = 0.0


def acquire(store: StateStore, name: str, owner: str, ttl: float, *, clock: Callable[[], float] = time.time) -> Lease | None:
    """Take the lease `name` for `ttl` seconds, or None while another holds it."""
    key = f"lease/{name}"
    found = store.get(key)
    record: dict[str, Any] = json.loads(found.value) if found else {"owner": "", "fence": 0, "expires": 0.0}
    now = clock()
    left = record["expires"] - now
    if 0 < left <= record.get("ttl", left) + 1 and record["owner"] != owner:  # more left than was ever given: the clock was set back
        return None
    fence, expires = record["fence"] + 1, now + ttl
    try:
        version = store.put(key, _record(owner, fence, expires, ttl), expect=found.version if found else ABSENT)
    except ConflictError:
        return None
    return Lease(store, key, owner, ttl, fence, expires, version, clock)


def _record(owner: str, fence: int, expires: float, ttl: float) -> bytes:
    return json.dumps({"owner": owner, "fence": fence, "expires": expires, "ttl": ttl}).encode()
