"""BigQuery: datasets, tables and their rows, as google-cloud-bigquery and plain REST send them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlport.emulation.calls import Reply
from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.protocol.api import Handler, Request
from mlport_vertex.emulator.services import table_jobs
from mlport_vertex.emulator.storing.table_types import ValueProblem, row_json, row_of
from mlport_vertex.emulator.storing.tables import TableError, Tables

Json = dict[str, Any]
DATASET_NAME = re.compile(r"\w{1,1024}")
TABLE_NAME = re.compile(r"[\w\- ]{1,1024}")
OWN = ("kind", "id", "etag", "selfLink", "creationTime", "lastModifiedTime", "numRows", "numBytes", "type", "location")
PAGE_ROWS = 10_000
MOST_ROWS = 50_000  # of one insertAll: https://cloud.google.com/bigquery/quotas#streaming_inserts
SAME_SECONDS = 60.0  # for so long an insertId is remembered, at best: https://cloud.google.com/bigquery/docs/streaming-data-into-bigquery


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their ids."""
    found: dict[str, Handler] = {}
    rooms: Sequence[Callable[[Place], Mapping[str, Handler]]] = (_datasets, _tables, _rows, table_jobs.handlers)
    for room in rooms:
        found.update(room(place))
    return {f"bigquery.{name}": handler for name, handler in found.items()}


def paged(found: Sequence[Json], arguments: Mapping[str, Any]) -> tuple[Sequence[Json], Json]:
    """A page of what is sorted already, and the token of the next one. Raises TableError for a bad token."""
    token = arguments.get("pageToken") or "0"
    if not token.isdigit():
        raise TableError("INVALID_ARGUMENT", "Invalid page token")
    start, most = int(token), int(arguments.get("maxResults") or PAGE_ROWS)
    more = {"nextPageToken": str(start + most)} if len(found) > start + most else {}
    return found[start : start + most], more


# ---------------------------------------------------------------- datasets


def _datasets(place: Place) -> Mapping[str, Handler]:
    def insert(request: Request) -> Json:
        reference = request.body["datasetReference"]
        if not DATASET_NAME.fullmatch(reference["datasetId"]):
            said = f'Invalid dataset ID "{reference["datasetId"]}". Dataset IDs must be alphanumeric (plus underscores) and must be at most 1024 characters long.'
            raise TableError("INVALID_ARGUMENT", said)
        chosen = {key: value for key, value in request.body.items() if key not in OWN or key == "location"}
        return place.tables.create_dataset(_project(request), reference["datasetId"], chosen)

    def get(request: Request) -> Json:
        return place.tables.dataset(*_dataset(request))

    def listing(request: Request) -> Json:
        page, more = paged(place.tables.datasets(_project(request)), request.arguments)
        shown = [{key: each[key] for key in ("kind", "id", "datasetReference", "labels", "location") if key in each} for each in page]
        return {"kind": "bigquery#datasetList", "datasets": shown, **more}

    def change(request: Request) -> Json:
        return place.tables.change_dataset(*_dataset(request), _changes(request, "datasetReference"))

    def delete(request: Request) -> Reply:
        place.tables.delete_dataset(*_dataset(request), contents=bool(request.arguments.get("deleteContents")))
        return Reply(204)

    return {
        "datasets.insert": insert,
        "datasets.get": get,
        "datasets.list": listing,
        "datasets.patch": change,
        "datasets.update": change,
        "datasets.delete": delete,
    }


def _project(request: Request) -> str:
    return str(request.arguments["projectId"])


def _dataset(request: Request) -> tuple[str, str]:
    return _project(request), str(request.arguments["datasetId"])


def _table(request: Request) -> tuple[str, str, str]:
    return *_dataset(request), str(request.arguments["tableId"])


def _changes(request: Request, reference: str) -> Json:
    """What a patch changes; null removes."""
    body = request.call.json() or {}
    return {key: value for key, value in body.items() if key not in (*OWN, reference)}


# ---------------------------------------------------------------- tables


def _counted(tables: Tables, table: Json) -> Json:
    """A table with the number of its rows."""
    reference = table["tableReference"]
    return {**table, "numRows": str(tables.count(reference["projectId"], reference["datasetId"], reference["tableId"]))}


def _insert_table(tables: Tables, request: Request) -> Json:
    reference = request.body["tableReference"]
    if not TABLE_NAME.fullmatch(reference["tableId"]):
        raise TableError("INVALID_ARGUMENT", f'Invalid table ID "{reference["tableId"]}".')
    for unknown in ("view", "materializedView", "externalDataConfiguration", "model"):
        if request.body.get(unknown):
            raise TableError("UNIMPLEMENTED", f"The emulator makes plain tables only: {unknown}")
    project, dataset = _dataset(request)
    tables.dataset(project, dataset)
    chosen = {key: value for key, value in request.body.items() if key not in OWN}
    schema = request.body.get("schema", {}).get("fields", [])
    if not schema:
        raise TableError("UNIMPLEMENTED", "The emulator's tables need their schema when they are made")
    return _counted(tables, tables.create(project, dataset, reference["tableId"], schema, chosen))


