"""What Vertex AI logged of an endpoint's requests, from BigQuery, in mlport's own schema.

A row holds one request. Of rawPredict `request_payload` is the body; of `:predict`, which others may call, it is one text
an instance. Status and latency are not logged, so they are null. The id that a caller got is the one in the body; a
request that carries none is known by the number that BigQuery has.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from mlport.errors import NotFoundError
from mlport.spi import Json, Window
from mlport_vertex.names import last
from mlport_vertex.serving.deployed import Deployed, DeployedModels
from mlport_vertex.serving.endpoint_records import capture_rate
from mlport_vertex.serving.predicting import CALLER_ID, REQUEST_ID

if TYPE_CHECKING:
    import pyarrow as pa

    from mlport.capture.frames import Frame, Origin
    from mlport_vertex.google.api import VertexApi

PAGE_ROWS = 10_000
WAIT_MS = 30_000
COLUMNS = ("deployed_model_id", "logging_time", "request_id", "request_payload", "response_payload")


@dataclass(frozen=True, slots=True)
class Logged:
    """One row of the table. `request` and `response` are texts, of which `:predict` has several."""

    deployed: str
    time: datetime
    number: str
    request: Sequence[str]
    response: Sequence[str]


def read(api: VertexApi, endpoint: Json, deployed: DeployedModels, window: Window) -> Iterator[pa.RecordBatch]:
    """What was kept in a window, oldest first. A page is in memory at a time. Nothing where nothing is kept."""
    table = table_of(endpoint)
    if table is None:
        return
    name = last(endpoint["name"])
    for page in pages(api, table, window):
        known = deployed.named(name, {row.deployed for row in page})
        yield from batches(page, known, name, capture_rate(endpoint))


def table_of(endpoint: Json) -> tuple[str, str, str] | None:
    """Project, dataset and table of an endpoint's log; None where it has none."""
    config = endpoint.get("predictRequestResponseLoggingConfig", {})
    parts = str(config.get("bigqueryDestination", {}).get("outputUri", "")).removeprefix("bq://").rsplit(".", 2)
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else None


# ---------------------------------------------------------------- asking


def pages(api: VertexApi, table: tuple[str, str, str], window: Window) -> Iterator[list[Logged]]:
    """The rows of a window in order of time, page by page: jobs.query and jobs.getQueryResults of BigQuery's REST API."""
    project, dataset, name = table
    base = f"https://bigquery.googleapis.com/bigquery/v2/projects/{api.config.project}/queries"
    asked = {
        "query": f"SELECT {', '.join(COLUMNS)} FROM `{project}.{dataset}.{name}` "  # noqa: S608 - a table's name cannot be a parameter
        "WHERE logging_time >= @start AND logging_time < @until ORDER BY logging_time, request_id",
        "useLegacySql": False,
        "parameterMode": "NAMED",
        "queryParameters": [_parameter("start", window.start), _parameter("until", window.end)],
        "maxResults": PAGE_ROWS,
        "timeoutMs": WAIT_MS,
        "location": api.config.location,
        "formatOptions": {"useInt64Timestamp": True},
    }
    try:
        answer = api.connection.send("POST", base, operation="bigquery.jobs.query", body=asked, repeatable=True)
    except NotFoundError:  # the table is made with the first row
        return
    while True:
        if answer.get("jobComplete", True):
            if answer.get("rows"):
                yield [_logged(row) for row in answer["rows"]]
            if not answer.get("pageToken"):
                return
        job, query = (
            answer["jobReference"],
            {"maxResults": str(PAGE_ROWS), "timeoutMs": str(WAIT_MS), "formatOptions.useInt64Timestamp": "true"},
        )
        query["location"] = job.get("location", api.config.location)
        if answer.get("pageToken"):
            query["pageToken"] = answer["pageToken"]
        answer = api.connection.send(
            "GET", f"{base}/{job['jobId']}", operation="bigquery.jobs.getQueryResults", query=query, repeatable=True
        )


def _parameter(name: str, time: datetime) -> Json:
    return {"name": name, "parameterType": {"type": "TIMESTAMP"}, "parameterValue": {"value": time.isoformat()}}


def _logged(row: Json) -> Logged:
    """A row as BigQuery's REST API has it: values under `f` and `v`, times in microseconds."""
    deployed, time, number, request, response = (cell["v"] for cell in row["f"])
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(time))
    return Logged(str(deployed), moment, str(number), _texts(request), _texts(response))


def _texts(cells: Any) -> tuple[str, ...]:
    return tuple(str(cell["v"]) for cell in cells) if isinstance(cells, list) else ((str(cells),) if cells is not None else ())


# ---------------------------------------------------------------- reading


def batches(page: Sequence[Logged], known: Mapping[str, Deployed], endpoint: str, rate: float) -> Iterator[pa.RecordBatch]:
    """Rows of a page in mlport's schema, in order of time. What cannot be parsed is kept as it is, in `raw`."""
    import pyarrow as pa

    from mlport.capture.ordering import ORDER
    from mlport.capture.tables import table
    from mlport.capture.unifying import conform, unify

    by_deployment: dict[str, list[Logged]] = defaultdict(list)
    for row in page:
        by_deployment[row.deployed].append(row)
    tables = [table(map(frame_of, rows), origin_of(known[number], endpoint, rate)) for number, rows in by_deployment.items()]
    if not tables:
        return
    together = unify([part.schema for part in tables])
    joined = pa.concat_tables([conform(part, together) for part in tables]).sort_by(ORDER)
    for unknown in ("status", "latency"):
        at = joined.schema.get_field_index(unknown)
        joined = joined.set_column(at, joined.schema.field(at), pa.nulls(len(joined), joined.schema.field(at).type))
    yield from joined.to_batches()


def origin_of(deployed: Deployed, endpoint: str, rate: float) -> Origin:
    """What all requests of a deployment have in common."""
    from mlport.capture.frames import Column, Origin

    columns = tuple(Column(name, kind) for name, kind in deployed.columns)
    return Origin(endpoint, deployed.name, deployed.model, deployed.version or None, rate, columns)


def frame_of(row: Logged) -> Frame:
    """A logged request as the model server would have written it down."""
    from mlport.capture.frames import Form, Frame

    body = _whole(row.request)
    request_id, caller_id = ids_of(body or {})
    micros = round(row.time.timestamp() * 1_000_000)
    if body is not None:
        form = Form.TENSORS if "instances" not in body and isinstance(body.get("inputs"), list) else Form.ROWS
        return Frame(request_id or row.number, caller_id, micros, 0.0, 200, form, row.request[0].encode(), "".join(row.response).encode())
    content, answer = (
        f'{{"{name}":[{",".join(texts)}]}}'.encode() for name, texts in (("instances", row.request), ("predictions", row.response))
    )
    return Frame(row.number, None, micros, 0.0, 200, Form.ROWS, content, answer)


def _whole(texts: Sequence[str]) -> Json | None:
    """A request's body if it is logged as one; None for the texts of `:predict`."""
    if len(texts) != 1:
        return None
    try:
        body = json.loads(texts[0])
    except ValueError:
        return None
    return body if isinstance(body, dict) and ("instances" in body or "inputs" in body) else None


def ids_of(body: Json) -> tuple[str | None, str | None]:
    """Our id and the caller's, where the body carries them."""
    parameters = body.get("parameters") if isinstance(body.get("parameters"), dict) else {}
    return (parameters or {}).get(REQUEST_ID) or body.get("id"), (parameters or {}).get(CALLER_ID)
