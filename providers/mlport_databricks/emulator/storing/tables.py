"""The tables of Unity Catalog, kept in an embedded DuckDB: what is inserted is stored, and statements really run.

A schema of Unity Catalog is a schema of the engine, named `HOST/catalog.schema`; what a table is called, who owns it and its
columns as the API tells them are among Unity Catalog's securables.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mlport_databricks.emulator import accounts
from mlport_databricks.emulator.protocol.errors import ApiError
from mlport_databricks.emulator.storing.sql import Name, SqlError, no_table, unsupported
from mlport_databricks.emulator.storing.table_types import named

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from mlport_databricks.emulator.place import Place

Json = dict[str, Any]
SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
# Functions that Databricks SQL has, and the engine has not.
MACROS = (
    "timestamp_seconds(x) AS to_timestamp(x)",
    "timestamp_millis(x) AS make_timestamp(x * 1000)::TIMESTAMPTZ",
    "timestamp_micros(x) AS make_timestamp(x)::TIMESTAMPTZ",
)


class Tables:
    """All the tables of one emulator. Safe for threads."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._lock = threading.RLock()
        place.at_end(self._close)

    @cached_property
    def _engine(self) -> duckdb.DuckDBPyConnection:
        """Opened when it is first needed. It reaches no file but its own, whatever a statement says."""
        import duckdb

        folder = self._place.folder / "tables"
        folder.mkdir(parents=True, exist_ok=True)
        engine = duckdb.connect(folder / "tables.duckdb", config=SETTINGS)
        engine.execute("SET TimeZone = 'UTC'")
        for macro in MACROS:
            engine.execute(f"CREATE OR REPLACE MACRO {macro}")
        engine.execute("SET lock_configuration = true")
        return engine

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of the caller's own to the engine."""
        with self._lock:
            return self._engine.cursor()

    def _close(self) -> None:
        with self._lock:
            if "_engine" in self.__dict__:
                self._engine.close()

    # ---------------------------------------------------------------- tables

    def locate(self, workspace: str, user: str, name: Name, privilege: str) -> str:
        """The engine's schema of a table that the user may use so. Raises SqlError."""
        full_name = f"{name.catalog}.{name.schema}.{name.table}"
        if self._place.unity.get(workspace, "table", full_name) is None:
            raise no_table(name.catalog, name.schema, name.table)
        self.require(workspace, user, privilege, "table", full_name)
        return schema_of(workspace, full_name)

    def require(self, workspace: str, user: str, privilege: str, kind: str, full_name: str) -> None:
        """Raises SqlError unless the user has the privilege."""
        try:
            self._place.grants.require(workspace, user, privilege, kind, full_name)
        except ApiError as error:
            raise SqlError("INSUFFICIENT_PERMISSIONS", f"Insufficient privileges: {error.message}", "42501") from error

    def create(self, workspace: str, user: str, full_name: str, columns: Sequence[tuple[str, str]], *, replaces: bool = False) -> None:
        """Make an empty table; `columns` have the engine's types.

        Raises:
            ApiError: its schema is not there, or there is one of that name, unless it is to be replaced.
        """
        body = ", ".join(f"{quoted(name)} {kind}" for name, kind in columns)
        with self.cursor() as cursor:
            self._make(cursor, workspace, user, full_name, f"({body})", {}, replaces)

    def create_as(
        self,
        workspace: str,
        user: str,
        full_name: str,
        sql: str,
        values: Mapping[str, Any],
        *,
        replaces: bool = False,
        files: Mapping[str, pa.Table] | None = None,
    ) -> int:
        """Make a table of what a query in the engine's words finds: how many rows. Raises ApiError as `create` does, and duckdb.Error.

        `files` are relations of the query's own, by name.
        """
        with self.cursor() as cursor:
            register(cursor, files or {})
            return self._make(cursor, workspace, user, full_name, f"AS {sql}", values, replaces)

    def create_view(self, workspace: str, user: str, full_name: str, sql: str, definition: str, *, replaces: bool = False) -> None:
        """Make a view of a query in the engine's words; `definition` is the query as Databricks has it. Raises as `create_as` does."""
        with self.cursor() as cursor:
            self._make(cursor, workspace, user, full_name, f"AS {sql}", {}, replaces, view=definition)

    def _make(
        self,
        cursor: duckdb.DuckDBPyConnection,
        workspace: str,
        user: str,
        full_name: str,
        body: str,
        values: Mapping[str, Any],
        replaces: bool,
        view: str | None = None,
    ) -> int:
        unity, kind = self._place.unity, "TABLE" if view is None else "VIEW"
        with self._lock:
            if replaces and unity.get(workspace, "table", full_name) is not None:
                self.drop(workspace, full_name)
            catalog, schema, table = full_name.split(".")
            unity.need(workspace, "schema", f"{catalog}.{schema}")
            if unity.get(workspace, "table", full_name) is not None:
                raise ApiError("RESOURCE_ALREADY_EXISTS", f"Table '{full_name}' already exists")
            cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema_of(workspace, full_name))}")
            made = address(workspace, full_name)
            cursor.execute(f"CREATE OR REPLACE {kind} {made} {body}", dict(values) or None)
            told = columns_of(cursor, made)
            number = str(uuid.uuid4())
            info = {
                "name": table,
                "catalog_name": catalog,
                "schema_name": schema,
                "full_name": full_name,
                "columns": told,
                "table_id": number,
                **({"table_type": "VIEW", "view_definition": view} if view is not None else _stored(workspace, number)),
            }
            unity.insert(workspace, "table", full_name, user, info)
            if view is not None:
                return 0
            counted = cursor.execute(f"SELECT count(*) FROM {made}").fetchone()  # noqa: S608 - the name is quoted
        return int(counted[0]) if counted else 0

    def drop(self, workspace: str, full_name: str) -> None:
        """A table or a view. Raises ApiError if there is none."""
        with self._lock, self.cursor() as cursor:
            kind = "VIEW" if is_view(self._place.unity.need(workspace, "table", full_name)) else "TABLE"
            self._place.unity.delete(workspace, "table", full_name)
            cursor.execute(f"DROP {kind} IF EXISTS {address(workspace, full_name)}")

    # ---------------------------------------------------------------- rows

    def append(self, workspace: str, full_name: str, rows: Sequence[Json], key: str) -> None:
        """Add rows of JSON, but none whose `key` is there already; columns that a row has not are null. Its owner may have removed the table."""
        if not rows or self._place.unity.get(workspace, "table", full_name) is None:
            return
        where = address(workspace, full_name)
        names = list(dict.fromkeys(name for row in rows for name in row))
        with self._lock, self.cursor() as cursor:
            kinds = {column[0]: column[1] for column in cursor.execute(f"DESCRIBE {where}").fetchall()}
            values = ", ".join(
                f"(row->>'$.{name}')::{kinds[name]}" if "[" not in kinds[name] else f"(row->'$.{name}')::{kinds[name]}" for name in names
            )
            columns = ", ".join(map(quoted, names))
            cursor.execute(
                f"INSERT INTO {where} ({columns}) SELECT {values} FROM (SELECT unnest($rows)::JSON AS row) "  # noqa: S608 - names are quoted
                f"WHERE NOT EXISTS (SELECT 1 FROM {where} AS old WHERE old.{quoted(key)} = (row->>'$.{key}'))",
                {"rows": [json.dumps(row) for row in rows]},
            )

    def read(self, workspace: str, full_name: str) -> pa.Table:
        """All rows of a table or view. Raises duckdb.Error."""
        with self.cursor() as cursor:
            return cursor.sql(f"SELECT * FROM {address(workspace, full_name)}").to_arrow_table()  # noqa: S608 - the name is quoted

    def write(self, workspace: str, full_name: str, rows: pa.Table) -> None:
        """Put rows in the place of all that a table has."""
        where = address(workspace, full_name)
        with self._lock, self.cursor() as cursor:
            register(cursor, {"rows_to_write": rows})
            cursor.begin()
            cursor.execute(f"DELETE FROM {where}")  # noqa: S608 - the name is quoted
            cursor.execute(f"INSERT INTO {where} BY NAME SELECT * FROM rows_to_write")  # noqa: S608
            cursor.commit()

    def change(self, sql: str, values: Mapping[str, Any], files: Mapping[str, pa.Table] | None = None) -> int:
        """Run an INSERT, UPDATE or DELETE in the engine's words: how many rows it was. Raises duckdb.Error."""
        with self._lock, self.cursor() as cursor:
            register(cursor, files or {})
            found = cursor.execute(sql, dict(values) or None).fetchone()
        return int(found[0]) if found else 0


