"""Cloud Logging: what jobs, deployed models and builds printed, and what was written by call.

The form of a job's entries is that which `gcloud ai custom-jobs stream-logs` reads (its log_util.py) and public programs
filter by; what the service itself says of a job, and in which words, is in part a guess.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

from mlport.emulation.documents import Exists
from mlport.emulation.faults import of_effect
from mlport_vertex.emulator.place import Place, now
from mlport_vertex.emulator.protocol.api import Handler, Request
from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.protocol.filters import Holds, Path, compared, predicate
from mlport_vertex.emulator.protocol.resources import moment, normal
from mlport_vertex.emulator.working.builds import LINES as BUILDS
from mlport_vertex.emulator.working.job_logs import ENDPOINT, entries_of, entries_of_deployments
from mlport_vertex.emulator.working.runs import KIND as JOBS

Json = dict[str, Any]
WRITTEN = "logEntries"
DEFAULT_PAGE, LARGEST_PAGE = 50, 1000  # of the description of entries.list
SEVERITIES = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their ids."""

    def show(request: Request) -> Json:
        return _page(request, _found(place, request))

    def write(request: Request) -> Json:
        return _write(place, request.body)

    return {"logging.entries.list": show, "logging.entries.write": write}


# ---------------------------------------------------------------- reading


def _found(place: Place, request: Request) -> Iterator[Json]:
    """Every entry that the filter may hold for, the oldest first; read only as far as is taken."""
    return heapq.merge(*_sources(place, request), key=_rank)


def _sources(place: Place, request: Request) -> Iterator[Iterable[Json]]:
    """What there is, each source in order."""
    wanted, after = str(request.body.get("filter", "")), _after(request.body)
    since = max(_since(wanted), after[0] if after and not _descending(request.body) else "")
    for resource in request.body["resourceNames"]:
        project = resource.removeprefix("projects/").partition("/")[0]
        kind = _type(wanted)
        if kind in ("", "ml_job"):
            for name in _jobs(place, normal(f"projects/{project}"), wanted):
                yield entries_of(place, name, project, since)
        if kind in ("", ENDPOINT):
            yield from entries_of_deployments(place, project, since)
        if kind in ("", "build"):
            yield sorted((entry for _, entry in place.documents.list(BUILDS, f"{normal(f'projects/{project}')}/")), key=_rank)
        yield sorted((entry for _, entry in place.documents.list(WRITTEN, f"projects/{project}/logs/")), key=_rank)


def _jobs(place: Place, project: str, wanted: str) -> Iterator[str]:
    """The names of the project's jobs, only of those that a filter names by id if it names any: not to read the logs of all."""
    named = set(re.findall(r"(?<!\d)\d{19}(?!\d)", wanted)) if _is_plain(wanted) else set()
    for _, job in place.documents.list(JOBS, f"{project}/"):
        if not named or job["name"].rpartition("/")[2] in named:
            yield job["name"]


def _type(wanted: str) -> str:
    """The one type of resource that a filter asks for; empty where it may be any."""
    found = re.findall(r'\bresource\.type\s*=\s*"?([\w./]+)', wanted) if _is_plain(wanted) else []
    return found[0] if len(found) == 1 else ""


def _is_plain(wanted: str) -> bool:
    """Whether a filter is a conjunction, so that each of its terms must hold."""
    return re.search(r"\b(OR|NOT)\b|(^|\s)-|!", wanted) is None


def _since(wanted: str) -> str:
    """The earliest time that a filter asks for; empty if it says none."""
    times = re.findall(r'\btimestamp\s*>=?\s*"([^"]+)"', wanted) if _is_plain(wanted) else []
    return max((moment(each).isoformat(timespec="microseconds").replace("+00:00", "Z") for each in times), default="")


def _page(request: Request, entries: Iterator[Json]) -> Json:
    body = request.body
    said = predicate(str(body.get("filter", "")))
    size = min(int(body.get("pageSize") or DEFAULT_PAGE), LARGEST_PAGE)
    if size < 0:
        raise ApiError("INVALID_ARGUMENT", "page_size must not be negative")
    descending = _descending(body)
    lag, after = of_effect(request.call.befallen, "lag"), _after(body)
    left = (entry for entry in entries if after is None or (_rank(entry) < after if descending else _rank(entry) > after))
    held = (entry for entry in left if said(_holds(entry)) and not _lags(entry, lag))
    chosen = heapq.nlargest(size + 1, held, key=_rank) if descending else list(islice(held, size + 1))
    if of_effect(request.call.befallen, "empty") and chosen:
        return {"nextPageToken": _token(body, after or ("~" if descending else "", ""))}
    answer: Json = {"entries": chosen[:size]} if chosen else {}
    return {**answer, "nextPageToken": _token(body, _rank(chosen[size - 1]))} if len(chosen) > size else answer


