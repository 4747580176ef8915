"""Endpoints on the emulator: made with a deployment, split, read back, changed once for each token, and gone when told to."""

from __future__ import annotations

import math
import secrets
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aids.databricks.account import ROWS, TRUTH, Account
from aids.databricks.place import call, set_faults

import mlport
from mlport import Endpoint, ModelVersion
from mlport.emulation.server import Ready
from mlport.errors import (
    AmbiguousError,
    BusyError,
    ConflictError,
    NotFoundError,
    PredictionError,
    ProviderError,
    SpecError,
    UnsupportedError,
)
from mlport.operations import finish
from mlport.paging import each
from mlport.specs import DeploymentSpec, EndpointSpec, ModelRef, Replicas
from mlport.spi import Operation, Plan, Query, State, Window
from mlport.state.lease import acquire
from mlport.testing.waiting import eventually
from mlport_databricks.serving.changing import LEASE_SECONDS, SUPERSEDED

SECONDS = 60.0
CONFIG = "PUT /api/2.0/serving-endpoints/*/config"


@pytest.fixture(scope="module")
def versions(client: mlport.Client, classifier: Path) -> list[ModelVersion]:
    return [client.models.register("delays", classifier, trust=True) for _ in range(2)]


@pytest.fixture(scope="module")
def endpoint(client: mlport.Client, versions: list[ModelVersion]) -> Endpoint:
    """An endpoint of blue = version 1 and green = version 2, which are split anew by each test."""
    made = client.endpoints.create(spec("delays", versions[0]))
    made.deploy(versions[1], name="green")
    return made


@pytest.fixture(scope="module")
def uncaptured(client: mlport.Client, versions: list[ModelVersion]) -> Endpoint:
    """An endpoint of version 2 that keeps nothing of what it is asked."""
    return client.endpoints.create(spec("uncaptured", versions[1], capture=None))


@pytest.fixture
def faults(emulator: Ready) -> Iterator[None]:
    """No fault outlives a test."""
    yield
    set_faults(emulator)


def spec(name: str, version: ModelVersion, **fields: Any) -> EndpointSpec:
    asked = DeploymentSpec(model=ModelRef(name=version.name, version=version.version), name="blue", replicas=Replicas(min=1, max=3))
    return EndpointSpec(name=name, deployment=asked, **fields)


def path(name: str) -> str:
    return f"/api/2.0/serving-endpoints/{name}"


# ---------------------------------------------------------------- what passes


def test_it_answers_and_says_who(endpoint: Endpoint, versions: list[ModelVersion]) -> None:
    endpoint.set_traffic({"blue": 100})
    answer = endpoint.predict(ROWS)
    assert (list(answer), answer.deployment, answer.version) == (TRUTH, "blue", versions[0].version)
    record = endpoint.record
    assert (record.split, record.auth, record.capture_rate) == ({"blue": 100, "green": 0}, "identity", 1.0)
    assert record.labels["mlport_owner"]
    assert endpoint.headers["authorization"].startswith("Bearer ")


def test_a_split_is_kept_and_captured(endpoint: Endpoint, versions: list[ModelVersion]) -> None:
    begun = datetime.now(UTC)
    assert endpoint.set_traffic({"blue": 70, "green": 30}) == {"blue": 70, "green": 30}
    count = 60
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda number: endpoint.predict(ROWS, request_id=f"order {number}"), range(count)))
    seen = Counter(answer.deployment for answer in answers)
    assert abs(seen["green"] - 0.3 * count) <= 4 * math.sqrt(count * 0.3 * 0.7)
    window = Window(begun, datetime.now(UTC) + timedelta(seconds=60))
    kept = eventually(lambda: endpoint.captured(window), lambda table: table.num_rows >= 2 * count, SECONDS).to_pylist()
    assert len(kept) == 2 * count
    by_id = {answer.request_id: answer for answer in answers}
    assert {row["provider_id"] for row in kept} == set(by_id)
    assert {row["caller_id"] for row in kept} == {f"order {number}" for number in range(count)}
    for row in kept:
        assert (row["deployment"], row["model_version"]) == (by_id[row["provider_id"]].deployment, by_id[row["provider_id"]].version)
        assert (row["features"], row["prediction"]) == ({"x0": ROWS[row["row"]]["x0"], "x1": 0.0}, TRUTH[row["row"]])
        assert (row["endpoint"], row["status"], row["sampling_rate"]) == ("delays", 200, 1.0)
    observed = eventually(lambda: endpoint.observe(window), lambda found: sum(one.requests for one in found.deployments) >= count, SECONDS)
    assert {one.deployment: one.requests for one in observed.deployments} == dict(seen)
    assert all(sum(one.latency.weights) == one.requests for one in observed.deployments)


