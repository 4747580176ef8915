"""The data that a monitoring job compares: from files, tables, and what was logged of an endpoint, as columns of the monitor's schema.

How data and schema are matched is the description of ModelMonitoringSchema.featureFields in aiplatform.v1beta1; how logs are read,
https://docs.cloud.google.com/gemini-enterprise-agent-platform/machine-learning/model-monitoring/set-up-model-monitoring, "Data sources".
Guesses: a line, a row or a value that cannot be read is left out; what becomes of a value that is no text in a column of categories.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.protocol.resources import normal
from mlport_vertex.emulator.storing.object_records import Object
from mlport_vertex.emulator.storing.registry import DEPLOYMENTS
from mlport_vertex.emulator.working.batch_io import inputs, table_of
from mlport_vertex.emulator.working.monitor_rules import KINDS, span

Json = dict[str, Any]
ROWS_AT_ONCE = 10_000
Kept = tuple[Any, Any]  # what holds the features and what holds the predictions of one row


@dataclass
class Columns:
    """Values by the fields of a schema, without missing ones; `location` and `times` are told of the job."""

    location: str
    times: tuple[datetime | None, datetime | None]
    features: dict[str, list[Any]] = field(default_factory=dict)
    predictions: dict[str, list[Any]] = field(default_factory=dict)
    rows: int = 0

    def told(self) -> Json:
        """As ProcessedDataset."""
        ends = {
            name: each.isoformat().replace("+00:00", "Z") for name, each in zip(("startTime", "endTime"), self.times, strict=True) if each
        }
        return {"location": self.location, **({"timeRange": ends} if ends else {})}


def read(place: Place, monitor: Json, source: Json, cutoff: datetime) -> Columns:
    """Raises ApiError: what is not there, or cannot be read."""
    times = span(source, cutoff)
    if "vertexEndpointLogs" in source:
        located, rows = _logged(place, monitor, source["vertexEndpointLogs"]["endpoints"], times)
    else:
        located, rows = _columnized(place, source["columnizedDataset"], times)
    columns, schema = Columns(located, times), monitor["modelMonitoringSchema"]
    wanted = (("featureFields", columns.features), ("predictionFields", columns.predictions))
    for kept in rows:
        columns.rows += 1
        for (key, found), held in zip(wanted, kept, strict=True):
            _take(schema.get(key, ()), held, found)
    return columns


def _take(fields: Iterable[Json], held: Any, found: dict[str, list[Any]]) -> None:
    """Put a row's values into the columns: of an object by name, of an array by position, of a single value the first."""
    for at, each in enumerate(fields):
        if isinstance(held, Mapping):
            value = held.get(each["name"])
        elif isinstance(held, list):
            value = held[at] if at < len(held) else None
        else:
            value = held if at == 0 else None
        values = value if isinstance(value, list) and each.get("repeated") else [value]
        plain = [_number(one) if KINDS[each["dataType"]] == "number" else _category(one) for one in values]
        found.setdefault(each["name"], []).extend(one for one in plain if one is not None)


def _number(value: Any) -> float | None:
    try:
        return None if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        return None


def _category(value: Any) -> str | None:
    if value is None or value == "" or isinstance(value, dict | list):
        return None
    return value if isinstance(value, str) else json.dumps(value, default=str)


# ---------------------------------------------------------------- files and tables


def _columnized(place: Place, dataset: Json, times: tuple[datetime | None, datetime | None]) -> tuple[str, Iterator[Kept]]:
    if "gcsSource" in dataset:
        source = dataset["gcsSource"]
        files = inputs(place.objects, [source["gcsUri"]])
        lines = _csv if source["format"] == "CSV" else _json_lines
        return source["gcsUri"], ((row, row) for file in files for row in lines(file))
    source = dataset["bigquerySource"]
    if source.get("query"):
        raise ApiError("UNIMPLEMENTED", "The emulator's model monitors read tables of BigQuery, and no queries.")
    table = table_of(source["tableUri"])
    if table is None:
        raise ApiError("INVALID_ARGUMENT", f"{source['tableUri']} is not bq://project.dataset.table.")
    return source["tableUri"], ((row, row) for row in _table(place, table, dataset.get("timestampField"), times))


def _csv(file: Object) -> Iterator[Json]:
    with file.path.open(encoding="utf-8", newline="") as stream:
        yield from csv.DictReader(stream)


def _json_lines(file: Object) -> Iterator[Json]:
    with file.path.open(encoding="utf-8") as stream:
        for line in stream:
            if isinstance(found := _json(line), dict):
                yield found


def _table(place: Place, table: tuple[str, str, str], stamp: str | None, times: tuple[datetime | None, datetime | None]) -> Iterator[Json]:
    start, end = times
    for chunk in place.tables.stream(*table, ROWS_AT_ONCE):
        for row in chunk:
            if (start or end) and not _within(row.get(stamp or ""), start, end):
                continue
            yield row


def _within(moment: Any, start: datetime | None, end: datetime | None) -> bool:
    if not isinstance(moment, datetime):
        return False
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (start is None or moment >= start) and (end is None or moment < end)


# ---------------------------------------------------------------- what was logged


def _logged(
    place: Place, monitor: Json, endpoints: Iterable[str], times: tuple[datetime | None, datetime | None]
) -> tuple[str, Iterator[Kept]]:
    """What the deployed models of the monitor's version were asked and answered."""
    target = monitor["modelMonitoringTarget"]["vertexModel"]
    sources = [_log(place, normal(endpoint), target) for endpoint in endpoints]

    def rows() -> Iterator[Kept]:
        for table, numbers in sources:
            for row in _table(place, table, "logging_time", times):
                if row["deployed_model_id"] in numbers:
                    yield from _exchanged(row)

    return ", ".join(f"bq://{'.'.join(table)}" for table, _ in sources), rows()


def _log(place: Place, endpoint: str, target: Json) -> tuple[tuple[str, str, str], set[str]]:
    """The table of an endpoint's log, and the ids of its deployed models of that version."""
    kept = place.documents.get("endpoints", endpoint)
    if kept is None:
        raise ApiError("NOT_FOUND", f"The Endpoint does not exist: {endpoint}")
    config = kept["endpoint"].get("predictRequestResponseLoggingConfig", {})
    table = table_of(config.get("bigqueryDestination", {}).get("outputUri", ""))
    if not config.get("enabled") or table is None:
        raise ApiError("FAILED_PRECONDITION", f"Request-response logging is not enabled on the Endpoint {endpoint}.")
    numbers = {
        body["id"]
        for _, body in place.documents.list(DEPLOYMENTS, f"{endpoint}/deployedModels/")
        if (body["model"], body["version"]) == (target["model"], target["modelVersionId"])
    }
    if not numbers:
        said = f"The Endpoint {endpoint} has no DeployedModel of {target['model']}@{target['modelVersionId']}."
        raise ApiError("FAILED_PRECONDITION", said)
    return table, numbers


def _exchanged(row: Json) -> Iterator[Kept]:
    """The rows of one logged request. Predictions of another number than instances are of none of them."""
    instances, predictions = _parts(row["request_payload"], "instances"), _parts(row["response_payload"], "predictions")
    if len(instances) != len(predictions):
        predictions = [None] * len(instances)
    yield from zip(instances, predictions, strict=True)


def _parts(texts: list[str] | None, key: str) -> list[Any]:
    """What `:predict` logs has a text for each; what rawPredict logs is one body, which must be as that of `:predict`."""
    found = [_json(text) for text in texts or ()]
    if len(found) == 1 and isinstance(found[0], dict) and isinstance(found[0].get(key), list):
        return list(found[0][key])
    return found


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
