"""What Cloud Monitoring counted of an endpoint: https://docs.cloud.google.com/monitoring/api/metrics_gcp_a_b (aiplatform).

Points are of one minute each. Those of the minutes that a window cuts are left out, and the observation is complete for
what is between; it ends where points may still come, which the metric's own descriptor tells.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from mlport.errors import NotFoundError
from mlport.spi import Json, Latency, Observation, Observed, Window
from mlport_vertex.serving.deployed import DeployedModels

if TYPE_CHECKING:
    from mlport_vertex.google.api import VertexApi

BASE = "https://monitoring.googleapis.com/v3/projects"
PREFIX = "aiplatform.googleapis.com/prediction/online"
RESPONSES, LATENCIES = f"{PREFIX}/response_count", f"{PREFIX}/prediction_latencies"
SETTLED = timedelta(seconds=360)  # the largest delay that the page of metrics states
MINUTE = timedelta(minutes=1)
KEPT = timedelta(days=42)  # https://docs.cloud.google.com/monitoring/quotas: six weeks


@dataclass
class _Sum:
    requests: int = 0
    errors: int = 0
    rejected: int = 0
    bins: dict[float, float] = field(default_factory=lambda: defaultdict(float))


def observation(
    api: VertexApi, name: str, deployed: DeployedModels, window: Window, now: Callable[[], datetime] | None = None
) -> Observation:
    """Requests, errors and latencies of each deployment, past ones too, in the whole minutes of the window."""
    moment = (now or _now)()
    start, end = _up(max(window.start, moment - KEPT)), _down(min(window.end, moment))
    until = min(_down(window.end), _down(moment - settled_after(api)))
    sums: dict[str, _Sum] = defaultdict(_Sum)
    if start < end:
        span = Window(start, end)
        for labels, value in points(api, name, RESPONSES, span):
            _count(sums[labels["deployed_model_id"]], labels.get("response_code", ""), int(value.get("int64Value", 0)))
        for labels, value in points(api, name, LATENCIES, span, ' AND metric.labels.latency_type = "total"'):
            for bound, count in bins(value.get("distributionValue", {})):
                sums[labels["deployed_model_id"]].bins[bound] += count
    known = deployed.named(name, sums)
    observed = tuple(_observed(known[number].name, seen) for number, seen in sorted(sums.items(), key=lambda item: known[item[0]].name))
    return Observation(window, until, observed, start if start > window.start else None)


def settled_after(api: VertexApi) -> timedelta:
    """How old a point must be for all of its kind to be there: the ingest delay and the sample period of the metric."""
    url = f"{BASE}/{api.config.project}/metricDescriptors/{RESPONSES}"
    try:
        found = api.connection.send("GET", url, operation="metricDescriptors.get", repeatable=True)
    except NotFoundError:
        return SETTLED
    metadata = found.get("metadata", {})
    if "ingestDelay" not in metadata:
        return SETTLED
    return _seconds(metadata["ingestDelay"]) + _seconds(metadata.get("samplePeriod", "60s"))


def points(api: VertexApi, name: str, metric: str, window: Window, more: str = "") -> Iterator[tuple[Mapping[str, str], Json]]:
    """Labels and value of each point of whole minutes in the window: timeSeries.list, unaggregated."""
    query = {
        "filter": f'metric.type = "{metric}" AND resource.labels.endpoint_id = "{name}"{more}',
        "interval.startTime": window.start.isoformat().replace("+00:00", "Z"),
        "interval.endTime": window.end.isoformat().replace("+00:00", "Z"),
        "view": "FULL",
    }
    while True:
        found = api.connection.send(
            "GET", f"{BASE}/{api.config.project}/timeSeries", operation="timeSeries.list", query=query, repeatable=True
        )
        for series in found.get("timeSeries", ()):
            for point in series.get("points", ()):
                if _within(point["interval"], window):
                    yield series["metric"].get("labels", {}), point["value"]
        if not found.get("nextPageToken"):
            return
        query["pageToken"] = found["nextPageToken"]


def _within(interval: Json, window: Window) -> bool:
    ended = datetime.fromisoformat(str(interval["endTime"]))
    began = datetime.fromisoformat(str(interval.get("startTime", ended.isoformat())))
    return began >= window.start and ended <= window.end


def _count(seen: _Sum, code: str, count: int) -> None:
    """`response_code` is a class such as 2xx."""
    seen.requests += count
    if code.startswith("5"):
        seen.errors += count
    elif code.startswith("4"):
        seen.rejected += count


def bins(distribution: Json) -> Iterator[tuple[float, float]]:
    """Upper bound in seconds and count of each bucket that has any; the last bucket's is the largest bound that there is.

    Which is https://cloud.google.com/monitoring/api/ref_v3/rest/v3/TypedValue#distribution: the first bucket is below the
    first bound, the last one above the last, and empty buckets at the end are left out.
    """
    counts = [int(count) for count in distribution.get("bucketCounts", ())]
    bounds = _bounds(distribution.get("bucketOptions", {}))
    for index, count in enumerate(counts):
        if count:
            yield (bounds[min(index, len(bounds) - 1)] / 1000 if bounds else 0.0), float(count)


def _bounds(options: Json) -> list[float]:
    """The finite bounds, in the metric's unit, milliseconds."""
    if found := options.get("explicitBuckets"):
        return [float(bound) for bound in found["bounds"]]
    if found := options.get("exponentialBuckets"):
        return [found["scale"] * found["growthFactor"] ** index for index in range(int(found["numFiniteBuckets"]) + 1)]
    if found := options.get("linearBuckets"):
        return [found.get("offset", 0.0) + found["width"] * index for index in range(int(found["numFiniteBuckets"]) + 1)]
    return []


def _observed(name: str, seen: _Sum) -> Observed:
    bounds = sorted(seen.bins)
    latency = Latency("histogram", bounds, [seen.bins[bound] for bound in bounds])
    return Observed(name, seen.requests, seen.errors, seen.rejected, latency)


def _now() -> datetime:
    return datetime.now(UTC)


def _down(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(second=0, microsecond=0)


def _up(time: datetime) -> datetime:
    whole = _down(time)
    return whole if whole == time else whole + MINUTE


def _seconds(duration: str) -> timedelta:
    """Google's durations, such as `240s`."""
    return timedelta(seconds=float(duration.removesuffix("s")))