def test_the_last_minute_is_told_without_a_table(account: Account, uncaptured: Endpoint) -> None:
    for _ in range(3):
        uncaptured.predict(ROWS)
    with pytest.raises(PredictionError) as caught:
        uncaptured.predict([{"no": 1.0}])
    assert caught.value.status == 400
    here = Endpoint("uncaptured", account(warehouse_id=None))
    seen = here.observe()
    assert [(one.deployment, one.requests, one.rejected, one.errors) for one in seen.deployments] == [("blue", 4, 1, 0)]
    assert seen.complete_from is not None
    assert seen.complete_until - seen.complete_from <= timedelta(minutes=1)
    past = here.observe(Window(seen.complete_from - timedelta(days=2), seen.complete_from - timedelta(days=1)))
    assert (past.deployments, past.complete_until) == ((), past.window.start)
    assert uncaptured.captured().num_rows == 0


def test_what_cannot_be_sent_is_refused_here(endpoint: Endpoint) -> None:
    with pytest.raises(SpecError, match="16000000"):
        endpoint.predict([{"x0": "x" * 1000, "x1": 0.0}] * 17_000)
    with pytest.raises(UnsupportedError):
        endpoint.client.session.endpoints.predict("delays", ROWS, deployment="blue")
    with pytest.raises(NotFoundError):
        endpoint.client.session.endpoints.predict("nobody", ROWS)


# ---------------------------------------------------------------- changing


def test_a_change_that_does_not_fit_changes_nothing(endpoint: Endpoint, versions: list[ModelVersion]) -> None:
    endpoint.set_traffic({"blue": 100})
    before = endpoint.record
    endpoints = endpoint.client.session.endpoints
    with pytest.raises(ConflictError, match="100 %"):
        endpoint.undeploy("blue")
    with pytest.raises(ConflictError, match="green"):
        endpoint.deploy(versions[1], name="green")
    with pytest.raises(ConflictError):
        endpoints.set_traffic("delays", {"blue": 100}, token=secrets.token_hex(16))
    with pytest.raises(ConflictError, match="changed"):
        endpoint.set_traffic({"blue": 50, "green": 50}, etag="old")
    with pytest.raises(ConflictError, match="already"):
        endpoints.create(endpoint.client.endpoints.plan(spec("delays", versions[0])), token=secrets.token_hex(16))
    endpoint.undeploy("nobody")
    assert (endpoint.split, endpoint.record.etag) == (before.split, before.etag)


@pytest.mark.usefixtures("faults")
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_answer_of_a_change_is_made_good(emulator: Ready, endpoint: Endpoint, when: str) -> None:
    endpoint.set_traffic({"blue": 100})
    token, endpoints, version = secrets.token_hex(16), endpoint.client.session.endpoints, config_version(emulator)
    set_faults(emulator, {"match": CONFIG, "effect": "reset", "when": when, "times": 1})
    with pytest.raises(AmbiguousError):
        endpoints.set_traffic("delays", {"blue": 40, "green": 60}, token=token)
    found = endpoints.find(token)
    assert found is not None
    assert finish(endpoint.client, found).state is State.SUCCEEDED
    assert endpoint.split == {"blue": 40, "green": 60}
    assert endpoints.set_traffic("delays", {"blue": 40, "green": 60}, token=token) == found
    assert config_version(emulator) == version + 1, "it was written once"


def config_version(emulator: Ready) -> int:
    return int(call(emulator, "GET", path("delays"))[1]["config"]["config_version"])


@pytest.mark.usefixtures("faults")
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_answer_of_a_creation_is_made_good(emulator: Ready, client: mlport.Client, versions: list[ModelVersion], when: str) -> None:
    name, token = f"unit-{secrets.token_hex(4)}", secrets.token_hex(16)
    plan, endpoints = client.endpoints.plan(spec(name, versions[0])), client.session.endpoints
    set_faults(emulator, {"match": "POST /api/2.0/serving-endpoints", "effect": "reset", "when": when, "times": 1})
    with pytest.raises(AmbiguousError):
        endpoints.create(plan, token=token)
    found = endpoints.find(token)
    assert found is not None
    eventually(lambda: client.session.operations.advance(found.id).native_state, lambda native: "IN_PROGRESS" in native, SECONDS)
    assert endpoints.get(name).split == {"blue": 100}
    client.endpoints.delete(name)
    ended = client.session.operations.advance(found.id)
    assert (ended.state, ended.reason) == (State.FAILED, "it was deleted while it was being made")


def test_what_somebody_else_set_meanwhile_is_superseded(emulator: Ready, endpoint: Endpoint) -> None:
    endpoint.set_traffic({"blue": 100})
    token, session = secrets.token_hex(16), endpoint.client.session
    operation = session.endpoints.set_traffic("delays", {"blue": 10, "green": 90}, token=token)
    eventually(lambda: endpoint.record.split, lambda split: split["green"] == 90, SECONDS)
    eventually(lambda: call(emulator, "GET", path("delays"))[1]["state"]["config_update"], lambda update: update == "NOT_UPDATING", SECONDS)
    entities = [
        {key: value for key, value in entity.items() if key not in ("state", "creator", "creation_timestamp")}
        for entity in call(emulator, "GET", path("delays"))[1]["config"]["served_entities"]
    ]
    routes = [{"served_model_name": entity["name"], "traffic_percentage": 50} for entity in entities]
    status, said = call(emulator, "PUT", f"{path('delays')}/config", {"served_entities": entities, "traffic_config": {"routes": routes}})
    assert status == 200, said
    ended = eventually(lambda: session.operations.advance(operation.id), lambda found: found.state.terminal, SECONDS)
    assert (ended.state, ended.reason) == (State.FAILED, SUPERSEDED)
    endpoint.set_traffic({"blue": 10, "green": 90})
    assert session.operations.status(operation.id).state is State.FAILED, "how it ended does not change"


