"""BigQuery's datasets and tables, kept in an embedded DuckDB: what is inserted is stored, and queries really run.

A dataset is a schema of the engine, named `project:dataset`. Results of queries are tables too, in a hidden dataset, as
they are in BigQuery: https://cloud.google.com/bigquery/docs/cached-results.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlport.emulation.documents import Documents, Exists
from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.storing.table_types import ValueProblem, arrow_type, field_of, normal, quoted, row_of, sql_type

if TYPE_CHECKING:
    import duckdb

    from mlport.emulation.calls import Reply

Json = dict[str, Any]
LOCATION = "US"
HIDDEN = "_results"  # dataset of the results of queries
KEPT_RESULTS = 24 * 3600.0  # seconds
SWEEP_SECONDS = 600.0
# https://cloud.google.com/bigquery/docs/error-messages
REASONS = {
    "NOT_FOUND": "notFound", "ALREADY_EXISTS": "duplicate", "INVALID_ARGUMENT": "invalid", "UNIMPLEMENTED": "notImplemented",
    "FAILED_PRECONDITION": "resourceInUse", "RESOURCE_EXHAUSTED": "rateLimitExceeded", "PERMISSION_DENIED": "accessDenied",
    "UNAVAILABLE": "backendError", "INTERNAL": "internalError",
}  # fmt: skip
SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


class TableError(ApiError):
    """A refusal as BigQuery shapes it: with `errors`, each with a reason, and where it was."""

    def __init__(self, code: str, message: str, reason: str = "", location: str = "") -> None:
        super().__init__(code, message)
        self.reason, self.location = reason or REASONS.get(code, "invalid"), location

    @property
    def proto(self) -> Json:
        """As ErrorProto."""
        return {"reason": self.reason, "message": self.message, **({"location": self.location} if self.location else {})}

    def reply(self) -> Reply:
        from mlport.emulation.calls import Reply

        each = {"domain": "global", **self.proto}
        return Reply.of({"error": {"code": self.status, "message": self.message, "errors": [each], "status": self.code}}, self.status)


def no_dataset(project: str, dataset: str) -> TableError:
    return TableError("NOT_FOUND", f"Not found: Dataset {project}:{dataset}")


def no_table(project: str, dataset: str, table: str) -> TableError:
    return TableError("NOT_FOUND", f"Not found: Table {project}:{dataset}.{table}")


class Tables:
    """All the datasets of one emulator. Safe for threads."""

    def __init__(self, folder: Path, documents: Documents) -> None:
        self._folder, self._documents = folder, documents
        self._lock = threading.RLock()
        self._swept = 0.0

    @cached_property
    def _engine(self) -> duckdb.DuckDBPyConnection:
        """Opened when it is first needed. It reaches no file but its own, whatever a query says."""
        import duckdb

        self._folder.mkdir(parents=True, exist_ok=True)
        engine = duckdb.connect(self._folder / "tables.duckdb", config=SETTINGS)
        engine.execute("SET TimeZone = 'UTC'")
        engine.execute("SET lock_configuration = true")
        return engine

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of the caller's own to the engine."""
        with self._lock:
            return self._engine.cursor()

    def close(self) -> None:
        with self._lock:
            if "_engine" in self.__dict__:
                self._engine.close()

    # ---------------------------------------------------------------- datasets

    def has_dataset(self, project: str, dataset: str) -> bool:
        return self._documents.get("datasets", f"{project}:{dataset}") is not None

    def create_dataset(self, project: str, dataset: str, body: Json | None = None) -> Json:
        """Make one. Raises TableError: there is one of that name."""
        moment = str(int(time.time() * 1000))
        kept: Json = {
            "kind": "bigquery#dataset",
            "id": f"{project}:{dataset}",
            "location": LOCATION,
            "type": "DEFAULT",
            **(body or {}),
            "datasetReference": {"projectId": project, "datasetId": dataset},
            "creationTime": moment,
            "lastModifiedTime": moment,
            "etag": moment,
        }
        with self._lock:
            try:
                self._documents.insert("datasets", f"{project}:{dataset}", kept)
            except Exists as error:
                raise TableError("ALREADY_EXISTS", f"Already Exists: Dataset {project}:{dataset}") from error
            self._engine.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema_of(project, dataset))}")
        return kept

    def dataset(self, project: str, dataset: str) -> Json:
        """Raises TableError: there is none."""
        found = self._documents.get("datasets", f"{project}:{dataset}")
        if found is None:
            raise no_dataset(project, dataset)
        return found

    def change_dataset(self, project: str, dataset: str, changes: Mapping[str, Any]) -> Json:
        """Give a dataset other fields. Raises TableError: there is none."""
        return _need(self._change("datasets", f"{project}:{dataset}", changes), no_dataset(project, dataset))

    def delete_dataset(self, project: str, dataset: str, *, contents: bool) -> None:
        """Raises TableError: there is none, or it has tables and they are to be kept."""
        with self._lock:
            self.dataset(project, dataset)
            held = list(self._documents.list("tables", f"{project}:{dataset}."))
            if held and not contents:
                raise TableError("INVALID_ARGUMENT", f"Dataset {project}:{dataset} is still in use", "resourceInUse")
            for _, each in held:
                self._documents.delete("tables", each["id"])
            self._engine.execute(f"DROP SCHEMA IF EXISTS {quoted(schema_of(project, dataset))} CASCADE")
            self._documents.delete("datasets", f"{project}:{dataset}")

    def datasets(self, project: str) -> Sequence[Json]:
        """By name. Hidden ones are left out."""
        found = [each for _, each in self._documents.list("datasets", f"{project}:")]
        shown = [each for each in found if not each["datasetReference"]["datasetId"].startswith("_")]
        return sorted(shown, key=lambda each: str(each["id"]))

    # ---------------------------------------------------------------- tables

    def has_table(self, project: str, dataset: str, table: str) -> bool:
        return self._documents.get("tables", f"{project}:{dataset}.{table}") is not None

    def create(self, project: str, dataset: str, table: str, schema: Sequence[Json], body: Json | None = None) -> Json:
        """Make a table, and its dataset if there is none. Raises TableError: there is one of that name, or a bad column."""
        fields = fields_of(schema)
        with self._lock:
            if not self.has_dataset(project, dataset):
                self.create_dataset(project, dataset)
            kept = self._register(project, dataset, table, fields, body or {})
            columns = ", ".join(f"{quoted(field['name'])} {sql_type(field)}" for field in fields)
            self._engine.execute(f"CREATE OR REPLACE TABLE {named(project, dataset, table)} ({columns})")
        return kept

    def _register(self, project: str, dataset: str, table: str, fields: Sequence[Json], body: Json) -> Json:
        moment = str(int(time.time() * 1000))
        kept: Json = {
            **body,
            "kind": "bigquery#table",
            "id": f"{project}:{dataset}.{table}",
            "tableReference": {"projectId": project, "datasetId": dataset, "tableId": table},
            "type": "TABLE",
            "location": self.dataset(project, dataset).get("location", LOCATION),
            "schema": {"fields": list(fields)},
            "creationTime": moment,
            "lastModifiedTime": moment,
            "etag": moment,
        }
        try:
            self._documents.insert("tables", kept["id"], kept)
        except Exists as error:
            raise TableError("ALREADY_EXISTS", f"Already Exists: Table {kept['id']}") from error
        return kept

    def table(self, project: str, dataset: str, table: str) -> Json:
        """As it was made. Raises TableError: there is none."""
        found = self._documents.get("tables", f"{project}:{dataset}.{table}")
        if found is None:
            self.dataset(project, dataset)
            raise no_table(project, dataset, table)
        return found

    def change_table(self, project: str, dataset: str, table: str, changes: Mapping[str, Any]) -> Json:
        """Give a table other fields than its columns. Raises TableError: there is none."""
        return _need(self._change("tables", f"{project}:{dataset}.{table}", changes), no_table(project, dataset, table))

    def _change(self, kind: str, name: str, changes: Mapping[str, Any]) -> Json | None:
        moment = {"lastModifiedTime": str(int(time.time() * 1000)), "etag": str(time.time_ns())}
        kept = {key: value for key, value in changes.items() if value is not None}
        return self._documents.change(
            kind,
            name,
            lambda body: {key: value for key, value in {**body, **kept, **moment}.items() if changes.get(key, value) is not None},
        )

    def delete(self, project: str, dataset: str, table: str) -> None:
        """Raises TableError: there is none."""
        with self._lock:
            self.table(project, dataset, table)
            self._engine.execute(f"DROP TABLE IF EXISTS {named(project, dataset, table)}")
            self._documents.delete("tables", f"{project}:{dataset}.{table}")

    def tables(self, project: str, dataset: str) -> Sequence[Json]:
        """By name."""
        self.dataset(project, dataset)
        return sorted((each for _, each in self._documents.list("tables", f"{project}:{dataset}.")), key=lambda each: str(each["id"]))

    # ---------------------------------------------------------------- rows

    def append(self, project: str, dataset: str, table: str, rows: Sequence[Json]) -> None:
        """Add rows of JSON. Raises TableError: no such table, or a value that its column cannot hold; then none was added."""
        fields = self.table(project, dataset, table)["schema"]["fields"]
        try:
            values = [row_of(fields, row) for row in rows]
        except ValueProblem as problem:
            raise TableError("INVALID_ARGUMENT", problem.message, location=problem.location) from problem
        self.add(project, dataset, table, fields, values)

    def add(self, project: str, dataset: str, table: str, fields: Sequence[Json], values: Sequence[Json]) -> None:
        """Add rows whose values have been parsed already."""
        import pyarrow as pa

        if not values:
            return
        rows = pa.Table.from_pylist(list(values), schema=pa.schema([(field["name"], arrow_type(field)) for field in fields]))
        with self.cursor() as cursor, self._lock:
            cursor.register("_rows", rows)
            cursor.execute(f"INSERT INTO {named(project, dataset, table)} SELECT * FROM _rows")  # noqa: S608 - the name is quoted
            cursor.unregister("_rows")

    def count(self, project: str, dataset: str, table: str) -> int:
        """How many rows there are."""
        with self.cursor() as cursor:
            found = cursor.execute(f"SELECT count(*) FROM {named(project, dataset, table)}").fetchone()  # noqa: S608
        return int(found[0]) if found else 0

    def rows(self, project: str, dataset: str, table: str, start: int, most: int) -> list[Json]:
        """Rows in the order in which they were added, from `start`."""
        with self.cursor() as cursor:
            sql = f"SELECT * FROM {named(project, dataset, table)} LIMIT {int(most)} OFFSET {int(start)}"  # noqa: S608
            return list(cursor.sql(sql).to_arrow_table().to_pylist())

    def stream(self, project: str, dataset: str, table: str, most: int) -> Iterator[list[Json]]:
        """All rows as they are now, at most so many at a time. Raises TableError: no such table."""
        self.table(project, dataset, table)
        with self.cursor() as cursor:
            for batch in cursor.sql(f"SELECT * FROM {named(project, dataset, table)}").to_arrow_reader(most):  # noqa: S608
                yield batch.to_pylist()

    # ---------------------------------------------------------------- results of queries

    def run(self, sql: str, parameters: Mapping[str, Any], into: tuple[str, str, str]) -> Json:
        """Keep what a SELECT in the engine's words finds as a new table. Raises duckdb.Error."""
        self._sweep_now_and_then()
        with self.cursor() as cursor:
            found = cursor.sql(sql, params=dict(parameters) or None)
            kinds = [str(kind) for kind in found.types]
            rows = found.to_arrow_table()
        fields = [field_of(column.name, column.type, kind) for column, kind in zip(rows.schema, kinds, strict=True)]
        body = {"expirationTime": str(int((time.time() + KEPT_RESULTS) * 1000))} if into[1] == HIDDEN else {}
        kept = self.create(*into, fields, body)
        with self.cursor() as cursor, self._lock:
            cursor.register("_rows", rows)
            cursor.execute(f"INSERT INTO {named(*into)} SELECT * FROM _rows")  # noqa: S608
            cursor.unregister("_rows")
        return kept

    def change_rows(self, sql: str, parameters: Mapping[str, Any]) -> int:
        """Run INSERT, UPDATE or DELETE in the engine's words; how many rows it was. Raises duckdb.Error."""
        with self.cursor() as cursor, self._lock:
            found = cursor.execute(sql, dict(parameters) or None).fetchone()
        return int(found[0]) if found else 0

    def _sweep_now_and_then(self) -> None:
        """Delete the results of queries that are older than a day."""
        if time.monotonic() - self._swept < SWEEP_SECONDS:
            return
        self._swept = time.monotonic()
        for _, each in self._documents.list("tables"):
            if float(each.get("expirationTime", "inf")) / 1000 < time.time():
                with suppress(TableError):  # another was quicker
                    self.delete(*each["tableReference"].values())


def fields_of(schema: Sequence[Json]) -> list[Json]:
    """Columns under the API's own names. Raises TableError for what cannot be one, or comes twice."""
    try:
        fields = [normal(field) for field in schema]
    except (ValueError, KeyError) as error:
        raise TableError("INVALID_ARGUMENT", str(error)) from error
    names = [field["name"].lower() for field in fields]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise TableError("INVALID_ARGUMENT", f"Field {twice[0]} already exists in schema")
    return fields


def schema_of(project: str, dataset: str) -> str:
    """The engine's schema of a dataset."""
    return f"{project}:{dataset}"


def named(project: str, dataset: str, table: str) -> str:
    """A table in the engine's SQL."""
    return f"{quoted(schema_of(project, dataset))}.{quoted(table)}"


def _need(found: Json | None, error: TableError) -> Json:
    if found is None:
        raise error
    return found
