"""MLflow's SQLite database: made whole or not at all, once, whoever comes first.

MLflow's own way is to run its 68 migrations on the file, unlocked and not in one transaction, so that two
processes that come first together leave a broken database. Here the same migrations run in memory, and the
finished file is linked into place under a lock. (`create_all` and a stamp would be faster, but MLflow's
metadata cannot make its own indexes on SQLite; only the migrations are supported.)
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

from mlport_local.config import Layout
from mlport_local.locks import held
from mlport_local.quiet import quiet_mlflow


def prepare(layout: Layout) -> Path:
    """Make MLflow's database under the root unless it is there; return its path. Safe to call from many processes.

    Cheap when it is there: one look at the file system, and MLflow is not imported.
    """
    if not layout.mlflow.exists():
        with held(layout.root / "locks" / "mlflow"):
            if not layout.mlflow.exists():
                _create(layout)
    return layout.mlflow


def _create(layout: Layout) -> None:
    with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=layout.root) as folder:
        part = Path(folder, "mlflow.db")
        part.write_bytes(_migrated())
        _add_default_experiment(part, layout.artifacts)
        _write_ahead(part)
        _publish(part, layout.mlflow)


@cache
def _migrated() -> bytes:
    """An empty database with the schema of the MLflow that is installed."""
    quiet_mlflow()
    from mlflow.store.db import utils

    engine = utils.create_sqlalchemy_engine("sqlite://")
    utils._initialize_tables(engine)
    with engine.connect() as connection:
        content: bytes = connection.connection.driver_connection.serialize()
    engine.dispose()
    return content


def _add_default_experiment(database: Path, artifacts: Path) -> None:
    """Open the store once: it adds experiment 0, whose artifact location must not be the working directory."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    uri = f"sqlite:///{database}"
    SqlAlchemyStore(uri, str(artifacts)).engine.dispose()
    SqlAlchemyStore._engine_map.pop(uri, None)


def _write_ahead(database: Path) -> None:
    """Let readers and one writer work at once; the file remembers it, so MLflow's own connections follow."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


def _publish(part: Path, database: Path) -> None:
    """Give the finished file its name, durably. A file that another program made meanwhile is not replaced."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    try:
        os.link(part, database)
    except FileExistsError:
        return
    folder = os.open(database.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def revision(database: Path) -> str | None:
    """The schema revision that a database is at, None if it is not MLflow's."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError:
        return None
    return str(row[0]) if row else None


def newest_revision() -> str:
    """The schema revision that the installed MLflow works with."""
    quiet_mlflow()
    from mlflow.store.db import utils

    return str(utils._get_latest_schema_revision())


if __name__ == "__main__":
    prepare(Layout(Path(sys.argv[1])))
