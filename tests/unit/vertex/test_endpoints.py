"""Endpoints on the emulator: made in steps that any process can go on with, changed under an etag, asked, and removed whole."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aids.vertex.account import ROWS, TRUTH, Account
from aids.vertex.place import set_faults

import mlport
from mlport import Endpoint, ModelVersion
from mlport.emulation.server import Ready
from mlport.errors import BusyError, ConflictError, NotFoundError, PredictionError, ProviderError, SpecError, UnsupportedError
from mlport.operations import finish
from mlport.specs import Capture, DeploymentSpec, EndpointSpec, ModelRef
from mlport.spi import EndpointState, Operation, Query, State, Window
from mlport.waiting import wait_until
from mlport_vertex.names import deployed_id
from mlport_vertex.serving.deployed import DeployedModels

SERVER = "us-central1-docker.pkg.dev/emulated/mlport/server:latest"
NOWHERE = "europe-docker.pkg.dev/nobody/has/this:1"


@pytest.fixture(scope="module")
def client(account: Account) -> mlport.Client:
    return account()


@pytest.fixture(scope="module")
def version(client: mlport.Client, classifier: dict[str, Path]) -> ModelVersion:
    return client.models.register("delays", classifier["skops"], trust=True)


@pytest.fixture(scope="module")
def endpoint(client: mlport.Client, version: ModelVersion) -> Endpoint:
    return client.endpoints.create(spec("shared").model_copy(update={"capture": Capture()}))


@pytest.fixture
def faults(emulator: Ready) -> Iterator[None]:
    yield
    set_faults(emulator)


def spec(name: str, **deployment: Any) -> EndpointSpec:
    model = ModelRef(name="delays", version="1")
    return EndpointSpec(name=name, deployment=DeploymentSpec.model_validate({"model": model, "name": "blue", **deployment}), capture=None)


def models(client: mlport.Client) -> list[str]:
    """All models, the copies that deployments are made of among them."""
    return [each["displayName"] for each in client.session.api.call("models.list").get("models", ())]


def test_it_is_ready_and_says_where(endpoint: Endpoint, account: Account) -> None:
    record = account(transport="grpc").endpoints.get(endpoint.name).record
    assert record == endpoint.record
    assert (record.state, record.auth, record.capture_rate, record.split) == (EndpointState.READY, "identity", 1.0, {"blue": 100})
    assert record.url.startswith("https://shared.us-central1-")
    deployment = record.deployments[0]
    assert (deployment.model, deployment.version, deployment.replicas) == ("delays", "1", 1)
    assert deployment.native_name.isdigit()
    assert endpoint.headers["authorization"].startswith("Bearer ")
    assert endpoint.name in [each.name for each in endpoint.client.session.endpoints.list(Query(page_size=100)).items]


def test_it_answers_in_the_order_of_the_rows(endpoint: Endpoint) -> None:
    answer = endpoint.predict(ROWS, request_id="mine")
    assert (list(answer), answer.deployment, answer.version) == (TRUTH, "blue", "1")
    assert len({endpoint.predict(ROWS).request_id for _ in range(5)}) == 5
    with pytest.raises(PredictionError, match="unknown column") as refused:
        endpoint.predict([{"no": 1.0, "such": 2.0}])
    assert (refused.value.status, bool(refused.value.request_id)) == (400, True)
    with pytest.raises(UnsupportedError, match=r"endpoint\.target"):
        endpoint.client.session.endpoints.predict(endpoint.name, ROWS, deployment="blue")
    with pytest.raises(NotFoundError):
        endpoint.client.session.endpoints.predict("nobody", ROWS)


def test_what_was_asked_is_read_back_from_bigquery_with_its_truth(endpoint: Endpoint) -> None:
    first, second = endpoint.predict(ROWS, request_id="theirs"), endpoint.predict(ROWS[:1])
    endpoint.label(second.request_id, [1])
    wanted = {first.request_id, second.request_id}

    def rows() -> list[dict[str, Any]]:
        kept = endpoint.captured(timedelta(hours=1), labelled=True).to_pylist()
        return [row for row in kept if row["provider_id"] in wanted]

    found = wait_until(rows, lambda kept: len(kept) == 3, timeout=30)
    assert [(row["provider_id"], row["caller_id"], row["row"], row["prediction"], row["label"]) for row in found] == [
        (first.request_id, "theirs", 0, 0, None),
        (first.request_id, "theirs", 1, 1, None),
        (second.request_id, None, 0, 0, 1),
    ]
    assert [row["features"] for row in found] == [*ROWS, ROWS[0]]
    assert {(row["deployment"], row["model_version"], row["status"]) for row in found} == {("blue", "1", None)}
    long_ago = Window(datetime(2001, 1, 1, tzinfo=UTC), datetime(2001, 1, 2, tzinfo=UTC))
    assert endpoint.captured(long_ago).num_rows == 0


@pytest.mark.usefixtures("faults")
@pytest.mark.parametrize(("fault", "status"), [({"effect": "error", "status": 503}, 503), ({"effect": "reset", "when": "after"}, 504)])
def test_a_request_that_fails_is_not_sent_again(emulator: Ready, endpoint: Endpoint, fault: dict[str, Any], status: int) -> None:
    endpoint.predict(ROWS)
    set_faults(emulator, {"match": "POST *:rawPredict", "times": 1, **fault})
    with pytest.raises(PredictionError) as failed:
        endpoint.predict(ROWS)
    assert failed.value.status == status
    assert list(endpoint.predict(ROWS)) == TRUTH


def test_a_second_deployment_idles_until_it_is_given_a_share(endpoint: Endpoint, version: ModelVersion, account: Account) -> None:
    green = endpoint.deploy(version, name="green", key="green")
    assert (endpoint.split, green.percent) == ({"blue": 100, "green": 0}, 0)
    assert endpoint.deploy(version, name="green", key="green").native_name == green.native_name
    with pytest.raises(ConflictError, match="green"):
        endpoint.deploy(version, name="green")
    etag = endpoint.record.etag
    assert endpoint.set_traffic({"blue": 50, "green": 50}, etag=etag) == {"blue": 50, "green": 50}
    assert {endpoint.predict(ROWS[:1]).deployment for _ in range(30)} == {"blue", "green"}
    with pytest.raises(ConflictError, match="changed since"):
        account(transport="grpc").endpoints.get(endpoint.name).set_traffic({"blue": 100}, etag=etag)
    with pytest.raises(ConflictError, match="50 %"):
        endpoint.undeploy("green")
    endpoint.set_traffic({"blue": 100})
    for _ in range(2):
        endpoint.undeploy("green")
    assert endpoint.split == {"blue": 100}
    gone = DeployedModels(endpoint.client.session.state).named(endpoint.name, [green.native_name, "1"])
    assert (gone[green.native_name].name, gone[green.native_name].version, gone["1"].name) == ("green", "1", "1")


@pytest.mark.parametrize("split", [{"blue": 90}, {"blue": 150}, {"blue": 99.5}, {"blue": True}])
def test_a_split_that_cannot_be_is_refused(endpoint: Endpoint, split: dict[str, int]) -> None:
    with pytest.raises(SpecError):
        endpoint.client.session.endpoints.set_traffic(endpoint.name, split, token="0" * 32)
    with pytest.raises(ConflictError):
        endpoint.client.session.endpoints.set_traffic(endpoint.name, {"nobody": 100}, token="0" * 32)
    assert endpoint.split == {"blue": 100}


def test_a_deployed_version_is_not_deleted(endpoint: Endpoint, version: ModelVersion) -> None:
    with pytest.raises(ConflictError, match=endpoint.name):
        version.delete()


def test_another_of_its_name_is_a_conflict(client: mlport.Client, endpoint: Endpoint) -> None:
    plan = client.endpoints.plan(spec(endpoint.name))
    token = secrets.token_hex(16)
    with pytest.raises(ConflictError):
        client.session.endpoints.create(plan, token=token)
    assert client.session.endpoints.find(token) is None


@pytest.mark.usefixtures("faults")
def test_a_creation_goes_on_in_another_process_though_answers_are_lost(
    emulator: Ready, account: Account, client: mlport.Client, version: ModelVersion
) -> None:
    tensors = spec("resumed", runtime="image", image=SERVER, options={"vertex": {"predict_route": "/v2/models/model/infer"}})
    plan, token = client.endpoints.plan(tensors), secrets.token_hex(16)
    lost = [
        {"match": f"POST {path}", "effect": "reset", "when": "after", "times": 1}
        for path in ("*/endpoints", "*models:upload", "*:deployModel")
    ]
    set_faults(emulator, *lost)
    with pytest.raises(mlport.errors.AmbiguousError):
        client.session.endpoints.create(plan, token=token)
    other = account(transport="grpc")
    found = other.session.endpoints.find(token)
    assert found is not None
    seen = [other.session.operations.status(found.id).state]
    assert finish(other, found, on_look=lambda status: seen.append(status.state)).result == "resumed"
    assert set(seen) == {State.RUNNING, State.SUCCEEDED}
    record = other.endpoints.get("resumed").record
    assert [each.native_name for each in record.deployments] == [deployed_id(token, "blue")]
    assert client.session.endpoints.create(plan, token=token).id == found.id
    answer = other.endpoints.get("resumed").predict(ROWS)  # in the Open Inference Protocol, which its route is of
    assert (list(answer), answer.deployment) == (TRUTH, "blue")
    for _ in range(2):
        other.endpoints.delete("resumed")


def test_a_creation_that_fails_leaves_nothing(client: mlport.Client, version: ModelVersion) -> None:
    before = models(client)
    with pytest.raises(ProviderError, match="not found"):
        client.endpoints.create(spec("failed", runtime="image", image=NOWHERE))
    with pytest.raises(NotFoundError):
        client.endpoints.get("failed")
    assert models(client) == before


def test_an_endpoint_is_deleted_while_it_is_still_being_made(client: mlport.Client, version: ModelVersion) -> None:
    plan = client.endpoints.plan(spec("brief"))
    begun = client.session.endpoints.create(plan, token=secrets.token_hex(16))
    while "deployModel" not in client.session.operations.advance(begun.id).progress:
        pass
    client.session.operations.advance(begun.id)
    try:
        client.endpoints.delete("brief")
    except BusyError:
        finish(client, begun)
        client.endpoints.delete("brief")
    with pytest.raises(NotFoundError):
        client.endpoints.get("brief")


def test_a_prebuilt_image_gets_rows_by_position_and_ours_is_a_copy(account: Account, classifier: dict[str, Path]) -> None:
    client = account(server_image=None)
    version = client.models.register("pickled", classifier["cloudpickle"], trust=True)
    google = DeploymentSpec(model=ModelRef(name="pickled", version=version.version), name="google")
    endpoint = client.endpoints.create(EndpointSpec(name="canary", deployment=google, capture=None))
    assert list(endpoint.predict(ROWS)) == TRUTH
    with pytest.raises(PredictionError, match="x0, x1"):
        endpoint.predict([{"no": 1.0, "such": 2.0}])
    own = DeploymentSpec(model=ModelRef(name="pickled", version="1"), name="ours", runtime="image", image=SERVER)
    deployment = endpoint.deploy(own)
    assert (deployment.model, deployment.version, deployment.runtime) == ("pickled", "1", "image")
    copies = [name for name in models(client) if name.startswith("pickled-serving-")]
    assert len(copies) == 1
    assert copies[0] not in [model.name for model in client.models.list()]
    endpoint.set_traffic({"ours": 100})
    assert (list(endpoint.predict(ROWS)), endpoint.predict(ROWS).deployment) == (TRUTH, "ours")
    v2 = DeploymentSpec.model_validate(
        {**own.model_dump(), "name": "v2", "options": {"vertex": {"predict_route": "/v2/models/model/infer"}}}
    )
    with pytest.raises(SpecError, match="Open Inference Protocol"):
        endpoint.deploy(v2)
    endpoint.delete()
    assert not [name for name in models(client) if name.startswith("pickled-serving-")]


def test_an_operation_that_nobody_began_is_not_found(client: mlport.Client) -> None:
    for operation in ("endpoint/x/" + "0" * 32, "nothing", "a/b/c/d"):
        with pytest.raises(NotFoundError):
            client.session.operations.status(operation)
    assert client.session.operations.advance(Operation("done/x/1", "set_traffic", "x").id).state is State.SUCCEEDED
