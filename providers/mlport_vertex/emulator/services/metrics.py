"""Cloud Monitoring: the time series of Vertex AI's endpoints, as they are read: raw, in points of a minute.

Names, kinds, units and labels are those of https://docs.cloud.google.com/monitoring/api/metrics_gcp_a_b (aiplatform).
The bounds of the latency's buckets and `ingestDelay` are guesses. Only whole minutes are shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from mlport.emulation.observed import Observed, Seen
from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.protocol.api import Handler, Request
from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.protocol.filters import compared, fits, predicate
from mlport_vertex.emulator.protocol.resources import moment, parse
from mlport_vertex.emulator.storing.registry import DEPLOYMENTS

Json = dict[str, Any]
PREFIX = "aiplatform.googleapis.com/prediction/online/"
RESOURCE = "aiplatform.googleapis.com/Endpoint"
SAMPLE, DELAY = timedelta(seconds=60), timedelta(0)
SCALE, GROWTH, FINITE = 0.5, 1.25, 64  # bucket i ends at SCALE * GROWTH ** i milliseconds
LARGEST_PAGE = 100_000  # points, monitoring.v3, timeSeries.list
Value = Callable[[Sequence[Seen]], Json]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `series` gives, of what one deployed model answered in a minute, the values by the metric's own labels."""

    kind: str
    type: str
    unit: str
    labels: tuple[str, ...]
    said: str
    series: Callable[[Sequence[Seen]], Iterator[tuple[Json, Json]]]


def _count(weight: Callable[[Seen], int]) -> Callable[[Sequence[Seen]], Iterator[tuple[Json, Json]]]:
    return lambda seen: iter([({}, {"int64Value": str(sum(map(weight, seen)))})])


