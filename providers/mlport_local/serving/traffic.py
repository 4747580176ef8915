"""Who gets the next request: the table of deployments that a router works from, replaced as a whole."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlport_local.serving import keys
from mlport_local.serving.http1 import Refused
from mlport_local.serving.tally import Tallies, Tally

if TYPE_CHECKING:
    from mlport_local.serving.line import Line

_NEVER = float("inf")


@dataclass(eq=False, slots=True)
class Target:
    """One deployment as the router sees it: where its worker listens, idle connections to it, what it did."""

    name: str
    version: str
    socket: str
    tally: Tally
    idle: list[Line] = field(default_factory=list)
    busy: int = 0

    def forget_lines(self) -> None:
        """Close the idle lines: the worker is gone, or no longer to be asked."""
        while self.idle:
            self.idle.pop().close()

    @property
    def signature(self) -> bytes:
        """The header lines that tell a caller who answered."""
        return b"x-mlport-deployment: %s\r\nx-mlport-version: %s\r\n" % (self.name.encode(), self.version.encode())


@dataclass(frozen=True, slots=True)
class Table:
    """Deployments, their shares, and the keys that open the door. `slots` holds a share of 1 % each."""

    generation: int
    targets: Mapping[str, Target]
    percents: Mapping[str, int]
    slots: tuple[Target, ...]
    digests: tuple[tuple[bytes, float], ...] | None  # with the time each ends; None: anyone may call
    lasting: bool  # no key ends by itself, so a caller once admitted stays so under this table

    def admits(self, key: bytes | None) -> bool:
        """Whether the key is good now."""
        if self.digests is None:
            return True
        now = time.time()
        return keys.matches(key, [known for known, until in self.digests if now < until])

    def candidates(self, deployment: str | None) -> Iterator[Target]:
        """Whom to try, in order: the one asked for alone, or one drawn by its share and then the others that have a share.

        Raises:
            Refused: 404 when no such deployment is here, 503 when nothing is.
        """
        if deployment is not None:
            found = self.targets.get(deployment)
            if found is None:
                raise Refused(404, f"no deployment {deployment!r} here; there are: {', '.join(self.targets) or 'none'}")
            yield found
            return
        if not self.slots:
            raise unavailable("no deployment has a share of the traffic")
        drawn = self.slots[int(random.random() * len(self.slots))]  # noqa: S311 - a share, not a secret
        yield drawn
        for other in self.targets.values():
            if other is not drawn and self.percents[other.name] > 0:
                yield other


def unavailable(why: str) -> Refused:
    """The answer while nobody can serve."""
    return Refused(503, why, b"retry-after: 1\r\n")


EMPTY = Table(0, {}, {}, (), (), True)  # admits nobody


def table_of(message: Mapping[str, Any], before: Table, tallies: Tallies) -> Table:
    """The table that a keeper's message describes; a target that stays as it was keeps its connections.

    Raises:
        ValueError: shares that do not sum to 100 (or to 0 while nothing is deployed).
    """
    given = message["deployments"]
    targets = {name: _target(name, one, before.targets.get(name), tallies) for name, one in given.items()}
    percents = {name: int(one["percent"]) for name, one in given.items()}
    if sum(percents.values()) not in (0, 100) or min(percents.values(), default=0) < 0:
        raise ValueError(f"shares must sum to 100: {percents}")
    slots = tuple(targets[name] for name, percent in percents.items() for _ in range(percent))
    known = message["digests"]
    digests = None if known is None else tuple((bytes.fromhex(one["sha256"]), one.get("until") or _NEVER) for one in known)
    lasting = digests is None or all(until == _NEVER for _, until in digests)
    return Table(int(message["generation"]), targets, percents, slots, digests, lasting)


def _target(name: str, given: Mapping[str, Any], before: Target | None, tallies: Tallies) -> Target:
    if before and (before.socket, before.version) == (given["socket"], str(given["version"])):
        return before
    return Target(name, str(given["version"]), given["socket"], tallies[name])
