"""The registry on the emulator: versions are made once, keep files and record, and go when they are told to."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from aids.vertex.account import Account
from aids.vertex.place import set_faults

import mlport
from mlport.bundle import tree_digest
from mlport.emulation.server import Ready
from mlport.errors import AmbiguousError, BusyError, InputChangedError, NotFoundError, SpecError, UnsupportedError
from mlport.operations import finish
from mlport.paging import each
from mlport.specs import ModelSpec
from mlport.spi import Operation, Query, State
from mlport_vertex.models import LONGEST_RECORD
from mlport_vertex.names import settled
from mlport_vertex.sagas import LOOKED_FOR, Note, Sagas, Step


@pytest.fixture(scope="module")
def client(account: Account) -> mlport.Client:
    return account()


@pytest.fixture
def name() -> str:
    return f"unit-{secrets.token_hex(4)}"


@pytest.fixture
def faults(emulator: Ready) -> Iterator[None]:
    """No fault outlives a test."""
    yield
    set_faults(emulator)


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_a_version_is_what_was_registered(account: Account, folder: Path, tmp_path: Path, name: str, transport: str) -> None:
    client = account(transport=transport)
    first = client.models.register(name, folder, trust=True, tags={"stage": "test", "Who": "é"}, description="the first")
    second = client.models.register(name, folder, trust=True, alias="champion")
    assert [version.version for version in client.models.versions(name)] == ["2", "1"]
    record = client.models.get(name, "1").record
    assert (record.digest, record.tags, record.description) == (tree_digest(folder), {"stage": "test", "Who": "é"}, "the first")
    assert (record.aliases, client.models.get(name, "champion").version) == ((), second.version)
    assert record.created is not None
    assert tree_digest(first.download(tmp_path / "copy")) == tree_digest(folder)
    first.tag(stage="ready", Who=None)
    assert dict(client.models.get(name, "1").record.tags) == {"stage": "ready"}
    listed = next(model for model in client.models.list() if model.name == name)
    assert (listed.latest_version, listed.aliases) == ("2", {"champion": "2"})


def test_pages_of_any_size_hold_the_same_versions(client: mlport.Client, folder: Path, name: str) -> None:
    for _ in range(3):
        client.models.register(name, folder, trust=True)
    for size in (1, 2, 100):
        found = each(lambda page, size=size: client.session.models.versions(name, Query(page_size=size), page))  # type: ignore[misc]
        assert [record.version for record in found] == ["3", "2", "1"]
    with pytest.raises(NotFoundError):
        client.session.models.versions("nobody", Query())


def test_an_alias_is_one_that_vertex_takes(client: mlport.Client, folder: Path, name: str) -> None:
    version = client.models.register(name, folder, trust=True)
    for alias in ("Champion", "x", "a_b", "a-"):
        with pytest.raises(SpecError, match="alias"):
            version.alias(alias)
    version.alias("good")
    for _ in range(2):
        client.models.drop_alias(name, "good")
    with pytest.raises(NotFoundError, match="good"):
        client.session.models.resolve(name, "good")
    with pytest.raises(NotFoundError):
        client.models.alias(name, "good", "77")
    assert client.session.models.resolve(name, "default") == "1"


def test_the_last_version_goes_with_its_model(client: mlport.Client, folder: Path, name: str) -> None:
    first, second = (client.models.register(name, folder, trust=True) for _ in range(2))
    uri = first.record.uri
    first.delete()  # it is the default one, which must be another before it can go
    assert list(client.session.api.objects.list(uri)) == []
    assert client.session.models.resolve(name, "default") == second.version
    for _ in range(2):
        second.delete()
    with pytest.raises(NotFoundError):
        client.models.get(name, "2")
    assert name not in [model.name for model in client.models.list()]


def test_what_is_long_lies_beside_the_files(client: mlport.Client, folder: Path, name: str) -> None:
    lineage = {"params": {f"p{n}": "x" * 50 for n in range(LONGEST_RECORD // 50)}}
    plan = client.models._plan(ModelSpec(name=name, path=str(folder)), lineage, None)
    version = finish(client, client.session.models.register(plan, token=secrets.token_hex(16))).result
    record = client.models.get(name, version).record
    assert record.lineage == lineage
    assert record.digest == tree_digest(folder)
    client.models.get(name, version).tag(a="b")
    assert client.models.get(name, version).record.lineage == lineage


def test_files_that_changed_since_the_plan_are_refused(client: mlport.Client, folder: Path, name: str) -> None:
    plan = client.models.plan(ModelSpec(name=name, path=str(folder)))
    (folder / "weights.bin").write_bytes(b"other")
    token = secrets.token_hex(16)
    with pytest.raises(InputChangedError):
        client.session.models.register(plan, token=token)
    assert client.session.models.find(token) is None
    assert list(client.session.api.objects.list(f"{client.config.staging}/models/{name}")) == []
    (folder / "weights.bin").write_bytes(b"weights")
    assert finish(client, client.session.models.register(plan, token=token)).result == "1"


def test_a_folder_in_the_bucket_is_registered_where_it_cannot_change(
    client: mlport.Client, folder: Path, tmp_path: Path, name: str
) -> None:
    source = f"{client.config.staging}/elsewhere/{name}"
    client.session.api.objects.upload(folder, source)
    unknown = client.models.register(name, source, trust=True)
    plan = client.models._plan(ModelSpec(name=name, path=source), {}, tree_digest(folder))
    known = finish(client, client.session.models.register(plan, token=secrets.token_hex(16))).result
    client.session.api.objects.put(f"{source}/weights.bin", b"changed since")
    for version in (unknown.version, known):
        found = client.models.get(name, version)
        assert found.digest == tree_digest(folder)
        assert tree_digest(found.download(tmp_path / str(version))) == tree_digest(folder)
    with pytest.raises(NotFoundError):
        client.models.register(name, f"{client.config.staging}/nothing-here", trust=True)


def test_who_takes_a_name_in_between_is_joined(account: Account, client: mlport.Client, folder: Path, name: str) -> None:
    """Both plans say that the model is new; for the one that comes second it no longer is."""
    plans = [client.models.plan(ModelSpec(name=name, path=str(folder))) for _ in range(2)]
    made = [finish(client, client.session.models.register(plan, token=secrets.token_hex(16))).result for plan in plans]
    assert made == ["1", "2"]
    plan = client.models.plan(ModelSpec(name=name, path=str(folder)))
    assert "parentModel" in plan.requests[-1].body
    for version in made:
        client.models.delete(name, str(version))
    assert finish(client, client.session.models.register(plan, token=secrets.token_hex(16))).result == "1"


@pytest.mark.usefixtures("faults")
@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_an_upload_whose_answer_is_lost_is_one_version(
    emulator: Ready,
    account: Account,
    folder: Path,
    name: str,
    transport: str,
) -> None:
    client = account(transport=transport)
    set_faults(emulator, {"match": "POST *models:upload", "effect": "reset", "when": "after", "times": 1})
    version = client.models.register(name, folder, trust=True, key=name)
    assert version.version == "1"
    assert account().models.register(name, folder, trust=True, key=name).version == "1"
    assert [each.version for each in client.models.versions(name)] == ["1"]


@pytest.mark.usefixtures("faults")
def test_an_upload_that_never_arrived_is_looked_for_before_it_is_made_again(
    emulator: Ready,
    client: mlport.Client,
    folder: Path,
    name: str,
) -> None:
    now = [1000.0]
    sagas = Sagas(client.session.api, client.session.state, clock=lambda: now[0])
    plan, token = client.models.plan(ModelSpec(name=name, path=str(folder))), secrets.token_hex(16)
    body = {"parentModel": f"{client.config.parent}/models/{name}", "model": settled(plan.requests[-1].body, token)["model"]}
    set_faults(emulator, {"match": "POST *models:upload", "effect": "reset", "when": "before", "times": 1})
    with pytest.raises(AmbiguousError):
        sagas.begin(Note(token, "model", name, (Step("models.upload", client.config.parent, body),)))
    assert sagas.advance(token).state is State.RUNNING
    with pytest.raises(NotFoundError):
        client.models.get(name)
    now[0] += LOOKED_FOR + 1
    sagas.advance(token)
    assert finish(client, Operation(f"model/{name}/{token}", "model.register", name)).result == "1"


def test_there_is_no_approval(client: mlport.Client) -> None:
    with pytest.raises(UnsupportedError, match="approval"):
        client.session.models.approve("delays", "1", approved=True)


def test_mlports_own_tags_are_not_the_users(client: mlport.Client, folder: Path, name: str) -> None:
    version = client.models.register(name, folder, trust=True)
    with pytest.raises(SpecError, match="mlport_token"):
        version.tag(mlport_token="x")
    assert version.record.tags == {}


def test_what_others_changed_meanwhile_is_not_overwritten(client: mlport.Client, folder: Path, name: str) -> None:
    client.models.register(name, folder, trust=True)
    api, resource = client.session.api, f"{client.config.parent}/models/{name}@1"
    stale = api.call("models.get", name=resource)
    client.models.get(name).tag(a="b")
    with pytest.raises(BusyError):
        api.call("models.patch", name=resource, body={**{k: stale[k] for k in ("displayName", "etag")}, "labels": {}}, updateMask="labels")
