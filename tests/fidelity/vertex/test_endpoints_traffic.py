"""What passes through endpoints of the Vertex AI emulator: really split, counted, logged, and found again after a restart."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from aids.vertex.models import ask, constant, deploy, done, endpoint, nothing_left, put, refused, until, upload

from mlport.emulation.observed import Observed, Seen
from mlport.emulation.server import Ready, serve
from mlport_vertex.emulator import EMULATOR
from mlport_vertex.emulator.services.metrics import PREFIX, distribution

ASKED, SHARE = 400, 30
MONITORING = "/v3/projects/emulated"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traffic")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[str]:
    """An endpoint with two models, 7 with 70 % of the traffic and 8 with 30 %; its emulator is no longer there."""
    with serve({"vertex": EMULATOR}, folder) as ready:
        logging = {"enabled": True, "samplingRate": 1.0, "bigqueryDestination": {"outputUri": "bq://emulated"}}
        where = endpoint(ready, displayName="traffic", predictRequestResponseLoggingConfig=logging)
        for number in (7, 8):
            model = upload(ready, put(ready, f"{number}/model.pkl", constant(number)), displayName=f"always {number}")
            split = {"0": 100} if number == 7 else {"0": SHARE, "7": 100 - SHARE}
            done(ready, deploy(ready, where, model, split, id=str(number)))
        ask(ready, "POST", f"/v1/{where}:predict", {"instances": [[0.0]]})
    yield where
    with serve({"vertex": EMULATOR}, folder) as ready, nothing_left(ready):
        pass


@pytest.fixture(scope="module")
def ready(folder: Path, served: str) -> Iterator[Ready]:
    """The emulator, started again on the same folder."""
    with serve({"vertex": EMULATOR}, folder) as ready:
        yield ready


def test_the_split_is_drawn_anew_for_each_request(ready: Ready, served: str) -> None:
    """Within three standard deviations; and each model answers for itself."""
    answers: list[dict[str, Any]] = []

    def go() -> None:
        answers.extend(ask(ready, "POST", f"/v1/{served}:predict", {"instances": [[0.0], [1.0]]}) for _ in range(ASKED // 4))

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = Counter(answer["deployedModelId"] for answer in answers)
    assert sum(seen.values()) == ASKED
    assert all(answer["predictions"] == [int(answer["deployedModelId"])] * 2 for answer in answers)
    deviation = math.sqrt(ASKED * SHARE / 100 * (1 - SHARE / 100))
    assert abs(seen["8"] - ASKED * SHARE / 100) < 3 * deviation


def test_each_exchange_is_a_row_in_bigquery(ready: Ready, served: str) -> None:
    answer = ask(ready, "POST", f"/v1/{served}:predict", {"instances": [[123.5], [-1.0]], "parameters": {"a": 1}})
    uri = ask(ready, "GET", f"/v1/{served}")["predictRequestResponseLoggingConfig"]["bigqueryDestination"]["outputUri"]
    assert uri == f"bq://emulated.logging_traffic_{served.rpartition('/')[2]}.request_response_logging"
    columns = "deployed_model_id, ARRAY_LENGTH(request_payload) AS sent, response_payload"
    query = f"SELECT {columns} FROM `{uri.removeprefix('bq://')}`, UNNEST(request_payload) AS payload WHERE payload = '[123.5]'"
    asked = {"query": query, "useLegacySql": False}
    (row,) = until(lambda: ask(ready, "POST", "/bigquery/v2/projects/emulated/queries", asked).get("rows"), 60)
    deployed, sent, answered = (cell["v"] for cell in row["f"])
    assert (deployed, sent) == (answer["deployedModelId"], "2")
    assert [each["v"] for each in answered] == [deployed, deployed]


def test_a_prediction_needs_instances(ready: Ready, served: str) -> None:
    code, said = refused(ready, "POST", f"/v1/{served}:predict", {"parameters": {}})
    assert (code, "Field: instances; Message: Required field is not set." in said) == ("INVALID_ARGUMENT", True)


def _series(ready: Ready, metric: str, end: datetime) -> list[dict[str, Any]]:
    """The series of a metric up to a minute that need not be over yet: the emulator's clock cannot be turned."""
    said = {
        "filter": f'metric.type="{PREFIX}{metric}"',
        "interval.startTime": "2020-01-01T00:00:00Z",
        "interval.endTime": f"{end:%Y-%m-%dT%H:%M:%SZ}",
    }
    return list(ask(ready, "GET", f"{MONITORING}/timeSeries?{urlencode(said)}").get("timeSeries", []))


