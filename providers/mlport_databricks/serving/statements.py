"""SQL on the profile's warehouse: the Statement Execution API, INLINE and JSON_ARRAY (databricks-sdk, StatementExecutionAPI)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlport.errors import InvalidRequestError, NotFoundError, PermissionDeniedError, ProviderError, UnavailableError, UnsupportedError
from mlport.spi import Json
from mlport.waiting import delays, wait_until

if TYPE_CHECKING:
    from mlport_databricks.config import DatabricksConfig
    from mlport_databricks.workspace.connection import Connection

STATEMENTS = "/api/2.0/sql/statements"
WAIT = "30s"
LONGEST = 900.0  # seconds: a warehouse that is stopped starts first
MOST_BYTES = 16 << 20  # of an answer; INLINE takes 25 MiB at most
UNDER_WAY = ("PENDING", "RUNNING")
NO_TABLE, FORBIDDEN = "42P01", "42501"
"""SQLSTATEs of docs.databricks.com/en/error-messages/sqlstates.html: undefined table or view, and insufficient privilege."""
Row = Sequence[str | None]
Parameters = Mapping[str, tuple[str, str | None]]
NO_PARAMETERS: Parameters = {}


class Cut(list[Row]):
    """Rows of an answer; `cut` says that there are more."""

    cut = False


def rows(
    connection: Connection, statement: str, parameters: Parameters, *, operation: str, sleep: Callable[[float], None] = time.sleep
) -> Cut:
    """The rows of a query, as text, and None for NULL. `parameters` are type and value by name.

    Raises:
        NotFoundError: there is no such table; PermissionDeniedError: it may not be read; ProviderError: anything else.
    """
    if connection.config.warehouse_id is None:
        raise UnsupportedError("databricks", [("endpoint.capture", "absent: needs warehouse_id in the profile")])
    body = statement_body(connection.config, statement, parameters)
    first = connection.call("POST", STATEMENTS, operation=operation, body=body, repeatable=True)
    answer = wait_until(
        _look(connection, first, operation),
        lambda found: found["status"]["state"] not in UNDER_WAY,
        pauses=delays(first=0.2, ceiling=5.0),
        timeout=LONGEST,
        sleep=sleep,
        what="the SQL statement",
    )
    if answer["status"]["state"] != "SUCCEEDED":
        raise _failed(answer["status"], operation)
    found = Cut(_chunks(connection, answer, operation))
    found.cut = bool(answer.get("manifest", {}).get("truncated"))
    return found


def statement_body(config: DatabricksConfig, statement: str, parameters: Parameters = NO_PARAMETERS) -> Json:
    """What is sent."""
    given = [{"name": name, "type": kind, **({} if value is None else {"value": value})} for name, (kind, value) in parameters.items()]
    return {
        "statement": statement,
        "warehouse_id": config.warehouse_id or "${warehouse_id}",
        "wait_timeout": WAIT,
        "on_wait_timeout": "CONTINUE",
        "disposition": "INLINE",
        "format": "JSON_ARRAY",
        "byte_limit": MOST_BYTES,
        **({"parameters": given} if given else {}),
    }


def _look(connection: Connection, first: Json, operation: str) -> Callable[[], Json]:
    """Looks at a statement; the first look is the answer to it."""
    seen = [first]

    def look() -> Json:
        if seen:
            return seen.pop()
        return connection.call("GET", f"{STATEMENTS}/{first['statement_id']}", operation=operation)

    return look


def _chunks(connection: Connection, answer: Json, operation: str) -> Iterator[Row]:
    part: Json = answer.get("result") or {}
    while True:
        yield from part.get("data_array") or ()
        if part.get("next_chunk_index") is None:
            return
        path = f"{STATEMENTS}/{answer['statement_id']}/result/chunks/{part['next_chunk_index']}"
        part = connection.call("GET", path, operation=operation)


def _failed(status: Json, operation: str) -> ProviderError | NotFoundError:
    error: Json = status.get("error") or {}
    message = str(error.get("message") or f"the statement ended {status['state']}")
    state = str(status.get("sql_state") or "")
    code = state or str(error.get("error_code") or status["state"])
    options: dict[str, Any] = {"provider": "databricks", "operation": operation, "native_code": code}
    if state == NO_TABLE:
        return NotFoundError(message, **options)
    if state == FORBIDDEN:
        return PermissionDeniedError(message, **options)
    if error.get("error_code") in ("TEMPORARILY_UNAVAILABLE", "SERVICE_UNDER_MAINTENANCE", "RESOURCE_EXHAUSTED") or not error:
        return UnavailableError(message, **options)
    return (InvalidRequestError if state else ProviderError)(message, **options)


def quoted(*parts: str) -> str:
    """A name of several levels, as SQL has it. Unity Catalog's names may hold what must be quoted.

    >>> quoted("main", "ml", "flight-delays_payload")
    '`main`.`ml`.`flight-delays_payload`'
    """
    return ".".join("`" + part.replace("`", "``") + "`" for part in parts)
