"""Refresh price lists: read the source, compare, and put the new list in place at once or not at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlport.costs import catalogue
from mlport.costs.facts import pack
from mlport.costs.refreshing.changes import Changes, compared
from mlport.costs.refreshing.sources import Access, Found, PriceSource, Request
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
    access: Access | None = None,
) -> Refreshed:
    """Refresh one list for `regions`, or for those that it has prices in of what the source speaks of.

    A list that looks wrong (`Changes.doubts`) is not written unless forced.

    Raises:
        ConfigError: the source needs something of whoever asks that `access` has not.
        ConflictError: another refresh is under way.
        ProviderError: the source did not answer, or has no price of a known thing in a region.
    """
    access = access or Access()
    if (lacking := source.lacks(access)) is not None:
        raise lacking
    folder = catalogue.folder()
    with _alone(folder):
        listed = catalogue.Catalogue(folder).list(name)
        asked = list(dict.fromkeys(regions)) or _regions(listed, source)
        request = Request(asked, listed.facts, web or Web(folder / UNFINISHED), access, progress)
        changes = compared(listed.facts, _found(source, request, bool(regions)), asked, source.speaks_of, request.passed, request.left)
        version = max((fact.as_of.isoformat() for fact in changes.facts), default=listed.version)
        path = None
        if not dry_run and (force or not changes.doubts):
            path = _write(folder / f"{name}.json", pack(changes.facts, version))
            catalogue.forget()
    return Refreshed(name, version, asked, changes, path)


def _regions(listed: catalogue.PriceList, source: PriceSource) -> list[str]:
    """Where the list has prices of what the source speaks of."""
    spoken = {fact.region for fact in listed.facts if source.speaks_of(fact)}
    return [region for region in listed.regions if region in spoken]


def _found(source: PriceSource, request: Request, named: bool) -> Iterator[Found]:
    """What the source has. In each region something, unless nobody `named` the region and the source leaves it as it is."""
    seen = set()
    for row in source.read(request):
        seen.add(row.region)
        yield row
    for region in request.regions:
        left = {reason for fact, reason in request.left.items() if fact.region == region}
        if region not in seen and (named or not left):
            hint = "; ".join(sorted(left)) or "name the regions that it has with --region"
            raise ProviderError(f"the source has no price in {region}", hint=hint)


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
