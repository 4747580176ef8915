"""An endpoint answers who may ask, in the order of the rows, and remembers what it was asked."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

import mlport
from mlport import Endpoint, ModelVersion, Window
from mlport.capabilities import Capability as C
from mlport.errors import ConflictError, NotFoundError, PredictionError
from mlport.paging import each
from mlport.spi import EndpointState, Query
from mlport.testing import needs
from mlport.testing.programs import ROWS, TRUTH
from mlport.testing.targets import Targets
from mlport.testing.waiting import eventually

pytestmark = needs(C.ENDPOINT_SERVE, C.MODEL_REGISTER, C.JOB_RUN)


def ask(endpoint: Endpoint, headers: Mapping[str, str]) -> tuple[int, Any]:
    """Post the rows over plain HTTP; the status and the body."""
    url = endpoint.url if urlsplit(endpoint.url).path.strip("/") else f"{endpoint.url.rstrip('/')}/invocations"
    body = json.dumps({"dataframe_records": ROWS}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json", **headers})  # noqa: S310 - the endpoint's own address
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")


def test_it_is_ready_and_named(endpoint: Endpoint, version: ModelVersion) -> None:
    record = endpoint.record
    assert (record.name, record.state, sum(record.split.values())) == (endpoint.name, EndpointState.READY, 100)
    assert record.created is not None
    assert record.created.utcoffset() == timedelta(0)
    assert [(one.model, one.version, one.percent) for one in record.deployments] == [(version.name, version.version, 100)]


def test_it_answers_in_the_order_of_the_rows(endpoint: Endpoint, version: ModelVersion) -> None:
    answer = endpoint.predict(ROWS)
    assert list(answer) == TRUTH
    assert list(endpoint.predict(ROWS[::-1])) == TRUTH[::-1]
    assert answer.request_id
    if answer.version is not None:
        assert answer.version == version.version


def test_answers_are_never_mixed_up(endpoint: Endpoint) -> None:
    def one(number: int) -> tuple[int, int, str]:
        sign = 1 if number % 3 else -1
        answer = endpoint.predict([{"x0": sign * (1.0 + number), "x1": 0.0}])
        return int(answer[0]), int(sign > 0), answer.request_id

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(64)))
    assert [said for said, _, _ in answers] == [truth for _, truth, _ in answers]
    assert len({request_id for _, _, request_id in answers}) == 64


def test_a_row_that_cannot_be_scored_is_the_callers_error(endpoint: Endpoint) -> None:
    with pytest.raises(PredictionError) as caught:
        endpoint.predict([{"no": 1.0, "such": 2.0}])
    assert 400 <= caught.value.status < 500
    assert list(endpoint.predict(ROWS)) == TRUTH


@needs(C.ENDPOINT_KEY)
def test_only_the_key_opens_it(endpoint: Endpoint) -> None:
    good = dict(endpoint.headers)
    assert ask(endpoint, good)[0] == 200
    secret = next(name for name in good if name.lower() in ("authorization", "x-api-key"))
    without = {name: value for name, value in good.items() if name != secret}
    wrong = [
        without,
        {**good, secret: ""},
        {**good, secret: f"{good[secret]}x"},
        {**good, secret: good[secret][:-1]},
        {**good, secret: "Bearer "},
    ]
    assert [ask(endpoint, headers)[0] for headers in wrong] == [401] * len(wrong)
    key = good[secret].rpartition(" ")[2]
    told = [ask(endpoint, without)[1], str(endpoint.record), json.dumps(list(map(str, endpoint.client.endpoints.list())))]
    assert not [text for text in told if key in text], "a key is shown to nobody who did not ask for it"


def test_asked_for_again_it_is_the_same_and_another_of_its_name_a_conflict(
    endpoint: Endpoint, again: mlport.Client, version: ModelVersion, second_version: ModelVersion, targets: Targets, options: dict[str, Any]
) -> None:
    for key in (f"{targets.run} endpoint", None):
        same = again.endpoints.create(endpoint.name, again.models.get(version.name, version.version), key=key, **options)
        assert same.record.created == endpoint.record.created
    with pytest.raises(ConflictError):
        again.endpoints.create(endpoint.name, again.models.get(version.name, second_version.version), **options)


def test_it_is_listed_and_the_absent_is_not_found(endpoint: Endpoint, client: mlport.Client) -> None:
    found = each(lambda page: client.session.endpoints.list(Query(page_size=1), page))
    assert endpoint.name in [record.name for record in found]
    with pytest.raises(NotFoundError):
        client.endpoints.get("suite-nobody-has-this")


@needs(C.ENDPOINT_TARGET)
def test_a_deployment_that_is_not_there_does_not_answer(endpoint: Endpoint) -> None:
    with pytest.raises((PredictionError, NotFoundError)):
        endpoint.predict(ROWS, deployment="nobody")


@needs(C.ENDPOINT_CAPTURE)
def test_what_was_asked_is_kept_with_its_answer_and_its_truth(endpoint: Endpoint, unique: str, seconds: float) -> None:
    begun = datetime.now(UTC) - timedelta(seconds=60)
    first = endpoint.predict(ROWS, request_id=unique)
    second = endpoint.predict(ROWS[:1])
    endpoint.label(second.request_id, [1])
    endpoint.label(first.request_id, [7, 7, 7, 7])
    endpoint.label(first.request_id, TRUTH)
    wanted = {first.request_id, second.request_id}

    def kept() -> list[dict[str, Any]]:
        window = Window(begun, datetime.now(UTC) + timedelta(seconds=60))
        rows = endpoint.captured(window, labelled=True).to_pylist()
        return sorted(
            (row for row in rows if row["provider_id"] in wanted), key=lambda row: (row["provider_id"] == second.request_id, row["row"])
        )

    rows = eventually(kept, lambda found: len(found) >= len(ROWS) + 1, seconds)
    assert [(row["provider_id"], row["row"]) for row in rows] == [
        *((first.request_id, n) for n in range(len(ROWS))),
        (second.request_id, 0),
    ]
    assert [row["features"] for row in rows] == [*ROWS, ROWS[0]]
    assert [row["prediction"] for row in rows] == [*TRUTH, TRUTH[0]]
    assert [row["label"] for row in rows] == [*TRUTH, 1]
    assert {row["endpoint"] for row in rows} == {endpoint.name}
    assert all(begun <= row["time"] <= datetime.now(UTC) + timedelta(seconds=60) for row in rows)
    assert {row["caller_id"] for row in rows[:-1]} <= {unique, None}


@needs(C.ENDPOINT_CAPTURE)
def test_a_window_before_anything_was_asked_is_empty(endpoint: Endpoint) -> None:
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    assert endpoint.captured(Window(long_ago, long_ago + timedelta(days=1)), labelled=True).num_rows == 0


@needs(C.ENDPOINT_BUILD)
def test_an_image_is_built_from_the_models_requirements(
    client: mlport.Client, version: ModelVersion, unique: str, options: dict[str, Any]
) -> None:
    endpoint = client.endpoints.create(unique, version, runtime="build", **options)
    try:
        assert [one.runtime for one in endpoint.deployments] == ["build"]
        assert list(endpoint.predict(ROWS)) == TRUTH
    finally:
        endpoint.delete()
    with pytest.raises(NotFoundError):
        client.endpoints.get(unique)
