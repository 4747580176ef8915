"""What AI Gateway logged of an endpoint's requests, from its inference table, in mlport's own schema.

A row of the table is one request. Which deployment answered is told by a system table alone, which not everybody may read: it is
null then. The id that a caller got is in `client_request_id`, with the caller's own; of requests that mlport did not send it
is Databricks' own. What is larger than 1 MiB is not logged, and is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlport.errors import InvalidRequestError, NotFoundError, PermissionDeniedError
from mlport.spi import Json, Window
from mlport_databricks.registry.model_records import moment
from mlport_databricks.serving import statements
from mlport_databricks.serving.endpoint_records import table_of
from mlport_databricks.serving.predicting import ids_of
from mlport_databricks.serving.statements import quoted

if TYPE_CHECKING:
    import pyarrow as pa

    from mlport.capture.frames import Frame, Origin
    from mlport_databricks.workspace.connection import Connection

PAGE_ROWS = 2000


@dataclass(frozen=True, slots=True)
class Logged:
    """One row of the table: microseconds since 1970, milliseconds, and texts."""

    entity: str
    micros: int
    number: str
    client_id: str | None
    status: int
    milliseconds: float
    request: str | None
    response: str | None


@dataclass(frozen=True, slots=True)
class Answered:
    """Who answered: a deployment, and the version that it serves."""

    deployment: str | None = None
    model: str = ""
    version: str | None = None


def read(connection: Connection, endpoint: Json, window: Window) -> Iterator[pa.RecordBatch]:
    """What was kept in a window, oldest first. A page is in memory at a time. Nothing where nothing is kept."""
    table = table_of(endpoint)
    if table is None:
        return
    known = entities(connection, endpoint)
    for page in pages(connection, table, since(endpoint, window)):
        yield from batches(page, known, str(endpoint["name"]))


def since(endpoint: Json, window: Window) -> Window:
    """The window without what an earlier endpoint of the same name left in the same table."""
    created = moment(endpoint.get("creation_timestamp"))
    start = max(window.start, created) if created else window.start
    return Window(start, max(start, window.end))


# ---------------------------------------------------------------- asking


def entities(connection: Connection, endpoint: Json) -> Mapping[str, Answered]:
    """Who answered, by the id of the served entity, past ones too; nothing where the system table may not be read."""
    statement = (
        "SELECT DISTINCT served_entity_id, served_entity_name, entity_name, entity_version "
        "FROM system.serving.served_entities WHERE endpoint_id = :endpoint"
    )
    try:
        found = statements.rows(
            connection, statement, {"endpoint": ("STRING", str(endpoint.get("id", "")))}, operation="endpoints.captured"
        )
    except (NotFoundError, PermissionDeniedError):
        return {}
    return {str(number): Answered(name, str(model), version) for number, name, model, version in found}


def pages(connection: Connection, table: Sequence[str], window: Window) -> Iterator[list[Logged]]:
    """The rows of a window in order of time, page by page, each from where the one before ended."""
    statement = (
        "SELECT served_entity_id, unix_micros(request_time), databricks_request_id, client_request_id, status_code, "  # noqa: S608
        f"execution_duration_ms, request, response FROM {quoted(*table)} "
        "WHERE request_date BETWEEN :first_date AND :last_date AND unix_micros(request_time) >= :start "
        "AND unix_micros(request_time) < :until AND (unix_micros(request_time) > :after OR databricks_request_id > :number) "
        f"ORDER BY unix_micros(request_time), databricks_request_id LIMIT {PAGE_ROWS}"
    )
    start, after, number = micros(window.start), -1, ""
    while True:
        parameters = {
            "first_date": ("DATE", window.start.astimezone(UTC).date().isoformat()),
            "last_date": ("DATE", window.end.astimezone(UTC).date().isoformat()),
            "start": ("BIGINT", str(max(start, after))),
            "until": ("BIGINT", str(micros(window.end))),
            "after": ("BIGINT", str(after)),
            "number": ("STRING", number),
        }
        try:
            found = statements.rows(connection, statement, parameters, operation="endpoints.captured")
        except NotFoundError:  # the table is made when the first rows come
            return
        page = [logged(row) for row in found]
        if page:
            yield page
            after, number = page[-1].micros, page[-1].number
        elif found.cut:
            raise InvalidRequestError(f"a row of {quoted(*table)} is larger than {statements.MOST_BYTES} bytes", provider="databricks")
        if len(page) < PAGE_ROWS and not found.cut:
            return


def micros(time: datetime) -> int:
    """Microseconds since 1970, exactly."""
    past = time.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (past.days * 86_400 + past.seconds) * 1_000_000 + past.microseconds


def logged(row: Sequence[str | None]) -> Logged:
    """A row as the Statement Execution API has it: all is text."""
    entity, time, number, client_id, status, milliseconds, request, response = row
    return Logged(str(entity), int(time or 0), str(number), client_id, int(status or 0), float(milliseconds or 0.0), request, response)


# ---------------------------------------------------------------- reading


def batches(page: Sequence[Logged], known: Mapping[str, Answered], endpoint: str) -> Iterator[pa.RecordBatch]:
    """Rows of a page in mlport's schema, in order of time. What cannot be parsed is kept as it is, in `raw`."""
    import pyarrow as pa

    from mlport.capture.ordering import ORDER
    from mlport.capture.tables import table
    from mlport.capture.unifying import conform, unify

    whole = [row for row in page if row.request is not None]
    by_entity: dict[str, list[Logged]] = {}
    for row in whole:
        by_entity.setdefault(row.entity, []).append(row)
    tables = []
    for number, rows in by_entity.items():
        who = known.get(number, Answered())
        part = table(map(frame_of, rows), origin_of(who, endpoint))
        if who.deployment is None:
            at = part.schema.get_field_index("deployment")
            part = part.set_column(at, part.schema.field(at), pa.nulls(len(part), pa.string()))
        tables.append(part)
    if not tables:
        return
    together = unify([part.schema for part in tables])
    joined = pa.concat_tables([conform(part, together) for part in tables]).sort_by(ORDER)
    yield from joined.to_batches()


def origin_of(who: Answered, endpoint: str) -> Origin:
    """What all requests of a deployment have in common."""
    from mlport.capture.frames import Origin

    return Origin(endpoint, who.deployment or "", who.model, who.version, 1.0, ())


def frame_of(row: Logged) -> Frame:
    """A logged request as a model server would have written it down."""
    from mlport.capture.frames import Form, Frame

    request_id, caller_id = ids_of(row.client_id)
    body, answer = (row.request or "").encode(), (row.response or "").encode()
    return Frame(request_id or row.number, caller_id, row.micros, row.milliseconds / 1000, row.status, Form.ROWS, body, answer)
