"""What a job must be told and nobody else: secrets and credentials, in a file that only its owner can read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from mlport_local.engine.database import writing
from mlport_local.engine.files import write_durably
from mlport_local.layout import Layout


def secrets_path(layout: Layout, job_id: str) -> Path:
    """The file of one job, removed at its end."""
    return layout.root / "secrets" / f"{job_id}.json"


def keep_private(layout: Layout, job_id: str, private: Mapping[str, str]) -> None:
    """Store it before the job is queued, inside the transaction that queues it."""
    if private:
        path = secrets_path(layout, job_id)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(path, json.dumps(dict(private)).encode(), "secrets")


def private_of(layout: Layout, job_id: str) -> dict[str, str]:
    """The private part of a job's environment."""
    try:
        found: dict[str, str] = json.loads(secrets_path(layout, job_id).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def remove_secrets_of_nobody(layout: Layout, connection: sqlite3.Connection) -> None:
    """Remove what a submit left that was killed before its job was queued.

    Such a file is written inside the submit's transaction. So within one of ours, a file without a job is nobody's.
    """
    folder = layout.root / "secrets"
    if not any(folder.glob("*.json*")):
        return
    with writing(connection, "secrets-removal"):
        waiting = {f"{row[0]}.json" for row in connection.execute("SELECT id FROM jobs WHERE ended IS NULL")}
        for path in folder.iterdir():
            if path.name not in waiting:
                path.unlink(missing_ok=True)
