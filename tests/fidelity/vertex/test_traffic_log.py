"""Request-response logging of the Vertex AI emulator: sampled, shown late, lost by nobody."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aids.vertex.models import until

from mlport.emulation.faults import Faults
from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.storing.tables import named
from mlport_vertex.emulator.storing.traffic_log import COLUMNS, TrafficLog, check_logging, prepare_logging

NAME = "projects/424242424242/locations/us-central1/endpoints/17"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, Faults())
    made.tables.create("p", "there", "old", COLUMNS)
    yield made
    made.close()


def _config(uri: str, rate: float = 1.0) -> dict[str, Any]:
    return {"enabled": True, "samplingRate": rate, "bigqueryDestination": {"outputUri": uri}}


def _rows(place: Place) -> list[dict[str, Any]]:
    found = place.tables.cursor().execute(f"SELECT * EXCLUDE (logging_time) FROM {named('p', 'there', 'new')}")
    columns = [column[0] for column in found.description]
    return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]


def test_a_project_alone_gets_a_dataset_and_a_table_named_by_vertex(place: Place) -> None:
    made = prepare_logging(place, NAME, "my flowers", _config("bq://p"))
    assert made["bigqueryDestination"]["outputUri"] == "bq://p.logging_my_flowers_17.request_response_logging"
    assert place.tables.has_table("p", "logging_my_flowers_17", "request_response_logging")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (_config("bq://p", 0), "(0, 1]"),
        (_config("bq://p", 1.5), "(0, 1]"),
        (_config("p.there.new"), "bq://"),
        (_config("bq://p.none.new"), "does not exist"),
        (_config("bq://p.there.old"), "already exists"),
    ],
)
def test_destinations_that_are_refused(place: Place, config: dict[str, Any], said: str) -> None:
    with pytest.raises(ApiError, match=said.replace("(", r"\(").replace("]", r"\]")):
        check_logging(place, config)


def test_rows_come_after_the_lag_and_are_found_by_the_next_emulator(place: Place, tmp_path: Path) -> None:
    endpoint = {"name": NAME, "predictRequestResponseLoggingConfig": prepare_logging(place, NAME, "x", _config("bq://p.there.new"))}
    log = TrafficLog(place)
    log.write(endpoint, "7", ["[1.0]", "[2.0]"], ["true", "false"], lag=1.0)
    log.move()
    assert _rows(place) == []
    next_one = TrafficLog(place)  # the one that wrote it was killed
    until(lambda: next_one.move() or _rows(place), 60)
    (row,) = _rows(place)
    assert (row["endpoint"], row["deployed_model_id"], row["request_payload"]) == ("17", "7", ["[1.0]", "[2.0]"])
    assert row["response_payload"] == ["true", "false"]
    assert list((tmp_path / "traffic").iterdir()) == []
    next_one.move()
    assert len(_rows(place)) == 1


def test_a_share_is_sampled(place: Place) -> None:
    """Within four standard deviations of the rate."""
    asked, rate = 2000, 0.25
    endpoint = {"name": NAME, "predictRequestResponseLoggingConfig": prepare_logging(place, NAME, "x", _config("bq://p.there.new", rate))}
    log = TrafficLog(place)
    for _ in range(asked):
        log.write(endpoint, "7", [], [], lag=0)
    log.move()
    assert abs(len(_rows(place)) - asked * rate) < 4 * math.sqrt(asked * rate * (1 - rate))
