"""SQL statements at work: each runs in a thread of its own, in the embedded engine, and its result is kept in chunks on disk.

A document of the kind `statements`, named `HOST/ID`, holds `{"id", "user", "state", "ended", "error", "sql_state", "manifest"}`;
FOLDER/statements/ID.json has the chunks. A statement that ran when the emulator was killed has failed.
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as StillRunning
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mlport_databricks.emulator.accounts import CATALOG
from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.errors import ApiError
from mlport_databricks.emulator.storing.files import OutsideError
from mlport_databricks.emulator.storing.sql import FILES, Name, SqlError, Statement, no_table, translated, unsupported
from mlport_databricks.emulator.storing.table_types import column, text_of
from mlport_databricks.emulator.storing.tables import Tables, is_view, register

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

Json = dict[str, Any]
KIND = "statements"
THREADS = 8
MOST_BYTES = 25 << 20  # of a result: databricks-sdk 0.156.0, databricks/sdk/service/sql.py, execute_statement
CHUNK_BYTES = 1 << 20  # not documented: a guess
KEPT_SECONDS = 3600.0  # of a result: the same docstring
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "CLOSED")
BATCH = 2048
RESCUED = "_rescued_data"  # docs.databricks.com/sql/language-manual/functions/read_files.html: what did not fit the inferred schema
INTERRUPT_SECONDS = 0.05  # between two interrupts of what is to end
_COLUMN = re.compile(r'Referenced column "([^"]+)" not found|does not have a column named "([^"]+)"')
_CANDIDATES = re.compile(r'"((?:[^"]|"")+)"')


class Cancelled(Exception):  # noqa: N818 - an answer, not a fault
    """The statement was cancelled before it ended."""


class Statements:
    """The statements of one place. Safe for threads."""

    def __init__(self, place: Place, tables: Tables) -> None:
        self._place, self._tables = place, tables
        self._folder = place.folder / "statements"
        self._folder.mkdir(exist_ok=True)
        self._running: dict[str, Future[None]] = {}
        self._cursors: dict[str, duckdb.DuckDBPyConnection] = {}
        self._cancelled: set[str] = set()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(THREADS, "statements")
        place.at_end(self._close)
        self._fail_what_ran()

    def _fail_what_ran(self) -> None:
        told = {
            "state": "FAILED",
            "ended": time.time(),
            "error": "The statement was aborted: the emulator was started again.",
            "code": "ABORTED",
        }
        for _, body in self._place.documents.list(KIND):
            if body["state"] not in ENDED:
                self._place.documents.change(KIND, f"{body['workspace']}/{body['id']}", lambda now: {**now, **told})

    def _close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            running = dict(self._running)
        for number, work in running.items():
            self._interrupt(number, work)

    # ---------------------------------------------------------------- running

    def submit(self, workspace: str, user: str, asked: Json) -> str:
        """Begin a statement: its id. `asked` is the API's body."""
        number = str(uuid.uuid4())
        kept = {
            "id": number,
            "workspace": workspace,
            "user": user,
            "state": "PENDING",
            "ended": None,
            "error": "",
            "code": "",
            "sql_state": "",
        }
        self._place.documents.insert(KIND, f"{workspace}/{number}", {**kept, "manifest": None})
        with self._lock:
            self._running[number] = self._pool.submit(self._work, workspace, number, user, asked)
        return number

    def wait(self, number: str, seconds: float) -> bool:
        """Whether it has ended within this time."""
        with self._lock:
            running = self._running.get(number)
        with suppress(StillRunning):
            if running is not None:
                running.result(seconds)
            return True
        return False

    def get(self, workspace: str, number: str) -> Json | None:
        return self._place.documents.get(KIND, f"{workspace}/{number}")

    def chunk(self, number: str, index: int) -> Sequence[Sequence[str | None]]:
        """The rows of a chunk."""
        chunks: list[list[list[str | None]]] = json.loads(self._folder.joinpath(f"{number}.json").read_text("utf-8"))
        return chunks[index]

    def cancel(self, number: str) -> None:
        """Ask it to end."""
        with self._lock:
            work = self._running.get(number)
            if work is None:
                return
            self._cancelled.add(number)
        threading.Thread(target=self._interrupt, args=(number, work), name="statement-cancel", daemon=True).start()

    def _interrupt(self, number: str, work: Future[None]) -> None:
        """Interrupt it until it has ended: the engine forgets an interrupt that comes before it has begun."""
        while not work.done():
            with self._lock:
                if cursor := self._cursors.get(number):
                    cursor.interrupt()
            wait([work], timeout=INTERRUPT_SECONDS)

    def _work(self, workspace: str, number: str, user: str, asked: Json) -> None:
        import duckdb

        def end(**told: Any) -> None:
            self._place.documents.change(KIND, f"{workspace}/{number}", lambda now: {**now, "ended": time.time(), **told})

        try:
            self._place.documents.change(KIND, f"{workspace}/{number}", lambda now: {**now, "state": "RUNNING"})
            with self._tables.cursor() as cursor:
                with self._lock:
                    self._cursors[number] = cursor
                self._check(number)
                try:
                    columns, rows, truncated = self._run(cursor, workspace, user, asked, number)
                except Exception:
                    self._check(number)  # it was interrupted, whatever that is called where it was
                    raise
            end(state="SUCCEEDED", manifest=self._keep(number, columns, rows, truncated))
        except Cancelled:
            end(state="CANCELED")
        except SqlError as error:
            end(state="FAILED", error=error.message, code="BAD_REQUEST", sql_state=error.state)
        except duckdb.Error as error:
            told = of_engine(error)
            end(state="FAILED", error=told.message, code="BAD_REQUEST", sql_state=told.state)
        except ApiError as error:
            end(state="FAILED", error=error.message, code="BAD_REQUEST", sql_state="42000")
        except BaseException:
            end(state="FAILED", error="An internal error occurred.", code="INTERNAL_ERROR")
            raise
        finally:
            with self._lock:
                self._running.pop(number, None)
                self._cursors.pop(number, None)
                self._cancelled.discard(number)

    def _check(self, number: str) -> None:
        with self._lock:
            if number in self._cancelled:
                raise Cancelled

    def _run(
        self, cursor: duckdb.DuckDBPyConnection, workspace: str, user: str, asked: Json, number: str
    ) -> tuple[list[Json], list[list[str | None]], bool]:
        """Columns, rows, and whether rows were left out."""
        catalog, schema = (asked.get("catalog") or CATALOG).lower(), (asked.get("schema") or "default").lower()

        def whole(name: Name) -> Name:
            return Name(name.catalog or catalog, name.schema or schema, name.table)

        def locate(catalog: str, schema: str, table: str, privilege: str) -> str:
            return self._tables.locate(workspace, user, whole(Name(catalog, schema, table)), privilege)

        statement = translated(asked["statement"], asked.get("parameters") or [], locate)
        files = {f"{FILES}_{place}": self._file(workspace, user, path) for place, path in enumerate(statement.files)}
        if statement.kind == "query":
            register(cursor, files)
            return self._query(cursor, statement, asked, number)
        if statement.kind == "change":
            count = self._tables.change(statement.sql, statement.parameters or {}, files)
            return _affected(count, inserted=statement.sql.startswith("INSERT"))
        assert statement.target is not None  # noqa: S101 - the other kinds have one
        return self._define(workspace, user, statement, whole(statement.target), files)

    def _file(self, workspace: str, user: str, path: str) -> pa.Table:
        """What lies at a path of a volume, as read_files finds it. Raises SqlError."""
        import pyarrow as pa
        import pyarrow.dataset as dataset

        parts = path.split("/")
        if len(parts) < 6:
            raise unsupported(f"read_files of {path!r}, which lies in no volume")
        self._tables.require(workspace, user, "READ_VOLUME", "volume", ".".join(parts[2:5]))
        try:
            found = dataset.dataset(self._place.files.path_of(workspace, path), format="parquet").to_table()
        except (FileNotFoundError, OutsideError) as error:
            raise SqlError("PATH_NOT_FOUND", f"Path does not exist: dbfs:{path}.", "42K03") from error
        except pa.ArrowInvalid as error:
            raise SqlError("CANNOT_READ_FILE_FOOTER", f"Could not read footer for file: dbfs:{path}. ({error})", "KD001") from error
        return found.append_column(RESCUED, pa.nulls(len(found), pa.string()))

    def _query(
        self, cursor: duckdb.DuckDBPyConnection, statement: Statement, asked: Json, number: str
    ) -> tuple[list[Json], list[list[str | None]], bool]:
        found = cursor.sql(statement.sql, params=dict(statement.parameters or {}) or None)
        try:
            columns = [column(name, position, kind) for position, (name, kind) in enumerate(zip(found.columns, found.types, strict=True))]
        except ValueError as error:
            raise unsupported(str(error)) from error
        rows: list[list[str | None]] = []
        size, most, limit = 0, asked.get("byte_limit") or MOST_BYTES, asked.get("row_limit")
        for batch in found.to_arrow_reader(BATCH):
            self._check(number)
            for row in zip(*(values.to_pylist(maps_as_pydicts="lossy") for values in batch.columns), strict=True):
                texts = [text_of(value) for value in row]
                size += sum(len(text) for text in texts if text)
                if (limit is not None and len(rows) == limit) or (size > most and "byte_limit" in asked):
                    return columns, rows, True
                if size > MOST_BYTES:
                    raise SqlError(
                        "INLINE_BYTE_LIMIT_EXCEEDED",  # the real one has the sentence alone
                        "Inline byte limit exceeded. Statements executed with disposition=INLINE can have a result size of at most "
                        f"{MOST_BYTES} bytes. Please execute the statement with disposition=EXTERNAL_LINKS if you want to download the "
                        "full result.",
                        "54000",
                    )
                rows.append(texts)
        return columns, rows, False

    def _define(
        self, workspace: str, user: str, statement: Statement, name: Name, files: Mapping[str, pa.Table]
    ) -> tuple[list[Json], list[list[str | None]], bool]:
        """CREATE and DROP of a table or a view, and DESCRIBE TABLE."""
        full_name = f"{name.catalog}.{name.schema}.{name.table}"
        there = self._place.unity.get(workspace, "table", full_name)
        if statement.kind == "create":
            if there is not None and statement.tolerant:
                return [], [], False
            self._tables.require(workspace, user, "CREATE_TABLE", "schema", f"{name.catalog}.{name.schema}")
            if there is not None and not statement.replaces:
                said = f"Cannot create table or view `{name.catalog}`.`{name.schema}`.`{name.table}` because it already exists.\nChoose a different name, drop or replace the existing object, add the IF NOT EXISTS clause to tolerate pre-existing objects, or add the OR REFRESH clause to refresh the existing streaming table."
                raise SqlError("TABLE_OR_VIEW_ALREADY_EXISTS", said, "42P07")
            if statement.columns is not None:
                self._tables.create(workspace, user, full_name, statement.columns, replaces=statement.replaces)
                return [], [], False
            if statement.view is not None:
                self._tables.create_view(workspace, user, full_name, statement.sql, statement.view, replaces=statement.replaces)
                return [], [], False
            values = statement.parameters or {}
            count = self._tables.create_as(workspace, user, full_name, statement.sql, values, replaces=statement.replaces, files=files)
            return _affected(count, inserted=True)
        if there is None and not (statement.kind == "drop" and statement.tolerant):
            raise no_table(name.catalog, name.schema, name.table)
        if statement.kind == "drop":
            if there is not None:
                if is_view(there) != (statement.view is not None):
                    raise _of_another_kind(name, is_view(there))
                self._tables.require(workspace, user, "MANAGE", "table", full_name)
                self._tables.drop(workspace, full_name)
            return [], [], False
        self._tables.require(workspace, user, "SELECT", "table", full_name)
        described = [[each["name"], each["type_text"], None] for each in (there or {})["columns"]]
        return [_string(title, place) for place, title in enumerate(("col_name", "data_type", "comment"))], described, False

    def _keep(self, number: str, columns: Sequence[Json], rows: Sequence[Sequence[str | None]], truncated: bool) -> Json:
        """Write the rows in chunks; the manifest that tells of them."""
        chunks: list[list[Sequence[str | None]]] = []
        size = CHUNK_BYTES
        for row in rows:
            if size >= CHUNK_BYTES:
                chunks.append([])
                size = 0
            chunks[-1].append(row)
            size += sum(len(text) for text in row if text)
        self._folder.joinpath(f"{number}.json").write_text(json.dumps(chunks), "utf-8")
        told, offset = [], 0
        for index, chunk in enumerate(chunks):
            told.append({"chunk_index": index, "row_offset": offset, "row_count": len(chunk)})
            offset += len(chunk)
        return {
            "format": "JSON_ARRAY",
            "schema": {"column_count": len(columns), "columns": list(columns)},
            "total_chunk_count": len(chunks),
            "chunks": told,
            "total_row_count": len(rows),
            "truncated": truncated,
        }


