"""The metrics of an endpoint as Prometheus takes them: gauges of the last minute, although their names end in `_total`.

Names and kinds are those that https://github.com/DataDog/integrations-core (databricks/metadata.csv) reads, and that users saw on
real endpoints; each line has a time in milliseconds. The labels and the histogram's bounds are guesses; CPU and memory are those
of the server's process since it began, in percent of one core and of this machine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil

from mlport.emulation.calls import Reply
from mlport.emulation.observed import Seen
from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import missing
from mlport_databricks.emulator.storing.serving_access import VIEW, Access
from mlport_databricks.emulator.working.deploying import ENDPOINTS
from mlport_databricks.emulator.working.served_config import concurrency

Json = dict[str, Any]
WINDOW = timedelta(minutes=1)
BOUNDS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 120000, 300000)  # milliseconds
HELP: Mapping[str, str] = {
    "cpu_usage_percentage": "Average CPU utilization.",
    "mem_usage_percentage": "Average memory utilization.",
    "provisioned_concurrent_requests_total": "Provisioned concurrency during the last minute.",
    "request_4xx_count_total": "Number of 4xx errors during the last minute.",
    "request_5xx_count_total": "Number of 5xx errors during the last minute.",
    "request_count_total": "Number of requests during the last minute.",
}
LATENCY = "request_latency_ms"


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their calls."""
    return {"GET /api/2.0/serving-endpoints/{name}/metrics": ServingMetrics(place).export}


class ServingMetrics:
    """Tells the metrics of all endpoints of a place."""

    def __init__(self, place: Place) -> None:
        self._place, self._access, self._serving = place, Access(place), place.serving

    def export(self, request: Request) -> Reply:
        """What each served entity answered in the last 60 seconds."""
        name = str(request.arguments["name"])
        endpoint = self._place.documents.get(ENDPOINTS, f"{request.workspace}/{name}")
        if endpoint is None:
            raise missing(f"Serving endpoint with name {name} not found")
        self._access.require(request.workspace, request.user, endpoint, VIEW)
        now = datetime.now(UTC)
        seen: dict[str, list[Seen]] = {}
        for each in self._serving.observed.between(now - WINDOW, now):
            if each.endpoint == endpoint["id"]:
                seen.setdefault(each.deployed, []).append(each)
        entities = endpoint["config"]["served_entities"] if endpoint["config"] else []
        text = "".join(
            f"{line}\n" for line in _lines(name, [(each, self._values(each, seen.get(each["id"], []))) for each in entities], seen)
        )
        return Reply(200, text.encode(), {"content-type": "text/plain; version=0.0.4; charset=utf-8"})

    def _values(self, entity: Json, seen: Sequence[Seen]) -> Mapping[str, float]:
        process = self._serving.servers.process(entity["worker"])
        cpu, memory = _usage(process) if process else (0.0, 0.0)
        return {
            "cpu_usage_percentage": cpu,
            "mem_usage_percentage": memory,
            "provisioned_concurrent_requests_total": concurrency(entity) if process else 0,
            "request_4xx_count_total": sum(each.status // 100 == 4 for each in seen),
            "request_5xx_count_total": sum(each.status // 100 == 5 for each in seen),
            "request_count_total": len(seen),
        }


def _usage(process: int) -> tuple[float, float]:
    try:
        found = psutil.Process(process)
        with found.oneshot():
            used = found.cpu_times()
            return 100 * (used.user + used.system) / max(0.001, time.time() - found.create_time()), found.memory_percent()
    except psutil.Error:  # it has just ended
        return 0.0, 0.0


def _lines(endpoint: str, found: Sequence[tuple[Json, Mapping[str, float]]], seen: Mapping[str, Sequence[Seen]]) -> Iterator[str]:
    at = time.time_ns() // 1_000_000
    labels = {entity["id"]: f'endpoint_name="{endpoint}",served_entity_name="{entity["name"]}"' for entity, _ in found}
    for name, said in HELP.items():
        yield f"# HELP {name} {said}"
        yield f"# TYPE {name} gauge"
        for entity, values in found:
            yield f"{name}{{{labels[entity['id']]}}} {values[name]:g} {at}"
    yield f"# HELP {LATENCY} Request latency during the last minute."
    yield f"# TYPE {LATENCY} histogram"
    for entity, _ in found:
        own, latencies = labels[entity["id"]], [1000 * each.total for each in seen.get(entity["id"], ())]
        for bound in BOUNDS:
            yield f'{LATENCY}_bucket{{{own},le="{bound}"}} {sum(each <= bound for each in latencies)} {at}'
        yield f'{LATENCY}_bucket{{{own},le="+Inf"}} {len(latencies)} {at}'
        yield f"{LATENCY}_count{{{own}}} {len(latencies)} {at}"
        yield f"{LATENCY}_sum{{{own}}} {sum(latencies):.3f} {at}"