def _lags(entry: Json, lag: Any) -> bool:
    return lag is not None and (moment(now()) - moment(entry["timestamp"])).total_seconds() < lag.seconds


def _rank(entry: Json) -> tuple[str, str]:
    """By time, and entries of one time by insertId, as the description of orderBy says."""
    return entry["timestamp"], entry["insertId"]


def _descending(body: Json) -> bool:
    order = str(body.get("orderBy", ""))
    if order.strip() not in ("", "timestamp", "timestamp asc", "timestamp desc"):
        raise ApiError("INVALID_ARGUMENT", f'order_by: "timestamp asc" and "timestamp desc" are allowed, not "{order}"')
    return order.strip().endswith("desc")


def _question(body: Json) -> str:
    asked = [json.dumps(body["resourceNames"]), str(body.get("filter", "")), str(body.get("orderBy", ""))]
    return hashlib.sha256("\0".join(asked).encode()).hexdigest()[:12]


def _token(body: Json, last: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps([_question(body), *last]).encode()).decode()


def _after(body: Json) -> tuple[str, str] | None:
    token = str(body.get("pageToken", ""))
    if not token:
        return None
    try:
        question, timestamp, insert_id = json.loads(base64.urlsafe_b64decode(token))
    except ValueError:
        question, timestamp, insert_id = "", "", ""
    if question != _question(body):
        raise ApiError("INVALID_ARGUMENT", "page_token doesn't match arguments from the request")
    return str(timestamp), str(insert_id)


# ---------------------------------------------------------------- filters


def _holds(entry: Json) -> Holds:
    """What a comparison of the Logging query language says about an entry. Texts are compared without regard to case."""

    def holds(path: Path, operator: str, value: str) -> bool:
        if not path:
            return value.lower() in json.dumps(entry).lower()
        found = _at(entry, path)
        if found is None:
            return operator in ("!=", "!~")
        if path == ("timestamp",) and operator != ":":
            return compared(operator, moment(found), moment(value))
        if path == ("severity",) and operator != ":":
            return compared(operator, SEVERITIES.index(found), _severity(value))
        return _says(operator, str(found), value)

    return holds


def _at(entry: Json, path: Path) -> Any:
    found: Any = entry
    for part in path:
        if not isinstance(found, dict):
            return None
        found = found.get(part)
    return found


def _severity(name: str) -> int:
    if name.upper() not in SEVERITIES:
        raise ApiError("INVALID_ARGUMENT", f"Unparseable filter: unknown severity {name}")
    return SEVERITIES.index(name.upper())


def _says(operator: str, found: str, value: str) -> bool:
    if operator in ("=~", "!~"):
        try:
            return (re.search(value, found) is not None) == (operator == "=~")
        except re.error as error:
            raise ApiError("INVALID_ARGUMENT", f"Unparseable filter: regular expressions must be valid: {error}") from error
    if operator == ":":
        return value == "*" or value.lower() in found.lower()
    return compared(operator, found.lower(), value.lower())


# ---------------------------------------------------------------- writing


def _write(place: Place, body: Json) -> Json:
    received = now()
    for number, given in enumerate(body["entries"]):
        entry = {**{key: body[key] for key in ("logName", "resource") if key in body}, **given}
        if not entry.get("logName", "").startswith("projects/") or "resource" not in entry:
            raise ApiError("INVALID_ARGUMENT", f"entries[{number}]: log_name and resource must be set")
        if labels := {**body.get("labels", {}), **entry.get("labels", {})}:
            entry["labels"] = labels
        entry.setdefault("timestamp", received)
        entry.setdefault("severity", "DEFAULT")
        entry.setdefault("insertId", f"w{place.documents.next_number('insert ids'):012d}")
        entry["receiveTimestamp"] = received
        if not body.get("dryRun"):
            with suppress(Exists):  # the same time and insertId: a duplicate, which is kept once
                place.documents.insert(WRITTEN, f"{entry['logName']}/{entry['timestamp']}/{entry['insertId']}", entry)
    return {}
