"""What all connections of a router share: the table, the lines, the counters and the router's own answers."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import time
from collections import Counter
from typing import TYPE_CHECKING

from mlport_local.serving.http1 import RequestHead
from mlport_local.serving.line import Line
from mlport_local.serving.tally import Tallies
from mlport_local.serving.traffic import EMPTY, Table, Target

if TYPE_CHECKING:
    from mlport_local.serving.door import Door

CONNECT_SECONDS = 5.0
MOST_IDLE = 256  # idle lines kept for each deployment


class Switchboard:
    """The state of one router.

    Args:
        endpoint: Its name, for metrics.
        tallies: What each deployment answered.
        most_body: Bytes; a larger body is refused with 413.
        most_callers: Open connections; further ones are turned away with 503.
        answer_seconds: For a worker's answer, counted anew at each sign of life.
        head_seconds: For a caller's head to arrive.
        body_seconds: For a body to begin to arrive; it has more time as it comes.
    """

    def __init__(
        self,
        endpoint: str,
        loop: asyncio.AbstractEventLoop,
        tallies: Tallies,
        *,
        most_body: int,
        most_callers: int,
        answer_seconds: float,
        head_seconds: float,
        body_seconds: float,
    ) -> None:
        self.endpoint, self.loop, self.tallies, self.most_callers = endpoint, loop, tallies, most_callers
        self.most_body, self.answer_seconds = most_body, answer_seconds
        self.head_seconds, self.body_seconds = head_seconds, body_seconds
        self.table: Table = EMPTY
        self.callers: set[Door] = set()
        self.lines: set[Line] = set()
        self.counters: Counter[str] = Counter()
        self.retired: list[Target] = []
        self.draining = False
        self._gone = asyncio.Event()
        self.now = time.monotonic()  # moved on by `sweep`: exact enough for time limits
        self._prefix = secrets.token_hex(10)
        self._numbers = itertools.count(1)

    def request_id(self) -> bytes:
        """32 hexadecimal digits: 80 random bits of this router, and a count."""
        return b"%s%012x" % (self._prefix.encode(), next(self._numbers))

    async def connect(self, target: Target) -> Line:
        """A new line to a deployment's worker. Raises OSError (TimeoutError is one) when it cannot be reached."""
        async with asyncio.timeout(CONNECT_SECONDS):
            _, line = await self.loop.create_unix_connection(lambda: Line(self, target), target.socket)
        return line

    def keep(self, target: Target, line: Line) -> None:
        """Keep a line for the next request, unless its deployment is no longer in the table."""
        if self.table.targets.get(target.name) is target and len(target.idle) < MOST_IDLE:
            target.idle.append(line)
        else:
            line.close()

    def replace(self, table: Table) -> None:
        """Work from a new table. Requests under way end where they are."""
        before, self.table = self.table, table
        for target in before.targets.values():
            if table.targets.get(target.name) is not target:
                self.retired.append(target)
                target.forget_lines()

    def forget(self) -> None:
        """Let go of the tallies of deployments that are gone: called when what was counted is written."""
        if self.table is not EMPTY:  # before the first table nobody is gone
            self.retired = [target for target in self.retired if target.busy]
            self.tallies.keep(self.table.targets.keys() | {target.name for target in self.retired})

    def hang_up(self, caller: Door) -> None:
        """A caller's connection has ended."""
        self.callers.discard(caller)
        if self.draining and not self.callers:
            self._gone.set()

    async def all_gone(self) -> None:
        """Wait, while draining, for the last connection to end."""
        if self.callers:
            await self._gone.wait()

    def status(self) -> dict[str, object]:
        """For the keeper: the generation, and how many requests each deployment is at, those taken out included."""
        self.retired = [target for target in self.retired if target.busy]
        busy = Counter({target.name: target.busy for target in self.table.targets.values()})
        for target in self.retired:
            busy[target.name] += target.busy
        return {"generation": self.table.generation, "busy": dict(busy), "callers": len(self.callers)}

    def sweep(self) -> None:
        """Hold everyone to their time limits; about once a second."""
        self.now = now = time.monotonic()
        for caller in tuple(self.callers):
            caller.sweep(now)
        for line in tuple(self.lines):
            line.sweep(now)

    def own(self, request: RequestHead) -> tuple[int, bytes, bytes]:
        """Status, content type and body of `/healthz` and `/metrics`."""
        if request.target == b"/metrics":
            from mlport_local.serving.metrics import CONTENT_TYPE, exposition

            return 200, CONTENT_TYPE, exposition(self)
        ready = bool(self.table.slots)
        return 200 if ready else 503, b"application/json", json.dumps({"status": "ok" if ready else "no deployment has traffic"}).encode()
