"""Endpoints as a client sees them, over real model servers."""

from __future__ import annotations

import concurrent.futures
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import urllib3
from aids.local.engine import words_of

from mlport.errors import BusyError, ConflictError, InputChangedError, NotFoundError, PredictionError, SpecError
from mlport.specs import DeploymentSpec
from mlport.spi import EndpointState, Facts, Query, Window
from mlport_local.engine import process
from mlport_local.serving import calls, keys
from mlport_local.serving.endpoint_request import endpoint_request

ROW = {"a": 1.0, "b": 0.0}


def test_create_is_idempotent_by_token_and_refuses_a_second_of_that_name(live: Any) -> None:
    again = live.endpoints.create(live.endpoint("live"), token="live")
    assert again == live.endpoints.find("live")
    assert live.operations.status(again.id).result == "live"
    with pytest.raises(ConflictError, match="live"):
        live.endpoints.create(live.endpoint("live"), token=live.token())


def test_the_record_says_what_there_is(live: Any) -> None:
    live.split("live", blue=100, green=0)
    record = live.endpoints.get("live")
    assert (record.state, record.split, record.auth, record.capture_rate) == (EndpointState.READY, {"blue": 100, "green": 0}, "key", 1.0)
    assert [(each.model, each.version, each.state) for each in record.deployments] == [("lr", "1", "READY"), ("lr", "2", "READY")]
    assert live.endpoints.list(Query()).items == [record]
    assert live.endpoints.list(Query(name="other")).items == []
    with pytest.raises(NotFoundError, match="nothing-here"):
        live.endpoints.get("nothing-here")


def test_predict_answers_row_by_row_and_says_who(live: Any) -> None:
    live.split("live", blue=100, green=0)
    answer = live.endpoints.predict("live", [ROW, {"a": -1.0, "b": 0.0}], request_id="mine")
    assert list(answer.predictions) == [True, False]
    assert (answer.deployment, answer.version) == ("blue", "1")
    assert live.endpoints.predict("live", [ROW], deployment="green").version == "2"
    assert len({live.endpoints.predict("live", [ROW]).request_id for _ in range(20)} | {"mine"}) == 21


def test_answers_are_never_mixed_up(live: Any) -> None:
    live.split("live", blue=50, green=50)

    def ask(number: int) -> bool:
        sign = 1.0 if number % 3 else -1.0
        return bool(live.endpoints.predict("live", [{"a": sign, "b": 0.0}]).predictions == [sign > 0])

    with concurrent.futures.ThreadPoolExecutor(8) as callers:
        assert all(callers.map(ask, range(300)))


def test_numpy_and_times_in_rows_are_taken() -> None:
    row = {
        "i": np.int64(3),
        "f": np.float32(0.5),
        "b": np.bool_(True),
        "d": datetime(2026, 1, 2, tzinfo=UTC),
        "t": np.datetime64("2026-01-02"),
        "n": None,
    }
    (data,) = json.loads(calls.body_of([row]))["dataframe_split"]["data"]
    assert data == [3, 0.5, True, "2026-01-02T00:00:00Z", "2026-01-02", None]