def _tables(place: Place) -> Mapping[str, Handler]:
    def insert(request: Request) -> Json:
        return _insert_table(place.tables, request)

    def get(request: Request) -> Json:
        return _counted(place.tables, place.tables.table(*_table(request)))

    def listing(request: Request) -> Json:
        found = place.tables.tables(*_dataset(request))
        page, more = paged(found, request.arguments)
        keys = ("kind", "id", "tableReference", "type", "labels", "creationTime", "expirationTime", "timePartitioning", "clustering")
        return {
            "kind": "bigquery#tableList",
            "tables": [{key: each[key] for key in keys if key in each} for each in page],
            "totalItems": len(found),
            **more,
        }

    def change(request: Request) -> Json:
        changes = _changes(request, "tableReference")
        has = place.tables.table(*_table(request))["schema"]["fields"]
        given = changes.pop("schema", None)
        if given and [each["name"] for each in given.get("fields", [])] != [each["name"] for each in has]:
            raise TableError("UNIMPLEMENTED", "The emulator's tables keep the columns that they were made with")
        return _counted(place.tables, place.tables.change_table(*_table(request), changes))

    def delete(request: Request) -> Reply:
        place.tables.delete(*_table(request))
        return Reply(204)

    return {
        "tables.insert": insert,
        "tables.get": get,
        "tables.list": listing,
        "tables.patch": change,
        "tables.update": change,
        "tables.delete": delete,
    }


# ---------------------------------------------------------------- rows


def _rows(place: Place) -> Mapping[str, Handler]:
    seen: dict[tuple[str, str], float] = {}  # (table, insertId) -> when

    def insert_all(request: Request) -> Json:
        rows = request.body.get("rows", [])
        if not rows:
            raise TableError("INVALID_ARGUMENT", "No rows present in the request.")
        if len(rows) > MOST_ROWS:
            raise TableError("INVALID_ARGUMENT", f"too many rows present in the request, limit: {MOST_ROWS} row count: {len(rows)}")
        if request.body.get("templateSuffix"):
            raise TableError("UNIMPLEMENTED", "The emulator has no template tables")
        table = place.tables.table(*_table(request))
        return _insert(place.tables, table, request.body, _forget_and_note(seen, table["id"], rows))

    def listing(request: Request) -> Json:
        names = _table(request)
        return {
            "kind": "bigquery#tableDataList",
            **page_of_rows(place.tables, names, request.arguments, str(request.arguments.get("selectedFields", ""))),
        }

    return {"tabledata.insertAll": insert_all, "tabledata.list": listing}


def _forget_and_note(seen: dict[tuple[str, str], float], table: str, rows: Sequence[Json]) -> set[int]:
    """Places of rows that came already under the same insertId."""
    for key in [key for key, at in list(seen.items()) if time.monotonic() - at > SAME_SECONDS]:
        seen.pop(key, None)
    again: set[int] = set()
    for index, row in enumerate(rows):
        if row.get("insertId"):
            key = (table, str(row["insertId"]))
            if key in seen:
                again.add(index)
            seen[key] = time.monotonic()
    return again


def _insert(tables: Tables, table: Json, body: Json, again: set[int]) -> Json:
    """Add the rows that fit; none if one does not, unless the caller said to skip such."""
    fields, values, problems = table["schema"]["fields"], [], []
    for index, row in enumerate(body["rows"]):
        try:
            value = row_of(fields, row.get("json", {}), ignore_unknown=bool(body.get("ignoreUnknownValues")))
        except ValueProblem as problem:
            problems.append({"index": index, "errors": [_invalid(problem.message, problem.location)]})
        else:
            if index not in again:
                values.append(value)
    if problems and not body.get("skipInvalidRows"):
        bad = {each["index"] for each in problems}
        stopped = [
            {"index": index, "errors": [{"reason": "stopped", "message": ""}]} for index in range(len(body["rows"])) if index not in bad
        ]
        return {"kind": "bigquery#tableDataInsertAllResponse", "insertErrors": [*problems, *stopped]}
    reference = table["tableReference"]
    tables.add(reference["projectId"], reference["datasetId"], reference["tableId"], fields, values)
    return {"kind": "bigquery#tableDataInsertAllResponse", **({"insertErrors": problems} if problems else {})}


def _invalid(message: str, location: str) -> Json:
    return {"reason": "invalid", "message": message, "location": location, "debugInfo": ""}


def page_of_rows(tables: Tables, names: tuple[str, str, str], arguments: Mapping[str, Any], selected: str = "") -> Json:
    """Rows, total and the token of the next page. Raises TableError."""
    fields = tables.table(*names)["schema"]["fields"]
    chosen = [field for field in fields if not selected or field["name"] in selected.split(",")]
    token = arguments.get("pageToken") or ""
    if token and not token.isdigit():
        raise TableError("INVALID_ARGUMENT", "Invalid page token")
    start = int(token) if token else int(arguments.get("startIndex") or 0)
    most = arguments.get("maxResults")
    most = PAGE_ROWS if most is None else min(int(most), PAGE_ROWS)
    total = tables.count(*names)
    whole = bool(arguments.get("formatOptions.useInt64Timestamp"))
    rows = [row_json(chosen, row, whole_micros=whole) for row in tables.rows(*names, start, most)]
    after = start + len(rows)
    more = {"pageToken": str(after)} if after < total and (rows or most == 0) else {}
    return {"totalRows": str(total), **({"rows": rows} if rows else {}), **more}