def _by_code(seen: Sequence[Seen]) -> Iterator[tuple[Json, Json]]:
    """The codes are classes: 2xx, 4xx, 5xx."""
    for group in sorted({each.status // 100 for each in seen}):
        yield {"response_code": f"{group}xx"}, {"int64Value": str(sum(each.status // 100 == group for each in seen))}


def _latencies(seen: Sequence[Seen]) -> Iterator[tuple[Json, Json]]:
    values = {"total": [each.total for each in seen], "model": [each.model for each in seen]}
    values["overhead"] = [each.total - each.model for each in seen]
    for kind, seconds in values.items():
        yield {"latency_type": kind}, {"distributionValue": distribution([1000 * each for each in seconds])}


METRICS: Mapping[str, Metric] = {
    "response_count": Metric("DELTA", "INT64", "1", ("deployed_model_id", "response_code"), "Number of different online prediction response codes.", _by_code),
    "error_count": Metric("DELTA", "INT64", "1", ("deployed_model_id",), "Number of online prediction errors.", _count(lambda each: each.status >= 400)),
    "prediction_count": Metric("DELTA", "INT64", "1", ("deployed_model_id",), "Number of online predictions.", _count(lambda each: each.rows if each.status < 400 else 0)),
    "prediction_latencies": Metric("DELTA", "DISTRIBUTION", "ms", ("deployed_model_id", "latency_type"), "Online prediction latency of the deployed model.", _latencies),
}  # fmt: skip


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their ids."""
    metrics = Metrics(place)
    return {
        "monitoring.projects.timeSeries.list": metrics.series,
        "monitoring.projects.metricDescriptors.get": metrics.descriptor,
        "monitoring.projects.metricDescriptors.list": metrics.descriptors,
    }


class Metrics:
    """What the methods do."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._observed = Observed(place.folder / "observed")

    def descriptor(self, request: Request) -> Json:
        project, _, name = request.name.partition("/metricDescriptors/")
        metric = METRICS.get(name.removeprefix(PREFIX))
        if metric is None or not name.startswith(PREFIX):
            raise ApiError("NOT_FOUND", f"Could not find descriptor for metric '{name}'.")
        return _descriptor(project, name, metric)

    def descriptors(self, request: Request) -> Json:
        said = predicate(str(request.arguments.get("filter", "")))
        all_of = [_descriptor(request.name, PREFIX + name, metric) for name, metric in METRICS.items()]
        return {"metricDescriptors": [each for each in all_of if said(_holds({"metric": {"type": each["type"]}}))]}

    def series(self, request: Request) -> Json:
        """Series with points whose minute ends within the interval, newest point first."""
        arguments = request.arguments
        for name, value in arguments.items():
            if "ggregation." in name and value not in ("ALIGN_NONE", "REDUCE_NONE", "0s"):
                raise ApiError("UNIMPLEMENTED", f"The emulator answers with raw points: it has no {name}.")
        text = str(arguments.get("filter", ""))
        if "metric.type" not in text:
            raise ApiError("INVALID_ARGUMENT", "Field filter had an invalid value: it must specify a metric.type.")
        end = moment(str(arguments["interval.endTime"]))
        start = moment(str(arguments.get("interval.startTime", arguments["interval.endTime"])))
        said = predicate(text)
        found = [each for each in self._all(start, min(end, datetime.now(UTC) - DELAY)) if said(_holds(each))]
        if arguments.get("view") == "HEADERS":
            found = [{key: value for key, value in each.items() if key != "points"} for each in found]
        return _paged(found, arguments)

    def _all(self, start: datetime, end: datetime) -> Iterator[Json]:
        first, last = _minute(start - SAMPLE / 1_000_000), _minute(end)
        minutes: dict[tuple[str, str], dict[datetime, list[Seen]]] = {}
        for seen in self._observed.between(first, last):
            at = _minute(datetime.fromtimestamp(seen.at, UTC))
            minutes.setdefault((seen.endpoint, seen.deployed), {}).setdefault(at, []).append(seen)
        for (endpoint, deployed), by_minute in minutes.items():
            for name, metric in METRICS.items():
                yield from _of_one(name, metric, endpoint, deployed, by_minute)
        yield from self._replicas(last)

    def _replicas(self, at: datetime) -> Iterator[Json]:
        """Gauges: how many replicas each deployed model has now; the engine runs one server whatever was asked for."""
        for _, body in self._place.documents.list(DEPLOYMENTS):
            if body["state"] == "deployed":
                wanted = body["deployedModel"].get("dedicatedResources", {}).get("minReplicaCount", 1)
                for name in ("replicas", "target_replicas"):
                    point = {"interval": {"endTime": _written(at)}, "value": {"int64Value": str(wanted)}}
                    yield _series(PREFIX + name, "GAUGE", "INT64", body["endpoint"], {"deployed_model_id": body["id"]}, [point])


def _of_one(name: str, metric: Metric, endpoint: str, deployed: str, by_minute: Mapping[datetime, Sequence[Seen]]) -> Iterator[Json]:
    points: dict[tuple[tuple[str, str], ...], list[Json]] = {}
    for at in sorted(by_minute, reverse=True):
        interval = {"startTime": _written(at), "endTime": _written(at + SAMPLE)}
        for labels, value in metric.series(by_minute[at]):
            points.setdefault(tuple(labels.items()), []).append({"interval": interval, "value": value})
    for own, found in points.items():
        yield _series(PREFIX + name, metric.kind, metric.type, endpoint, {"deployed_model_id": deployed, **dict(own)}, found)


def _series(name: str, kind: str, type_: str, endpoint: str, labels: Json, points: list[Json]) -> Json:
    of = parse(endpoint)
    where = {"resource_container": of.project, "location": of.location, "endpoint_id": of.id}
    return {
        "metric": {"type": name, "labels": labels},
        "resource": {"type": RESOURCE, "labels": where},
        "metricKind": kind,
        "valueType": type_,
        "points": points,
    }


def _descriptor(project: str, name: str, metric: Metric) -> Json:
    return {
        "name": f"{project}/metricDescriptors/{name}",
        "type": name,
        "labels": [{"key": label} for label in metric.labels],
        "metricKind": metric.kind,
        "valueType": metric.type,
        "unit": metric.unit,
        "description": metric.said,
        "launchStage": "BETA",
        "metadata": {"launchStage": "BETA", "samplePeriod": _seconds(SAMPLE), "ingestDelay": _seconds(DELAY)},
        "monitoredResourceTypes": [RESOURCE],
    }


def distribution(values: Sequence[float]) -> Json:
    """A Distribution of values in milliseconds: the first bucket is below all bounds, the last above them.

    >>> distribution([1.0, 1.0])["mean"]
    1.0
    """
    mean = sum(values) / len(values)
    buckets = [0] * (FINITE + 2)
    for value in values:
        place = 0 if value < SCALE else 1 + math.floor(math.log(value / SCALE, GROWTH))
        buckets[min(place, FINITE + 1)] += 1
    while buckets[-1] == 0:
        buckets.pop()
    return {
        "count": str(len(values)),
        "mean": mean,
        "sumOfSquaredDeviation": sum((value - mean) ** 2 for value in values),
        "bucketOptions": {"exponentialBuckets": {"numFiniteBuckets": FINITE, "growthFactor": GROWTH, "scale": SCALE}},
        "bucketCounts": [str(count) for count in buckets],
    }


def _holds(series: Json) -> Callable[[tuple[str, ...], str, str], bool]:
    """What a comparison says of a series: `metric.type`, `resource.type` and the labels of both."""

    def holds(path: tuple[str, ...], operator: str, value: str) -> bool:
        path = tuple("labels" if part == "label" else part for part in path)
        found: Any = series
        for part in path:
            found = found.get(part, {}) if isinstance(found, dict) else {}
        if not isinstance(found, str) or operator not in ("=", "!=", ":"):
            return operator == "!="
        return fits(f"*{value}*", found) if operator == ":" else compared(operator, found, value)

    return holds


def _paged(found: Sequence[Json], arguments: Mapping[str, Any]) -> Json:
    """Whole series; the token is where the next page begins."""
    size = min(int(arguments.get("pageSize", 0)) or LARGEST_PAGE, LARGEST_PAGE)
    token = str(arguments.get("pageToken", "")) or "0"
    if not token.isdigit():
        raise ApiError("INVALID_ARGUMENT", "Field page_token had an invalid value.")
    start = int(token)
    shown = found[start : start + size]
    return {"timeSeries": list(shown), **({"nextPageToken": str(start + size)} if len(found) > start + size else {})}


def _minute(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def _written(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(span: timedelta) -> str:
    return f"{int(span.total_seconds())}s"
