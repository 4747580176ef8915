"""Milliseconds of each call to a registry of 100,000 versions; a bare MlflowClient does the same on the same file in the same run.

Half of the versions are of one model, the others of models with 100 each. One version of each kind is registered as anyone would,
the others are copies of its rows in the store's own tables: through the API they would take an hour.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from itertools import count
from pathlib import Path

from _measure import FEWEST_RUNS, Goal, finish, interleaved, medians, quiet_mlflow, show

import mlport
from mlport.spi import Query

MOST_MS = 100
BIG, SMALL = "big", "small"
EACH = 100  # versions of a small model
FILTERED = {"batch": "7"}
"""The tag that every thousandth version carries with this value."""
CALLS = ("register", "get by number", "get by alias", "newest", "list versions", "filter versions", "list models", "alias", "tag", "delete")
Call = Callable[[], object]


def fill(database: Path, big: int, models: int) -> None:
    """Copy the rows of version 1 of each model until `big` has `big` versions, and `small` is there `models` times with `EACH`."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(
            "CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000000) SELECT i FROM n"
        )
        tag = "CASE key WHEN 'mlport.token' THEN value || '-' || i WHEN 'batch' THEN i % 1000 ELSE value END"
        version = {"name": "name", "version": "i"}
        _copy(connection, "model_versions", version, f"name = '{BIG}' AND i BETWEEN 2 AND {big}")
        _copy(connection, "model_version_tags", {**version, "value": tag}, f"name = '{BIG}' AND i BETWEEN 2 AND {big}")
        number, name = f"1 + (i - 1) % {EACH}", f"'{SMALL}-' || ((i - 1) / {EACH})"
        _copy(connection, "registered_models", {"name": "name || '-' || (i - 1)"}, f"name = '{SMALL}' AND i <= {models}")
        _copy(connection, "model_versions", {"name": name, "version": number}, f"name = '{SMALL}' AND i <= {models * EACH}")
        _copy(
            connection, "model_version_tags", {"name": name, "version": number, "value": tag}, f"name = '{SMALL}' AND i <= {models * EACH}"
        )
        connection.execute("DROP TABLE n")


def _copy(connection: sqlite3.Connection, table: str, changed: Mapping[str, str], where: str) -> None:
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    taken = ", ".join(changed.get(column, column) for column in columns)
    connection.execute(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {taken} FROM {table}, n WHERE {where}")


def versions(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("SELECT count(*) FROM model_versions").fetchone()[0])


def ours(ml: mlport.Client, folder: Path) -> Iterator[tuple[str, Call]]:
    """What each call is, by its name. A version is registered, aliased, tagged and deleted again."""
    models, names = ml.session.models, count()
    made: list[mlport.ModelVersion] = []

    def register() -> None:
        made.append(ml.models.register(BIG, folder, trust=True))

    yield "register", register
    yield "get by number", lambda: ml.models.get(BIG, "40")
    yield "get by alias", lambda: ml.models.get(f"{BIG}@champion")
    yield "newest", lambda: ml.models.get(BIG)
    yield "list versions", lambda: list(models.versions(BIG, Query(page_size=100)).items)
    yield "filter versions", lambda: list(models.versions(BIG, Query(page_size=100, labels=FILTERED)).items)
    yield "list models", lambda: list(models.list(Query(page_size=100)).items)
    yield "alias", lambda: ml.models.alias(BIG, "challenger", made[-1].version)
    yield "tag", lambda: made[-1].tag(note=str(next(names)))
    yield "delete", lambda: made.pop().delete()


def bare(database: Path, folder: Path) -> Iterator[tuple[str, Call]]:
    """The same with MLflow's client; it copies no files."""
    quiet_mlflow()
    from mlflow import MlflowClient

    client, names = MlflowClient(f"sqlite:///{database}", f"sqlite:///{database}"), count()
    made: list[str] = []

    def register() -> None:
        made.append(str(client.create_model_version(BIG, str(folder)).version))

    def newest() -> object:
        return client.search_model_versions(f"name = '{BIG}'", max_results=1, order_by=["version_number DESC"])[0]

    def filtered() -> object:
        (found,) = FILTERED.items()
        return client.search_model_versions(f"name = '{BIG}' AND tags.`{found[0]}` = '{found[1]}'", max_results=100)

    yield "register", register
    yield "get by number", lambda: client.get_model_version(BIG, "40")
    yield "get by alias", lambda: client.get_model_version_by_alias(BIG, "champion")
    yield "newest", newest
    yield "list versions", lambda: client.search_model_versions(f"name = '{BIG}'", max_results=100, order_by=["version_number DESC"])
    yield "filter versions", filtered
    yield "list models", lambda: client.search_registered_models(max_results=100)
    yield "alias", lambda: client.set_registered_model_alias(BIG, "challenger", made[-1])
    yield "tag", lambda: client.set_model_version_tag(BIG, made[-1], "note", str(next(names)))
    yield "delete", lambda: client.delete_model_version(BIG, made.pop())


def timed(name: str, call: Call) -> dict[str, float]:
    began = time.perf_counter()
    call()
    return {name: (time.perf_counter() - began) * 1e3}


@contextmanager
def registry(folder: Path, total: int) -> Iterator[tuple[mlport.Client, Path]]:
    """A profile whose registry has so many versions, and the file that it lies in."""
    model = folder / "model"
    model.mkdir()
    (model / "weights").write_bytes(b"0" * 1000)
    with mlport.connect(f"local://{folder / 'root'}") as ml:
        for name in (BIG, SMALL):
            ml.models.register(name, model, tags={"batch": "1"}, alias="champion", trust=True)
    database = folder / "root" / "mlflow.db"
    fill(database, total // 2, total // 2 // EACH)
    with mlport.connect(f"local://{folder / 'root'}") as ml:
        yield ml, database


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--versions", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=FEWEST_RUNS)
    parser.add_argument("--quick", action="store_true", help="10,000 versions, 3 runs")
    options = parser.parse_args()
    total, runs = (10_000, 3) if options.quick else (options.versions, options.runs)
    with tempfile.TemporaryDirectory(prefix="mlport-bench-") as temporary:
        folder = Path(temporary)
        began = time.perf_counter()
        with registry(folder, total) as (ml, database):
            there, filling = versions(database), time.perf_counter() - began
            pairs = zip(ours(ml, folder / "model"), bare(database, folder / "model"), strict=True)
            cases = [
                partial(timed, f"{who} {name}", call)
                for pair in pairs
                for who, (name, call) in zip(("mlport", "mlflow"), pair, strict=True)
            ]
            found = medians(interleaved(cases, runs))
            size = database.stat().st_size / 2**20
    print(f"{there:,} versions in {size:,.0f} MiB, made in {filling:.0f} s; milliseconds, median of {runs} runs")
    show(
        ("", "mlport", "mlflow", "ratio"),
        [(c, found[f"mlport {c}"], found[f"mlflow {c}"], found[f"mlflow {c}"] / found[f"mlport {c}"]) for c in CALLS],
    )
    goals = [Goal(f"p50 of {call} at {there:,} versions", found[f"mlport {call}"], "at most", MOST_MS, "ms") for call in CALLS]
    return finish("registry", goals, versions=there, runs=runs, milliseconds=found)


if __name__ == "__main__":
    sys.exit(main())
