"""What an endpoint did: from its inference table where that reaches, or the last minute from its metrics.

The metrics are gauges of the minute before they are read, whatever their names say (docs/spi/databricks.md, (f) 7), and have no
past. The table has every request, but late: how late a row may come is `capture_lag` of the profile. Of the two the one that
says more of the window is taken; they are not added up.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from mlport.errors import NotFoundError
from mlport.spi import Json, Latency, Observation, Observed, Window
from mlport_databricks.serving import captured, statements
from mlport_databricks.serving.endpoint_records import table_of
from mlport_databricks.serving.endpoint_request import ENDPOINTS
from mlport_databricks.serving.statements import quoted

if TYPE_CHECKING:
    from mlport_databricks.workspace.connection import Connection

MINUTE = timedelta(minutes=1)
SLACK = timedelta(seconds=5)  # between the end of a window that ends now, and the look
COUNT, REJECTED, ERRORS, LATENCY = "request_count_total", "request_4xx_count_total", "request_5xx_count_total", "request_latency_ms_bucket"
ENTITY_LABELS = ("served_entity_name", "served_model_name", "served_entity", "model")
"""Which label names the entity is not documented; the first of these that is there does."""
_LINE = re.compile(r"(?P<name>[A-Za-z_:][\w:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)(?:\s+\S+)?")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass
class Sum:
    """What one deployment did. `bins` are upper bounds in seconds and counts."""

    requests: int = 0
    errors: int = 0
    rejected: int = 0
    bins: dict[float, float] = field(default_factory=dict)


def observation(connection: Connection, endpoint: Json, window: Window, now: Callable[[], datetime] | None = None) -> Observation:
    """Requests, errors and latencies of each deployment, past ones too where the table tells them."""
    moment = (now or _now)()
    past, last = _past(connection, endpoint, window, moment), _last_minute(window, moment)
    if past is not None and past.end - past.start >= (last.end - last.start if last else timedelta(0)):
        sums = of_table(connection, endpoint, captured.since(endpoint, past))
        return Observation(window, past.end, _told(sums))
    if last is None:
        return Observation(window, window.start, ())
    sums = of_metrics(metrics(connection, str(endpoint["name"])))
    return Observation(window, last.end, _told(sums), last.start if last.start > window.start else None)


def _past(connection: Connection, endpoint: Json, window: Window, moment: datetime) -> Window | None:
    """The part of a window of which the table has every row by now; None where there is none."""
    until = min(window.end, moment - connection.config.capture_lag)
    if table_of(endpoint) is None or connection.config.warehouse_id is None or until <= window.start:
        return None
    return Window(window.start, until)


def _last_minute(window: Window, moment: datetime) -> Window | None:
    """The last minute, if all of it is in the window: a gauge cannot be cut."""
    if window.start > moment - MINUTE or window.end < moment - SLACK:
        return None
    return Window(moment - MINUTE, min(window.end, moment))


def _told(sums: Mapping[str, Sum]) -> tuple[Observed, ...]:
    return tuple(_observed(name, found) for name, found in sorted(sums.items()))


def _observed(name: str, found: Sum) -> Observed:
    bounds = sorted(found.bins)
    latency = Latency("histogram", bounds, [found.bins[bound] for bound in bounds]) if bounds else Latency("none")
    return Observed(name, found.requests, found.errors, found.rejected, latency)


# ---------------------------------------------------------------- the table


def of_table(connection: Connection, endpoint: Json, window: Window) -> Mapping[str, Sum]:
    """What the inference table has of a window, by deployment: the warehouse counts."""
    table = table_of(endpoint)
    if table is None:
        return {}
    statement = (
        "SELECT served_entity_id, status_code, execution_duration_ms, count(*) "  # noqa: S608 - a table's name cannot be a parameter
        f"FROM {quoted(*table)} WHERE request_date BETWEEN :first_date AND :last_date "
        "AND unix_micros(request_time) >= :start AND unix_micros(request_time) < :until "
        "GROUP BY served_entity_id, status_code, execution_duration_ms"
    )
    parameters = {
        "first_date": ("DATE", window.start.astimezone(UTC).date().isoformat()),
        "last_date": ("DATE", window.end.astimezone(UTC).date().isoformat()),
        "start": ("BIGINT", str(captured.micros(window.start))),
        "until": ("BIGINT", str(captured.micros(window.end))),
    }
    try:
        found = statements.rows(connection, statement, parameters, operation="endpoints.observe")
    except NotFoundError:
        return {}
    known = captured.entities(connection, endpoint)
    sums: dict[str, Sum] = {}
    for entity, status, milliseconds, count in found:
        who = known.get(str(entity), captured.Answered()).deployment or str(entity)
        _count(sums.setdefault(who, Sum()), int(status or 0), float(milliseconds or 0) / 1000, int(count or 0))
    return sums


def _count(found: Sum, status: int, seconds: float, count: int) -> None:
    found.requests += count
    found.errors += count if status >= 500 else 0
    found.rejected += count if 400 <= status < 500 else 0
    found.bins[seconds] = found.bins.get(seconds, 0.0) + count


# ---------------------------------------------------------------- the metrics


def metrics(connection: Connection, name: str) -> str:
    """The endpoint's metrics as text."""
    path = f"{ENDPOINTS}/{name}/metrics"
    response = connection.exchange("GET", path, operation="endpoints.observe", headers={"accept": "text/plain"})
    connection.check(response, "GET", path, operation="endpoints.observe")
    return str(response.text)


def of_metrics(text: str) -> Mapping[str, Sum]:
    """What OpenMetrics text says of the last minute, by deployment."""
    sums: dict[str, Sum] = {}
    buckets: dict[str, dict[float, float]] = {}
    for name, labels, value in samples(text):
        if name not in (COUNT, REJECTED, ERRORS, LATENCY):
            continue
        entity = next((labels[label] for label in ENTITY_LABELS if label in labels), "")
        found = sums.setdefault(entity, Sum())
        if name == COUNT:
            found.requests += round(value)
        elif name == REJECTED:
            found.rejected += round(value)
        elif name == ERRORS:
            found.errors += round(value)
        else:
            bins = buckets.setdefault(entity, {})
            bound = float(labels["le"])
            bins[bound] = bins.get(bound, 0.0) + value
    for entity, bins in buckets.items():
        sums[entity].bins = dict(_single(bins))
    return {entity: found for entity, found in sums.items() if found.requests or found.errors or found.rejected}


def samples(text: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    """Name, labels and value of each line of OpenMetrics text: https://github.com/prometheus/OpenMetrics, text format."""
    for line in text.splitlines():
        matched = None if line.startswith("#") else _LINE.fullmatch(line.strip())
        if matched is not None:
            yield matched["name"], dict(_LABEL.findall(matched["labels"] or "")), float(matched["value"])


def _single(cumulative: Mapping[float, float]) -> Iterator[tuple[float, float]]:
    """Upper bounds in seconds and counts of each bucket that has any; what is above the last bound is counted there."""
    before, last = 0.0, 0.0
    finite: dict[float, float] = {}
    for bound in sorted(cumulative):
        last = last if math.isinf(bound) else bound / 1000
        if cumulative[bound] > before:
            finite[last] = finite.get(last, 0.0) + cumulative[bound] - before
        before = max(before, cumulative[bound])
    yield from finite.items()


def _now() -> datetime:
    return datetime.now(UTC)