def test_descriptors_say_kind_unit_and_delays(ready: Ready) -> None:
    found = ask(ready, "GET", f"{MONITORING}/metricDescriptors/{PREFIX}prediction_latencies")
    assert (found["metricKind"], found["valueType"], found["unit"]) == ("DELTA", "DISTRIBUTION", "ms")
    assert found["metadata"]["samplePeriod"] == "60s"
    assert refused(ready, "GET", f"{MONITORING}/metricDescriptors/{PREFIX}none")[0] == "NOT_FOUND"
    only = urlencode({"filter": f'metric.type="{PREFIX}response_count"'})
    listed = ask(ready, "GET", f"{MONITORING}/metricDescriptors?{only}")
    assert [each["type"] for each in listed["metricDescriptors"]] == [f"{PREFIX}response_count"]


def test_points_of_the_past_by_minute_and_label(ready: Ready, served: str, folder: Path) -> None:
    """Lines of two past minutes, written as the predictions write them."""
    observed = Observed(folder / "vertex" / "observed")
    past = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=30)
    for minute, status, took in ((0, 200, 0.001), (0, 200, 0.003), (0, 503, 0.5), (1, 200, 0.002)):
        observed.note(Seen((past + timedelta(minutes=minute, seconds=5)).timestamp(), served, "99", status, took, took / 2, 4))
    mine = [each for each in _series(ready, "response_count", datetime.now(UTC)) if each["metric"]["labels"]["deployed_model_id"] == "99"]
    counted = {each["metric"]["labels"]["response_code"]: [point["value"]["int64Value"] for point in each["points"]] for each in mine}
    assert counted == {"2xx": ["1", "2"], "5xx": ["1"]}
    newest = mine[0]["points"][0]["interval"]
    assert newest == {
        "startTime": f"{past + timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}",
        "endTime": f"{past + timedelta(minutes=2):%Y-%m-%dT%H:%M:%SZ}",
    }
    assert mine[0]["resource"]["labels"]["endpoint_id"] == served.rpartition("/")[2]
    (rows,) = [
        each for each in _series(ready, "prediction_count", datetime.now(UTC)) if each["metric"]["labels"]["deployed_model_id"] == "99"
    ]
    assert [point["value"]["int64Value"] for point in rows["points"]] == ["4", "8"]
    kinds = {each["metric"]["labels"]["latency_type"] for each in _series(ready, "prediction_latencies", datetime.now(UTC))}
    assert kinds == {"total", "model", "overhead"}


def test_what_is_not_there_is_said(ready: Ready) -> None:
    query = {"filter": f'metric.type="{PREFIX}response_count"', "interval.endTime": "2026-01-01T00:00:00Z"}
    aligned = {**query, "aggregation.perSeriesAligner": "ALIGN_RATE", "aggregation.alignmentPeriod": "60s"}
    assert refused(ready, "GET", f"{MONITORING}/timeSeries?{urlencode(aligned)}")[0] == "UNIMPLEMENTED"
    unfiltered = {**query, "filter": 'resource.type="x"'}
    assert refused(ready, "GET", f"{MONITORING}/timeSeries?{urlencode(unfiltered)}")[0] == "INVALID_ARGUMENT"


def test_a_distribution_holds_every_value() -> None:
    made = distribution([0.1, 0.5, 1.0, 1e9])
    assert (made["count"], sum(map(int, made["bucketCounts"]))) == ("4", 4)
    assert made["bucketCounts"][0] == "1"
    assert len(made["bucketCounts"]) == made["bucketOptions"]["exponentialBuckets"]["numFiniteBuckets"] + 2