def is_view(info: Json) -> bool:
    return bool(info["table_type"] == "VIEW")


def register(cursor: duckdb.DuckDBPyConnection, relations: Mapping[str, pa.Table]) -> None:
    """Let statements on this cursor name what is in memory."""
    for name, table in relations.items():
        cursor.register(name, table)


def _stored(workspace: str, number: str) -> Json:
    return {
        "table_type": "MANAGED",
        "data_source_format": "DELTA",
        "storage_location": f"s3://{accounts.UNITY_BUCKET}/{accounts.workspace_id(workspace)}/tables/{number}",
    }


def columns_of(cursor: duckdb.DuckDBPyConnection, made: str) -> list[Json]:
    """A table's columns as Unity Catalog tells them: databricks-sdk 0.156.0, databricks/sdk/service/catalog.py, ColumnInfo."""
    found = cursor.sql(f"SELECT * FROM {made} LIMIT 0")  # noqa: S608 - the name is quoted
    try:
        kinds = [(name, *named(kind)) for name, kind in zip(found.columns, found.types, strict=True)]
    except ValueError as error:
        raise unsupported(str(error)) from error
    return [
        {"name": name, "position": position, "type_name": kind, "type_text": text.lower(), "nullable": True}
        for position, (name, kind, text) in enumerate(kinds)
    ]


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def schema_of(workspace: str, full_name: str) -> str:
    """The engine's schema of a table."""
    return f"{workspace}/{full_name.rpartition('.')[0]}"


def address(workspace: str, full_name: str) -> str:
    """A table in the engine's SQL."""
    return f"{quoted(schema_of(workspace, full_name))}.{quoted(full_name.rpartition('.')[2])}"
