"""A local place with a real model, a real endpoint, and traffic of past days in its capture folder: what tests of monitors share."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from aids.local.endpoints import save_model

import mlport
from mlport import Monitor, MonitorSpec, labels
from mlport.capture import layout
from mlport.capture.frames import Column, Frame, Origin
from mlport.capture.spool import Spool
from mlport.monitoring.stored import Book
from mlport.spi import StateStore, Versioned, Window

ROWS = 200
DAY = timedelta(days=1)
MOVED = 4.0
"""By how many standard deviations a day moves that has drifted."""
NAMES = ("a", "b")
Row = dict[str, Any]


def rows(a: float = 0.0, count: int = ROWS) -> list[Row]:
    """Rows about `a`, the same each time: the quantiles of a uniform distribution."""
    spread = [(2 * n + 1) / count - 1 for n in range(count)]
    return [{"a": a + value, "b": spread[(7 * n) % count]} for n, value in enumerate(spread)]


def midnight() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


class Place:
    """A profile on this machine, its endpoint `delays` of the model `lr`, and what passed there."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.root = root
        save_model(root / "files")
        profile = {"provider": "local", "root": str(root / "place"), **settings}
        told = "\n".join(f"{name} = {json.dumps(value)}" for name, value in profile.items())
        (root / "mlport.toml").write_text(f"[profiles.place]\n{told}\n")
        self.client = self.connect()
        self.version = self.client.models.register("lr", root / "files", trust=True)
        self.endpoint = self.client.endpoints.create("delays", self.version)
        self.capture = root / "place" / "endpoints" / "delays" / "capture"
        self.reference = root / "reference.parquet"
        pq.write_table(pa.Table.from_pylist(rows()), self.reference)
        self.today = midnight()
        self.numbers = itertools.count()

    def connect(self) -> mlport.Client:
        return mlport.connect("place", config=self.root / "mlport.toml")

    def close(self) -> None:
        self.endpoint.delete()
        self.client.close()

    # ---------------------------------------------------------------- traffic

    def day(self, ago: int) -> Window:
        """The window of a past day; today's is 0."""
        start = self.today - ago * DAY
        return Window(start, start + DAY)

    def keep(
        self,
        ago: int,
        asked: Sequence[Row],
        *,
        status: int = 200,
        body: bytes | None = None,
        ids: Sequence[str] | None = None,
        columns: tuple[Column, ...] = (Column("a", "double"), Column("b", "double")),
        size: int = 20,
        hour: float = 12.0,
    ) -> list[str]:
        """Have requests of `size` rows captured on a past day, as the server keeps them; their ids. `body` stands for all that cannot be read."""
        parts = [asked[start : start + size] for start in range(0, len(asked), size)] if body is None else [asked]
        ids = ids or [f"r{next(self.numbers)}" for _ in parts]
        at = int((self.day(ago).start + timedelta(hours=hour)).timestamp() * 1e6)
        writer = Spool(self.capture, Origin("delays", "blue", "lr", "1", 1.0, columns))
        frames = []
        for n, (request, part) in enumerate(zip(ids, parts, strict=True)):
            answer = {"predictions": [int((row.get("a") or 0) > 0) for row in part]}
            said = body if body is not None else json.dumps({"dataframe_records": part}).encode()
            frames.append(Frame(request, None, at + n, 0.01, status, 0, said, json.dumps(answer).encode()))
        assert writer.append(frames)
        writer.close()
        return list(ids)

    def label(
        self, ids: Sequence[str], asked: Sequence[Row], *, right: float = 1.0, cut: float = 0.0, size: int = 20, at: datetime | None = None
    ) -> None:
        """Label requests by whether `a` is above `cut`; of each request a share of rows is right, the last ones wrong."""
        told = []
        for n, request in enumerate(ids):
            truth = [int(row["a"] > cut) for row in asked[n * size : (n + 1) * size]]
            told.append((request, [value if i < right * len(truth) else 1 - value for i, value in enumerate(truth)]))
        labels.put(self.client.session.state, "delays", told, at)

    def days(self, *moved: float) -> list[list[str]]:
        """Keep a day of traffic for each of these, the last of them yesterday; their ids."""
        return [self.keep(len(moved) - n, rows(a)) for n, a in enumerate(moved)]

    def clear(self) -> None:
        """Forget what passed, the labels, and every monitor."""
        shutil.rmtree(self.capture, ignore_errors=True)
        store = self.client.session.state
        for monitor in list(self.client.monitors.list()):
            self.client.monitors.delete(monitor.name)
        for key, _ in list(store.list("labels/")):
            store.delete(key)

    # ---------------------------------------------------------------- monitors

    def spec(self, days: int, **fields: Any) -> MonitorSpec:
        """A monitor whose first window is so many days ago; the day under way is not due."""
        made = {"endpoint": "delays", "reference": str(self.reference), "start": f"{days}d", "delay": "1s", **fields}
        return MonitorSpec.model_validate({"window": "1d", "performance": {"metric": "accuracy", "reference": 1.0}, **made})

    def watch(self, days: int, **fields: Any) -> Monitor:
        return self.client.monitors.create(self.spec(days, **fields))

    @property
    def book(self) -> Book:
        return Book(self.client.session.state)

    def segments(self) -> list[Path]:
        return layout.segments(self.capture)


def oldest_first(monitor: Monitor) -> list[Any]:
    return list(monitor.readings())[::-1]


# ---------------------------------------------------------------- a process that dies


class KilledError(BaseException):
    """Stands for kill -9: nothing of ours may catch it."""


class Mortal:
    """A StateStore that a process has until it dies before its n-th write that is not of a lease; afterwards it does nothing any more."""

    def __init__(self, store: StateStore, death: int) -> None:
        self.store, self.death, self.writes = store, death, 0

    def _live(self, key: str) -> None:
        if self.writes + (not key.startswith("lease/")) >= self.death:
            self.writes = self.death
            raise KilledError

    def get(self, key: str) -> Versioned | None:
        return self.store.get(key)

    def list(self, prefix: str) -> Iterator[tuple[str, Versioned]]:
        return self.store.list(prefix)

    def put(self, key: str, value: bytes, *, expect: str | None = None) -> str:
        self._live(key)
        version = self.store.put(key, value, expect=expect)
        self.writes += not key.startswith("lease/")
        return version

    def delete(self, key: str, *, expect: str | None = None) -> None:
        if self.store.get(key) is not None:
            self._live(key)
            self.writes += 1
        self.store.delete(key, expect=expect)

    def close(self) -> None:
        self.store.close()


def dies(place: Place, death: int, act: Callable[[mlport.Client], Any]) -> bool:
    """Do it in a process that dies before its n-th write to the store; whether it came to that."""
    with place.connect() as client:
        session = cast("Any", client.session)
        session.__dict__["state"] = Mortal(session.state, death)
        try:
            act(client)
        except KilledError:
            return True
    return False


def lives(place: Place, act: Callable[[mlport.Client], Any]) -> int:
    """Do it in one process after another, each of which dies after one write or two, until one gets through; how many died."""
    return next(n for n in range(100) if not dies(place, 2 + n % 2, act))
