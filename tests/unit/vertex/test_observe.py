"""What an endpoint did, from the emulator's Cloud Monitoring: whole minutes, past deployments too, and no further than is certain."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from mlport.emulation.observed import Observed as Kept
from mlport.emulation.observed import Seen
from mlport.emulation.server import Ready
from mlport.spi import Observed, Window
from mlport_vertex.config import VertexConfig
from mlport_vertex.serving.deployed import Deployed, DeployedModels
from mlport_vertex.serving.observe import bins, observation, settled_after
from mlport_vertex.session import VertexSession

MINUTE = timedelta(minutes=1)
BEGAN = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=30)
EMULATED = "projects/424242424242/locations/us-central1/endpoints/watched"


@pytest.fixture(scope="module")
def session(emulator: Ready) -> Iterator[VertexSession]:
    """A session, and what an endpoint answered half an hour ago: 3 well and 1 refused by `blue`, 2 failed by `green`, a minute later."""
    noted = Kept(emulator.folder / "vertex" / "observed")
    for status, number, latency in ((200, "1", 0.010), (200, "1", 0.020), (200, "1", 0.200), (400, "1", 0.001)):
        noted.note(Seen(BEGAN.timestamp() + 10, EMULATED, number, status, latency, latency, 2))
    for _ in range(2):
        noted.note(Seen(BEGAN.timestamp() + 70, EMULATED, "2", 503, 0.5, 0.5, 1))
    opened = VertexSession(VertexConfig.from_url(emulator.targets["vertex"]))
    deployed = DeployedModels(opened.state)
    for number, name in (("1", "blue"), ("2", "green")):
        deployed.put("watched", number, Deployed(name, "delays", number))
    yield opened
    opened.close()


def seen(session: VertexSession, start: datetime, end: datetime) -> dict[str, Observed]:
    found = observation(session.api, "watched", DeployedModels(session.state), Window(start, end))
    return {each.deployment: each for each in found.deployments}


def test_each_deployment_is_counted_by_its_name(session: VertexSession) -> None:
    found = seen(session, BEGAN, BEGAN + 5 * MINUTE)
    assert list(found) == ["blue", "green"]
    blue, green = found["blue"], found["green"]
    assert (blue.requests, blue.rejected, blue.errors) == (4, 1, 0)
    assert (green.requests, green.rejected, green.errors) == (2, 0, 2)
    assert blue.latency.form == "histogram"
    assert sum(blue.latency.weights) == 4
    assert list(blue.latency.values) == sorted(blue.latency.values)
    assert 0.2 <= blue.latency.values[-1] <= 0.2 * 1.25
    assert all(0.5 <= bound <= 0.5 * 1.25 for bound in green.latency.values)


def test_a_minute_that_the_window_cuts_is_left_out_and_said_to_be(session: VertexSession) -> None:
    second = timedelta(seconds=1)
    assert list(seen(session, BEGAN + second, BEGAN + 5 * MINUTE)) == ["green"]
    assert list(seen(session, BEGAN, BEGAN + 2 * MINUTE - second)) == ["blue"]
    found = observation(session.api, "watched", DeployedModels(session.state), Window(BEGAN + second, BEGAN + 2 * MINUTE - second))
    assert (found.complete_from, found.complete_until) == (BEGAN + MINUTE, BEGAN + MINUTE)


def test_it_is_complete_until_no_point_can_come_any_more(session: VertexSession) -> None:
    settled = settled_after(session.api)
    assert settled >= MINUTE
    now = BEGAN + 10 * MINUTE + timedelta(seconds=30)
    window = Window(BEGAN, BEGAN + timedelta(days=1))
    found = observation(session.api, "watched", DeployedModels(session.state), window, now=lambda: now)
    assert found.complete_until == (now - settled).replace(second=0, microsecond=0)
    assert found.complete_from is None
    assert seen(session, BEGAN - timedelta(days=2), BEGAN - timedelta(days=1)) == {}


@pytest.mark.parametrize(
    ("options", "bounds"),
    [
        ({"explicitBuckets": {"bounds": [1, 10, 100]}}, [0.001, 0.01, 0.1, 0.1]),
        ({"linearBuckets": {"numFiniteBuckets": 2, "width": 5, "offset": 10}}, [0.01, 0.015, 0.02, 0.02]),
        ({"exponentialBuckets": {"numFiniteBuckets": 2, "growthFactor": 2, "scale": 3}}, [0.003, 0.006, 0.012, 0.012]),
    ],
)
def test_buckets_of_every_kind_have_their_upper_bounds(options: dict[str, dict[str, float]], bounds: list[float]) -> None:
    """https://cloud.google.com/monitoring/api/ref_v3/rest/v3/TypedValue#bucketoptions"""
    found = list(bins({"bucketOptions": options, "bucketCounts": ["1", "2", "3", "4"]}))
    assert [round(bound, 6) for bound, _ in found] == bounds
    assert [count for _, count in found] == [1.0, 2.0, 3.0, 4.0]
    assert list(bins({"bucketOptions": options, "bucketCounts": ["0", "2"]})) == [(found[1][0], 2.0)]
    assert list(bins({})) == []
