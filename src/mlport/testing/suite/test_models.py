"""The registry: a version is made once, keeps its files and its history, and goes when it is told to."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

import mlport
from mlport import Job, ModelVersion
from mlport.bundle import tree_digest
from mlport.capabilities import Capability as C
from mlport.errors import ConflictError, NotFoundError, SpecError, UntrustedModelError
from mlport.journal import token_for
from mlport.operations import finish
from mlport.paging import each
from mlport.specs import ModelSpec
from mlport.spi import Query
from mlport.testing import needs
from mlport.testing.waiting import eventually

pytestmark = needs(C.MODEL_REGISTER, C.JOB_RUN)


@pytest.fixture
def folder(tmp_path: Path, unique: str) -> Path:
    """A folder that no other has the content of."""
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "weights.pkl").write_bytes(pickle.dumps(unique))
    (tmp_path / "model" / "deep" / "notes.txt").write_text(unique)
    return tmp_path / "model"


@pytest.fixture
def versions(client: mlport.Client, folder: Path, unique: str) -> Iterator[list[ModelVersion]]:
    """Three versions of a model of this test's own, oldest first."""
    made = [client.models.register(unique, folder, trust=True) for _ in range(3)]
    yield made
    for version in made:
        version.delete()


def test_a_jobs_output_is_registered_once(client: mlport.Client, again: mlport.Client, trained: Job, version: ModelVersion) -> None:
    for place in (client, again):
        assert place.models.register(version.name, from_job=place.jobs.get(trained.id)).version == version.version


@needs(C.MODEL_LINEAGE)
def test_lineage_is_found_from_the_version_in_one_call(again: mlport.Client, trained: Job, version: ModelVersion) -> None:
    lineage = again.models.get(version.name, version.version).lineage
    plan = again.journal.get(trained.status().token or "")
    assert plan is not None
    assert (lineage["job"], lineage["params"], lineage["output"]) == (trained.id, {"c": 1.0}, "model")
    assert lineage["bundle"] == plan.plan["facts"]["bundle"]
    assert lineage["metrics"] == dict(trained.metrics)


def test_an_mlflow_model_is_known_as_one(version: ModelVersion, trained: Job) -> None:
    assert "python_function" in version.record.flavors
    assert version.digest == trained.result.outputs["model"].digest
    assert version.record.created is not None
    assert version.record.created.utcoffset() is not None


def test_versions_are_newest_first_in_pages_of_any_size(client: mlport.Client, versions: list[ModelVersion]) -> None:
    wanted = [version.version for version in versions[::-1]]
    assert len(set(wanted)) == 3
    name = versions[0].name
    for size in (1, 2, 100):
        found = each(lambda page, size=size: client.session.models.versions(name, Query(page_size=size), page))  # type: ignore[misc]
        assert [record.version for record in found] == wanted
    assert client.models.get(name).version == wanted[0]


def test_the_tenth_version_is_newer_than_the_ninth(client: mlport.Client, versions: list[ModelVersion], folder: Path) -> None:
    name = versions[0].name
    later = [client.models.register(name, folder, trust=True) for _ in range(10 - len(versions))]
    made = [version.version for version in (*versions, *later)]
    assert [version.version for version in client.models.versions(name)] == made[::-1]
    for version in later:
        version.delete()


def test_models_are_listed_with_their_newest_version(client: mlport.Client, versions: list[ModelVersion]) -> None:
    found = {model.name: model for model in each(lambda page: client.session.models.list(Query(page_size=2), page))}
    assert found[versions[0].name].latest_version == versions[-1].version


@needs(C.MODEL_ALIAS)
def test_an_alias_goes_where_it_was_last_pointed(client: mlport.Client, again: mlport.Client, versions: list[ModelVersion]) -> None:
    name = versions[0].name
    for version in versions[:2]:
        version.alias("champion")
        assert again.models.get(name, "champion").version == version.version
    assert client.models.get(name, versions[0].version).record.aliases == ()
    assert client.models.get(name, versions[1].version).record.aliases == ("champion",)
    for _ in range(2):
        client.models.drop_alias(name, "champion")
    with pytest.raises(NotFoundError, match="champion"):
        client.models.get(name, "champion")