@pytest.mark.parametrize(
    ("rows", "says"), [([], "at least one"), ([{"a": 1, "b": 2}, {"a": 1}], "row 1 .*lacks b"), ([{"a": object()}], "no JSON form")]
)
def test_rows_that_cannot_be_sent_are_refused_before_anything_is(rows: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        calls.body_of(rows)


def test_what_the_model_refuses_comes_back_with_status_and_request_id(live: Any) -> None:
    with pytest.raises(PredictionError, match="b") as refused:
        live.endpoints.predict("live", [{"a": 1.0}])
    assert 400 <= refused.value.status < 500
    assert refused.value.request_id
    with pytest.raises(PredictionError, match="nobody") as unknown:
        live.endpoints.predict("live", [ROW], deployment="nobody")
    assert unknown.value.status == 404


@pytest.mark.parametrize(
    "split", [{"blue": 90, "green": 0}, {"blue": 110, "green": -10}, {"blue": 99.5, "green": 0.5}, {"blue": True, "green": 99}]
)
def test_a_split_that_is_no_split_is_refused(live: Any, split: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="split"):
        live.endpoints.set_traffic("live", split, token=live.token())


def test_a_split_must_name_who_is_there_and_come_from_a_fresh_look(live: Any) -> None:
    with pytest.raises(ConflictError, match="green"):
        live.endpoints.set_traffic("live", {"blue": 100}, token=live.token())
    etag = live.endpoints.get("live").etag
    token = live.token()
    live.done(live.endpoints.set_traffic("live", {"blue": 60, "green": 40}, token=token, etag=etag))
    assert live.endpoints.get("live").split == {"blue": 60, "green": 40}
    with pytest.raises(ConflictError, match="etag"):
        live.endpoints.set_traffic("live", {"blue": 50, "green": 50}, token=live.token(), etag=etag)
    assert live.endpoints.set_traffic("live", {"blue": 1, "green": 99}, token=token).id == live.endpoints.find(token).id


def test_a_shift_holds_from_the_moment_that_it_is_done(live: Any) -> None:
    for blue in (0, 100):
        live.split("live", blue=blue, green=100 - blue)
        assert {live.endpoints.predict("live", [ROW]).deployment for _ in range(20)} == {"blue" if blue else "green"}


def test_one_mutation_at_a_time_and_no_undeploy_under_traffic(live: Any) -> None:
    live.split("live", blue=100, green=0)
    with pytest.raises(ConflictError, match="100 %"):
        live.endpoints.undeploy("live", "blue", token=live.token())
    loading = live.endpoints.deploy(live.deployment("live", "third"), token=live.token())
    with pytest.raises(BusyError, match="deploy"):
        live.endpoints.set_traffic("live", {"blue": 100, "green": 0, "third": 0}, token=live.token())
    live.done(loading)
    assert live.endpoints.get("live").split["third"] == 0
    with pytest.raises(ConflictError, match="third"):
        live.endpoints.deploy(live.deployment("live", "third"), token=live.token())
    live.done(live.endpoints.undeploy("live", "third", token=live.token()))
    live.done(live.endpoints.undeploy("live", "third", token=live.token()))
    assert "third" not in live.endpoints.get("live").split
    assert len(list(live.config.layout.endpoint("live").joinpath("models").iterdir())) == 2


def test_a_model_that_cannot_load_fails_with_its_words_and_the_rest_goes_on(
    live: Any, tmp_path: Path, save_model: Callable[..., None]
) -> None:
    save_model(tmp_path / "broken", broken=True)
    broken = {"uri": str(tmp_path / "broken"), "digest": None}
    status = live.ended(live.endpoints.deploy(live.deployment("live", "bad", **broken), token=live.token()))
    assert status.state == "FAILED"
    assert "mlport.serving" in status.reason
    live.settled("live")
    assert "bad" not in live.endpoints.get("live").split
    assert live.endpoints.predict("live", [ROW]).predictions == [True]
    token = live.token()
    status = live.ended(live.endpoints.create(live.endpoint("stillborn", model=broken), token=token))
    assert status.state == "FAILED"
    assert live.endpoints.find(token) is not None
    with pytest.raises(NotFoundError):
        live.endpoints.get("stillborn")


def test_a_model_that_is_not_what_was_registered_is_not_deployed(live: Any) -> None:
    with pytest.raises(InputChangedError, match="lr:2"):
        live.endpoints.deploy(live.deployment("live", "other", digest="0" * 64), token=live.token())
    assert "other" not in live.endpoints.get("live").split


def test_what_passed_is_captured_and_observed(live: Any, until: Callable[..., Any]) -> None:
    began = datetime.now(UTC)
    ids = {live.endpoints.predict("live", [ROW, ROW]).request_id for _ in range(10)}
    asked = datetime.now(UTC)
    window = Window(began, asked + timedelta(seconds=5))
    rows = [row for batch in live.endpoints.captured("live", window) for row in batch.to_pylist()]
    assert Counter(row["provider_id"] for row in rows) == dict.fromkeys(ids, 2)
    until(lambda: live.endpoints.observe("live", window).complete_until > asked + timedelta(seconds=1))
    assert sum(each.requests for each in live.endpoints.observe("live", window).deployments) == 10


def test_the_key_opens_is_kept_by_its_owner_and_can_be_changed(live: Any) -> None:
    record = live.endpoints.get("live")
    folder = live.config.layout.endpoint("live")
    old = live.endpoints.headers("live")
    assert folder.joinpath(keys.FILE).stat().st_mode & 0o777 == 0o600
    brief = live.endpoints.rotate_key("live", token=live.token(), grace=timedelta(hours=1))
    live.settled("live")
    with urllib3.PoolManager() as pool:

        def ask(headers: dict[str, str]) -> int:
            return int(pool.request("POST", f"{record.url}/invocations", json={"dataframe_records": [ROW]}, headers=headers).status)

        assert [ask(old), ask(dict(live.endpoints.headers("live"))), ask({"x-api-key": brief}), ask({})] == [200, 200, 200, 401]
        final = live.endpoints.rotate_key("live", token=live.token(), grace=timedelta(0))
        live.settled("live")
        assert [ask(old), ask({"x-api-key": brief}), ask({"x-api-key": final})] == [401, 401, 200]
    assert live.endpoints.predict("live", [ROW]).predictions == [True]
    secrets = [key.encode() for key in (old["authorization"].removeprefix("Bearer "), brief, final)]
    files = [path for path in live.config.root.rglob("*") if path.is_file() and path.name != keys.FILE]
    shown = b"".join([*(path.read_bytes() for path in files), *(word for seen in process.everyone() for word in words_of(seen.pid))])
    assert not [secret for secret in secrets if secret in shown]


def test_an_open_endpoint_asks_for_no_key_and_leaves_only_what_was_captured(place: Any) -> None:
    place.done(place.endpoints.create(place.endpoint("open", auth="none"), token=place.token()))
    assert place.endpoints.headers("open") == {}
    assert place.endpoints.predict("open", [ROW]).predictions == [True]
    with pytest.raises(ConflictError, match="no key"):
        place.endpoints.rotate_key("open", token=place.token())
    place.done(place.endpoints.delete("open", token=place.token()))
    place.done(place.endpoints.delete("open", token=place.token()))
    assert {path.name for path in place.config.layout.endpoint("open").iterdir()} == {"capture", "keeper.lock"}
    window = Window(datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC))
    assert sum(batch.num_rows for batch in place.endpoints.captured("open", window)) == 1
    place.endpoints.purge("open")
    assert not place.config.layout.endpoint("open").exists()


def test_a_deployment_needs_its_endpoints_name(place: Any) -> None:
    spec = DeploymentSpec.model_validate({"model": {"name": "lr", "version": "1"}})
    with pytest.raises(SpecError, match="endpoint"):
        endpoint_request(spec, Facts(model={"name": "lr", "version": "1", "uri": "x"}), place.config)
