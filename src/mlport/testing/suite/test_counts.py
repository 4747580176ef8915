"""What an endpoint was asked is counted, exactly. Some places count late, so the figures are looked at when all other tests are done."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import mlport
from mlport import Endpoint, ModelVersion, Window
from mlport.capabilities import Capability as C
from mlport.errors import NotFoundError, PredictionError, UsageError
from mlport.testing import needs
from mlport.testing.programs import ROWS, TRUTH
from mlport.testing.waiting import eventually

pytestmark = needs(C.ENDPOINT_SERVE, C.ENDPOINT_OBSERVE, C.MODEL_REGISTER, C.JOB_RUN)
GOOD, BAD = 17, 3


@dataclass(frozen=True)
class Sent:
    """All that an endpoint was ever asked: when, what it answered, and the statuses of what it refused."""

    endpoint: Endpoint
    begun: datetime
    last: datetime
    answers: list[list[Any]]
    statuses: list[int | None]


@pytest.fixture(scope="session")
def sent(client: mlport.Client, version: ModelVersion, options: dict[str, Any]) -> Iterator[Sent]:
    endpoint = client.endpoints.create(f"suite-{secrets.token_hex(5)}", version, **options)
    begun = datetime.now(UTC)
    answers = [list(endpoint.predict(ROWS)) for _ in range(GOOD)]
    statuses = [_refused(endpoint) for _ in range(BAD)]
    yield Sent(endpoint, begun, datetime.now(UTC), answers, statuses)
    endpoint.delete()


def _refused(endpoint: Endpoint) -> int | None:
    with pytest.raises(PredictionError) as caught:
        endpoint.predict([{"no": 1.0}])
    return caught.value.status


def test_each_request_has_its_answer_or_its_refusal(sent: Sent) -> None:
    assert sent.answers == [TRUTH] * GOOD
    assert all(status is not None and 400 <= status < 500 for status in sent.statuses), sent.statuses


@pytest.mark.late
def test_exactly_what_was_sent_is_counted(client: mlport.Client, sent: Sent, seconds: float) -> None:
    endpoint = sent.endpoint
    window = Window(sent.begun - timedelta(seconds=60), sent.last + timedelta(seconds=60))
    seen = eventually(lambda: endpoint.observe(window), lambda found: found.complete_until > sent.last, seconds)
    assert len(seen.deployments) == 1
    found = seen.deployments[0]
    assert (found.requests, found.rejected, found.errors) == (GOOD + BAD, BAD, 0)
    assert (found.latency.form == "none") == (not client.can(C.ENDPOINT_LATENCY))
    if found.latency.form == "samples":
        assert len(found.latency.values) == found.requests
    if found.latency.form == "histogram":
        assert sum(found.latency.weights) == found.requests
    earlier = endpoint.observe(Window(sent.begun - timedelta(days=2), sent.begun - timedelta(days=1)))
    assert sum(one.requests for one in earlier.deployments) == 0
    endpoint.delete()
    with pytest.raises(NotFoundError):
        client.endpoints.get(endpoint.name)
    with pytest.raises(UsageError):
        endpoint.predict(ROWS)
    assert endpoint.name not in [record.name for record in client.endpoints.list()]
    endpoint.delete()
