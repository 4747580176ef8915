"""Metrics of the last minute as counts and histograms, and which source tells more of a window."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mlport.spi import Window
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.serving.observe import _last_minute, _past, of_metrics
from mlport_databricks.workspace.connection import Connection

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
TEXT = """# HELP request_count_total Number of requests during the last minute
# TYPE request_count_total gauge
request_count_total{endpoint_name="delays",served_entity_name="blue"} 20
request_count_total{endpoint_name="delays",served_entity_name="green"} 0
request_4xx_count_total{endpoint_name="delays",served_entity_name="blue"} 3
request_5xx_count_total{endpoint_name="delays",served_entity_name="blue"} 1.0 1767225600
request_latency_ms_bucket{le="10",served_entity_name="blue"} 4
request_latency_ms_bucket{le="50",served_entity_name="blue"} 19
request_latency_ms_bucket{le="+Inf",served_entity_name="blue"} 20
request_latency_ms_count{served_entity_name="blue"} 20
cpu_usage_percentage{served_entity_name="blue"} 3.5
# EOF
"""


def test_gauges_are_counts_of_the_last_minute() -> None:
    found = of_metrics(TEXT)
    assert list(found) == ["blue"], "who did nothing is not told"
    blue = found["blue"]
    assert (blue.requests, blue.rejected, blue.errors) == (20, 3, 1)
    assert blue.bins == {0.01: 4.0, 0.05: 16.0}, "single counts, what is above the last bound at the last bound"
    assert sum(blue.bins.values()) == blue.requests


@pytest.mark.parametrize("label", ["served_model_name", "served_entity"])
def test_whichever_label_names_the_entity(label: str) -> None:
    assert list(of_metrics(TEXT.replace("served_entity_name", label))) == ["blue"]


def test_no_metrics_are_nothing() -> None:
    assert of_metrics("") == of_metrics("# EOF\n") == {}


def endpoint(**config: Any) -> tuple[Connection, dict[str, Any]]:
    made = DatabricksConfig.model_validate(
        {
            "host": "acme.cloud.databricks.com",
            "catalog": "main",
            "schema": "ml",
            "state": "s3://acme/mlport",
            "region": "eu-central-1",
            "token": "t",
            **config,
        }
    )
    table = {"enabled": True, "catalog_name": "main", "schema_name": "ml", "table_name_prefix": "delays"}
    return Connection(made), {"name": "delays", "ai_gateway": {"inference_table_config": table}}


def test_the_table_reaches_to_where_no_row_may_still_come() -> None:
    connection, told = endpoint(warehouse_id="w1")
    day = Window(NOW - timedelta(days=1), NOW)
    assert _past(connection, told, day, NOW) == Window(day.start, NOW - timedelta(hours=1))
    old = Window(NOW - timedelta(days=2), NOW - timedelta(days=1))
    assert _past(connection, told, old, NOW) == old
    assert _past(connection, told, Window(NOW - timedelta(minutes=30), NOW), NOW) is None
    quick, _ = endpoint(warehouse_id="w1", capture_lag="5s")
    assert _past(quick, told, day, NOW) == Window(day.start, NOW - timedelta(seconds=5))


def test_without_a_warehouse_or_a_table_there_is_no_past() -> None:
    day = Window(NOW - timedelta(days=1), NOW)
    connection, told = endpoint()
    assert _past(connection, told, day, NOW) is None
    connection, told = endpoint(warehouse_id="w1")
    assert _past(connection, {"name": "delays"}, day, NOW) is None


def test_a_minute_that_is_not_all_in_the_window_is_not_told() -> None:
    minute = timedelta(minutes=1)
    assert _last_minute(Window(NOW - minute, NOW), NOW) == Window(NOW - minute, NOW)
    assert _last_minute(Window(NOW - 9 * minute, NOW + minute), NOW) == Window(NOW - minute, NOW)
    assert _last_minute(Window(NOW - minute / 2, NOW), NOW) is None, "the gauge counts what was before, too"
    assert _last_minute(Window(NOW - 9 * minute, NOW - minute), NOW) is None
