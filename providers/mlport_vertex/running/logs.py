"""A job's log from Cloud Logging, from a cursor on.

While a job runs, its log is read up to the last whole `PAUSE_SECONDS` of the clock: whoever asks again within them is answered
without a request, for a project has few. Entries may come late: those of the last `OVERLAP` are asked for again, and left out
where the cursor knows them. The in-job side ends each node's log with a line that says how many there are, so that
the end is certain; where a machine vanished with it, the log is taken for whole `SETTLE_SECONDS` after the job's end.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from mlport.errors import SpecError
from mlport.spi import Json, LogPage
from mlport_vertex.google.api import VertexApi
from mlport_vertex.running.job_records import moment, nodes_of, number_of, state_of, token_of

PAGE = 1000
MOST_EMPTY_PAGES = 50
OVERLAP = timedelta(seconds=10)
SETTLE_SECONDS = 30.0
PAUSE_SECONDS = 2  # 60 reads a minute are all that a project has, for everybody
MARK = 8  # characters that stand for an entry's id in a cursor


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a log was read.

    `until` is the moment up to which it was, in seconds since 1970; `known` has marks of the entries of the `OVERLAP` before
    that, but at least of the last second that has any, by the second of their time. `lines` were read in all, `ends` of them are last lines of a node, which say that there are
    `whole` lines.
    """

    until: int = 0
    known: Mapping[str, str] = field(default_factory=dict)
    lines: int = 0
    ends: int = 0
    whole: int = 0

    @classmethod
    def of(cls, text: str | None) -> Cursor:
        """The cursor of an earlier page. Raises SpecError for what is none."""
        if text is None:
            return cls()
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise SpecError(f"after: {text!r} is no cursor of a log") from error

    def __str__(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    def knows(self, entry: Json) -> bool:
        marks, mark = self.known.get(_second(entry), ""), _mark(entry)
        return any(marks.startswith(mark, at) for at in range(0, len(marks), MARK))


def read_page(api: VertexApi, job: Json, after: str | None, now: datetime) -> LogPage:
    """The next lines of a job."""
    cursor, ended = Cursor.of(after), state_of(job).terminal
    until = int(now.timestamp()) // PAUSE_SECONDS * PAUSE_SECONDS
    if not ended and until <= cursor.until:
        return LogPage((), str(cursor), False, PAUSE_SECONDS)
    entries, is_all = _entries(api, job, cursor, None if ended else until)
    lines, cursor = _advanced(cursor, entries, token_of(job), now - OVERLAP)
    if is_all and not ended:
        cursor = replace(cursor, until=until)
    return LogPage(lines, str(cursor), _is_complete(job, cursor, bool(entries), now), PAUSE_SECONDS, caught_up=is_all)


def _entries(api: VertexApi, job: Json, cursor: Cursor, until: int | None) -> tuple[list[Json], bool]:
    """Entries not read before, in order, and whether these are all; none when there are no new ones yet."""
    since = datetime.fromtimestamp(min(map(int, cursor.known)), UTC) if cursor.known else moment(job["createTime"]) - OVERLAP
    before = f' AND timestamp<"{_text(datetime.fromtimestamp(until, UTC))}"' if until else ""
    asked: Json = {
        "resourceNames": [f"projects/{api.config.project}"],
        "filter": f'{of_job(job)} AND timestamp>="{_text(since)}"{before}',
        "orderBy": "timestamp asc",
        "pageSize": PAGE,
    }
    for _ in range(MOST_EMPTY_PAGES):
        page = api.logging(asked)
        found = [entry for entry in page.get("entries", ()) if not cursor.knows(entry)]
        following = page.get("nextPageToken")
        if found or not following:
            return found, not following
        asked["pageToken"] = following
    return [], False


def of_job(job: Json) -> str:
    """The entries of a job's containers; what Vertex AI itself says of the job, as task `service`, comes with its status."""
    return f'resource.type="ml_job" AND resource.labels.job_id="{number_of(job)}" AND resource.labels.task_name!="service"'


def _advanced(cursor: Cursor, entries: Sequence[Json], token: str, settled: datetime) -> tuple[list[str], Cursor]:
    """The program's lines, without the last ones of ours, and the cursor behind them. No entry comes late from before `settled`."""
    end = re.compile(rf"mlport: end of log {re.escape(token)} (\d+)") if token else None
    lines: list[str] = []
    known = dict(cursor.known)
    for entry in entries:
        text = text_of(entry)
        if end and (match := end.fullmatch(text)):
            cursor = replace(cursor, ends=cursor.ends + 1, whole=cursor.whole + int(match[1]))
        else:
            lines.append(text)
        known[_second(entry)] = known.get(_second(entry), "") + _mark(entry)
    since = min(max(map(int, known), default=0), int(settled.timestamp()))
    recent = {second: marks for second, marks in known.items() if int(second) >= since}
    return lines, replace(cursor, known=recent, lines=cursor.lines + len(entries))


def _second(entry: Json) -> str:
    return str(int(moment(entry["timestamp"]).timestamp()))


def _mark(entry: Json) -> str:
    return hashlib.sha256(entry["insertId"].encode()).hexdigest()[:MARK]


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
