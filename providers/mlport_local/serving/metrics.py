"""The router's counters in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from mlport_local.serving.tally import Tally, bound

if TYPE_CHECKING:
    from mlport_local.serving.switchboard import Switchboard

CONTENT_TYPE = CONTENT_TYPE_LATEST.encode()
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds


class _Router(Collector):
    def __init__(self, board: Switchboard) -> None:
        self._board = board

    def collect(self) -> Iterator[Metric]:
        names, answers = (
            ["endpoint", "deployment"],
            {"requests": "all answers", "errors": "answers of 500 and above", "rejected": "answers of 400 to 499"},
        )
        endpoint = self._board.endpoint
        for kind, text in answers.items():
            family = CounterMetricFamily(f"mlport_{kind}", f"{text}, by deployment", labels=names)
            for name, tally in self._board.tallies.items():
                family.add_metric([endpoint, name], tally.total[kind] + getattr(tally.counts(), kind))
            yield family
        latency = HistogramMetricFamily("mlport_latency_seconds", "from a request's head to the end of its answer", labels=names)
        for name, tally in self._board.tallies.items():
            latency.add_metric([endpoint, name], buckets=_buckets(tally), sum_value=tally.seconds)
        yield latency
        busy = GaugeMetricFamily("mlport_busy", "requests under way", labels=names)
        for name, target in self._board.table.targets.items():
            busy.add_metric([endpoint, name], target.busy)
        yield busy
        yield GaugeMetricFamily("mlport_callers", "open connections", value=len(self._board.callers))
        for event in ("unauthorized", "refused", "turned_away", "hung_up"):
            yield CounterMetricFamily(
                f"mlport_{event}", f"requests that ended so before a deployment answered: {event}", value=self._board.counters[event]
            )


def _buckets(tally: Tally) -> list[tuple[str, float]]:
    counts = tally.all_bins.copy()
    counts.update(tally.counts().bins)
    filled = [(f"{limit:g}", float(sum(count for number, count in counts.items() if bound(number) <= limit * 1.02))) for limit in BOUNDS]
    return [*filled, ("+Inf", float(counts.total()))]


def exposition(board: Switchboard) -> bytes:
    """All of the router's metrics as they are now."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Router(board))
    return generate_latest(registry)