@needs(C.MODEL_ALIAS)
def test_an_alias_of_nothing_is_refused(client: mlport.Client, versions: list[ModelVersion]) -> None:
    with pytest.raises(NotFoundError):
        client.models.alias(versions[0].name, "champion", "987654")


@needs(C.MODEL_TAGS)
def test_tags_are_set_changed_and_removed(client: mlport.Client, folder: Path, unique: str) -> None:
    version = client.models.register(unique, folder, trust=True, tags={"stage": "test", "owner": "me"})
    version.tag(stage="ready", owner=None, other="é")
    assert dict(client.models.get(unique).record.tags) == {"stage": "ready", "other": "é"}
    version.delete()


@needs(C.MODEL_DOWNLOAD)
def test_a_download_is_what_was_registered(versions: list[ModelVersion], folder: Path, tmp_path: Path) -> None:
    copied = versions[0].download(tmp_path / "copy")
    assert tree_digest(copied) == versions[0].digest == tree_digest(folder)
    with pytest.raises(SpecError, match="exists already"):
        versions[0].download(tmp_path / "copy")


def test_what_changes_after_registering_changes_no_version(
    versions: list[ModelVersion], folder: Path, tmp_path: Path, client: mlport.Client
) -> None:
    before = versions[0].digest
    (folder / "weights.pkl").write_bytes(b"changed since")
    assert client.models.get(versions[0].name, versions[0].version).digest == before
    if client.can(C.MODEL_DOWNLOAD):
        assert tree_digest(versions[0].download(tmp_path / "copy")) == before


def test_a_deleted_version_is_gone_and_its_number_with_it(client: mlport.Client, versions: list[ModelVersion], folder: Path) -> None:
    last = versions[-1]
    for _ in range(2):
        last.delete()
    with pytest.raises(NotFoundError):
        client.models.get(last.name, last.version)
    assert client.models.get(last.name).version == versions[-2].version
    later = client.models.register(last.name, folder, trust=True)
    assert later.version not in [version.version for version in versions], "a number that meant one thing must not mean another"
    later.delete()


def test_a_key_is_one_version(client: mlport.Client, again: mlport.Client, folder: Path, unique: str) -> None:
    first = client.models.register(unique, folder, trust=True, key=unique)
    assert again.models.register(unique, folder, trust=True, key=unique).version == first.version
    (folder / "weights.pkl").write_bytes(b"other work")
    with pytest.raises(ConflictError):
        client.models.register(unique, folder, trust=True, key=unique)
    first.delete()


def test_the_provider_itself_registers_a_token_once(client: mlport.Client, folder: Path, unique: str) -> None:
    """Below the journal: what the core relies on when it asks again after an answer was lost."""
    plan, token = client.models.plan(ModelSpec(name=unique, path=str(folder))), token_for(client.config.target, "model", unique)
    models, lag = client.session.models, client.session.find_lag
    assert models.find(token) is None
    made = finish(client, models.register(plan, token=token)).result
    if lag == 0:
        again = finish(client, models.register(plan, token=token)).result
        assert again == made, "find_lag 0 says that sending again is safe"
    found = eventually(lambda: models.find(token), lambda operation: operation is not None, lag + 1)
    assert found is not None
    assert finish(client, found).result == made
    assert [version.version for version in client.models.versions(unique)] == [made]
    client.models.delete(unique, str(made))


def test_a_model_from_elsewhere_needs_trust(client: mlport.Client, folder: Path, unique: str) -> None:
    with pytest.raises(UntrustedModelError):
        client.models.register(unique, folder)
    with pytest.raises(NotFoundError):
        client.models.get(unique)


def test_what_is_not_there_names_what_is(client: mlport.Client, versions: list[ModelVersion]) -> None:
    with pytest.raises(NotFoundError):
        client.models.get(versions[0].name, "987654")
    with pytest.raises(NotFoundError):
        client.models.get("suite-nobody-has-this")
