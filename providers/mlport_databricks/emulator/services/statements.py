"""Statement Execution: SQL statements, their results inline. https://docs.databricks.com/api/workspace/statementexecution."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from mlport_databricks.emulator.accounts import USERS
from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import ApiError, invalid, missing
from mlport_databricks.emulator.storing.warehouses import Warehouses
from mlport_databricks.emulator.working.statements import KEPT_SECONDS, Statements

Json = dict[str, Any]
PATH = "/api/2.0/sql/statements"
_WAIT = re.compile(r"(\d{1,3})s")
LEAST_WAIT, LONGEST_WAIT, USUAL_WAIT = 5, 50, 10  # seconds


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their calls."""
    service = StatementExecution(place)
    return {
        f"POST {PATH}": service.execute,
        f"GET {PATH}/{{statement_id}}": service.get,
        f"GET {PATH}/{{statement_id}}/result/chunks/{{chunk_index}}": service.chunk,
        f"POST {PATH}/{{statement_id}}/cancel": service.cancel,
    }


class StatementExecution:
    """What the methods do."""

    def __init__(self, place: Place) -> None:
        self._statements = Statements(place, place.tables)
        self._warehouses = Warehouses(place)

    def execute(self, request: Request) -> Json:
        """Begin, and wait as long as is asked; with `0s` not at all: the answer is PENDING (databricks/cli, libs/testserver/testsql)."""
        asked = request.body
        wait = _wait(asked.get("wait_timeout"))
        if asked.get("disposition", "INLINE") != "INLINE":
            raise ApiError("NOT_IMPLEMENTED", "The emulator has no disposition EXTERNAL_LINKS.")
        if asked.get("format", "JSON_ARRAY") != "JSON_ARRAY":
            raise invalid(f"The format field must be JSON_ARRAY when the disposition field is INLINE, and is {asked['format']}.")
        self._warehouses.use(request.workspace, asked["warehouse_id"])
        number = self._statements.submit(request.workspace, request.user, asked)
        if wait == 0:
            return {"statement_id": number, "status": {"state": "PENDING"}}
        if not self._statements.wait(number, wait) and asked.get("on_wait_timeout") == "CANCEL":
            self._statements.cancel(number)
            self._statements.wait(number, LONGEST_WAIT)
        return self._answer(request, number)

    def get(self, request: Request) -> Json:
        return self._answer(request, str(request.arguments["statement_id"]))

    def chunk(self, request: Request) -> Json:
        """A chunk of the result. Its index begins with 0."""
        kept = self._need(request, str(request.arguments["statement_id"]))
        index = int(request.arguments["chunk_index"])
        if kept["state"] != "SUCCEEDED" or not 0 <= index < kept["manifest"]["total_chunk_count"]:
            raise missing(f"Statement {kept['id']} has no result chunk {index}.")
        return self._result(kept, index)

    def cancel(self, request: Request) -> None:
        self._statements.cancel(self._need(request, str(request.arguments["statement_id"]))["id"])

    # ---------------------------------------------------------------- answers

    def _need(self, request: Request, number: str) -> Json:
        kept = self._statements.get(request.workspace, number)
        if kept is None or (kept["user"] != request.user and not USERS[request.user].is_admin):
            raise missing(f"The statement {number} was not found.")
        if kept["state"] == "SUCCEEDED" and time.time() - kept["ended"] > KEPT_SECONDS:
            return {**kept, "state": "CLOSED"}
        return kept

    def _answer(self, request: Request, number: str) -> Json:
        kept = self._need(request, number)
        status: Json = {"state": kept["state"]}
        if kept["state"] == "FAILED":
            status["error"] = {"error_code": kept["code"], "message": kept["error"]}
            if kept["sql_state"]:
                status["sql_state"] = kept["sql_state"]
        answer: Json = {"statement_id": number, "status": status}
        if kept["state"] == "SUCCEEDED":
            answer["manifest"] = kept["manifest"]
            answer["result"] = self._result(kept, 0) if kept["manifest"]["chunks"] else {}
        return answer

    def _result(self, kept: Json, index: int) -> Json:
        chunks = kept["manifest"]["chunks"]
        more = index + 1
        following = (
            {"next_chunk_index": more, "next_chunk_internal_link": f"{PATH}/{kept['id']}/result/chunks/{more}"}
            if more < len(chunks)
            else {}
        )
        return {**chunks[index], "data_array": self._statements.chunk(kept["id"], index), **following}


def _wait(text: str | None) -> int:
    """Seconds. Raises ApiError."""
    match = _WAIT.fullmatch(text) if text is not None else None
    seconds = USUAL_WAIT if text is None else int(match[1]) if match else -1
    if seconds != 0 and not LEAST_WAIT <= seconds <= LONGEST_WAIT:
        raise invalid(f"wait_timeout must be 0s, or between {LEAST_WAIT}s and {LONGEST_WAIT}s, not '{text}'.")
    return seconds