def test_writers_at_the_same_time_lose_nothing(endpoint: Endpoint, client: mlport.Client) -> None:
    """While one's update is under way, others are told so, and nothing of theirs is noted; as soon as it is over, one of them goes on."""
    endpoint.set_traffic({"blue": 100})
    names, endpoints = ["d0", "d1", "d2"], client.session.endpoints
    plans = [
        client.endpoints.plan_deployment("delays", DeploymentSpec(model=ModelRef(name="delays", version="1"), name=name)) for name in names
    ]
    first, other = endpoints.deploy(plans[0], token=secrets.token_hex(16)), secrets.token_hex(16)
    with pytest.raises(BusyError):
        endpoints.undeploy("delays", "green", token=other)
    assert endpoints.find(other) is None

    def attempt(plan: Plan, token: str) -> Operation | None:
        try:
            return endpoints.deploy(plan, token=token)
        except BusyError:
            return None

    def deploy(plan: Plan) -> None:
        token = secrets.token_hex(16)
        operation = eventually(lambda: attempt(plan, token), lambda found: found is not None, SECONDS)
        assert operation is not None
        finish(client, operation)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(deploy, plans[1:]))
    assert finish(client, first).state is State.SUCCEEDED
    assert endpoint.split == {"blue": 100, "green": 0, "d0": 0, "d1": 0, "d2": 0}
    for name in names:
        endpoint.undeploy(name)
    assert endpoint.split == {"blue": 100, "green": 0}


KILLED = """
import os, sys
import mlport
from mlport_databricks import PROVIDER
from mlport_databricks.config import DatabricksConfig

target, token, sent = sys.argv[1:]
client = mlport.Client(PROVIDER, DatabricksConfig.from_url(target))
connection = client.session.connection
kept = connection.call

def and_die(verb, path, **options):
    if verb == "PUT" and path.endswith("/config"):
        if sent == "sent":
            kept(verb, path, **options)
        os.kill(os.getpid(), 9)
    return kept(verb, path, **options)

connection.call = and_die
client.session.endpoints.set_traffic("delays", {"blue": 20, "green": 80}, token=token)
"""


@pytest.mark.parametrize("sent", ["sent", "not sent"])
def test_a_killed_client_leaves_a_change_that_another_makes(emulator: Ready, endpoint: Endpoint, client: mlport.Client, sent: str) -> None:
    endpoint.set_traffic({"blue": 100})
    token = secrets.token_hex(16)
    died = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), emulator.targets["databricks"], token, sent],
        capture_output=True,
        text=True,
        check=False,
    )
    assert died.returncode == -9, died.stderr
    found = client.session.endpoints.find(token)
    assert found is not None
    left = acquire(client.session.state, "databricks/endpoints/delays", "a later process", 1.0, clock=lambda: time.time() + LEASE_SECONDS)
    assert left is not None, "the lease of the dead ends"
    left.release()
    assert finish(client, found).state is State.SUCCEEDED
    assert endpoint.split == {"blue": 20, "green": 80}


# ---------------------------------------------------------------- the end


def test_a_creation_that_fails_leaves_no_endpoint(emulator: Ready, client: mlport.Client, classifier: Path, tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(classifier, broken)
    for file in broken.glob("code/*.py"):
        file.write_text("no model")
    version = client.models.register("broken", broken, trust=True)
    with pytest.raises(ProviderError, match="blue"):
        client.endpoints.create(spec("broken", version))
    with pytest.raises(NotFoundError):
        client.endpoints.get("broken")
    version.delete()


def test_endpoints_are_listed_in_pages_and_deleted(
    client: mlport.Client, endpoint: Endpoint, uncaptured: Endpoint, versions: list[ModelVersion]
) -> None:
    with pytest.raises(ConflictError, match="uncaptured"):
        versions[1].delete()
    for size in (1, 100):
        found = [record.name for record in each(lambda page, size=size: client.session.endpoints.list(Query(page_size=size), page))]  # type: ignore[misc]
        assert {"uncaptured", "delays"} <= set(found)
        assert len(set(found)) == len(found)
    assert [record.name for record in client.session.endpoints.list(Query(name="delays")).items] == ["delays"]
    for _ in range(2):
        uncaptured.delete()
    assert "uncaptured" not in [record.name for record in client.endpoints.list()]
    with pytest.raises(NotFoundError):
        uncaptured.predict(ROWS)
