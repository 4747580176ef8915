"""Monitors by the emulator's clock: what a schedule begins, what a killed emulator takes up again, and what a cancelled refresh writes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlport.emulation.calls import Call
from mlport.emulation.faults import Faults
from mlport.testing.waiting import eventually
from mlport_databricks.emulator.accounts import ADMIN, HOST
from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.api import Request
from mlport_databricks.emulator.services.data_quality import PATH, DataQuality
from mlport_databricks.emulator.working.monitors import PENDING, REFRESHES, RUNNING, Monitors

Json = dict[str, Any]
MINUTE = 60_000
NOON = 1_795_435_200_000  # 2026-11-23 12:00 UTC


class Clock:
    """Milliseconds since 1970."""

    now = NOON

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """One that does nothing in the background."""
    found = Place(tmp_path / "place", Faults())
    yield found
    found.close()


def made(place: Place, **fields: Any) -> str:
    """The id of a table of one row that is monitored."""
    place.tables.create_as(HOST, ADMIN.name, "main.ml.log", "SELECT TIMESTAMPTZ '2026-11-23 11:30:00+00' AS seen, 1.5 AS x", {})
    table = place.unity.need(HOST, "table", "main.ml.log")
    series = {"timestamp_column": "seen", "granularities": ["AGGREGATION_GRANULARITY_1_HOUR"]}
    config = {"output_schema_id": place.unity.need(HOST, "schema", "main.ml")["schema_id"], "time_series": series, **fields}
    body = {"object_type": "table", "object_id": table["table_id"], "data_profiling_config": config}
    call = Call("POST", HOST, PATH, (), {}, io.BytesIO())
    DataQuality(place).create(Request({}, body, call, HOST, ADMIN.name))
    return str(table["table_id"])


def begun(monitors: Monitors, table_id: str) -> list[str]:
    return [each["trigger"].rpartition("_")[2] for each in monitors.refreshes(HOST, table_id)]


def test_a_schedule_fires_once_at_its_time_and_makes_up_for_nothing(place: Place) -> None:
    clock = Clock()
    monitors = Monitors(place, clock)
    table_id = made(place, schedule={"quartz_cron_expression": "0 10 * * * ?", "timezone_id": "UTC"})
    for _ in range(3):
        monitors._look()
    assert begun(monitors, table_id) == ["MANUAL"]
    clock.now += 10 * MINUTE
    for _ in range(3):
        monitors._look()
    assert begun(monitors, table_id) == ["SCHEDULE", "MANUAL"]
    clock.now += 300 * MINUTE
    for _ in range(3):
        monitors._look()
    assert begun(monitors, table_id) == ["SCHEDULE", "SCHEDULE", "MANUAL"]
    clock.now += 600 * MINUTE
    later = Monitors(place, clock)  # what was due before it was opened is left out
    for _ in range(3):
        later._look()
    assert begun(later, table_id) == ["SCHEDULE", "SCHEDULE", "MANUAL"]


def test_a_killed_emulator_takes_up_what_ran(place: Place) -> None:
    table_id = made(place)
    place.monitors._look()
    number = f"{HOST}/{table_id}/{place.monitors.begin(HOST, table_id, 'MANUAL')['refresh_id']}"
    place.documents.change(REFRESHES, number, lambda now: {**now, "state": RUNNING})
    again = Monitors(place)

    def states() -> set[str]:
        again._look()
        return {each["state"] for each in again.refreshes(HOST, table_id)}

    assert eventually(states, lambda found: not found & {PENDING, RUNNING}, 30.0) == {"MONITOR_REFRESH_STATE_SUCCESS"}
    counts = place.tables.read(HOST, "main.ml.log_profile_metrics").select(["column_name", "count", "avg"]).to_pylist()
    assert {each["column_name"]: (each["count"], each["avg"]) for each in counts} == {":table": (1, None), "seen": (1, None), "x": (1, 1.5)}
    assert place.tables.read(HOST, "main.ml.log_drift_metrics").num_rows == 0


def test_a_cancelled_refresh_writes_nothing(place: Place) -> None:
    table_id = made(place)
    place.monitors._look()
    (first,) = place.monitors.refreshes(HOST, table_id)
    cancelled = place.monitors.cancel(HOST, table_id, first["refresh_id"])
    assert cancelled is not None
    assert cancelled["state"] == "MONITOR_REFRESH_STATE_CANCELED"
    place.monitors._run(f"{HOST}/{table_id}/{first['refresh_id']}", HOST, table_id)
    assert place.monitors.refreshes(HOST, table_id)[0]["state"] == "MONITOR_REFRESH_STATE_CANCELED"
    assert place.tables.read(HOST, "main.ml.log_profile_metrics").num_rows == 0
    assert place.monitors.cancel(HOST, table_id, 999) is None