def _of_another_kind(name: Name, is_a_view: bool) -> SqlError:
    one, other = ("TABLE", "VIEW") if is_a_view else ("VIEW", "TABLE")
    return SqlError(
        "WRONG_COMMAND_FOR_OBJECT_TYPE",
        f"The operation `DROP {one}` requires a {one}. But `{name.catalog}`.`{name.schema}`.`{name.table}` is a {other}. "
        f"Use DROP {other} instead.",
        "42809",
    )


def _affected(count: int, *, inserted: bool) -> tuple[list[Json], list[list[str | None]], bool]:
    """The result of a statement that changes rows."""
    names = ["num_affected_rows", *(["num_inserted_rows"] if inserted else [])]
    columns = [{"name": name, "position": place, "type_name": "LONG", "type_text": "BIGINT"} for place, name in enumerate(names)]
    return columns, [[str(count) for _ in names]], False


def _string(name: str, position: int) -> Json:
    return {"name": name, "position": position, "type_name": "STRING", "type_text": "STRING"}


def of_engine(error: Exception) -> SqlError:
    """What the engine says, under the condition that Databricks has for it where there is one."""
    import duckdb

    said = str(error)
    if isinstance(error, duckdb.BinderException) and (match := _COLUMN.search(said)):
        name = match[1] or match[2]
        near = [each for each in _CANDIDATES.findall(said.partition("Candidate")[2].partition("\n")[0]) if each != name]
        proposal = f" Did you mean one of the following? [{', '.join(f'`{each}`' for each in near)}]." if near else ""
        condition = f"UNRESOLVED_COLUMN.{'WITH' if near else 'WITHOUT'}_SUGGESTION"
        return SqlError(condition, f"A column, variable, or function parameter with name `{name}` cannot be resolved.{proposal}", "42703")
    if isinstance(error, duckdb.ConversionException):
        return SqlError("CAST_INVALID_INPUT", f"The value cannot be cast because it is malformed. ({said})", "22018")
    if isinstance(error, duckdb.CatalogException) and "Function" in said:
        return SqlError("UNRESOLVED_ROUTINE", f"Cannot resolve routine. (The emulator's engine: {said})", "42883")
    return SqlError("UNSUPPORTED_FEATURE", f"The emulator's engine does not run this: {said}", "0A000")
