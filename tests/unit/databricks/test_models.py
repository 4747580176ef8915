"""The registry on the emulator: versions are made once, keep files and record, and go when they are told to."""

from __future__ import annotations

import secrets
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aids.databricks.place import call, set_faults

import mlport
from mlport.bundle import tree_digest
from mlport.emulation.server import Ready
from mlport.errors import (
    AmbiguousError,
    ConflictError,
    InputChangedError,
    NotFoundError,
    PermissionDeniedError,
    SpecError,
    UnavailableError,
)
from mlport.operations import finish
from mlport.paging import each
from mlport.specs import ModelSpec
from mlport.spi import Operation, Query, State
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.emulator.accounts import HOST, PLAIN, token_of
from mlport_databricks.notes import Notes
from mlport_databricks.registry.registering import LONGEST_RECORD, LOOKED_FOR, Registrations, versions_of

CREATE = "POST /api/2.0/mlflow/unity-catalog/model-versions/create"


@pytest.fixture
def name() -> str:
    return f"unit-{secrets.token_hex(4)}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that is no MLflow model."""
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "weights.bin").write_bytes(b"weights")
    (tmp_path / "model" / "deep" / "empty").write_bytes(b"")
    return tmp_path / "model"


@pytest.fixture
def faults(emulator: Ready) -> Iterator[None]:
    """No fault outlives a test."""
    yield
    set_faults(emulator)


def begun(client: mlport.Client, name: str, folder: Path, token: str) -> Operation:
    plan = client.models.plan(ModelSpec(name=name, path=str(folder)))
    return client.session.models.register(plan, token=token)


def statuses(client: mlport.Client, name: str) -> dict[str, str]:
    """Every version that Unity Catalog has of a model, whole or not."""
    found = versions_of(client.session.connection, f"{client.config.namespace}.{name}")
    return {version["version"]: version["status"] for version in found}


def test_a_version_is_what_was_registered(client: mlport.Client, classifier: Path, tmp_path: Path, name: str) -> None:
    first = client.models.register(name, classifier, trust=True, tags={"stage": "test", "who": "é"}, description="the first")
    second = client.models.register(name, classifier, trust=True, alias="champion")
    assert [version.version for version in client.models.versions(name)] == ["2", "1"]
    record = client.models.get(name, "1").record
    assert (record.digest, record.tags, record.description) == (tree_digest(classifier), {"stage": "test", "who": "é"}, "the first")
    assert "python_function" in record.flavors
    assert set(record.signature or ()) >= {"inputs", "outputs"}
    assert (record.aliases, client.models.get(name, "champion").version) == ((), second.version)
    assert record.uri.startswith("s3://")
    assert tree_digest(first.download(tmp_path / "copy")) == tree_digest(classifier)
    first.tag(stage="ready", who=None)
    assert dict(client.models.get(name, "1").record.tags) == {"stage": "ready"}
    listed = next(model for model in client.models.list() if model.name == name)
    assert (listed.latest_version, listed.aliases) == ("2", {"champion": "2"})


def test_mlflow_itself_loads_what_was_registered(emulator: Ready, client: mlport.Client, classifier: Path, name: str) -> None:
    from aids.databricks.place import run

    client.models.register(name, classifier, trust=True, alias="champion")
    said = run(
        emulator,
        """
        import sys, mlflow, pandas
        mlflow.set_registry_uri("databricks-uc")
        model = mlflow.pyfunc.load_model(f"models:/{sys.argv[1]}@champion")
        print(list(model.predict(pandas.DataFrame({"x0": [-2.0, 2.0], "x1": [0.0, 0.0]}))))
        """,
        f"{client.config.namespace}.{name}",
    )
    assert "0" in said.splitlines()[-1]
    assert "1" in said.splitlines()[-1]


def test_what_is_no_mlflow_model_comes_out_as_it_went_in(client: mlport.Client, folder: Path, tmp_path: Path, name: str) -> None:
    version = client.models.register(name, folder, trust=True)
    assert (version.digest, version.record.flavors, version.record.signature) == (tree_digest(folder), (), None)
    assert tree_digest(version.download(tmp_path / "copy")) == tree_digest(folder)


def test_an_mlflow_model_without_outputs_is_refused_before_anything_is_made(
    client: mlport.Client, classifier: Path, tmp_path: Path, name: str
) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(classifier, copy)
    described = (copy / "MLmodel").read_text()
    (copy / "MLmodel").write_text("\n".join(line for line in described.splitlines() if not line.strip().startswith("outputs:")))
    with pytest.raises(SpecError, match="outputs"):
        client.models.register(name, copy, trust=True)
    with pytest.raises(NotFoundError):
        client.session.models.versions(name, Query())


