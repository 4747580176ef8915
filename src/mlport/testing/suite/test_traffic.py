"""Several deployments behind one address: who gets what share, and who may change it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import mlport
from mlport import Endpoint, ModelVersion
from mlport.capabilities import Capability as C
from mlport.errors import ConflictError, SpecError
from mlport.journal import token_for
from mlport.operations import finish
from mlport.specs import DeploymentSpec, ModelRef
from mlport.testing import needs
from mlport.testing.programs import ROWS, TRUTH
from mlport.testing.waiting import eventually

pytestmark = needs(C.ENDPOINT_SERVE, C.ENDPOINT_IDLE, C.MODEL_REGISTER, C.JOB_RUN)
SENT = 200


@pytest.fixture(scope="module")
def split_once_deployed(own_endpoint: Endpoint, second_version: ModelVersion) -> dict[str, int]:
    """The split just after the deployment `second` of version 2 was added to an endpoint of version 1."""
    own_endpoint.deploy(second_version, name="second")
    return own_endpoint.split


@pytest.fixture(scope="module")
def pair(own_endpoint: Endpoint, split_once_deployed: dict[str, int]) -> Endpoint:
    """An endpoint of two deployments: `first` of version 1, and `second` of version 2, which was never given traffic."""
    assert set(split_once_deployed) > {"second"}
    return own_endpoint


@pytest.fixture
def first(pair: Endpoint) -> Iterator[str]:
    """The name of the first deployment, which has all traffic before each test and after it."""
    name = next(name for name in pair.split if name != "second")
    pair.set_traffic({name: 100})
    yield name
    pair.set_traffic({name: 100})


def asked(endpoint: Endpoint, times: int) -> Counter[str | None]:
    """Who answered so many requests."""
    with ThreadPoolExecutor(4) as pool:
        return Counter(answer.deployment for answer in pool.map(lambda _: endpoint.predict(ROWS[:1]), range(times)))


def test_a_new_deployment_gets_nothing_until_it_is_told(
    pair: Endpoint, split_once_deployed: dict[str, int], first: str, version: ModelVersion, second_version: ModelVersion
) -> None:
    assert pair.split == split_once_deployed == {first: 100, "second": 0}
    assert {one.name: one.version for one in pair.deployments} == {first: version.version, "second": second_version.version}
    assert set(asked(pair, 20)) <= {first, None}


@needs(C.ENDPOINT_SPLIT)
def test_the_split_is_what_was_asked_for(pair: Endpoint, first: str) -> None:
    for split in ({first: 80, "second": 20}, {"second": 100}, {first: 1, "second": 99}, {first: 100}):
        assert pair.set_traffic(split) == {first: 0, "second": 0, **split}
        assert sum(pair.split.values()) == 100


@needs(C.ENDPOINT_SPLIT)
def test_requests_follow_the_split(pair: Endpoint, first: str) -> None:
    pair.set_traffic({first: 80, "second": 20})
    found = asked(pair, SENT)
    if None not in found:
        assert abs(found["second"] - 0.2 * SENT) <= 4 * math.sqrt(SENT * 0.2 * 0.8), found  # 1 in 16,000 by chance
    pair.set_traffic({"second": 100})
    assert set(asked(pair, 20)) <= {"second", None}


@needs(C.ENDPOINT_SPLIT)
def test_a_split_that_cannot_be_is_refused_and_changes_nothing(pair: Endpoint, first: str) -> None:
    for split in (
        {first: 90},
        {first: 60, "second": 60},
        {first: 150, "second": -50},
        {first: 100, "nobody": 0},
        {first: 99.5, "second": 0.5},
    ):
        with pytest.raises(SpecError):
            pair.set_traffic(split)  # type: ignore[arg-type]
    assert pair.split == {first: 100, "second": 0}


@needs(C.ENDPOINT_SPLIT)
def test_who_looked_before_another_changed_it_is_told_so(pair: Endpoint, first: str, again: mlport.Client) -> None:
    looked = pair.record.etag
    again.endpoints.get(pair.name).set_traffic({first: 70, "second": 30}, etag=looked)
    assert pair.record.etag != looked
    with pytest.raises(ConflictError):
        pair.set_traffic({first: 100}, etag=looked)
    assert pair.split == {first: 70, "second": 30}


@needs(C.ENDPOINT_TARGET)
def test_one_request_goes_to_one_deployment(pair: Endpoint, first: str, version: ModelVersion, second_version: ModelVersion) -> None:
    for name, made in ((first, version), ("second", second_version)):
        answer = pair.predict(ROWS, deployment=name)
        assert (list(answer), answer.deployment, answer.version) == (TRUTH, name, made.version)


def test_the_provider_itself_deploys_a_token_once(
    pair: Endpoint, first: str, client: mlport.Client, version: ModelVersion, unique: str
) -> None:
    """Below the journal: what the core relies on when it asks again after an answer was lost."""
    spec = DeploymentSpec(model=ModelRef(name=version.name, version=version.version), name="again")
    plan, token = client.endpoints.plan_deployment(pair.name, spec), token_for(client.config.target, "deployment", unique)
    endpoints = client.session.endpoints
    assert endpoints.find(token) is None
    for _ in range(2 if client.session.find_lag == 0 else 1):  # find_lag 0 says that sending again is safe
        finish(client, endpoints.deploy(plan, token=token))
    assert eventually(lambda: endpoints.find(token), lambda found: found is not None, client.session.find_lag + 1) is not None
    assert pair.split == {first: 100, "second": 0, "again": 0}
    pair.undeploy("again")


def test_undeploy_takes_only_what_gets_nothing(pair: Endpoint, first: str, version: ModelVersion) -> None:
    with pytest.raises(ConflictError):
        pair.undeploy(first)
    pair.deploy(version, name="third")
    with pytest.raises((ConflictError, SpecError)):
        pair.deploy(version, name="third")
    assert pair.split == {first: 100, "second": 0, "third": 0}
    for _ in range(2):
        pair.undeploy("third")
    assert pair.split == {first: 100, "second": 0}
    assert list(pair.predict(ROWS)) == TRUTH


@needs(C.ENDPOINT_KEY)
def test_a_rotated_key_opens_it_at_once(own_endpoint: Endpoint) -> None:
    before = dict(own_endpoint.headers)
    key = own_endpoint.rotate_key()
    assert key in str(own_endpoint.headers)
    assert dict(own_endpoint.headers) != before
    assert list(own_endpoint.predict(ROWS)) == TRUTH
