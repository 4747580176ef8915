"""MLflow's SQLite database: made whole or not at all, once, whoever comes first.

MLflow's own way is to run its 68 migrations on the file, unlocked and not in one transaction, so that two
processes that come first together leave a broken database. Here the same migrations run in memory, and the
finished file is linked into place under a lock. (`create_all` and a stamp would be faster, but MLflow's
metadata cannot make its own indexes on SQLite; only the migrations are supported.)

The migrations take seconds and their result is the same for every root, so it is kept once a user and MLflow release,
in the user's cache folder, and copied from there without importing MLflow.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from mlport.errors import UnavailableError
from mlport_local.layout import Layout
from mlport_local.locks import held
from mlport_local.registry.quiet import quiet_mlflow

PLACEHOLDER = "/mlport-artifact-root"


def prepare(layout: Layout) -> Path:
    """Make MLflow's database under the root unless it is there; return its path. Safe to call from many processes.

    MLflow is never imported here: the user's first root ever makes the template in a process of its own, in seconds;
    later ones copy it, in milliseconds.
    """
    if not layout.mlflow.exists():
        with held(layout.root / "locks" / "mlflow"):
            if not layout.mlflow.exists():
                _create(layout)
    return layout.mlflow


def _create(layout: Layout) -> None:
    with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=layout.root) as folder:
        part = Path(folder, "mlflow.db")
        shutil.copyfile(template(), part)
        with closing(sqlite3.connect(part)) as connection:
            connection.execute(
                "UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)", (PLACEHOLDER, str(layout.artifacts))
            )
            connection.commit()
        _write_ahead(part)
        _publish(part, layout.mlflow)


def template() -> Path:
    """The user's copy of an empty database of the MLflow that is installed; made if it is not there yet."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlport"
    kept = home / f"mlflow-{version('mlflow')}.db"
    if revision(kept) is None:
        with held(home / "mlflow.lock"):
            if revision(kept) is None:
                kept.unlink(missing_ok=True)
                _make_template(home, kept)
    return kept


def _make_template(home: Path, kept: Path) -> None:
    paths = os.pathsep.join(path for path in sys.path if path)
    with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=home) as folder:
        part = Path(folder, "mlflow.db")
        made = subprocess.run(
            [sys.executable, "-m", __spec__.name, str(part)],
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise UnavailableError(f"MLflow could not make its database: {made.stderr.strip()[-2000:]}", provider="local")
        _publish(part, kept)


def _migrate(part: Path) -> None:
    """An empty database with the schema of the MLflow that is installed, and its default experiment."""
    quiet_mlflow()
    from mlflow.store.db import utils

    engine = utils.create_sqlalchemy_engine("sqlite://")
    utils._initialize_tables(engine)
    with engine.connect() as connection:
        part.write_bytes(connection.connection.driver_connection.serialize())
    engine.dispose()
    _add_default_experiment(part)


def _add_default_experiment(database: Path) -> None:
    """Open the store once: it adds experiment 0, whose artifact location must not be the working directory."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    uri = f"sqlite:///{database}"
    SqlAlchemyStore(uri, PLACEHOLDER).engine.dispose()
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
    """The schema revision that a database is at, None if it is not there or not MLflow's."""
    if not database.exists():
        return None
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
    _migrate(Path(sys.argv[1]))
