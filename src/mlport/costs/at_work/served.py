"""When deployments served, and at what price: one record each in the profile's state, for endpoints keep no such times."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from mlport.costs.at_work.frozen import Frozen
from mlport.errors import ConflictError
from mlport.spi import ABSENT, StateStore

PREFIX = "costs/serving"


@dataclass(frozen=True, slots=True)
class Served:
    """A deployment from its beginning to its end (None: it serves still). `replicas` are its fewest and its most."""

    endpoint: str
    deployment: str
    began: datetime
    seen: datetime
    bounds: tuple[int, int]
    frozen: Frozen
    ended: datetime | None = None
    by_others: bool = False
    """It ended without mlport, which knows only when it was last seen."""

    @property
    def replicas(self) -> int:
        """As many as are counted."""
        return max(1, self.bounds[0])

    @property
    def reasons(self) -> list[str]:
        """What the count does not know."""
        least, most = self.bounds
        said = []
        if most > self.replicas:
            said.append(f"counted with {self.replicas} replica{'s' if self.replicas > 1 else ''}: more, up to {most}, are not in it")
        if least == 0:
            said.append("counted as if one replica always ran: it scales to zero")
        if self.by_others:
            said.append(f"it was removed by others; counted until it was last seen, {self.seen.isoformat(timespec='minutes')}")
        return said


class Ledger:
    """The records of one profile."""

    def __init__(self, state: StateStore) -> None:
        self._state = state

    def begin(self, endpoint: str, deployment: str, frozen: Frozen, bounds: tuple[int, int]) -> None:
        """Keep that a deployment begins; nothing where it is known to serve already."""
        if any(served.ended is None for _, served, _ in self._of(endpoint) if served.deployment == deployment):
            return
        now = datetime.now(UTC)
        served = Served(endpoint, deployment, now, now, bounds, frozen)
        self._state.put(f"{PREFIX}/{endpoint}/{secrets.token_hex(8)}", _encoded(served), expect=ABSENT)

    def end(self, endpoint: str, deployment: str | None) -> None:
        """Keep that a deployment, or all of them, ended now."""
        now = datetime.now(UTC)
        for key, served, version in self._of(endpoint):
            if served.ended is None and deployment in (None, served.deployment):
                self._put(key, replace(served, ended=now, seen=now), version)

    def all(self, is_there: Callable[[str, str], bool]) -> Iterator[Served]:
        """All of them. Of those that should serve it is looked whether they do: what others removed ended when it was last seen."""
        now = datetime.now(UTC)
        for key, served, version in list(self._of("")):
            if served.ended is not None:
                yield served
                continue
            there = is_there(served.endpoint, served.deployment)
            found = replace(served, seen=now) if there else replace(served, ended=served.seen, by_others=True)
            self._put(key, found, version)
            yield found

    def _of(self, endpoint: str) -> Iterator[tuple[str, Served, str]]:
        prefix = f"{PREFIX}/{endpoint}/" if endpoint else f"{PREFIX}/"
        for key, found in self._state.list(prefix):
            yield key, _decoded(json.loads(found.value)), found.version

    def _put(self, key: str, served: Served, version: str) -> None:
        try:
            self._state.put(key, _encoded(served), expect=version)
        except ConflictError:  # another process has looked, or ended it, in this moment: its word stands
            return


def _encoded(served: Served) -> bytes:
    times = {name: time.isoformat() if time else None for name, time in _times(served).items()}
    told = {"endpoint": served.endpoint, "deployment": served.deployment, "bounds": list(served.bounds), "by_others": served.by_others}
    return json.dumps({**told, **times, "frozen": served.frozen.to_json()}).encode()


def _times(served: Served) -> dict[str, datetime | None]:
    return {"began": served.began, "seen": served.seen, "ended": served.ended}


def _decoded(record: dict[str, Any]) -> Served:
    least, most = record["bounds"]
    return Served(
        endpoint=record["endpoint"],
        deployment=record["deployment"],
        began=datetime.fromisoformat(record["began"]),
        seen=datetime.fromisoformat(record["seen"]),
        bounds=(least, most),
        frozen=Frozen.from_json(record["frozen"]),
        ended=datetime.fromisoformat(record["ended"]) if record["ended"] else None,
        by_others=record["by_others"],
    )
