"""Logged requests in mlport's schema: those of rawPredict with their ids, others' of :predict, and what cannot be read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from mlport_vertex.serving.captured import Logged, batches, table_of
from mlport_vertex.serving.deployed import Deployed
from mlport_vertex.serving.predicting import Line, body_of

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
COLUMNS = (("x0", "double"), ("x1", "double"))
BLUE, TENSORS = Deployed("blue", "delays", "1", columns=COLUMNS), Deployed("v2", "delays", "2", "image", "/v2/models/m/infer", COLUMNS)
ROWS = [{"x1": 0.0, "x0": -2.0}, {"x0": 2.0, "x1": 1.0}]


def logged(request: list[str], response: list[str], deployed: str = "1", seconds: int = 0) -> Logged:
    return Logged(deployed, AT + timedelta(seconds=seconds), "77", request, response)


def read(*rows: Logged, known: dict[str, Deployed] | None = None) -> list[dict[str, Any]]:
    known = {"1": BLUE, "2": TENSORS} if known is None else known
    found: list[dict[str, Any]] = pa.Table.from_batches(list(batches(rows, known, "live", 0.5))).to_pylist()
    return found


def sent(deployed: Deployed, request_id: str, caller_id: str | None = None) -> str:
    return body_of(Line("", {"1": deployed}), ROWS, request_id, caller_id).decode()


def test_what_we_sent_comes_back_by_row_with_its_ids() -> None:
    for deployed, answer in ((BLUE, {"predictions": [0, 1]}), (TENSORS, {"outputs": [{"name": "p", "shape": [2], "data": [0, 1]}]})):
        number = "1" if deployed is BLUE else "2"
        rows = read(logged([sent(deployed, "ours", "theirs")], [json.dumps(answer)], number))
        assert [(row["provider_id"], row["caller_id"], row["row"], row["prediction"]) for row in rows] == [
            ("ours", "theirs", 0, 0),
            ("ours", "theirs", 1, 1),
        ]
        assert [row["features"] for row in rows] == ROWS
        assert {(row["endpoint"], row["deployment"], row["model_version"]) for row in rows} == {("live", deployed.name, deployed.version)}
        assert {(row["status"], row["latency"], row["sampling_rate"], row["raw"], row["time"]) for row in rows} == {
            (None, None, 0.5, None, AT)
        }


def test_what_others_asked_is_known_by_bigquerys_number() -> None:
    rows = read(logged(["[-2.0, 0.0]", "[2.0, 1.0]"], ["0", "1"]), logged(['{"x0": -2.0, "x1": 0.0}'], ["0"], seconds=1))
    assert [(row["provider_id"], row["row"], row["prediction"]) for row in rows] == [("77", 0, 0), ("77", 1, 1), ("77", 0, 0)]
    assert [row["features"] for row in rows] == [*ROWS, ROWS[0]]


def test_what_cannot_be_read_is_kept_as_it_is() -> None:
    broken = '{"instances": [[1.0, "'
    rows = read(logged([broken], ["0"]), logged([sent(BLUE, "good")], ['{"predictions": [0, 1]}'], seconds=1))
    assert (rows[0]["features"], rows[0]["prediction"]) == (None, None)
    assert broken.encode() in rows[0]["raw"]
    assert [row["provider_id"] for row in rows[1:]] == ["good", "good"]


def test_deployments_are_together_in_order_of_time() -> None:
    late, early = logged([sent(BLUE, "late")], ['{"predictions": [0, 1]}'], seconds=5), logged(["[1, 2]"], ['["a"]'], "2")
    assert [row["provider_id"] for row in read(late, early)] == ["77", "late", "late"]
    assert list(batches([], {}, "live", 1.0)) == []


def test_a_table_is_where_the_endpoint_says() -> None:
    config = {"predictRequestResponseLoggingConfig": {"bigqueryDestination": {"outputUri": "bq://acme-ml.logs.request_response_logging"}}}
    assert table_of(config) == ("acme-ml", "logs", "request_response_logging")
    assert table_of({}) is None
