"""A run's log from a cursor on: the files of whole lines that its nodes put into the volume, numbered from 1.

A run that never got as far has none: then what Databricks kept of its last task is the log (get-output, the last 5 MB).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mlport.errors import MlportError, SpecError
from mlport.spi import Json, LogPage
from mlport_databricks.running.job_records import last_task

if TYPE_CHECKING:
    from mlport_databricks.workspace.connection import Connection

FILES_A_PAGE = 32
PAUSE_SECONDS = 0.5
Cursor = dict[str, int]  # by rank how many files were read; "output" is 1 once Databricks' own was


def read_page(connection: Connection, run: Json, folder: str | None, nodes: int, after: str | None, *, ended: bool) -> LogPage:
    """The next lines. `ended` is whether the run had ended before this was called."""
    cursor = _cursor(after)
    lines: list[str] = []
    all_read = True
    for rank in range(nodes if folder else 0):
        for _ in range(FILES_A_PAGE):
            content = connection.files.get(f"{folder}/logs/{rank}/{cursor.get(str(rank), 0) + 1:08d}")
            if content is None:
                break
            cursor[str(rank)] = cursor.get(str(rank), 0) + 1
            lines += _lines(content)
        else:
            all_read = False
    if ended and all_read and not cursor:
        lines += _kept_output(connection, run)
        cursor["output"] = 1
    return LogPage(lines, json.dumps(cursor, separators=(",", ":")), ended and all_read, PAUSE_SECONDS, caught_up=all_read)


def _cursor(after: str | None) -> Cursor:
    """The cursor of an earlier page. Raises SpecError for what is none."""
    try:
        return {str(rank): int(count) for rank, count in json.loads(after or "{}").items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise SpecError(f"after: {after!r} is no cursor of a log") from error


def _lines(content: bytes) -> list[str]:
    return content.decode("utf-8", "replace").removesuffix("\n").split("\n")


def _kept_output(connection: Connection, run: Json) -> list[str]:
    """What Databricks kept of a run that put nothing into the volume, and why it failed."""
    task = last_task(run)
    if task is None:
        return []
    try:
        kept = connection.call("GET", "/api/2.2/jobs/runs/get-output", operation="jobs.get_run_output", query={"run_id": task["run_id"]})
    except MlportError as error:
        return [f"mlport: Databricks gives no output of this run: {error.message}"]
    told = [str(kept[field]) for field in ("logs", "error_trace") if kept.get(field)]
    return [line for text in told or [str(kept.get("error") or "")] for line in _lines(text.encode()) if text]
