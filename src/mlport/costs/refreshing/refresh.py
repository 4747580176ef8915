"""Refresh price lists: read the source, compare, and put the new list in place at once or not at all."""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlport.costs import catalogue
from mlport.costs.facts import pack
from mlport.costs.refreshing.changes import Changes, compared
from mlport.costs.refreshing.sources import Found, PriceSource
from mlport.costs.refreshing.web import Web
from mlport.errors import ConflictError, ProviderError

UNFINISHED = "unfinished"
"""The folder of downloads that broke off, below that of the lists."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What became of one list. `path` is None where nothing was written."""

    name: str
    version: str
    regions: Sequence[str]
    changes: Changes
    path: Path | None

    def to_json(self) -> dict[str, Any]:
        return {
            "list": self.name,
            "version": self.version,
            "regions": list(self.regions),
            "written": str(self.path) if self.path else None,
            **self.changes.to_json(),
        }


def refresh(
    name: str,
    source: PriceSource,
    *,
    regions: Sequence[str] = (),
    force: bool = False,
    dry_run: bool = False,
    progress: Callable[[str], None] = lambda text: None,
    web: Web | None = None,
) -> Refreshed:
    """Refresh one list for `regions`, or for those that it has prices of machines in.

    A list that looks wrong (`Changes.doubts`) is not written unless forced.

    Raises:
        ConflictError: another refresh is under way.
        ProviderError: the source did not answer, or has no price of a known machine in a region.
    """
    folder = catalogue.folder()
    with _alone(folder):
        listed = catalogue.Catalogue(folder).list(name)
        regions = list(dict.fromkeys(regions or listed.machine_regions))
        passed: Counter[str] = Counter()
        found = _found(source, web or Web(folder / UNFINISHED), regions, passed, progress)
        changes = compared(listed.facts, found, regions, source.purchases, passed)
        version = max((fact.as_of.isoformat() for fact in changes.facts), default=listed.version)
        path = None
        if not dry_run and (force or not changes.doubts):
            path = _write(folder / f"{name}.json", pack(changes.facts, version))
            catalogue.forget()
    return Refreshed(name, version, regions, changes, path)


def _found(source: PriceSource, web: Web, regions: Sequence[str], passed: Counter[str], progress: Callable[[str], None]) -> Iterator[Found]:
    for number, region in enumerate(regions, start=1):
        where = f"{region} ({number} of {len(regions)})"
        progress(where)
        web.progress = lambda text, where=where: progress(f"{where}: {text}")  # type: ignore[misc]
        some = False
        for row in source.read(web, region, passed):
            some = True
            yield row
        if not some:
            raise ProviderError(f"the source has no price in {region}", hint="name the regions that it has with --region")


def _write(path: Path, text: str) -> Path:
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(part, path)
    return path


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """For one refresh at a time: lists and unfinished downloads have one writer."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(f"prices in {folder} are being refreshed already", hint="wait until that has ended") from error
        yield
