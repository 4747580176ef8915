"""Two accounts open at once in one process: neither sees, finds or disturbs what is the other's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import mlport
from mlport import Endpoint, JobSpec, ModelVersion
from mlport.capabilities import Capability as C
from mlport.errors import NotFoundError
from mlport.testing import needs
from mlport.testing.programs import ROWS

pytestmark = needs(C.JOB_RUN)


def test_the_same_key_in_two_accounts_is_two_jobs(
    client: mlport.Client, other: mlport.Client, spec_of: Callable[..., JobSpec], unique: str, seconds: float
) -> None:
    assert client.config.target != other.config.target
    mine, theirs = (place.jobs.submit(spec_of(""), key=unique) for place in (client, other))
    for job in (mine, theirs):
        job.wait(seconds)
    assert [status.id for status in client.jobs.list(name=unique)] == [mine.id]
    assert [status.id for status in other.jobs.list(name=unique)] == [theirs.id]
    theirs.delete()
    assert mine.state is mlport.State.SUCCEEDED


def test_a_job_is_seen_by_its_own_account_only(
    client: mlport.Client, other: mlport.Client, spec_of: Callable[..., JobSpec], unique: str, seconds: float
) -> None:
    job = client.jobs.submit(spec_of(""), key=unique).wait(seconds)
    with pytest.raises(NotFoundError):
        other.jobs.get(job.id)
    assert other.jobs.find(unique) is None
    assert unique not in [status.name for status in other.jobs.list()]


@needs(C.MODEL_REGISTER)
def test_a_model_is_seen_by_its_own_account_only(other: mlport.Client, version: ModelVersion) -> None:
    with pytest.raises(NotFoundError):
        other.models.get(version.name)
    assert version.name not in [model.name for model in other.models.list()]


@needs(C.ENDPOINT_SERVE, C.MODEL_REGISTER)
def test_an_endpoint_is_seen_by_its_own_account_only(other: mlport.Client, endpoint: Endpoint) -> None:
    with pytest.raises(NotFoundError):
        other.endpoints.get(endpoint.name)
    with pytest.raises(NotFoundError):
        Endpoint(endpoint.name, other).predict(ROWS)
    assert endpoint.name not in [record.name for record in other.endpoints.list()]
    other.endpoints.delete(endpoint.name)
    assert endpoint.record.name == endpoint.name


def test_state_is_apart(client: mlport.Client, other: mlport.Client, unique: str) -> None:
    client.session.state.put(f"suite/{unique}", b"mine")
    assert other.session.state.get(f"suite/{unique}") is None
    client.session.state.delete(f"suite/{unique}")
