"""Removing what nobody needs any more: bundles, environments and folders that no job names."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mlport.faults import fault
from mlport.spi import Collected
from mlport_local.clock import now
from mlport_local.engine.database import writing
from mlport_local.engine.environments import COMPLETE, Setup
from mlport_local.engine.private import remove_secrets_of_nobody
from mlport_local.layout import Layout

GONE = ".gone-"
"""The beginning of the name of what is being removed: nobody finds it under its own any more."""


def collectable(layout: Layout, connection: sqlite3.Connection, older_than: float) -> dict[str, list[Path]]:
    """What no job needs and nobody has used for so many seconds, by kind.

    A bundle is needed by every job that is still listed; an environment by those that have not ended.
    """
    before = now() - older_than
    return {
        "bundle": [path for path in _unneeded_bundles(layout, connection) if path.stat().st_mtime < before],
        "environment": [path for path in _unneeded_environments(layout, connection) if _last_used(path) < before],
        "folder": list(_folders_of_nobody(layout, connection)),
    }


def collect(layout: Layout, connection: sqlite3.Connection, older_than: float) -> Collected:
    """Remove what is collectable, and what earlier collections could not remove.

    It is renamed inside a transaction, which no submit can cross, and removed afterwards: it is there whole, or not at all.
    """
    remove_secrets_of_nobody(layout, connection)
    with writing(connection, "collect"):
        found = collectable(layout, connection, older_than)
        for path in itertools.chain(*found.values()):
            os.replace(path, path.with_name(f"{GONE}{path.name}"))
    gone = [path for place in ("bundles", "environments", "jobs") for path in (layout.root / place).glob(f"{GONE}*")]
    size = sum(map(size_of, gone))
    fault("during-collect")
    return Collected(named(found), size, tuple(str(path) for path in gone if not removed(path)))


def named(found: Mapping[str, Sequence[Path]]) -> dict[str, tuple[str, ...]]:
    """Digests of bundles and environments, ids of jobs whose folders were left over."""
    return {kind: tuple(path.name.removesuffix(".tar.gz") for path in paths) for kind, paths in found.items()}


def _unneeded_bundles(layout: Layout, connection: sqlite3.Connection) -> Iterator[Path]:
    needed = {row[0] for row in connection.execute("SELECT DISTINCT json_extract(request, '$.source') FROM jobs")}
    return (path for path in _inside(layout.root / "bundles") if str(path) not in needed)


def _unneeded_environments(layout: Layout, connection: sqlite3.Connection) -> Iterator[Path]:
    rows = connection.execute("SELECT json_extract(request, '$.setup') FROM jobs WHERE ended IS NULL")
    needed = {Setup.from_json(json.loads(row[0])).digest for row in rows if row[0]}
    return (path for path in _inside(layout.root / "environments") if path.is_dir() and path.name not in needed)


def _folders_of_nobody(layout: Layout, connection: sqlite3.Connection) -> Iterator[Path]:
    """Folders of jobs whose deletion was interrupted. A job's folder is made after its row, so this needs no age."""
    known = {row[0] for row in connection.execute("SELECT id FROM jobs")}
    return (path for path in _inside(layout.root / "jobs") if path.name not in known)


def _inside(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.glob("*")) if not path.name.startswith("."))


def _last_used(environment: Path) -> float:
    marker = environment / COMPLETE
    return (marker if marker.exists() else environment).stat().st_mtime


def size_of(path: Path) -> int:
    """Bytes of a file or of all files below a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir())


def removed(path: Path) -> bool:
    """Remove a file or folder; whether it is gone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return not path.exists()