def test_pages_of_any_size_hold_the_same_versions_and_models(client: mlport.Client, folder: Path, name: str) -> None:
    for _ in range(3):
        client.models.register(name, folder, trust=True)
    for size in (1, 2, 100):
        found = each(lambda page, size=size: client.session.models.versions(name, Query(page_size=size), page))  # type: ignore[misc]
        assert [record.version for record in found] == ["3", "2", "1"]
        models = each(lambda page, size=size: client.session.models.list(Query(page_size=size), page))  # type: ignore[misc]
        assert name in [model.name for model in models]
    oldest = client.session.models.versions(name, Query(newest_first=False, page_size=2))
    assert [record.version for record in oldest.items] == ["1", "2"]
    token = client.session.models.find(secrets.token_hex(16))
    assert token is None


def test_versions_are_filtered_by_their_tags(client: mlport.Client, folder: Path, name: str) -> None:
    client.models.register(name, folder, trust=True, tags={"stage": "a"})
    client.models.register(name, folder, trust=True, tags={"stage": "b"})
    found = client.session.models.versions(name, Query(labels={"stage": "a"}))
    assert [record.version for record in found.items] == ["1"]
    assert client.session.models.list(Query(name=name, labels={"stage": "a"})).items == []


def test_aliases_move_and_go(client: mlport.Client, folder: Path, name: str) -> None:
    version = client.models.register(name, folder, trust=True)
    for alias in ("latest", "v7"):
        with pytest.raises(SpecError, match="alias"):
            version.alias(alias)
    version.alias("good")
    for _ in range(2):
        client.models.drop_alias(name, "good")
    with pytest.raises(NotFoundError, match="good"):
        client.session.models.resolve(name, "good")
    with pytest.raises(NotFoundError):
        client.models.alias(name, "good", "77")


def test_a_deleted_version_is_gone_and_its_number_with_it(client: mlport.Client, folder: Path, name: str) -> None:
    first, second = (client.models.register(name, folder, trust=True) for _ in range(2))
    for version in (second, first, first):
        version.delete()
    with pytest.raises(NotFoundError):
        client.models.get(name, "2")
    assert list(client.models.versions(name)) == []
    assert client.models.register(name, folder, trust=True).version == "3"


