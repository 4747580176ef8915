"""A job's log from Cloud Logging, from a cursor on.

A cursor is the time of the last entry read and the ids of those read shortly before it: what comes late within that overlap
is still read, and nothing twice. The in-job side ends each node's log with a line that says how many there are, so that the
end is certain; where a machine vanished with it, the log is taken for whole `SETTLE_SECONDS` after the job's end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from mlport.errors import SpecError
from mlport.spi import Json, LogPage
from mlport_vertex.api import VertexApi
from mlport_vertex.job_records import moment, nodes_of, number_of, state_of, token_of

PAGE = 1000
MOST_EMPTY_PAGES = 50
OVERLAP = timedelta(seconds=1)
SETTLE_SECONDS = 30.0
PAUSE = 2.0  # 60 reads a minute are all that a project has, for everybody


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a log was read: `at` the last entry's time, `ids` those within the overlap before it, by their time.

    `lines` were read in all, `ends` of them are last lines of a node, which say that there are `whole` lines.
    """

    at: str = ""
    ids: tuple[tuple[str, str], ...] = ()
    lines: int = 0
    ends: int = 0
    whole: int = 0

    @classmethod
    def of(cls, text: str | None) -> Cursor:
        """The cursor of an earlier page. Raises SpecError for what is none."""
        if text is None:
            return cls()
        try:
            data = json.loads(text)
            return cls(**{**data, "ids": tuple((at, name) for at, name in data["ids"])})
        except (ValueError, TypeError, KeyError) as error:
            raise SpecError(f"after: {text!r} is no cursor of a log") from error

    def __str__(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))


def read_page(api: VertexApi, job: Json, after: str | None, now: datetime) -> LogPage:
    """The next lines of a job."""
    cursor = Cursor.of(after)
    entries = _entries(api, job, cursor)
    lines, cursor = _advanced(cursor, entries, token_of(job))
    return LogPage(lines, str(cursor), _is_complete(job, cursor, bool(entries), now), PAUSE)


def _entries(api: VertexApi, job: Json, cursor: Cursor) -> list[Json]:
    """Entries not read before, in order; none when there are no new ones yet."""
    since = (moment(cursor.at) - OVERLAP) if cursor.at else moment(job["createTime"]) - OVERLAP
    asked: Json = {
        "resourceNames": [f"projects/{api.config.project}"],
        "filter": f'{of_job(job)} AND timestamp>="{_text(since)}"',
        "orderBy": "timestamp asc",
        "pageSize": PAGE,
    }
    known = {name for _, name in cursor.ids}
    for _ in range(MOST_EMPTY_PAGES):
        page = api.logging(asked)
        found = [entry for entry in page.get("entries", ()) if entry["insertId"] not in known]
        if found or not page.get("nextPageToken"):
            return found
        asked["pageToken"] = page["nextPageToken"]
    return []


def of_job(job: Json) -> str:
    """The entries of a job's containers; what Vertex AI itself says of the job, as task `service`, comes with its status."""
    return f'resource.type="ml_job" AND resource.labels.job_id="{number_of(job)}" AND resource.labels.task_name!="service"'


def _advanced(cursor: Cursor, entries: Iterable[Json], token: str) -> tuple[list[str], Cursor]:
    """The program's lines, without the last ones of ours, and the cursor behind them."""
    end = re.compile(rf"mlport: end of log {re.escape(token)} (\d+)") if token else None
    lines: list[str] = []
    ids = list(cursor.ids)
    for entry in entries:
        text = text_of(entry)
        if end and (match := end.fullmatch(text)):
            cursor = replace(cursor, ends=cursor.ends + 1, whole=cursor.whole + int(match[1]))
        else:
            lines.append(text)
        at = max(cursor.at, entry["timestamp"], key=lambda each: moment(each) if each else datetime.min.replace(tzinfo=UTC))
        cursor = replace(cursor, at=at, lines=cursor.lines + 1)
        ids.append((entry["timestamp"], entry["insertId"]))
    since = moment(cursor.at) - OVERLAP if cursor.at else None
    return lines, replace(cursor, ids=tuple(each for each in ids if since and moment(each[0]) >= since))


def text_of(entry: Json) -> str:
    """One line: Vertex AI hands over text as it is, and a line that is JSON as an object."""
    if "textPayload" in entry:
        return str(entry["textPayload"]).removesuffix("\n")
    payload: Any = entry.get("jsonPayload", {})
    message = payload.get("message")
    return str(message).removesuffix("\n") if isinstance(message, str) else json.dumps(payload, ensure_ascii=False)


def _is_complete(job: Json, cursor: Cursor, came: bool, now: datetime) -> bool:
    if not state_of(job).terminal:
        return False
    if "startTime" not in job:
        return True
    if cursor.ends >= nodes_of(job) and cursor.lines >= cursor.whole:
        return True
    return not came and now - moment(job["endTime"]) > timedelta(seconds=SETTLE_SECONDS)


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