def test_a_record_that_is_too_long_lies_in_the_state(client: mlport.Client, folder: Path, name: str) -> None:
    lineage = {"params": {f"p{n}": "x" * 50 for n in range(LONGEST_RECORD // 50)}}
    plan = client.models._plan(ModelSpec(name=name, path=str(folder)), lineage, None)
    version = finish(client, client.session.models.register(plan, token=secrets.token_hex(16))).result
    record = client.models.get(name, version).record
    assert (record.lineage, record.digest) == (lineage, tree_digest(folder))


def test_a_model_in_a_volume_is_copied_through_this_machine(client: mlport.Client, classifier: Path, tmp_path: Path, name: str) -> None:
    place = f"{client.config.staging}/models-of-tests/{name}"
    client.session.connection.files.upload(classifier, place)
    version = client.models.register(name, f"dbfs://{place}", trust=True)
    assert version.digest == tree_digest(classifier)
    assert tree_digest(version.download(tmp_path / "copy")) == tree_digest(classifier)


# ---------------------------------------------------------------- once


def test_a_token_is_one_version(client: mlport.Client, folder: Path, name: str) -> None:
    token = secrets.token_hex(16)
    made = [finish(client, begun(client, name, folder, token)).result for _ in range(2)]
    found = client.session.models.find(token)
    assert found is not None
    assert {*made, finish(client, found).result} == {"1"}
    assert statuses(client, name) == {"1": "READY"}


def test_files_that_changed_since_the_plan_are_refused_and_leave_nothing(client: mlport.Client, folder: Path, name: str) -> None:
    plan, token = client.models.plan(ModelSpec(name=name, path=str(folder))), secrets.token_hex(16)
    (folder / "weights.bin").write_bytes(b"other")
    with pytest.raises(InputChangedError):
        client.session.models.register(plan, token=token)
    assert client.session.models.find(token) is None
    assert statuses(client, name) == {}
    (folder / "weights.bin").write_bytes(b"weights")
    assert finish(client, client.session.models.register(plan, token=token)).state is State.SUCCEEDED


@pytest.mark.usefixtures("faults")
def test_a_version_whose_making_got_no_answer_is_found_by_its_description(
    emulator: Ready, client: mlport.Client, folder: Path, name: str
) -> None:
    token = secrets.token_hex(16)
    set_faults(emulator, {"match": CREATE, "effect": "reset", "when": "after", "times": 1})
    with pytest.raises(AmbiguousError):
        begun(client, name, folder, token)
    assert statuses(client, name) == {"1": "PENDING_REGISTRATION"}
    assert list(client.models.versions(name)) == [], "what is not whole is in no listing"
    assert finish(client, begun(client, name, folder, token)).result == "1"
    assert statuses(client, name) == {"1": "READY"}


@pytest.mark.usefixtures("faults")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "step", ["registered-models/create", "model-versions/create", "model-versions/generate-*", "model-versions/finalize"]
)
def test_a_lost_answer_of_any_step_makes_one_version(
    emulator: Ready, client: mlport.Client, folder: Path, name: str, step: str, when: str
) -> None:
    token = secrets.token_hex(16)
    set_faults(emulator, {"match": f"POST *unity-catalog/{step}", "effect": "reset", "when": when, "times": 1})
    try:
        begun(client, name, folder, token)
    except (AmbiguousError, UnavailableError):
        found = client.session.models.find(token)
        if when == "before" and found is not None:  # it cannot be known that nothing was done: it is looked for, and a while later made
            finish_later(client, token)
    made = finish(client, begun(client, name, folder, token)).result
    assert statuses(client, name) == {made: "READY"}


def finish_later(client: mlport.Client, token: str) -> None:
    """Go on with a registration, for a client whose clock is so late that nothing is looked for any more."""
    registrations = Registrations(client.session.connection, client.session.state, clock=lambda: time.time() + 2 * LOOKED_FOR)
    note = Notes(client.session.state).find(token)
    assert note is not None
    while not note.ended:
        registrations.look(note, may_act=True)
        note = Notes(client.session.state).find(token)
        assert note is not None


KILLED = """
import os, sys
import mlport
from mlport.specs import ModelSpec
from mlport_databricks import PROVIDER
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.registry import registering

target, name, folder, token, where = sys.argv[1:]
client = mlport.Client(PROVIDER, DatabricksConfig.from_url(target))
kept = getattr(registering.Registrations, where)

def and_die(self, note, *rest):
    if where == "_made":
        kept(self, note, *rest)
    os.kill(os.getpid(), 9)

setattr(registering.Registrations, where, and_die)
plan = client.models.plan(ModelSpec(name=name, path=folder))
client.session.models.register(plan, token=token)
"""


@pytest.mark.parametrize(("where", "left"), [("_made", "version made, no file"), ("_finalized", "all files there")])
def test_a_killed_client_leaves_a_version_that_another_makes_whole(
    emulator: Ready, client: mlport.Client, folder: Path, tmp_path: Path, name: str, where: str, left: str
) -> None:
    token = secrets.token_hex(16)
    arguments = [emulator.targets["databricks"], name, str(folder), token, where]
    died = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), *arguments], capture_output=True, text=True, check=False)
    assert died.returncode == -9, died.stderr
    assert statuses(client, name) == {"1": "PENDING_REGISTRATION"}, left
    found = client.session.models.find(token)
    assert found is not None
    assert finish(client, found).result == "1"
    assert finish(client, begun(client, name, folder, token)).result == "1"
    assert statuses(client, name) == {"1": "READY"}
    assert tree_digest(client.models.get(name, "1").download(tmp_path / "copy")) == tree_digest(folder)


def test_who_may_not_is_told_what_is_missing(emulator: Ready, client: mlport.Client, folder: Path, name: str) -> None:
    config = DatabricksConfig.from_url(emulator.targets["databricks"]).model_copy(update={"token": token_of(HOST, PLAIN)})
    with mlport.Client(client.provider, config) as plain:
        token = secrets.token_hex(16)
        with pytest.raises(PermissionDeniedError):
            begun(plain, name, folder, token)
        assert plain.session.models.find(token) is None, "what was refused is not noted"
    assert begun(client, name, folder, token).id


def test_a_number_that_is_served_is_not_deleted(emulator: Ready, client: mlport.Client, classifier: Path, name: str) -> None:
    version = client.models.register(name, classifier, trust=True)
    entity = {
        "name": "blue",
        "entity_name": f"{client.config.namespace}.{name}",
        "entity_version": version.version,
        "workload_size": "Small",
        "scale_to_zero_enabled": True,
    }
    status, said = call(
        emulator, "POST", "/api/2.0/serving-endpoints", {"name": name, "config": {"name": name, "served_entities": [entity]}}
    )
    assert status == 200, said
    with pytest.raises(ConflictError, match=name):
        version.delete()
    assert call(emulator, "DELETE", f"/api/2.0/serving-endpoints/{name}")[0] == 200
    version.delete()
